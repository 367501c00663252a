//! New memory that is NaN as long as somebody looks for unwritten elements.

use std::sync::Mutex;

use crate::device::poison_new_buffers;

/// As long as one of these lives, every new buffer starts as NaN.
///
/// ```
/// # fn main() -> whatwhere::Result<()> {
/// use whatwhere::{check::Poisoned, device::Device, tensor::{DType, Tensor}};
/// let _poisoned = Poisoned::new();
/// let unwritten = Tensor::empty([3], DType::F32, Device::cpu())?;
/// assert!(unwritten.data::<f32>()?.iter().all(|v| v.is_nan()));
/// # Ok(())
/// # }
/// ```
pub struct Poisoned(());

static HOLDERS: Mutex<usize> = Mutex::new(0);

fn count(change: impl Fn(usize) -> usize) {
    let mut holders = HOLDERS.lock().unwrap_or_else(|e| e.into_inner());
    *holders = change(*holders);
    poison_new_buffers(*holders > 0);
}

impl Poisoned {
    /// Poison from now on.
    #[allow(clippy::new_without_default)] // a guard by default would be a surprise
    pub fn new() -> Self {
        count(|holders| holders + 1);
        Poisoned(())
    }
}

impl Drop for Poisoned {
    fn drop(&mut self) {
        count(|holders| holders - 1);
    }
}
