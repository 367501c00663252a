//! Training by replaying a graph of a step: the same bits as launching the steps one by one. In the
//! emulator: no GPU needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use whatwhere::data::{Augment, Dataset, Loader, LoaderOptions, Normalise, Split};
use whatwhere::experiment::{Run, Settings};
use whatwhere::kernels::emulator;
use whatwhere::train::{Ending, EpochRecord, Observer, Progress, Trainer, evaluate};
use whatwhere::train::{TestDraw, save_weights};
use whatwhere::{Error, Result};

/// 20 images in batches of 8: two full ones and one of 4.
const IMAGES: usize = 20;
const BATCH: usize = 8;
const EPOCHS: usize = 2;
const STEPS: usize = EPOCHS * 3;

fn emulator_is_there() -> bool {
    if !emulator::is_available() {
        assert!(
            std::env::var_os("CI").is_none(),
            "this build has no emulator"
        );
        eprintln!("skipped: this build has no emulator");
    }
    emulator::is_available()
}

/// A shuffled network on augmented images, with a rate that changes at every step.
fn settings() -> Settings {
    Settings {
        data: Some("texture".into()),
        size: Some(16),
        train_images: Some(IMAGES),
        test_images: Some(8),
        model: Some("vgg-small".into()),
        width: Some(0.25),
        epochs: Some(EPOCHS as u32),
        batch: Some(BATCH),
        test_batch: Some(8),
        cut: Some(12),
        lr: Some(0.02),
        schedule: Some("poly".into()),
        augment: Some("crop-flip".into()),
        label_smoothing: Some(0.1),
        device: Some("emulator".into()),
        ..Settings::default()
    }
}

fn with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

/// Sees the losses of the steps it asks for, and stops the run after some step.
struct Watcher<'a> {
    every: u64,
    asked: u64,
    losses: Vec<(u64, u64)>,
    epochs: Vec<EpochRecord>,
    stop_after: Option<u64>,
    stop: &'a AtomicBool,
}

impl Observer for Watcher<'_> {
    fn due(&mut self) -> bool {
        self.asked += 1;
        if Some(self.asked) == self.stop_after {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.asked.is_multiple_of(self.every)
    }

    fn step(&mut self, progress: &Progress) {
        self.losses.push((progress.step, progress.loss.to_bits()));
    }

    fn epoch(&mut self, record: &EpochRecord, _: &Progress) {
        self.epochs.push(EpochRecord {
            seconds: 0.0,
            images_per_second: 0.0,
            ..record.clone()
        });
    }
}

/// What a run leaves.
#[derive(Clone, PartialEq, Debug)]
struct Outcome {
    losses: Vec<(u64, u64)>,
    epochs: Vec<EpochRecord>,
    weights: Vec<u8>,
    replays: u64,
}

impl Outcome {
    /// Without what tells how it was computed.
    fn numbers(&self) -> Outcome {
        Outcome {
            replays: 0,
            ..self.clone()
        }
    }
}

/// Trains to the end, in two sittings if it is stopped after a step in between.
fn train_on(
    settings: Settings,
    loaders: Option<[Loader; 2]>,
    every: u64,
    stop_after: Option<u64>,
) -> Result<Outcome> {
    let folder = tempfile::tempdir().unwrap();
    let (mut losses, mut epochs, mut replays) = (Vec::new(), Vec::new(), 0);
    loop {
        let run = Run::new(settings.clone())?;
        let [train, test] = match &loaders {
            Some(loaders) => loaders.clone(),
            None => run.loaders()?,
        };
        let recipe = run.settings().recipe()?;
        let mut network = run.into_network(None)?;
        let stop = AtomicBool::new(false);
        let mut watcher = Watcher {
            every,
            asked: 0,
            losses: Vec::new(),
            epochs: Vec::new(),
            stop_after: stop_after.filter(|_| losses.is_empty()),
            stop: &stop,
        };
        let folder = folder.path();
        let mut trainer =
            Trainer::new(&mut network, [&train, &test], recipe, folder, "test", &stop)?;
        let ending = trainer.run(&mut watcher)?;
        replays += trainer.replays();
        losses.append(&mut watcher.losses);
        epochs.append(&mut watcher.epochs);
        if ending == Ending::Finished {
            let file = folder.join("weights.safetensors");
            save_weights(&file, &network.store)?;
            return Ok(Outcome {
                losses,
                epochs,
                weights: std::fs::read(file).unwrap(),
                replays,
            });
        }
    }
}

