//! Out of half precision: y = x in f32.

use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, arity, shapes};
use crate::Result;
use crate::tensor::{DType, Shape, Tensor};

/// y = x as f32 where x is f16 or bf16, exactly; other numbers stay what they are. The cotangent is
/// rounded to the type of x.
///
/// Networks that compute in 16 bits end in it, so that a loss and its derivative are f32: a scaled loss
/// would overflow in f16.
#[derive(Clone, Copy, Debug)]
pub struct Widen;

impl Operation for Widen {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x] = arity(self.name(), inputs)?;
        Ok(x.clone())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        self.output_shape(&shapes(inputs))?;
        let x = inputs[0];
        saved.dtypes = vec![x.dtype()];
        let y = match x.dtype() {
            DType::F16 | DType::BF16 => x.cast(DType::F32)?,
            _ => x.clone(),
        };
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(cotangent.cast(saved.dtypes[0])?)])
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        Cost::new(0, &[inputs[0], inputs[0]])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "cast",
    summary: "f16 and bf16 as f32, exactly; the cotangent rounded back",
    linear: true,
    cases: || {
        vec![
            Case::new(Widen, [Input::normal([3, 5, 7, 11])]),
            Case::new(Widen, [Input::normal([1])]),
        ]
    },
    fuzz: |draw| Case::new(Widen, [Input::normal(draw.map(6))]),
};
