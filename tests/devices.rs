//! Every operation and the training loop on every device this machine has, against the CPU in f64.
//!
//! The emulator runs under the schedule of `WHATWHERE_EMULATOR_SCHEDULE`, or here under a checked one.
//! `WHATWHERE_TEST_DEVICE=cuda:0` adds a device that must then be there.

use std::sync::atomic::AtomicBool;

use whatwhere::check;
use whatwhere::device::{Device, set_emulator_schedule};
use whatwhere::experiment::{Run, Settings};
use whatwhere::kernels::emulator::{self, Schedule};
use whatwhere::ops::spatial_shuffle::{Mode, SpatialShuffle};
use whatwhere::ops::{self, Operation, Saved};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::{DType, Tensor};
use whatwhere::train::{Observer, Progress};

/// The devices to test beside the CPU.
fn devices() -> Vec<Device> {
    let mut devices = Vec::new();
    if emulator::is_available() {
        if std::env::var_os("WHATWHERE_EMULATOR_SCHEDULE").is_none() {
            set_emulator_schedule(Schedule::all().last());
        }
        devices.push(Device::Emulator);
    } else {
        assert!(
            std::env::var_os("CI").is_none(),
            "this build has no emulator"
        );
        eprintln!("skipped: this build has no emulator");
    }
    if let Ok(name) = std::env::var("WHATWHERE_TEST_DEVICE") {
        let device: Device = name.parse().unwrap();
        device.check().unwrap();
        devices.push(device);
    }
    devices
}

#[test]
fn every_declared_operation_in_every_dtype() {
    for device in devices() {
        for declaration in ops::declarations() {
            for case in (declaration.cases)() {
                for dtype in [DType::F32, DType::F16, DType::BF16] {
                    let report = check::on_device(&case, device, dtype, 1).unwrap();
                    assert!(report.passed(), "{dtype} on {device}: {report}");
                }
            }
        }
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
    for device in devices() {
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

fn losses(device: Device, dtype: &str) -> Vec<f64> {
    let settings = Settings {
        data: Some("layout".into()),
        size: Some(16),
        train_images: Some(24),
        test_images: Some(8),
        model: Some("vgg-small".into()),
        width: Some(0.25),
        epochs: Some(2),
        batch: Some(8),
        test_batch: Some(8),
        cut: Some(22),
        lr: Some(0.02),
        device: Some(device.to_string()),
        dtype: Some(dtype.into()),
        ..Settings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut losses = Losses::default();
    let stop = AtomicBool::new(false);
    let run = Run::new(settings).unwrap();
    let summary = run.train(folder.path(), false, &mut losses, &stop).unwrap();
    assert!(summary.is_some(), "the run did not end");
    losses.0
}

/// Two f32 devices differ by their roundings, as f32 on the CPU differs from f64. The network
/// amplifies roundings from step to step, so the bound is measured on the CPU: a device may be as far
/// from f64 as the CPU's f32 was by then, times the factor between one rounding order and the worst of
/// many.
#[test]
fn training_gives_the_losses_of_the_cpu() {
    let (exact, single) = (losses(Device::Cpu, "f64"), losses(Device::Cpu, "f32"));
    assert_eq!(exact.len(), 6);
    for device in devices() {
        let found = losses(device, "f32");
        assert_eq!(found.len(), exact.len());
        let mut spread: f64 = 0.0;
        for (step, ((found, single), exact)) in found.iter().zip(&single).zip(&exact).enumerate() {
            let rounding = f32::EPSILON as f64 * exact.abs();
            spread = spread.max((single - exact).abs()).max(rounding);
            let error = (found - exact).abs();
            assert!(
                error <= 16.0 * spread,
                "step {step} on {device}: off by {error:e}, f32 on the CPU by {spread:e}"
            );
        }
    }
}

#[test]
fn tensors_move_between_devices_and_keep_their_bits() {
    let values: Vec<f32> = (0..1000).map(|i| (i as f32).sin()).collect();
    for device in devices() {
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
    for device in devices() {
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
