//! One step of training: forward, loss, backward, optimizer.
//!
//! [`TrainingStep::run`] only launches work on the network's device: it reads nothing back and decides
//! nothing on the host, so that a CUDA graph can record it. What differs from one step to the next lies
//! in memory of the device: the batch in the tensors that are handed in, the learning rate where
//! [`TrainingStep::prepare`] writes it before the step, the loss scale where kernels move it on.

use super::scaling::{LossScale, Scaling};
use super::sgd::{Sgd, Step};
use crate::autograd::{Gradients, Tape, Var};
use crate::device::Device;
use crate::models::{Forward, Network};
use crate::nn::{Mode, Moment};
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// What a step needs beside the network and the batch.
pub struct TrainingStep {
    loss: SoftmaxCrossEntropy,
    sgd: Sgd,
    numbers: Step,
    scale: LossScale,
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
    /// first step. In f16 the loss is scaled, from [`Scaling::START`] on.
    ///
    /// # Errors
    /// [`Error::DType`] for half precision on the CPU.
    pub fn new(network: &Network, numbers: Step, label_smoothing: f64) -> Result<Self> {
        let store = &network.store;
        let (device, dtype) = (store.device(), store.dtype());
        if device == Device::Cpu && !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Error::DType {
                op: "a training step on the CPU",
                expected: "f32 or f64",
                found: dtype,
            });
        }
        let mut sgd = Sgd::new(store)?;
        sgd.set_rate(numbers.lr)?;
        Ok(TrainingStep {
            loss: SoftmaxCrossEntropy {
                label_smoothing,
                ..SoftmaxCrossEntropy::default()
            },
            sgd,
            numbers,
            scale: LossScale::new(device, (dtype == DType::F16).then_some(Scaling::START))?,
        })
    }

    /// Sets what differs from step to step. Not part of what a graph records.
    pub fn prepare(&mut self, lr: f64) -> Result<()> {
        self.numbers.lr = lr;
        self.sgd.set_rate(lr)
    }

    /// One step on images (N, H, W, C) and labels (N) on the network's device, drawing the random
    /// numbers of `moment`.
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
        let (forward, loss, gradients) =
            self.gradients(Tape::new(), network, moment, images, labels)?;
        let Forward { logits, leaves } = forward;
        self.scale.see_loss(&loss)?;
        let (store, scale) = (&mut network.store, &mut self.scale);
        self.sgd
            .step(self.numbers, store, leaves, gradients, scale)?;
        self.scale.move_on()?;
        Ok(Outcome {
            loss,
            logits: logits.into_value(),
        })
    }

    /// Runs a step's forward and backward pass again and looks at every result: the layer where the
    /// first NaN or infinity is.
    pub fn first_not_finite(
        &self,
        network: &mut Network,
        moment: Moment,
        images: Tensor,
        labels: &Tensor,
    ) -> String {
        let tape = Tape::new().checked();
        match self.gradients(tape, network, moment, images, labels) {
            Err(Error::Layer { layer, .. }) if layer != LOSS => format!("layer {layer}"),
            _ => "the loss itself".to_owned(),
        }
    }

    /// Forward and backward pass: the loss, and the gradients of the scaled loss.
    fn gradients(
        &self,
        mut tape: Tape,
        network: &mut Network,
        moment: Moment,
        images: Tensor,
        labels: &Tensor,
    ) -> Result<(Forward, Tensor, Gradients)> {
        let forward = network.forward(&mut tape, Mode::Train, moment, images)?;
        tape.enter_layer(LOSS);
        let labels = Var::constant(labels.clone());
        let loss = tape.apply(self.loss.clone(), &[&forward.logits, &labels])?;
        let cotangent = self.scale.cotangent(loss.value().dtype())?;
        let gradients = tape.vjp(&loss, cotangent)?;
        Ok((forward, loss.into_value(), gradients))
    }

    /// The optimizer's state.
    pub fn sgd(&self) -> &Sgd {
        &self.sgd
    }

    /// The optimizer's state, to be loaded.
    pub fn sgd_mut(&mut self) -> &mut Sgd {
        &mut self.sgd
    }

    /// How far dynamic loss scaling is; `None` where there is none. Waits for the device.
    pub fn scaling(&self) -> Result<Option<Scaling>> {
        self.scale.state()
    }

    /// Scales the loss dynamically from here on, or not at all.
    ///
    /// # Errors
    /// [`Error::Setting`] for a scale that is no power of two, and for one on the CPU.
    pub fn set_scaling(&mut self, scaling: Option<Scaling>) -> Result<()> {
        self.scale = LossScale::new(self.scale.found().device(), scaling)?;
        Ok(())
    }
}

/// What errors of the loss are said to be of.
const LOSS: &str = "loss";
