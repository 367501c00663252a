//! 2-d convolution (cross-correlation, as everywhere in the field) of NHWC maps.

use super::fallback::{self, kernel_device};
use super::product::{self, Epilogue};
use super::{
    Case, Cost, Declaration, Input, Operation, Output, Saved, arity, result_of, same_kind,
};
use crate::cpu::conv2d::{self as kernels, ConvShape};
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result, with_real};

const NAME: &str = "conv2d";

/// y\[n, p, q, k\] = Σ x\[n, p·stride + r·dilation − padding, …, c\] · w\[k, r, s, c\] (+ b\[k\]).
///
/// Inputs: x (N, H, W, C), filters (K, R, S, C), and optionally a bias (K). Pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Step of the filter, in pixels.
    pub stride: [usize; 2],
    /// Zeros added on each side, in pixels.
    pub padding: [usize; 2],
    /// Distance of the filter's taps, in pixels.
    pub dilation: [usize; 2],
}

impl Conv2d {
    /// Stride 1, no padding, no dilation.
    pub fn new() -> Self {
        Conv2d {
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
        }
    }

    /// This stride on both axes.
    pub fn stride(self, stride: usize) -> Self {
        Conv2d {
            stride: [stride; 2],
            ..self
        }
    }

    /// This padding on both axes.
    pub fn padding(self, padding: usize) -> Self {
        Conv2d {
            padding: [padding; 2],
            ..self
        }
    }

    /// This dilation on both axes.
    pub fn dilation(self, dilation: usize) -> Self {
        Conv2d {
            dilation: [dilation; 2],
            ..self
        }
    }

    /// The extents of this convolution of maps of shape `x` with filters of shape `w`.
    ///
    /// # Errors
    /// [`Error::Shape`] when they do not fit.
    pub fn extents(&self, x: &Shape, w: &Shape) -> Result<ConvShape> {
        let [n, h, width, c] = x.nhwc(NAME)?;
        let [k, r, s, filter_channels] = w.nhwc(NAME)?;
        if c != filter_channels {
            let what = format!(
                "maps of shape {x} have {c} channels, filters of shape {w} expect {filter_channels}"
            );
            return Err(Error::shape(NAME, what));
        }
        let Conv2d {
            stride,
            padding,
            dilation,
        } = *self;
        let extents = ConvShape {
            n,
            h,
            w: width,
            c,
            k,
            r,
            s,
            stride,
            padding,
            dilation,
        };
        extents.check()?;
        Ok(extents)
    }
}

impl Default for Conv2d {
    fn default() -> Self {
        Self::new()
    }
}

