//! `kernels/max_pool2d.cu` against the CPU operation; values are small integers and NaN, so all is exact.

use whatwhere::cpu;
use whatwhere::cpu::max_pool2d::Offset;
use whatwhere::cpu::window::Axis;
use whatwhere::kernels::Address;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::image::Images;
use whatwhere::kernels::max_pool2d::{self, Windows};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::DType;

use super::bounds::f64s;
use super::numbers::Number;
use super::{in_every_dtype, run};

/// One pooling: batch, map, channels, and kernel, stride, padding by rows and columns.
struct Pooling {
    shape: Images,
    axes: [Axis; 2],
}

impl Pooling {
    fn new(batch: usize, map: [usize; 2], channels: usize, settings: [[usize; 2]; 3]) -> Self {
        let [kernel, stride, padding] = settings;
        let axis = |i: usize| Axis::new(map[i], kernel[i], stride[i], padding[i]).unwrap();
        Pooling {
            shape: Images {
                batch,
                map,
                channels,
            },
            axes: [axis(0), axis(1)],
        }
    }

    fn windows(&self) -> Windows {
        Windows {
            kernel: self.axes.map(|a| a.kernel),
            stride: self.axes.map(|a| a.stride),
            padding: self.axes.map(|a| a.padding),
            output: self.axes.map(|a| a.output),
        }
    }

    fn outputs(&self) -> usize {
        self.shape.batch * self.axes[0].output * self.axes[1].output * self.shape.channels
    }
}

/// Integers in −3..=3, so that most windows have ties, −∞ and now and then a NaN.
fn ties<T: Number>(elements: usize, which: u32) -> Vec<T> {
    let mut stream = Key::new(5, Purpose::Check, elements as u64, which).stream(0);
    let number = |n: u32| match n {
        0 => f64::NAN,
        1..=4 => f64::NEG_INFINITY,
        n => (n % 7) as f64 - 3.0,
    };
    (0..elements)
        .map(|_| T::of(number(stream.below(60))))
        .collect()
}

/// NaN equal to NaN.
fn same(found: &[f64], want: &[f64]) -> bool {
    let equal = |(f, w): (&f64, &f64)| f == w || (f.is_nan() && w.is_nan());
    found.len() == want.len() && found.iter().zip(want).all(equal)
}

fn check<T: Number, I: Offset>(pooling: &Pooling, kernels: [&str; 2]) {
    let (shape, windows, axes) = (pooling.shape, pooling.windows(), pooling.axes);
    let (channels, outputs) = (shape.channels, pooling.outputs());
    assert_eq!(windows.offset_dtype(), I::DTYPE);
    let x = ties::<T>(shape.len(), 1);
    let dy: Vec<T> = (0..outputs).map(|i| T::of((i % 11) as f64 - 5.0)).collect();
    let (mut want_y, mut want_chosen) = (vec![0.0; outputs], vec![I::of(0); outputs]);
    cpu::max_pool2d::forward(&f64s(&x), channels, axes, &mut want_y, &mut want_chosen);
    let mut want_dx = vec![f64::NAN; shape.len()];
    cpu::max_pool2d::backward(&f64s(&dy), &want_chosen, channels, axes, &mut want_dx);
    let (x, dy) = (
        Memory::from_slice(&x).unwrap(),
        Memory::from_slice(&dy).unwrap(),
    );
    for schedule in Schedule::all() {
        let context = format!("{shape:?} {windows:?} {schedule:?}");
        let y = Memory::<T>::uninitialised(outputs).unwrap();
        let chosen = Memory::<I>::uninitialised(outputs).unwrap();
        let dx = Memory::<T>::uninitialised(shape.len()).unwrap();
        let pointers = [x.address(), y.address(), chosen.address()];
        let forward = max_pool2d::forward(T::DTYPE, shape, windows, pointers).unwrap();
        assert!(forward.kernel().starts_with(kernels[0]), "{forward}");
        run(&forward, schedule);
        assert!(same(&f64s(&y.to_vec()), &want_y), "y: {context}");
        assert_eq!(chosen.to_vec(), want_chosen, "chosen: {context}");
        let pointers = [dy.address(), chosen.address(), dx.address()];
        let backward = max_pool2d::backward(T::DTYPE, shape, windows, pointers).unwrap();
        assert!(backward.kernel().starts_with(kernels[1]), "{backward}");
        run(&backward, schedule);
        assert_eq!(f64s(&dx.to_vec()), want_dx, "dx: {context}");
    }
}

