//! CPU kernels: plain functions over slices, one file per operation, the sibling of `kernels/`.
//!
//! They know shapes and memory and nothing of tensors, tapes or layers. Results never depend on the
//! number of threads: work is cut by shape, and partial sums are added in a fixed order.

pub mod add;
pub mod batch_norm;
pub mod batch_norm_shuffle;
pub mod concat;
pub mod conv2d;
pub mod dropout;
pub mod gemm;
pub mod global_avg_pool;
pub mod linear;
pub mod masked_bce;
pub mod max_pool2d;
pub mod relu;
pub mod resample;
pub mod sb_projection;
pub mod sgd;
pub mod softmax_cross_entropy;
pub mod spatial_shuffle;
pub mod window;

use rayon::prelude::*;

/// Elements one task of an elementwise pass works on: 64 KiB of f32, half a typical L2 slice, and
/// far more work than it costs to hand a task out.
pub(crate) const ELEMENTS_PER_TASK: usize = 16 * 1024;

/// Runs a loop compiled for the widest vectors this processor has.
///
/// The arithmetic is the same at every width (Rust never contracts a·b + c on its own), so elementwise
/// results are bit-equal on every machine.
#[inline(always)]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// `data` cut into rows of `row` elements, handed out in tasks of about [`ELEMENTS_PER_TASK`].
pub(crate) fn rows_mut<T: Send>(
    data: &mut [T],
    row: usize,
) -> impl IndexedParallelIterator<Item = &mut [T]> {
    let row = row.max(1);
    data.par_chunks_mut(row)
        .with_min_len((ELEMENTS_PER_TASK / row).max(1))
}
pub mod scratch;
