//! Training in bf16, f16 and tf32, in the emulator or on the first device that `WHATWHERE_TEST_DEVICES`
//! names.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use whatwhere::device::Device;
use whatwhere::experiment::{Run, Settings};
use whatwhere::kernels::emulator;
use whatwhere::models::{Architecture, Network, Treatment};
use whatwhere::nn::Moment;
use whatwhere::ops::batch_norm::BatchNorm;
use whatwhere::ops::{Operation, Saved, set_tf32};
use whatwhere::rng::{Key, Purpose, Stream};
use whatwhere::tensor::{DType, Tensor};
use whatwhere::train::{
    Checkpoint, Ending, Manifest, Observer, Progress, Scaling, Silent, Step, Trainer, TrainingStep,
};
use whatwhere::{Error, Result};

/// A device with kernels, as long as nobody else changes how f32 products are made there.
fn device() -> Option<(Device, MutexGuard<'static, ()>)> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    set_tf32(false);
    if let Ok(names) = std::env::var("WHATWHERE_TEST_DEVICES") {
        let first = names.split(',').next().unwrap_or_default();
        return Some((first.parse().unwrap(), alone));
    }
    if !emulator::is_available() {
        assert!(
            std::env::var_os("CI").is_none(),
            "this build has no emulator"
        );
        eprintln!("skipped: this build has no emulator");
        return None;
    }
    Some((Device::Emulator, alone))
}

const STEP: Step = Step {
    lr: 0.05,
    momentum: 0.9,
    weight_decay: 5e-4,
    nesterov: false,
};
const CLASSES: usize = 5;
const BATCH: usize = 4;

/// A network for images of 8×8, and one step for it after another.
struct Training {
    network: Network,
    step: TrainingStep,
    images: Tensor,
    labels: Tensor,
    steps: u64,
}

impl Training {
    fn new(dtype: DType, device: Device) -> Self {
        let architecture = Architecture::by_name("vgg-small", [8, 8, 3], CLASSES, 0.25).unwrap();
        let intact = vec![Treatment::Intact; architecture.units.len()];
        let mut network = architecture.lower(&intact).unwrap();
        network.initialise(3, dtype, device).unwrap();
        let mut stream = Key::new(1, Purpose::Check, 0, 0).stream(0);
        let pixels: Vec<f32> = (0..BATCH * 8 * 8 * 3)
            .map(|_| stream.normal() as f32)
            .collect();
        let labels: Vec<i32> = (0..BATCH).map(|i| (i % CLASSES) as i32).collect();
        Training {
            step: TrainingStep::new(&network, STEP, 0.0).unwrap(),
            network,
            images: Tensor::from_slice([BATCH, 8, 8, 3], &pixels, device).unwrap(),
            labels: Tensor::from_slice([BATCH], &labels, device).unwrap(),
            steps: 0,
        }
    }

    fn run(&mut self) -> f64 {
        let moment = Moment::new(0, self.steps);
        self.steps += 1;
        let images = self.images.clone();
        let outcome = self
            .step
            .run(&mut self.network, moment, images, &self.labels);
        outcome.unwrap().loss.item().unwrap()
    }

    /// Bits of all weights, running statistics and velocities.
    fn bits(&self) -> [Vec<Vec<u32>>; 2] {
        let bits = |tensor: &Tensor| {
            let values = tensor.to_vec::<f32>().unwrap();
            values.into_iter().map(f32::to_bits).collect()
        };
        let store = &self.network.store;
        [
            store
                .slots()
                .map(|s| bits(store.value(s).unwrap()))
                .collect(),
            (self.step.sgd().velocities().iter())
                .map(|(_, v)| bits(v))
                .collect(),
        ]
    }

    /// The same of parameters alone.
    fn trained_bits(&self) -> [Vec<Vec<u32>>; 2] {
        let [values, velocities] = self.bits();
        let entries = self.network.store.entries().iter();
        let trained = values.into_iter().zip(entries).filter(|(_, e)| e.trained);
        [trained.map(|(v, _)| v).collect(), velocities]
    }

