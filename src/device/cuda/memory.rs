//! Memory of a GPU: blocks from a pool, and copies.

use std::sync::Arc;

use cudarc::driver::{CudaEvent, DriverError, result, sys};

use super::super::pool::Piece;
use super::{Device, Gpu, gpu, lock};
use crate::kernels::Address;
use crate::{Error, Result};

/// Blocks are this much aligned, and multiples of it: what `cuMemAlloc` gives anyway.
const ALIGNMENT: usize = 256;

/// Copies from the host of at most this many bytes go through pinned memory and overlap with work.
const STAGED: usize = 64 << 20;

/// A piece of a GPU's memory; it goes back to the pool when nobody holds it any more.
pub(super) struct Raw {
    gpu: &'static Gpu,
    piece: Piece,
}

impl Raw {
    pub fn start(&self) -> u64 {
        self.piece.start
    }

    pub fn capacity(&self) -> usize {
        self.piece.capacity
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        lock(&self.gpu.pool).put(self.piece);
    }
}

/// The memory of a tensor. A captured graph that uses it holds it too.
pub(crate) struct Block {
    raw: Arc<Raw>,
}

impl Block {
    /// At least `bytes` bytes, with unspecified contents.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] with what was asked for, what is in use and what is free.
    pub fn new(index: u32, bytes: usize) -> Result<Self> {
        let gpu = gpu(index)?;
        let wanted = bytes.max(1).next_multiple_of(ALIGNMENT);
        if let Some(raw) = gpu.reuse_in_capture(wanted) {
            return Ok(Block { raw });
        }
        let kept = lock(&gpu.pool).take(wanted);
        let piece = match kept {
            Some(piece) => piece,
            None => gpu.new_memory(wanted)?,
        };
        let raw = Arc::new(Raw { gpu, piece });
        gpu.note_new_in_capture(&raw);
        Ok(Block { raw })
    }

    pub fn device(&self) -> Device {
        self.raw.gpu.device
    }

    /// Where it is. A capture that is under way keeps it from now on.
    pub fn address(&self) -> Address {
        self.raw.gpu.pin_in_capture(&self.raw);
        Address(self.raw.piece.start)
    }

    /// Copies from the host: through pinned memory, beside the kernels that run, and before those that
    /// come later.
    pub fn copy_from_host(&mut self, bytes: &[u8]) -> Result<()> {
        let gpu = self.raw.gpu;
        gpu.refuse_in_capture("a copy from the host")?;
        gpu.bind()?;
        let failed = gpu.failed("copying from the host");
        let to = self.raw.piece.start;
        if bytes.len() <= STAGED {
            return lock(&gpu.staging).upload(gpu, to, bytes).map_err(failed);
        }
        // SAFETY: the block has room, and the source lives until the copy has been waited for.
        unsafe { result::memcpy_htod_async(to, bytes, gpu.compute.cu_stream()) }
            .map_err(&failed)?;
        gpu.compute.synchronize().map_err(failed)
    }

    /// Copies to the host, after everything launched before, and waits for it.
    pub fn copy_to_host(&self, bytes: &mut [u8]) -> Result<()> {
        let gpu = self.raw.gpu;
        gpu.refuse_in_capture("a copy to the host")?;
        gpu.bind()?;
        let failed = gpu.failed("copying to the host");
        let (from, stream) = (self.raw.piece.start, gpu.compute.cu_stream());
        // SAFETY: the block holds that many bytes, and the target lives until the copy is waited for.
        unsafe { result::memcpy_dtoh_async(bytes, from, stream) }.map_err(&failed)?;
        gpu.compute.synchronize().map_err(failed)
    }

    /// Copies the first `bytes` bytes of another block; by way of the host from another GPU.
    pub fn copy_from_device(&mut self, source: &Block, bytes: usize) -> Result<()> {
        let gpu = self.raw.gpu;
        if gpu.device != source.device() {
            let mut host = vec![0; bytes];
            source.copy_to_host(&mut host)?;
            return self.copy_from_host(&host);
        }
        gpu.bind()?;
        let (to, from) = (self.address().0, source.address().0);
        // SAFETY: both blocks have that many bytes, and the stream keeps the order.
        let copied = unsafe { result::memcpy_dtod_async(to, from, bytes, gpu.compute.cu_stream()) };
        copied.map_err(gpu.failed("copying"))
    }

