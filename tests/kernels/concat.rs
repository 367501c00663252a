//! `kernels/concat.cu` against its definition; elements only move, so equality is exact.

use half::{bf16, f16};
use whatwhere::kernels::Address;
use whatwhere::kernels::concat::{Columns, copy};
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::tensor::{DType, Element};

use super::numbers::assert_equal;
use super::{emulator_is_there, run};

/// Joins parts of these widths into one matrix, whose other elements stay, and takes them out again.
fn check<T: Element>(rows: usize, widths: &[usize], kernel: &str, number: impl Fn(usize) -> T) {
    let width: usize = widths.iter().sum();
    let parts: Vec<Vec<T>> = (0..widths.len())
        .map(|p| (0..rows * widths[p]).map(|i| number(997 * p + i)).collect())
        .collect();
    let mut want = Vec::new();
    for row in 0..rows {
        for (part, &length) in parts.iter().zip(widths) {
            want.extend_from_slice(&part[row * length..][..length]);
        }
    }
    for schedule in Schedule::all() {
        let whole = Memory::<T>::uninitialised(rows * width).unwrap();
        let columns = |start: usize, length: usize| Columns {
            start,
            length,
            ..Columns::all(whole.address(), width)
        };
        let mut start = 0;
        for (part, &length) in parts.iter().zip(widths) {
            let memory = Memory::from_slice(part).unwrap();
            let from = Columns::all(memory.address(), length);
            let launch = copy(T::DTYPE, rows, from, columns(start, length)).unwrap();
            assert_eq!(launch.kernel(), kernel);
            run(&launch, schedule);
            start += length;
        }
        assert_equal(&whole.to_vec(), &want, format!("{widths:?} {schedule:?}"));
        start = 0;
        for (part, &length) in parts.iter().zip(widths) {
            let back = Memory::<T>::uninitialised(part.len()).unwrap();
            let to = Columns::all(back.address(), length);
            let launch = copy(T::DTYPE, rows, columns(start, length), to).unwrap();
            run(&launch, schedule);
            assert_equal(&back.to_vec(), part, format!("{widths:?} {schedule:?}"));
            start += length;
        }
    }
}

#[test]
fn vectors() {
    if !emulator_is_there() {
        return;
    }
    for (rows, widths) in [(1, vec![4]), (35, vec![8, 20, 4]), (261, vec![12, 4])] {
        check(rows, &widths, "concat_b128", |i| i as f32);
        let doubled: Vec<usize> = widths.iter().map(|w| 2 * w).collect();
        check(rows, &doubled, "concat_b128", |i| {
            f16::from_bits(i as u16 & 0x7BFF)
        });
    }
}

/// Widths that are no whole vectors, or parts that do not begin at one.
#[test]
fn elements() {
    if !emulator_is_there() {
        return;
    }
    for (rows, widths) in [(1, vec![1]), (35, vec![5, 1, 3]), (149, vec![7, 2])] {
        check(rows, &widths, "concat_b32", |i| i as f32);
        check(rows, &widths, "concat_b16", |i| {
            bf16::from_bits(i as u16 & 0x7F7F)
        });
    }
}

#[test]
fn refusals() {
    let all = |width| Columns::all(Address(16), width);
    let at = |start, length| Columns {
        start,
        length,
        ..all(8)
    };
    assert!(copy(DType::F32, 3, all(8), at(0, 8)).is_ok());
    for (rows, from, to) in [
        (0, all(8), all(8)),
        (3, all(0), at(0, 0)),
        (3, all(8), at(4, 8)),
        (3, all(8), at(0, 4)),
        (3, at(usize::MAX, 8), all(8)),
    ] {
        assert!(
            copy(DType::F16, rows, from, to).is_err(),
            "{rows} {from:?} {to:?}"
        );
    }
    // Columns of 4 are no 16 bytes, so these would be 2^33 single elements.
    let long = copy(DType::F16, 1 << 31, at(0, 4), at(4, 4)).unwrap_err();
    assert!(long.to_string().contains("2^31"), "{long}");
    assert!(copy(DType::U8, 3, all(8), all(8)).is_err());
    assert!(copy(DType::F32, 3, Columns::all(Address(4), 8), all(8)).is_err());
}
