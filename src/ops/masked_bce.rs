//! Binary cross-entropy with logits over the elements that are known: the concepts' loss.

use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, operands};
use crate::cpu::masked_bce::{self as kernel, Operands};
use crate::tensor::{Real, Shape, Tensor};
use crate::{Error, Result, with_real};

/// Mean binary cross-entropy of logits z and targets t over a mask m, with optional weights w:
///
/// loss = Σ_i m_i w_i (−t_i ln σ(z_i) − (1 − t_i) ln(1 − σ(z_i))) / Σ_i m_i
///
/// Inputs z, t, m and, if wanted, w, all of one shape and dtype. It is
/// `torch.nn.functional.binary_cross_entropy_with_logits(z, t, w, reduction="none")`, averaged with the
/// weights m. The result is a scalar; only z has a gradient. Where m is 0 an element is not known:
/// whatever stands there, even NaN, adds nothing.
///
/// # Errors
/// [`Error::Shape`] for fewer than three or more than four inputs, inputs of different shapes, and a
/// mask whose sum is not positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedBce;

/// The inputs as slices.
fn slices<'a, T: Real>(inputs: &[&'a Tensor]) -> Result<Operands<'a, T>> {
    Ok(Operands {
        logits: inputs[0].data()?,
        targets: inputs[1].data()?,
        mask: inputs[2].data()?,
        weights: inputs.get(3).map(|w| w.data()).transpose()?,
    })
}

fn sums<T: Real>(inputs: &[&Tensor]) -> Result<[f64; 2]> {
    Ok(kernel::loss_sum::<T>(slices(inputs)?))
}

fn gradient<T: Real>(inputs: &[&Tensor], scale: f64, dz: &mut Tensor) -> Result<()> {
    kernel::backward::<T>(slices(inputs)?, scale, dz.data_mut()?);
    Ok(())
}

impl Operation for MaskedBce {
    fn name(&self) -> &'static str {
        "masked_bce"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        if !(3..=4).contains(&inputs.len()) {
            let found = inputs.len();
            let what = format!("expected logits, targets, mask and perhaps weights, found {found}");
            return Err(Error::shape(self.name(), what));
        }
        if let Some(other) = inputs.iter().find(|shape| **shape != inputs[0]) {
            let what = format!("operands of different shapes: {} and {other}", inputs[0]);
            return Err(Error::shape(self.name(), what));
        }
        Ok([].into())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        self.output_shape(&super::shapes(inputs))?;
        match inputs.len() {
            3 => operands::<3>(self.name(), inputs).map(|_| ())?,
            _ => operands::<4>(self.name(), inputs).map(|_| ())?,
        }
        let logits = inputs[0];
        let [sum, total] = with_real!(logits.dtype(), self.name(), T => sums::<T>(inputs))?;
        // A mask with a NaN is refused too.
        if total.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            let what = format!("a mean over nothing: the mask's sum is {total}");
            return Err(Error::shape(self.name(), what));
        }
        for input in inputs {
            saved.keep([*input]);
        }
        let total = Tensor::scalar(total, logits.device())?;
        saved.keep([&total]);
        let loss = Tensor::scalar(sum / total.item()?, logits.device())?;
        Ok(loss.cast(logits.dtype())?.into())
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; wanted.len()];
        if !wanted[0] {
            return Ok(gradients);
        }
        let (kept, total) = match wanted.len() {
            3 => {
                let [z, t, m, total] = saved.take();
                (vec![z, t, m], total)
            }
            _ => {
                let [z, t, m, w, total] = saved.take();
                (vec![z, t, m, w], total)
            }
        };
        let inputs: Vec<&Tensor> = kept.iter().collect();
        let scale = cotangent.item()? / total.item()?;
        let mut dz = kept[0].empty_like()?;
        with_real!(dz.dtype(), self.name(), T => gradient::<T>(&inputs, scale, &mut dz))?;
        gradients[0] = Some(dz);
        Ok(gradients)
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        Cost::new(20 * inputs[0].len(), inputs)
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "masked_bce",
    summary: "mean binary cross-entropy of logits over a mask, with optional weights",
    linear: false,
    cases: || {
        let constant = |shape: [usize; 2]| Input::Constant(shape.into());
        vec![
            Case::new(
                MaskedBce,
                [Input::normal([5, 7]), constant([5, 7]), constant([5, 7])],
            ),
            Case::new(
                MaskedBce,
                [
                    Input::normal([3, 70]),
                    constant([3, 70]),
                    constant([3, 70]),
                    constant([3, 70]),
                ],
            ),
        ]
    },
};
