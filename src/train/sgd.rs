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

    /// One step of all parameters that have a gradient. Consumes the leaves, so that nothing holds
    /// the parameters any more when they change.
    pub fn step(
        &mut self,
        step: Step,
        store: &mut Store,
        leaves: Vec<(Slot, Var)>,
        mut gradients: Gradients,
    ) -> Result<()> {
        for (slot, leaf) in leaves {
            let gradient = gradients.take(&leaf);
            drop(leaf);
            let Some(gradient) = gradient else { continue };
            let known = self.velocities.iter_mut().find(|(s, _)| *s == slot);
            let Some((_, velocity)) = known else { continue };
            let weight = store.value_mut(slot)?;
            if step_by_kernel(step, weight, velocity, &gradient)? {
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

/// The same by a kernel; false on the CPU, and where there is none.
fn step_by_kernel(
    step: Step,
    weight: &mut Tensor,
    velocity: &mut Tensor,
    gradient: &Tensor,
) -> Result<bool> {
    let device = weight.device();
    let of_one_kind = [velocity.dtype(), gradient.dtype()] == [weight.dtype(); 2]
        && [velocity.device(), gradient.device()] == [device; 2];
    if device == Device::Cpu || !of_one_kind || weight.dtype() != DType::F32 {
        return Ok(false);
    }
    let arrays = Arrays {
        weights: weight.address_mut()?,
        velocities: velocity.address_mut()?,
        gradient: gradient.address(),
        ..Arrays::default()
    };
    let plan = kernels::sgd::update(gradient.dtype(), gradient.len(), step, 1.0, arrays);
    plan.and_then(|launch| device.launch(&launch))
        .map(|()| true)
}
