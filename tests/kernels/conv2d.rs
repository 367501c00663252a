//! `kernels/conv2d*.cu` against the crate's own convolution in f64 on the same (rounded) inputs.
//!
//! Two kinds of inputs. Small integers: every product and every sum is exact, whatever their order, so
//! results are compared bit for bit. Normal numbers: a sum of n products in f32, in any order, is off by at
//! most γ_n Σ|a||b| (Higham, Accuracy and Stability, §3.1), and then rounded to the dtype.

use half::{bf16, f16};
use whatwhere::cpu::conv2d::{self as cpu, ConvShape};
use whatwhere::kernels::Address;
use whatwhere::kernels::conv2d::{BiasGradient, Direction, Fprop, Math, Plan, Tile};
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::rng::{Key, Purpose, Stream};
use whatwhere::tensor::DType;

use super::bounds::{assert_close, gamma};
use super::numbers::{Number, drawn};
use super::{emulator_is_there, run};

const NULL: Address = Address(0);
const DIRECTIONS: [Direction; 3] = [Direction::Fprop, Direction::Dgrad, Direction::Wgrad];

/// [n, h, w, c], [k, r, s], and the same number for both axes.
pub fn shape(
    x: [usize; 4],
    f: [usize; 3],
    stride: usize,
    padding: usize,
    dilation: usize,
) -> ConvShape {
    let [n, h, w, c] = x;
    let [k, r, s] = f;
    ConvShape {
        n,
        h,
        w,
        c,
        k,
        r,
        s,
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [dilation; 2],
    }
}

/// The declared cases of `ops::conv2d`, and more: H≠W, prime channels, dilation 2 and 4, stride 2 and 3 on
/// odd sizes, strides that share a factor with the dilation, filters that miss pixels, 1×1 and 2×2 maps,
/// batch 1. All are small: one or two tiles.
fn small_shapes() -> Vec<ConvShape> {
    vec![
        shape([2, 6, 5, 3], [8, 3, 3], 1, 1, 1),
        shape([2, 7, 4, 5], [6, 3, 3], 2, 1, 1),
        shape([3, 4, 4, 7], [11, 1, 1], 1, 0, 1),
        shape([1, 5, 3, 4], [3, 1, 1], 2, 0, 1),
        shape([1, 9, 8, 3], [4, 7, 7], 2, 3, 1),
        shape([1, 6, 7, 2], [3, 3, 3], 1, 2, 2),
        shape([1, 5, 5, 2], [3, 3, 3], 1, 4, 4),
        shape([4, 1, 1, 5], [6, 3, 3], 1, 1, 1),
        shape([3, 2, 2, 13], [17, 3, 3], 1, 1, 1),
        ConvShape {
            stride: [2, 1],
            padding: [0, 2],
            dilation: [1, 2],
            ..shape([2, 5, 6, 3], [4, 3, 2], 1, 0, 1)
        },
        shape([1, 7, 9, 8], [16, 3, 3], 2, 1, 1),
        shape([1, 1, 1, 8], [8, 1, 1], 1, 0, 1),
        shape([2, 2, 2, 16], [24, 3, 3], 1, 1, 1),
        shape([1, 9, 7, 8], [8, 3, 3], 2, 2, 2),
        shape([1, 8, 8, 8], [8, 3, 3], 3, 1, 2),
        shape([1, 8, 6, 8], [8, 2, 2], 4, 0, 1),
        shape([1, 6, 6, 8], [8, 3, 2], 4, 2, 2),
        shape([1, 12, 11, 8], [72, 3, 3], 1, 4, 4),
    ]
}

/// Several tiles in both directions, a depth of many slabs.
fn large_shapes() -> Vec<ConvShape> {
    vec![
        shape([2, 9, 11, 24], [136, 3, 3], 1, 1, 1),
        shape([1, 15, 13, 136], [72, 3, 3], 2, 1, 1),
        shape([200, 1, 1, 136], [72, 1, 1], 1, 0, 1),
        shape([2, 9, 11, 19], [67, 3, 3], 2, 1, 1),
    ]
}

/// What one test gives a product: operands as numbers of the dtype, in f64.
struct Operands {
    x: Vec<f64>,
    w: Vec<f64>,
    dy: Vec<f64>,
}

fn integers(stream: &mut Stream, length: usize, most: i32) -> Vec<f64> {
    let range = 2 * most as u32 + 1;
    let draw = |_| f64::from(stream.below(range) as i32 - most);
    (0..length).map(draw).collect()
}

