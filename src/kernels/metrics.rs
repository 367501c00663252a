//! Launches of `kernels/metrics.cu`: top-k hits, the confusion matrix, and sums over batches.

use super::elementwise::{pick, refuse_unaligned};
use super::image::{THREADS, blocks};
use super::params::MetricsParams;
use super::rows::Chunks;
use super::{Address, Launch};
use crate::Result;
use crate::tensor::DType;

const OP: &str = "metrics";
/// Blocks that share the rows of a confusion matrix, at most: several for each multiprocessor.
const MOST_BLOCKS: usize = 1024;
/// Cells of a confusion matrix that a block gathers in shared memory: 16 KiB.
const GATHERED_CELLS: usize = 64 * 64;

/// Rows of logits with their labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Rows: images, or pixels of maps.
    pub rows: usize,
    /// Classes.
    pub classes: usize,
    /// The label that does not count.
    pub ignore: Option<i32>,
}

/// Adds to `counts`, i32 \[3\]: the rows, and those whose label is among the first `k[0]` and `k[1]`
/// classes. `labels` are i32.
///
/// # Errors
/// [`crate::Error`] for sizes, a dtype or addresses the kernels do not do.
pub fn top_k(
    dtype: DType,
    rows: Rows,
    k: [usize; 2],
    [logits, labels, counts]: [Address; 3],
) -> Result<Launch> {
    let kernels = [
        "metrics_top_k_f32",
        "metrics_top_k_f16",
        "metrics_top_k_bf16",
    ];
    let chunks = Chunks::of(OP, rows.rows, rows.classes, dtype)?;
    refuse_unaligned(OP, &[logits])?;
    // No rank is as large as the number of classes.
    let params = MetricsParams {
        k: k.map(|k| k.min(rows.classes) as u32),
        ..params(rows, chunks)
    };
    let grid = [blocks(OP, chunks.count)?, 1, 1];
    let launch = Launch::new(pick(OP, dtype, kernels)?, grid, THREADS as u32);
    let launch = launch.shared(chunks.tile as u32).params(params);
    Ok(launch.pointer(logits).pointer(labels).pointer(counts))
}

/// Adds each row to the cell of its label (row of the matrix) and its first class (column) of `counts`,
/// i32 [classes, classes].
///
/// # Errors
/// As [`top_k`]; more than 46340 classes too, whose matrix a 32-bit integer cannot index.
pub fn confusion(
    dtype: DType,
    rows: Rows,
    [logits, labels, counts]: [Address; 3],
) -> Result<Launch> {
    let kernels = [
        "metrics_confusion_f32",
        "metrics_confusion_f16",
        "metrics_confusion_bf16",
    ];
    let chunks = Chunks::of(OP, rows.rows, rows.classes, dtype)?;
    refuse_unaligned(OP, &[logits])?;
    let cells = rows.classes * rows.classes;
    blocks(OP, cells)?;
    let gathered = cells <= GATHERED_CELLS;
    let params = MetricsParams {
        gathered: gathered as u32,
        ..params(rows, chunks)
    };
    let shared = params.tile + if gathered { 4 * cells as u32 } else { 0 };
    let grid = [blocks(OP, chunks.count.min(MOST_BLOCKS))?, 1, 1];
    let launch = Launch::new(pick(OP, dtype, kernels)?, grid, THREADS as u32);
    let launch = launch.shared(shared).params(params);
    Ok(launch.pointer(logits).pointer(labels).pointer(counts))
}

/// Where the sums over batches are.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// The number of the batch, 64 bits.
    pub number: Address,
    /// What [`top_k`] counted in this batch; zeroed.
    pub counts: Address,
    /// Added to: one f64, losses times rows.
    pub total: Address,
    /// Two numbers of 64 bits: the right answers, added to, and 1 + the number of the first batch whose
    /// loss was not finite. From that one on nothing is added.
    pub whole: Address,
}

/// Adds a batch of `rows` rows with this mean `loss`, a scalar of `dtype`, to the sums.
///
/// # Errors
/// [`crate::Error::DType`].
pub fn sums(dtype: DType, rows: Rows, loss: Address, sums: Sums) -> Result<Launch> {
    let kernels = ["metrics_sums_f32", "metrics_sums_f16", "metrics_sums_bf16"];
    let chunks = Chunks::of(OP, rows.rows, rows.classes, dtype)?;
    let launch = Launch::new(pick(OP, dtype, kernels)?, [1; 3], 1).params(params(rows, chunks));
    let pointers = [loss, sums.number, sums.counts, sums.total, sums.whole];
    Ok(pointers.into_iter().fold(launch, Launch::pointer))
}

fn params(rows: Rows, chunks: Chunks) -> MetricsParams {
    MetricsParams {
        rows: rows.rows as u32,
        classes: rows.classes as u32,
        lanes: chunks.lanes as u32,
        staged: (chunks.tile > 0) as u32,
        tile: chunks.tile.next_multiple_of(4) as u32,
        gathered: 0,
        has_ignored: rows.ignore.is_some() as u32,
        ignored: rows.ignore.unwrap_or(0),
        k: [0; 2],
    }
}
