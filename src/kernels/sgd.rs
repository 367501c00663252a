//! Launches of `kernels/sgd.cu`: a step of gradient descent over flat arrays, and the search for
//! gradients that are not finite.

use super::elementwise::{VECTOR, blocks, pick, refuse_unaligned};
use super::params::SgdParams;
use super::{Address, Launch};
use crate::cpu::sgd::Step;
use crate::tensor::DType;
use crate::{Error, Result};

const NAME: &str = "sgd";
const THREADS: usize = 256;
/// Elements a thread updates.
const WIDTH: usize = 4;

/// What a step reads and writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrays {
    /// f32 weights, updated.
    pub weights: Address,
    /// f32 velocities, updated.
    pub velocities: Address,
    /// Gradients.
    pub gradient: Address,
    /// The new weights in the gradients' dtype; null for none.
    pub copy: Address,
    /// What [`check`] found, a 32-bit integer: the step is left out where it is not 0. Null to take it
    /// anyway.
    pub found: Address,
}

/// One step over `elements` weights; `dtype` is that of the gradient, which was scaled by `loss_scale`.
///
/// # Errors
/// [`Error::DType`]; [`Error::Shape`] for no elements and unaligned addresses; [`Error::Setting`] for a
/// loss scale that is no power of two.
pub fn update(
    dtype: DType,
    elements: usize,
    step: Step,
    loss_scale: f64,
    arrays: Arrays,
) -> Result<Launch> {
    let Arrays {
        weights,
        velocities,
        gradient,
        copy,
        found,
    } = arrays;
    refuse_unaligned(NAME, &[weights, velocities, gradient, copy])?;
    let kernel = pick(NAME, dtype, ["sgd_f32", "sgd_f16", "sgd_bf16"])?;
    let unscale = (1.0 / loss_scale) as f32;
    let bits = unscale.to_bits();
    if !unscale.is_normal()
        || bits << 9 != 0
        || bits >> 31 != 0
        || 1.0 / unscale as f64 != loss_scale
    {
        let why = "expected a power of two between 2^-126 and 2^126";
        return Err(Error::setting("loss scale", loss_scale, why));
    }
    let count = elements.div_ceil(THREADS * WIDTH);
    if count == 0 || count > i32::MAX as usize {
        return Err(Error::shape(NAME, format!("arrays of {elements} elements")));
    }
    let params = SgdParams {
        elements: elements as u64,
        lr: step.lr as f32,
        momentum: step.momentum as f32,
        decay: step.weight_decay as f32,
        unscale,
        nesterov: step.nesterov as u32,
        padding: 0,
    };
    Ok(Launch::new(kernel, [count as u32, 1, 1], THREADS as u32)
        .params(params)
        .pointer(weights)
        .pointer(velocities)
        .pointer(gradient)
        .pointer(copy)
        .pointer(found))
}

/// Sets the 32-bit integer `found`, which must be 0, to 1 if any gradient is infinite or NaN.
///
/// # Errors
/// As [`update`].
pub fn check(dtype: DType, elements: usize, gradient: Address, found: Address) -> Result<Launch> {
    refuse_unaligned(NAME, &[gradient])?;
    let kernels = ["sgd_check_f32", "sgd_check_f16", "sgd_check_bf16"];
    let kernel = pick(NAME, dtype, kernels)?;
    let blocks = blocks(NAME, elements, VECTOR / dtype.size())?;
    let params = SgdParams {
        elements: elements as u64,
        lr: 0.0,
        momentum: 0.0,
        decay: 0.0,
        unscale: 1.0,
        nesterov: 0,
        padding: 0,
    };
    Ok(Launch::new(kernel, [blocks, 1, 1], THREADS as u32)
        .params(params)
        .pointer(gradient)
        .pointer(found))
}
