//! CPU kernels: plain functions over slices, one file per operation, the sibling of `kernels/`.
//!
//! They know shapes and memory and nothing of tensors, tapes or layers. Results never depend on the
//! number of threads: work is cut by shape, and partial sums are added in a fixed order.

pub mod add;
pub mod batch_norm;
pub mod conv2d;
pub mod gemm;
pub mod linear;
pub mod relu;
pub mod spatial_shuffle;

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
