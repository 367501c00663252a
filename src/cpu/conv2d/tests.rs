//! Checks against a direct convolution in f64 with every instruction set this machine has, adjoint
//! identities, and any number of threads.

use super::*;
use crate::Error;
use crate::rng::{Key, Purpose, Stream};

fn random(seed: u64) -> Stream {
    Key::new(seed, Purpose::Check, 0, 0).stream(0)
}

fn values<T: Real>(random: &mut Stream, len: usize) -> Vec<T> {
    (0..len)
        .map(|_| T::of(random.uniform() * 2.0 - 1.0))
        .collect()
}

fn poison<T: Real>(len: usize) -> Vec<T> {
    vec![T::nan(); len]
}

/// Dense 3×3, stride 1, padding 1.
fn plain(n: usize, side: usize, c: usize, k: usize) -> ConvShape {
    ConvShape {
        n,
        h: side,
        w: side,
        c,
        k,
        r: 3,
        s: 3,
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
    }
}

/// Shapes that meet every code path: the networks' own, odd extents, and seeded random ones.
fn shapes() -> Vec<ConvShape> {
    let base = plain(3, 8, 16, 16);
    let mut shapes = vec![
        plain(2, 32, 3, 64),
        plain(3, 16, 17, 33),
        plain(17, 8, 16, 48),
        plain(31, 4, 32, 40),
        plain(64, 2, 32, 32),
        plain(5, 1, 7, 9),
        plain(1, 1, 1, 1),
        plain(1, 2, 5, 3),
        plain(1, 33, 3, 2),
        plain(9, 33, 2, 15),
        plain(9, 16, 16, 15),
        ConvShape {
            stride: [2, 2],
            dilation: [1, 3],
            padding: [1, 3],
            ..plain(5, 30, 16, 9)
        },
        ConvShape {
            r: 1,
            s: 1,
            padding: [0, 0],
            ..plain(3, 7, 1024, 5)
        },
        ConvShape {
            r: 1,
            s: 1,
            padding: [0, 0],
            ..plain(2, 14, 48, 100)
        },
        plain(9, 34, 18, 3),
        plain(2, 80, 1, 3),
        plain(2, 20, 520, 5),
        ConvShape {
            stride: [2, 2],
            ..base
        },
        ConvShape {
            stride: [2, 2],
            ..plain(19, 4, 5, 21)
        },
        ConvShape {
            stride: [2, 2],
            ..plain(40, 2, 9, 16)
        },
        ConvShape {
            stride: [2, 2],
            ..plain(2, 32, 3, 20)
        },
        ConvShape {
            stride: [3, 2],
            h: 11,
            w: 23,
            ..base
        },
        ConvShape {
            dilation: [2, 2],
            padding: [2, 2],
            ..base
        },
        ConvShape {
            dilation: [4, 2],
            padding: [4, 0],
            h: 19,
            w: 25,
            ..base
        },
        ConvShape {
            r: 1,
            s: 1,
            padding: [0, 0],
            c: 37,
            k: 70,
            ..base
        },
        ConvShape {
            r: 1,
            s: 1,
            padding: [0, 0],
            stride: [2, 2],
            ..base
        },
        ConvShape {
            r: 1,
            s: 1,
            padding: [2, 1],
            ..base
        },
        ConvShape {
            r: 7,
            s: 7,
            padding: [3, 3],
            stride: [2, 2],
            c: 3,
            h: 30,
            w: 30,
            ..base
        },
        ConvShape {
            r: 1,
            s: 5,
            padding: [0, 2],
            w: 40,
            ..base
        },
        ConvShape {
            r: 6,
            s: 2,
            padding: [1, 5],
            h: 5,
            w: 3,
            ..base
        },
    ];
    let mut random = random(2024);
    while shapes.len() < 120 {
        let mut pair = |low: u32, high: u32| {
            [0, 0].map(|_: u32| (low + random.below(high - low + 1)) as usize)
        };
        let ([n, _], [h, w], [c, k], [r, s]) = (pair(1, 20), pair(1, 20), pair(1, 40), pair(1, 7));
        let (stride, padding, dilation) = (pair(1, 3), pair(0, 4), pair(1, 4));
        let shape = ConvShape {
            n,
            h,
            w,
            c,
            k,
            r,
            s,
            stride,
            padding,
            dilation,
        };
        if shape.check().is_ok() && shape.macs() < 1_500_000 {
            shapes.push(shape);
        }
    }
    shapes
}

