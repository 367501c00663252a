//! Launches of `kernels/relu.cu`: y = max(x, 0), and dx = dy where y > 0.

use super::elementwise::{launch, pick};
use super::{Address, Launch};
use crate::Result;
use crate::tensor::DType;

/// y = max(x, 0) over `elements` elements.
///
/// # Errors
/// [`crate::Error::DType`], and [`crate::Error::Shape`] for no elements or addresses off 16-byte boundaries.
pub fn forward(dtype: DType, elements: usize, x: Address, y: Address) -> Result<Launch> {
    let kernel = pick("relu", dtype, ["relu_f32", "relu_f16", "relu_bf16"])?;
    launch("relu", kernel, dtype.size(), elements, &[x, y])
}

/// dx = dy where the saved output y is above 0, else 0. `dx` may be `dy`.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    dtype: DType,
    elements: usize,
    y: Address,
    dy: Address,
    dx: Address,
) -> Result<Launch> {
    let kernels = [
        "relu_backward_f32",
        "relu_backward_f16",
        "relu_backward_bf16",
    ];
    let kernel = pick("relu", dtype, kernels)?;
    launch("relu", kernel, dtype.size(), elements, &[y, dy, dx])
}
