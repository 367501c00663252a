//! `kernels/masked_bce.cu` against the CPU operation in f64.

use half::{bf16, f16};
use whatwhere::cpu::masked_bce::{Operands as OnCpu, backward as on_cpu, loss_sum};
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::masked_bce::{self, Operands};
use whatwhere::kernels::{Address, Launch};
use whatwhere::tensor::DType;

use super::bounds::{assert_close, f64s, gamma};
use super::numbers::{LENGTHS, Number, drawn};
use super::{emulator_is_there, run};

const U: f64 = f32::EPSILON as f64 / 2.0;

/// Targets in [0, 1], whole ones and others.
fn targets<T: Number>(elements: usize) -> Vec<T> {
    (0..elements).map(|i| T::of((i % 5) as f64 / 4.0)).collect()
}

/// Two elements in three are known.
fn mask<T: Number>(elements: usize) -> Vec<T> {
    (0..elements)
        .map(|i| T::of((i % 3 != 1) as u8 as f64))
        .collect()
}

fn check<T: Number>(elements: usize, weighted: bool) {
    // Logits up to ±30, and NaN where nothing is known.
    let mut z: Vec<T> = drawn::<T>(elements, 1)
        .iter()
        .map(|z| T::of(8.0 * z.f64()))
        .collect();
    let (mut t, m) = (targets::<T>(elements), mask::<T>(elements));
    for i in (1..elements).step_by(3) {
        (z[i], t[i]) = (T::of(f64::NAN), T::of(f64::INFINITY));
    }
    let w: Vec<T> = drawn::<T>(elements, 2)
        .iter()
        .map(|w| T::of(w.f64().abs()))
        .collect();
    let (z64, t64, m64, w64) = (f64s(&z), f64s(&t), f64s(&m), f64s(&w));
    let operands = OnCpu {
        logits: &z64,
        targets: &t64,
        mask: &m64,
        weights: weighted.then_some(&w64),
    };
    let [sum, total] = loss_sum(operands);
    let (want, cotangent) = (sum / total, 3.0f32);
    let scale = cotangent as f64 / total;
    let mut want_dz = vec![f64::NAN; elements];
    on_cpu(operands, scale, &mut want_dz);

    let memory = [&z, &t, &m, &w].map(|array| Memory::from_slice(array).unwrap());
    let [z, t, m, w] = [0, 1, 2, 3].map(|i| memory[i].address());
    let operands = Operands {
        logits: z,
        targets: t,
        mask: m,
        weights: if weighted { w } else { Address(0) },
    };
    let cotangent = Memory::from_slice(&[T::of(cotangent as f64)]).unwrap();
    let blocks = masked_bce::blocks_of(T::DTYPE, elements);
    for schedule in Schedule::all() {
        let context = format!("{elements} {weighted} {schedule:?}");
        let scratch = Memory::<f32>::uninitialised(2 * blocks).unwrap();
        let result = Memory::<f32>::uninitialised(2).unwrap();
        let loss = Memory::<T>::uninitialised(1).unwrap();
        let addresses = [scratch.address(), result.address(), loss.address()];
        let launches = masked_bce::forward(T::DTYPE, elements, operands, addresses);
        launches
            .unwrap()
            .iter()
            .for_each(|launch: &Launch| run(launch, schedule));
        let found = result.to_vec();
        assert_eq!(found[1] as f64, total, "{context}");
        assert_eq!(loss.to_vec(), [T::of(found[0] as f64)], "{context}");
        // All terms are positive. Each: an exponential and a logarithm (2 units each), three products,
        // three sums; then at most all are added one after another, and divided.
        let bound = |_| gamma(elements + 12) * want;
        assert_close(&found[..1], &[want], bound, &context);

        let dz = Memory::<T>::uninitialised(elements).unwrap();
        let addresses = [result.address(), cotangent.address(), dz.address()];
        run(
            &masked_bce::backward(T::DTYPE, elements, operands, addresses).unwrap(),
            schedule,
        );
        // σ in [0, 1] to 4 units (an exponential, a sum, a quotient), σ − t to one more, three factors.
        let bound = |i: usize| {
            let weight = if weighted { w64[i] } else { 1.0 };
            gamma(4) * want_dz[i].abs() + scale * m64[i] * weight * 6.0 * U
        };
        assert_close(&dz.to_vec(), &want_dz, bound, &context);
    }
}

fn check_all<T: Number>() {
    for elements in LENGTHS {
        check::<T>(elements, false);
        check::<T>(elements, true);
    }
}

#[test]
fn f32s() {
    if emulator_is_there() {
        check_all::<f32>();
    }
}

#[test]
fn f16s() {
    if emulator_is_there() {
        check_all::<f16>();
    }
}

#[test]
fn bf16s() {
    if emulator_is_there() {
        check_all::<bf16>();
    }
}

/// A mask without an element makes the loss NaN, and what cannot be is refused.
#[test]
fn nothing_known_and_refusals() {
    let operands = Operands::default();
    let refused = |dtype, elements, operands| {
        let error = masked_bce::forward(dtype, elements, operands, [Address(0); 3]);
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("masked_bce: "), "{error}");
    };
    refused(DType::F64, 8, operands);
    refused(DType::F32, 0, operands);
    let mask = Address(8);
    refused(DType::F32, 8, Operands { mask, ..operands });
    if !emulator_is_there() {
        return;
    }
    let zeros = Memory::from_slice(&[0.0f32; 5]).unwrap();
    let scratch = Memory::<f32>::uninitialised(2).unwrap();
    let result = Memory::<f32>::uninitialised(2).unwrap();
    let here = zeros.address();
    let operands = Operands {
        logits: here,
        targets: here,
        mask: here,
        weights: Address(0),
    };
    let loss = Memory::<f32>::uninitialised(1).unwrap();
    let addresses = [scratch.address(), result.address(), loss.address()];
    let launches = masked_bce::forward(DType::F32, 5, operands, addresses).unwrap();
    launches
        .iter()
        .for_each(|launch| run(launch, Schedule::FAST));
    assert!(result.to_vec()[0].is_nan());
}
