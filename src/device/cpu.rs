//! Host memory: a caching allocator ([`super::pool`]). Without one every training step would pay a
//! page fault for each 4 KiB, about a tenth of a VGG16 step.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::Device;
use super::pool::{MemoryReport, Piece, Pool};
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

static POOL: Mutex<Pool> = Mutex::new(Pool::new());
static POISON: AtomicBool = AtomicBool::new(false);

fn pool() -> MutexGuard<'static, Pool> {
    // A panic while the lock is held cannot leave the pool half-changed.
    POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What the allocator has handed out so far.
pub(super) fn memory_report() -> MemoryReport {
    pool().report()
}

/// Starts the high-water mark again from what is in use now.
pub(super) fn reset_high_water() {
    pool().reset_high_water();
}

/// Fills every new buffer of the CPU with NaN (all bits one), so that a test sees an element nobody wrote.
pub fn poison_new_buffers(on: bool) {
    POISON.store(on, Ordering::Relaxed);
}

impl Block {
    /// At least `bytes` bytes, 64-byte aligned; contents unspecified (but initialised).
    pub(crate) fn new(bytes: usize) -> Result<Self> {
        let wanted = bytes.max(1).next_multiple_of(ALIGNMENT);
        let reused = pool().take(wanted).and_then(Self::from_piece);
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

    fn from_piece(piece: Piece) -> Option<Self> {
        let start = NonNull::new(piece.start as *mut u8)?;
        let capacity = piece.capacity;
        Some(Block { start, capacity })
    }

    fn from_system(capacity: usize) -> Result<Self> {
        let layout = Layout::from_size_align(capacity, ALIGNMENT);
        // SAFETY: the layout has a non-zero size.
        let start = layout
            .ok()
            .and_then(|l| NonNull::new(unsafe { alloc_zeroed(l) }));
        let start = start.ok_or_else(|| Error::OutOfMemory {
            device: Device::Cpu,
            asked: capacity,
            in_use: memory_report().live,
            free: None,
        })?;
        pool().add(capacity);
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
        let (start, capacity) = (self.start.as_ptr() as u64, self.capacity);
        pool().put(Piece { start, capacity });
    }
}

/// Gives all kept buffers back to the operating system.
pub(super) fn release_cached() {
    let kept = pool().drain();
    for Piece { start, capacity } in kept {
        let Ok(layout) = Layout::from_size_align(capacity, ALIGNMENT) else {
            continue;
        };
        // SAFETY: each kept block was allocated with exactly this layout and nobody refers to it.
        unsafe { dealloc(start as *mut u8, layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_there_is_is_refused_with_figures() {
        let said = Block::new(1 << 62).err().unwrap().to_string();
        assert!(
            said.contains("4194304.0 TiB") && said.contains("on cpu"),
            "{said}"
        );
    }
}
