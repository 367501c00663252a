//! `kernels/batch_norm_shuffle.cu`: values to the last bit, sums within the rounding errors of their tree.

use half::{bf16, f16};
use whatwhere::kernels::Address;
use whatwhere::kernels::batch_norm::{Channels, Gradients};
use whatwhere::kernels::batch_norm_shuffle::Shuffle;
use whatwhere::kernels::emulator::{Memory, SHARED_LIMIT, Schedule};
use whatwhere::kernels::spatial_shuffle::Maps;
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::DType;

use super::bounds::gamma;
use super::numbers::{Number, assert_equal, drawn};
use super::spatial_shuffle::tables;
use super::{emulator_is_there, run};

fn maps(dtype: DType, [batch, positions, channels]: [usize; 3], table_per_image: bool) -> Maps {
    Maps {
        batch,
        positions,
        channels,
        width: dtype.size(),
        table_per_image,
    }
}

fn check<T: Number>(shape: [usize; 3], per_image: bool, shared_limit: u32, method: &str) {
    let [batch, positions, channels] = shape;
    let maps = maps(T::DTYPE, shape, per_image);
    let plan = Shuffle::new(T::DTYPE, maps, shared_limit).unwrap();
    let elements = batch * positions * channels;
    let key = Key::new(8, Purpose::ShuffleTest, positions as u64, channels as u32);
    let count = if per_image { batch } else { 1 };
    let [table, inverse] =
        [false, true].map(|inverse| tables(key, count, positions, channels, inverse));
    let from = |table: &[half::f16], at: usize| {
        let (n, c) = (at / (positions * channels), at % channels);
        let entry = table[if per_image {
            at
        } else {
            at % (positions * channels)
        }];
        (n * positions + entry.to_bits() as usize) * channels + c
    };
    let (x, dy) = (drawn::<T>(elements, 1), drawn::<T>(elements, 2));
    let vector = |which| drawn::<f32>(channels, which);
    let [scale, shift, mean, inverse_std] = [3, 4, 5, 6].map(vector);
    let v: Vec<f32> = (0..elements)
        .map(|i| x[i].f32() * scale[i % channels] + shift[i % channels])
        .collect();
    let y: Vec<T> = (0..elements)
        .map(|i| T::store(v[from(&table, i)].max(0.0)))
        .collect();
    let g: Vec<T> = (0..elements)
        .map(|i| {
            if v[i] <= 0.0 {
                T::of(0.0)
            } else {
                dy[from(&inverse, i)]
            }
        })
        .collect();

    let [memory_x, memory_dy] = [&x, &dy].map(|v| Memory::from_slice(v).unwrap());
    let tables = [&table, &inverse].map(|t| Memory::from_slice(t).unwrap());
    let memory = |v: &[f32]| Memory::from_slice(v).unwrap();
    let vectors = [&scale, &shift, &mean, &inverse_std].map(|v| memory(v));
    let at = Channels {
        scale: vectors[0].address(),
        shift: vectors[1].address(),
        mean: vectors[2].address(),
        inverse_std: vectors[3].address(),
        ..Channels::default()
    };
    for (index, schedule) in Schedule::all().enumerate() {
        let case = format!("{:?} {maps:?} {schedule:?}", T::DTYPE);
        let found = Memory::<T>::uninitialised(elements).unwrap();
        let (source, to) = (memory_x.address(), found.address());
        let launch = plan.forward(source, tables[0].address(), at.scale, at.shift, to);
        let launch = launch.unwrap();
        assert!(launch.kernel().contains(method), "{case}");
        run(&launch, schedule);
        assert_equal(&found.to_vec(), &y, format!("y: {case}"));

        let dx = Memory::<T>::uninitialised(elements).unwrap();
        let scratch = Memory::<f32>::uninitialised(plan.scratch()).unwrap();
        let sums: [Memory<f32>; 2] = [0, 1].map(|_| Memory::uninitialised(channels).unwrap());
        let gradients = Gradients {
            x: source,
            dy: memory_dy.address(),
            dx: dx.address(),
            dgamma: sums[0].address(),
            dbeta: sums[1].address(),
            ..Gradients::default()
        };
        let training = index % 2 == 0;
        let table = tables[1].address();
        let launches = plan.backward(training, gradients, table, at, scratch.address());
        let [gather, finish, last] = launches.unwrap();
        let threads = gather.block()[0] as usize;
        run(&gather, schedule);
        assert_equal(&dx.to_vec(), &g, format!("g: {case}"));
        run(&finish, schedule);
        run(&last, schedule);

        // A thread adds up no more than all positions; then come the levels of the tree, a rounding of
        // x − μ and the one to f32 at the end.
        let roundings = positions + threads.ilog2() as usize + 2;
        let [dgamma, dbeta] = [sums[0].to_vec(), sums[1].to_vec()];
        for c in 0..channels {
            let (mut sum, mut size, mut product, mut product_size) = (0.0, 0.0, 0.0, 0.0);
            for i in (c..elements).step_by(channels) {
                let term = g[i].f64() * (x[i].f64() - mean[c] as f64);
                (sum, size) = (sum + g[i].f64(), size + g[i].f64().abs());
                (product, product_size) = (product + term, product_size + term.abs());
            }
            let bound = gamma(roundings) * size;
            assert!((dbeta[c] as f64 - sum).abs() <= bound, "dβ {c}: {case}");
            let i = inverse_std[c] as f64;
            let bound = gamma(roundings + 1) * product_size * i.abs() * (1.0 + gamma(1));
            assert!(
                (dgamma[c] as f64 - product * i).abs() <= bound,
                "dγ {c}: {case}"
            );
        }
        let slopes = &scratch.to_vec()[2 * channels * batch..];
        let want: Vec<T> = (0..elements)
            .map(|i| {
                let c = i % channels;
                let (b, d) = (slopes[c], slopes[channels + c]);
                T::store(scale[c] * g[i].f32() + b * (x[i].f32() - mean[c]) + d)
            })
            .collect();
        assert_equal(&dx.to_vec(), &want, format!("dx: {case}"));
        assert!(training || slopes.iter().all(|&s| s == 0.0), "{case}");
    }
}