/// Calls `visit(x index, w index, y index)` for each product of the convolution: the definition.
fn each_product(g: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let (out_h, out_w) = (g.out_h(), g.out_w());
    for y in 0..g.output_len() {
        let (k, ow, oh, n) = (
            y % g.k,
            y / g.k % out_w,
            y / g.k / out_w % out_h,
            y / g.k / out_w / out_h,
        );
        for tap in 0..g.r * g.s {
            let (r, s) = (tap / g.s, tap % g.s);
            let ih = (oh * g.stride[0] + r * g.dilation[0]) as isize - g.padding[0] as isize;
            let iw = (ow * g.stride[1] + s * g.dilation[1]) as isize - g.padding[1] as isize;
            if (0..g.h as isize).contains(&ih) && (0..g.w as isize).contains(&iw) {
                let x = ((n * g.h + ih as usize) * g.w + iw as usize) * g.c;
                let w = ((k * g.r + r) * g.s + s) * g.c;
                (0..g.c).for_each(|c| visit(x + c, w + c, y));
            }
        }
    }
}

/// A sum in f64 with what its error bound needs: the sum of magnitudes and the number of products.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    magnitude: f64,
    terms: usize,
}

impl Sum {
    fn add(&mut self, product: f64) {
        self.value += product;
        self.magnitude += product.abs();
        self.terms += 1;
    }
}

/// |found − exact| ≤ γ_m Σ|a||b|, γ_m = m·u / (1 − m·u), for m products summed in any order; the
/// reference's own error, γ_m of f64, comes on top.
fn assert_close<T: Real>(what: &str, g: &ConvShape, found: &[T], sums: &[Sum]) {
    let u = T::DTYPE.unit_roundoff();
    for (i, (found, sum)) in found.iter().zip(sums).enumerate() {
        let m = (sum.terms + 1) as f64;
        let bound = (m * u / (1.0 - m * u) + m * f64::EPSILON) * sum.magnitude;
        let error = (found.f64() - sum.value).abs();
        assert!(
            error <= bound,
            "{what} of {g:?}, element {i}: {found} is {error:e} from {}, allowed {bound:e}",
            sum.value
        );
    }
}

fn check_against_definition<T: Real>(g: &ConvShape, random: &mut Stream) {
    let (x, w, dy, bias): (Vec<T>, Vec<T>, Vec<T>, Vec<T>) = (
        values(random, g.input_len()),
        values(random, g.filter_len()),
        values(random, g.output_len()),
        values(random, g.k),
    );
    let mut sums = [g.input_len(), g.filter_len(), g.output_len()].map(|n| vec![Sum::default(); n]);
    each_product(g, |i, j, o| {
        sums[0][i].add(w[j].f64() * dy[o].f64());
        sums[1][j].add(x[i].f64() * dy[o].f64());
        sums[2][o].add(x[i].f64() * w[j].f64());
    });

    let mut with_bias = sums[2].clone();
    with_bias
        .iter_mut()
        .enumerate()
        .for_each(|(i, sum)| sum.add(bias[i % g.k].f64()));
    for kernels in micro::available::<T>() {
        let what = |pass: &str| format!("{pass} ({})", kernels.name);
        let mut y = poison(g.output_len());
        fprop_with(kernels, g, &x, &w, None, &mut y);
        assert_close(&what("fprop"), g, &y, &sums[2]);
        fprop_with(kernels, g, &x, &w, Some(&bias), &mut y);
        assert_close(&what("fprop with bias"), g, &y, &with_bias);
        let mut dx = poison(g.input_len());
        dgrad_with(kernels, g, &dy, &w, &mut dx);
        assert_close(&what("dgrad"), g, &dx, &sums[0]);
        let mut dw = poison(g.filter_len());
        wgrad_with(kernels, g, &x, &dy, &mut dw);
        assert_close(&what("wgrad"), g, &dw, &sums[1]);
    }
}

