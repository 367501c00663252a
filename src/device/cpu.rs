//! Host memory: a caching allocator.
//!
//! A training step asks for the same few hundred buffers again and again. Handing them back to the
//! operating system would cost a page fault per 4 KiB each time, about a tenth of a VGG16 step, so
//! freed buffers are kept and the smallest one that fits (and is at most twice too large) is reused.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Cache-line and AVX-512 vector alignment.
const ALIGNMENT: usize = 64;

/// A block of initialised host memory; goes back to the pool when dropped.
pub(crate) struct Block {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a `Block` owns its memory exclusively; shared access goes through `&`.
unsafe impl Send for Block {}
// SAFETY: as above; `&Block` only reads.
unsafe impl Sync for Block {}

/// Bytes the allocator handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// In use now.
    pub live: usize,
    /// Most that was ever in use at once (since [`reset_high_water`]).
    pub high_water: usize,
    /// Taken from the operating system: in use or kept for reuse.
    pub reserved: usize,
}

#[derive(Default)]
struct Pool {
    free: BTreeMap<usize, Vec<usize>>,
    report: MemoryReport,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    free: BTreeMap::new(),
    report: MemoryReport {
        live: 0,
        high_water: 0,
        reserved: 0,
    },
});
static POISON: AtomicBool = AtomicBool::new(false);

fn pool() -> std::sync::MutexGuard<'static, Pool> {
    // A panic while the lock is held cannot leave the pool half-changed.
    POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What the allocator has handed out so far.
pub fn memory_report() -> MemoryReport {
    pool().report
}

/// Starts the high-water mark again from what is in use now.
pub fn reset_high_water() {
    let mut pool = pool();
    pool.report.high_water = pool.report.live;
}

/// Fills every new buffer with NaN (all bits one), so that a test sees an element nobody wrote.
pub fn poison_new_buffers(on: bool) {
    POISON.store(on, Ordering::Relaxed);
}

impl Block {
    /// At least `bytes` bytes, 64-byte aligned; contents unspecified (but initialised).
    pub(crate) fn new(bytes: usize) -> Result<Self> {
        let wanted = bytes.max(1).next_multiple_of(ALIGNMENT);
        let reused = pool().take(wanted);
        let mut block = match reused {
            Some(block) => block,
            None => Self::from_system(wanted)?,
        };
        if POISON.load(Ordering::Relaxed) {
            // SAFETY: the block has that many bytes, and nobody else knows it.
            unsafe { block.as_mut_ptr().write_bytes(0xFF, block.capacity) };
        }
        Ok(block)
    }

    fn from_system(capacity: usize) -> Result<Self> {
        let layout = Layout::from_size_align(capacity, ALIGNMENT);
        // SAFETY: the layout has a non-zero size.
        let start = layout
            .ok()
            .and_then(|l| NonNull::new(unsafe { alloc_zeroed(l) }));
        let start = start.ok_or_else(|| Error::Device {
            device: "cpu".into(),
            why: format!(
                "out of memory: a buffer of {capacity} bytes was asked for, {} are in use",
                memory_report().live
            ),
        })?;
        let mut pool = pool();
        pool.report.reserved += capacity;
        pool.count_in(capacity);
        Ok(Block { start, capacity })
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut pool = pool();
        pool.report.live -= self.capacity;
        let start = self.start.as_ptr() as usize;
        pool.free.entry(self.capacity).or_default().push(start);
    }
}

impl Pool {
    fn take(&mut self, wanted: usize) -> Option<Block> {
        let (&capacity, blocks) = self
            .free
            .range_mut(wanted..=2 * wanted)
            .find(|(_, blocks)| !blocks.is_empty())?;
        let start = NonNull::new(blocks.pop()? as *mut u8)?;
        self.count_in(capacity);
        Some(Block { start, capacity })
    }

    fn count_in(&mut self, capacity: usize) {
        self.report.live += capacity;
        self.report.high_water = self.report.high_water.max(self.report.live);
    }
}

/// Gives all kept buffers back to the operating system.
pub fn release_cached() {
    let free = {
        let mut pool = pool();
        std::mem::take(&mut pool.free)
    };
    for (capacity, blocks) in free {
        for start in blocks {
            let Ok(layout) = Layout::from_size_align(capacity, ALIGNMENT) else {
                continue;
            };
            // SAFETY: each kept block was allocated with exactly this layout and nobody refers to it.
            unsafe { dealloc(start as *mut u8, layout) };
            pool().report.reserved -= capacity;
        }
    }
}
