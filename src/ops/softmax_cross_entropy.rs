//! Softmax cross-entropy with integer labels: the loss of classification and segmentation.

use super::fallback::{self, kernel_device, no_kernel};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, arity};
use crate::cpu::softmax_cross_entropy::{self as kernel, Target};
use crate::device::Device;
use crate::kernels::Address;
use crate::kernels::softmax_cross_entropy::{self as kernels, Buffers, Rows};
use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result, with_real};

/// Mean cross-entropy of logits z [.., C] and labels y [..] (i32, one for each row of logits):
///
/// loss = Σ_i Σ_c t_ic (lse_i − z_ic) / Σ_i w_{y_i}, with lse_i = ln Σ_c exp z_ic and
/// t_ic = (1 − ε) w_{y_i} \[c = y_i\] + ε/C · w_c, over the rows i whose label is not ignored.
///
/// `torch.nn.functional.cross_entropy` with its `weight`, `ignore_index`, `label_smoothing` and
/// `reduction="mean"`; any leading dimensions, so images [N, C] and maps [N, H, W, C] alike. The
/// result is a scalar. The labels have no gradient. Where kernels run it, labels are not looked at by the
/// host: one out of range, or none that counts, gives NaN and not an error.
///
/// # Errors
/// [`Error::Shape`] for labels of another shape than the rows, a label out of range (its row and
/// value are named), no class, a number of class weights other than C, and where no row counts (all are
/// ignored or weigh nothing; PyTorch returns NaN there); [`Error::DType`] for labels other than i32;
/// [`Error::Setting`] for a smoothing outside [0, 1] or a class weight that is negative or not finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SoftmaxCrossEntropy {
    /// A label that does not count (255 in segmentation).
    pub ignore_index: Option<i32>,
    /// ε in [0, 1]; 0 is the plain loss.
    pub label_smoothing: f64,
    /// One weight for each class; all 1 without.
    pub class_weights: Option<Vec<f64>>,
}

impl SoftmaxCrossEntropy {
    fn target(&self) -> Target<'_> {
        Target {
            smoothing: self.label_smoothing,
            ignore: self.ignore_index,
            weights: self.class_weights.as_deref(),
        }
    }

    fn check_settings(&self, classes: usize) -> Result<()> {
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return Err(Error::setting(
                "label_smoothing",
                self.label_smoothing,
                "must be in 0..=1",
            ));
        }
        let weights = self.class_weights.as_deref().unwrap_or_default();
        if let Some(bad) = weights.iter().find(|w| !w.is_finite() || **w < 0.0) {
            let why = "a class weight must be finite and not negative";
            return Err(Error::setting("class_weights", bad, why));
        }
        if self.class_weights.is_some() && weights.len() != classes {
            return Err(Error::shape(
                self.name(),
                format!("{} class weights for {classes} classes", weights.len()),
            ));
        }
        Ok(())
    }

    /// Σ w_y over the rows, after checking that every label is in range and that some row counts.
    fn total_weight(&self, labels: &[i32], classes: usize) -> Result<f64> {
        let (target, mut total) = (self.target(), 0.0);
        for (row, &label) in labels.iter().enumerate() {
            let known = usize::try_from(label).is_ok_and(|l| l < classes);
            if !known && self.ignore_index != Some(label) {
                return Err(Error::shape(
                    self.name(),
                    format!("the label of row {row} is {label}, but there are {classes} classes"),
                ));
            }
            total += target.weight(label);
        }
        if total > 0.0 {
            return Ok(total);
        }
        Err(Error::shape(
            self.name(),
            format!(
                "a mean over no row: none of the {} labels counts (ignore_index {:?})",
                labels.len(),
                self.ignore_index
            ),
        ))
    }
}