/// 1x1, 2x2, 7x7, H≠W; one vector, several, and a last column that is narrower.
const SHAPES: [[usize; 3]; 5] = [[1, 1, 8], [2, 4, 16], [1, 49, 40], [3, 15, 72], [1, 221, 8]];

#[test]
fn staged() {
    if !emulator_is_there() {
        return;
    }
    for (index, shape) in SHAPES.into_iter().enumerate() {
        check::<f32>(shape, index % 2 == 0, SHARED_LIMIT, "staged_f32");
        check::<f16>(shape, index % 2 == 1, SHARED_LIMIT, "staged_f16");
        check::<bf16>(shape, index % 2 == 0, SHARED_LIMIT, "staged_bf16");
    }
}

/// The same maps with too little shared memory to stage them.
#[test]
fn direct() {
    if !emulator_is_there() {
        return;
    }
    for (index, shape) in SHAPES.into_iter().enumerate() {
        check::<f32>(shape, index % 2 == 1, 0, "direct_f32");
        check::<f16>(shape, index % 2 == 0, 0, "direct_f16");
        check::<bf16>(shape, index % 2 == 1, 0, "direct_bf16");
    }
}

/// Channels that do not divide into 16-byte vectors, primes among them.
#[test]
fn scalar() {
    if !emulator_is_there() {
        return;
    }
    for shape in [[1, 1, 1], [2, 4, 3], [1, 49, 7], [2, 15, 13], [1, 6, 101]] {
        check::<f32>(shape, false, SHARED_LIMIT, "scalar_f32");
        check::<f16>(shape, true, SHARED_LIMIT, "scalar_f16");
        check::<bf16>(shape, false, SHARED_LIMIT, "scalar_bf16");
    }
}

#[test]
fn plans_and_refusals() {
    let plan = |shape, limit| -> whatwhere::Result<_> {
        let maps = maps(DType::BF16, shape, false);
        let shuffle = Shuffle::new(DType::BF16, maps, limit)?;
        let at = Address(16);
        let launch = shuffle.forward(at, at, at, at, at)?;
        Ok((launch.grid(), launch.block()[0], launch.shared_bytes()))
    };
    let found = plan([64, 56 * 56, 128], SHARED_LIMIT).unwrap();
    assert_eq!(found, ([8, 64, 1], 512, 3136 * 32));
    let found = plan([64, 224 * 224, 64], SHARED_LIMIT).unwrap();
    assert_eq!(found, ([4, 64, 1], 512, 0));
    assert_eq!(plan([2, 49, 7], SHARED_LIMIT).unwrap(), ([1, 2, 1], 512, 0));
    for shape in [
        [0, 4, 4],
        [1, 0, 4],
        [1, 65537, 4],
        [1, 4, 0],
        [65536, 4, 4],
    ] {
        let error = plan(shape, SHARED_LIMIT).unwrap_err().to_string();
        assert!(error.starts_with("batch_norm_shuffle: "), "{error}");
    }
    let maps = maps(DType::F32, [1, 4, 4], false);
    assert!(Shuffle::new(DType::F16, maps, SHARED_LIMIT).is_err());
    let shuffle = Shuffle::new(DType::F32, maps, SHARED_LIMIT).unwrap();
    let in_place = Gradients {
        dy: Address(16),
        dx: Address(16),
        ..Gradients::default()
    };
    let (at, channels) = (Address(32), Channels::default());
    assert!(shuffle.backward(true, in_place, at, channels, at).is_err());
}
