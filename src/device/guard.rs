//! Guard zones: margins around new buffers that nobody may write.
//!
//! As long as a [`Guarded`] lives, every buffer made by its thread has a margin of known bytes before and
//! behind it (on the CPU; elsewhere only behind it), and is itself filled with NaN. Margins are looked at when a
//! buffer is dropped. Under a checked schedule the emulator watches every access itself, which says more,
//! and buffers have no such margins.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use super::Device;

/// Bytes of a margin: a multiple of every alignment, and wider than most mistakes.
pub(super) const MARGIN: usize = 256;

/// What a margin holds: no number that a kernel is likely to write.
pub(super) const CANARY: u8 = 0xA5;

thread_local! {
    static CURRENT: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Where damage is noted; shared by all buffers made under one [`Guarded`].
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Vec<String>>>);

impl Watch {
    pub fn current() -> Option<Watch> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Notes what is wrong with the margins of a buffer of `bytes` bytes.
    pub fn inspect(&self, device: Device, bytes: usize, before: &[u8], behind: &[u8]) {
        let wrong = |byte: &u8| *byte != CANARY;
        let place = match before.iter().rposition(wrong) {
            Some(at) => Some(("before", before.len() - 1 - at)),
            None => behind.iter().position(wrong).map(|at| ("behind", at)),
        };
        if let Some((side, at)) = place {
            let what =
                format!("a byte {at} bytes {side} a buffer of {bytes} on {device} was written");
            self.0.lock().unwrap_or_else(|e| e.into_inner()).push(what);
        }
    }
}

/// Margins around the buffers that this thread makes, as long as this lives.
///
/// ```
/// # fn main() -> whatwhere::Result<()> {
/// use whatwhere::device::{Device, Guarded};
/// use whatwhere::tensor::{DType, Tensor};
/// let guarded = Guarded::new();
/// let mut x = Tensor::empty([3], DType::F32, Device::Cpu)?;
/// let end = (x.address_mut()?.0 + 12) as *mut f32;
/// // SAFETY: the margin is there.
/// unsafe { end.write(1.0) };
/// drop(x);
/// assert!(guarded.damage()[0].contains("0 bytes behind a buffer of 12"));
/// # Ok(())
/// # }
/// ```
pub struct Guarded {
    watch: Watch,
    before: Option<Watch>,
    /// It belongs to its thread.
    here: PhantomData<*const ()>,
}

impl Guarded {
    /// Margins from now on.
    #[allow(clippy::new_without_default)] // a guard by default would be a surprise
    pub fn new() -> Self {
        let watch = Watch::default();
        Guarded {
            before: CURRENT.replace(Some(watch.clone())),
            watch,
            here: PhantomData,
        }
    }

    /// What was found in the margins of buffers that are no more, in words.
    pub fn damage(&self) -> Vec<String> {
        let found = self.watch.0.lock().unwrap_or_else(|e| e.into_inner());
        found.clone()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}
