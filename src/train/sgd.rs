//! Stochastic gradient descent with momentum.

use super::scaling::LossScale;
use crate::autograd::{Gradients, Var};
use crate::cpu;
use crate::device::Device;
use crate::kernels::sgd::{Arrays, Numbers, Table};
use crate::nn::{Slot, Store};
use crate::tensor::{DType, Tensor, update_on_host};
use crate::{Error, Result, with_real};

pub use crate::cpu::sgd::Step;

/// The optimizer's state: one velocity per parameter, and the learning rate where kernels read it.
#[derive(Debug)]
pub struct Sgd {
    velocities: Vec<(Slot, Tensor)>,
    rate: Tensor,
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
        Ok(Sgd {
            velocities,
            rate: Tensor::zeros([1], DType::F32, store.device())?,
        })
    }

    /// The velocities, in the order of the store's parameters.
    pub fn velocities(&self) -> &[(Slot, Tensor)] {
        &self.velocities
    }

    /// Replaces a velocity, on resume.
    pub fn set_velocity(&mut self, slot: Slot, value: Tensor) -> Result<()> {
        *velocity_of(&mut self.velocities, slot)? = value;
        Ok(())
    }

    /// Writes the learning rate to where kernels read it.
    pub fn set_rate(&mut self, lr: f64) -> Result<()> {
        let rate = Tensor::from_slice([1], &[lr as f32], Device::Cpu)?;
        self.rate.copy_from(&rate)
    }

    /// One step of all parameters that have a gradient, unless `scale` has found a reason against it.
    /// Gradients are those of the scaled loss. Consumes the leaves, so that nothing holds the
    /// parameters any more when they change.
    ///
    /// Kernels take the learning rate from [`Sgd::set_rate`]; on the CPU it is that of `step`.
    pub fn step(
        &mut self,
        step: Step,
        store: &mut Store,
        leaves: Vec<(Slot, Var)>,
        mut gradients: Gradients,
        scale: &mut LossScale,
    ) -> Result<()> {
        let mut found = Vec::new();
        for (slot, leaf) in leaves {
            found.extend(gradients.take(&leaf).map(|gradient| (slot, gradient)));
        }
        self.update(step, store, found, scale)
    }

    /// As [`Sgd::step`], with gradients that are no longer on a tape.
    pub fn update(
        &mut self,
        step: Step,
        store: &mut Store,
        gradients: Vec<(Slot, Tensor)>,
        scale: &mut LossScale,
    ) -> Result<()> {
        match store.device() == Device::Cpu || store.dtype() == DType::F64 {
            true => self.update_on_host(step, store, &gradients, scale),
            false => self.update_by_kernels(step, store, gradients, scale),
        }
    }

    fn update_on_host(
        &mut self,
        step: Step,
        store: &mut Store,
        gradients: &[(Slot, Tensor)],
        scale: &LossScale,
    ) -> Result<()> {
        if scale.found().to_vec::<i32>()? != [0] {
            return Ok(());
        }
        for (slot, gradient) in gradients {
            let velocity = velocity_of(&mut self.velocities, *slot)?;
            let (weight, _) = store.value_mut(*slot)?;
            update_on_host("sgd", [weight, velocity], [gradient], |[w, v], [g]| {
                with_real!(g.dtype(), "sgd", T => {
                    cpu::sgd::update::<T>(step, w.data_mut()?, v.data_mut()?, g.data()?)
                });
                Ok(())
            })?;
        }
        Ok(())
    }

    fn update_by_kernels(
        &mut self,
        step: Step,
        store: &mut Store,
        mut gradients: Vec<(Slot, Tensor)>,
        scale: &mut LossScale,
    ) -> Result<()> {
        let (device, dtype) = (store.device(), store.dtype());
        let mut tensors = Vec::with_capacity(gradients.len());
        for (slot, gradient) in &mut gradients {
            let velocity = velocity_of(&mut self.velocities, *slot)?;
            let (weight, copy) = store.value_mut(*slot)?;
            let like = copy.as_ref().map_or(DType::F32, |copy| copy.dtype());
            *gradient = gradient.cast(like)?;
            tensors.push(Arrays {
                elements: gradient.len(),
                weights: weight.address_mut()?,
                velocities: velocity.address_mut()?,
                gradient: gradient.address(),
                copy: copy
                    .map(Tensor::address_mut)
                    .transpose()?
                    .unwrap_or_default(),
            });
        }
        let tables = Table::of(dtype, &tensors)?;
        scale.see_gradients(&tables)?;
        let numbers = Numbers {
            rate: self.rate.address(),
            scale: scale.scale().address(),
            found: scale.found().address(),
        };
        let launches = tables.iter().map(|table| table.update(step, numbers));
        device.launch_all(&launches.collect::<Result<Vec<_>>>()?)
    }
}

fn velocity_of(velocities: &mut [(Slot, Tensor)], slot: Slot) -> Result<&mut Tensor> {
    let known = velocities.iter_mut().find(|(s, _)| *s == slot);
    let (_, velocity) = known
        .ok_or_else(|| Error::setting("velocity", slot.index(), "this entry is no parameter"))?;
    Ok(velocity)
}
