//! Every operation and the training loop on every device, against the CPU in f64.
//!
//! The devices are those of `WHATWHERE_TEST_DEVICES`, names with commas between; the emulator without it.
//! A device that is named must be there.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};

use whatwhere::Result;
use whatwhere::check;
use whatwhere::device::{Device, set_emulator_schedule};
use whatwhere::experiment::{Run, Settings};
use whatwhere::kernels::emulator::{self, Order, Schedule};
use whatwhere::ops::spatial_shuffle::{Mode, SpatialShuffle};
use whatwhere::ops::{self, Operation, Saved};
use whatwhere::rng::{Key, Purpose, Stream};
use whatwhere::tensor::{DType, Shape, Tensor};
use whatwhere::train::{Observer, Progress, Trainer};

/// The devices to test, as long as nobody else changes the emulator's schedule.
struct Devices {
    list: Vec<Device>,
    _alone: MutexGuard<'static, ()>,
}

/// Devices beside the CPU, the emulator under `schedule` unless the environment names another.
fn devices(schedule: Schedule) -> Devices {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    if std::env::var_os("WHATWHERE_EMULATOR_SCHEDULE").is_none() {
        set_emulator_schedule(Some(schedule));
    }
    let list = match std::env::var("WHATWHERE_TEST_DEVICES") {
        Ok(names) => names.split(',').map(|name| name.parse().unwrap()).collect(),
        Err(_) if emulator::is_available() => vec![Device::Emulator],
        Err(_) => {
            let ci = std::env::var_os("CI").is_some();
            assert!(!ci, "this build has no emulator");
            eprintln!("skipped: this build has no emulator");
            Vec::new()
        }
    };
    for device in &list {
        device.check().unwrap();
    }
    Devices {
        list,
        _alone: alone,
    }
}

/// Kernels watched at every access, in an order of threads that few kernels were written for.
const WATCHED: Schedule = Schedule {
    order: Order::Random { seed: 1 },
    late_copies: true,
    checked: true,
};

/// The operations to test: all, or those that `WHATWHERE_TEST_OPERATIONS` names, with commas between.
fn declarations() -> Vec<ops::Declaration> {
    let mut all = ops::declarations();
    if let Ok(names) = std::env::var("WHATWHERE_TEST_OPERATIONS") {
        let names: Vec<&str> = names.split(',').collect();
        let known = |name: &&str| all.iter().any(|d| d.name == *name);
        assert!(names.iter().all(known), "{names:?}: no such operation");
        all.retain(|d| names.contains(&d.name));
    }
    all
}

/// Every case of these operations in every dtype; what `fault` says of them, all of it.
fn each_case(
    declarations: &[ops::Declaration],
    fault: impl Fn(&ops::Case, DType) -> Option<String>,
) {
    let mut faults = Vec::new();
    for declaration in declarations {
        for case in (declaration.cases)() {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                faults.extend(fault(&case, dtype));
            }
        }
    }
    let count = faults.len();
    assert!(faults.is_empty(), "{count} faults:\n{}", faults.join("\n"));
}

#[test]
fn every_declared_operation_in_every_dtype() {
    let devices = devices(WATCHED);
    for &device in &devices.list {
        each_case(&declarations(), |case, dtype| {
            let what = format!("{dtype} on {device}");
            match check::on_device(case, device, dtype, 1) {
                Ok(report) if report.passed() => None,
                Ok(report) => Some(format!("{what}: {report}")),
                Err(error) => Some(format!("{what}: {}: {error}", case.label)),
            }
        });
    }
}

/// The same bits from the emulator as from every other device, and under another schedule, for
/// operations that have neither exponentials nor logarithms.
#[test]
fn integers_give_the_same_bits_on_emulator_and_gpu() {
    let devices = devices(WATCHED);
    if !emulator::is_available() {
        return;
    }
    let rounded = |case: &ops::Case| match case.op.name() {
        "softmax_cross_entropy" | "masked_bce" => true,
        // All but the logits alone.
        "sb_projection" => case.inputs.len() > 3 || case.label.contains("Sigmoid"),
        _ => false,
    };
    for &device in &devices.list {
        each_case(&declarations(), |case, dtype| {
            if rounded(case) {
                return None;
            }
            let both = [Device::Emulator, device];
            match check::difference(case, both, dtype, 1) {
                Ok(None) => None,
                Ok(found) => Some(format!("{} {dtype} on {device}: {found:?}", case.label)),
                Err(error) => Some(format!("{} {dtype} on {device}: {error}", case.label)),
            }
        });
    }
}