impl Operation for Conv2d {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, w) = match *inputs {
            [x, w] => (x, w),
            [x, w, bias] => {
                if bias.dims() != [w.dims()[0]] {
                    let what = format!("filters of shape {w} take no bias of shape {bias}");
                    return Err(Error::shape(NAME, what));
                }
                (x, w)
            }
            _ => return arity::<_, 2>(NAME, inputs).map(|_| Shape::default()),
        };
        let g = self.extents(x, w)?;
        Ok([g.n, g.out_h(), g.out_w(), g.k].into())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let mut y = result_of(self, inputs)?;
        let (x, w) = (inputs[0], inputs[1]);
        for other in &inputs[1..] {
            same_kind(NAME, x, other)?;
        }
        let g = self.extents(x.shape(), w.shape())?;
        if kernel_device(inputs).is_some() {
            let with = Epilogue {
                bias: inputs.get(2).copied(),
                ..Epilogue::default()
            };
            if let Err(why) = product::forward(NAME, &g, [x, w], with, &mut y) {
                return fallback::forward(self, inputs, saved, why);
            }
            saved.keep([x, w]);
            return Ok(y.into());
        }
        with_real!(x.dtype(), NAME, T => {
            let bias = inputs.get(2).map(|b| b.data::<T>()).transpose()?;
            kernels::fprop(&g, x.data::<T>()?, w.data()?, bias, y.data_mut()?)
        });
        saved.keep([x, w]);
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, dy: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        if kernel_device(&[&dy]).is_some() {
            let [x, w] = saved.tensors();
            let g = self.extents(x.shape(), w.shape())?;
            return match product::vjp(NAME, &g, [x, w], &dy, wanted) {
                Err(why) => fallback::vjp(self, saved, dy, wanted, why),
                done => done,
            };
        }
        let [x, w] = saved.take();
        let g = self.extents(x.shape(), w.shape())?;
        let mut gradients: Vec<Option<Tensor>> = wanted.iter().map(|_| None).collect();
        with_real!(x.dtype(), NAME, T => {
            let dy = dy.data::<T>()?;
            if let Some(true) = wanted.get(2) {
                let mut db = Tensor::empty([g.k], x.dtype(), x.device())?;
                crate::cpu::linear::column_sums(dy, db.data_mut()?);
                gradients[2] = Some(db);
            }
            if wanted[1] {
                let mut dw = w.empty_like()?;
                kernels::wgrad(&g, x.data::<T>()?, dy, dw.data_mut()?);
                gradients[1] = Some(dw);
            }
            if wanted[0] {
                let mut dx = x.empty_like()?;
                // The forward input is not needed any more: its memory may serve what follows.
                drop(x);
                kernels::dgrad(&g, dy, w.data()?, dx.data_mut()?);
                gradients[0] = Some(dx);
            }
        });
        Ok(gradients)
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let extents = self.extents(inputs[0], inputs[1]);
        let output = self.output_shape(&inputs[..2]).unwrap_or_default();
        let flops = extents.map_or(0, |g| 2 * g.macs() as usize);
        Cost::new(flops, &[inputs[0], inputs[1], &output])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "2-d convolution, any filter, stride, padding and dilation, optional bias",
    linear: true,
    cases: || {
        let case = |op: Conv2d, x: [usize; 4], w: [usize; 4]| {
            Case::new(op, [Input::normal(x), Input::normal(w)])
        };
        let conv = Conv2d::new();
        let uneven = Conv2d {
            stride: [2, 1],
            padding: [0, 2],
            dilation: [1, 2],
        };
        let with_bias = [
            Input::normal([2, 5, 4, 3]),
            Input::normal([7, 3, 3, 3]),
            Input::normal([7]),
        ];
        vec![
            case(conv.padding(1), [2, 6, 5, 3], [8, 3, 3, 3]),
            case(conv.padding(1).stride(2), [2, 7, 4, 5], [6, 3, 3, 5]),
            case(conv, [3, 4, 4, 7], [11, 1, 1, 7]),
            case(conv.stride(2), [1, 5, 3, 4], [3, 1, 1, 4]),
            case(conv.padding(3).stride(2), [1, 9, 8, 3], [4, 7, 7, 3]),
            case(conv.padding(2).dilation(2), [1, 6, 7, 2], [3, 3, 3, 2]),
            case(conv.padding(4).dilation(4), [1, 5, 5, 2], [3, 3, 3, 2]),
            case(conv.padding(1), [4, 1, 1, 5], [6, 3, 3, 5]),
            case(conv.padding(1), [3, 2, 2, 13], [17, 3, 3, 13]),
            case(uneven, [2, 5, 6, 3], [4, 3, 2, 3]),
            Case::new(conv.padding(1), with_bias),
            // Channels and pixels enough for the kernels with the largest tiles.
            case(
                Conv2d {
                    padding: [0, 1],
                    ..conv
                },
                [2, 8, 8, 64],
                [64, 1, 3, 64],
            ),
        ]
    },
    fuzz: |draw| {
        let mut x = draw.map(8);
        x[3] = draw.between(1, 9);
        let filter = [1, 3, 2, 5, 7];
        let [r, s] = [draw.pick(&filter), draw.pick(&filter)];
        let mut pair = |least, most| [draw.between(least, most), draw.between(least, most)];
        let (stride, mut dilation) = (pair(1, 3), pair(1, 3));
        let mut padding = pair(0, 3);
        for (axis, (taps, extent)) in [(r, x[1]), (s, x[2])].into_iter().enumerate() {
            // As much padding as the filter needs to fit.
            let missing = |step: usize| (step * (taps - 1) + 1).saturating_sub(extent).div_ceil(2);
            padding[axis] = padding[axis].max(missing(dilation[axis]));
            let (step, around) = (dilation[axis], padding[axis]);
            let last = (extent + 2 * around - step * (taps - 1) - 1) / stride[axis];
            let sees = |p: usize, tap: usize| {
                (around..around + extent).contains(&(p * stride[axis] + tap * step))
            };
            // Taps may be so far apart that they all miss the map.
            if !(0..=last).any(|p| (0..taps).any(|tap| sees(p, tap))) {
                dilation[axis] = 1;
                padding[axis] = padding[axis].min(taps - 1).max(missing(1));
            }
        }
        let op = Conv2d {
            stride,
            padding,
            dilation,
        };
        let k = draw.channels();
        let mut inputs = vec![Input::normal(x), Input::normal([k, r, s, x[3]])];
        inputs.extend(draw.flag().then(|| Input::normal([k])));
        Case::new(op, inputs)
    },
};