    /// Layers read the weights rounded to 16 bits, and what belongs to normalisation in f32.
    fn assert_copies(&self, dtype: DType) {
        let store = &self.network.store;
        let mut narrow = 0;
        for (slot, entry) in store.slots().zip(store.entries()) {
            let (value, read) = (store.value(slot).unwrap(), store.operand(slot).unwrap());
            assert_eq!(value.dtype(), DType::F32, "{}", entry.name);
            let expected = if entry.narrow { dtype } else { DType::F32 };
            assert_eq!(read.dtype(), expected, "{}", entry.name);
            let rounded = value
                .to_device(Device::Cpu)
                .unwrap()
                .cast(expected)
                .unwrap();
            assert_eq!(
                read.to_f64_vec().unwrap(),
                rounded.to_f64_vec().unwrap(),
                "{}",
                entry.name
            );
            narrow += entry.narrow as usize;
        }
        assert!(narrow > 3 && narrow < store.entries().len());
    }
}

/// Losses of steps on one batch, which the network learns by heart, from weights that are each moved by
/// `nudge` of themselves, up or down.
fn losses(dtype: DType, device: Device, lr: f64, nudge: Option<(f64, &mut Stream)>) -> Vec<f64> {
    let mut training = Training::new(dtype, device);
    training.step.prepare(lr).unwrap();
    if let Some((share, stream)) = nudge {
        let store = &mut training.network.store;
        for slot in store.slots() {
            let value = store.value(slot).unwrap();
            let moved: Vec<f64> = (value.to_f64_vec().unwrap().iter())
                .map(|v| v * (1.0 + share * [-1.0, 1.0][stream.below(2) as usize]))
                .collect();
            let moved = Tensor::from_slice(value.shape(), &moved, device).unwrap();
            store.set(slot, moved).unwrap();
        }
    }
    (0..6).map(|_| training.run()).collect()
}

/// Losses in few bits and those of the CPU in f64 agree step by step.
///
/// Rounding moves a number by u of itself at most, and by u/√3 in the mean square. In half precision a
/// layer rounds R = 7 numbers one after the other: the copy of its weights, the map it reads, the one it
/// writes and the normalised one, and on the way back three cotangents; in tf32 the R = 2 operands of a
/// product. At random, together, they are what moving each weight by √(R/3)·u of itself is, and what
/// that does to the losses is measured in f64 on the CPU: its mean square over sixteen random moves. Six
/// times that is the bound, for each step done once more; the loss itself is f32, of logits that are
/// rounded once.
#[test]
fn few_bits_give_the_losses_of_the_cpu() {
    let Some((device, _alone)) = device() else {
        return;
    };
    let exact = losses(DType::F64, Device::Cpu, STEP.lr, None);
    for (name, dtype, roundoff, roundings) in [
        ("tf32", DType::F32, DType::F16.unit_roundoff(), 2.0f64),
        ("f16", DType::F16, DType::F16.unit_roundoff(), 7.0),
        ("bf16", DType::BF16, DType::BF16.unit_roundoff(), 7.0),
    ] {
        let share = (roundings / 3.0).sqrt() * roundoff;
        let mut stream = Key::new(2, Purpose::Check, 0, 0).stream(0);
        let mut squares = vec![0.0; exact.len()];
        for _ in 0..16 {
            let nudge = Some((share, &mut stream));
            let moved = losses(DType::F64, Device::Cpu, STEP.lr, nudge);
            for ((sum, moved), exact) in squares.iter_mut().zip(&moved).zip(&exact) {
                *sum += (moved - exact).powi(2) / 16.0;
            }
        }
        // How many times the bound a run is off, at its worst step.
        let excess = |found: &[f64]| {
            let steps = found.iter().zip(&exact).zip(&squares).enumerate();
            steps.fold(0.0f64, |worst, (step, ((found, exact), square))| {
                let bound = (step + 1) as f64 * 6.0 * square.sqrt() + roundoff * exact;
                worst.max((found - exact).abs() / bound)
            })
        };
        set_tf32(name == "tf32");
        let found = losses(dtype, device, STEP.lr, None);
        set_tf32(false);
        let off = excess(&found);
        assert!(
            off <= 1.0,
            "{name}: {off} times the bound; {found:?} is not {exact:?}"
        );
        assert_ne!(found, losses(DType::F32, device, STEP.lr, None), "{name}");
        // Weights that stay, or copies that do not follow them, are seen.
        let stuck = excess(&losses(DType::F32, Device::Cpu, 0.0, None));
        assert!(stuck > 1.0, "{name}: only {stuck} times the bound");
    }
}

