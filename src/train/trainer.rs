//! The training loop.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::engine::{At, Engine};
use super::evaluate::TestDraw;
use super::schedule::{Decay, Schedule};
use super::sgd::Step;
use super::source::Given;
use super::step::TrainingStep;
use super::tally::Sums;
use super::{Checkpoint, Manifest, evaluate, save_weights};
use crate::data::Loader;
use crate::models::Network;
use crate::nn::Moment;
use crate::{Error, Result};

/// How a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Passes over the training set.
    pub epochs: u32,
    /// Full learning rate.
    pub lr: f64,
    /// How it falls.
    pub decay: Decay,
    /// Epochs over which it rises linearly at the beginning.
    pub warmup_epochs: f64,
    /// Share of the old velocity that stays.
    pub momentum: f64,
    /// Nesterov's form of the momentum.
    pub nesterov: bool,
    /// Factor of the weight added to its gradient.
    pub weight_decay: f64,
    /// ε of the smoothed labels.
    pub label_smoothing: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// At most this many batches per epoch, in training and test.
    pub limit_batches: Option<usize>,
    /// A checkpoint is written when this long has passed since the last, and after each epoch.
    pub checkpoint_every: Duration,
    /// Whether devices with kernels replay steps from a graph.
    pub graph: bool,
}

impl Recipe {
    /// The learning rates of a run with this many batches per epoch.
    ///
    /// # Errors
    /// [`Error::Setting`] names the number that cannot be used.
    pub fn schedule(&self, batches: u64) -> Result<Schedule> {
        let schedule = Schedule {
            lr: self.lr,
            decay: self.decay.clone(),
            steps_per_epoch: batches,
            steps: batches * self.epochs as u64,
            warmup_steps: (self.warmup_epochs * batches as f64).round() as u64,
        };
        schedule.check()?;
        Ok(schedule)
    }
}

/// One finished epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: u32,
    /// Steps done by then.
    pub steps: u64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Mean training loss over the epoch.
    pub train_loss: f64,
    /// Share of right answers in training, 0 to 1.
    pub train_accuracy: f64,
    /// Mean test loss.
    pub test_loss: f64,
    /// Share of right answers in the test, 0 to 1 (one pass).
    pub test_accuracy: f64,
    /// Seconds the epoch took, test included (this sitting's part, if it was resumed within).
    pub seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
}

/// Where a run stands after a step.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Epoch of the step, counted from 1.
    pub epoch: u32,
    /// Epochs of the run.
    pub epochs: u32,
    /// Steps done.
    pub step: u64,
    /// Steps of the run.
    pub steps: u64,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Share of right answers of the epoch so far.
    pub accuracy: f64,
    /// Training images per second of the epoch so far.
    pub images_per_second: f64,
}

/// Somebody who is told how a run goes.
pub trait Observer {
    /// Whether to be told of the step that was just launched. To know how a step went one must wait for
    /// it, so an observer that asks for every one of them makes a GPU idle; on the CPU nobody is asked.
    fn due(&mut self) -> bool {
        true
    }
    /// After a step.
    fn step(&mut self, _: &Progress) {}
    /// After every epoch.
    fn epoch(&mut self, _: &EpochRecord, _: &Progress) {}
}

/// An observer that says nothing.
pub struct Silent;

impl Observer for Silent {
    fn due(&mut self) -> bool {
        false
    }
}

/// Steps after which somebody looks at the losses, whoever is due: so late is one found that is not finite.
const UNREAD: u64 = 100;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// It was asked to stop; the checkpoint holds everything up to the last step.
    Stopped,
}

/// What was found not to be finite.
const LOSS: &str = "the training loss";
const GRADIENT: &str = "a gradient, under a loss scale below 1,";

