//! What fprop does to its sums: bias, scale and shift, residual, ReLU, statistics.

use half::{bf16, f16};
use whatwhere::kernels::conv2d::{Direction, Epilogue, Fprop, Kind, Math, Tile};
use whatwhere::kernels::emulator::{Memory, Schedule};

use super::super::bounds::gamma;
use super::super::numbers::Number;
use super::super::{emulator_is_there, run};
use super::{NULL, Operands, integers, memory, planned, shape, stream};

/// All of it, of whole products and of sums of parts: exact on integers.
fn everything<T: Number>(math: Math, filters: usize, kind: Kind) {
    let g = shape([2, 5, 4, 16], [filters, 3, 3], 1, 1, 1);
    let operands = Operands::integers(&g);
    let mut s = stream(3);
    let [bias, scale, shift] = [9, 2, 9].map(|most| integers(&mut s, g.k, most));
    let residual = integers(&mut s, g.output_len(), 9);
    let (product, _) = operands.exact(&g, Direction::Fprop);
    let plan = planned(&g, math, Direction::Fprop, kind).unwrap();
    let [x, w] = [&operands.x, &operands.w].map(|values| memory::<T>(values));
    let [bias_there, residual_there] = [&bias, &residual].map(|values| memory::<T>(values));
    let [scale_there, shift_there] = [&scale, &shift].map(|values| memory::<f32>(values));
    for (schedule, affine) in Schedule::all().zip([true, false].into_iter().cycle()) {
        let value = |(i, sum): (usize, &f64)| {
            let k = i % g.k;
            let (scale, shift) = if affine {
                (scale[k], shift[k])
            } else {
                (1.0, 0.0)
            };
            T::of((scale * (sum + bias[k]) + shift + residual[i]).max(0.0))
        };
        let want: Vec<T> = product.iter().enumerate().map(value).collect();
        let y = Memory::<T>::uninitialised(want.len()).unwrap();
        let scratch = Memory::<f32>::uninitialised(plan.scratch_bytes() / 4).unwrap();
        let either = |there: &Memory<f32>| if affine { there.address() } else { NULL };
        let with = Fprop {
            x: x.address(),
            w: w.address(),
            y: y.address(),
            epilogue: Epilogue {
                bias: bias_there.address(),
                scale: either(&scale_there),
                shift: either(&shift_there),
                residual: residual_there.address(),
                relu: true,
                statistics: NULL,
            },
        };
        for launch in plan.fprop(with, scratch.address()).unwrap() {
            run(&launch, schedule);
        }
        assert_eq!(y.to_vec(), want, "{plan:?} {schedule:?}");
    }
}

/// Rows of whole vectors, and not; whole and in parts.
fn epilogue<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    for (filters, tile) in [(24, Tile::Small), (24, Tile::Large), (13, Tile::Scalar)] {
        for parts in [1, 3] {
            everything::<T>(math, filters, Kind::Portable { tile, parts });
        }
    }
    if math != Math::F32 {
        for (columns, parts) in [(64, 1), (128, 1), (64, 3)] {
            everything::<T>(math, 72, Kind::Hopper { columns, parts });
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
    let portable = |tile| Kind::Portable { tile, parts: 1 };
    let hopper = Kind::Hopper {
        columns: 64,
        parts: 1,
    };
    for (math, kind) in [
        (Math::F32, portable(Tile::Small)),
        (Math::Tf32, portable(Tile::Scalar)),
        (Math::Tf32, hopper),
    ] {
        let plan = planned(&g, math, Direction::Fprop, kind).unwrap();
        let (x, w) = (memory::<f32>(&x), memory::<f32>(&w));
        let y = Memory::<f32>::uninitialised(g.output_len()).unwrap();
        let with = Fprop {
            x: x.address(),
            w: w.address(),
            y: y.address(),
            epilogue: Epilogue {
                relu: true,
                ..Epilogue::default()
            },
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
fn statistics<T: Number>(math: Math, kind: Kind) {
    if !emulator_is_there() {
        return;
    }
    let g = shape([3, 7, 9, 8], [72, 3, 3], 1, 1, 1);
    let plan = planned(&g, math, Direction::Fprop, kind).unwrap();
    let operands = Operands::normals::<T>(&g);
    let (x, w) = (memory::<T>(&operands.x), memory::<T>(&operands.w));
    // Channels far from 0 beside others that are not.
    let bias: Vec<f64> = (0..g.k)
        .map(|k| if k % 3 == 0 { 1000.0 } else { 0.5 })
        .collect();
    let bias = memory::<T>(&bias);
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
            epilogue: Epilogue {
                bias: bias.address(),
                statistics: tiles.address(),
                ..Epilogue::default()
            },
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
            // for each tile joined. Deviations from a mean off by e add e² to the variance. A join squares
            // the distance D of two means, which is off by 2e: 4·e·D + 4·e², in shares of the rows that
            // add up to at most 4 over the tree of joins, where Σ D² is at most the variance (Cauchy,
            // Schwarz).
            let gamma = gamma(64 + 8 * rows.div_ceil(64));
            let off = gamma * size;
            assert!((f64::from(mean[k]) - exact).abs() <= off, "mean of {k}");
            let bound = gamma * spread + 4.0 * off * (4.0 * spread).sqrt() + 17.0 * off.powi(2);
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
    let portable = |tile| Kind::Portable { tile, parts: 1 };
    statistics::<f32>(Math::F32, portable(Tile::Small));
    statistics::<f32>(Math::Tf32, portable(Tile::Large));
    statistics::<bf16>(Math::Bf16, portable(Tile::Small));
    let hopper = |columns| Kind::Hopper { columns, parts: 1 };
    statistics::<bf16>(Math::Bf16, hopper(64));
    statistics::<f16>(Math::F16, hopper(128));
    statistics::<f32>(Math::Tf32, hopper(64));
}
