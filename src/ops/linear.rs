//! Fully connected layer.

use super::fallback::{self, kernel_device};
use super::product::{self, Epilogue};
use super::{
    Case, Cost, Declaration, Input, Operation, Output, Saved, arity, result_of, same_kind,
};
use crate::cpu::linear::{self as kernels, LinearShape};
use crate::kernels::linear::as_convolution;
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result, with_real};

const NAME: &str = "linear";

/// y = x · wᵀ (+ b): inputs x (N, I), w (O, I), and optionally a bias (O), as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear;

impl Linear {
    pub(super) fn extents(x: &Shape, w: &Shape) -> Result<LinearShape> {
        let ([rows, inputs], [outputs, expected]) = (x.matrix(NAME)?, w.matrix(NAME)?);
        if inputs != expected || rows * inputs * outputs == 0 {
            let what = format!("x of shape {x} does not fit weights of shape {w}");
            return Err(Error::shape(NAME, what));
        }
        Ok(LinearShape {
            rows,
            inputs,
            outputs,
        })
    }
}

impl Operation for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, w, bias) = match *inputs {
            [x, w] => (x, w, None),
            [x, w, bias] => (x, w, Some(bias)),
            _ => return arity::<_, 2>(NAME, inputs).map(|_| Shape::default()),
        };
        let g = Self::extents(x, w)?;
        match bias {
            Some(bias) if bias.dims() != [g.outputs] => {
                let what = format!("weights of shape {w} take no bias of shape {bias}");
                Err(Error::shape(NAME, what))
            }
            _ => Ok([g.rows, g.outputs].into()),
        }
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let mut y = result_of(self, inputs)?;
        let (x, w) = (inputs[0], inputs[1]);
        for other in &inputs[1..] {
            same_kind(NAME, x, other)?;
        }
        let g = Self::extents(x.shape(), w.shape())?;
        if kernel_device(inputs).is_some() {
            let with = Epilogue {
                bias: inputs.get(2).copied(),
                ..Epilogue::default()
            };
            if let Err(why) = product::forward(NAME, &as_convolution(g), [x, w], with, &mut y) {
                return fallback::forward(self, inputs, saved, why);
            }
            saved.keep([x, w]);
            return Ok(y.into());
        }
        with_real!(x.dtype(), NAME, T => {
            let bias = inputs.get(2).map(|b| b.data::<T>()).transpose()?;
            kernels::forward(g, x.data::<T>()?, w.data()?, bias, y.data_mut()?)
        });
        saved.keep([x, w]);
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, dy: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        if kernel_device(&[&dy]).is_some() {
            let [x, w] = saved.tensors();
            let g = as_convolution(Self::extents(x.shape(), w.shape())?);
            return match product::vjp(NAME, &g, [x, w], &dy, wanted) {
                Err(why) => fallback::vjp(self, saved, dy, wanted, why),
                done => done,
            };
        }
        let [x, w] = saved.take();
        let g = Self::extents(x.shape(), w.shape())?;
        let mut gradients: Vec<Option<Tensor>> = wanted.iter().map(|_| None).collect();
        with_real!(x.dtype(), NAME, T => {
            let dy = dy.data::<T>()?;
            if wanted[0] {
                let mut dx = x.empty_like()?;
                kernels::input_gradient(g, dy, w.data()?, dx.data_mut()?);
                gradients[0] = Some(dx);
            }
            if wanted[1] {
                let mut dw = w.empty_like()?;
                kernels::weight_gradient(g, x.data()?, dy, dw.data_mut()?);
                gradients[1] = Some(dw);
            }
            if let Some(true) = wanted.get(2) {
                let mut db = Tensor::empty([g.outputs], x.dtype(), x.device())?;
                kernels::column_sums(dy, db.data_mut()?);
                gradients[2] = Some(db);
            }
        });
        Ok(gradients)
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let output = self.output_shape(inputs).unwrap_or_default();
        let flops = 2 * output.len() * inputs[0].channels();
        Cost::new(flops, &[inputs[0], inputs[1], &output])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "fully connected layer, optional bias",
    linear: true,
    cases: || {
        let (x, w) = (|| Input::normal([5, 7]), || Input::normal([11, 7]));
        vec![
            Case::new(Linear, [x(), w(), Input::normal([11])]),
            Case::new(Linear, [x(), w()]),
            Case::new(
                Linear,
                [
                    Input::normal([1, 1]),
                    Input::normal([1, 1]),
                    Input::normal([1]),
                ],
            ),
            // Enough for the kernels with the largest tiles.
            Case::new(Linear, [[128, 64], [64, 64]].map(Input::normal)),
        ]
    },
    fuzz: |draw| {
        let [rows, inputs, outputs] = [9, 40, 20].map(|most| draw.between(1, most));
        let mut operands = vec![
            Input::normal([rows, inputs]),
            Input::normal([outputs, inputs]),
        ];
        operands.extend(draw.flag().then(|| Input::normal([outputs])));
        Case::new(Linear, operands)
    },
};