fn check_all<T: Number>() {
    let square =
        |kernel: usize, stride: usize, padding: usize| [[kernel; 2], [stride; 2], [padding; 2]];
    let (two, any) = ("max_pool2d_backward_two", "max_pool2d_backward_any");
    // Vectors of channels.
    for (pooling, kernels) in [
        (
            Pooling::new(2, [4, 6], 16, square(2, 2, 0)),
            ["max_pool2d_2x2", two],
        ),
        (
            Pooling::new(1, [5, 7], 24, square(2, 2, 0)),
            ["max_pool2d_2x2", two],
        ),
        (
            Pooling::new(2, [2, 2], 8, square(2, 1, 1)),
            ["max_pool2d_2x2", two],
        ),
        (
            Pooling::new(1, [1, 1], 8, square(2, 2, 1)),
            ["max_pool2d_2x2", two],
        ),
        (
            Pooling::new(2, [7, 5], 16, square(3, 2, 1)),
            ["max_pool2d_3x3", two],
        ),
        (
            Pooling::new(1, [6, 9], 8, square(3, 2, 0)),
            ["max_pool2d_3x3", two],
        ),
        (
            Pooling::new(1, [1, 2], 8, square(3, 2, 1)),
            ["max_pool2d_3x3", two],
        ),
        (
            Pooling::new(1, [4, 5], 8, square(3, 1, 1)),
            ["max_pool2d_3x3", any],
        ),
        (
            Pooling::new(1, [4, 9], 8, [[2, 5], [1, 3], [1, 2]]),
            ["max_pool2d_any", two],
        ),
        // Cells that no window holds.
        (
            Pooling::new(1, [8, 7], 8, square(2, 3, 0)),
            ["max_pool2d_2x2", two],
        ),
    ] {
        check::<T, u8>(&pooling, kernels);
    }
    // Channels one by one.
    for pooling in [
        Pooling::new(2, [4, 6], 7, square(2, 2, 0)),
        Pooling::new(1, [7, 5], 13, square(3, 2, 1)),
        Pooling::new(1, [4, 9], 3, [[2, 5], [1, 3], [1, 2]]),
        Pooling::new(3, [1, 1], 1, square(1, 1, 0)),
    ] {
        check::<T, u8>(&pooling, ["max_pool2d_any", any]);
    }
    // More cells than a byte can tell apart.
    for channels in [2, 8] {
        let pooling = Pooling::new(1, [6, 5], channels, square(17, 3, 8));
        check::<T, i32>(&pooling, ["max_pool2d_wide", "max_pool2d_backward_wide"]);
    }
}

in_every_dtype!(check_all);

#[test]
fn impossible_windows_are_refused() {
    let shape = Images {
        batch: 1,
        map: [4, 4],
        channels: 8,
    };
    let good = Windows {
        kernel: [2, 2],
        stride: [2, 2],
        padding: [0, 0],
        output: [2, 2],
    };
    let plan = |shape, windows, dtype| {
        max_pool2d::forward(dtype, shape, windows, [Address(0); 3]).map_err(|e| e.to_string())
    };
    assert!(plan(shape, good, DType::F32).is_ok());
    let bad = [
        Windows {
            kernel: [0, 2],
            ..good
        },
        Windows {
            stride: [2, 0],
            ..good
        },
        Windows {
            padding: [2, 0],
            ..good
        },
        Windows {
            output: [0, 2],
            ..good
        },
        Windows {
            output: [2, 3],
            ..good
        },
        Windows {
            kernel: [2, 6],
            ..good
        },
        Windows {
            stride: [usize::MAX, 2],
            ..good
        },
    ];
    for windows in bad {
        let error = plan(shape, windows, DType::F32).unwrap_err();
        assert!(error.starts_with("max_pool2d: "), "{error}");
    }
    assert!(plan(shape, good, DType::I32).is_err());
    assert!(plan(Images { batch: 0, ..shape }, good, DType::F32).is_err());
}