/// By kernels. What they keep for the vjp stands where the CPU keeps lse, as f32: for each row its
/// maximum and ln Σ exp(z − maximum), and then the three numbers of the whole batch. Labels stay on the
/// device, so nobody looks at them: one out of range makes the loss NaN, and so does a batch in which no
/// row counts.
impl SoftmaxCrossEntropy {
    fn rows(&self, logits: &Tensor) -> Rows {
        let classes = logits.shape().channels();
        let weights = self.class_weights.as_deref();
        Rows {
            rows: logits.len() / classes,
            classes,
            ignore: self.ignore_index,
            smoothing: self.label_smoothing,
            weight_sum: weights.map_or(classes as f64, |w| w.iter().sum()),
        }
    }

    /// The class weights on `device`, if there are any.
    fn device_weights(&self, device: Device) -> Result<Option<Tensor>> {
        let narrow = |w: &Vec<f64>| w.iter().map(|&w| w as f32).collect::<Vec<f32>>();
        let copy =
            |w: Vec<f32>| Tensor::from_slice([w.len()], &w, Device::Cpu)?.constant_on(device);
        self.class_weights
            .as_ref()
            .map(narrow)
            .map(copy)
            .transpose()
    }

    fn launch(&self, device: Device, logits: &Tensor, labels: &Tensor) -> Result<[Tensor; 2]> {
        super::same_device(self.name(), logits, labels)?;
        let rows = self.rows(logits);
        let weights = self.device_weights(device)?;
        let new = |count: usize| Tensor::empty([count], DType::F32, device);
        let (mut kept, mut scratch) = (new(2 * rows.rows + 3)?, new(3 * rows.blocks())?);
        let mut loss = Tensor::empty([], logits.dtype(), device)?;
        let statistics = kept.address_mut()?;
        let buffers = Buffers {
            logits: logits.address(),
            labels: labels.address(),
            weights: weights.as_ref().map_or(Address(0), Tensor::address),
            statistics,
            result: result_behind(statistics, rows),
            loss: loss.address_mut()?,
        };
        let scratch = scratch.address_mut()?;
        device.launch_all(&kernels::forward(logits.dtype(), rows, buffers, scratch)?)?;
        Ok([loss, kept])
    }

    fn launch_vjp(&self, device: Device, saved: Saved, cotangent: Tensor) -> Result<Tensor> {
        let [logits, labels, kept] = saved.take();
        let rows = self.rows(&logits);
        let weights = self.device_weights(device)?;
        let mut dz = logits.empty_like()?;
        let buffers = Buffers {
            logits: logits.address(),
            labels: labels.address(),
            weights: weights.as_ref().map_or(Address(0), Tensor::address),
            statistics: kept.address(),
            result: result_behind(kept.address(), rows),
            loss: Address(0),
        };
        let (scale, to) = (cotangent.address(), dz.address_mut()?);
        device.launch(&kernels::backward(
            logits.dtype(),
            rows,
            buffers,
            scale,
            to,
        )?)?;
        Ok(dz)
    }
}

/// Where the numbers of the batch stand, behind those of its rows.
fn result_behind(statistics: Address, rows: Rows) -> Address {
    Address(statistics.0 + (2 * rows.rows * DType::F32.size()) as u64)
}

