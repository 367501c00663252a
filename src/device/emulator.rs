//! The emulator as a device: tensors in its memory, launches under one schedule for the process, graphs.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use super::graph::{self, Held};
use crate::Result;
use crate::kernels::emulator::{self, Memory, Schedule};
use crate::kernels::{Address, Launch};

/// Chosen by a call; else by the environment.
static CHOSEN: Mutex<Option<Schedule>> = Mutex::new(None);

/// The environment variable that names a schedule.
const VARIABLE: &str = "WHATWHERE_EMULATOR_SCHEDULE";

/// The schedule under which [`super::Device::Emulator`] runs kernels: the one last set, else that of
/// `WHATWHERE_EMULATOR_SCHEDULE`, else [`Schedule::FAST`], which checks nothing.
///
/// # Errors
/// [`crate::Error::Setting`] when the variable names none.
pub fn emulator_schedule() -> Result<Schedule> {
    let chosen = *CHOSEN.lock().unwrap_or_else(|e| e.into_inner());
    match (chosen, std::env::var(VARIABLE)) {
        (Some(schedule), _) => Ok(schedule),
        (None, Ok(name)) => name.parse(),
        (None, Err(_)) => Ok(Schedule::FAST),
    }
}

/// Sets the schedule for the whole process; `None` goes back to the environment's.
pub fn set_emulator_schedule(schedule: Option<Schedule>) {
    *CHOSEN.lock().unwrap_or_else(|e| e.into_inner()) = schedule;
}

pub(super) fn check() -> Result<()> {
    if !emulator::is_available() {
        return Err(emulator::not_built());
    }
    emulator_schedule().map(drop)
}

/// Runs a launch, or records it.
pub(super) fn launch(launch: &Launch) -> Result<()> {
    let recorded = record(|capture| capture.steps.push(Step::Launch(launch.clone())));
    match recorded {
        Some(()) => Ok(()),
        None => run(launch),
    }
}

fn run(launch: &Launch) -> Result<()> {
    let schedule = emulator_schedule()?;
    // SAFETY: planners size their launches to the buffers they are given (`Device::launch`).
    unsafe { emulator::run(launch, schedule) }
}

/// A piece of the emulator's memory.
struct Raw(Memory<u8>);

impl Held for Raw {
    fn start(&self) -> u64 {
        self.0.address().0
    }

    fn capacity(&self) -> usize {
        self.0.as_slice().len()
    }
}

impl Raw {
    /// # Safety
    /// Both have that many bytes, and nobody else uses them meanwhile.
    unsafe fn copy_from(&self, source: &Raw, bytes: usize) {
        let from = source.0.as_slice().as_ptr();
        // SAFETY: the caller's.
        unsafe { self.0.host_mut().copy_from(from, bytes) };
    }

    /// # Safety
    /// As [`Raw::copy_from`].
    unsafe fn clear(&self, bytes: usize) {
        // SAFETY: the caller's.
        unsafe { self.0.host_mut().write_bytes(0, bytes) };
    }
}

/// The memory of a tensor. A captured graph that uses it holds it too.
pub(crate) struct Block {
    raw: Arc<Raw>,
}

impl Block {
    pub fn new(bytes: usize) -> Result<Self> {
        if let Some(Some(raw)) = record(|capture| capture.memory.reuse(bytes)) {
            return Ok(Block { raw });
        }
        let raw = Arc::new(Raw(Memory::uninitialised(bytes)?));
        record(|capture| capture.memory.note_new(&raw));
        Ok(Block { raw })
    }

    /// Where it is. A capture that is under way keeps it from now on.
    pub fn address(&self) -> Address {
        record(|capture| capture.memory.pin(&self.raw));
        self.raw.0.address()
    }

    /// The first byte, for the host to read.
    pub fn host(&self) -> Result<*const u8> {
        refuse_in_capture("a copy to the host")?;
        Ok(self.raw.0.as_slice().as_ptr())
    }

    /// The first byte, for the host to write.
    pub fn host_mut(&mut self) -> Result<*mut u8> {
        refuse_in_capture("a copy from the host")?;
        Ok(self.raw.0.host_mut())
    }

    /// Copies the first `bytes` bytes of another block; both have that many.
    pub fn copy_from_device(&mut self, source: &Block, bytes: usize) -> Result<()> {
        let (to, from) = (&self.raw, &source.raw);
        let recorded = record(|capture| {
            capture.memory.pin(to);
            capture.memory.pin(from);
            let (to, from) = (to.clone(), from.clone());
            capture.steps.push(Step::Copy { to, from, bytes });
        });
        if recorded.is_none() {
            // SAFETY: the two are of different tensors, of which this one is exclusive.
            unsafe { to.copy_from(from, bytes) };
        }
        Ok(())
    }

    /// Sets the first `bytes` bytes to zero; it has that many.
    pub fn clear(&mut self, bytes: usize) {
        let to = &self.raw;
        let recorded = record(|capture| {
            capture.memory.pin(to);
            let to = to.clone();
            capture.steps.push(Step::Clear { to, bytes });
        });
        if recorded.is_none() {
            // SAFETY: `&mut self` is exclusive.
            unsafe { to.clear(bytes) };
        }
    }
}

/// One thing a graph does.
enum Step {
    Launch(Launch),
    Copy {
        to: Arc<Raw>,
        from: Arc<Raw>,
        bytes: usize,
    },
    Clear {
        to: Arc<Raw>,
        bytes: usize,
    },
}

/// A capture under way, and then its graph.
#[derive(Default)]
struct Capture {
    steps: Vec<Step>,
    memory: graph::Memory<Raw>,
}

thread_local! {
    /// The capture under way. A GPU has one for all threads; here tests run side by side.
    static CAPTURE: RefCell<Option<Capture>> = const { RefCell::new(None) };
}

/// Lets `note` at the capture under way; `None` where there is none.
fn record<T>(note: impl FnOnce(&mut Capture) -> T) -> Option<T> {
    CAPTURE.with_borrow_mut(|capture| capture.as_mut().map(note))
}

fn refuse_in_capture(what: &str) -> Result<()> {
    match record(|_| ()) {
        None => Ok(()),
        Some(()) => Err(graph::refused(what)),
    }
}

/// Recorded work.
pub(super) struct Graph(Capture);

impl Graph {
    /// Runs the work again.
    pub fn replay(&self) -> Result<()> {
        refuse_in_capture("a replay")?;
        for step in &self.0.steps {
            match step {
                Step::Launch(launch) => run(launch)?,
                // SAFETY: the sizes were checked when it was recorded, and no tensor is borrowed here.
                Step::Copy { to, from, bytes } => unsafe { to.copy_from(from, *bytes) },
                // SAFETY: as above.
                Step::Clear { to, bytes } => unsafe { to.clear(*bytes) },
            }
        }
        Ok(())
    }
}

/// Records what `work` launches, copies and clears; nothing runs.
pub(super) fn capture<T>(work: impl FnOnce() -> Result<T>) -> Result<(Graph, T)> {
    check()?;
    refuse_in_capture("another capture")?;
    CAPTURE.set(Some(Capture::default()));
    let ended = Ended;
    let done = work();
    let capture = CAPTURE.take().unwrap_or_default();
    drop(ended);
    Ok((Graph(capture), done?))
}

/// Ends a capture, however it goes.
struct Ended;

impl Drop for Ended {
    fn drop(&mut self) {
        CAPTURE.set(None);
    }
}
