//! `kernels/relu.cu` against its definition; elements are kept or zeroed, so equality is exact.

use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::{Address, relu};
use whatwhere::tensor::DType;

use super::numbers::{LENGTHS, Number, assert_equal, drawn};
use super::{emulator_is_there, in_every_dtype, run};

fn check<T: Number>() {
    for elements in LENGTHS {
        let (x, dy) = (drawn::<T>(elements, 1), drawn::<T>(elements, 2));
        let kept = |v: &T| if v.f64() < 0.0 { T::of(0.0) } else { *v };
        let want_y: Vec<T> = x.iter().map(kept).collect();
        let passed = |(y, dy): (&T, &T)| if y.f64() > 0.0 { *dy } else { T::of(0.0) };
        let want_dx: Vec<T> = want_y.iter().zip(&dy).map(passed).collect();
        let memory_x = Memory::from_slice(&x).unwrap();
        for schedule in Schedule::all() {
            let y = Memory::<T>::uninitialised(elements).unwrap();
            let dx = Memory::from_slice(&dy).unwrap();
            let (to, gradient) = (y.address(), dx.address());
            run(
                &relu::forward(T::DTYPE, elements, memory_x.address(), to).unwrap(),
                schedule,
            );
            assert_equal(&y.to_vec(), &want_y, format!("{elements} {schedule:?}"));
            run(
                &relu::backward(T::DTYPE, elements, to, gradient, gradient).unwrap(),
                schedule,
            );
            assert_equal(&dx.to_vec(), &want_dx, format!("{elements} {schedule:?}"));
        }
    }
}

in_every_dtype!(check);

/// As on the CPU: NaN stays NaN, and no gradient flows where the output is 0.
#[test]
fn zeros_and_nans() {
    if !emulator_is_there() {
        return;
    }
    let x = Memory::from_slice(&[f32::NAN, -0.0, 0.0, f32::NEG_INFINITY, f32::INFINITY]).unwrap();
    let dy = Memory::from_slice(&[1.0f32; 5]).unwrap();
    let y = Memory::<f32>::uninitialised(5).unwrap();
    let forward = relu::forward(DType::F32, 5, x.address(), y.address()).unwrap();
    run(&forward, Schedule::FAST);
    let found = y.to_vec();
    assert!(found[0].is_nan());
    assert_eq!(found[1..], [0.0, 0.0, 0.0, f32::INFINITY]);
    let dx = dy.address();
    let backward = relu::backward(DType::F32, 5, y.address(), dx, dx).unwrap();
    run(&backward, Schedule::FAST);
    assert_eq!(dy.to_vec(), [0.0, 0.0, 0.0, 0.0, 1.0]);
}

/// Blocks of 256 threads with four vectors each, and nothing for what cannot be.
#[test]
fn plans_and_refusals() {
    let at = Address(64);
    let plan = |dtype, elements| relu::forward(dtype, elements, at, at).map(|l| l.grid());
    assert_eq!(plan(DType::F32, 4096).unwrap(), [1, 1, 1]);
    assert_eq!(plan(DType::F32, 4097).unwrap(), [2, 1, 1]);
    assert_eq!(plan(DType::BF16, 8193).unwrap(), [2, 1, 1]);
    assert_eq!(plan(DType::F32, 1 << 33).unwrap(), [1 << 21, 1, 1]);
    assert!(plan(DType::F32, 0).is_err());
    assert!(plan(DType::F32, usize::MAX / 2).is_err());
    assert!(plan(DType::F64, 8).is_err());
    assert!(relu::forward(DType::F32, 8, Address(8), at).is_err());
}
