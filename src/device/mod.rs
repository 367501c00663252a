//! Devices: where tensors live and operations run. Chosen at run time.

mod cpu;

use std::fmt;
use std::str::FromStr;

pub use cpu::{
    Buffer, MemoryReport, memory_report, poison_new_buffers, release_cached, reset_high_water,
};

use crate::{Error, Result};

/// Where a tensor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The host's processor, all threads of the current rayon pool.
    #[default]
    Cpu,
}

impl Device {
    /// The host's processor.
    pub fn cpu() -> Self {
        Device::Cpu
    }

    /// The best device of this machine: a GPU where one can be used, else the CPU.
    pub fn auto() -> Self {
        Device::Cpu
    }

    /// Memory for `bytes` bytes, initialised but with unspecified contents.
    pub(crate) fn allocate(self, bytes: usize) -> Result<Buffer> {
        match self {
            Device::Cpu => Buffer::new(bytes),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
        }
    }
}

/// `auto`, `cpu`, `cuda:N`.
impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unavailable = |why: &str| Error::Device {
            device: name.to_owned(),
            why: why.to_owned(),
        };
        match name {
            "auto" => Ok(Device::auto()),
            "cpu" => Ok(Device::Cpu),
            _ if name == "cuda" || name.starts_with("cuda:") => Err(unavailable(
                "this build runs on the CPU only; use --device cpu or auto",
            )),
            _ => Err(unavailable("known devices are auto, cpu and cuda:N")),
        }
    }
}
