//! `kernels/gap_linear.cu` against the CPU operations in f64.

use whatwhere::cpu::linear::LinearShape;
use whatwhere::cpu::{global_avg_pool, linear};
use whatwhere::kernels::Address;
use whatwhere::kernels::emulator::{Memory, SHARED_LIMIT, Schedule};
use whatwhere::kernels::gap_linear::{Operands, Plan};
use whatwhere::kernels::image::Images;
use whatwhere::tensor::DType;

use super::bounds::{assert_close, f64s, gamma};
use super::numbers::{Number, drawn};
use super::{emulator_is_there, in_every_dtype, run};

/// Batch, map, channels, outputs: one position, 2x2, 7x7, H≠W; a last block of fewer images; channels that
/// are one vector, many, more than the block has threads, and primes; outputs below and above its warps.
const SHAPES: [(usize, [usize; 2], usize, usize); 7] = [
    (1, [1, 1], 8, 1),
    (5, [2, 2], 16, 10),
    (7, [4, 4], 40, 37),
    (2, [7, 7], 37, 16),
    (3, [3, 5], 13, 5),
    (1, [2, 3], 2056, 3),
    (4, [1, 2], 1031, 17),
];

fn plan(dtype: DType, shape: (usize, [usize; 2], usize, usize), processors: usize) -> Plan {
    let (batch, map, channels, outputs) = shape;
    let maps = Images {
        batch,
        map,
        channels,
    };
    Plan::new(dtype, maps, outputs, processors, SHARED_LIMIT).unwrap()
}

/// The same by the CPU in f64: means, and y from means given.
fn means(x: &[f64], map: [usize; 2], channels: usize) -> Vec<f64> {
    let mut means = vec![f64::NAN; x.len() / (map[0] * map[1])];
    global_avg_pool::forward(x, map, channels, &mut means);
    means
}

fn product(m: &[f64], w: &[f64], bias: Option<&[f64]>, channels: usize) -> Vec<f64> {
    let g = LinearShape {
        rows: m.len() / channels,
        inputs: channels,
        outputs: w.len() / channels,
    };
    let mut y = vec![f64::NAN; g.rows * g.outputs];
    linear::forward(g, m, w, bias, &mut y);
    y
}

fn check<T: Number>() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let (batch, map, channels, outputs) = shape;
        let positions = map[0] * map[1];
        let x = drawn::<T>(batch * positions * channels, 1);
        let (w, bias) = (drawn::<T>(outputs * channels, 2), drawn::<T>(outputs, 3));
        let (relu, biased) = (index % 2 == 0, index % 3 > 0);
        let absolute = |v: &[f64]| -> Vec<f64> { v.iter().map(|v| v.abs()).collect() };
        let want_means = means(&f64s(&x), map, channels);
        let sizes = means(&absolute(&f64s(&x)), map, channels);
        let [memory_x, memory_w, memory_bias] =
            [&x, &w, &bias].map(|v| Memory::from_slice(v).unwrap());
        for (turn, schedule) in Schedule::all().enumerate() {
            // Several images a block, and one.
            let plan = plan(T::DTYPE, shape, [1, 2, 100][turn % 3]);
            let pooled = Memory::<T>::uninitialised(batch * channels).unwrap();
            let y = Memory::<T>::uninitialised(batch * outputs).unwrap();
            let at = Operands {
                x: memory_x.address(),
                w: memory_w.address(),
                bias: if biased {
                    memory_bias.address()
                } else {
                    Address::default()
                },
                pooled: pooled.address(),
                y: y.address(),
            };
            run(&plan.forward(relu, at).unwrap(), schedule);
            let context = format!("{:?} {shape:?} {schedule:?}", T::DTYPE);
            // The terms are added in some order, and the sum is divided.
            let bound = |i: usize| gamma(positions) * sizes[i];
            assert_close(&pooled.to_vec(), &want_means, bound, &context);
            // From the means as they are stored: fused products, a tree, a bias.
            let m = f64s(&pooled.to_vec());
            let bias = biased.then(|| f64s(&bias));
            let mut want = product(&m, &f64s(&w), bias.as_deref(), channels);
            let size = product(
                &absolute(&m),
                &absolute(&f64s(&w)),
                bias.as_deref().map(absolute).as_deref(),
                channels,
            );
            if relu {
                want.iter_mut().for_each(|v| *v = v.max(0.0));
            }
            let bound = |i: usize| gamma(channels + 6) * size[i];
            assert_close(&y.to_vec(), &want, bound, &context);
        }
    }
}

