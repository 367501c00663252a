//! Work recorded once and run again with one call, on a GPU or in the emulator.
//!
//! While a capture is under way, launches are recorded instead of run. A graph holds every block whose
//! address a launch was given, so its memory stays its own. Blocks that the captured work itself
//! allocates and frees are used again within it, as the pool does elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Device, cuda, emulator};
use crate::{Error, Result};

/// Recorded work. Each replay runs the same launches with the same arguments on the same memory: what
/// the launches were given by value stays as it was, what lies in memory is read anew.
pub struct Graph(Recorded);

enum Recorded {
    Emulator(emulator::Graph),
    Cuda(cuda::Graph),
}

impl Graph {
    /// Runs the work again, after everything launched before.
    ///
    /// # Errors
    /// What the driver or the emulator says.
    pub fn replay(&self) -> Result<()> {
        match &self.0 {
            Recorded::Emulator(graph) => graph.replay(),
            Recorded::Cuda(graph) => graph.replay(),
        }
    }
}

/// [`Device::capture`].
pub(super) fn capture<T>(device: Device, work: impl FnOnce() -> Result<T>) -> Result<(Graph, T)> {
    match device {
        Device::Cpu => Err(Error::Device {
            device: device.to_string(),
            why: "it records no graphs; only devices with kernels do".into(),
        }),
        Device::Emulator => {
            let (graph, done) = emulator::capture(work)?;
            Ok((Graph(Recorded::Emulator(graph)), done))
        }
        Device::Cuda(index) => {
            let (graph, done) = cuda::capture(index, work)?;
            Ok((Graph(Recorded::Cuda(graph)), done))
        }
    }
}

/// What cannot be part of a graph, such as a fallback to the CPU.
pub(super) fn refused(what: &str) -> Error {
    Error::Kernel {
        launch: "capture".into(),
        what: format!("{what} cannot be recorded into a graph"),
    }
}

/// A block of a device's memory, as a capture sees it.
pub(super) trait Held {
    fn start(&self) -> u64;
    fn capacity(&self) -> usize;
}

/// What a capture under way knows of memory, and its graph holds.
pub(super) struct Memory<R> {
    /// Every block the work uses, by address.
    pinned: BTreeMap<u64, Arc<R>>,
    /// Those it allocated itself.
    own: Vec<Arc<R>>,
}

impl<R> Default for Memory<R> {
    fn default() -> Self {
        Memory {
            pinned: BTreeMap::new(),
            own: Vec::new(),
        }
    }
}

impl<R: Held> Memory<R> {
    /// A block that the captured work allocated and nobody uses any more.
    pub fn reuse(&self, wanted: usize) -> Option<Arc<R>> {
        let unused = |raw: &&Arc<R>| {
            let holders = 1 + self.pinned.contains_key(&raw.start()) as usize;
            Arc::strong_count(raw) == holders
        };
        let fitting = self
            .own
            .iter()
            .filter(|raw| (wanted..=2 * wanted).contains(&raw.capacity()));
        fitting
            .filter(unused)
            .min_by_key(|raw| raw.capacity())
            .cloned()
    }

    /// Keeps a block that the captured work allocated.
    pub fn note_new(&mut self, raw: &Arc<R>) {
        self.own.push(raw.clone());
    }

    /// Keeps a block that a launch was given.
    pub fn pin(&mut self, raw: &Arc<R>) {
        self.pinned.insert(raw.start(), raw.clone());
    }
}
