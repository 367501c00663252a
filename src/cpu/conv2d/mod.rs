//! Convolution, its input gradient and its filter gradient, on NHWC maps and OHWI filters.
//!
//! - fprop: `y[n, p, q, k] = bias[k] + Σ x[n, p·σ − π + r·δ, q·σ − π + s·δ, c] · w[k, r, s, c]`
//! - dgrad: `dx = fpropᵀ(dy)`, the adjoint in `x`
//! - wgrad: `dw[k, r, s, c] = Σ dy[n, p, q, k] · x[n, p·σ − π + r·δ, q·σ − π + s·δ, c]`
//!
//! with stride σ, padding π, dilation δ, and `x` zero outside its extents. Each is a matrix product
//! over columns that are gathered a block at a time.

mod filters;
mod gather;
mod geometry;
mod micro;
mod shared;
#[cfg(test)]
mod tests;
mod wgrad;

pub use geometry::ConvShape;

use filters::{Panels, pack_adjoint, pack_forward};
use gather::Gather;
use micro::Kernels;

use crate::cpu::scratch::with_scratch;
use crate::tensor::Real;

/// `y = conv(x, w) + bias`; writes every element of `y`.
///
/// # Panics
/// When a slice has not the length that `g` says.
pub fn fprop<T: Real>(g: &ConvShape, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    fprop_with(micro::best(), g, x, w, bias, y);
}

/// Gradient with respect to the input, from the output's; writes every element of `dx`.
///
/// # Panics
/// When a slice has not the length that `g` says.
pub fn dgrad<T: Real>(g: &ConvShape, dy: &[T], w: &[T], dx: &mut [T]) {
    dgrad_with(micro::best(), g, dy, w, dx);
}

/// Gradient with respect to the filters; writes every element of `dw`.
///
/// # Panics
/// When a slice has not the length that `g` says.
pub fn wgrad<T: Real>(g: &ConvShape, x: &[T], dy: &[T], dw: &mut [T]) {
    wgrad_with(micro::best(), g, x, dy, dw);
}

fn fprop_with<T: Real>(
    kernels: &Kernels<T>,
    g: &ConvShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    assert_eq!(x.len(), g.input_len(), "conv2d input");
    assert_eq!(w.len(), g.filter_len(), "conv2d filters");
    assert_eq!(y.len(), g.output_len(), "conv2d output");
    assert!(bias.is_none_or(|bias| bias.len() == g.k), "conv2d bias");
    let depth = g.r * g.s * g.c;
    let panels = Panels::new(g.k, kernels);
    with_scratch(panels.padded() * depth, |packed| {
        pack_forward(w, depth, panels, packed);
        let gather = Gather {
            kernels,
            images: g.n,
            channels: g.c,
            vertical: g.vertical().forward(),
            horizontal: g.horizontal().forward(),
            source: x,
            packed,
            panels,
            filter_width: g.s,
            depth,
            bias,
        };
        gather.run(y);
    });
}

fn dgrad_with<T: Real>(kernels: &Kernels<T>, g: &ConvShape, dy: &[T], w: &[T], dx: &mut [T]) {
    assert_eq!(dy.len(), g.output_len(), "conv2d output gradient");
    assert_eq!(w.len(), g.filter_len(), "conv2d filters");
    assert_eq!(dx.len(), g.input_len(), "conv2d input gradient");
    let depth = g.r * g.s * g.k;
    let panels = Panels::new(g.c, kernels);
    with_scratch(panels.padded() * depth, |packed| {
        pack_adjoint(w, [g.k, g.r * g.s, g.c], panels, packed);
        let gather = Gather {
            kernels,
            images: g.n,
            channels: g.k,
            vertical: g.vertical().adjoint(),
            horizontal: g.horizontal().adjoint(),
            source: dy,
            packed,
            panels,
            filter_width: g.s,
            depth,
            bias: None,
        };
        gather.run(dx);
    });
}

fn wgrad_with<T: Real>(kernels: &Kernels<T>, g: &ConvShape, x: &[T], dy: &[T], dw: &mut [T]) {
    assert_eq!(x.len(), g.input_len(), "conv2d input");
    assert_eq!(dy.len(), g.output_len(), "conv2d output gradient");
    assert_eq!(dw.len(), g.filter_len(), "conv2d filter gradient");
    wgrad::wgrad(g, kernels, x, dy, dw);
}
