//! `kernels/metrics.cu` against its definition; counts are exact.

use half::{bf16, f16};
use whatwhere::kernels::Address;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::metrics::{self, Rows};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::DType;

use super::numbers::Number;
use super::{emulator_is_there, run};

/// Few different logits, so that rows are full of ties, and now and then a NaN.
fn logits<T: Number>(count: usize) -> Vec<T> {
    let mut stream = Key::new(6, Purpose::Check, count as u64, 0).stream(0);
    let number = |n: u32| {
        if n == 0 {
            f64::NAN
        } else {
            (n % 6) as f64 - 3.0
        }
    };
    (0..count)
        .map(|_| T::of(number(stream.below(40))))
        .collect()
}

/// Labels, some ignored (255) and some that are no class.
fn labels(rows: usize, classes: usize) -> Vec<i32> {
    let mut stream = Key::new(6, Purpose::Check, rows as u64, 1).stream(0);
    let label = |kind, class| match kind {
        0 => 255,
        1 => -1,
        2 => classes as i32,
        _ => class,
    };
    (0..rows)
        .map(|_| label(stream.below(12), stream.below(classes as u32) as i32))
        .collect()
}

/// The classes of a row, best first: NaN, then the larger logits, the lower class where they tie.
fn order<T: Number>(row: &[T]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..row.len()).collect();
    let key = |c: &usize| {
        let z = row[*c].f64();
        if z.is_nan() { f64::INFINITY } else { z }
    };
    classes.sort_by(|a, b| key(b).total_cmp(&key(a)));
    classes
}

fn check<T: Number>(rows: usize, classes: usize, ignore: Option<i32>) {
    let (z, y) = (logits::<T>(rows * classes), labels(rows, classes));
    let k = [1, 5];
    // Counts grow from what is there.
    let mut want_hits = vec![100, 200, 300];
    let mut want_matrix = vec![7; classes * classes];
    for (row, &label) in z.chunks_exact(classes).zip(&y) {
        if Some(label) == ignore || !(0..classes as i32).contains(&label) {
            continue;
        }
        let order = order(row);
        let rank = order.iter().position(|&c| c == label as usize).unwrap();
        want_hits[0] += 1;
        want_hits[1] += (rank < k[0]) as i32;
        want_hits[2] += (rank < k[1]) as i32;
        want_matrix[label as usize * classes + order[0]] += 1;
    }
    let (z, y) = (
        Memory::from_slice(&z).unwrap(),
        Memory::from_slice(&y).unwrap(),
    );
    let of = Rows {
        rows,
        classes,
        ignore,
    };
    for schedule in Schedule::all() {
        let hits = Memory::from_slice(&[100, 200, 300]).unwrap();
        let matrix = Memory::from_slice(&vec![7; classes * classes]).unwrap();
        let pointers = [z.address(), y.address(), hits.address()];
        run(
            &metrics::top_k(T::DTYPE, of, k, pointers).unwrap(),
            schedule,
        );
        assert_eq!(hits.to_vec(), want_hits, "{of:?} {schedule:?}");
        let pointers = [z.address(), y.address(), matrix.address()];
        run(
            &metrics::confusion(T::DTYPE, of, pointers).unwrap(),
            schedule,
        );
        assert_eq!(matrix.to_vec(), want_matrix, "{of:?} {schedule:?}");
    }
}

