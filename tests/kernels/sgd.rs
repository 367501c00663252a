//! `kernels/sgd.cu` against the CPU's step, bit for bit, whatever the gradient's type.

use half::{bf16, f16};
use whatwhere::cpu::sgd::Step;
use whatwhere::kernels::Address;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::sgd::{self, Arrays};
use whatwhere::tensor::DType;

use super::numbers::{LENGTHS, Number, assert_equal, drawn};
use super::{emulator_is_there, run};

const STEPS: [Step; 3] = [
    Step {
        lr: 0.1,
        momentum: 0.9,
        weight_decay: 5e-4,
        nesterov: false,
    },
    Step {
        lr: 0.03,
        momentum: 0.9,
        weight_decay: 1e-4,
        nesterov: true,
    },
    Step {
        lr: 1.0,
        momentum: 0.0,
        weight_decay: 0.0,
        nesterov: false,
    },
];

fn check<T: Number>() {
    for (round, elements) in LENGTHS.into_iter().enumerate() {
        let step = STEPS[round % 3];
        let loss_scale = [1.0, 1024.0][round % 2];
        let gradient = drawn::<T>(elements, 1);
        let (w, v) = (drawn::<f32>(elements, 2), drawn::<f32>(elements, 3));
        let (mut want_w, mut want_v) = (w.clone(), v.clone());
        let wide: Vec<f32> = gradient
            .iter()
            .map(|g| g.f32() / loss_scale as f32)
            .collect();
        whatwhere::cpu::sgd::update(step, &mut want_w, &mut want_v, &wide);
        let want_copy: Vec<T> = want_w.iter().map(|&w| T::store(w)).collect();
        let gradient = Memory::from_slice(&gradient).unwrap();
        for (index, schedule) in Schedule::all().enumerate() {
            let (with_copy, with_check) = (index % 2 == 0, index % 3 > 0);
            let weights = Memory::from_slice(&w).unwrap();
            let velocities = Memory::from_slice(&v).unwrap();
            let copy = Memory::<T>::uninitialised(elements).unwrap();
            let found = Memory::from_slice(&[0i32]).unwrap();
            let only = |wanted: bool, address: Address| {
                if wanted { address } else { Address::default() }
            };
            let arrays = Arrays {
                weights: weights.address(),
                velocities: velocities.address(),
                gradient: gradient.address(),
                copy: only(with_copy, copy.address()),
                found: only(with_check, found.address()),
            };
            if with_check {
                let (from, to) = (gradient.address(), found.address());
                run(&sgd::check(T::DTYPE, elements, from, to).unwrap(), schedule);
            }
            let launch = sgd::update(T::DTYPE, elements, step, loss_scale, arrays);
            run(&launch.unwrap(), schedule);
            let case = format!("{elements} {step:?} {schedule:?}");
            assert_eq!(found.to_vec(), [0], "{case}");
            assert_equal(&weights.to_vec(), &want_w, &case);
            assert_equal(&velocities.to_vec(), &want_v, &case);
            if with_copy {
                assert_equal(&copy.to_vec(), &want_copy, &case);
            }
        }
    }
}

/// One element that is not finite, wherever it is, is found, and then nothing changes.
fn check_not_finite<T: Number>() {
    let elements = 8192 + 13;
    for (at, value) in [
        (0, f64::NAN),
        (8191, f64::INFINITY),
        (8192 + 7, f64::NEG_INFINITY),
        (elements - 1, f64::NAN),
    ] {
        let mut gradient = drawn::<T>(elements, 1);
        gradient[at] = T::of(value);
        // The largest finite numbers are none of it.
        gradient[at / 2 + 1] = T::of(60000.0);
        let gradient = Memory::from_slice(&gradient).unwrap();
        let w = drawn::<f32>(elements, 2);
        for schedule in Schedule::all() {
            let found = Memory::from_slice(&[0i32]).unwrap();
            let (from, to) = (gradient.address(), found.address());
            run(&sgd::check(T::DTYPE, elements, from, to).unwrap(), schedule);
            assert_eq!(found.to_vec(), [1], "{at} {schedule:?}");
            let weights = Memory::from_slice(&w).unwrap();
            let velocities = Memory::from_slice(&w).unwrap();
            let arrays = Arrays {
                weights: weights.address(),
                velocities: velocities.address(),
                gradient: from,
                copy: Address::default(),
                found: to,
            };
            let launch = sgd::update(T::DTYPE, elements, STEPS[0], 1.0, arrays);
            run(&launch.unwrap(), schedule);
            assert_equal(&weights.to_vec(), &w, format!("{schedule:?}"));
            assert_equal(&velocities.to_vec(), &w, format!("{schedule:?}"));
        }
    }
}

#[test]
fn f32s() {
    if emulator_is_there() {
        check::<f32>();
        check_not_finite::<f32>();
    }
}

#[test]
fn f16s() {
    if emulator_is_there() {
        check::<f16>();
        check_not_finite::<f16>();
    }
}

#[test]
fn bf16s() {
    if emulator_is_there() {
        check::<bf16>();
        check_not_finite::<bf16>();
    }
}

#[test]
fn refusals() {
    let plan =
        |dtype, elements, scale| sgd::update(dtype, elements, STEPS[0], scale, Arrays::default());
    assert!(plan(DType::F32, 4, 65536.0).is_ok());
    assert!(plan(DType::F32, 0, 1.0).is_err());
    assert!(plan(DType::I32, 4, 1.0).is_err());
    for scale in [0.0, -2.0, 3.0, 1e-300, 1e300, f64::NAN, f64::INFINITY] {
        let error = plan(DType::F32, 4, scale).unwrap_err().to_string();
        assert!(error.contains("loss scale"), "{error}");
    }
    let arrays = Arrays {
        gradient: Address(4),
        ..Arrays::default()
    };
    assert!(sgd::update(DType::F32, 4, STEPS[0], 1.0, arrays).is_err());
    assert!(sgd::check(DType::F32, 0, Address(16), Address(4)).is_err());
}
