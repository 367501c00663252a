//! Linear layers on the kernels of convolution: y = x · wᵀ is a convolution of one-pixel maps with
//! one-tap filters, [rows, 1, 1, inputs] by [outputs, 1, 1, inputs]. There is no `linear.cu`.

use crate::cpu::conv2d::ConvShape;
use crate::cpu::linear::LinearShape;

/// The convolution that a linear layer is: its x, w and y are the maps, filters and result of
/// [`super::conv2d::Plan`].
pub fn as_convolution(g: LinearShape) -> ConvShape {
    ConvShape {
        n: g.rows,
        h: 1,
        w: 1,
        c: g.inputs,
        k: g.outputs,
        r: 1,
        s: 1,
        stride: [1; 2],
        padding: [0; 2],
        dilation: [1; 2],
    }
}
