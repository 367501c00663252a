//! Launches of `kernels/masked_bce.cu`: binary cross-entropy over known elements, and its vjp.

use super::elementwise::{pick, refuse_unaligned};
use super::image::{THREADS, blocks};
use super::params::{MaskedBceParams, MeanParams};
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

const OP: &str = "masked_bce";
/// Vectors of a thread.
const STEPS: usize = 4;

/// Flat arrays of one length and dtype.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operands {
    /// Logits z.
    pub logits: Address,
    /// Targets t, 0 to 1.
    pub targets: Address,
    /// Mask m, 0 where an element is not known.
    pub mask: Address,
    /// Weights w, or null.
    pub weights: Address,
}

/// Blocks of a pass over so many elements: the forward pass takes twice as many f32s of scratch.
pub fn blocks_of(dtype: DType, elements: usize) -> usize {
    elements.div_ceil(THREADS * STEPS * (16 / dtype.size()))
}

/// The loss to `result`, f32 \[2\]: Σ m w ℓ / Σ m, and Σ m; and to `loss`, a scalar of the operands' dtype.
/// `scratch`: `2 * blocks_of(..)` f32s.
///
/// # Errors
/// [`Error`] for no elements, and a dtype or addresses the kernels do not do.
pub fn forward(
    dtype: DType,
    elements: usize,
    operands: Operands,
    [scratch, result, loss]: [Address; 3],
) -> Result<[Launch; 2]> {
    let kernels = ["masked_bce_f32", "masked_bce_f16", "masked_bce_bf16"];
    let sums = plan(kernels, dtype, elements, operands)?.pointer(scratch);
    let blocks = sums.grid()[0];
    let mean = [
        "masked_bce_mean_f32",
        "masked_bce_mean_f16",
        "masked_bce_mean_bf16",
    ];
    let mean = Launch::new(pick(OP, dtype, mean)?, [1, 1, 1], THREADS as u32)
        .params(MeanParams { blocks })
        .pointer(scratch)
        .pointer(result)
        .pointer(loss);
    Ok([sums, mean])
}

/// The vjp: to `dz` the gradient of the logits. `result` is the forward pass's, `cotangent` a
/// scalar of the operands' dtype.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    dtype: DType,
    elements: usize,
    operands: Operands,
    [result, cotangent, dz]: [Address; 3],
) -> Result<Launch> {
    refuse_unaligned(OP, &[dz])?;
    let kernels = [
        "masked_bce_backward_f32",
        "masked_bce_backward_f16",
        "masked_bce_backward_bf16",
    ];
    let launch = plan(kernels, dtype, elements, operands)?;
    Ok(launch.pointer(result).pointer(cotangent).pointer(dz))
}

fn plan(
    kernels: [&'static str; 3],
    dtype: DType,
    elements: usize,
    operands: Operands,
) -> Result<Launch> {
    let kernel = pick(OP, dtype, kernels)?;
    if elements == 0 {
        return Err(Error::shape(OP, "arrays of no element"));
    }
    let Operands {
        logits,
        targets,
        mask,
        weights,
    } = operands;
    let arrays = [logits, targets, mask, weights];
    refuse_unaligned(OP, &arrays)?;
    let grid = [blocks(OP, blocks_of(dtype, elements))?, 1, 1];
    let params = MaskedBceParams {
        elements: elements as u64,
    };
    let launch = Launch::new(kernel, grid, THREADS as u32).params(params);
    Ok(arrays.into_iter().fold(launch, Launch::pointer))
}