/// A run: a network, its data, its recipe and its folder.
pub struct Trainer<'a> {
    network: &'a mut Network,
    train: &'a Loader,
    test: &'a Loader,
    recipe: Recipe,
    schedule: Schedule,
    engine: Engine,
    state: Manifest,
    /// Steps done when the sums in `state` were read.
    read_at: u64,
    folder: PathBuf,
    stop: &'a AtomicBool,
    saved_at: Instant,
    epoch_began: Instant,
    seen_this_sitting: u64,
}

impl<'a> Trainer<'a> {
    /// A run that starts, or goes on from the checkpoint in `folder` if there is one.
    ///
    /// The network must be initialised. `settings` identifies the run (a hash of its settings): a
    /// checkpoint of other settings is refused.
    pub fn new(
        network: &'a mut Network,
        [train, test]: [&'a Loader; 2],
        recipe: Recipe,
        folder: impl Into<PathBuf>,
        settings: &str,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let batches = train
            .batches()
            .min(recipe.limit_batches.unwrap_or(usize::MAX)) as u64;
        let schedule = recipe.schedule(batches)?;
        let folder = folder.into();
        let numbers = Step {
            lr: recipe.lr,
            momentum: recipe.momentum,
            weight_decay: recipe.weight_decay,
            nesterov: recipe.nesterov,
        };
        let mut step = TrainingStep::new(network, numbers, recipe.label_smoothing)?;
        let checkpoint = Checkpoint::in_folder(folder.join("checkpoint"));
        let state = match checkpoint.exists() {
            true => {
                let found = checkpoint.load(&mut network.store, step.sgd_mut(), settings)?;
                if found.scaling.is_some() {
                    step.set_scaling(found.scaling)?;
                }
                found
            }
            false => Manifest {
                settings: settings.to_owned(),
                ..Manifest::default()
            },
        };
        let now = Instant::now();
        let engine = Engine::new(network, train, step, recipe.seed, recipe.graph)?;
        Ok(Trainer {
            network,
            train,
            test,
            recipe,
            schedule,
            engine,
            read_at: state.step,
            state,
            folder,
            stop,
            saved_at: now,
            epoch_began: now,
            seen_this_sitting: 0,
        })
    }

    /// Finished epochs.
    pub fn history(&self) -> &[EpochRecord] {
        &self.state.history
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.state.step
    }

    /// Steps that were replayed from a graph, since this trainer was made.
    pub fn replays(&self) -> u64 {
        self.engine.replays()
    }

    /// The network.
    pub fn network(&mut self) -> &mut Network {
        self.network
    }

    /// Trains to the end, or until asked to stop.
    ///
    /// # Errors
    /// [`Error::NotFinite`] names the layer where a loss went wrong; the last checkpoint stays.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Ending> {
        while self.state.epoch < self.recipe.epochs {
            self.epoch_began = Instant::now();
            self.seen_this_sitting = 0;
            self.engine.reset(Sums {
                loss: self.state.loss_sum,
                right: self.state.correct,
                failed: None,
            })?;
            let end = self.schedule.steps_per_epoch as usize;
            let start = self.state.batch as usize;
            let feed = self.engine.feed(self.state.epoch as u64, start);
            for given in feed.take(end - start) {
                self.step(&given?)?;
                let due = !self.engine.is_remote() || observer.due();
                let save = self.saved_at.elapsed() >= self.recipe.checkpoint_every;
                if due || save || self.unread() >= UNREAD {
                    self.read()?;
                    observer.step(&self.progress());
                }
                // The observer may have asked for it.
                let stop = self.stop.load(Ordering::Relaxed);
                if save || stop {
                    self.save()?;
                }
                if stop {
                    return Ok(Ending::Stopped);
                }
            }
            self.read()?;
            self.finish_epoch(observer)?;
        }
        Ok(Ending::Finished)
    }