#[test]
fn f32_agrees_with_the_definition_within_the_error_bound() {
    let mut random = random(1);
    shapes()
        .iter()
        .for_each(|g| check_against_definition::<f32>(g, &mut random));
}

#[test]
fn f64_agrees_with_the_definition_within_the_error_bound() {
    let mut random = random(2);
    shapes()
        .iter()
        .for_each(|g| check_against_definition::<f64>(g, &mut random));
}

/// ⟨fprop(x, w), dy⟩ = ⟨x, dgrad(dy, w)⟩ = ⟨w, wgrad(x, dy)⟩, with small integers so that every
/// sum is exact and the three are equal, not close.
#[test]
fn the_three_passes_are_adjoint() {
    let mut random = random(3);
    let mut integers =
        |len: usize| -> Vec<f32> { (0..len).map(|_| random.below(5) as f32 - 2.0).collect() };
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| *a as f64 * *b as f64)
            .sum::<f64>()
    };
    for g in shapes() {
        let (x, w, dy) = (
            integers(g.input_len()),
            integers(g.filter_len()),
            integers(g.output_len()),
        );
        let (mut y, mut dx, mut dw) = (
            poison(g.output_len()),
            poison(g.input_len()),
            poison(g.filter_len()),
        );
        fprop(&g, &x, &w, None, &mut y);
        dgrad(&g, &dy, &w, &mut dx);
        wgrad(&g, &x, &dy, &mut dw);
        assert_eq!(dot(&y, &dy), dot(&x, &dx), "fprop and dgrad of {g:?}");
        assert_eq!(dot(&y, &dy), dot(&w, &dw), "fprop and wgrad of {g:?}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = |g: &ConvShape, threads: usize| {
        let mut random = random(4);
        let x: Vec<f32> = values(&mut random, g.input_len());
        let w: Vec<f32> = values(&mut random, g.filter_len());
        let dy: Vec<f32> = values(&mut random, g.output_len());
        let (mut y, mut dx, mut dw) = (
            poison(g.output_len()),
            poison(g.input_len()),
            poison(g.filter_len()),
        );
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            fprop(g, &x, &w, None, &mut y);
            dgrad(g, &dy, &w, &mut dx);
            wgrad(g, &x, &dy, &mut dw);
        });
        [y, dx, dw]
            .concat()
            .into_iter()
            .map(f32::to_bits)
            .collect::<Vec<_>>()
    };
    for g in shapes().iter().step_by(3) {
        let expected = run(g, 1);
        for threads in [2, 3] {
            assert!(run(g, threads) == expected, "{g:?} with {threads} threads");
        }
    }
}

#[test]
fn impossible_extents_are_refused_by_name() {
    let good = plain(1, 4, 3, 2);
    assert!(good.check().is_ok());
    let cases = [
        (ConvShape { n: 0, ..good }, "batch is 0"),
        (ConvShape { c: 0, ..good }, "input channels is 0"),
        (ConvShape { s: 0, ..good }, "filter width is 0"),
        (
            ConvShape {
                stride: [1, 0],
                ..good
            },
            "horizontal stride is 0",
        ),
        (
            ConvShape {
                dilation: [0, 1],
                ..good
            },
            "vertical dilation is 0",
        ),
        (
            ConvShape {
                dilation: [3, 1],
                ..good
            },
            "spans 7 pixels of height",
        ),
        (
            ConvShape {
                w: 2,
                padding: [1, 0],
                ..good
            },
            "spans 3 pixels of width",
        ),
    ];
    for (shape, expected) in cases {
        let error = shape.check().expect_err(expected);
        assert!(matches!(error, Error::Shape { op: "conv2d", .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn extents_and_macs_of_known_layers() {
    let stem = ConvShape {
        n: 1,
        h: 224,
        w: 224,
        c: 3,
        k: 64,
        r: 7,
        s: 7,
        stride: [2, 2],
        padding: [3, 3],
        dilation: [1, 1],
    };
    assert_eq!((stem.out_h(), stem.out_w()), (112, 112));
    assert_eq!(stem.macs(), 118_013_952);
    assert_eq!(plain(1, 32, 64, 64).macs(), 37_748_736);
}