impl Operation for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [logits, labels] = arity(self.name(), inputs)?;
        let Some((&classes, rows)) = logits.dims().split_last().filter(|(c, _)| **c > 0) else {
            return Err(Error::shape(
                self.name(),
                format!("expected logits [.., classes], found shape {logits}"),
            ));
        };
        if labels.dims() != rows {
            return Err(Error::shape(
                self.name(),
                format!("logits {logits} need labels of shape {rows:?}, found {labels}"),
            ));
        }
        self.check_settings(classes)?;
        Ok([].into())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let [logits, labels] = arity(self.name(), inputs)?;
        self.output_shape(&[logits.shape(), labels.shape()])?;
        if labels.dtype() != DType::I32 {
            return Err(Error::DType {
                op: self.name(),
                expected: "i32 labels",
                found: labels.dtype(),
            });
        }
        if let Some(device) = kernel_device(inputs) {
            return match self.launch(device, logits, labels) {
                Ok([loss, kept]) => {
                    saved.keep([logits, labels, &kept]);
                    Ok(loss.into())
                }
                Err(why) => fallback::forward(self, inputs, saved, why),
            };
        }
        let classes = logits.shape().channels();
        let values = labels.data::<i32>()?;
        let total = self.total_weight(values, classes)?;
        let mut lse = Tensor::empty(labels.shape(), DType::F64, logits.device())?;
        let sum = with_real!(logits.dtype(), self.name(), T => {
            kernel::loss_sum::<T>(logits.data()?, classes, values, self.target(), lse.data_mut()?)
        });
        saved.keep([logits, labels, &lse]);
        let loss = Tensor::scalar(sum / total, logits.device())?;
        Ok(loss.cast(logits.dtype())?.into())
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        if !wanted[0] {
            return Ok(vec![None, None]);
        }
        if let Some(device) = kernel_device(&[&cotangent]) {
            // Kernels go on where kernels began: what they kept has their own meaning.
            if saved.tensors[2].dtype() == DType::F64 {
                return fallback::vjp(self, saved, cotangent, wanted, no_kernel(self));
            }
            let dz = self.launch_vjp(device, saved, cotangent)?;
            return Ok(vec![Some(dz), None]);
        }
        let [logits, labels, lse] = saved.take();
        let (classes, labels) = (logits.shape().channels(), labels.data::<i32>()?);
        let scale = cotangent.item()? / self.total_weight(labels, classes)?;
        let mut dz = logits.empty_like()?;
        with_real!(logits.dtype(), self.name(), T => kernel::backward::<T>(
            logits.data()?, classes, labels, self.target(), lse.data()?, scale, dz.data_mut()?
        ));
        Ok(vec![Some(dz), None])
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        Cost::new(4 * inputs[0].len(), inputs)
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "softmax_cross_entropy",
    summary: "mean cross-entropy of logits and labels, as `torch.nn.functional.cross_entropy`",
    linear: false,
    cases: || {
        let labels = |shape: Shape, ignore| Input::Labels {
            shape,
            classes: 5,
            ignore,
        };
        let every_option = SoftmaxCrossEntropy {
            ignore_index: Some(255),
            label_smoothing: 0.1,
            class_weights: Some(vec![0.5, 1.0, 2.0, 0.0, 1.5]),
        };
        vec![
            Case::new(
                SoftmaxCrossEntropy::default(),
                [Input::normal([7, 5]), labels([7].into(), None)],
            ),
            Case::new(
                SoftmaxCrossEntropy {
                    label_smoothing: 0.2,
                    ..Default::default()
                },
                [Input::normal([1, 5]), labels([1].into(), None)],
            ),
            Case::new(
                every_option,
                [
                    Input::normal([2, 3, 4, 5]),
                    labels([2, 3, 4].into(), Some(255)),
                ],
            ),
        ]
    },
    fuzz: |draw| {
        let classes = draw.between(2, 12);
        let ignore = draw.flag().then_some(255);
        let rows = match draw.flag() {
            true => vec![draw.between(1, 3), draw.between(1, 4), draw.between(1, 4)],
            false => vec![draw.between(1, 9)],
        };
        let weights = |_| draw.pick(&[1.0, 0.5, 2.0, 0.1]);
        let op = SoftmaxCrossEntropy {
            class_weights: Some((0..classes).map(weights).collect()),
            ignore_index: ignore,
            label_smoothing: 0.0,
        };
        let op = SoftmaxCrossEntropy {
            class_weights: op.class_weights.filter(|_| draw.flag()),
            label_smoothing: draw.pick(&[0.0, 0.1, 1.0]),
            ..op
        };
        let labels = Input::Labels {
            shape: rows.clone().into(),
            classes,
            ignore,
        };
        let logits = [rows, vec![classes]].concat();
        Case::new(op, [Input::normal(logits), labels])
    },
};
