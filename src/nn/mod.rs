//! Layers: parameters plus a call to an operation. A network is a list of them.

mod fuse;
mod layer;
mod store;
mod words;

pub use fuse::{Step, forward, fusions, steps};
pub use layer::{
    BatchNorm, Conv2d, Dropout, Layer, Linear, Pool, PoolKind, Residual, Scope, Shuffle,
};
pub use store::{Entry, Init, Slot, Store};

use crate::Result;
use crate::autograd::{Tape, Var};
use crate::ops::{Clock, RandomKey};
use crate::rng::Purpose;

/// Whether a forward pass trains or tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, dropout, the training shuffle.
    Train,
    /// Running statistics, no dropout, the test shuffle.
    Test,
}

/// Which random numbers a forward pass draws: those of this seed at this moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The run's seed.
    pub seed: u64,
    /// The training step, or a number that names (epoch, pass, batch) of a test.
    pub at: u64,
    /// Where kernels read `at`, in a step that is captured; they are given it otherwise.
    pub clock: Option<Clock>,
}

impl Moment {
    /// The moment `at` of the run with this seed.
    pub fn new(seed: u64, at: u64) -> Self {
        let clock = None;
        Moment { seed, at, clock }
    }
}

/// One forward pass: the tape it is recorded on, the tensors it reads, and its mode.
pub struct Pass<'a> {
    /// Where operations are recorded.
    pub tape: &'a mut Tape,
    /// The network's tensors; running statistics are updated in training.
    pub store: &'a mut Store,
    /// Training or test.
    pub mode: Mode,
    /// Which random numbers.
    pub moment: Moment,
    /// Whether neighbouring layers run as one operation where they can; true unless changed.
    pub fused: bool,
    leaves: Vec<(Slot, Var)>,
}

impl<'a> Pass<'a> {
    /// A pass that has met no parameter yet.
    pub fn new(tape: &'a mut Tape, store: &'a mut Store, mode: Mode, moment: Moment) -> Self {
        Pass {
            tape,
            store,
            mode,
            moment,
            fused: true,
            leaves: Vec::new(),
        }
    }

    /// A parameter as a leaf of the tape.
    pub fn parameter(&mut self, slot: Slot) -> Result<Var> {
        if let Some((_, var)) = self.leaves.iter().find(|(known, _)| *known == slot) {
            return Ok(var.clone());
        }
        let var = self.tape.leaf(self.store.operand(slot)?.clone());
        self.leaves.push((slot, var.clone()));
        Ok(var)
    }

    /// A buffer as a constant.
    pub fn constant(&self, slot: Slot) -> Result<Var> {
        Ok(Var::constant(self.store.value(slot)?.clone()))
    }

    /// The key of layer `layer`'s random numbers in this pass.
    pub fn key(&self, train: Purpose, test: Purpose, layer: u32) -> RandomKey {
        let purpose = if self.mode == Mode::Train {
            train
        } else {
            test
        };
        let Moment { seed, at, clock } = &self.moment;
        RandomKey::new(*seed, purpose, *at, layer, clock.as_ref())
    }

    /// The parameters the pass met, as leaves of its tape.
    pub fn into_leaves(self) -> Vec<(Slot, Var)> {
        self.leaves
    }
}
