//! Tensor maps as the driver encodes them.

use std::ffi::c_void;

use cudarc::driver::sys;

use crate::kernels::tensor_map::{ROW, TensorMap, Tile};
use crate::tensor::DType;
use crate::{Error, Result};

/// The 128 bytes that a GPU understands: dense tensors, 128-byte swizzle, zeros outside.
///
/// # Errors
/// [`Error::Shape`] for what the copy engine cannot do, in our words or the driver's.
pub(super) fn encode(map: &TensorMap) -> Result<[u64; 16]> {
    use sys::CUtensorMapDataType_enum as Type;
    map.check()?;
    let element = match map.dtype {
        DType::F16 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        DType::BF16 => Type::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        _ => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
    };
    let rank = map.sizes.len() as u32;
    let address = map.address.0 as *mut c_void;
    let sizes: Vec<u64> = map.sizes.iter().map(|size| *size as u64).collect();
    let strides: Vec<u64> = map.strides().iter().map(|stride| *stride as u64).collect();
    let plain = sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE;
    let swizzle = sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B;
    let promotion = sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
    let zeros = sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
    let mut encoded = sys::CUtensorMap { opaque: [0; 16] };
    let status = match &map.tile {
        Tile::Tiled(extent) => {
            let extent: Vec<u32> = extent.iter().map(|e| *e as u32).collect();
            let steps = vec![1u32; extent.len()];
            // SAFETY: the arrays have as many elements as the driver reads for this rank.
            unsafe {
                sys::cuTensorMapEncodeTiled(
                    &mut encoded,
                    element,
                    rank,
                    address,
                    sizes.as_ptr(),
                    strides.as_ptr(),
                    extent.as_ptr(),
                    steps.as_ptr(),
                    plain,
                    swizzle,
                    promotion,
                    zeros,
                )
            }
        }
        Tile::Im2col(tile) => {
            let (lower, upper) = (tile.lower.map(|c| c as i32), tile.upper.map(|c| c as i32));
            let steps = [1, tile.steps[0] as u32, tile.steps[1] as u32, 1];
            // SAFETY: as above; corners have two elements for four axes.
            unsafe {
                sys::cuTensorMapEncodeIm2col(
                    &mut encoded,
                    element,
                    rank,
                    address,
                    sizes.as_ptr(),
                    strides.as_ptr(),
                    lower.as_ptr(),
                    upper.as_ptr(),
                    (ROW / map.dtype.size()) as u32,
                    tile.pixels as u32,
                    steps.as_ptr(),
                    plain,
                    swizzle,
                    promotion,
                    zeros,
                )
            }
        }
    };
    match status {
        sys::CUresult::CUDA_SUCCESS => Ok(encoded.opaque),
        refused => Err(Error::shape(
            "tensor map",
            format!("the driver said {refused:?} to {map:?}"),
        )),
    }
}