/// Batch normalisation reads maps of 16 bits with γ and β of f32, and gives gradients of the same: for γ
/// and β that 16 bits hold, what it gives where these have 16 bits too.
#[test]
fn normalisation_takes_wide_parameters() {
    let Some((device, _alone)) = device() else {
        return;
    };
    let op = BatchNorm {
        training: true,
        epsilon: 1e-5,
        relu: true,
    };
    for dtype in [DType::BF16, DType::F16] {
        let mut stream = Key::new(4, Purpose::Check, 0, 0).stream(0);
        let mut drawn = |dims: &[usize]| {
            let values: Vec<f32> = (0..dims.iter().product())
                .map(|_| stream.normal() as f32)
                .collect();
            let wide = Tensor::from_slice(dims, &values, Device::Cpu).unwrap();
            wide.cast(dtype).unwrap().to_device(device).unwrap()
        };
        for channels in [7, 16] {
            let map = [3, 2, 5, channels];
            let [x, dy] = [drawn(&map), drawn(&map)];
            let narrow = [drawn(&[channels]), drawn(&[channels])];
            let wide = narrow.each_ref().map(|t| t.cast(DType::F32).unwrap());
            let run = |[gamma, beta]: [&Tensor; 2]| {
                let mut saved = Saved::default();
                let y = op.forward(&[&x, gamma, beta], &mut saved).unwrap();
                let gradients = op.vjp(saved, dy.deep_clone().unwrap(), &[true; 3]).unwrap();
                let mut all = vec![y.value];
                all.extend(gradients.into_iter().flatten());
                all
            };
            let (same, found) = (run(narrow.each_ref()), run(wide.each_ref()));
            let dtypes = [dtype, dtype, DType::F32, DType::F32];
            for ((found, same), expected) in found.iter().zip(&same).zip(dtypes) {
                assert_eq!(found.dtype(), expected);
                let rounded = found.cast(dtype).unwrap().to_f64_vec().unwrap();
                assert_eq!(rounded, same.to_f64_vec().unwrap());
            }
        }
    }
}

/// A step asks nothing of the host: recorded once, replayed, it does what it does when it is launched,
/// with the learning rates and loss scales of each replay.
#[test]
fn a_recorded_step_is_the_step() {
    let Some((device, _alone)) = device() else {
        return;
    };
    for dtype in [DType::F32, DType::F16] {
        let rates = [0.05, 0.02, 0.08, 0.01];
        let start = Some(Scaling {
            scale: 2f32.powi(26),
            good_steps: 1998,
        });
        let new = || {
            let mut training = Training::new(dtype, device);
            training.step.set_scaling(start).unwrap();
            training.step.prepare(rates[0]).unwrap();
            let first = training.run();
            (training, first)
        };
        let (mut plain, _) = new();
        let (mut recorded, _) = new();
        let moment = Moment::new(0, 1);
        let images = recorded.images.clone();
        let (graph, outcome) = device
            .capture(|| {
                let Training {
                    step,
                    network,
                    labels,
                    ..
                } = &mut recorded;
                step.run(network, moment, images, labels)
            })
            .unwrap();
        for rate in &rates[1..] {
            plain.step.prepare(*rate).unwrap();
            recorded.step.prepare(*rate).unwrap();
            let loss = plain.run();
            graph.replay().unwrap();
            assert_eq!(outcome.loss.item().unwrap(), loss, "{dtype}");
            let scalings = [&plain, &recorded].map(|t| t.step.scaling().unwrap());
            assert_eq!(scalings[0], scalings[1], "{dtype}");
        }
        assert_ne!(plain.step.scaling().unwrap(), start);
        assert!(plain.bits() == recorded.bits(), "{dtype}");
    }
}

#[test]
fn copies_follow_the_weights() {
    let Some((device, _alone)) = device() else {
        return;
    };
    for dtype in [DType::BF16, DType::F16] {
        let mut training = Training::new(dtype, device);
        training.assert_copies(dtype);
        let before = training.trained_bits();
        let losses = [training.run(), training.run(), training.run()];
        assert!(losses[2] < losses[0], "{losses:?}");
        training.assert_copies(dtype);
        let now = training.trained_bits();
        assert!((now[0].iter().zip(&before[0])).all(|(now, before)| now != before));
        // And when values are loaded.
        let slot = training.network.store.slots().next().unwrap();
        let shape = training.network.store.value(slot).unwrap().shape().clone();
        let third = Tensor::full(shape, 1.0f32 / 3.0, device).unwrap();
        training.network.store.set(slot, third).unwrap();
        training.assert_copies(dtype);
    }
}

