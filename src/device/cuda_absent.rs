//! GPUs in a build without the feature `cuda`: there are none.

use std::convert::Infallible;
use std::time::Duration;

use super::Device;
use super::pool::MemoryReport;
use crate::kernels::{Address, Launch};
use crate::{Error, Result};

/// Memory of a GPU; none can be made.
pub(crate) struct Block(Infallible);

/// Recorded work; none can be made.
pub(super) struct Graph(Infallible);

impl Graph {
    /// Runs the work again.
    pub fn replay(&self) -> Result<()> {
        match self.0 {}
    }
}

fn absent<T>(index: u32) -> Result<T> {
    Err(Error::Device {
        device: Device::Cuda(index).to_string(),
        why: "this build has no GPU support (feature `cuda`); --device cpu and auto run without"
            .into(),
    })
}

impl Block {
    pub fn new(index: u32, _: usize) -> Result<Self> {
        absent(index)
    }

    pub fn device(&self) -> Device {
        match self.0 {}
    }

    pub fn address(&self) -> Address {
        match self.0 {}
    }

    pub fn copy_from_host(&mut self, _: &[u8]) -> Result<()> {
        match self.0 {}
    }

    pub fn copy_to_host(&self, _: &mut [u8]) -> Result<()> {
        match self.0 {}
    }

    pub fn copy_from_device(&mut self, _: &Block, _: usize) -> Result<()> {
        match self.0 {}
    }

    pub fn clear(&mut self, _: usize) -> Result<()> {
        match self.0 {}
    }
}

pub(super) fn check(index: u32) -> Result<()> {
    absent(index)
}

pub(super) fn launch(index: u32, _: &Launch) -> Result<()> {
    absent(index)
}

pub(super) fn shared_limit(index: u32) -> Result<u32> {
    absent(index)
}

pub(super) fn multiprocessors(index: u32) -> Result<usize> {
    absent(index)
}

pub(super) fn memory_size(index: u32) -> Result<usize> {
    absent(index)
}

pub(super) fn capability(index: u32) -> Result<u32> {
    absent(index)
}

pub(super) fn synchronize(index: u32) -> Result<()> {
    absent(index)
}

pub(super) fn memory_report(index: u32) -> Result<MemoryReport> {
    absent(index)
}

pub(super) fn reset_high_water(index: u32) -> Result<()> {
    absent(index)
}

pub(super) fn release_cached(index: u32) -> Result<()> {
    absent(index)
}

pub(super) fn timed<T>(index: u32, _: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    absent(index)
}

pub(super) fn capture<T>(index: u32, _: impl FnOnce() -> Result<T>) -> Result<(Graph, T)> {
    absent(index)
}

/// What `whatwhere doctor` says of GPUs.
pub fn findings() -> Vec<(&'static str, String)> {
    vec![(
        "gpu",
        "this build has no GPU support (feature `cuda`)".into(),
    )]
}
