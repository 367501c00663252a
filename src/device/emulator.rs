//! The emulator as a device: tensors in its memory, launches under one schedule for the process.

use std::sync::Mutex;

use crate::Result;
use crate::kernels::Launch;
use crate::kernels::emulator::{self, Memory, Schedule};

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

pub(super) fn allocate(bytes: usize) -> Result<Memory<u8>> {
    Memory::uninitialised(bytes)
}

pub(super) fn launch(launch: &Launch) -> Result<()> {
    let schedule = emulator_schedule()?;
    // SAFETY: planners size their launches to the buffers they are given (`Device::launch`).
    unsafe { emulator::run(launch, schedule) }
}
