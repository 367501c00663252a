//! What the extents of a convolution make of its matrix products, and which are too long.

use super::{Direction, NAME, Tile};
use crate::cpu::conv2d::ConvShape;
use crate::{Error, Result};

/// D\[rows, columns\] = Σ over depth, `classes` times (residues of dgrad, of which this is the largest).
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub classes: usize,
}

impl Product {
    /// The product that `direction` is.
    pub fn of(g: &ConvShape, direction: Direction) -> Product {
        let outputs = g.n * g.out_h() * g.out_w();
        // Taps that hit a pixel, at most: every (σ / gcd(σ, δ))-th.
        let hits = |taps: usize, axis: usize| {
            let (stride, dilation) = (g.stride[axis], g.dilation[axis]);
            taps.div_ceil(stride / gcd(stride, dilation))
        };
        match direction {
            Direction::Fprop => Product {
                rows: outputs,
                columns: g.k,
                depth: g.r * g.s * g.c,
                classes: 1,
            },
            Direction::Dgrad => Product {
                rows: g.n * g.h.div_ceil(g.stride[0]) * g.w.div_ceil(g.stride[1]),
                columns: g.c,
                depth: hits(g.r, 0) * hits(g.s, 1) * g.k,
                classes: g.stride[0].min(g.h) * g.stride[1].min(g.w),
            },
            Direction::Wgrad => Product {
                rows: g.k,
                columns: g.r * g.s * g.c,
                depth: outputs,
                classes: 1,
            },
        }
    }

    /// Tiles of the result.
    pub fn tiles(&self, tile: Tile) -> usize {
        self.rows.div_ceil(tile.side()) * self.columns.div_ceil(tile.side())
    }
}

/// A 1x1 convolution of stride 1 without padding is a product of matrices: maps of one pixel.
pub(super) fn collapsed(shape: &ConvShape) -> ConvShape {
    let pointwise = (shape.r, shape.s, shape.stride, shape.padding) == (1, 1, [1; 2], [0; 2]);
    match pointwise {
        true => ConvShape {
            n: shape.n * shape.h * shape.w,
            h: 1,
            w: 1,
            dilation: [1; 2],
            ..*shape
        },
        false => *shape,
    }
}

/// The kernels count elements in 32 bits.
pub(super) fn refuse_long(g: &ConvShape) -> Result<()> {
    let lengths = [
        ("the input", [g.n, g.h, g.w, g.c]),
        ("the filters", [g.k, g.r, g.s, g.c]),
        ("the output", [g.n, g.out_h(), g.out_w(), g.k]),
    ];
    for (what, extents) in lengths {
        let length = extents.iter().fold(1usize, |all, &e| all.saturating_mul(e));
        if length > i32::MAX as usize {
            let what = format!(
                "{what} has {length} elements; the kernels do at most {}",
                i32::MAX
            );
            return Err(Error::shape(NAME, what));
        }
    }
    Ok(())
}

/// And pixels, with a sign where padding comes in.
pub(super) fn refuse_long_axes(g: &ConvShape) -> Result<()> {
    for (axis, (extent, taps)) in [(g.h, g.r), (g.w, g.s)].into_iter().enumerate() {
        let (padding, stride, dilation) = (g.padding[axis], g.stride[axis], g.dilation[axis]);
        let padded = extent.saturating_add(padding.saturating_mul(2));
        let reach = taps.saturating_mul(dilation);
        let most = 1 << 29;
        if padded.max(reach).max(stride) >= most {
            let what = format!(
                "an axis of {extent} pixels, padding {padding}, stride {stride}, {taps} taps of dilation \
                 {dilation}; the kernels do less than {most} each"
            );
            return Err(Error::shape(NAME, what));
        }
    }
    Ok(())
}

pub(super) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
