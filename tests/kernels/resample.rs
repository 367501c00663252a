//! `kernels/resample.cu` against the CPU path in f64, with the matrices of the four operations and others.

use half::f16;
use whatwhere::cpu::resample::{Taps, resample as on_cpu};
use whatwhere::kernels::Address;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::image::Images;
use whatwhere::kernels::resample::{self, Table};
use whatwhere::tensor::DType;

use super::bounds::{assert_close, f64s, gamma};
use super::numbers::{Number, drawn};
use super::{emulator_is_there, in_every_dtype, run};

fn table(rows: &Taps, columns: &Taps) -> Table {
    Table::new(
        [rows.input(), columns.input()],
        [rows.rows(), columns.rows()],
    )
    .unwrap()
}

/// Windows of `kernel` cells, `stride` apart, that begin `padding` before the axis and share their weight.
fn windows(input: usize, output: usize, kernel: usize, stride: usize, padding: usize) -> Taps {
    Taps::new(input, output, |o| {
        let cells =
            (o * stride..o * stride + kernel).filter(|i| (padding..input + padding).contains(i));
        cells.map(|i| (i - padding, 1.0 / kernel as f64)).collect()
    })
}

/// Linear interpolation, corners on corners.
fn linear(input: usize, output: usize) -> Taps {
    Taps::new(input, output, |o| {
        let at = (o * (input - 1)) as f64 / (output - 1).max(1) as f64;
        let (low, part) = (at.floor() as usize, at.fract());
        match part > 0.0 {
            true => vec![(low, 1.0 - part), (low + 1, part)],
            false => vec![(low, 1.0)],
        }
    })
}

/// One cell each, as on a torus, with a zero in front: an output with no tap at all.
fn padded(input: usize, output: usize) -> Taps {
    Taps::new(input, output, |o| match o {
        0 => vec![],
        o => vec![(o % input, 1.0)],
    })
}

fn check<T: Number>(batch: usize, channels: usize, [rows, columns]: [&Taps; 2]) {
    let map = [rows.input(), columns.input()];
    let shape = Images {
        batch,
        map,
        channels,
    };
    let outputs = batch * rows.output() * columns.output() * channels;
    let x = drawn::<T>(shape.len(), 1);
    let reference = |x: Vec<f64>| {
        let mut y = vec![f64::NAN; outputs];
        on_cpu(&x, channels, [rows, columns], &mut y);
        y
    };
    let want = reference(f64s(&x));
    let magnitude = reference(f64s(&x).iter().map(|v| v.abs()).collect());
    let longest = [rows, columns].map(|taps| taps.rows().iter().map(Vec::len).max().unwrap());
    // Two weights are rounded and multiplied; then at most all terms are added one after another.
    let roundings = 3 + longest[0] * longest[1];
    let table = table(rows, columns);
    let words = Memory::from_slice(&table.words).unwrap();
    let x = Memory::from_slice(&x).unwrap();
    for schedule in Schedule::all() {
        let y = Memory::<T>::uninitialised(outputs).unwrap();
        let pointers = [x.address(), y.address()];
        let launch = resample::launch(T::DTYPE, shape, &table, words.address(), pointers).unwrap();
        run(&launch, schedule);
        let bound = |i: usize| gamma(roundings) * magnitude[i];
        assert_close(
            &y.to_vec(),
            &want,
            bound,
            &format!("{shape:?} {launch} {schedule:?}"),
        );
    }
}

fn check_all<T: Number>() {
    let there_and_back = |batch, channels, rows: Taps, columns: Taps| {
        check::<T>(batch, channels, [&rows, &columns]);
        check::<T>(batch, channels, [&rows.transposed(), &columns.transposed()]);
    };
    for channels in [8, 13] {
        there_and_back(2, channels, windows(7, 4, 3, 2, 1), windows(5, 3, 3, 2, 1));
        there_and_back(1, channels, linear(4, 7), linear(5, 3));
        there_and_back(2, channels, padded(3, 6), padded(4, 5));
        // Whole maps, and so more slices than one.
        there_and_back(1, channels, windows(9, 1, 9, 1, 0), windows(11, 2, 8, 3, 0));
        there_and_back(
            1,
            channels,
            windows(40, 1, 40, 1, 0),
            windows(3, 1, 3, 1, 0),
        );
    }
    there_and_back(1, 80, windows(1, 1, 1, 1, 0), linear(2, 5));
}

in_every_dtype!(check_all);

/// Every f16 there is, weighted by one and by a third: only the rounding of the result is left.
#[test]
fn all_half_numbers_are_rounded_to_nearest() {
    if !emulator_is_there() {
        return;
    }
    let third = 1.0f32 / 3.0;
    let weights = Taps::new(1, 2, |o| vec![(0, [1.0, third as f64][o])]);
    let one = Taps::new(1, 1, |_| vec![(0, 1.0)]);
    let table = table(&one, &weights);
    let x: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let shape = Images {
        batch: 1,
        map: [1, 1],
        channels: x.len(),
    };
    let words = Memory::from_slice(&table.words).unwrap();
    let memory_x = Memory::from_slice(&x).unwrap();
    let y = Memory::<f16>::uninitialised(2 * x.len()).unwrap();
    let pointers = [memory_x.address(), y.address()];
    let launch = resample::launch(DType::F16, shape, &table, words.address(), pointers).unwrap();
    run(&launch, Schedule::FAST);
    let want = |weight: f32| x.iter().map(move |v| f16::from_f32(weight * v.to_f32()));
    for (found, want) in y.to_vec().into_iter().zip(want(1.0).chain(want(third))) {
        assert!(
            found == want || found.is_nan() && want.is_nan(),
            "{found} {want}"
        );
    }
}

/// How many threads share a sum: none do for resizing, whole maps are cut into slices.
#[test]
fn plans() {
    let plan = |rows: Taps, columns: Taps, channels| {
        let shape = Images {
            batch: 3,
            map: [rows.input(), columns.input()],
            channels,
        };
        let table = table(&rows, &columns);
        let addresses = [Address(0); 2];
        let launch = resample::launch(DType::BF16, shape, &table, Address(0), addresses).unwrap();
        (launch.kernel(), launch.grid())
    };
    let (vector, scalar) = ("resample_vector_bf16", "resample_scalar_bf16");
    assert_eq!(
        plan(linear(60, 473), linear(60, 473), 512),
        (vector, [473 * 473 / 4 + 1, 3, 1])
    );
    assert_eq!(plan(linear(60, 9), linear(60, 9), 19), (scalar, [7, 3, 1]));
    // 16 slices of 16 vectors, 256 vectors in all.
    let all = || windows(60, 1, 60, 1, 0);
    assert_eq!(plan(all(), all(), 2048), (vector, [16, 3, 1]));
}

#[test]
fn impossible_tables_and_maps_are_refused() {
    let taps = vec![vec![(2, 1.0)]];
    for (input, rows) in [([2, 3], &taps), ([3, 3], &Vec::new())] {
        let error = Table::new(input, [rows, &taps]).unwrap_err().to_string();
        assert!(error.starts_with("resample: "), "{error}");
    }
    let table = Table::new([3, 3], [&taps, &taps]).unwrap();
    for (batch, map, dtype) in [
        (0, [3, 3], DType::F32),
        (1, [3, 4], DType::F32),
        (1, [3, 3], DType::U8),
    ] {
        let shape = Images {
            batch,
            map,
            channels: 4,
        };
        let refused = resample::launch(dtype, shape, &table, Address(0), [Address(0); 2]);
        let error = refused.unwrap_err().to_string();
        assert!(error.starts_with("resample: "), "{error}");
    }
}