fn check_all<T: Number>() {
    // One class; chunks of every kind; more classes than are gathered; rows too long to be staged.
    for (rows, classes) in [(9, 1), (300, 3), (131, 19), (37, 100), (5, 300), (2, 3203)] {
        check::<T>(rows, classes, Some(255));
    }
    check::<T>(50, 256, None);
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

/// More chunks than blocks: each block takes several, and gathers them.
#[test]
fn blocks_share_many_chunks() {
    if !emulator_is_there() {
        return;
    }
    let (rows, classes) = (1024 * 256 + 300, 2);
    let z: Vec<f32> = (0..rows).flat_map(|row| [(row % 3) as f32, 1.5]).collect();
    let y: Vec<i32> = (0..rows).map(|row| (row % 2) as i32).collect();
    let mut want = vec![0; 4];
    (0..rows).for_each(|row| want[row % 2 * 2 + (row % 3 < 2) as usize] += 1);
    let (z, y) = (
        Memory::from_slice(&z).unwrap(),
        Memory::from_slice(&y).unwrap(),
    );
    let matrix = Memory::from_slice(&[0; 4]).unwrap();
    let of = Rows {
        rows,
        classes,
        ignore: None,
    };
    let pointers = [z.address(), y.address(), matrix.address()];
    let launch = metrics::confusion(DType::F32, of, pointers).unwrap();
    assert_eq!(launch.grid(), [1024, 1, 1]);
    run(&launch, Schedule::FAST);
    assert_eq!(matrix.to_vec(), want);
}

#[test]
fn impossible_rows_are_refused() {
    let of = |rows, classes| Rows {
        rows,
        classes,
        ignore: None,
    };
    for (rows, dtype, logits) in [
        (of(0, 3), DType::F32, 0),
        (of(3, 0), DType::F32, 0),
        (of(1 << 30, 3), DType::F32, 0),
        (of(3, 3), DType::I32, 0),
        (of(3, 3), DType::F32, 4),
    ] {
        let pointers = [Address(logits), Address(0), Address(0)];
        for refused in [
            metrics::top_k(dtype, rows, [1, 5], pointers),
            metrics::confusion(dtype, rows, pointers),
        ] {
            let error = refused.unwrap_err().to_string();
            assert!(error.starts_with("metrics: "), "{error}");
        }
    }
    assert!(metrics::confusion(DType::F32, of(1, 50000), [Address(0); 3]).is_err());
}

/// Sums in double precision in the order of the batches, until one that is not finite.
#[test]
fn sums_over_batches() {
    if !emulator_is_there() {
        return;
    }
    let losses = [0.1f32, 3.7, 1e-30, f32::NAN, 2.0, f32::INFINITY];
    let counted = [
        [7, 3, 5],
        [9, 0, 1],
        [4, 4, 4],
        [2, 2, 2],
        [1, 1, 1],
        [1, 1, 1],
    ];
    let rows = |rows| Rows {
        rows,
        classes: 10,
        ignore: None,
    };
    for schedule in Schedule::all() {
        let number = |n: u64| Memory::from_slice(&[n as i32, (n >> 32) as i32]).unwrap();
        let total = Memory::from_slice(&[0.5f64]).unwrap();
        let whole = Memory::from_slice(&[11i32, 0, 0, 0]).unwrap();
        let (mut sum, mut right, mut failed) = (0.5f64, 11, 0);
        for (at, (loss, counted)) in losses.into_iter().zip(counted).enumerate() {
            let number = number((1 << 32) + at as u64);
            let counts = Memory::from_slice(&counted).unwrap();
            let value = Memory::from_slice(&[loss]).unwrap();
            let sums = metrics::Sums {
                number: number.address(),
                counts: counts.address(),
                total: total.address(),
                whole: whole.address(),
            };
            let count = 128 + at;
            run(
                &metrics::sums(DType::F32, rows(count), value.address(), sums).unwrap(),
                schedule,
            );
            if failed == 0 && loss.is_finite() {
                sum += loss as f64 * count as f64;
                right += counted[1];
            } else if failed == 0 {
                failed = 1 + at as i32;
            }
            assert_eq!(counts.to_vec(), [0; 3]);
            assert_eq!(total.to_vec(), [sum], "{schedule:?}");
            let high = (failed > 0) as i32;
            assert_eq!(whole.to_vec(), [right, 0, failed, high], "{schedule:?}");
        }
        assert_eq!(failed, 4);
    }
    assert!(
        metrics::sums(
            DType::F64,
            rows(1),
            Address(0),
            metrics::Sums {
                number: Address(0),
                counts: Address(0),
                total: Address(0),
                whole: Address(0),
            }
        )
        .is_err()
    );
}
