//! Operations on devices that have no kernel for them: to the CPU and back.
//!
//! An operation's `forward` and `vjp` begin by asking where the operands are. On the CPU they go on;
//! on another device they plan kernels, and where there are none (for this operation, this shape or
//! this dtype) they end in [`forward`] and [`vjp`] here. So every operation runs on every device, and
//! the log says once which of them are slow.
//!
//! What is saved for the vjp always lives where the operands live, with the same meaning whoever
//! saved it: a forward pass by kernels may be followed by a fallback's vjp and the other way round.

use super::{Operation, Output, Saved};
use crate::device::{Device, note_fallback};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// The device whose kernels are to work on `operands`; none on the CPU.
pub(crate) fn kernel_device(operands: &[&Tensor]) -> Option<Device> {
    let mut devices = operands.iter().map(|t| t.device());
    devices.find(|&device| device != Device::Cpu)
}

/// Why an operation that has no kernels at all falls back.
pub(crate) fn no_kernel(op: &dyn Operation) -> Error {
    Error::shape(op.name(), "it has no kernel")
}

/// Runs `op` on copies of `inputs` on the CPU, because of `why`; result and saved tensors are copied
/// to where the inputs are. Half-precision operands are computed with in f32.
///
/// # Errors
/// `why` itself, where it says not that the kernels cannot do this but that something failed.
pub(crate) fn forward(
    op: &dyn Operation,
    inputs: &[&Tensor],
    saved: &mut Saved,
    why: Error,
) -> Result<Output> {
    let device = only_device(op, inputs)?;
    note(op, device, why)?;
    let dtype = inputs[0].dtype();
    let copies: Vec<Tensor> = inputs.iter().map(|t| widened(t)).collect::<Result<_>>()?;
    let mut kept = Saved::default();
    let output = op.forward(&copies.iter().collect::<Vec<_>>(), &mut kept)?;
    let value = returned(&output.value, dtype, device)?;
    // What is kept of the operands or of the result is there already.
    let mut there: Vec<(&Tensor, &Tensor)> = copies.iter().zip(inputs.iter().copied()).collect();
    there.push((&output.value, &value));
    let place = |tensor: &Tensor| {
        let known = there
            .iter()
            .find(|(copy, _)| copy.shares_buffer_with(tensor));
        match known {
            Some((_, original)) => original.reshape(tensor.shape()),
            None => tensor.to_device(device),
        }
    };
    saved.tensors = kept.tensors.iter().map(place).collect::<Result<_>>()?;
    saved.shapes = kept.shapes;
    saved.dtypes = inputs.iter().map(|t| t.dtype()).collect();
    let aux = output.aux.iter().map(|t| t.to_device(device));
    Ok(Output {
        aux: aux.collect::<Result<_>>()?,
        value,
    })
}

/// The vjp of `op` on copies on the CPU, because of `why`. Gradients have the dtypes of the inputs,
/// or the cotangent's where kernels ran the forward pass.
///
/// # Errors
/// As [`forward`].
pub(crate) fn vjp(
    op: &dyn Operation,
    saved: Saved,
    cotangent: Tensor,
    wanted: &[bool],
    why: Error,
) -> Result<Vec<Option<Tensor>>> {
    let device = cotangent.device();
    note(op, device, why)?;
    let copies = Saved {
        tensors: saved.tensors.iter().map(widened).collect::<Result<_>>()?,
        shapes: saved.shapes,
        dtypes: Vec::new(),
    };
    let gradients = op.vjp(copies, widened(&cotangent)?, wanted)?;
    let back = |(i, gradient): (usize, Option<Tensor>)| {
        let dtype = saved.dtypes.get(i).copied().unwrap_or(cotangent.dtype());
        gradient.map(|g| returned(&g, dtype, device)).transpose()
    };
    gradients.into_iter().enumerate().map(back).collect()
}

fn note(op: &dyn Operation, device: Device, why: Error) -> Result<()> {
    match &why {
        Error::Shape { what, .. } => note_fallback(op.name(), device, what),
        Error::DType { .. } => note_fallback(op.name(), device, &why),
        _ => return Err(why),
    }
    Ok(())
}

/// The device that all operands are on.
fn only_device(op: &dyn Operation, inputs: &[&Tensor]) -> Result<Device> {
    let device = inputs.first().map_or(Device::Cpu, |t| t.device());
    match inputs.iter().find(|t| t.device() != device) {
        None => Ok(device),
        Some(other) => {
            let what = format!("operands on {device} and {}", other.device());
            Err(Error::shape(op.name(), what))
        }
    }
}

/// A copy on the CPU, in f32 if it is of half precision.
fn widened(tensor: &Tensor) -> Result<Tensor> {
    let copy = tensor.to_device(Device::Cpu)?;
    match copy.dtype() {
        DType::F16 | DType::BF16 => copy.cast(DType::F32),
        _ => Ok(copy),
    }
}

/// A result back on `device`, in half precision again if `dtype` is.
fn returned(tensor: &Tensor, dtype: DType, device: Device) -> Result<Tensor> {
    match dtype {
        DType::F16 | DType::BF16 => tensor.cast(dtype)?.to_device(device),
        _ => tensor.to_device(device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::relu::Relu;

    #[test]
    fn a_failure_is_no_reason_to_fall_back() {
        let x = Tensor::zeros([3], DType::F32, Device::Cpu).unwrap();
        let failure = || Error::Kernel {
            launch: "relu_f32<<<(1, 1, 1), (32, 1, 1), 0 bytes>>>".into(),
            what: "race".into(),
        };
        let run = |why| forward(&Relu, &[&x], &mut Saved::default(), why);
        let refused = run(failure()).err().unwrap();
        assert!(matches!(refused, Error::Kernel { .. }), "{refused}");
        let back = vjp(&Relu, Saved::default(), x.clone(), &[true], failure());
        assert!(matches!(back.unwrap_err(), Error::Kernel { .. }));
        assert!(run(no_kernel(&Relu)).is_ok());
    }
}
