//! `kernels/softmax_cross_entropy.cu` against the CPU operation in f64.

use half::{bf16, f16};
use whatwhere::cpu::softmax_cross_entropy::{Target, backward as on_cpu, loss_sum};
use whatwhere::kernels::Address;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::softmax_cross_entropy::{self, Buffers, Rows};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::DType;

use super::bounds::{assert_close, f64s, gamma};
use super::numbers::{Number, drawn};
use super::{emulator_is_there, run};

const U: f64 = f32::EPSILON as f64 / 2.0;

/// Rows and classes: one class, one row, rows that fill several blocks, every number of lanes from 1 to
/// 32, and rows too long to be staged.
const SHAPES: [(usize, usize); 9] = [
    (3, 1),
    (1, 2),
    (300, 5),
    (150, 10),
    (131, 19),
    (37, 40),
    (19, 100),
    (9, 1000),
    (3, 3203),
];

/// Every setting at once, or none.
#[derive(Clone, Copy, Debug)]
struct Settings {
    ignore: Option<i32>,
    smoothing: f64,
    weighted: bool,
}

const PLAIN: Settings = Settings {
    ignore: None,
    smoothing: 0.0,
    weighted: false,
};
const FULL: Settings = Settings {
    ignore: Some(255),
    smoothing: 0.1,
    weighted: true,
};

fn labels(rows: usize, classes: usize, ignore: Option<i32>) -> Vec<i32> {
    let mut stream = Key::new(4, Purpose::Check, rows as u64, classes as u32).stream(0);
    let label = |row: usize| match (ignore, stream.below(5)) {
        (Some(ignored), 0) if row > 0 => ignored,
        _ => stream.below(classes as u32) as i32,
    };
    (0..rows).map(label).collect()
}

fn check<T: Number>((rows, classes): (usize, usize), settings: Settings) {
    let z: Vec<T> = drawn::<T>(rows * classes, 1)
        .iter()
        .map(|z| T::of(4.0 * z.f64()))
        .collect();
    let labels = labels(rows, classes, settings.ignore);
    let weights: Vec<f32> = (0..classes).map(|c| 0.25 + (c % 4) as f32).collect();
    let weights64 = f64s(&weights);
    let target = Target {
        smoothing: settings.smoothing,
        ignore: settings.ignore,
        weights: settings.weighted.then_some(&weights64[..]),
    };
    let (z64, cotangent) = (f64s(&z), 3.0f32);
    let mut lse = vec![0.0; rows];
    let total: f64 = labels.iter().map(|&label| target.weight(label)).sum();
    let want = loss_sum(&z64, classes, &labels, target, &mut lse) / total;
    let scale = cotangent as f64 / total;
    let mut want_dz = vec![f64::NAN; rows * classes];
    on_cpu(&z64, classes, &labels, target, &lse, scale, &mut want_dz);

    // An exponential or a logarithm is right to 2 units, and expm1 too. `depth` bounds |z − m|.
    let depth = z64.iter().fold(0.0f64, |most, z| most.max(2.0 * z.abs()));
    let log_sum = (classes as f64).ln();
    let of_log_sum = gamma(classes + 4) + U * depth + 2.0 * U * log_sum;
    let of_log_p = of_log_sum + U * (2.0 * depth + log_sum);
    // Σ_c t_c of the rows that count.
    let weight_sum = if settings.weighted {
        weights64.iter().sum()
    } else {
        classes as f64
    };
    let smooth_sum = settings.smoothing / classes as f64 * weight_sum;
    let in_row = |row: usize| match settings.ignore {
        Some(ignored) if labels[row] == ignored => 0.0,
        _ => (1.0 - settings.smoothing) * target.weight(labels[row]) + smooth_sum,
    };
    let all: f64 = (0..rows).map(in_row).sum();

    let rows_of = Rows {
        rows,
        classes,
        ignore: settings.ignore,
        smoothing: settings.smoothing,
        weight_sum,
    };
    let (z, labels, weights) = (
        Memory::from_slice(&z).unwrap(),
        Memory::from_slice(&labels).unwrap(),
        Memory::from_slice(&weights).unwrap(),
    );
    let cotangent = Memory::from_slice(&[T::of(cotangent as f64)]).unwrap();
    for schedule in Schedule::all() {
        let context = format!("{rows}x{classes} {settings:?} {schedule:?}");
        let statistics = Memory::<f32>::uninitialised(2 * rows).unwrap();
        let scratch = Memory::<f32>::uninitialised(3 * rows_of.blocks()).unwrap();
        let result = Memory::<f32>::uninitialised(3).unwrap();
        let loss = Memory::<T>::uninitialised(1).unwrap();
        let buffers = Buffers {
            logits: z.address(),
            labels: labels.address(),
            weights: if settings.weighted {
                weights.address()
            } else {
                Address(0)
            },
            statistics: statistics.address(),
            result: result.address(),
            loss: loss.address(),
        };
        let launches =
            softmax_cross_entropy::forward(T::DTYPE, rows_of, buffers, scratch.address());
        launches
            .unwrap()
            .iter()
            .for_each(|launch| run(launch, schedule));
        let found = result.to_vec();
        // Terms are positive: a few products for each, then a sum over classes and rows, and a quotient.
        let bound = |_| all / total * of_log_p + gamma(classes + rows + 8) * want;
        assert_close(&found[..1], &[want], bound, &context);
        assert_eq!(found[1..], [total as f32, 0.0], "{context}");
        assert_eq!(loss.to_vec(), [T::of(found[0] as f64)], "{context}");

        let dz = Memory::<T>::uninitialised(rows * classes).unwrap();
        let to = [cotangent.address(), dz.address()];
        let backward = softmax_cross_entropy::backward(T::DTYPE, rows_of, buffers, to[0], to[1]);
        run(&backward.unwrap(), schedule);
        let bound = |i: usize| {
            let (row, c) = (i / classes, i % classes);
            let (t, p) = (in_row(row), (z64[i] - lse[row]).exp());
            let smooth = settings.smoothing / classes as f64 * target.weights.map_or(1.0, |w| w[c]);
            scale * (t * p * of_log_p + gamma(6) * (t * p + t + smooth))
        };
        assert_close(&dz.to_vec(), &want_dz, bound, &context);
    }
}

