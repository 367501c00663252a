//! Passes over flat arrays: what the planners of `kernels/include/elementwise.cuh`'s users share.

use super::params::ElementwiseParams;
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

/// Bytes of a thread's widest access; every array begins at a multiple of it.
pub(super) const VECTOR: usize = 16;
/// Threads of a block, and packs that each of them takes.
const THREADS: usize = 256;
const STEPS: usize = 4;

/// The kernel for this dtype, of those for f32, f16 and bf16.
pub(super) fn pick(
    op: &'static str,
    dtype: DType,
    kernels: [&'static str; 3],
) -> Result<&'static str> {
    let [f32, f16, bf16] = kernels;
    match dtype {
        DType::F32 => Ok(f32),
        DType::F16 => Ok(f16),
        DType::BF16 => Ok(bf16),
        found => Err(Error::DType {
            op,
            expected: "f32, f16 or bf16",
            found,
        }),
    }
}

/// Refuses arrays that do not begin where vector accesses can.
pub(super) fn refuse_unaligned(op: &'static str, arrays: &[Address]) -> Result<()> {
    match arrays.iter().find(|a| a.0 % VECTOR as u64 != 0) {
        Some(a) => Err(Error::shape(
            op,
            format!(
                "an array at address {:#x}; the kernels need multiples of {VECTOR}",
                a.0
            ),
        )),
        None => Ok(()),
    }
}

/// Blocks for so many elements in packs of `width`.
pub(super) fn blocks(op: &'static str, elements: usize, width: usize) -> Result<u32> {
    let blocks = elements.div_ceil(THREADS * STEPS * width);
    if blocks == 0 || blocks > i32::MAX as usize {
        return Err(Error::shape(op, format!("arrays of {elements} elements")));
    }
    Ok(blocks as u32)
}

/// `kernel` over arrays of `elements` elements, the widest of `size` bytes each.
pub(super) fn launch(
    op: &'static str,
    kernel: &'static str,
    size: usize,
    elements: usize,
    arrays: &[Address],
) -> Result<Launch> {
    refuse_unaligned(op, arrays)?;
    let blocks = blocks(op, elements, VECTOR / size)?;
    let params = ElementwiseParams {
        elements: elements as u64,
    };
    let launch = Launch::new(kernel, [blocks, 1, 1], THREADS as u32).params(params);
    Ok(arrays.iter().fold(launch, |launch, &a| launch.pointer(a)))
}