    /// Sets the first `bytes` bytes to zero.
    pub fn clear(&mut self, bytes: usize) -> Result<()> {
        let gpu = self.raw.gpu;
        gpu.bind()?;
        let to = self.address().0;
        // SAFETY: the block has that many bytes, and the stream keeps the order.
        let cleared = unsafe { result::memset_d8_async(to, 0, bytes, gpu.compute.cu_stream()) };
        cleared.map_err(gpu.failed("clearing memory"))
    }
}

impl Gpu {
    /// New memory from the driver; kept blocks go back to it where that makes room.
    fn new_memory(&self, bytes: usize) -> Result<Piece> {
        self.bind()?;
        // SAFETY: a plain allocation.
        let allocate = || unsafe { result::malloc_sync(bytes) };
        let full = |e: &DriverError| e.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let mut given = allocate();
        // A capture cannot wait for the work whose memory would be given back.
        if given.as_ref().is_err_and(full) && lock(&self.capture).is_none() {
            self.release_cached()?;
            given = allocate();
        }
        match given {
            Ok(start) => {
                lock(&self.pool).add(bytes);
                let capacity = bytes;
                Ok(Piece { start, capacity })
            }
            Err(e) if full(&e) => Err(Error::OutOfMemory {
                device: self.device,
                asked: bytes,
                in_use: lock(&self.pool).report().live,
                free: result::mem_get_info().ok().map(|(free, _)| free),
            }),
            Err(e) => Err(self.failed("allocating memory")(e)),
        }
    }

    /// Gives kept blocks back to the driver.
    pub(super) fn release_cached(&self) -> Result<()> {
        self.refuse_in_capture("giving memory back")?;
        self.bind()?;
        // A kernel that is still running may use a block that was freed meanwhile.
        let failed = self.failed("giving memory back");
        self.compute.synchronize().map_err(&failed)?;
        self.uploads.synchronize().map_err(&failed)?;
        let kept = lock(&self.pool).drain();
        for piece in kept {
            // SAFETY: the driver gave this block, and nobody uses it.
            unsafe { result::free_sync(piece.start) }.map_err(&failed)?;
        }
        Ok(())
    }
}

/// Two pinned buffers on the host, used in turn: one fills while the other travels.
#[derive(Default)]
pub(super) struct Staging {
    slots: [Option<Slot>; 2],
    next: usize,
}

struct Slot {
    start: *mut u8,
    capacity: usize,
    /// The slot's last copy has ended.
    done: CudaEvent,
}

// SAFETY: the memory belongs to the slot alone, and the driver's handles are valid on every thread.
unsafe impl Send for Slot {}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: the driver gave this memory, and the copy from it is waited for before. A failure
        // here would have been seen by the copy.
        let _ = self.done.synchronize();
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}

impl Staging {
    /// Starts a copy of `bytes` to `to`: after the kernels launched so far, which may still use the
    /// memory, and before those launched later.
    fn upload(&mut self, gpu: &Gpu, to: u64, bytes: &[u8]) -> Result<(), DriverError> {
        let slot = &mut self.slots[self.next];
        self.next = 1 - self.next;
        if slot.as_ref().is_none_or(|slot| slot.capacity < bytes.len()) {
            let capacity = bytes.len().next_power_of_two();
            *slot = None;
            *slot = Some(Slot {
                // SAFETY: a plain allocation.
                start: unsafe { result::malloc_host(capacity, 0) }?.cast(),
                capacity,
                done: gpu.context.new_event(None)?,
            });
        }
        let Some(slot) = slot else { return Ok(()) };
        slot.done.synchronize()?;
        let before = gpu.compute.record_event(None)?;
        gpu.uploads.wait(&before)?;
        // SAFETY: the slot has room, its last copy has ended, and it lives until this one has.
        unsafe {
            slot.start
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            let staged = std::slice::from_raw_parts(slot.start, bytes.len());
            result::memcpy_htod_async(to, staged, gpu.uploads.cu_stream())?;
        }
        slot.done.record(&gpu.uploads)?;
        gpu.compute.wait(&slot.done)
    }
}