fn train(settings: Settings) -> Outcome {
    train_on(settings, None, 1, None).unwrap()
}

fn one_by_one(settings: &Settings) -> Outcome {
    let outcome = train(Settings {
        graph: Some("off".into()),
        ..settings.clone()
    });
    assert_eq!(outcome.replays, 0);
    assert_eq!(outcome.losses.len(), STEPS);
    outcome
}

/// Full batches but the first are replayed, the small ones of each epoch's end are not.
const REPLAYS: u64 = (EPOCHS * 2 - 1) as u64;

/// The run of [`settings`] step by step, which many tests compare with.
fn usual() -> &'static Outcome {
    static USUAL: OnceLock<Outcome> = OnceLock::new();
    USUAL.get_or_init(|| one_by_one(&settings()))
}

#[test]
fn a_replayed_run_is_the_run() {
    if !emulator_is_there() {
        return;
    }
    let replayed = train(settings());
    assert_eq!(replayed.replays, REPLAYS);
    assert_eq!(replayed.numbers(), usual().numbers());
    for (scope, dtype) in [("per-sample", "bf16"), ("fixed", "f16")] {
        let settings = with(|s| {
            s.scope = Some(scope.into());
            s.dtype = Some(dtype.into());
        });
        let eager = one_by_one(&settings);
        let replayed = train(settings);
        assert_eq!(replayed.replays, REPLAYS);
        assert_eq!(replayed.numbers(), eager.numbers(), "{scope} {dtype}");
    }
}

/// Dropout, a pool that resamples, and biases.
#[test]
fn a_run_with_dropout_and_a_flat_head_is_replayed() {
    if !emulator_is_there() {
        return;
    }
    let settings = with(|s| {
        s.model = Some("vgg11-bn-torchvision".into());
        s.size = Some(32);
        s.width = Some(1.0 / 64.0);
        s.cut = None;
        s.epochs = Some(1);
    });
    let eager = train(Settings {
        graph: Some("off".into()),
        ..settings.clone()
    });
    let replayed = train(settings);
    assert_eq!((eager.replays, replayed.replays), (0, 1));
    assert_eq!(replayed.numbers(), eager.numbers());
}