fn normals<T: Number>(length: usize, which: u32) -> Vec<f64> {
    drawn::<T>(length, which).into_iter().map(T::f64).collect()
}

fn stream(lane: u32) -> Stream {
    Key::new(5, Purpose::Check, 2, 0).stream(lane)
}

impl Operands {
    fn integers(g: &ConvShape) -> Self {
        let mut s = stream(1);
        Operands {
            x: integers(&mut s, g.input_len(), 3),
            w: integers(&mut s, g.filter_len(), 2),
            dy: integers(&mut s, g.output_len(), 3),
        }
    }

    fn normals<T: Number>(g: &ConvShape) -> Self {
        Operands {
            x: normals::<T>(g.input_len(), 1),
            w: normals::<T>(g.filter_len(), 2),
            dy: normals::<T>(g.output_len(), 3),
        }
    }

    fn magnitudes(&self) -> Self {
        let absolute = |values: &[f64]| values.iter().map(|v| v.abs()).collect();
        Operands {
            x: absolute(&self.x),
            w: absolute(&self.w),
            dy: absolute(&self.dy),
        }
    }

    /// The exact result, and the number of products in an element of it at most.
    fn exact(&self, g: &ConvShape, direction: Direction) -> (Vec<f64>, usize) {
        match direction {
            Direction::Fprop => {
                let mut y = vec![0.0; g.output_len()];
                cpu::fprop(g, &self.x, &self.w, None, &mut y);
                (y, g.r * g.s * g.c)
            }
            Direction::Dgrad => {
                let mut dx = vec![0.0; g.input_len()];
                cpu::dgrad(g, &self.dy, &self.w, &mut dx);
                (dx, g.r * g.s * g.k)
            }
            Direction::Wgrad => {
                let mut dw = vec![0.0; g.filter_len()];
                cpu::wgrad(g, &self.x, &self.dy, &mut dw);
                (dw, g.n * g.out_h() * g.out_w())
            }
        }
    }
}

fn memory<T: Number>(values: &[f64]) -> Memory<T> {
    let values: Vec<T> = values.iter().map(|&v| T::of(v)).collect();
    Memory::from_slice(&values).unwrap()
}

/// Runs a plan on operands and returns the result.
fn result<T: Number>(
    plan: &Plan,
    operands: &Operands,
    schedule: Schedule,
    length: usize,
) -> Vec<T> {
    let [x, w, dy] = [&operands.x, &operands.w, &operands.dy].map(|values| memory::<T>(values));
    let out = Memory::<T>::uninitialised(length).unwrap();
    let scratch = Memory::<f32>::uninitialised(plan.scratch_bytes() / 4).unwrap();
    let (to, scratch) = (out.address(), scratch.address());
    let launches = match plan.direction() {
        Direction::Fprop => {
            let with = Fprop {
                x: x.address(),
                w: w.address(),
                y: to,
                ..Fprop::default()
            };
            plan.fprop(with, scratch)
        }
        Direction::Dgrad => plan.dgrad(dy.address(), w.address(), to, scratch),
        Direction::Wgrad => plan.wgrad(x.address(), dy.address(), to, scratch),
    };
    for launch in launches.unwrap() {
        run(&launch, schedule);
    }
    out.to_vec()
}

fn check_integers<T: Number>(plan: &Plan, g: &ConvShape, schedule: Schedule) {
    let operands = Operands::integers(g);
    let (exact, _) = operands.exact(g, plan.direction());
    let want: Vec<T> = exact.iter().map(|&v| T::of(v)).collect();
    let found = result::<T>(plan, &operands, schedule, want.len());
    assert_eq!(found, want, "{plan:?} {schedule:?}");
}

fn check_normals<T: Number>(plan: &Plan, g: &ConvShape, math: Math) {
    let operands = Operands::normals::<T>(g);
    let (exact, terms) = operands.exact(g, plan.direction());
    let (sizes, _) = operands.magnitudes().exact(g, plan.direction());
    let found = result::<T>(plan, &operands, Schedule::FAST, exact.len());
    // Each operand may be rounded on its way into the multiplication. The parts of a split depth are sums
    // of sums: no more additions than products.
    let unit = math.input_roundoff();
    let products = 2.0 * unit + unit * unit;
    let bound = |i: usize| (gamma(terms) * (1.0 + products) + products) * sizes[i];
    assert_close(&found, &exact, bound, &format!("{plan:?}"));
}