in_every_dtype!(check);

/// An image's means and outputs do not depend on its batch.
#[test]
fn an_image_does_not_depend_on_its_batch() {
    if !emulator_is_there() {
        return;
    }
    let (map, channels, outputs) = ([3, 4], 12, 7);
    let w = Memory::from_slice(&drawn::<f32>(outputs * channels, 5)).unwrap();
    let logits = |x: &[f32], batch: usize| {
        let x = Memory::from_slice(x).unwrap();
        let pooled = Memory::<f32>::uninitialised(batch * channels).unwrap();
        let y = Memory::<f32>::uninitialised(batch * outputs).unwrap();
        let at = Operands {
            x: x.address(),
            w: w.address(),
            pooled: pooled.address(),
            y: y.address(),
            ..Operands::default()
        };
        let plan = plan(DType::F32, (batch, map, channels, outputs), 2);
        run(&plan.forward(false, at).unwrap(), Schedule::FAST);
        [pooled.to_vec(), y.to_vec()]
    };
    let image = 12 * channels;
    let x = drawn::<f32>(7 * image, 4);
    let [all_means, all] = logits(&x, 7);
    for (n, x) in x.chunks(image).enumerate() {
        let [means, y] = logits(x, 1);
        assert_eq!(means, all_means[n * channels..][..channels]);
        assert_eq!(y, all[n * outputs..][..outputs]);
    }
}

/// Heads of the networks on a GPU of 132 multiprocessors: images of a block, and whether the kernel pays.
#[test]
fn plans() {
    let of = |batch, side: usize, channels, outputs| {
        let plan = plan(DType::BF16, (batch, [side; 2], channels, outputs), 132);
        let launch = plan.forward(false, Operands::default()).unwrap();
        (launch.kernel(), launch.grid()[0], plan.pays())
    };
    let kernel = "gap_linear_vector_bf16";
    assert_eq!(of(128, 4, 2048, 100), (kernel, 128, true));
    assert_eq!(of(128, 1, 512, 4096), (kernel, 128, false));
    assert_eq!(of(256, 7, 2048, 100), (kernel, 128, true));
    assert_eq!(of(256, 7, 2048, 1000), (kernel, 128, false));
    assert_eq!(of(1024, 8, 64, 1000), (kernel, 256, true));
}

#[test]
fn impossible_heads_are_refused() {
    let refused = |batch, map, channels, outputs, dtype| {
        let maps = Images {
            batch,
            map,
            channels,
        };
        let error = Plan::new(dtype, maps, outputs, 4, SHARED_LIMIT).unwrap_err();
        assert!(error.to_string().starts_with("gap_linear: "), "{error}");
    };
    refused(0, [1, 1], 8, 1, DType::F32);
    refused(1, [0, 1], 8, 1, DType::F32);
    refused(1, [1, 1], 8, 0, DType::F32);
    refused(1, [1, 1], 1 << 16, 1, DType::F32);
    refused(1, [1, 1], 64, 1 << 30, DType::F32);
    refused(1, [1, 1], 8, 1, DType::F64);
    let plan = plan(DType::F32, (1, [1, 1], 8, 1), 4);
    let off = Operands {
        x: Address(4),
        ..Operands::default()
    };
    assert!(plan.forward(false, off).is_err());
}
