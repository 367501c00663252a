//! Filters packed once per call into the panels that a tile reads.
//!
//! A panel holds the `width` columns of one tile for the whole depth, step after step, so that the
//! kernel reads it front to back. The last panel is only as wide as whole vectors need, its unused
//! columns zero.

use rayon::prelude::*;

use super::micro::Kernels;
use crate::tensor::Real;

/// Columns of B cut into tiles: full ones, and a last one of as many vectors as it needs.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Panels {
    pub columns: usize,
    lanes: usize,
    width: usize,
}

/// One panel: columns `first..first + columns` in `vectors` vectors, `pitch` elements per step.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Panel {
    pub first: usize,
    pub columns: usize,
    pub vectors: usize,
    pub pitch: usize,
}

impl Panels {
    pub fn new<T: Real>(columns: usize, kernels: &Kernels<T>) -> Self {
        Panels {
            columns,
            lanes: kernels.lanes,
            width: kernels.width(),
        }
    }

    pub fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// Columns with the last panel filled up.
    pub fn padded(&self) -> usize {
        self.columns.next_multiple_of(self.lanes)
    }

    pub fn get(&self, index: usize) -> Panel {
        let first = index * self.width;
        let columns = self.width.min(self.columns - first);
        let vectors = columns.div_ceil(self.lanes);
        Panel {
            first,
            columns,
            vectors,
            pitch: vectors * self.lanes,
        }
    }
}

/// Packs OHWI filters for fprop: the columns are the filters, the steps (r, s, c) as they lie.
pub(super) fn pack_forward<T: Real>(w: &[T], depth: usize, panels: Panels, packed: &mut [T]) {
    /// Steps transposed at a time: their rows of the panel stay in the first-level cache.
    const STEPS: usize = 64;
    packed
        .par_chunks_mut(depth * panels.width)
        .enumerate()
        .for_each(|(index, packed)| {
            let panel = panels.get(index);
            if panel.columns < panel.pitch {
                packed.fill(T::zero());
            }
            for first in (0..depth).step_by(STEPS) {
                let steps = first..depth.min(first + STEPS);
                for column in 0..panel.columns {
                    let filter = &w[(panel.first + column) * depth..][steps.clone()];
                    let packed = packed[first * panel.pitch + column..].iter_mut();
                    for (packed, &value) in packed.step_by(panel.pitch).zip(filter) {
                        *packed = value;
                    }
                }
            }
        });
}

/// Packs OHWI filters `[k, taps, c]` for dgrad: the columns are the input channels, the steps
/// (tap, k).
pub(super) fn pack_adjoint<T: Real>(
    w: &[T],
    [k, taps, c]: [usize; 3],
    panels: Panels,
    packed: &mut [T],
) {
    packed
        .par_chunks_mut(taps * k * panels.width)
        .enumerate()
        .for_each(|(index, packed)| {
            let panel = panels.get(index);
            for (step, packed) in packed.chunks_exact_mut(panel.pitch).enumerate() {
                let (tap, k) = (step / k, step % k);
                let source = &w[(k * taps + tap) * c + panel.first..][..panel.columns];
                packed[..panel.columns].copy_from_slice(source);
                packed[panel.columns..].fill(T::zero());
            }
        });
}
