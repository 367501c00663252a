//! Rectifier: y = max(x, 0).

use super::fallback::{self, kernel_device};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, arity, operands, result_of};
use crate::tensor::{Shape, Tensor};
use crate::{Result, cpu, kernels, with_real};

/// y = max(x, 0), any shape. The derivative at 0 is taken as 0.
#[derive(Clone, Copy, Debug)]
pub struct Relu;

/// The vjp in place: `dy` becomes 0 where the rectified `y` is.
///
/// # Errors
/// On a device with kernels, why they cannot do it.
pub(super) fn gate(y: &Tensor, dy: &mut Tensor) -> Result<()> {
    if let Some(device) = kernel_device(&[dy]) {
        let at = dy.address_mut()?;
        let plan = kernels::relu::backward(dy.dtype(), dy.len(), y.address(), at, at)?;
        return device.launch(&plan);
    }
    with_real!(y.dtype(), "relu", T => {
        cpu::relu::backward_in_place::<T>(y.data()?, dy.data_mut()?)
    });
    Ok(())
}

impl Operation for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x] = arity(self.name(), inputs)?;
        Ok(x.clone())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let [x] = operands(self.name(), inputs)?;
        let mut y = result_of(self, inputs)?;
        if let Some(device) = kernel_device(inputs) {
            let to = y.address_mut()?;
            let plan = kernels::relu::forward(x.dtype(), x.len(), x.address(), to);
            if let Err(why) = plan.and_then(|launch| device.launch(&launch)) {
                return fallback::forward(self, inputs, saved, why);
            }
        } else {
            with_real!(x.dtype(), self.name(), T => {
                cpu::relu::forward::<T>(x.data()?, y.data_mut()?)
            });
        }
        saved.keep([&y]);
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = cotangent.into_unique()?;
        match gate(&saved.tensors[0], &mut dx) {
            Err(why) if kernel_device(&[&dx]).is_some() => {
                fallback::vjp(self, saved, dx, wanted, why)
            }
            done => done.map(|()| vec![Some(dx)]),
        }
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        Cost::new(inputs[0].len(), &[inputs[0], inputs[0]])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "relu",
    summary: "rectifier, max(x, 0)",
    linear: false,
    cases: || {
        vec![
            Case::new(Relu, [Input::spread([2, 3, 5, 7])]),
            Case::new(Relu, [Input::spread([1])]),
        ]
    },
    fuzz: |draw| Case::new(Relu, [Input::spread(draw.map(6))]),
};
