//! The keys of operations that draw random numbers.
//!
//! A training step that is captured into a graph is replayed with the arguments it was captured with. What
//! it draws must change from step to step all the same, so its kernels read the step's number from
//! memory, a [`Clock`], and make the key themselves; the host's key, of the moment the operation was
//! made, is for the CPU and for what has no kernel.

use crate::kernels::key::KeySource;
use crate::rng::{Key, Purpose};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// Where in a device's memory the number of the step lies: 64 bits, little-endian.
#[derive(Clone, Debug)]
pub struct Clock {
    memory: Tensor,
    offset: usize,
}

impl Clock {
    /// The eight bytes at `offset` of `memory`, bytes on a device with kernels.
    ///
    /// # Errors
    /// [`Error::Shape`] where they are not within, or not at a multiple of 8.
    pub fn new(memory: Tensor, offset: usize) -> Result<Self> {
        if memory.dtype() != DType::U8 || !offset.is_multiple_of(8) || offset + 8 > memory.len() {
            let kind = memory.dtype();
            let what = format!(
                "byte {offset} of {} of {kind} holds no number",
                memory.len()
            );
            return Err(Error::shape("clock", what));
        }
        Ok(Clock { memory, offset })
    }

    fn address(&self) -> crate::kernels::Address {
        crate::kernels::Address(self.memory.address().0 + self.offset as u64)
    }
}

/// The key of an operation that draws random numbers.
#[derive(Clone, Debug)]
pub struct RandomKey {
    now: Key,
    later: Option<Later>,
    lasting: bool,
}

/// What kernels make the key of.
#[derive(Clone, Debug)]
struct Later {
    seed: u64,
    purpose: Purpose,
    layer: u32,
    clock: Clock,
}

impl RandomKey {
    /// The key of `step`, as [`Key::new`] makes it; kernels make it of what `clock` says when they run, if
    /// there is one.
    pub fn new(seed: u64, purpose: Purpose, step: u64, layer: u32, clock: Option<&Clock>) -> Self {
        RandomKey {
            lasting: false,
            now: Key::new(seed, purpose, step, layer),
            later: clock.map(|clock| Later {
                seed,
                purpose,
                layer,
                clock: clock.clone(),
            }),
        }
    }

    /// A key that is the same in every step of a run.
    pub fn lasting(now: Key) -> Self {
        RandomKey {
            lasting: true,
            ..now.into()
        }
    }

    /// The key of the step it was made in.
    pub fn now(&self) -> Key {
        self.now
    }

    /// What a kernel is given.
    pub fn source(&self) -> KeySource {
        match &self.later {
            None => self.now.into(),
            Some(later) => {
                let step = later.clock.address();
                KeySource::at(later.seed, later.purpose, step, later.layer)
            }
        }
    }

    /// Whether it is the same in every step, so that what is drawn with it may be kept.
    pub fn is_lasting(&self) -> bool {
        self.lasting
    }
}

impl From<Key> for RandomKey {
    fn from(now: Key) -> Self {
        RandomKey {
            now,
            later: None,
            lasting: false,
        }
    }
}
