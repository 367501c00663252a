//! Keys of random numbers, as kernels take them.
//!
//! A launch that is captured into a graph keeps its arguments, and a key that was one of them would stay
//! the same for ever. So kernels that draw take a [`KeySource`]: the key itself, or where in their memory
//! the number of the step lies, of which they make the key themselves.

use super::Address;
use super::params::KeyParams;
use crate::rng::{Key, Purpose};

/// Where a kernel has its key from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySource {
    params: KeyParams,
    step: Address,
}

impl KeySource {
    /// The key that [`Key::new`] makes of `seed`, `purpose`, `layer` and the step at `step`: two words of
    /// 32 bits in the device's memory, low one first.
    pub fn at(seed: u64, purpose: Purpose, step: Address, layer: u32) -> Self {
        KeySource {
            params: KeyParams {
                words: [seed as u32, (seed >> 32) as u32],
                purpose: purpose as u32,
                layer,
            },
            step,
        }
    }

    pub(super) fn params(self) -> KeyParams {
        self.params
    }

    /// Where the step is; null where the key is whole.
    pub(super) fn step(self) -> Address {
        self.step
    }
}

impl From<Key> for KeySource {
    fn from(key: Key) -> Self {
        KeySource {
            params: KeyParams {
                words: key.words(),
                purpose: 0,
                layer: 0,
            },
            step: Address(0),
        }
    }
}
