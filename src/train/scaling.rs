//! Loss scaling, and what says that a step is to be left out.

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::kernels::sgd::{self, Table};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// How far dynamic loss scaling is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// What the loss is multiplied by before the backward pass.
    pub scale: f32,
    /// Steps taken since it last changed.
    pub good_steps: u32,
}

impl Scaling {
    /// Where PyTorch's `GradScaler` starts, too.
    pub const START: Scaling = Scaling {
        scale: 65536.0,
        good_steps: 0,
    };
}

/// The loss scale of a run, 1 where it has none, and the flag that stops a step, in the memory of the
/// network's device: kernels read and write them, and a step needs no word from the host.
///
/// A step is left out when its loss is not finite, and under dynamic scaling when a gradient is not
/// finite. Then the scale is halved too; it is doubled after 2000 steps in a row that were taken.
#[derive(Debug)]
pub struct LossScale {
    /// f32, rank 0, as the loss: it is the loss's cotangent.
    scale: Tensor,
    good: Tensor,
    found: Tensor,
    dynamic: bool,
}

impl LossScale {
    /// A scale of 1 that stays, or one that begins as `dynamic`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a scale that is no power of two, and for one on the CPU.
    pub fn new(device: Device, dynamic: Option<Scaling>) -> Result<Self> {
        let start = dynamic.unwrap_or(Scaling {
            scale: 1.0,
            ..Scaling::START
        });
        let fraction = start.scale.to_bits() << 9;
        if !start.scale.is_normal() || start.scale < 0.0 || fraction != 0 {
            let why = "expected a power of two";
            return Err(Error::setting("loss scale", start.scale, why));
        }
        if device == Device::Cpu && dynamic.is_some() {
            let why = "losses are scaled where kernels run: use the emulator or a GPU";
            return Err(Error::setting("loss scale", start.scale, why));
        }
        Ok(LossScale {
            scale: Tensor::scalar(start.scale, device)?,
            good: Tensor::from_slice([1], &[start.good_steps as i32], device)?,
            found: Tensor::zeros([1], DType::I32, device)?,
            dynamic: dynamic.is_some(),
        })
    }

    /// The scaled loss's derivative by the loss.
    pub fn cotangent(&self, dtype: DType) -> Result<Tensor> {
        self.scale.cast(dtype)
    }

    /// The scale itself, for kernels.
    pub fn scale(&self) -> &Tensor {
        &self.scale
    }

    /// A 32-bit integer: not 0 where the step is to be left out.
    pub fn found(&self) -> &Tensor {
        &self.found
    }

    /// The first word on a step: whether its loss is finite.
    pub fn see_loss(&mut self, loss: &Tensor) -> Result<()> {
        let device = self.found.device();
        if device != Device::Cpu && loss.dtype() == DType::F32 {
            let launch = sgd::loss(loss.address(), self.found.address_mut()?);
            return device.launch(&launch);
        }
        let bad = !loss.item()?.is_finite();
        let bad = Tensor::from_slice([1], &[bad as i32], Device::Cpu)?;
        self.found.copy_from(&bad)
    }

    /// Whether the gradients of these tables are finite, if the scale depends on it.
    pub fn see_gradients(&mut self, tables: &[Table]) -> Result<()> {
        if !self.dynamic {
            return Ok(());
        }
        let found = self.found.address_mut()?;
        let launches: Result<Vec<_>> = tables.iter().map(|table| table.check(found)).collect();
        self.found.device().launch_all(&launches?)
    }

    /// The last word on a step: moves the scale on.
    pub fn move_on(&mut self) -> Result<()> {
        if !self.dynamic {
            return Ok(());
        }
        let (scale, good) = (self.scale.address_mut()?, self.good.address_mut()?);
        let launch = sgd::rescale(self.found.address(), scale, good);
        self.found.device().launch(&launch)
    }

    /// How far dynamic scaling is; `None` without it. Waits for the device.
    pub fn state(&self) -> Result<Option<Scaling>> {
        if !self.dynamic {
            return Ok(None);
        }
        Ok(Some(Scaling {
            scale: self.scale.item()? as f32,
            good_steps: self.good.to_vec::<i32>()?[0] as u32,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_powers_of_two_where_kernels_run() {
        let new = |scale| {
            let good_steps = 0;
            LossScale::new(Device::Cpu, Some(Scaling { scale, good_steps }))
        };
        for scale in [0.0, -2.0, 3.0, 1e-40, f32::NAN, f32::INFINITY] {
            let said = new(scale).unwrap_err().to_string();
            assert!(said.contains("power of two"), "{said}");
        }
        let said = new(65536.0).unwrap_err().to_string();
        assert!(said.contains("the emulator or a GPU"), "{said}");
        let fixed = LossScale::new(Device::Cpu, None).unwrap();
        assert_eq!(fixed.state().unwrap(), None);
        assert_eq!(fixed.cotangent(DType::F64).unwrap().item().unwrap(), 1.0);
    }
}
