//! CPU kernels: plain functions over slices, one file per operation, the sibling of `kernels/`.
//!
//! They know shapes and memory and nothing of tensors, tapes or layers. Results never depend on the
//! number of threads: work is cut by shape, and partial sums are added in a fixed order.

pub mod conv2d;
pub mod gemm;
pub mod scratch;
