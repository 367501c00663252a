//! `kernels/global_avg_pool.cu` against the CPU operation in f64.

use whatwhere::cpu;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::image::Images;
use whatwhere::kernels::{Address, global_avg_pool};
use whatwhere::tensor::DType;

use super::bounds::{assert_close, f64s, gamma};
use super::numbers::{Number, drawn};
use super::{emulator_is_there, in_every_dtype, run};

/// One position, 2x2, 7x7, H≠W, more positions than 64 slices of 8; channels that are one vector, fill
/// part of a block or several, and primes.
const SHAPES: [(usize, [usize; 2], usize); 7] = [
    (1, [1, 1], 8),
    (3, [2, 2], 1031),
    (2, [2, 2], 2064),
    (2, [7, 7], 264),
    (1, [7, 7], 37),
    (2, [3, 5], 13),
    (1, [23, 29], 40),
];

fn images((batch, map, channels): (usize, [usize; 2], usize)) -> Images {
    Images {
        batch,
        map,
        channels,
    }
}

fn check<T: Number>() {
    for shape in SHAPES.map(images) {
        let Images { map, channels, .. } = shape;
        let (pooled, positions) = (shape.batch * channels, map[0] * map[1]);
        let (x, dy) = (drawn::<T>(shape.len(), 1), drawn::<T>(pooled, 2));
        let mean = |x: &[f64]| {
            let mut y = vec![f64::NAN; pooled];
            cpu::global_avg_pool::forward(x, map, channels, &mut y);
            y
        };
        let want = mean(&f64s(&x));
        let magnitude = mean(&f64s(&x).iter().map(|v| v.abs()).collect::<Vec<_>>());
        let mut want_dx = vec![f64::NAN; shape.len()];
        cpu::global_avg_pool::backward(&f64s(&dy), map, channels, &mut want_dx);
        let (x, dy) = (
            Memory::from_slice(&x).unwrap(),
            Memory::from_slice(&dy).unwrap(),
        );
        for schedule in Schedule::all() {
            let y = Memory::<T>::uninitialised(pooled).unwrap();
            let dx = Memory::<T>::uninitialised(shape.len()).unwrap();
            let forward = global_avg_pool::forward(T::DTYPE, shape, x.address(), y.address());
            run(&forward.unwrap(), schedule);
            // The terms are added in some order, and the sum is divided.
            let bound = |i: usize| gamma(positions) * magnitude[i];
            assert_close(
                &y.to_vec(),
                &want,
                bound,
                &format!("{shape:?} {schedule:?}"),
            );
            let backward = global_avg_pool::backward(T::DTYPE, shape, dy.address(), dx.address());
            run(&backward.unwrap(), schedule);
            let bound = |i: usize| gamma(1) * want_dx[i].abs();
            assert_close(
                &dx.to_vec(),
                &want_dx,
                bound,
                &format!("{shape:?} {schedule:?}"),
            );
        }
    }
}

in_every_dtype!(check);

/// The same image gives the same bits in any batch.
#[test]
fn a_mean_does_not_depend_on_its_batch() {
    if !emulator_is_there() {
        return;
    }
    let pooled = |x: &[f32], batch: usize| {
        let shape = images((batch, [5, 9], 12));
        let x = Memory::from_slice(x).unwrap();
        let y = Memory::<f32>::uninitialised(batch * 12).unwrap();
        let launch = global_avg_pool::forward(DType::F32, shape, x.address(), y.address());
        run(&launch.unwrap(), Schedule::FAST);
        y.to_vec()
    };
    let x = drawn::<f32>(3 * 45 * 12, 3);
    let all = pooled(&x, 3);
    let alone: Vec<f32> = x.chunks(45 * 12).flat_map(|x| pooled(x, 1)).collect();
    assert_eq!(all, alone);
}

/// Kernel, grid and the width of a block on maps of the networks.
#[test]
fn plans() {
    let plan = |batch, side: usize, channels, dtype| {
        let shape = images((batch, [side; 2], channels));
        let launch = global_avg_pool::forward(dtype, shape, Address(0), Address(0)).unwrap();
        (launch.kernel(), launch.grid()[0])
    };
    // 8 slices of 32 vectors, 1 slice of 256, 64 slices of 4.
    let of = |kernel, blocks| (kernel, blocks);
    assert_eq!(
        plan(256, 7, 2048, DType::BF16),
        of("global_avg_pool_vector_bf16", 256 * 8)
    );
    assert_eq!(
        plan(128, 2, 512, DType::F16),
        of("global_avg_pool_vector_f16", 128)
    );
    assert_eq!(
        plan(2, 56, 64, DType::F32),
        of("global_avg_pool_vector_f32", 2 * 4)
    );
    assert_eq!(
        plan(2, 1, 70, DType::F32),
        of("global_avg_pool_scalar_f32", 2)
    );
}

#[test]
fn impossible_maps_are_refused() {
    let refused = |shape, dtype, address| {
        let error = global_avg_pool::forward(dtype, images(shape), Address(address), Address(0));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("global_avg_pool: "), "{error}");
    };
    refused((0, [1, 1], 1), DType::F32, 0);
    refused((1, [0, 1], 1), DType::F32, 0);
    refused((1, [1, 1], 0), DType::F32, 0);
    refused((65536, [1, 1], 1), DType::F32, 0);
    refused((1, [1 << 16, 1 << 16], 1), DType::F32, 0);
    refused((1, [1 << 40, 1 << 40], 1), DType::F32, 0);
    refused((1, [1, 1], 1), DType::F64, 0);
    refused((1, [1, 1], 1), DType::F32, 4);
}
