//! What the host does with tensors of other devices: copies them, works on the copies, copies back.

use super::Tensor;
use crate::Result;
use crate::device::{Device, note_fallback};

impl Tensor {
    /// This tensor if the host can read it, else a copy on the CPU.
    pub fn on_host(&self) -> Result<Tensor> {
        match self.device() {
            Device::Cpu | Device::Emulator => Ok(self.clone()),
            Device::Cuda(_) => self.to_device(Device::Cpu),
        }
    }
}

/// Runs `update` on `changed` and `read` where they are, if that is the CPU; else on copies, which go
/// back into `changed`: for work on tensors in place that has no kernel. Says so once, as work of `op`.
pub(crate) fn update_on_host<const W: usize, const R: usize>(
    op: &'static str,
    changed: [&mut Tensor; W],
    read: [&Tensor; R],
    update: impl FnOnce([&mut Tensor; W], [&Tensor; R]) -> Result<()>,
) -> Result<()> {
    let mut devices = changed.iter().map(|t| t.device());
    let Some(device) = devices.find(|&device| device != Device::Cpu) else {
        return update(changed, read);
    };
    note_fallback(op, device, &"it has no kernel");
    let mut copies = Vec::with_capacity(W);
    for tensor in &changed {
        copies.push(tensor.to_device(Device::Cpu)?);
    }
    let mut copies =
        <[Tensor; W]>::try_from(copies).unwrap_or_else(|_| unreachable!("W copies of W tensors"));
    let mut inputs = Vec::with_capacity(R);
    for tensor in read {
        inputs.push(tensor.to_device(Device::Cpu)?);
    }
    let inputs: [&Tensor; R] = std::array::from_fn(|i| &inputs[i]);
    update(copies.each_mut(), inputs)?;
    for (tensor, copy) in changed.into_iter().zip(&copies) {
        tensor.copy_from(copy)?;
    }
    Ok(())
}