fn check_all<T: Number>() {
    for shape in SHAPES {
        check::<T>(shape, PLAIN);
        check::<T>(shape, FULL);
    }
    check::<T>(
        (20, 7),
        Settings {
            smoothing: 1.0,
            ..PLAIN
        },
    );
    check::<T>(
        (20, 7),
        Settings {
            weighted: true,
            ..PLAIN
        },
    );
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

const THREE_BY_TWO: Rows = Rows {
    rows: 3,
    classes: 2,
    ignore: Some(7),
    smoothing: 0.0,
    weight_sum: 2.0,
};

/// Runs both passes on three rows of two logits.
fn three_rows(z: [f32; 6], labels: [i32; 3]) -> (Vec<f32>, Vec<f32>) {
    let (z, labels) = (
        Memory::from_slice(&z).unwrap(),
        Memory::from_slice(&labels).unwrap(),
    );
    let statistics = Memory::<f32>::uninitialised(6).unwrap();
    let scratch = Memory::<f32>::uninitialised(3).unwrap();
    let result = Memory::<f32>::uninitialised(3).unwrap();
    let loss = Memory::<f32>::uninitialised(1).unwrap();
    let dz = Memory::<f32>::uninitialised(6).unwrap();
    let cotangent = Memory::from_slice(&[1.0f32]).unwrap();
    let buffers = Buffers {
        logits: z.address(),
        labels: labels.address(),
        weights: Address(0),
        statistics: statistics.address(),
        result: result.address(),
        loss: loss.address(),
    };
    let dtype = DType::F32;
    let scratch = scratch.address();
    for launch in softmax_cross_entropy::forward(dtype, THREE_BY_TWO, buffers, scratch).unwrap() {
        run(&launch, Schedule::FAST);
    }
    let to = [cotangent.address(), dz.address()];
    let backward = softmax_cross_entropy::backward(dtype, THREE_BY_TWO, buffers, to[0], to[1]);
    run(&backward.unwrap(), Schedule::FAST);
    (result.to_vec(), dz.to_vec())
}

/// Logits of any size: nothing overflows, and a sure answer keeps its digits.
#[test]
fn large_logits_and_sure_answers() {
    if !emulator_is_there() {
        return;
    }
    let (result, dz) = three_rows([1e30, -1e30, 88.0, 88.0, 0.0, -20.0], [0, 1, 0]);
    let tail = (-20f64).exp().ln_1p();
    let want = (2f64.ln() + tail) / 3.0;
    assert!(
        (result[0] as f64 - want).abs() <= gamma(8) * want,
        "{result:?}"
    );
    assert_eq!(dz[..2], [0.0, 0.0]);
    // p − 1 and p of the last row, both of the size 2e-9.
    let p = (-20f64 - tail).exp();
    for (found, want) in [(dz[4], -p / 3.0), (dz[5], p / 3.0)] {
        let error = (found as f64 - want).abs();
        assert!(error <= gamma(8 + 20) * p, "{found:e} and not {want:e}");
    }
    // A loss that f32 cannot tell from 0 beside the 1 in its logarithm.
    let (result, _) = three_rows([0.0, -20.0, 7.0, 27.0, 20.0, 0.0], [0, 1, 0]);
    assert!(
        (result[0] as f64 - tail).abs() <= gamma(8 + 20) * tail,
        "{result:?}"
    );
}

#[test]
fn labels_out_of_range_are_counted_and_no_label_gives_nan() {
    if !emulator_is_there() {
        return;
    }
    for bad in [-1, 2, i32::MIN, i32::MAX] {
        let (result, dz) = three_rows([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [bad, 1, bad]);
        assert!(
            result[0].is_nan() && result[1..] == [1.0, 2.0],
            "{result:?}"
        );
        assert_eq!([dz[0], dz[1], dz[4], dz[5]], [0.0; 4]);
    }
    let (result, dz) = three_rows([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [7; 3]);
    assert!(
        result[0].is_nan() && result[1..] == [0.0, 0.0],
        "{result:?}"
    );
    assert_eq!(dz, [0.0; 6]);
}

#[test]
fn impossible_rows_are_refused() {
    let refused = |rows, dtype, buffers| {
        let error = softmax_cross_entropy::forward(dtype, rows, buffers, Address(0));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("softmax_cross_entropy: "), "{error}");
    };
    let (good, none) = (THREE_BY_TWO, Buffers::default());
    refused(Rows { rows: 0, ..good }, DType::F32, none);
    refused(Rows { classes: 0, ..good }, DType::F32, none);
    refused(
        Rows {
            rows: 1 << 31,
            ..good
        },
        DType::F32,
        none,
    );
    refused(
        Rows {
            rows: usize::MAX,
            ..good
        },
        DType::F32,
        none,
    );
    refused(good, DType::I32, none);
    let logits = Address(2);
    refused(good, DType::F16, Buffers { logits, ..none });
}
