//! `kernels/sgd.cu` against the CPU's step, bit for bit, whatever the gradients' types.

use half::{bf16, f16};
use whatwhere::cpu::sgd::Step;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::sgd::{self, Arrays, Numbers, TENSORS, Table};
use whatwhere::kernels::{Address, Launch};
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

/// A tensor whose gradient is of type `T`: with a copy of that type, or f32 and without.
struct Tensor<T: Number> {
    weights: Vec<f32>,
    velocities: Vec<f32>,
    gradient: Vec<T>,
    memory: [Memory<f32>; 2],
    gradient_memory: Memory<T>,
    copy: Option<Memory<T>>,
}

impl<T: Number> Tensor<T> {
    fn new(elements: usize, which: u32, copied: bool) -> Self {
        let (weights, velocities) = (drawn::<f32>(elements, which), drawn(elements, which + 1));
        let gradient = drawn::<T>(elements, which + 2);
        Tensor {
            memory: [&weights, &velocities].map(|v| Memory::from_slice(v).unwrap()),
            gradient_memory: Memory::from_slice(&gradient).unwrap(),
            copy: copied.then(|| Memory::uninitialised(elements).unwrap()),
            weights,
            velocities,
            gradient,
        }
    }

    fn arrays(&self) -> Arrays {
        Arrays {
            elements: self.weights.len(),
            weights: self.memory[0].address(),
            velocities: self.memory[1].address(),
            gradient: self.gradient_memory.address(),
            copy: self.copy.as_ref().map_or(Address(0), Memory::address),
        }
    }

    /// The memory holds what the CPU makes of the tensor in one step.
    fn assert_stepped(&self, step: Step, scale: f32, case: &str) {
        let (mut w, mut v) = (self.weights.clone(), self.velocities.clone());
        let wide: Vec<f32> = self.gradient.iter().map(|g| g.f32() / scale).collect();
        whatwhere::cpu::sgd::update(step, &mut w, &mut v, &wide);
        self.assert_holds([&w, &v], case);
        if let Some(copy) = &self.copy {
            let want: Vec<T> = w.iter().map(|&w| T::store(w)).collect();
            assert_equal(&copy.to_vec(), &want, case);
        }
    }

    fn assert_holds(&self, want: [&[f32]; 2], case: &str) {
        for (memory, want) in self.memory.iter().zip(want) {
            assert_equal(&memory.to_vec(), want, case);
        }
    }
}

/// The numbers in memory: learning rate, scale, `found`, good steps.
struct Controls {
    rate: Memory<f32>,
    scale: Memory<f32>,
    found: Memory<i32>,
    good: Memory<i32>,
}

impl Controls {
    fn new(rate: f64, scale: f32, found: i32, good: i32) -> Self {
        Controls {
            rate: Memory::from_slice(&[rate as f32]).unwrap(),
            scale: Memory::from_slice(&[scale]).unwrap(),
            found: Memory::from_slice(&[found]).unwrap(),
            good: Memory::from_slice(&[good]).unwrap(),
        }
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            rate: self.rate.address(),
            scale: self.scale.address(),
            found: self.found.address(),
        }
    }
}

/// Tables of tensors with copies, in between some of f32 without, as a network in half precision has
/// them; in f32 none has a copy.
fn check<T: Number>() {
    let copied = T::DTYPE != DType::F32;
    for (round, step) in STEPS.into_iter().enumerate() {
        let scale = [1.0, 1024.0, 65536.0][round];
        for schedule in Schedule::all() {
            let narrow: Vec<Tensor<T>> = (LENGTHS.iter())
                .map(|&elements| Tensor::new(elements, 10, copied))
                .collect();
            let wide: Vec<Tensor<f32>> = [2048, 7, 2049]
                .map(|elements| Tensor::new(elements, 20, false))
                .into();
            let mut arrays: Vec<Arrays> = narrow.iter().map(Tensor::arrays).collect();
            for (at, tensor) in [0, 3, 8].into_iter().zip(&wide) {
                arrays.insert(at, tensor.arrays());
            }
            let controls = Controls::new(step.lr, scale, 0, 0);
            let tables = Table::of(T::DTYPE, &arrays).unwrap();
            assert_eq!(tables.len(), 1);
            // What a launch takes by value has no say in the learning rate.
            let elsewhere = Step { lr: 1e9, ..step };
            run(
                &tables[0].check(controls.found.address()).unwrap(),
                schedule,
            );
            assert_eq!(controls.found.to_vec(), [0]);
            let launch = tables[0].update(elsewhere, controls.numbers());
            run(&launch.unwrap(), schedule);
            let case = format!("{step:?} {schedule:?}");
            narrow
                .iter()
                .for_each(|t| t.assert_stepped(step, scale, &case));
            wide.iter()
                .for_each(|t| t.assert_stepped(step, scale, &case));
        }
    }
}

