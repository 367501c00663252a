//! Elementwise sum of two tensors of one shape: the residual connection.

use super::fallback::{self, kernel_device};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, arity, operands, result_of};
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result, cpu, kernels, with_real};

/// y = a + b.
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [a, b] = arity(self.name(), inputs)?;
        if a != b {
            return Err(Error::shape(
                self.name(),
                format!("shapes differ: {a} and {b}"),
            ));
        }
        Ok(a.clone())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let [a, b] = operands(self.name(), inputs)?;
        let mut y = result_of(self, inputs)?;
        if let Some(device) = kernel_device(inputs) {
            let (dtype, to) = (a.dtype(), y.address_mut()?);
            let plan = kernels::add::forward(dtype, false, y.len(), a.address(), b.address(), to);
            if let Err(why) = plan.and_then(|launch| device.launch(&launch)) {
                return fallback::forward(self, inputs, saved, why);
            }
        } else {
            with_real!(a.dtype(), self.name(), T => {
                cpu::add::forward::<T>(a.data()?, b.data()?, y.data_mut()?)
            });
        }
        Ok(y.into())
    }

    fn vjp(&self, _: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(wanted
            .iter()
            .map(|&w| w.then(|| cotangent.clone()))
            .collect())
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        Cost::new(inputs[0].len(), &[inputs[0], inputs[0], inputs[0]])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "add",
    summary: "elementwise sum, the residual connection",
    linear: true,
    cases: || {
        let shape = [2, 3, 4, 5];
        vec![Case::new(Add, [Input::normal(shape), Input::normal(shape)])]
    },
    fuzz: |draw| {
        let shape = draw.map(6);
        Case::new(Add, [Input::normal(shape), Input::normal(shape)])
    },
};
