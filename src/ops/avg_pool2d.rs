//! Average pooling over NHWC maps.

use super::resample::Resampling;
use super::{Case, Declaration, Input, window};
use crate::Result;
use crate::cpu::resample::Taps;

/// y[n, p, q, c] = 1/K Σ_{r, s} x[n, p·stride − padding + r, q·stride − padding + s, c].
///
/// x is [N, H, W, C], y is [N, P, Q, C] with P = ⌊(H + 2·padding − kernel) / stride⌋ + 1 and Q
/// likewise; K counts all cells of the window, or, without `count_include_pad`, those on the map:
/// `torch.nn.AvgPool2d` with `ceil_mode=False`.
///
/// # Errors
/// [`crate::Error::Shape`] for an input that is no NHWC map, a zero kernel or stride, padding over
/// half the kernel, or a kernel larger than the padded map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Zeros added on both sides.
    pub padding: [usize; 2],
    /// Whether the added zeros count in the mean (PyTorch's default).
    pub count_include_pad: bool,
}

impl AvgPool2d {
    /// Square windows of `size`, side by side, without padding.
    pub fn new(size: usize) -> Self {
        AvgPool2d {
            kernel: [size; 2],
            stride: [size; 2],
            padding: [0; 2],
            count_include_pad: true,
        }
    }

    /// The same with this stride on both axes.
    pub fn stride(self, stride: usize) -> Self {
        AvgPool2d {
            stride: [stride; 2],
            ..self
        }
    }

    /// The same with this padding on all four sides, counted in the mean or not.
    pub fn padding(self, padding: usize, count_include_pad: bool) -> Self {
        AvgPool2d {
            padding: [padding; 2],
            count_include_pad,
            ..self
        }
    }
}

impl Resampling for AvgPool2d {
    const NAME: &'static str = "avg_pool2d";

    fn axes(&self, map: [usize; 2]) -> Result<[Taps; 2]> {
        let extents = [self.kernel, self.stride, self.padding];
        let axes = window::axes(Self::NAME, extents, map)?;
        Ok(axes.map(|axis| {
            Taps::new(axis.input, axis.output, |o| {
                let cells = axis.cells(o);
                let counted = match self.count_include_pad {
                    true => axis.kernel,
                    false => cells.len(),
                };
                cells.map(|i| (i, 1.0 / counted as f64)).collect()
            })
        }))
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "avg_pool2d",
    summary: "mean of each window of an NHWC map, as `torch.nn.AvgPool2d`",
    linear: true,
    cases: || {
        let uneven = AvgPool2d {
            kernel: [2, 5],
            stride: [1, 3],
            padding: [1, 2],
            count_include_pad: false,
        };
        let overlapping = AvgPool2d::new(3).stride(2);
        vec![
            Case::new(AvgPool2d::new(2), [Input::normal([2, 5, 6, 7])]),
            Case::new(overlapping.padding(1, true), [Input::normal([2, 7, 5, 3])]),
            Case::new(overlapping.padding(1, false), [Input::normal([1, 6, 5, 3])]),
            Case::new(uneven, [Input::normal([1, 4, 9, 2])]),
        ]
    },
    fuzz: |draw| {
        let x = draw.map(8);
        let [kernel, stride, padding] = super::window::draw(draw, [x[1], x[2]]);
        let op = AvgPool2d {
            kernel,
            stride,
            padding,
            count_include_pad: draw.flag(),
        };
        Case::new(op, [Input::normal(x)])
    },
};
