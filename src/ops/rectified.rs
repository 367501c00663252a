//! A convolution or a fully connected layer, and the ReLU behind it, in one pass.

use super::conv2d::Conv2d;
use super::fallback::{self, kernel_device};
use super::linear::Linear;
use super::product::{self, Epilogue};
use super::relu;
use super::{
    Case, Cost, Declaration, Input, Operation, Output, Saved, result_of, same_kind, shapes,
};
use crate::cpu::conv2d::ConvShape;
use crate::kernels::linear::as_convolution;
use crate::tensor::{Shape, Tensor};
use crate::{Result, cpu, with_real};

const NAME: &str = "rectified";

/// max(x · w (+ b), 0): the inputs are those of the operation inside. The gradient at 0 is 0, as in
/// [`super::relu::Relu`]; y alone says where it was stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rectified {
    /// Of a convolution.
    Conv2d(Conv2d),
    /// Of a fully connected layer.
    Linear(Linear),
}

impl Rectified {
    fn inside(&self) -> &dyn Operation {
        match self {
            Rectified::Conv2d(conv) => conv,
            Rectified::Linear(linear) => linear,
        }
    }

    fn extents(&self, x: &Shape, w: &Shape) -> Result<ConvShape> {
        match self {
            Rectified::Conv2d(conv) => conv.extents(x, w),
            Rectified::Linear(_) => Ok(as_convolution(Linear::extents(x, w)?)),
        }
    }
}

impl Operation for Rectified {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        self.inside().output_shape(inputs)
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        self.output_shape(&shapes(inputs))?;
        let (x, w) = (inputs[0], inputs[1]);
        for other in &inputs[1..] {
            same_kind(NAME, x, other)?;
        }
        let y = if kernel_device(inputs).is_some() {
            let with = Epilogue {
                bias: inputs.get(2).copied(),
                relu: true,
                ..Epilogue::default()
            };
            let mut y = result_of(self, inputs)?;
            let g = self.extents(x.shape(), w.shape())?;
            if let Err(why) = product::forward(NAME, &g, [x, w], with, &mut y) {
                return fallback::forward(self, inputs, saved, why);
            }
            y
        } else {
            let mut y = self.inside().forward(inputs, &mut Saved::default())?.value;
            with_real!(y.dtype(), NAME, T => cpu::relu::forward_in_place::<T>(y.data_mut()?));
            y
        };
        saved.keep([x, w, &y]);
        Ok(y.into())
    }

    fn vjp(
        &self,
        mut saved: Saved,
        cotangent: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let mut dy = cotangent.into_unique()?;
        match relu::gate(&saved.tensors[2], &mut dy) {
            Err(why) if kernel_device(&[&dy]).is_some() => {
                return fallback::vjp(self, saved, dy, wanted, why);
            }
            done => done?,
        }
        saved.tensors.truncate(2);
        self.inside().vjp(saved, dy, wanted)
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        self.inside().cost(inputs)
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "convolution or fully connected layer with the ReLU behind it, optional bias",
    linear: false,
    cases: || {
        let conv = |op: Conv2d| Rectified::Conv2d(op);
        let (x, w) = (
            || Input::normal([2, 3, 2, 3]),
            || Input::normal([4, 3, 3, 3]),
        );
        let padded = Conv2d::new().padding(1);
        vec![
            Case::new(conv(padded), [x(), w(), Input::normal([4])]),
            Case::new(conv(padded.stride(2)), [x(), w()]),
            Case::new(
                Rectified::Linear(Linear),
                [
                    Input::normal([3, 7]),
                    Input::normal([5, 7]),
                    Input::normal([5]),
                ],
            ),
        ]
    },
    fuzz: |draw| {
        if draw.flag() {
            let [rows, inputs, outputs] = [6, 20, 9].map(|most| draw.between(1, most));
            let mut operands = vec![
                Input::normal([rows, inputs]),
                Input::normal([outputs, inputs]),
            ];
            operands.extend(draw.flag().then(|| Input::normal([outputs])));
            return Case::new(Rectified::Linear(Linear), operands);
        }
        let side = draw.pick(&[1, 3]);
        let op = Conv2d::new().padding(side / 2).stride(draw.between(1, 2));
        let x = [
            draw.between(1, 3),
            draw.between(1, 4),
            draw.between(1, 4),
            draw.between(1, 9),
        ];
        let k = draw.channels();
        let mut inputs = vec![Input::normal(x), Input::normal([k, side, side, x[3]])];
        inputs.extend(draw.flag().then(|| Input::normal([k])));
        Case::new(Rectified::Conv2d(op), inputs)
    },
};
