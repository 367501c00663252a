//! Operations that resample a map with one small matrix for its rows and one for its columns:
//! average pooling, bilinear resizing, padding. Each says its two matrices; the rest is here.

use std::fmt;

use super::fallback::{self, kernel_device};
use super::{Cost, Operation, Output, Saved, arity, operands};
use crate::cpu::resample::Taps;
use crate::device::Device;
use crate::kernels::resample::{self as kernels, Table};
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result, cpu, with_real};

/// A linear operation on NHWC maps, y = (R ⊗ C) x for every image and channel.
pub(super) trait Resampling: fmt::Debug + Send + Sync + 'static {
    const NAME: &'static str;

    /// R and C for maps of `map` = (H, W), both at least 1.
    fn axes(&self, map: [usize; 2]) -> Result<[Taps; 2]>;
}

impl<R: Resampling> Operation for R {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x] = arity(R::NAME, inputs)?;
        let [rows, cols] = axes_of(self, x)?;
        Ok([x.dims()[0], rows.output(), cols.output(), x.channels()].into())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let [x] = operands(R::NAME, inputs)?;
        let [rows, cols] = axes_of(self, x.shape())?;
        let shape = [
            x.dims()[0],
            rows.output(),
            cols.output(),
            x.shape().channels(),
        ];
        match resampled(R::NAME, x, [&rows, &cols], shape.into()) {
            Ok(y) => {
                saved.keep_shapes(&[x.shape()]);
                Ok(y.into())
            }
            Err(why) if kernel_device(inputs).is_some() => {
                fallback::forward(self, inputs, saved, why)
            }
            Err(why) => Err(why),
        }
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let x = &saved.shapes()[0];
        let [rows, cols] = axes_of(self, x)?.map(|taps| taps.transposed());
        match resampled(R::NAME, &cotangent, [&rows, &cols], x.clone()) {
            Ok(dx) => Ok(vec![Some(dx)]),
            Err(why) if kernel_device(&[&cotangent]).is_some() => {
                fallback::vjp(self, saved, cotangent, wanted, why)
            }
            Err(why) => Err(why),
        }
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let (Ok([rows, cols]), Ok(y)) = (axes_of(self, inputs[0]), self.output_shape(inputs))
        else {
            return Cost::default();
        };
        let lanes = y.dims()[0] * y.channels();
        Cost::new(2 * lanes * rows.len() * cols.len(), &[inputs[0], &y])
    }
}

fn axes_of<R: Resampling>(op: &R, x: &Shape) -> Result<[Taps; 2]> {
    let [_, height, width, _] = x.nhwc(R::NAME)?;
    if height * width == 0 {
        return Err(Error::shape(R::NAME, format!("the map {x} has no pixel")));
    }
    op.axes([height, width])
}

/// `x` resampled into `shape`, where it is. Kernels read the matrices as a table that stays on the device.
fn resampled(op: &'static str, x: &Tensor, taps: [&Taps; 2], shape: Shape) -> Result<Tensor> {
    let mut y = Tensor::empty(shape, x.dtype(), x.device())?;
    if let Some(device) = kernel_device(&[x]) {
        let table = Table::new(taps.map(Taps::input), taps.map(Taps::rows))?;
        let words = Tensor::from_slice([table.words.len()], &table.words, Device::Cpu)?;
        let words = words.constant_on(device)?;
        let pointers = [x.address(), y.address_mut()?];
        let map = x.shape().nhwc(op)?.into();
        let launch = kernels::launch(x.dtype(), map, &table, words.address(), pointers)?;
        device.launch(&launch)?;
        return Ok(y);
    }
    with_real!(x.dtype(), op, T => {
        cpu::resample::resample::<T>(x.data()?, x.shape().channels(), taps, y.data_mut()?)
    });
    Ok(y)
}

/// An error of `op` unless both extents of its result are positive.
pub(super) fn expect_pixels(op: &'static str, output: [usize; 2]) -> Result<()> {
    if output.contains(&0) {
        return Err(Error::shape(
            op,
            format!("an output of {output:?} has no pixel"),
        ));
    }
    Ok(())
}
