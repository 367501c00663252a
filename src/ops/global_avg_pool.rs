//! Global average pooling (GAP): the mean of a map over its pixels.

use super::fallback::{self, kernel_device};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, arity, operands, result_of};
use crate::kernels;
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result, cpu, with_real};

/// y[n, c] = 1/(H·W) Σ_{h, w} x[n, h, w, c], from [N, H, W, C] to [N, C]: `AdaptiveAvgPool2d(1)` and
/// `flatten` of PyTorch.
///
/// # Errors
/// [`Error::Shape`] for an input that is no NHWC map or has no pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAvgPool;

impl Operation for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x] = arity(self.name(), inputs)?;
        let [images, height, width, channels] = x.nhwc(self.name())?;
        if height * width == 0 {
            return Err(Error::shape(
                self.name(),
                format!("a mean over no pixel: the map has shape {x}"),
            ));
        }
        Ok([images, channels].into())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let [x] = operands(self.name(), inputs)?;
        let mut y = result_of(self, inputs)?;
        let map = x.shape().nhwc(self.name())?;
        if let Some(device) = kernel_device(inputs) {
            let (from, to) = (x.address(), y.address_mut()?);
            let plan = kernels::global_avg_pool::forward(x.dtype(), map.into(), from, to);
            if let Err(why) = plan.and_then(|launch| device.launch(&launch)) {
                return fallback::forward(self, inputs, saved, why);
            }
        } else {
            let [_, height, width, channels] = map;
            with_real!(x.dtype(), self.name(), T => cpu::global_avg_pool::forward::<T>(
                x.data()?, [height, width], channels, y.data_mut()?
            ));
        }
        saved.keep_shapes(&[x.shape()]);
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::empty(&saved.shapes()[0], cotangent.dtype(), cotangent.device())?;
        let map = dx.shape().nhwc(self.name())?;
        if let Some(device) = kernel_device(&[&cotangent]) {
            let (from, to) = (cotangent.address(), dx.address_mut()?);
            let plan = kernels::global_avg_pool::backward(dx.dtype(), map.into(), from, to);
            return match plan.and_then(|launch| device.launch(&launch)) {
                Ok(()) => Ok(vec![Some(dx)]),
                Err(why) => fallback::vjp(self, saved, cotangent, wanted, why),
            };
        }
        let [_, height, width, channels] = map;
        with_real!(dx.dtype(), self.name(), T => {
            cpu::global_avg_pool::backward::<T>(
                cotangent.data()?,
                [height, width],
                channels,
                dx.data_mut()?,
            )
        });
        Ok(vec![Some(dx)])
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let pooled = [inputs[0].dims()[0], inputs[0].channels()];
        Cost::new(inputs[0].len(), &[inputs[0], &pooled.into()])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "global_avg_pool",
    summary: "mean of an NHWC map over its pixels (GAP)",
    linear: true,
    cases: || {
        vec![
            Case::new(GlobalAvgPool, [Input::normal([3, 4, 5, 7])]),
            Case::new(GlobalAvgPool, [Input::normal([2, 1, 3, 259])]),
        ]
    },
    fuzz: |draw| Case::new(GlobalAvgPool, [Input::normal(draw.map(9))]),
};