fn plans(g: &ConvShape, math: Math) -> Vec<Plan> {
    let whole = |direction| Plan::new(g, math, direction, true, 1).unwrap();
    let tiles = [Tile::Large, Tile::Small, Tile::Scalar];
    DIRECTIONS
        .iter()
        .flat_map(|&direction| {
            let all = tiles.map(move |tile| whole(direction).with(tile, 1));
            all.into_iter().flatten()
        })
        .collect()
}

/// Every direction and tile on the small shapes, in all schedules with integers, and on normal numbers.
fn small<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    for (i, g) in small_shapes().iter().enumerate() {
        for plan in plans(g, math) {
            // Every schedule for the first of each kind; then one after the other, so that each sees all.
            for (j, schedule) in Schedule::all().enumerate() {
                if i % 6 == j || i == 10 {
                    check_integers::<T>(&plan, g, schedule);
                }
            }
            check_normals::<T>(&plan, g, math);
        }
    }
}

/// The large shapes, unchecked and in one schedule; whole and in parts.
fn large<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    for g in large_shapes() {
        for plan in plans(&g, math) {
            check_integers::<T>(&plan, &g, Schedule::FAST);
            check_normals::<T>(&plan, &g, math);
            let split = plan.with(plan.tile(), 2).unwrap();
            check_integers::<T>(&split, &g, Schedule::FAST);
            check_normals::<T>(&split, &g, math);
        }
    }
}

#[test]
fn f32() {
    small::<f32>(Math::F32);
    large::<f32>(Math::F32);
}

#[test]
fn tf32() {
    small::<f32>(Math::Tf32);
    large::<f32>(Math::Tf32);
}

#[test]
fn float16() {
    small::<f16>(Math::F16);
    large::<f16>(Math::F16);
}

#[test]
fn bfloat16() {
    small::<bf16>(Math::Bf16);
    large::<bf16>(Math::Bf16);
}

/// Bias, residual and ReLU, of whole products and of sums of parts: exact on integers.
fn epilogue<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    // Rows of whole vectors, and not.
    for (filters, tile) in [(24, Tile::Small), (24, Tile::Large), (13, Tile::Scalar)] {
        let g = shape([2, 5, 4, 16], [filters, 3, 3], 1, 1, 1);
        let operands = Operands::integers(&g);
        let mut s = stream(3);
        let bias = integers(&mut s, g.k, 9);
        let residual = integers(&mut s, g.output_len(), 9);
        let (product, _) = operands.exact(&g, Direction::Fprop);
        let want: Vec<T> = product
            .iter()
            .zip(&residual)
            .enumerate()
            .map(|(i, (y, r))| T::of((y + bias[i % g.k] + r).max(0.0)))
            .collect();
        let [x, w, bias, residual] =
            [&operands.x, &operands.w, &bias, &residual].map(|values| memory::<T>(values));
        let plan = Plan::new(&g, math, Direction::Fprop, true, 1).unwrap();
        for parts in [1, 3] {
            let plan = plan.with(tile, parts).unwrap();
            for schedule in Schedule::all() {
                let y = Memory::<T>::uninitialised(want.len()).unwrap();
                let scratch = Memory::<f32>::uninitialised(plan.scratch_bytes() / 4).unwrap();
                let with = Fprop {
                    x: x.address(),
                    w: w.address(),
                    bias: bias.address(),
                    residual: residual.address(),
                    relu: true,
                    y: y.address(),
                    statistics: NULL,
                };
                for launch in plan.fprop(with, scratch.address()).unwrap() {
                    run(&launch, schedule);
                }
                assert_eq!(y.to_vec(), want, "{plan:?} {schedule:?}");
            }
        }
    }
}

#[test]
fn bias_residual_and_relu() {
    epilogue::<f32>(Math::F32);
    epilogue::<f32>(Math::Tf32);
    epilogue::<f16>(Math::F16);
    epilogue::<bf16>(Math::Bf16);
}

/// NaN and infinities go through: 0 · ∞ is NaN, ReLU keeps NaN, and padding adds nothing.
#[test]
fn not_a_number() {
    if !emulator_is_there() {
        return;
    }
    let g = shape([1, 3, 3, 4], [4, 3, 3], 1, 1, 1);
    let mut x = vec![1.0; g.input_len()];
    x[4 * 4 + 1] = f64::INFINITY;
    let mut w = vec![1.0; g.filter_len()];
    w[g.filter_len() / 4..].fill(-1.0);
    w[3 * 36..].fill(0.0);
    for (math, tile) in [(Math::F32, Tile::Small), (Math::Tf32, Tile::Scalar)] {
        let plan = Plan::new(&g, math, Direction::Fprop, true, 1).unwrap();
        let plan = plan.with(tile, 1).unwrap();
        let (x, w) = (memory::<f32>(&x), memory::<f32>(&w));
        let y = Memory::<f32>::uninitialised(g.output_len()).unwrap();
        let with = Fprop {
            x: x.address(),
            w: w.address(),
            relu: true,
            y: y.address(),
            ..Fprop::default()
        };
        for launch in plan.fprop(with, NULL).unwrap() {
            run(&launch, Schedule::FAST);
        }
        for pixel in y.to_vec().chunks_exact(4) {
            assert_eq!(pixel[..3], [f32::INFINITY, 0.0, 0.0]);
            assert!(pixel[3].is_nan());
        }
    }
}

