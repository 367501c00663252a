//! Linear layers on the kernels of convolution, against the definition: exact on small integers.

use half::{bf16, f16};
use whatwhere::cpu::linear::{self as cpu, LinearShape};
use whatwhere::kernels::conv2d::{Direction, Epilogue, Fprop, Math, Plan, Target};
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::linear::as_convolution;
use whatwhere::rng::{Key, Purpose};

use super::numbers::Number;
use super::{emulator_is_there, run};

/// The declared cases of `ops::linear`, a classifier, and a layer of whole vectors.
const SHAPES: [[usize; 3]; 5] = [
    [5, 7, 11],
    [1, 1, 1],
    [3, 64, 10],
    [70, 16, 136],
    [2, 272, 24],
];

fn integers(lane: u32, length: usize, most: i32) -> Vec<f64> {
    let mut stream = Key::new(6, Purpose::Check, 4, 0).stream(lane);
    let range = 2 * most as u32 + 1;
    (0..length)
        .map(|_| f64::from(stream.below(range) as i32 - most))
        .collect()
}

fn check<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    for [rows, inputs, outputs] in SHAPES {
        let g = LinearShape {
            rows,
            inputs,
            outputs,
        };
        let x = integers(1, rows * inputs, 3);
        let w = integers(2, outputs * inputs, 2);
        let dy = integers(3, rows * outputs, 3);
        let bias = integers(4, outputs, 9);
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        cpu::forward(g, &x, &w, Some(&bias), &mut y);
        cpu::input_gradient(g, &dy, &w, &mut dx);
        cpu::weight_gradient(g, &x, &dy, &mut dw);

        let typed = |values: &[f64]| -> Vec<T> { values.iter().map(|&v| T::of(v)).collect() };
        let upload = |values: &[f64]| Memory::from_slice(&typed(values)).unwrap();
        let [x, w, dy, bias] = [&x, &w, &dy, &bias].map(|values| upload(values));
        let target = Target {
            capability: 80,
            multiprocessors: 1,
        };
        for (direction, want) in [
            (Direction::Fprop, typed(&y)),
            (Direction::Dgrad, typed(&dx)),
            (Direction::Wgrad, typed(&dw)),
        ] {
            let plan = Plan::new(&as_convolution(g), math, direction, false, target).unwrap();
            for schedule in Schedule::all() {
                let out = Memory::<T>::uninitialised(want.len()).unwrap();
                let scratch = Memory::<f32>::uninitialised(plan.scratch_bytes() / 4).unwrap();
                let (to, scratch) = (out.address(), scratch.address());
                let launches = match direction {
                    Direction::Fprop => {
                        let with = Fprop {
                            x: x.address(),
                            w: w.address(),
                            y: to,
                            epilogue: Epilogue {
                                bias: bias.address(),
                                ..Epilogue::default()
                            },
                        };
                        plan.fprop(with, scratch)
                    }
                    Direction::Dgrad => plan.dgrad(dy.address(), w.address(), to, scratch),
                    Direction::Wgrad => plan.wgrad(x.address(), dy.address(), to, scratch),
                };
                for launch in launches.unwrap() {
                    run(&launch, schedule);
                }
                assert_eq!(out.to_vec(), want, "{g:?} {direction:?} {schedule:?}");
            }
        }
    }
}

#[test]
fn every_dtype() {
    check::<f32>(Math::F32);
    check::<f32>(Math::Tf32);
    check::<f16>(Math::F16);
    check::<bf16>(Math::Bf16);
}