/// One element that is not finite, wherever it is, is found, and then nothing changes.
fn check_not_finite<T: Number>() {
    let elements = 4096 + 13;
    for (at, value) in [
        (0, f64::NAN),
        (2047, f64::INFINITY),
        (4096 + 7, f64::NEG_INFINITY),
        (elements - 1, f64::NAN),
    ] {
        let copied = T::DTYPE != DType::F32;
        let mut tensor = Tensor::<T>::new(elements, 1, copied);
        tensor.gradient[at] = T::of(value);
        // The largest finite numbers are none of it.
        tensor.gradient[at / 2 + 1] = T::of(60000.0);
        tensor.gradient_memory = Memory::from_slice(&tensor.gradient).unwrap();
        let before = Tensor::<f32>::new(5, 2, false);
        let tables = Table::of(T::DTYPE, &[before.arrays(), tensor.arrays()]).unwrap();
        for schedule in Schedule::all() {
            let controls = Controls::new(0.1, 1.0, 0, 0);
            run(
                &tables[0].check(controls.found.address()).unwrap(),
                schedule,
            );
            assert_eq!(controls.found.to_vec(), [1], "{at} {schedule:?}");
            let launch = tables[0].update(STEPS[0], controls.numbers());
            run(&launch.unwrap(), schedule);
            let case = format!("{at} {schedule:?}");
            tensor.assert_holds([&tensor.weights, &tensor.velocities], &case);
            before.assert_holds([&before.weights, &before.velocities], &case);
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

/// More tensors than fit a table are updated by several launches, each once.
#[test]
fn tables_are_filled_and_then_begun_anew() {
    if !emulator_is_there() {
        return;
    }
    let tensors: Vec<Tensor<f16>> = (0..2 * TENSORS + 1)
        .map(|i| Tensor::new(1 + i % 9, i as u32, true))
        .collect();
    let arrays: Vec<Arrays> = tensors.iter().map(Tensor::arrays).collect();
    let tables = Table::of(DType::F16, &arrays).unwrap();
    assert_eq!(tables.len(), 3);
    let controls = Controls::new(STEPS[1].lr, 2.0, 0, 0);
    for table in &tables {
        let launch = table.update(STEPS[1], controls.numbers()).unwrap();
        run(&launch, Schedule::all().next().unwrap());
    }
    tensors
        .iter()
        .for_each(|t| t.assert_stepped(STEPS[1], 2.0, "three tables"));
}

#[test]
fn losses_that_are_not_finite_are_found() {
    if !emulator_is_there() {
        return;
    }
    for (value, want) in [
        (2.5, 0),
        (f32::MAX, 0),
        (1e-45, 0),
        (f32::NAN, 1),
        (f32::INFINITY, 1),
        (f32::NEG_INFINITY, 1),
    ] {
        let loss = Memory::from_slice(&[value]).unwrap();
        let found = Memory::from_slice(&[7]).unwrap();
        for schedule in Schedule::all() {
            run(&sgd::loss(loss.address(), found.address()), schedule);
            assert_eq!(found.to_vec(), [want], "{value}");
        }
    }
}

#[test]
fn the_scale_halves_at_once_and_doubles_after_two_thousand_steps() {
    if !emulator_is_there() {
        return;
    }
    let (least, most) = (2f32.powi(-126), 2f32.powi(126));
    for (scale, found, good, want) in [
        (65536.0, 0, 0, (65536.0, 1)),
        (65536.0, 0, 1998, (65536.0, 1999)),
        (65536.0, 0, 1999, (131072.0, 0)),
        (65536.0, 1, 1999, (32768.0, 0)),
        (1.0, 1, 3, (0.5, 0)),
        (least, 1, 0, (least, 0)),
        (most, 0, 1999, (most, 0)),
    ] {
        for schedule in Schedule::all() {
            let controls = Controls::new(0.1, scale, found, good);
            let (found, scale) = (controls.found.address(), controls.scale.address());
            run(
                &sgd::rescale(found, scale, controls.good.address()),
                schedule,
            );
            let now = (controls.scale.to_vec()[0], controls.good.to_vec()[0]);
            assert_eq!(now, want, "{schedule:?}");
        }
    }
}

#[test]
fn refusals() {
    let numbers = Numbers {
        rate: Address(16),
        scale: Address(16),
        found: Address(16),
    };
    let plan = |dtype, arrays: Arrays| -> whatwhere::Result<Vec<Launch>> {
        let tables = Table::of(dtype, &[arrays])?;
        tables
            .iter()
            .map(|table| table.update(STEPS[0], numbers))
            .collect()
    };
    let sized = |elements| Arrays {
        elements,
        ..Arrays::default()
    };
    assert!(plan(DType::F32, sized(4)).is_ok());
    assert!(plan(DType::F32, sized(0)).is_err());
    assert!(plan(DType::F32, sized(1 << 32)).is_err());
    assert!(plan(DType::I32, sized(4)).is_err());
    let unaligned = Arrays {
        gradient: Address(4),
        ..sized(4)
    };
    assert!(plan(DType::F32, unaligned).is_err());
    let copied = Arrays {
        copy: Address(16),
        ..sized(4)
    };
    assert!(plan(DType::F32, copied).is_err());
    assert!(plan(DType::BF16, copied).is_ok());
    assert!(Table::of(DType::F32, &[]).unwrap().is_empty());
}