/// A scale that is a power of two changes exponents only, as long as nothing leaves their range: never in
/// a few steps of bf16 and f32, whose range is the same. (f16 is scaled because there it happens.)
#[test]
fn powers_of_two_leave_no_trace() {
    let Some((device, _alone)) = device() else {
        return;
    };
    for dtype in [DType::F32, DType::BF16] {
        let run = |scale: Option<f32>| {
            let mut training = Training::new(dtype, device);
            let scaling = scale.map(|scale| Scaling {
                scale,
                good_steps: 1998,
            });
            training.step.set_scaling(scaling).unwrap();
            let losses = [(); 3].map(|()| training.run());
            let doubled = scale.map(|scale| Scaling {
                scale: 2.0 * scale,
                good_steps: 1,
            });
            assert_eq!(training.step.scaling().unwrap(), doubled);
            (losses, training.bits())
        };
        let plain = run(None);
        for scale in [1.0, 1024.0, 65536.0] {
            assert!(run(Some(scale)) == plain, "{dtype} scaled by {scale}");
        }
    }
}

/// An infinity among the gradients of f16 halves the scale, and the step is as if it had not been.
#[test]
fn an_overflow_leaves_the_step_out() {
    let Some((device, _alone)) = device() else {
        return;
    };
    let mut training = Training::new(DType::F16, device);
    assert_eq!(training.step.scaling().unwrap(), Some(Scaling::START));
    let first = training.run();
    let scaling = |scale, good_steps| Some(Scaling { scale, good_steps });
    assert_eq!(training.step.scaling().unwrap(), scaling(65536.0, 1));
    let before = training.trained_bits();
    // Cotangents of the logits are near 1/BATCH.
    let scale = 2f32.powi(40);
    training.step.set_scaling(scaling(scale, 7)).unwrap();
    for halvings in 1..=2 {
        let loss = training.run();
        assert!(loss.is_finite() && loss < first);
        let halved = scaling(scale / 2f32.powi(halvings), 0);
        assert_eq!(training.step.scaling().unwrap(), halved);
        assert!(training.trained_bits() == before, "the step was taken");
        training.assert_copies(DType::F16);
    }
    training.step.set_scaling(Some(Scaling::START)).unwrap();
    training.run();
    assert!(training.trained_bits() != before);
}

/// A loss that is not finite stops the step in every dtype, with scaling and without.
#[test]
fn a_loss_that_is_no_number_changes_nothing() {
    let Some((device, _alone)) = device() else {
        return;
    };
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let mut training = Training::new(dtype, device);
        let before = training.trained_bits();
        let pixels = vec![f32::NAN; training.images.len()];
        let shape = training.images.shape().clone();
        training.images = Tensor::from_slice(shape, &pixels, device).unwrap();
        assert!(training.run().is_nan());
        assert!(training.trained_bits() == before, "{dtype}");
    }
}

fn settings(dtype: &str, device: Device) -> Settings {
    Settings {
        data: Some("layout".into()),
        size: Some(16),
        train_images: Some(16),
        test_images: Some(4),
        model: Some("vgg-small".into()),
        width: Some(0.25),
        epochs: Some(2),
        batch: Some(4),
        cut: Some(22),
        device: Some(device.to_string()),
        dtype: Some(dtype.into()),
        ..Settings::default()
    }
}

/// Stops a run after so many steps, and keeps the losses.
struct StopAfter<'a> {
    steps: u64,
    stop: &'a AtomicBool,
    losses: Vec<(u64, u64)>,
}