/// The test above would see a wrong bit.
#[test]
fn different_bits_are_seen() {
    let case = ops::Case::new(ops::relu::Relu, [ops::Input::normal([2, 3])]);
    let found = check::difference(&case, [Device::Cpu; 2], DType::F32, 1).unwrap();
    assert_eq!(found, None);
    let other = ops::Case::new(Drifting(Mutex::new(0.0)), [ops::Input::normal([2, 3])]);
    let found = check::difference(&other, [Device::Cpu; 2], DType::F32, 1).unwrap();
    assert_eq!(found.as_deref(), Some("value"));
}

/// An operation that gives something else every time.
#[derive(Debug)]
struct Drifting(Mutex<f32>);

impl Operation for Drifting {
    fn name(&self) -> &'static str {
        "drifting"
    }
    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }
    fn forward(&self, inputs: &[&Tensor], _: &mut Saved) -> Result<ops::Output> {
        let mut last = self.0.lock().unwrap();
        *last += 1.0;
        Ok(Tensor::full(inputs[0].shape(), *last, inputs[0].device())?.into())
    }
    fn vjp(&self, _: Saved, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(dy)])
    }
    fn cost(&self, _: &[&Shape]) -> ops::Cost {
        ops::Cost::default()
    }
}

/// Shuffles move bits, so devices agree exactly: every mode, scope and width, there and back.
#[test]
fn shuffles_are_equal_to_the_last_bit() {
    let modes = [
        Mode::Shuffle,
        Mode::Rand,
        Mode::ChannelRand,
        Mode::ChannelShuffle,
        Mode::ShuffleAll,
        Mode::Horizontal,
        Mode::Vertical,
        Mode::Local(2),
    ];
    let key = Key::new(5, Purpose::Check, 3, 1);
    let values: Vec<f32> = (0..2 * 4 * 6 * 8).map(|i| i as f32).collect();
    let devices = devices(WATCHED);
    for &device in &devices.list {
        for dtype in [DType::F64, DType::F32, DType::F16] {
            let wide = Tensor::from_slice([2, 4, 6, 8], &values, Device::Cpu).unwrap();
            let x = wide.cast(dtype).unwrap();
            for (mode, per_sample, derange) in modes.into_iter().flat_map(|mode| {
                [
                    (mode, false, false),
                    (mode, true, false),
                    (mode, true, true),
                ]
            }) {
                let op = SpatialShuffle {
                    per_sample,
                    derange,
                    ..SpatialShuffle::new(mode, key)
                };
                let run = |x: &Tensor| op.forward(&[x], &mut Saved::default()).unwrap().value;
                let y = run(&x.to_device(device).unwrap());
                let expected = run(&wide);
                assert_eq!(y.device(), device);
                assert_eq!(
                    y.to_f64_vec().unwrap(),
                    expected.to_f64_vec().unwrap(),
                    "{op:?} {dtype}"
                );
                let back = op
                    .vjp(Saved::default(), y, &[true])
                    .unwrap()
                    .remove(0)
                    .unwrap();
                assert_eq!(
                    back.to_f64_vec().unwrap(),
                    x.to_f64_vec().unwrap(),
                    "{op:?} {dtype}"
                );
            }
        }
    }
}

/// The mean loss after every step.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn step(&mut self, progress: &Progress) {
        self.0.push(progress.loss);
    }
}

const BATCH: usize = 8;
const SIDE: usize = 16;
const LR: f64 = 0.02;

