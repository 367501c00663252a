//! Binary cross-entropy with logits over the elements that are known: the concepts' loss.

use super::fallback::{self, kernel_device, no_kernel};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, operands};
use crate::cpu::masked_bce::{self as kernel, Operands};
use crate::device::Device;
use crate::kernels::{self, Address};
use crate::tensor::{DType, Real, Shape, Tensor};
use crate::{Error, Result, with_real};

/// Mean binary cross-entropy of logits z and targets t over a mask m, with optional weights w:
///
/// loss = Σ_i m_i w_i (−t_i ln σ(z_i) − (1 − t_i) ln(1 − σ(z_i))) / Σ_i m_i
///
/// Inputs z, t, m and, if wanted, w, all of one shape and dtype. It is
/// `torch.nn.functional.binary_cross_entropy_with_logits(z, t, w, reduction="none")`, averaged with the
/// weights m. The result is a scalar; only z has a gradient. Where m is 0 an element is not known:
/// whatever stands there, even NaN, adds nothing. Where kernels run it, a mask without an element gives NaN
/// and not an error.
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

/// By kernels. What they keep stands where the CPU keeps Σ m, as f32: the loss and Σ m. The mask stays on
/// the device, so one without an element makes the loss NaN.
fn launch(device: Device, inputs: &[&Tensor]) -> Result<[Tensor; 2]> {
    let (dtype, elements) = (inputs[0].dtype(), inputs[0].len());
    let blocks = kernels::masked_bce::blocks_of(dtype, elements);
    let mut scratch = Tensor::empty([2 * blocks], DType::F32, device)?;
    let mut result = Tensor::empty([2], DType::F32, device)?;
    let mut loss = Tensor::empty([], dtype, device)?;
    let written = [
        scratch.address_mut()?,
        result.address_mut()?,
        loss.address_mut()?,
    ];
    let operands = addresses(inputs);
    device.launch_all(&kernels::masked_bce::forward(
        dtype, elements, operands, written,
    )?)?;
    Ok([loss, result])
}

fn addresses(inputs: &[&Tensor]) -> kernels::masked_bce::Operands {
    kernels::masked_bce::Operands {
        logits: inputs[0].address(),
        targets: inputs[1].address(),
        mask: inputs[2].address(),
        weights: inputs.get(3).map_or(Address(0), |w| w.address()),
    }
}

fn launch_vjp(device: Device, kept: &[Tensor], cotangent: &Tensor) -> Result<Tensor> {
    let (result, inputs) = kept
        .split_last()
        .ok_or_else(|| Error::shape("masked_bce", "nothing was saved"))?;
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let mut dz = inputs[0].empty_like()?;
    let pointers = [result.address(), cotangent.address(), dz.address_mut()?];
    let (dtype, elements) = (dz.dtype(), dz.len());
    let plan = kernels::masked_bce::backward(dtype, elements, addresses(&inputs), pointers)?;
    device.launch(&plan)?;
    Ok(dz)
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
        if let Some(device) = kernel_device(inputs) {
            return match launch(device, inputs) {
                Ok([loss, result]) => {
                    saved.tensors.extend(inputs.iter().copied().cloned());
                    saved.keep([&result]);
                    Ok(loss.into())
                }
                Err(why) => fallback::forward(self, inputs, saved, why),
            };
        }
        let [sum, total] = with_real!(logits.dtype(), self.name(), T => sums::<T>(inputs))?;
        // A mask with a NaN is refused too.
        if total.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            let what = format!("a mean over nothing: the mask's sum is {total}");
            return Err(Error::shape(self.name(), what));
        }
        saved.tensors.extend(inputs.iter().copied().cloned());
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
        let kept = &saved.tensors;
        let total = &kept[wanted.len()];
        if let Some(device) = kernel_device(&[&cotangent]) {
            // Kernels go on where kernels began: what they kept has their own meaning.
            if total.dtype() == DType::F64 {
                return fallback::vjp(self, saved, cotangent, wanted, no_kernel(self));
            }
            gradients[0] = Some(launch_vjp(device, kept, &cotangent)?);
            return Ok(gradients);
        }
        let inputs: Vec<&Tensor> = kept[..wanted.len()].iter().collect();
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
    fuzz: |draw| {
        let shape = [draw.between(1, 9), draw.between(1, 40)];
        let constants = 2 + draw.flag() as usize;
        let mut inputs = vec![Input::normal(shape)];
        inputs.extend((0..constants).map(|_| Input::Constant(shape.into())));
        Case::new(MaskedBce, inputs)
    },
};