impl Observer for StopAfter<'_> {
    fn step(&mut self, progress: &Progress) {
        self.losses.push((progress.step, progress.loss.to_bits()));
        if progress.step == self.steps {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs in `folder` until its end or step `until`, going on where it is; `plant` changes the network
/// before.
fn sitting(
    dtype: &str,
    device: Device,
    folder: &Path,
    until: u64,
    plant: &dyn Fn(&mut Network),
) -> Result<(Ending, Vec<(u64, u64)>)> {
    let run = Run::new(settings(dtype, device))?;
    let [train, test] = run.loaders()?;
    let recipe = run.settings().recipe()?;
    let mut network = run.into_network(None)?;
    plant(&mut network);
    let stop = AtomicBool::new(false);
    let mut observer = StopAfter {
        steps: until,
        stop: &stop,
        losses: Vec::new(),
    };
    let loaders = [&train, &test];
    let mut trainer = Trainer::new(&mut network, loaders, recipe, folder, "test", &stop)?;
    Ok((trainer.run(&mut observer)?, observer.losses))
}

fn manifest(folder: &Path) -> Manifest {
    let text = std::fs::read_to_string(folder.join("checkpoint/checkpoint.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_resumed_run_is_bit_equal() {
    let Some((device, _alone)) = device() else {
        return;
    };
    for (dtype, scaled) in [("bf16", false), ("f16", true)] {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [whole, parts] = folders.each_ref().map(|folder| folder.path());
        let none = |_: &mut Network| {};
        let (ending, losses) = sitting(dtype, device, whole, u64::MAX, &none).unwrap();
        assert_eq!((ending, losses.len()), (Ending::Finished, 8));
        let mut again = Vec::new();
        for (until, end) in [
            (3, Ending::Stopped),
            (5, Ending::Stopped),
            (u64::MAX, Ending::Finished),
        ] {
            let (ending, losses) = sitting(dtype, device, parts, until, &none).unwrap();
            assert_eq!(ending, end);
            again.extend(losses);
        }
        assert_eq!(again, losses, "{dtype}");
        let [whole_state, parts_state] = [whole, parts].map(manifest);
        let good = whole_state.scaling.map(|s| s.good_steps);
        assert_eq!(good, scaled.then_some(8));
        assert_eq!(whole_state.scaling, parts_state.scaling);
        // One hash over weights, running statistics and velocities.
        assert_eq!(whole_state.sha256, parts_state.sha256, "{dtype}");
    }
}

/// Gradients that overflow at a scale of 1 are an error, which names the layer. Planted: a convolution
/// whose tiny weights the normalisation blows up again, so that the loss is finite, but steep.
#[test]
fn a_scale_below_one_is_an_error() {
    let Some((device, _alone)) = device() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let steep = |network: &mut Network| {
        let store = &mut network.store;
        let slots: Vec<_> = store.slots().collect();
        for (slot, factor) in [(slots[0], 1e-6), (slots[1], 2e5)] {
            let value = store.value(slot).unwrap();
            let scaled: Vec<f32> = (value.to_vec::<f32>().unwrap().iter())
                .map(|v| v * factor)
                .collect();
            let scaled = Tensor::from_slice(value.shape(), &scaled, device);
            store.set(slot, scaled.unwrap()).unwrap();
        }
    };
    sitting("f16", device, folder.path(), 1, &steep).unwrap();
    let path = folder.path().join("checkpoint/checkpoint.json");
    let mut state = manifest(folder.path());
    // The first step found the start too large.
    let halved = Scaling {
        scale: 32768.0,
        good_steps: 0,
    };
    assert_eq!(state.scaling, Some(halved));
    state.scaling = Some(Scaling {
        scale: 1.0,
        good_steps: 0,
    });
    std::fs::write(&path, serde_json::to_string(&state).unwrap()).unwrap();
    let error = sitting("f16", device, folder.path(), 2, &|_| {}).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("loss scale") && said.contains("layer 11"),
        "{said}"
    );
    assert!(Checkpoint::in_folder(folder.path().join("checkpoint")).exists());
}

#[test]
fn the_cpu_says_what_it_computes_in() {
    for dtype in ["tf32", "bf16", "f16"] {
        let error = Run::new(settings(dtype, Device::Cpu)).err().unwrap();
        assert!(matches!(error, Error::Setting { .. }), "{error}");
        let said = error.to_string();
        assert!(
            said.contains(dtype) && said.contains("--device emulator"),
            "{said}"
        );
    }
    let error = Run::new(settings("f8", Device::Cpu))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("f32 tf32 bf16 f16 f64"), "{error}");
    let mut network = Run::new(settings("f32", Device::Cpu))
        .unwrap()
        .into_network(None)
        .unwrap();
    network.initialise(0, DType::F16, Device::Cpu).unwrap();
    let error = TrainingStep::new(&network, STEP, 0.0).err().unwrap();
    assert!(matches!(error, Error::DType { .. }), "{error}");
}

/// The summary of a whole run says what it was computed in.
#[test]
fn runs_name_their_dtype() {
    let Some((device, _alone)) = device() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        epochs: Some(1),
        limit_batches: Some(1),
        cut: Some(99),
        ..settings("bf16", device)
    };
    let run = Run::new(settings).unwrap();
    let stop = AtomicBool::new(false);
    let summary = run.train(folder.path(), false, &mut Silent, &stop).unwrap();
    assert_eq!(summary.unwrap().dtype, "bf16");
}