/// Mean and variance of what was stored, joined over several tiles, within the bounds of two-pass sums.
fn statistics<T: Number>(math: Math, tile: Tile) {
    if !emulator_is_there() {
        return;
    }
    let g = shape([3, 7, 9, 8], [72, 3, 3], 1, 1, 1);
    let plan = Plan::new(&g, math, Direction::Fprop, true, 1).unwrap();
    let plan = plan.with(tile, 1).unwrap();
    let operands = Operands::normals::<T>(&g);
    let (x, w) = (memory::<T>(&operands.x), memory::<T>(&operands.w));
    let rows = g.n * g.out_h() * g.out_w();
    let mut first: Option<Vec<f32>> = None;
    for schedule in Schedule::all().chain([Schedule::FAST]) {
        let y = Memory::<T>::uninitialised(g.output_len()).unwrap();
        let tiles = Memory::<f32>::uninitialised(plan.statistics_len()).unwrap();
        let [mean, variance] = [(); 2].map(|()| Memory::<f32>::uninitialised(g.k).unwrap());
        let with = Fprop {
            x: x.address(),
            w: w.address(),
            y: y.address(),
            statistics: tiles.address(),
            ..Fprop::default()
        };
        for launch in plan.fprop(with, NULL).unwrap() {
            run(&launch, schedule);
        }
        run(
            &plan.statistics(tiles.address(), mean.address(), variance.address()),
            schedule,
        );
        let y: Vec<f64> = y.to_vec().into_iter().map(T::f64).collect();
        let (mean, variance) = (mean.to_vec(), variance.to_vec());
        for k in 0..g.k {
            let column = || y.iter().skip(k).step_by(g.k);
            let exact = column().sum::<f64>() / rows as f64;
            let size = column().map(|v| v.abs()).sum::<f64>() / rows as f64;
            let spread = column().map(|v| (v - exact).powi(2)).sum::<f64>() / rows as f64;
            // A mean of means is off by γ of all operations on the way: the rows of half a tile, and a few
            // for each tile joined. Deviations from a mean off by e add e² to the variance.
            let gamma = gamma(64 + 8 * rows.div_ceil(64));
            let off = gamma * size;
            assert!((f64::from(mean[k]) - exact).abs() <= off, "mean of {k}");
            let bound = gamma * (spread + off.powi(2)) + off.powi(2) + 2.0 * gamma * off * size;
            assert!(
                (f64::from(variance[k]) - spread).abs() <= bound,
                "variance of {k}"
            );
        }
        let all = [mean, variance].concat();
        assert_eq!(
            first.get_or_insert(all.clone()),
            &all,
            "the same bits in {schedule:?}"
        );
    }
}

#[test]
fn batch_statistics() {
    statistics::<f32>(Math::F32, Tile::Small);
    statistics::<f32>(Math::Tf32, Tile::Large);
    statistics::<bf16>(Math::Bf16, Tile::Small);
}

/// Sums of columns: exact on integers, whole vectors and not, one part and several.
fn bias_gradient<T: Number>() {
    if !emulator_is_there() {
        return;
    }
    for (rows, columns) in [(1, 1), (3, 7), (700, 13), (129, 64), (65, 272), (40, 1000)] {
        let dy = integers(&mut stream(4), rows * columns, 3);
        let want: Vec<T> = (0..columns)
            .map(|column| T::of(dy.iter().skip(column).step_by(columns).sum()))
            .collect();
        let dy = memory::<T>(&dy);
        for multiprocessors in [1, 64] {
            let plan = BiasGradient::new(rows, columns, T::DTYPE, multiprocessors).unwrap();
            for schedule in Schedule::all() {
                let db = Memory::<T>::uninitialised(columns).unwrap();
                let scratch = Memory::<f32>::uninitialised(plan.scratch_bytes() / 4).unwrap();
                let launches = plan.launches(dy.address(), db.address(), scratch.address());
                for launch in launches.unwrap() {
                    run(&launch, schedule);
                }
                assert_eq!(db.to_vec(), want, "{rows}x{columns} {schedule:?}");
            }
        }
    }
}

