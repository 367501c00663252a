//! Convolution, its input gradient and its filter gradient, on NHWC maps and OHWI filters.
//!
//! - fprop: `y[n, p, q, k] = bias[k] + Σ x[n, p·σ − π + r·δ, q·σ − π + s·δ, c] · w[k, r, s, c]`
//! - dgrad: `dx = fpropᵀ(dy)`, the adjoint in `x`
//! - wgrad: `dw[k, r, s, c] = Σ dy[n, p, q, k] · x[n, p·σ − π + r·δ, q·σ − π + s·δ, c]`
//!
//! with stride σ, padding π, dilation δ, and `x` zero outside its extents. Each is a matrix product
//! over columns that are gathered a block at a time.

mod geometry;
mod im2col;
#[cfg(test)]
mod tests;

pub use geometry::ConvShape;

use crate::tensor::Real;

/// `y = conv(x, w) + bias`; writes every element of `y`.
///
/// # Panics
/// When a slice has not the length that `g` says.
pub fn fprop<T: Real>(g: &ConvShape, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    assert_eq!(x.len(), g.input_len(), "conv2d input");
    assert_eq!(w.len(), g.filter_len(), "conv2d filters");
    assert_eq!(y.len(), g.output_len(), "conv2d output");
    assert!(bias.is_none_or(|bias| bias.len() == g.k), "conv2d bias");
    im2col::fprop(g, x, w, bias, y);
}

/// Gradient with respect to the input, from the output's; writes every element of `dx`.
///
/// # Panics
/// When a slice has not the length that `g` says.
pub fn dgrad<T: Real>(g: &ConvShape, dy: &[T], w: &[T], dx: &mut [T]) {
    assert_eq!(dy.len(), g.output_len(), "conv2d output gradient");
    assert_eq!(w.len(), g.filter_len(), "conv2d filters");
    assert_eq!(dx.len(), g.input_len(), "conv2d input gradient");
    im2col::dgrad(g, dy, w, dx);
}

/// Gradient with respect to the filters; writes every element of `dw`. The sum over pixels is cut by
/// shape alone, so it is the same for any number of threads.
///
/// # Panics
/// When a slice has not the length that `g` says.
pub fn wgrad<T: Real>(g: &ConvShape, x: &[T], dy: &[T], dw: &mut [T]) {
    assert_eq!(x.len(), g.input_len(), "conv2d input");
    assert_eq!(dy.len(), g.output_len(), "conv2d output gradient");
    assert_eq!(dw.len(), g.filter_len(), "conv2d filter gradient");
    im2col::wgrad(g, x, dy, dw);
}
