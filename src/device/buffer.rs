//! Memory of any device, as a tensor holds it.

use super::guard::{CANARY, MARGIN, Watch};
use super::{Device, cpu, cuda, emulator};
use crate::kernels::Address;
use crate::{Error, Result};

/// Memory of one device.
pub(crate) struct Buffer {
    storage: Storage,
    guard: Option<Guard>,
}

enum Storage {
    /// Of the host.
    Cpu(cpu::Block),
    /// Of the emulated GPU; the host reads and writes it too.
    Emulator(emulator::Block),
    /// Of a GPU.
    Cuda(cuda::Block),
}

/// Margins that nobody may write: see [`super::guard`].
struct Guard {
    watch: Watch,
    /// Bytes of the margin before the buffer, and of the buffer itself.
    before: usize,
    bytes: usize,
}

impl Storage {
    fn new(device: Device, bytes: usize) -> Result<Self> {
        Ok(match device {
            Device::Cpu => Storage::Cpu(cpu::Block::new(bytes)?),
            Device::Emulator => Storage::Emulator(emulator::Block::new(bytes)?),
            Device::Cuda(index) => Storage::Cuda(cuda::Block::new(index, bytes)?),
        })
    }

    /// The first byte, where the host can read it.
    fn host(&self) -> Result<*const u8> {
        match self {
            Storage::Cpu(block) => Ok(block.as_ptr()),
            Storage::Emulator(block) => block.host(),
            Storage::Cuda(block) => Err(Error::Unreadable {
                device: block.device(),
            }),
        }
    }

    fn host_mut(&mut self) -> Result<*mut u8> {
        match self {
            Storage::Cpu(block) => Ok(block.as_mut_ptr()),
            Storage::Emulator(block) => block.host_mut(),
            Storage::Cuda(block) => Err(Error::Unreadable {
                device: block.device(),
            }),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Storage::Cuda(block) = self {
            return block.copy_from_host(bytes);
        }
        let start = self.host_mut()?;
        // SAFETY: the storage has room for `bytes`, and `&mut self` is exclusive.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn device(&self) -> Device {
        match self {
            Storage::Cpu(_) => Device::Cpu,
            Storage::Emulator(_) => Device::Emulator,
            Storage::Cuda(block) => block.device(),
        }
    }
}

impl Guard {
    /// Looks at the margins of `storage`.
    fn inspect(&self, storage: &Storage) {
        let (before, bytes) = (self.before, self.bytes);
        let mut all = vec![CANARY; before + bytes + MARGIN];
        let read = match storage {
            Storage::Cuda(block) => block.copy_to_host(&mut all),
            host => host.host().map(|start| {
                // SAFETY: the storage was made with that many bytes.
                let held = unsafe { std::slice::from_raw_parts(start, before + bytes + MARGIN) };
                all.copy_from_slice(held);
            }),
        };
        // What cannot be read has failed elsewhere, with an error of its own.
        if read.is_ok() {
            let (front, behind) = (&all[..before], &all[before + bytes..]);
            self.watch.inspect(storage.device(), bytes, front, behind);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(guard) = &self.guard {
            guard.inspect(&self.storage);
        }
    }
}

impl Buffer {
    /// `bytes` bytes with unspecified contents on `device`.
    pub fn new(device: Device, bytes: usize) -> Result<Self> {
        let watch = match device {
            Device::Emulator if emulator::emulator_schedule()?.checked => None,
            _ => Watch::current(),
        };
        let Some(watch) = watch else {
            let storage = Storage::new(device, bytes)?;
            let guard = None;
            return Ok(Buffer { storage, guard });
        };
        // Copies on other devices begin at a block's first byte.
        let before = match device {
            Device::Cpu => MARGIN,
            _ => 0,
        };
        let mut storage = Storage::new(device, before + bytes + MARGIN)?;
        let mut contents = vec![CANARY; before + bytes + MARGIN];
        contents[before..before + bytes].fill(0xFF);
        storage.write(&contents)?;
        let guard = Some(Guard {
            watch,
            before,
            bytes,
        });
        Ok(Buffer { storage, guard })
    }

    /// Bytes before the first one that is used.
    fn offset(&self) -> usize {
        self.guard.as_ref().map_or(0, |guard| guard.before)
    }

    /// Where it is in its device's memory.
    pub fn address(&self) -> Address {
        let start = match &self.storage {
            Storage::Cpu(block) => block.as_ptr() as u64,
            Storage::Emulator(block) => block.address().0,
            Storage::Cuda(block) => block.address().0,
        };
        Address(start + self.offset() as u64)
    }

    /// The first byte, where the host can read it; at least the bytes asked for follow.
    pub fn host(&self) -> Result<*const u8> {
        Ok(self.storage.host()?.wrapping_add(self.offset()))
    }

    /// The first byte, for the host to write; emulated memory then counts as written.
    pub fn host_mut(&mut self) -> Result<*mut u8> {
        let offset = self.offset();
        Ok(self.storage.host_mut()?.wrapping_add(offset))
    }

    /// Copies the first `bytes` bytes of `source`, on whatever device each of the two is. Both have
    /// at least that many.
    pub fn copy_from(&mut self, source: &Buffer, bytes: usize) -> Result<()> {
        match (&mut self.storage, &source.storage) {
            (Storage::Cuda(to), Storage::Cuda(from)) => to.copy_from_device(from, bytes),
            (Storage::Emulator(to), Storage::Emulator(from)) => to.copy_from_device(from, bytes),
            (_, Storage::Cuda(from)) => {
                // SAFETY: both hold `bytes` bytes, and `&mut self` is exclusive.
                let to = unsafe { std::slice::from_raw_parts_mut(self.host_mut()?, bytes) };
                from.copy_to_host(to)
            }
            _ => {
                // SAFETY: the source holds `bytes` initialised bytes.
                self.write(unsafe { std::slice::from_raw_parts(source.host()?, bytes) })
            }
        }
    }

    /// Copies `bytes` from the host to the start.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Storage::Cuda(block) = &mut self.storage {
            return block.copy_from_host(bytes);
        }
        let start = self.host_mut()?;
        // SAFETY: the buffer has room for `bytes`, and `&mut self` is exclusive.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Sets the first `bytes` bytes to zero.
    pub fn clear(&mut self, bytes: usize) -> Result<()> {
        let offset = self.offset();
        match &mut self.storage {
            // SAFETY: the buffer has that many bytes, and `&mut self` is exclusive.
            Storage::Cpu(block) => unsafe {
                block.as_mut_ptr().add(offset).write_bytes(0, bytes);
            },
            Storage::Emulator(block) => block.clear(bytes),
            Storage::Cuda(block) => block.clear(bytes)?,
        }
        Ok(())
    }
}
