//! Devices: where tensors live and operations run. Chosen at run time.
//!
//! Three kinds. The CPU runs the functions of [`crate::cpu`]. A GPU and the emulator run *kernels*:
//! the launches that [`crate::kernels`] plans, the same for both. Each file here is one device:
//! its memory, its launches, what it can do.

mod buffer;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "cuda_absent.rs"]
mod cuda;
mod emulator;
mod graph;
mod guard;
mod pool;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(crate) use buffer::Buffer;
pub use cpu::poison_new_buffers;
pub use cuda::findings;
pub use emulator::{emulator_schedule, set_emulator_schedule};
pub use graph::Graph;
pub use guard::Guarded;
pub use pool::MemoryReport;

use crate::kernels::Launch;
use crate::{Error, Result};

/// Where a tensor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Device {
    /// The host's processor, all threads of the current rayon pool.
    #[default]
    Cpu,
    /// Kernels on the host, slowly and under watch: docs/emulator.md.
    Emulator,
    /// The GPU of this index, as the driver counts them.
    Cuda(u32),
}

impl Device {
    /// The host's processor.
    pub fn cpu() -> Self {
        Device::Cpu
    }

    /// The best device of this machine: the first GPU if it can be used, else the CPU.
    pub fn auto() -> Self {
        match Device::Cuda(0).check() {
            Ok(()) => Device::Cuda(0),
            Err(_) => Device::Cpu,
        }
    }

    /// Whether this device can be used here, now.
    ///
    /// # Errors
    /// [`Error::Device`] says what is missing and what to do.
    pub fn check(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Emulator => emulator::check(),
            Device::Cuda(index) => cuda::check(index),
        }
    }

    /// Runs a planned launch, after everything launched here before. A GPU runs it later, in that
    /// order; [`Device::synchronize`] waits.
    ///
    /// The launch must come from a planner that was given the sizes of the buffers its pointers lead
    /// to, and these must be on this device.
    ///
    /// # Errors
    /// [`Error::Kernel`] names the kernel, its launch and what went wrong.
    pub(crate) fn launch(self, launch: &Launch) -> Result<()> {
        match self {
            Device::Cpu => Err(Error::Kernel {
                launch: launch.to_string(),
                what: "the CPU runs no kernels".into(),
            }),
            Device::Emulator => emulator::launch(launch),
            Device::Cuda(index) => cuda::launch(index, launch),
        }
    }

    /// Runs a launch of a kernel of your own, as the crate runs its kernels: see
    /// docs/your_own_kernel.md.
    ///
    /// # Errors
    /// [`Error::Kernel`] names the kernel, its launch and what went wrong; a GPU may find out later.
    ///
    /// # Safety
    /// The arguments are those of the kernel, in its order; its pointers lead to tensors on this device
    /// that are alive and large enough, and what it writes was given by
    /// [`Tensor::address_mut`](crate::tensor::Tensor::address_mut).
    pub unsafe fn launch_kernel(self, launch: &Launch) -> Result<()> {
        self.launch(launch)
    }

    /// Runs launches one after the other.
    pub(crate) fn launch_all(self, launches: &[Launch]) -> Result<()> {
        launches.iter().try_for_each(|l| self.launch(l))
    }

    /// Most shared memory a block can have, in bytes; 0 on the CPU.
    pub fn shared_limit(self) -> Result<u32> {
        match self {
            Device::Cpu => Ok(0),
            Device::Emulator => Ok(crate::kernels::emulator::SHARED_LIMIT),
            Device::Cuda(index) => cuda::shared_limit(index),
        }
    }

    /// Multiprocessors, over which planners spread their blocks. The emulator, which runs blocks one after
    /// another, says 4, so that small shapes are cut into parts there too; the CPU has none.
    pub fn multiprocessors(self) -> Result<usize> {
        match self {
            Device::Cpu => Ok(0),
            Device::Emulator => Ok(4),
            Device::Cuda(index) => cuda::multiprocessors(index),
        }
    }

    /// The instruction set: 90 for sm_90. The emulator has all that kernels use and calls itself 90;
    /// the CPU is 0.
    pub fn capability(self) -> Result<u32> {
        match self {
            Device::Cpu => Ok(0),
            Device::Emulator => Ok(90),
            Device::Cuda(index) => cuda::capability(index),
        }
    }

    /// Waits until everything launched has ended.
    ///
    /// # Errors
    /// What a kernel did wrong since the last call, where the device finds out late.
    pub fn synchronize(self) -> Result<()> {
        match self {
            Device::Cpu | Device::Emulator => Ok(()),
            Device::Cuda(index) => cuda::synchronize(index),
        }
    }

    /// Runs `work` and measures it: on a GPU the time between its first launch and the end of its
    /// last, elsewhere the time it takes.
    pub fn timed<T>(self, work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
        if let Device::Cuda(index) = self {
            return cuda::timed(index, work);
        }
        let begin = Instant::now();
        let done = work()?;
        Ok((done, begin.elapsed()))
    }

    /// Records the launches of `work` into a graph that runs them again with one call; none of them
    /// runs now. It must have run once before, so that its kernels are loaded and its constants are
    /// there. What `work` returns comes with the graph: its tensors hold results after
    /// [`Graph::replay`]. Inputs are changed with [`crate::tensor::Tensor::copy_from`]. In the
    /// emulator what other threads do meanwhile is no part of it; on a GPU there must be nothing.
    ///
    /// # Errors
    /// [`Error::Device`] on the CPU; [`Error::Kernel`] where `work` copies from or to the host, as an
    /// operation without a kernel does, and where it is itself within a capture.
    pub fn capture<T>(self, work: impl FnOnce() -> Result<T>) -> Result<(Graph, T)> {
        graph::capture(self, work)
    }

    /// The device's memory in bytes. The emulator, which has the host's, says 1 GiB; the CPU 0, which is
    /// not asked to hold anything beside what the host has.
    pub fn memory_size(self) -> Result<usize> {
        match self {
            Device::Cpu => Ok(0),
            Device::Emulator => Ok(1 << 30),
            Device::Cuda(index) => cuda::memory_size(index),
        }
    }

    /// What the allocator of tensors has handed out. The emulator does not count.
    pub fn memory_report(self) -> Result<MemoryReport> {
        match self {
            Device::Cpu => Ok(cpu::memory_report()),
            Device::Emulator => Ok(MemoryReport::default()),
            Device::Cuda(index) => cuda::memory_report(index),
        }
    }

    /// Starts the high-water mark of the report again from what is in use now.
    pub fn reset_high_water(self) -> Result<()> {
        match self {
            Device::Cpu => cpu::reset_high_water(),
            Device::Emulator => {}
            Device::Cuda(index) => cuda::reset_high_water(index)?,
        }
        Ok(())
    }

    /// Gives memory that is kept for reuse back to the system.
    pub fn release_cached(self) -> Result<()> {
        match self {
            Device::Cpu => cpu::release_cached(),
            Device::Emulator => {}
            Device::Cuda(index) => cuda::release_cached(index)?,
        }
        Ok(())
    }

    /// Memory for `bytes` bytes with unspecified contents; NaN in the emulator, and known there to be
    /// unwritten.
    pub(crate) fn allocate(self, bytes: usize) -> Result<Buffer> {
        Buffer::new(self, bytes)
    }
}

