//! Launches of `kernels/add.cu`: y = a + b, with an optional rectifier.

use super::elementwise::{launch, pick};
use super::{Address, Launch};
use crate::Result;
use crate::tensor::DType;

/// y = a + b over `elements` elements, or max(a + b, 0). `y` may be `a` or `b`: then it accumulates.
///
/// # Errors
/// [`crate::Error::DType`], and [`crate::Error::Shape`] for no elements or addresses off 16-byte boundaries.
pub fn forward(
    dtype: DType,
    relu: bool,
    elements: usize,
    a: Address,
    b: Address,
    y: Address,
) -> Result<Launch> {
    let kernels = match relu {
        false => ["add_f32", "add_f16", "add_bf16"],
        true => ["add_relu_f32", "add_relu_f16", "add_relu_bf16"],
    };
    let kernel = pick("add", dtype, kernels)?;
    launch("add", kernel, dtype.size(), elements, &[a, b, y])
}
