//! `kernels/cast.cu` against the conversions of `half`: every 16-bit number, and the f32 between them.

use half::{bf16, f16};
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::{Address, cast};
use whatwhere::tensor::{DType, Element};

use super::numbers::{LENGTHS, Number, drawn};
use super::{emulator_is_there, run};

/// Casts `x` under every schedule given; NaN may become any NaN.
fn check<From: Element, To: Number>(
    x: &[From],
    schedules: &[Schedule],
    cast_one: impl Fn(From) -> To,
) {
    let from = Memory::from_slice(x).unwrap();
    for &schedule in schedules {
        let to = Memory::<To>::uninitialised(x.len()).unwrap();
        let (source, target) = (from.address(), to.address());
        let launch = cast::forward(From::DTYPE, To::DTYPE, x.len(), source, target);
        run(&launch.unwrap(), schedule);
        for (&x, found) in x.iter().zip(to.to_vec()) {
            let want = cast_one(x);
            let (a, b) = (found.f64(), want.f64());
            let equal = a == b && a.is_sign_negative() == b.is_sign_negative();
            assert!(
                equal || (a.is_nan() && b.is_nan()),
                "{x:?}: {found:?} is not {want:?}"
            );
        }
    }
}

/// Every number of a 16-bit type, as f32, and with them the middle to the next one and the neighbours
/// of the middle, where rounding to nearest even is decided.
fn around_all(of: impl Fn(u16) -> f32) -> Vec<f32> {
    let mut all = Vec::new();
    for bits in 0..=u16::MAX {
        let (low, high) = (of(bits), of(bits.wrapping_add(1)));
        let middle = ((low as f64 + high as f64) / 2.0) as f32;
        all.extend([low, middle.next_down(), middle, middle.next_up()]);
    }
    all
}

#[test]
fn every_16_bit_number_widens_exactly() {
    if !emulator_is_there() {
        return;
    }
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let brains: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    check(&halves, &[Schedule::FAST], f16::to_f32);
    check(&brains, &[Schedule::FAST], bf16::to_f32);
    check(&halves, &[Schedule::FAST], |x| bf16::from_f32(x.to_f32()));
    check(&brains, &[Schedule::FAST], |x| f16::from_f32(x.to_f32()));
}

#[test]
fn f32_rounds_to_nearest_even() {
    if !emulator_is_there() {
        return;
    }
    let extremes = [
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        65519.996,
        65520.0,
    ];
    let halves = [
        around_all(|b| f16::from_bits(b).to_f32()),
        extremes.to_vec(),
    ]
    .concat();
    let brains = [
        around_all(|b| bf16::from_bits(b).to_f32()),
        extremes.to_vec(),
    ]
    .concat();
    check(&halves, &[Schedule::FAST], f16::from_f32);
    check(&brains, &[Schedule::FAST], bf16::from_f32);
}

#[test]
fn lengths_under_every_schedule() {
    if !emulator_is_there() {
        return;
    }
    let schedules: Vec<_> = Schedule::all().collect();
    for elements in LENGTHS {
        let wide = drawn::<f32>(elements, 1);
        check(&wide, &schedules, f16::from_f32);
        check(&wide, &schedules, bf16::from_f32);
        let halves: Vec<f16> = wide.iter().map(|&x| f16::from_f32(x)).collect();
        let brains: Vec<bf16> = wide.iter().map(|&x| bf16::from_f32(x)).collect();
        check(&halves, &schedules, f16::to_f32);
        check(&brains, &schedules, bf16::to_f32);
        check(&halves, &schedules, |x| bf16::from_f32(x.to_f32()));
        check(&brains, &schedules, |x| f16::from_f32(x.to_f32()));
        let bytes: Vec<u8> = (0..elements).map(|i| i as u8).collect();
        check(&bytes, &schedules, |x| x as f32);
    }
}

#[test]
fn refusals() {
    let at = Address(16);
    assert!(cast::forward(DType::F32, DType::F32, 4, at, at).is_err());
    assert!(cast::forward(DType::F32, DType::U8, 4, at, at).is_err());
    assert!(cast::forward(DType::F32, DType::F16, 0, at, at).is_err());
    assert!(cast::forward(DType::F32, DType::F16, 4, at, Address(2)).is_err());
}
