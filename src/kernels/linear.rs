//! Linear layers on the kernels of convolution: y = x · wᵀ is a convolution of one-pixel maps with
//! one-tap filters, [rows, 1, 1, inputs] by [outputs, 1, 1, inputs]. There is no `linear.cu`.

use super::conv2d::{Direction, Math, Plan};
use crate::Result;
use crate::cpu::conv2d::ConvShape;
use crate::cpu::linear::LinearShape;

/// Plans y from x and w (fprop), dx from dy and w (dgrad) or dw from x and dy (wgrad); the launches are
/// those of the plan, with matrices in the place of maps and filters.
///
/// # Errors
/// As [`Plan::new`].
pub fn plan(
    g: LinearShape,
    math: Math,
    direction: Direction,
    multiprocessors: usize,
) -> Result<Plan> {
    let shape = ConvShape {
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
    };
    Plan::new(&shape, math, direction, false, multiprocessors)
}
