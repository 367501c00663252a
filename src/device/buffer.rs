//! Memory of any device, as a tensor holds it.

use super::{cpu, cuda, emulator};
use crate::kernels::Address;
use crate::{Error, Result};

/// Memory of one device.
pub(crate) enum Buffer {
    /// Of the host.
    Cpu(cpu::Block),
    /// Of the emulated GPU; the host reads and writes it too.
    Emulator(emulator::Block),
    /// Of a GPU.
    Cuda(cuda::Block),
}

impl Buffer {
    /// Where it is in its device's memory.
    pub fn address(&self) -> Address {
        match self {
            Buffer::Cpu(block) => Address(block.as_ptr() as u64),
            Buffer::Emulator(block) => block.address(),
            Buffer::Cuda(block) => block.address(),
        }
    }

    /// The first byte, where the host can read it; at least the bytes asked for follow.
    pub fn host(&self) -> Result<*const u8> {
        match self {
            Buffer::Cpu(block) => Ok(block.as_ptr()),
            Buffer::Emulator(block) => block.host(),
            Buffer::Cuda(block) => Err(Error::Unreadable {
                device: block.device(),
            }),
        }
    }

    /// The first byte, for the host to write; emulated memory then counts as written.
    pub fn host_mut(&mut self) -> Result<*mut u8> {
        match self {
            Buffer::Cpu(block) => Ok(block.as_mut_ptr()),
            Buffer::Emulator(block) => block.host_mut(),
            Buffer::Cuda(block) => Err(Error::Unreadable {
                device: block.device(),
            }),
        }
    }

    /// Copies the first `bytes` bytes of `source`, on whatever device each of the two is. Both have
    /// at least that many.
    pub fn copy_from(&mut self, source: &Buffer, bytes: usize) -> Result<()> {
        match (&mut *self, source) {
            (Buffer::Cuda(to), Buffer::Cuda(from)) => to.copy_from_device(from, bytes),
            (Buffer::Emulator(to), Buffer::Emulator(from)) => to.copy_from_device(from, bytes),
            (_, Buffer::Cuda(from)) => {
                // SAFETY: both hold `bytes` bytes, and `&mut self` is exclusive.
                let to = unsafe { std::slice::from_raw_parts_mut(self.host_mut()?, bytes) };
                from.copy_to_host(to)
            }
            (_, from) => {
                // SAFETY: the source holds `bytes` initialised bytes.
                self.write(unsafe { std::slice::from_raw_parts(from.host()?, bytes) })
            }
        }
    }

    /// Copies `bytes` from the host to the start.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Buffer::Cuda(block) = self {
            return block.copy_from_host(bytes);
        }
        let start = self.host_mut()?;
        // SAFETY: the buffer has room for `bytes`, and `&mut self` is exclusive.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Sets the first `bytes` bytes to zero.
    pub fn clear(&mut self, bytes: usize) -> Result<()> {
        match self {
            // SAFETY: the buffer has that many bytes, and `&mut self` is exclusive.
            Buffer::Cpu(block) => unsafe { block.as_mut_ptr().write_bytes(0, bytes) },
            Buffer::Emulator(block) => block.clear(bytes),
            Buffer::Cuda(block) => block.clear(bytes)?,
        }
        Ok(())
    }
}
