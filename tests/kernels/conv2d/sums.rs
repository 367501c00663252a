//! `kernels/conv2d.cu`: the gradient of a bias.

use half::{bf16, f16};
use whatwhere::kernels::conv2d::BiasGradient;
use whatwhere::kernels::emulator::{Memory, Schedule};

use super::super::numbers::Number;
use super::super::{emulator_is_there, run};
use super::{integers, memory, stream};

/// Sums of columns: exact on integers, whole vectors and not, one part and several.
fn bias_gradient<T: Number>() {
    if !emulator_is_there() {
        return;
    }
    for (rows, columns) in [(1, 1), (3, 7), (700, 13), (129, 64), (65, 272), (40, 1000)] {
        let dy = integers(&mut stream(4), rows * columns, 3);
        let want: Vec<T> = (0..columns)
            .map(|column| T::of(dy.iter().skip(column).step_by(columns).sum()))
            .collect();
        let dy = memory::<T>(&dy);
        for multiprocessors in [1, 64] {
            let plan = BiasGradient::new(rows, columns, T::DTYPE, multiprocessors).unwrap();
            for schedule in Schedule::all() {
                let db = Memory::<T>::uninitialised(columns).unwrap();
                let scratch = Memory::<f32>::uninitialised(plan.scratch_bytes() / 4).unwrap();
                let launches = plan.launches(dy.address(), db.address(), scratch.address());
                for launch in launches.unwrap() {
                    run(&launch, schedule);
                }
                assert_eq!(db.to_vec(), want, "{rows}x{columns} {schedule:?}");
            }
        }
    }
}

#[test]
fn bias_gradients() {
    bias_gradient::<f32>();
    bias_gradient::<f16>();
    bias_gradient::<bf16>();
}
