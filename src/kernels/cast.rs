//! Launches of `kernels/cast.cu`: y = x in another storage type.

use super::elementwise::launch;
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

/// y = x, rounded to nearest even, between f32, f16 and bf16, or from u8 to f32.
///
/// # Errors
/// [`Error::Shape`] for other pairs, no elements, or addresses off 16-byte boundaries.
pub fn forward(from: DType, to: DType, elements: usize, x: Address, y: Address) -> Result<Launch> {
    let kernel = match (from, to) {
        (DType::F32, DType::F16) => "cast_f32_f16",
        (DType::F32, DType::BF16) => "cast_f32_bf16",
        (DType::F16, DType::F32) => "cast_f16_f32",
        (DType::F16, DType::BF16) => "cast_f16_bf16",
        (DType::BF16, DType::F32) => "cast_bf16_f32",
        (DType::BF16, DType::F16) => "cast_bf16_f16",
        (DType::U8, DType::F32) => "cast_u8_f32",
        _ => {
            return Err(Error::shape(
                "cast",
                format!("no kernel from {from} to {to}"),
            ));
        }
    };
    let size = from.size().max(to.size());
    launch("cast", kernel, size, elements, &[x, y])
}
