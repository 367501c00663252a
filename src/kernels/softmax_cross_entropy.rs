//! Launches of `kernels/softmax_cross_entropy.cu`: the mean loss of rows of logits, and its vjp.

use super::elementwise::{pick, refuse_unaligned};
use super::image::{THREADS, blocks};
use super::params::{MeanParams, SoftmaxCrossEntropyParams};
use super::rows::Chunks;
use super::{Address, Launch};
use crate::Result;
use crate::tensor::DType;

const OP: &str = "softmax_cross_entropy";
/// Rows of logits, and what counts how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rows {
    /// Rows: images, or pixels of maps.
    pub rows: usize,
    /// Classes.
    pub classes: usize,
    /// The label that does not count.
    pub ignore: Option<i32>,
    /// Label smoothing ε.
    pub smoothing: f64,
    /// Sum of the class weights; the number of classes where there are none.
    pub weight_sum: f64,
}

impl Rows {
    /// Blocks of the forward pass: it takes `3 * blocks()` f32s of scratch.
    pub fn blocks(&self) -> usize {
        super::rows::count(self.rows, self.classes)
    }

    fn params(&self, chunks: Chunks) -> SoftmaxCrossEntropyParams {
        let smooth = self.smoothing / self.classes as f64;
        SoftmaxCrossEntropyParams {
            rows: self.rows as u32,
            classes: self.classes as u32,
            lanes: chunks.lanes as u32,
            staged: (chunks.tile > 0) as u32,
            has_ignored: self.ignore.is_some() as u32,
            ignored: self.ignore.unwrap_or(0),
            hard: (1.0 - self.smoothing) as f32,
            smooth: smooth as f32,
            smooth_sum: (smooth * self.weight_sum) as f32,
        }
    }
}

/// What the forward pass reads and writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffers {
    /// Logits, [rows, classes].
    pub logits: Address,
    /// Labels, i32, \[rows\].
    pub labels: Address,
    /// Class weights, f32, \[classes\], or null.
    pub weights: Address,
    /// Written: f32, [rows, 2], for the backward pass.
    pub statistics: Address,
    /// Written: f32, \[3\]: the loss, Σ of the rows' weights, and the number of labels out of range.
    pub result: Address,
    /// Written: the loss once more, a scalar of the logits' dtype.
    pub loss: Address,
}

/// The loss, in two launches. `scratch`: `3 * rows.blocks()` f32s.
///
/// # Errors
/// [`crate::Error`] for sizes, a dtype or addresses the kernels do not do.
pub fn forward(dtype: DType, rows: Rows, b: Buffers, scratch: Address) -> Result<[Launch; 2]> {
    let chunks = Chunks::of(OP, rows.rows, rows.classes, dtype)?;
    let kernels = [
        "softmax_cross_entropy_rows_f32",
        "softmax_cross_entropy_rows_f16",
        "softmax_cross_entropy_rows_bf16",
    ];
    let kernel = pick(OP, dtype, kernels)?;
    refuse_unaligned(OP, &[b.logits])?;
    let count = blocks(OP, chunks.count)?;
    let of_rows = Launch::new(kernel, [count, 1, 1], THREADS as u32).shared(chunks.tile as u32);
    let pointers = [b.logits, b.labels, b.weights, b.statistics, scratch];
    let of_rows = pointers
        .into_iter()
        .fold(of_rows.params(rows.params(chunks)), Launch::pointer);
    let mean = [
        "softmax_cross_entropy_mean_f32",
        "softmax_cross_entropy_mean_f16",
        "softmax_cross_entropy_mean_bf16",
    ];
    let mean = Launch::new(pick(OP, dtype, mean)?, [1, 1, 1], THREADS as u32)
        .params(MeanParams { blocks: count })
        .pointer(scratch)
        .pointer(b.result)
        .pointer(b.loss);
    Ok([of_rows, mean])
}

/// The vjp: to `dz` the gradient of the logits. `b` is as the forward pass left it; `cotangent` is a
/// scalar of the logits' dtype.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    dtype: DType,
    rows: Rows,
    b: Buffers,
    cotangent: Address,
    dz: Address,
) -> Result<Launch> {
    let params = rows.params(Chunks::of(OP, rows.rows, rows.classes, dtype)?);
    let kernels = [
        "softmax_cross_entropy_backward_f32",
        "softmax_cross_entropy_backward_f16",
        "softmax_cross_entropy_backward_bf16",
    ];
    let kernel = pick(OP, dtype, kernels)?;
    refuse_unaligned(OP, &[b.logits, dz])?;
    let vectors = (rows.rows * rows.classes).div_ceil(16 / dtype.size());
    let grid = [blocks(OP, vectors.div_ceil(THREADS))?, 1, 1];
    let launch = Launch::new(kernel, grid, THREADS as u32).params(params);
    let pointers = [
        b.logits,
        b.labels,
        b.weights,
        b.statistics,
        b.result,
        cotangent,
        dz,
    ];
    Ok(pointers.into_iter().fold(launch, Launch::pointer))
}
