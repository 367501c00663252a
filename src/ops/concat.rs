//! Concatenation along the innermost axis: the channels of NHWC maps.

use super::fallback::{self, kernel_device};
use super::{
    Case, Cost, Declaration, Input, Operation, Output, Saved, result_of, same_kind, shapes,
};
use crate::device::Device;
use crate::kernels::concat::{Columns, copy};
use crate::tensor::{Element, Shape, Tensor};
use crate::{Error, Result, cpu, with_real};

/// y[.., :] = x₁[.., :], x₂[.., :], … for one or more tensors whose leading dimensions agree:
/// `torch.cat` over the channels.
///
/// # Errors
/// [`Error::Shape`] without an input, for scalars, and when leading dimensions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat;

impl Concat {
    fn join<T: Element>(inputs: &[&Tensor], y: &mut Tensor) -> Result<()> {
        let parts: Result<Vec<(&[T], usize)>> = inputs
            .iter()
            .map(|x| Ok((x.data()?, x.shape().channels())))
            .collect();
        cpu::concat::join(&parts?, y.data_mut()?);
        Ok(())
    }

    fn join_by_kernels(device: Device, inputs: &[&Tensor], y: &mut Tensor) -> Result<()> {
        let (mut start, mut launches) = (0, Vec::new());
        let mut to = Columns::all(y.address_mut()?, y.shape().channels());
        for x in inputs.iter().filter(|x| !x.is_empty()) {
            let from = Columns::all(x.address(), x.shape().channels());
            (to.start, to.length) = (start, from.length);
            let rows = x.len() / from.length;
            launches.push(copy(y.dtype(), rows, from, to)?);
            start += from.length;
        }
        device.launch_all(&launches)
    }

    fn split_by_kernels(
        device: Device,
        dy: &Tensor,
        parts: &mut [Option<Tensor>],
        shapes: &[Shape],
    ) -> Result<()> {
        let (mut start, mut launches) = (0, Vec::new());
        let mut from = Columns::all(dy.address(), dy.shape().channels());
        for (part, shape) in parts.iter_mut().zip(shapes) {
            (from.start, from.length) = (start, shape.channels());
            start += from.length;
            if let Some(dx) = part.as_mut().filter(|dx| !dx.is_empty()) {
                let to = Columns::all(dx.address_mut()?, from.length);
                launches.push(copy(dy.dtype(), shape.len() / from.length, from, to)?);
            }
        }
        device.launch_all(&launches)
    }
}

impl Operation for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let leading = |shape: &Shape| shape.dims().split_last().map(|(_, rest)| rest.to_vec());
        let Some(mut dims) = inputs.first().and_then(|first| leading(first)) else {
            let what = "expected one or more inputs with channels, found none";
            return Err(Error::shape(self.name(), what));
        };
        if let Some(other) = inputs.iter().find(|x| leading(x).as_ref() != Some(&dims)) {
            let what = format!("leading dimensions differ: {} and {other}", inputs[0]);
            return Err(Error::shape(self.name(), what));
        }
        dims.push(inputs.iter().map(|x| x.channels()).sum());
        Ok(dims.into())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let mut y = result_of(self, inputs)?;
        for other in inputs {
            same_kind(self.name(), inputs[0], other)?;
        }
        if let Some(device) = kernel_device(inputs) {
            if let Err(why) = Self::join_by_kernels(device, inputs, &mut y) {
                return fallback::forward(self, inputs, saved, why);
            }
        } else {
            with_real!(y.dtype(), self.name(), T => Concat::join::<T>(inputs, &mut y)?);
        }
        saved.keep_shapes(&shapes(inputs));
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut parts = Vec::new();
        for (shape, &wanted) in saved.shapes().iter().zip(wanted) {
            let part = || Tensor::empty(shape, cotangent.dtype(), cotangent.device());
            parts.push(wanted.then(part).transpose()?);
        }
        if let Some(device) = kernel_device(&[&cotangent]) {
            let done = Self::split_by_kernels(device, &cotangent, &mut parts, saved.shapes());
            return match done {
                Ok(()) => Ok(parts),
                Err(why) => fallback::vjp(self, saved, cotangent, wanted, why),
            };
        }
        let (width, mut start) = (cotangent.shape().channels(), 0);
        for (shape, part) in saved.shapes().iter().zip(&mut parts) {
            let length = shape.channels();
            if let Some(dx) = part {
                with_real!(dx.dtype(), self.name(), T => {
                    let dy = cotangent.data::<T>()?;
                    cpu::concat::columns(dy, width, start, length, dx.data_mut()?)
                });
            }
            start += length;
        }
        Ok(parts)
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let mut cost = Cost::new(0, inputs);
        cost.bytes *= 2.0;
        cost
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "concat",
    summary: "tensors side by side along the channels, as `torch.cat`",
    linear: true,
    cases: || {
        let map = |channels| Input::normal([2, 3, 4, channels]);
        vec![
            Case::new(Concat, [map(5), map(1), map(3)]),
            Case::new(Concat, [Input::normal([4]), Input::normal([2])]),
            Case::new(Concat, [Input::normal([3, 2])]),
        ]
    },
    fuzz: |draw| {
        let mut shape = draw.map(5);
        let parts = draw.between(1, 4);
        let input = |_| {
            shape[3] = draw.channels();
            Input::normal(shape)
        };
        Case::new(Concat, (0..parts).map(input).collect::<Vec<_>>())
    },
};
