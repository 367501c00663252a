//! Stochastic gradient descent with momentum.

use crate::autograd::{Gradients, Var};
use crate::cpu;
use crate::device::Device;
use crate::kernels::{self, sgd::Arrays};
use crate::nn::{Slot, Store};
use crate::tensor::{DType, Tensor, update_on_host};
use crate::{Error, Result, with_real};

pub use crate::cpu::sgd::Step;

/// The optimizer's state: one velocity per parameter.
#[derive(Debug, Default)]
pub struct Sgd {
    velocities: Vec<(Slot, Tensor)>,
}

impl Sgd {
    /// Velocities of zero for every parameter of `store`.
    pub fn new(store: &Store) -> Result<Self> {
        let slots: Vec<Slot> = store.parameters().map(|(slot, _)| slot).collect();
        let zero = |slot: Slot| {
            let value = store.value(slot)?;
            Ok((
                slot,
                Tensor::zeros(value.shape(), value.dtype(), value.device())?,
            ))
        };
        let velocities = slots.into_iter().map(zero).collect::<Result<_>>()?;
        Ok(Sgd { velocities })
    }

    /// The velocities, in the order of the store's parameters.
    pub fn velocities(&self) -> &[(Slot, Tensor)] {
        &self.velocities
    }

    /// Replaces a velocity, on resume.
    pub fn set_velocity(&mut self, slot: Slot, value: Tensor) -> Result<()> {
        let known = self.velocities.iter_mut().find(|(s, _)| *s == slot);
        let (_, velocity) = known.ok_or_else(|| {
            Error::setting("velocity", slot.index(), "this entry is no parameter")
        })?;
        *velocity = value;
        Ok(())
    }

    /// One step of all parameters that have a gradient, or none where `loss` is not finite. Consumes
    /// the leaves, so that nothing holds the parameters any more when they change.
    pub fn step(
        &mut self,
        step: Step,
        store: &mut Store,
        leaves: Vec<(Slot, Var)>,
        mut gradients: Gradients,
        loss: &Tensor,
    ) -> Result<()> {
        let found = Found::of(loss)?;
        for (slot, leaf) in leaves {
            let gradient = gradients.take(&leaf);
            drop(leaf);
            let Some(gradient) = gradient else { continue };
            let known = self.velocities.iter_mut().find(|(s, _)| *s == slot);
            let Some((_, velocity)) = known else { continue };
            let weight = store.value_mut(slot)?;
            if step_by_kernel(step, weight, velocity, &gradient, &found)? {
                continue;
            }
            if found.on_host()? {
                continue;
            }
            update_on_host("sgd", [weight, velocity], [&gradient], |[w, v], [g]| {
                with_real!(g.dtype(), "sgd", T => {
                    cpu::sgd::update::<T>(step, w.data_mut()?, v.data_mut()?, g.data()?)
                });
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Whether the loss is infinite or NaN.
enum Found {
    /// Known on the host.
    Here(bool),
    /// A 32-bit integer on the device, not 0 if it is: what the kernels read.
    There(Tensor),
}

impl Found {
    fn of(loss: &Tensor) -> Result<Self> {
        let device = loss.device();
        if device != Device::Cpu {
            let mut found = Tensor::zeros([1], DType::I32, device)?;
            let to = found.address_mut()?;
            if let Ok(launch) = kernels::sgd::check(loss.dtype(), 1, loss.address(), to) {
                device.launch(&launch)?;
                return Ok(Found::There(found));
            }
        }
        Ok(Found::Here(!loss.item()?.is_finite()))
    }

    fn on_host(&self) -> Result<bool> {
        match self {
            Found::Here(found) => Ok(*found),
            Found::There(found) => Ok(found.to_vec::<i32>()? != [0]),
        }
    }
}

/// The same by a kernel; false on the CPU, and where there is none.
fn step_by_kernel(
    step: Step,
    weight: &mut Tensor,
    velocity: &mut Tensor,
    gradient: &Tensor,
    found: &Found,
) -> Result<bool> {
    let device = weight.device();
    let of_one_kind = [velocity.dtype(), gradient.dtype()] == [weight.dtype(); 2]
        && [velocity.device(), gradient.device()] == [device; 2];
    if device == Device::Cpu || !of_one_kind || weight.dtype() != DType::F32 {
        return Ok(false);
    }
    let Found::There(found) = found else {
        return Ok(false);
    };
    let arrays = Arrays {
        weights: weight.address_mut()?,
        velocities: velocity.address_mut()?,
        gradient: gradient.address(),
        found: found.address(),
        ..Arrays::default()
    };
    let plan = kernels::sgd::update(gradient.dtype(), gradient.len(), step, 1.0, arrays);
    plan.and_then(|launch| device.launch(&launch))
        .map(|()| true)
}
