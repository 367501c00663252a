//! Small tensors of the host that a device keeps: tables that a step needs each time.
//!
//! What a step copies from the host it cannot do in a captured graph, and need not do twice.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{DType, Tensor};
use crate::Result;
use crate::device::Device;

/// Constants kept at most, over all devices; beyond, they are all forgotten and come anew.
const KEPT: usize = 1024;

/// A constant: where it is, and what.
type Name = (Device, DType, Vec<usize>, Vec<u8>);

static CONSTANTS: Mutex<BTreeMap<Name, Tensor>> = Mutex::new(BTreeMap::new());

impl Tensor {
    /// This tensor of the CPU on `device`, to be read only: the copy that is there already if there is
    /// one of the same elements.
    pub(crate) fn constant_on(&self, device: Device) -> Result<Tensor> {
        if device == Device::Cpu {
            return Ok(self.clone());
        }
        let (dims, bytes) = (self.dims().to_vec(), self.as_bytes()?.to_vec());
        let name = (device, self.dtype(), dims, bytes);
        let mut kept = CONSTANTS.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(constant) = kept.get(&name) {
            return Ok(constant.clone());
        }
        let constant = self.to_device(device)?;
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(name, constant.clone());
        Ok(constant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::emulator;

    #[test]
    fn equal_constants_are_one_and_different_ones_are_not() {
        if !emulator::is_available() {
            return;
        }
        let of = |values: &[i32]| {
            let here = Tensor::from_slice([values.len()], values, Device::Cpu).unwrap();
            here.constant_on(Device::Emulator).unwrap()
        };
        let (a, b, c) = (of(&[1, 2, 77]), of(&[1, 2, 77]), of(&[1, 3, 77]));
        assert!(a.shares_buffer_with(&b) && !a.shares_buffer_with(&c));
        assert_eq!(c.to_vec::<i32>().unwrap(), [1, 3, 77]);
        // Nobody overwrites what others read.
        let mut mine = a;
        assert!(mine.address_mut().is_err());
    }
}
