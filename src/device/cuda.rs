//! GPUs.

use super::Device;
use crate::kernels::{Address, Launch};
use crate::{Error, Result};

/// Memory of a GPU.
pub(crate) struct Block {
    index: u32,
}

fn unavailable(index: u32) -> Error {
    Error::Device {
        device: Device::Cuda(index).to_string(),
        why: "this build runs on the CPU and in the emulator only; use --device cpu or auto".into(),
    }
}

impl Block {
    pub fn new(index: u32, _: usize) -> Result<Self> {
        Err(unavailable(index))
    }

    pub fn device(&self) -> Device {
        Device::Cuda(self.index)
    }

    pub fn address(&self) -> Address {
        Address::default()
    }

    pub fn copy_from_host(&mut self, _: &[u8]) -> Result<()> {
        Err(unavailable(self.index))
    }

    pub fn copy_to_host(&self, _: &mut [u8]) -> Result<()> {
        Err(unavailable(self.index))
    }

    pub fn copy_from_device(&mut self, _: &Block, _: usize) -> Result<()> {
        Err(unavailable(self.index))
    }

    pub fn clear(&mut self, _: usize) -> Result<()> {
        Err(unavailable(self.index))
    }
}

pub(super) fn check(index: u32) -> Result<()> {
    Err(unavailable(index))
}

pub(super) fn launch(index: u32, _: &Launch) -> Result<()> {
    Err(unavailable(index))
}

pub(super) fn shared_limit(index: u32) -> Result<u32> {
    Err(unavailable(index))
}

pub(super) fn capability(index: u32) -> Result<u32> {
    Err(unavailable(index))
}

pub(super) fn synchronize(index: u32) -> Result<()> {
    Err(unavailable(index))
}
