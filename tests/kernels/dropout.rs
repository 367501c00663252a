//! `kernels/dropout.cu` against the CPU's dropout, bit for bit.

use whatwhere::cpu::dropout::Mask;
use whatwhere::kernels::dropout::{self, Draw};
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::{Address, key::KeySource};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::DType;

use super::numbers::{LENGTHS, Number, assert_equal, drawn};
use super::{in_every_dtype, run};

fn mask(p: f64) -> Mask {
    Mask {
        key: Key::new(21, Purpose::Check, 5, 6),
        p,
    }
}

/// y = x · m in f32, by the CPU, stored as `T`.
fn wanted<T: Number>(x: &[T], draw: impl Fn(&[f32], &mut [f32])) -> Vec<T> {
    let wide: Vec<f32> = x.iter().map(|x| x.f32()).collect();
    let mut y = vec![0.0; x.len()];
    draw(&wide, &mut y);
    y.into_iter().map(T::store).collect()
}

/// The mask, and the same with a key that the kernel makes of the step in `memory`.
fn draws(p: f64, memory: &Memory<i32>) -> [Draw; 2] {
    let whole = Draw::from(mask(p));
    let key = KeySource::at(21, Purpose::Check, memory.address(), 6);
    [whole, Draw { key, ..whole }]
}

fn check<T: Number>() {
    let step = Memory::from_slice(&[5i32, 0]).unwrap();
    for (elements, p) in LENGTHS.into_iter().zip([0.5, 0.0, 0.25, 0.9, 0.5, 0.1]) {
        let x = drawn::<T>(elements, 1);
        let want = wanted(&x, |x, y| whatwhere::cpu::dropout::elements(mask(p), x, y));
        let from = Memory::from_slice(&x).unwrap();
        for (schedule, draw) in Schedule::all().flat_map(|s| draws(p, &step).map(|d| (s, d))) {
            let y = Memory::<T>::uninitialised(elements).unwrap();
            let launch = dropout::elements(T::DTYPE, draw, elements, from.address(), y.address());
            run(&launch.unwrap(), schedule);
            assert_equal(&y.to_vec(), &want, format!("{elements} {schedule:?}"));
        }
    }
    // Vectors, several columns, and channels that are no vectors; 1x1 maps, H≠W, batch 1.
    for maps in [
        [3, 15, 16],
        [1, 1, 8],
        [2, 35, 264],
        [3, 7, 5],
        [1, 6, 1],
        [5, 1, 67],
    ] {
        let [_, pixels, channels] = maps;
        let x = drawn::<T>(maps.iter().product(), 2);
        let want = wanted(&x, |x, y| {
            whatwhere::cpu::dropout::channels(mask(0.3), pixels, channels, x, y)
        });
        let from = Memory::from_slice(&x).unwrap();
        for (schedule, draw) in Schedule::all().flat_map(|s| draws(0.3, &step).map(|d| (s, d))) {
            let y = Memory::<T>::uninitialised(x.len()).unwrap();
            let launch = dropout::channels(T::DTYPE, draw, maps, from.address(), y.address());
            run(&launch.unwrap(), schedule);
            assert_equal(&y.to_vec(), &want, format!("{maps:?} {schedule:?}"));
        }
    }
}

in_every_dtype!(check);

#[test]
fn refusals() {
    let at = Address(16);
    let m = mask(0.5);
    assert!(dropout::elements(DType::F32, m, 0, at, at).is_err());
    assert!(dropout::elements(DType::F64, m, 4, at, at).is_err());
    assert!(dropout::elements(DType::F32, m, 4, Address(4), at).is_err());
    assert!(dropout::channels(DType::F32, m, [1, 4, 4], at, at).is_ok());
    for maps in [[0, 4, 4], [65536, 4, 4], [1, 0, 4], [1, 4, 0]] {
        assert!(dropout::channels(DType::F32, m, maps, at, at).is_err());
    }
}