#[test]
fn bias_gradients() {
    bias_gradient::<f32>();
    bias_gradient::<f16>();
    bias_gradient::<bf16>();
}

/// Which kernel and how many parts, on the layers of the networks.
#[test]
fn plans_of_networks() {
    let plan = |g: &ConvShape, math, direction| {
        let plan = Plan::new(g, math, direction, false, 132).unwrap();
        (plan.tile(), plan.parts())
    };
    let stem = shape([128, 224, 224, 3], [64, 7, 7], 2, 3, 1);
    assert_eq!(plan(&stem, Math::F32, Direction::Fprop), (Tile::Scalar, 1));
    let body = shape([128, 56, 56, 128], [128, 3, 3], 1, 1, 1);
    for direction in [Direction::Fprop, Direction::Dgrad] {
        assert_eq!(plan(&body, Math::Bf16, direction), (Tile::Large, 1));
    }
    assert_eq!(plan(&body, Math::Bf16, Direction::Wgrad), (Tile::Large, 29));
    let narrow = shape([128, 56, 56, 64], [64, 3, 3], 1, 1, 1);
    assert_eq!(
        plan(&narrow, Math::Tf32, Direction::Fprop),
        (Tile::Small, 1)
    );
    let deep = shape([128, 2, 2, 512], [512, 3, 3], 1, 1, 1);
    let (tile, parts) = plan(&deep, Math::F32, Direction::Fprop);
    assert!(tile != Tile::Scalar && parts > 1);
}

/// A plan of a 1x1 convolution is one of matrices.
#[test]
fn pointwise_convolutions_are_products() {
    let g = shape([2, 7, 5, 8], [16, 1, 1], 1, 0, 1);
    let matrix = shape([70, 1, 1, 8], [16, 1, 1], 1, 0, 1);
    for direction in DIRECTIONS {
        let [a, b] = [g, matrix].map(|g| Plan::new(&g, Math::F32, direction, false, 1).unwrap());
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }
}

#[test]
fn impossible_convolutions_are_refused() {
    let good = shape([1, 8, 8, 8], [8, 3, 3], 1, 1, 1);
    let bad = [
        ConvShape { n: 0, ..good },
        ConvShape { c: 0, ..good },
        ConvShape {
            stride: [0, 1],
            ..good
        },
        ConvShape { r: 11, ..good },
        ConvShape { n: 1 << 23, ..good },
        ConvShape { k: 1 << 25, ..good },
        ConvShape {
            padding: [usize::MAX, 1],
            ..good
        },
        ConvShape {
            dilation: [usize::MAX, 1],
            ..good
        },
        ConvShape {
            h: 1 << 20,
            w: 1 << 3,
            stride: [1 << 14, 1 << 3],
            ..good
        },
    ];
    for g in bad {
        let refused = DIRECTIONS.map(|d| Plan::new(&g, Math::F32, d, false, 1).is_err());
        assert!(refused.contains(&true), "{g:?}");
    }
    let plan = |direction| Plan::new(&good, Math::F32, direction, false, 1).unwrap();
    let fprop = plan(Direction::Fprop);
    let refusals = [
        fprop.dgrad(NULL, NULL, NULL, NULL).unwrap_err(),
        fprop.wgrad(NULL, NULL, NULL, NULL).unwrap_err(),
        plan(Direction::Dgrad)
            .dgrad(Address(8), NULL, NULL, NULL)
            .unwrap_err(),
        fprop.with(Tile::Small, 0).unwrap_err(),
        fprop.with(Tile::Small, 6).unwrap_err(),
        Plan::new(
            &ConvShape { c: 3, ..good },
            Math::F32,
            Direction::Fprop,
            true,
            1,
        )
        .unwrap()
        .with(Tile::Large, 1)
        .unwrap_err(),
    ];
    for error in refusals {
        assert!(error.to_string().starts_with("conv2d: "), "{error}");
    }
    let with = Fprop {
        relu: true,
        statistics: Address(16),
        ..Fprop::default()
    };
    assert!(fprop.fprop(with, NULL).is_err());
    assert!(BiasGradient::new(0, 4, DType::F32, 1).is_err());
    assert!(BiasGradient::new(1 << 20, 1 << 12, DType::F32, 1).is_err());
    assert!(BiasGradient::new(4, 4, DType::F64, 1).is_err());
}