    /// Where the run stands.
    pub fn progress(&self) -> Progress {
        let seen = self.state.seen.max(1) as f64;
        Progress {
            epoch: self.state.epoch + 1,
            epochs: self.recipe.epochs,
            step: self.state.step,
            steps: self.schedule.steps,
            loss: self.state.loss_sum / seen,
            accuracy: self.state.correct as f64 / seen,
            images_per_second: self.seen_this_sitting as f64
                / self.epoch_began.elapsed().as_secs_f64().max(1e-9),
        }
    }

    fn step(&mut self, given: &Given) -> Result<()> {
        let at = At {
            step: self.state.step,
            epoch: self.state.epoch as u64,
            lr: self.schedule.at(self.state.step),
        };
        self.engine.run(self.network, at, given)?;
        self.state.seen += given.len() as u64;
        self.seen_this_sitting += given.len() as u64;
        self.state.step += 1;
        self.state.batch += 1;
        Ok(())
    }

    /// Brings the sums and the loss scale up to date.
    fn read(&mut self) -> Result<()> {
        let sums = self.engine.read()?;
        if let Some(step) = sums.failed {
            return Err(self.diagnose(LOSS, step)?);
        }
        let scaling = self.engine.step().scaling()?;
        if scaling.is_some_and(|s| s.scale < 1.0) {
            return Err(self.diagnose(GRADIENT, self.state.step - 1)?);
        }
        self.state.scaling = scaling;
        self.state.loss_sum = sums.loss;
        self.state.correct = sums.right;
        self.read_at = self.state.step;
        Ok(())
    }

    /// Runs step `step` of this epoch again and looks at every result, to say where the first NaN or
    /// infinity is. The network is as it is when that is found out.
    fn diagnose(&mut self, what: &'static str, step: u64) -> Result<Error> {
        let later = self.state.step - 1 - step;
        let number = self.state.batch as usize - 1 - later as usize;
        let batch = self.train.batch(self.state.epoch as u64, number)?;
        let moment = Moment::new(self.recipe.seed, step);
        Ok(Error::NotFinite {
            what,
            place: match later {
                0 => format!("step {step}"),
                _ => format!("step {step} (found at step {})", self.state.step - 1),
            },
            layer: self.engine.first_not_finite(self.network, moment, batch)?,
            advice: "Lower --lr, or let it rise with --warmup-epochs; \
                     the last checkpoint is from before",
        })
    }

    fn finish_epoch(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let progress = self.progress();
        let epoch = self.state.epoch + 1;
        let draw = TestDraw {
            seed: self.recipe.seed,
            epoch,
            pass: 0,
        };
        let test = evaluate(self.network, self.test, draw, self.recipe.limit_batches)?;
        let best = self
            .state
            .history
            .iter()
            .all(|r| r.test_accuracy < test.accuracy);
        if best {
            save_weights(&self.folder.join("best.safetensors"), &self.network.store)?;
        }
        let record = EpochRecord {
            epoch,
            steps: self.state.step,
            lr: self.schedule.at(self.state.step.saturating_sub(1)),
            train_loss: progress.loss,
            train_accuracy: progress.accuracy,
            test_loss: test.loss,
            test_accuracy: test.accuracy,
            seconds: self.epoch_began.elapsed().as_secs_f64(),
            images_per_second: progress.images_per_second,
        };
        observer.epoch(&record, &progress);
        self.state = Manifest {
            epoch,
            batch: 0,
            loss_sum: 0.0,
            correct: 0,
            seen: 0,
            ..std::mem::take(&mut self.state)
        };
        self.state.history.push(record);
        self.save()
    }

    /// Steps since the sums were read.
    fn unread(&self) -> u64 {
        self.state.step - self.read_at
    }

    fn save(&mut self) -> Result<()> {
        if self.unread() > 0 {
            self.read()?;
        }
        let checkpoint = Checkpoint::in_folder(self.folder.join("checkpoint"));
        checkpoint.save(
            &self.network.store,
            self.engine.step().sgd(),
            self.state.clone(),
        )?;
        self.saved_at = Instant::now();
        Ok(())
    }
}
