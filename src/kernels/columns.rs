//! Walks over a [rows, channels] matrix: how the users of `kernels/include/columns.cuh` are cut.

use super::elementwise::{VECTOR, pick};
use crate::tensor::DType;
use crate::{Error, Result};

/// Threads of a block, and the most packs of channels that lie side by side in it.
pub(super) const THREADS: usize = 256;
const WIDEST: usize = 32;
/// Rows a thread reads at once: a slab has no fewer for each of its threads.
const STEPS: usize = 4;
/// Blocks that a large matrix is cut into: several for each multiprocessor of any GPU. A constant,
/// because the order of sums follows from it.
pub(super) const BLOCKS: usize = 1024;

/// A matrix, cut into columns of packs and slabs of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Rows, below 2^31.
    pub rows: u32,
    /// Channels.
    pub channels: u32,
    /// Whether packs are 16-byte vectors, not single channels.
    pub vectorised: bool,
    /// Packs side by side in a block, a power of two.
    pub vectors: u32,
    /// Blocks side by side.
    pub columns: u32,
    /// Rows of a slab.
    pub slab_rows: u32,
    /// Slabs.
    pub slabs: u32,
}

impl Cut {
    /// A matrix of `dtype` in at most about `blocks` blocks.
    pub fn new(
        op: &'static str,
        dtype: DType,
        rows: usize,
        channels: usize,
        blocks: usize,
    ) -> Result<Cut> {
        pick(op, dtype, ["", "", ""])?;
        let most = i32::MAX as usize;
        if rows == 0 || channels == 0 || rows > most || channels > most / WIDEST {
            let what = format!("a matrix of {rows} rows and {channels} channels");
            return Err(Error::shape(op, what));
        }
        let width = VECTOR / dtype.size();
        let vectorised = channels.is_multiple_of(width);
        let packs = if vectorised {
            channels / width
        } else {
            channels
        };
        let vectors = packs.next_power_of_two().min(WIDEST);
        let columns = packs.div_ceil(vectors);
        let lanes = THREADS / vectors;
        let slab_rows = rows
            .div_ceil((blocks / columns).max(1))
            .next_multiple_of(lanes)
            .max(STEPS * lanes);
        Ok(Cut {
            rows: rows as u32,
            channels: channels as u32,
            vectorised,
            vectors: vectors as u32,
            columns: columns as u32,
            slab_rows: slab_rows as u32,
            slabs: rows.div_ceil(slab_rows) as u32,
        })
    }

    /// The kernel of vectors or of single channels, for this dtype.
    pub fn pick(
        &self,
        op: &'static str,
        dtype: DType,
        kernels: [[&'static str; 3]; 2],
    ) -> Result<&'static str> {
        pick(op, dtype, kernels[!self.vectorised as usize])
    }
}
