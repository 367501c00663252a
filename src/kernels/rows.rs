//! What the planners of kernels on rows of logits share (`kernels/include/rows.cuh`).

use super::image::THREADS;
use crate::tensor::DType;
use crate::{Error, Result};

/// Logits of a row that one thread has, about.
const LOGITS_PER_THREAD: usize = 6;
/// Rows are staged in shared memory up to this many bytes a block, so that four blocks share a
/// multiprocessor.
const STAGED_BYTES: usize = 48 * 1024;

/// How rows are dealt out to threads and blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    /// Threads that share a row.
    pub lanes: usize,
    /// Chunks of rows: what a block takes at once.
    pub count: usize,
    /// Bytes of a chunk in shared memory; 0 where rows are too long for that.
    pub tile: usize,
}

impl Chunks {
    /// The chunks of [rows, classes], whose elements a 32-bit integer must be able to count.
    pub fn of(op: &'static str, rows: usize, classes: usize, dtype: DType) -> Result<Self> {
        let elements = rows.checked_mul(classes);
        if elements.is_none_or(|n| n == 0 || n > i32::MAX as usize) {
            return Err(Error::shape(
                op,
                format!("{rows} rows of {classes} classes"),
            ));
        }
        let lanes = lanes(classes);
        let bytes = THREADS / lanes * classes * dtype.size();
        Ok(Chunks {
            lanes,
            count: count(rows, classes),
            tile: if bytes <= STAGED_BYTES { bytes } else { 0 },
        })
    }
}

/// Chunks of rows of so many classes.
pub(super) fn count(rows: usize, classes: usize) -> usize {
    rows.div_ceil(THREADS / lanes(classes))
}

fn lanes(classes: usize) -> usize {
    classes
        .div_ceil(LOGITS_PER_THREAD)
        .next_power_of_two()
        .min(32)
}
