//! Launches of `kernels/softmax_cross_entropy.cu`: the mean loss of rows of logits, and its vjp.

use super::elementwise::{pick, refuse_unaligned};
use super::image::{THREADS, blocks};
use super::params::{MeanParams, SoftmaxCrossEntropyParams};
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

const OP: &str = "softmax_cross_entropy";
/// Logits of a row that one thread has, about.
const LOGITS_PER_THREAD: usize = 6;
/// Rows are staged in shared memory up to this many bytes a block, so that four blocks share a
/// multiprocessor.
const STAGED_BYTES: usize = 48 * 1024;

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
    /// Threads that share a row.
    fn lanes(&self) -> usize {
        self.classes
            .div_ceil(LOGITS_PER_THREAD)
            .next_power_of_two()
            .min(32)
    }

    /// Blocks of the forward pass: it takes `3 * blocks()` f32s of scratch.
    pub fn blocks(&self) -> usize {
        self.rows.div_ceil(THREADS / self.lanes())
    }

    /// Bytes of the rows of a block.
    fn tile(&self, dtype: DType) -> usize {
        THREADS / self.lanes() * self.classes * dtype.size()
    }

    fn params(&self, dtype: DType) -> Result<SoftmaxCrossEntropyParams> {
        let elements = self.rows.checked_mul(self.classes);
        if elements.is_none_or(|n| n == 0 || n > i32::MAX as usize) {
            let what = format!("{} rows of {} classes", self.rows, self.classes);
            return Err(Error::shape(OP, what));
        }
        let smooth = self.smoothing / self.classes as f64;
        Ok(SoftmaxCrossEntropyParams {
            rows: self.rows as u32,
            classes: self.classes as u32,
            lanes: self.lanes() as u32,
            staged: (self.tile(dtype) <= STAGED_BYTES) as u32,
            has_ignored: self.ignore.is_some() as u32,
            ignored: self.ignore.unwrap_or(0),
            hard: (1.0 - self.smoothing) as f32,
            smooth: smooth as f32,
            smooth_sum: (smooth * self.weight_sum) as f32,
        })
    }
}

/// What the forward pass reads and writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffers {
    /// Logits, [rows, classes].
    pub logits: Address,
    /// Labels, i32, [rows].
    pub labels: Address,
    /// Class weights, f32, [classes], or null.
    pub weights: Address,
    /// Written: f32, [rows, 2], for the backward pass.
    pub statistics: Address,
    /// Written: f32, [3]: the loss, Σ of the rows' weights, and the number of labels out of range.
    pub result: Address,
}

/// The loss, in two launches. `scratch`: `3 * rows.blocks()` f32s.
///
/// # Errors
/// [`Error`] for sizes, a dtype or addresses the kernels do not do.
pub fn forward(dtype: DType, rows: Rows, b: Buffers, scratch: Address) -> Result<[Launch; 2]> {
    let params = rows.params(dtype)?;
    let kernels = [
        "softmax_cross_entropy_rows_f32",
        "softmax_cross_entropy_rows_f16",
        "softmax_cross_entropy_rows_bf16",
    ];
    let kernel = pick(OP, dtype, kernels)?;
    refuse_unaligned(OP, &[b.logits])?;
    let count = blocks(OP, rows.blocks())?;
    let shared = match params.staged {
        0 => 0,
        _ => rows.tile(dtype) as u32,
    };
    let of_rows = Launch::new(kernel, [count, 1, 1], THREADS as u32).shared(shared);
    let pointers = [b.logits, b.labels, b.weights, b.statistics, scratch];
    let of_rows = pointers
        .into_iter()
        .fold(of_rows.params(params), Launch::pointer);
    let mean = Launch::new("softmax_cross_entropy_mean", [1, 1, 1], THREADS as u32)
        .params(MeanParams { blocks: count })
        .pointer(scratch)
        .pointer(b.result);
    Ok([of_rows, mean])
}

/// The vjp: to `dz` the gradient of the logits. `b` is as the forward pass left it; `cotangent` is one
/// f32.
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
    let params = rows.params(dtype)?;
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