/// The comparison sees a learning rate that stays as it was captured, and an epoch, a step or images that
/// do: each changes the bits.
#[test]
fn what_a_replay_must_read_anew_changes_the_bits() {
    if !emulator_is_there() {
        return;
    }
    let changes: [(&str, Settings); 3] = [
        ("rate", with(|s| s.schedule = Some("constant".into()))),
        ("augmentation", with(|s| s.augment = Some("none".into()))),
        ("permutations", with(|s| s.scope = Some("fixed".into()))),
    ];
    for (what, settings) in changes {
        let other = train(settings);
        assert_eq!(other.replays, REPLAYS);
        assert_ne!(other.weights, usual().weights, "{what}");
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_end() {
    if !emulator_is_there() {
        return;
    }
    // In the middle of an epoch, at its last step, and before anything was replayed.
    for stop_after in [4, 3, 1] {
        let two = train_on(settings(), None, 1, Some(stop_after)).unwrap();
        assert_eq!(
            two.numbers(),
            usual().numbers(),
            "stopped after {stop_after}"
        );
        assert_eq!(two.replays, REPLAYS - 1);
    }
}

/// Who looks at every third step sees what those see who look at all, and the epochs are the same.
#[test]
fn sums_read_now_and_then_are_the_same() {
    if !emulator_is_there() {
        return;
    }
    let all = usual();
    let some = train_on(settings(), None, 3, Some(5)).unwrap();
    assert_eq!((&some.epochs, &some.weights), (&all.epochs, &all.weights));
    assert!(some.losses.len() < all.losses.len());
    for seen in &some.losses {
        assert!(all.losses.contains(seen), "{seen:?}");
    }
}

/// Permutations that the host draws are no part of a graph: such a run launches its steps one by one.
#[test]
fn what_cannot_be_captured_is_launched() {
    if !emulator_is_there() {
        return;
    }
    let settings = with(|s| s.mode = Some("horizontal".into()));
    let eager = one_by_one(&settings);
    assert_eq!(train(settings), eager);
}

/// A data set that is not in memory, and may have a label too many.
struct Streamed {
    inner: Arc<dyn Dataset>,
    bad: Option<usize>,
}

impl Dataset for Streamed {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn split(&self) -> Split {
        self.inner.split()
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn shape(&self) -> [usize; 3] {
        self.inner.shape()
    }
    fn classes(&self) -> &[String] {
        self.inner.classes()
    }
    fn label(&self, index: usize) -> u32 {
        match self.bad == Some(index) {
            true => 99,
            false => self.inner.label(index),
        }
    }
    fn fill(&self, index: usize, out: &mut [u8]) -> Result<()> {
        self.inner.fill(index, out)
    }
    fn normalise(&self) -> Normalise {
        self.inner.normalise()
    }
    fn mirror_safe(&self) -> bool {
        self.inner.mirror_safe()
    }
}

fn streamed(bad: Option<usize>) -> [Loader; 2] {
    let loaders = Run::new(settings()).unwrap().loaders().unwrap();
    loaders.map(|loader| {
        let inner = loader.dataset().clone();
        let bad = bad.filter(|_| inner.split() == Split::Train);
        Loader::new(Arc::new(Streamed { inner, bad }), loader.options().clone()).unwrap()
    })
}

/// Batches that the host makes are copied into the graph's memory: the same bits as those the device
/// makes.
#[test]
fn batches_of_the_host_are_replayed_too() {
    if !emulator_is_there() {
        return;
    }
    let replayed = train_on(settings(), Some(streamed(None)), 1, None).unwrap();
    assert_eq!(replayed.replays, REPLAYS);
    assert_eq!(replayed.numbers(), usual().numbers());
}

#[test]
fn a_label_that_is_no_class_is_named_with_its_image() {
    if !emulator_is_there() {
        return;
    }
    let error = train_on(settings(), Some(streamed(Some(17))), 1, None).unwrap_err();
    assert!(matches!(error, Error::Sample { index: 17, .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("label 99"), "{said}");
}

/// Found at the next look, said with its step, and the network is not spoilt by it.
#[test]
fn a_loss_that_is_not_finite_is_found_when_somebody_looks() {
    if !emulator_is_there() {
        return;
    }
    let settings = with(|s| {
        s.lr = Some(1e30);
        s.schedule = Some("constant".into());
    });
    let error = train_on(settings.clone(), None, 1, None).unwrap_err();
    let Error::NotFinite { place, .. } = &error else {
        panic!("{error}");
    };
    let late = train_on(settings, None, 4, None).unwrap_err();
    let Error::NotFinite { place: found, .. } = &late else {
        panic!("{late}");
    };
    assert!(found.starts_with(place.as_str()), "{found} is not {place}");
    assert!(found.contains("found"), "{found}");
}

/// A test pass on the device's own images gives the numbers of one on the host's.
#[test]
fn resident_images_are_tested_as_the_hosts_are() {
    if !emulator_is_there() {
        return;
    }
    let run = Run::new(settings()).unwrap();
    let [_, test] = run.loaders().unwrap();
    let [_, streamed] = streamed(None);
    let mut network = run.into_network(None).unwrap();
    let draw = TestDraw {
        seed: 1,
        epoch: 2,
        pass: 0,
    };
    let mut tested = |loader| evaluate(&mut network, loader, draw, None).unwrap();
    assert_eq!(tested(&test), tested(&streamed));
    let small = LoaderOptions {
        batch: 3,
        shuffle: false,
        augment: Augment::None,
        ..LoaderOptions::default()
    };
    let small = |of: &Loader| Loader::new(of.dataset().clone(), small.clone()).unwrap();
    assert_eq!(tested(&small(&test)), tested(&small(&streamed)));
}
