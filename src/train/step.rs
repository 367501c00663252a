//! One step of training: forward, loss, backward, optimizer.
//!
//! [`TrainingStep::run`] only launches work on the network's device: it reads nothing back and decides
//! nothing on the host, so that a CUDA graph can record it. What differs from one step to the next lies
//! in memory of the device: the batch in the tensors that are handed in, the rest where
//! [`TrainingStep::prepare`] writes it before the step.

use super::sgd::{Sgd, Step};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::models::Network;
use crate::nn::{Mode, Moment};
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::tensor::Tensor;

/// What a step needs beside the network and the batch.
pub struct TrainingStep {
    loss: SoftmaxCrossEntropy,
    sgd: Sgd,
    numbers: Step,
    /// The loss's own derivative.
    one: Tensor,
}

/// What a step gives, on the network's device.
pub struct Outcome {
    /// Mean loss of the batch, one element. Where it is not finite the network was left as it was.
    pub loss: Tensor,
    /// (N, classes), of the network before the step.
    pub logits: Tensor,
}

impl TrainingStep {
    /// Steps of `network`, whose values must be there. The learning rate of `numbers` is that of the
    /// first step.
    pub fn new(network: &Network, numbers: Step, label_smoothing: f64) -> Result<Self> {
        let store = &network.store;
        let one = Tensor::full([], 1.0, store.device())?;
        Ok(TrainingStep {
            loss: SoftmaxCrossEntropy {
                label_smoothing,
                ..SoftmaxCrossEntropy::default()
            },
            sgd: Sgd::new(store)?,
            numbers,
            one: one.cast(store.dtype())?,
        })
    }

    /// Sets what differs from step to step. Not part of what a graph records.
    pub fn prepare(&mut self, lr: f64) -> Result<()> {
        self.numbers.lr = lr;
        Ok(())
    }

    /// One step on images (N, H, W, C) and labels (N) on the network's device, drawing the random numbers of `moment`.
    ///
    /// # Errors
    /// What the layers say, with the name of the unit.
    pub fn run(
        &mut self,
        network: &mut Network,
        moment: Moment,
        images: Tensor,
        labels: &Tensor,
    ) -> Result<Outcome> {
        let mut tape = Tape::new();
        let forward = network.forward(&mut tape, Mode::Train, moment, images)?;
        let labels = Var::constant(labels.clone());
        let loss = tape.apply(self.loss.clone(), &[&forward.logits, &labels])?;
        let gradients = tape.vjp(&loss, self.one.clone())?;
        let (store, loss) = (&mut network.store, loss.into_value());
        self.sgd
            .step(self.numbers, store, forward.leaves, gradients, &loss)?;
        Ok(Outcome {
            loss,
            logits: forward.logits.into_value(),
        })
    }

    /// The optimizer's state.
    pub fn sgd(&self) -> &Sgd {
        &self.sgd
    }

    /// The optimizer's state, to be loaded.
    pub fn sgd_mut(&mut self) -> &mut Sgd {
        &mut self.sgd
    }
}
