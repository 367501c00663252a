//! CUDA graphs: see `super::super::graph`.

use std::sync::Arc;

use cudarc::driver::{CudaGraph, sys};

use super::super::graph::{self, Held, Memory};
use super::memory::Raw;
use super::{Gpu, gpu, lock};
use crate::{Error, Result};

/// What a capture under way knows of memory.
pub(super) type Capture = Memory<Raw>;

impl Held for Raw {
    fn start(&self) -> u64 {
        Raw::start(self)
    }

    fn capacity(&self) -> usize {
        Raw::capacity(self)
    }
}

/// Recorded work.
pub(in super::super) struct Graph {
    graph: CudaGraph,
    gpu: &'static Gpu,
    _memory: Capture,
}

impl Graph {
    /// Runs the work again, after everything launched before.
    pub fn replay(&self) -> Result<()> {
        self.gpu.bind()?;
        let launched = self.graph.launch();
        launched.map_err(self.gpu.failed("replaying a graph"))
    }
}

/// Records the launches of `work`; none of them runs. It must have run once before, so that its kernels
/// are loaded. What `work` returns comes with the graph: its
/// tensors hold results after a replay.
pub(in super::super) fn capture<T>(
    index: u32,
    work: impl FnOnce() -> Result<T>,
) -> Result<(Graph, T)> {
    let gpu = gpu(index)?;
    gpu.bind()?;
    gpu.refuse_in_capture("another capture")?;
    *lock(&gpu.capture) = Some(Capture::default());
    let ended = Ended(gpu);
    let failed = gpu.failed("capturing a graph");
    // Relaxed: new memory may be asked of the driver meanwhile.
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
    gpu.compute.begin_capture(mode).map_err(&failed)?;
    let done = work();
    // The stream leaves the capture even where the work failed.
    let graph = gpu.compute.end_capture(sys::CUgraphInstantiate_flags(0));
    let done = done?;
    let graph = graph.map_err(&failed)?.ok_or_else(|| Error::Kernel {
        launch: "capture".into(),
        what: "the work launched nothing".into(),
    })?;
    graph.upload().map_err(&failed)?;
    let memory = lock(&gpu.capture).take().unwrap_or_default();
    drop(ended);
    let graph = Graph {
        graph,
        gpu,
        _memory: memory,
    };
    Ok((graph, done))
}

/// Ends the bookkeeping of a capture, however it goes.
struct Ended(&'static Gpu);

impl Drop for Ended {
    fn drop(&mut self) {
        // Taken out first: dropping blocks takes other locks.
        let left = lock(&self.0.capture).take();
        drop(left);
    }
}

impl Gpu {
    /// A block that the captured work allocated and nobody uses any more.
    pub(super) fn reuse_in_capture(&self, wanted: usize) -> Option<Arc<Raw>> {
        lock(&self.capture).as_ref()?.reuse(wanted)
    }

    pub(super) fn note_new_in_capture(&self, raw: &Arc<Raw>) {
        if let Some(capture) = &mut *lock(&self.capture) {
            capture.note_new(raw);
        }
    }

    pub(super) fn pin_in_capture(&self, raw: &Arc<Raw>) {
        if let Some(capture) = &mut *lock(&self.capture) {
            capture.pin(raw);
        }
    }

    /// What cannot be part of a graph, such as a fallback to the CPU.
    pub(super) fn refuse_in_capture(&self, what: &str) -> Result<()> {
        match &*lock(&self.capture) {
            None => Ok(()),
            Some(_) => Err(graph::refused(what)),
        }
    }
}