/// Says, once for each operation and device, that the operation's work is done by the CPU, and why.
pub(crate) fn note_fallback(op: &'static str, device: Device, why: &dyn fmt::Display) {
    static NOTED: Mutex<BTreeSet<(&str, Device)>> = Mutex::new(BTreeSet::new());
    let mut noted = NOTED.lock().unwrap_or_else(|e| e.into_inner());
    if noted.insert((op, device)) {
        tracing::warn!("{op} on {device}: copied to the CPU and back, slowly ({why})");
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Emulator => f.write_str("emulator"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// `auto`, `cpu`, `emulator`, `cuda`, `cuda:N`. Whether the device is there is [`Device::check`]'s to say.
impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let index = name.strip_prefix("cuda:").map(str::parse);
        match (name, index) {
            ("auto", _) => Ok(Device::auto()),
            ("cpu", _) => Ok(Device::Cpu),
            ("emulator", _) => Ok(Device::Emulator),
            ("cuda", _) => Ok(Device::Cuda(0)),
            (_, Some(Ok(index))) => Ok(Device::Cuda(index)),
            _ => Err(Error::setting(
                "device",
                name,
                "known devices are auto, cpu, emulator, cuda and cuda:N with N = 0, 1, …",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for device in [
            Device::Cpu,
            Device::Emulator,
            Device::Cuda(0),
            Device::Cuda(17),
        ] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        assert!("auto".parse::<Device>().unwrap().check().is_ok());
        for name in [
            "",
            "tpu",
            "cuda:",
            "cuda:-1",
            "cuda:x",
            "cuda:4294967296",
            "CPU",
        ] {
            let said = name.parse::<Device>().unwrap_err().to_string();
            assert!(said.contains("device") && said.contains(name), "{said}");
        }
    }

    #[test]
    fn the_cpu_runs_no_kernels() {
        let launch = Launch::new("relu_f32", [1, 1, 1], 32);
        let said = Device::Cpu.launch(&launch).unwrap_err().to_string();
        assert!(said.contains("relu_f32<<<(1, 1, 1)"), "{said}");
        assert_eq!(Device::Cpu.shared_limit().unwrap(), 0);
        let captured = Device::Cpu.capture(|| Ok(()));
        assert!(captured.err().unwrap().to_string().contains("graph"));
    }
}
