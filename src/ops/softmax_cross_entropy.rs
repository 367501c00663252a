//! Softmax cross-entropy with integer labels: the loss of classification and segmentation.

use super::fallback::{self, kernel_device, no_kernel};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, arity};
use crate::cpu::softmax_cross_entropy::{self as kernel, Target};
use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result, with_real};

/// Mean cross-entropy of logits z [.., C] and labels y [..] (i32, one for each row of logits):
///
/// loss = Σ_i Σ_c t_ic (lse_i − z_ic) / Σ_i w_{y_i}, with lse_i = ln Σ_c exp z_ic and
/// t_ic = (1 − ε) w_{y_i} \[c = y_i\] + ε/C · w_c, over the rows i whose label is not ignored.
///
/// `torch.nn.functional.cross_entropy` with its `weight`, `ignore_index`, `label_smoothing` and
/// `reduction="mean"`; any leading dimensions, so images [N, C] and maps [N, H, W, C] alike. The
/// result is a scalar. The labels have no gradient.
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
        if kernel_device(inputs).is_some() {
            return fallback::forward(self, inputs, saved, no_kernel(self));
        }
        let [logits, labels] = arity(self.name(), inputs)?;
        self.output_shape(&[logits.shape(), labels.shape()])?;
        if labels.dtype() != DType::I32 {
            return Err(Error::DType {
                op: self.name(),
                expected: "i32 labels",
                found: labels.dtype(),
            });
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
        if kernel_device(&[&cotangent]).is_some() {
            return fallback::vjp(self, saved, cotangent, wanted, no_kernel(self));
        }
        if !wanted[0] {
            return Ok(vec![None, None]);
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
};