/// Losses of a small run whose first weights are each moved by `nudge` of themselves, up or down.
fn losses(device: Device, dtype: &str, lr: f64, nudge: Option<(f64, &mut Stream)>) -> Vec<f64> {
    let settings = Settings {
        data: Some("layout".into()),
        size: Some(SIDE),
        train_images: Some(24),
        test_images: Some(8),
        model: Some("vgg-small".into()),
        width: Some(0.25),
        epochs: Some(2),
        batch: Some(BATCH),
        test_batch: Some(8),
        cut: Some(22),
        lr: Some(lr),
        device: Some(device.to_string()),
        dtype: Some(dtype.into()),
        ..Settings::default()
    };
    let run = Run::new(settings).unwrap();
    let [train, test] = run.loaders().unwrap();
    let recipe = run.settings().recipe().unwrap();
    let mut network = run.into_network(None).unwrap();
    if let Some((share, stream)) = nudge {
        for slot in network.store.slots() {
            let value = network.store.value(slot).unwrap();
            let moved: Vec<f64> = (value.to_f64_vec().unwrap().iter())
                .map(|v| v * (1.0 + share * [-1.0, 1.0][stream.below(2) as usize]))
                .collect();
            let moved = Tensor::from_slice(value.shape(), &moved, Device::Cpu).unwrap();
            network.store.set(slot, moved).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut losses, stop) = (Losses::default(), AtomicBool::new(false));
    let loaders = [&train, &test];
    let mut trainer =
        Trainer::new(&mut network, loaders, recipe, folder.path(), "test", &stop).unwrap();
    trainer.run(&mut losses).unwrap();
    losses.0
}

/// The loss curves of a device and of the CPU in f64 agree step by step.
///
/// The bound is that of a stable algorithm, as in `check`: what a step computes is exact for weights
/// moved by a share γ of themselves. The longest sum of a step has K terms (a channel's statistics, over
/// all pixels of the batch), and the roundings of K operations are at most λ√K·u together but for a
/// chance of 2K·exp(−λ²/2) (Higham, Mary 2019), here one in sixteen thousand with λ = 6. How far that
/// moves the losses is measured in f64 on the CPU, over four random moves of the first weights; every
/// step done adds as much.
#[test]
fn training_gives_the_losses_of_the_cpu() {
    let terms = (BATCH * SIDE * SIDE) as f64;
    let gamma = 6.0 * terms.sqrt() * DType::F32.unit_roundoff();
    let exact = losses(Device::Cpu, "f64", LR, None);
    assert_eq!(exact.len(), 6);
    let mut stream = Key::new(2, Purpose::Check, 0, 0).stream(0);
    let mut moved = vec![0.0; exact.len()];
    for _ in 0..4 {
        let other = losses(Device::Cpu, "f64", LR, Some((gamma, &mut stream)));
        let mut furthest: f64 = 0.0;
        for ((moved, other), exact) in moved.iter_mut().zip(&other).zip(&exact) {
            furthest = furthest.max((other - exact).abs());
            *moved = furthest.max(*moved);
        }
    }
    // How many times the bound a run is off, at its worst step.
    let excess = |found: &[f64]| {
        assert_eq!(found.len(), exact.len());
        let mut worst: f64 = 0.0;
        for (step, ((found, moved), exact)) in found.iter().zip(&moved).zip(&exact).enumerate() {
            let bound = (step + 1) as f64 * (moved + gamma * exact);
            worst = worst.max((found - exact).abs() / bound);
        }
        worst
    };
    let devices = devices(Schedule::FAST);
    for device in devices.list.iter().copied().chain([Device::Cpu]) {
        let found = losses(device, "f32", LR, None);
        let excess = excess(&found);
        assert!(
            excess <= 1.0,
            "{device}: {excess} times the bound; {found:?} is not {exact:?}"
        );
    }
    // Steps that are a fifth too long are seen.
    let wrong = excess(&losses(Device::Cpu, "f32", 1.2 * LR, None));
    assert!(wrong > 1.0, "only {wrong} times the bound");
}

#[test]
fn tensors_move_between_devices_and_keep_their_bits() {
    let values: Vec<f32> = (0..1000).map(|i| (i as f32).sin()).collect();
    let devices = devices(WATCHED);
    for &device in &devices.list {
        let here = Tensor::from_slice([10, 100], &values, Device::Cpu).unwrap();
        let there = here.to_device(device).unwrap();
        assert_eq!((there.device(), there.dims()), (device, &[10, 100][..]));
        assert_eq!(there.to_vec::<f32>().unwrap(), values);
        assert_eq!(there.deep_clone().unwrap().to_vec::<f32>().unwrap(), values);
        let half = there.cast(DType::BF16).unwrap();
        assert_eq!(
            half.to_f64_vec().unwrap(),
            here.cast(DType::BF16).unwrap().to_f64_vec().unwrap()
        );
        let zero = Tensor::zeros([3], DType::F64, device).unwrap();
        assert_eq!(zero.to_vec::<f64>().unwrap(), [0.0; 3]);
        assert_eq!(
            Tensor::full([2], 7i32, device)
                .unwrap()
                .to_vec::<i32>()
                .unwrap(),
            [7, 7]
        );
        assert_eq!(Tensor::scalar(2.5f32, device).unwrap().item().unwrap(), 2.5);
        let mut shared = there.clone();
        assert!(
            shared
                .address_mut()
                .unwrap_err()
                .to_string()
                .contains("in-place")
        );
        assert!(shared.copy_from(&here).is_err());
        drop(there);
        shared
            .copy_from(&Tensor::zeros([10, 100], DType::F32, Device::Cpu).unwrap())
            .unwrap();
        assert_eq!(shared.to_vec::<f32>().unwrap(), [0.0; 1000]);
        assert!(shared.copy_from(&half).is_err());
        assert!(shared.copy_from(&zero).is_err());
    }
}

#[test]
fn operands_on_two_devices_are_refused() {
    let devices = devices(WATCHED);
    for &device in &devices.list {
        let here = Tensor::zeros([1, 2, 2, 3], DType::F32, Device::Cpu).unwrap();
        let there = here.to_device(device).unwrap();
        let add = ops::add::Add.forward(&[&here, &there], &mut Saved::default());
        let said = add.err().unwrap().to_string();
        assert!(
            said.contains("cpu") && said.contains(&device.to_string()),
            "{said}"
        );
    }
}
