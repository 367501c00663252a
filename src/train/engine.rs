//! The steps of a run on the network's device, one by one or by replaying a graph of one.
//!
//! Where kernels run, the first step with a full batch runs as it is written, which loads its kernels and
//! leaves its constants on the device. Then it is captured, and every further step with a full batch is one
//! replay: the host writes the step's number, its epoch, its learning rate and the numbers of its images,
//! and launches the graph. Batches of another size (the last of an epoch) run as they are written. So
//! does everything where the step cannot be captured; the log says so once, and why.

use super::source::{Feed, Given, Source};
use super::step::TrainingStep;
use super::tally::{Sums, Tally};
use crate::Result;
use crate::data::{Batch, Loader};
use crate::device::{Device, Graph};
use crate::models::Network;
use crate::nn::Moment;
use crate::tensor::Tensor;

/// Which step it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// Steps done before it.
    pub step: u64,
    /// Its epoch, counted from 0.
    pub epoch: u64,
    /// Its learning rate.
    pub lr: f64,
}

/// Runs steps.
pub(super) struct Engine {
    step: TrainingStep,
    source: Source,
    tally: Tally,
    seed: u64,
    full: usize,
    graph: Recording,
    replays: u64,
}

/// How far the graph is.
enum Recording {
    /// There is none, and will be none.
    Never,
    /// It is captured after the next step with a full batch.
    Wanted,
    /// It replays a step; batches of the host are copied to `input`.
    Done {
        graph: Graph,
        input: Option<[Tensor; 2]>,
    },
}

impl Engine {
    /// Steps of `network` on the batches of `loader`, which draw with `seed`.
    pub fn new(
        network: &Network,
        loader: &Loader,
        step: TrainingStep,
        seed: u64,
        graph: bool,
    ) -> Result<Self> {
        let (device, dtype) = (network.store.device(), network.store.dtype());
        loader.expect_classes(network.classes)?;
        Ok(Engine {
            step,
            source: Source::new(loader, device, dtype)?,
            tally: Tally::new(device, dtype)?,
            seed,
            full: loader.options().batch,
            graph: match graph && device != Device::Cpu {
                true => Recording::Wanted,
                false => Recording::Never,
            },
            replays: 0,
        })
    }

    /// The step, with the optimizer's state.
    pub fn step(&self) -> &TrainingStep {
        &self.step
    }

    /// Where the first NaN or infinity of a step is, which runs again for that.
    pub fn first_not_finite(
        &self,
        network: &mut Network,
        moment: Moment,
        batch: Batch,
    ) -> Result<String> {
        let labels = batch.labels.to_device(network.store.device())?;
        let images = batch.images;
        Ok(self.step.first_not_finite(network, moment, images, &labels))
    }

    /// The batches of `epoch` from batch `start` on.
    pub fn feed(&self, epoch: u64, start: usize) -> Feed {
        self.source.feed(epoch, start)
    }

    /// Whether [`Engine::read`] waits for the device.
    pub fn is_remote(&self) -> bool {
        self.tally.is_remote()
    }

    /// What the steps since the last [`Engine::reset`] add up to.
    pub fn read(&mut self) -> Result<Sums> {
        self.tally.read()
    }

    /// Goes on from these sums.
    pub fn reset(&mut self, sums: Sums) -> Result<()> {
        self.tally.reset(sums)
    }

    /// Steps that were replayed.
    pub fn replays(&self) -> u64 {
        self.replays
    }

    /// One step.
    pub fn run(&mut self, network: &mut Network, at: At, given: &Given) -> Result<()> {
        self.step.prepare(at.lr)?;
        self.source.announce(at.step, at.epoch, given)?;
        let is_full = given.len() == self.full;
        if let (true, Recording::Done { graph, input }) = (is_full, &mut self.graph) {
            if let (Some([images, labels]), Given::Host(batch)) = (input, given) {
                images.copy_from(&batch.images)?;
                labels.copy_from(&batch.labels)?;
            }
            self.replays += 1;
            return graph.replay();
        }
        self.launch(network, at, given, None)?;
        if is_full && matches!(self.graph, Recording::Wanted) {
            self.graph = self.record(network, at, given)?;
        }
        Ok(())
    }

    /// The launches of a step; of `input` where it is there already.
    fn launch(
        &mut self,
        network: &mut Network,
        at: At,
        given: &Given,
        input: Option<[Tensor; 2]>,
    ) -> Result<()> {
        let clock = match self.graph {
            Recording::Never => None,
            _ => self.source.clock()?,
        };
        let moment = Moment {
            clock,
            ..Moment::new(self.seed, at.step)
        };
        let [images, labels] = match input {
            Some(there) => there,
            None => self.source.batch(given)?,
        };
        let outcome = self.step.run(network, moment, images, &labels)?;
        let number = self.source.number(at.step);
        self.tally
            .add(number, &outcome.loss, &outcome.logits, &labels)
    }

    /// Captures a step like the one that just ran; nothing runs.
    fn record(&mut self, network: &mut Network, at: At, given: &Given) -> Result<Recording> {
        let device = network.store.device();
        let input = match given {
            Given::Host(_) => Some(self.source.batch(given)?),
            Given::Indices(_) => None,
        };
        let work = || self.launch(network, at, given, input.clone());
        Ok(match device.capture(work) {
            Ok((graph, ())) => Recording::Done { graph, input },
            Err(why) => {
                tracing::warn!("training steps on {device} are launched one by one: {why}");
                Recording::Never
            }
        })
    }
}
