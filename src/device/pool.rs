//! Freed blocks kept for reuse, and the count of what was handed out: the part of a caching allocator
//! that all memories share.
//!
//! A training step asks for the same few hundred buffers again and again, and both the operating
//! system and the GPU's driver are slow to give. A freed block is kept, and the smallest one that fits
//! (and is at most twice too large) is used again.

use std::collections::BTreeMap;

/// Bytes an allocator handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// In use now.
    pub live: usize,
    /// Most that was ever in use at once (since the mark was last reset).
    pub high_water: usize,
    /// Taken from the system: in use or kept for reuse.
    pub reserved: usize,
}

/// A block of memory by its first address and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub start: u64,
    pub capacity: usize,
}

/// The free blocks of one memory.
#[derive(Default)]
pub(super) struct Pool {
    free: BTreeMap<usize, Vec<u64>>,
    report: MemoryReport,
}

impl Pool {
    pub const fn new() -> Self {
        Pool {
            free: BTreeMap::new(),
            report: MemoryReport {
                live: 0,
                high_water: 0,
                reserved: 0,
            },
        }
    }

    /// A kept block of at least `wanted` bytes.
    pub fn take(&mut self, wanted: usize) -> Option<Piece> {
        let (&capacity, starts) = self
            .free
            .range_mut(wanted..=2 * wanted)
            .find(|(_, starts)| !starts.is_empty())?;
        let start = starts.pop()?;
        self.count_in(capacity);
        Some(Piece { start, capacity })
    }

    /// Counts a block that the system gave, which is now in use.
    pub fn add(&mut self, capacity: usize) {
        self.report.reserved += capacity;
        self.count_in(capacity);
    }

    /// Keeps a block that is no longer in use.
    pub fn put(&mut self, piece: Piece) {
        self.report.live -= piece.capacity;
        self.free
            .entry(piece.capacity)
            .or_default()
            .push(piece.start);
    }

    /// All kept blocks, to be given back to the system.
    pub fn drain(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (capacity, starts) in std::mem::take(&mut self.free) {
            self.report.reserved -= capacity * starts.len();
            pieces.extend(starts.into_iter().map(|start| Piece { start, capacity }));
        }
        pieces
    }

    /// What was handed out so far.
    pub fn report(&self) -> MemoryReport {
        self.report
    }

    /// Starts the high-water mark again from what is in use now.
    pub fn reset_high_water(&mut self) {
        self.report.high_water = self.report.live;
    }

    fn count_in(&mut self, capacity: usize) {
        self.report.live += capacity;
        self.report.high_water = self.report.high_water.max(self.report.live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_kept_block_that_fits_is_used_again() {
        let mut pool = Pool::new();
        for (start, capacity) in [(1, 64), (2, 128), (3, 512)] {
            pool.add(capacity);
            pool.put(Piece { start, capacity });
        }
        assert_eq!(
            pool.take(100),
            Some(Piece {
                start: 2,
                capacity: 128
            })
        );
        assert_eq!(pool.take(100), None, "512 is more than twice too large");
        assert_eq!(
            pool.take(256),
            Some(Piece {
                start: 3,
                capacity: 512
            })
        );
        let report = pool.report();
        assert_eq!(
            (report.live, report.high_water, report.reserved),
            (640, 640, 704)
        );
    }

    #[test]
    fn the_report_follows_what_is_taken_and_given() {
        let mut pool = Pool::new();
        pool.add(64);
        pool.add(128);
        pool.put(Piece {
            start: 9,
            capacity: 64,
        });
        pool.reset_high_water();
        assert_eq!(
            pool.report(),
            MemoryReport {
                live: 128,
                high_water: 128,
                reserved: 192
            }
        );
        assert_eq!(
            pool.drain(),
            [Piece {
                start: 9,
                capacity: 64
            }]
        );
        assert_eq!(pool.report().reserved, 128);
        assert_eq!(pool.take(64), None);
    }
}
