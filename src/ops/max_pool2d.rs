//! Max pooling over NHWC maps.

use super::fallback::{self, kernel_device};
use super::{
    Case, Cost, Declaration, Input, Operation, Output, Saved, arity, operands, result_of, window,
};
use crate::cpu::window::Axis;
use crate::kernels::max_pool2d::{self as kernels, Windows};
use crate::tensor::{DType, Shape, Tensor};
use crate::{Result, cpu, with_real};

/// y[n, p, q, c] = max over (r, s) of x[n, p·stride − padding + r, q·stride − padding + s, c].
///
/// x is [N, H, W, C], y is [N, P, Q, C] with P = ⌊(H + 2·padding − kernel) / stride⌋ + 1 and Q
/// likewise: `torch.nn.MaxPool2d` with `ceil_mode=False`. Padding never wins; ties go to the first
/// cell in row-major order, and a NaN wins over every number, as in PyTorch. What is kept for the
/// vjp is not x but the winner's offset within its window, one byte per output for windows of at
/// most 256 cells.
///
/// # Errors
/// [`crate::Error::Shape`] for an input that is no NHWC map, a zero kernel or stride, padding over half the
/// kernel, or a kernel larger than the padded map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Cells added on both sides.
    pub padding: [usize; 2],
}

impl MaxPool2d {
    /// Square windows of `size`, side by side, without padding.
    pub fn new(size: usize) -> Self {
        MaxPool2d {
            kernel: [size; 2],
            stride: [size; 2],
            padding: [0; 2],
        }
    }

    /// The same with this stride on both axes.
    pub fn stride(self, stride: usize) -> Self {
        MaxPool2d {
            stride: [stride; 2],
            ..self
        }
    }

    /// The same with this padding on all four sides.
    pub fn padding(self, padding: usize) -> Self {
        MaxPool2d {
            padding: [padding; 2],
            ..self
        }
    }

    fn axes(&self, x: &Shape) -> Result<[Axis; 2]> {
        let [_, height, width, _] = x.nhwc(self.name())?;
        let extents = [self.kernel, self.stride, self.padding];
        window::axes(self.name(), extents, [height, width])
    }

    /// The same as the kernels take it.
    fn windows(&self, [rows, cols]: [Axis; 2]) -> Windows {
        Windows {
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            output: [rows.output, cols.output],
        }
    }
}

impl Operation for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x] = arity(self.name(), inputs)?;
        let [rows, cols] = self.axes(x)?;
        Ok([x.dims()[0], rows.output, cols.output, x.channels()].into())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let [x] = operands(self.name(), inputs)?;
        let (axes, channels) = (self.axes(x.shape())?, x.shape().channels());
        let mut y = result_of(self, inputs)?;
        let windows = self.windows(axes);
        let mut chosen = Tensor::empty(y.shape(), windows.offset_dtype(), x.device())?;
        if let Some(device) = kernel_device(inputs) {
            let map = x.shape().nhwc(self.name())?;
            let pointers = [x.address(), y.address_mut()?, chosen.address_mut()?];
            let plan = kernels::forward(x.dtype(), map.into(), windows, pointers);
            if let Err(why) = plan.and_then(|launch| device.launch(&launch)) {
                return fallback::forward(self, inputs, saved, why);
            }
            saved.keep([&chosen]);
            saved.keep_shapes(&[x.shape()]);
            return Ok(y.into());
        }
        with_real!(x.dtype(), self.name(), T => {
            let (x, y) = (x.data::<T>()?, y.data_mut::<T>()?);
            match chosen.dtype() {
                DType::U8 => cpu::max_pool2d::forward(x, channels, axes, y, chosen.data_mut::<u8>()?),
                _ => cpu::max_pool2d::forward(x, channels, axes, y, chosen.data_mut::<i32>()?),
            }
        });
        saved.keep([&chosen]);
        saved.keep_shapes(&[x.shape()]);
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::empty(&saved.shapes()[0], cotangent.dtype(), cotangent.device())?;
        let (axes, channels) = (self.axes(dx.shape())?, dx.shape().channels());
        if let Some(device) = kernel_device(&[&cotangent]) {
            let (windows, map) = (self.windows(axes), dx.shape().nhwc(self.name())?);
            let chosen = saved.tensors[0].address();
            let pointers = [cotangent.address(), chosen, dx.address_mut()?];
            let plan = kernels::backward(dx.dtype(), map.into(), windows, pointers);
            return match plan.and_then(|launch| device.launch(&launch)) {
                Ok(()) => Ok(vec![Some(dx)]),
                Err(why) => fallback::vjp(self, saved, cotangent, wanted, why),
            };
        }
        let [chosen] = saved.take();
        with_real!(dx.dtype(), self.name(), T => {
            let (dy, dx) = (cotangent.data::<T>()?, dx.data_mut::<T>()?);
            match chosen.dtype() {
                DType::U8 => cpu::max_pool2d::backward(dy, chosen.data::<u8>()?, channels, axes, dx),
                _ => cpu::max_pool2d::backward(dy, chosen.data::<i32>()?, channels, axes, dx),
            }
        });
        Ok(vec![Some(dx)])
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let cells = self.kernel[0] * self.kernel[1];
        self.output_shape(inputs).map_or_else(
            |_| Cost::default(),
            |y| Cost::new(y.len() * cells, &[inputs[0], &y]),
        )
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "max_pool2d",
    summary: "maximum of each window of an NHWC map, as `torch.nn.MaxPool2d`",
    linear: false,
    cases: || {
        let uneven = MaxPool2d {
            kernel: [2, 5],
            stride: [1, 3],
            padding: [1, 2],
        };
        vec![
            Case::new(MaxPool2d::new(2), [Input::spread([2, 4, 6, 5])]),
            Case::new(MaxPool2d::new(2), [Input::spread([1, 5, 7, 3])]),
            Case::new(
                MaxPool2d::new(3).stride(2).padding(1),
                [Input::spread([2, 7, 5, 3])],
            ),
            Case::new(uneven, [Input::spread([1, 4, 9, 2])]),
            Case::new(
                MaxPool2d::new(17).stride(3).padding(8),
                [Input::spread([1, 6, 5, 2])],
            ),
        ]
    },
    fuzz: |draw| {
        let x = draw.map(8);
        let [kernel, stride, padding] = super::window::draw(draw, [x[1], x[2]]);
        let op = MaxPool2d {
            kernel,
            stride,
            padding,
        };
        Case::new(op, [Input::spread(x)])
    },
};
