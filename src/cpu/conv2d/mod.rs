//! Convolution, its input gradient and its filter gradient, on NHWC maps and OHWI filters.
//!
//! - fprop: `y[n, p, q, k] = bias[k] + Σ x[n, p·σ − π + r·δ, q·σ − π + s·δ, c] · w[k, r, s, c]`
//! - dgrad: the adjoint in `x`: `dx[n, h, w, c] = Σ dy[n, p, q, k] · w[k, r, s, c]` over all taps with
//!   `h = p·σ − π + r·δ` and `w = q·σ − π + s·δ`
//! - wgrad: `dw[k, r, s, c] = Σ dy[n, p, q, k] · x[n, p·σ − π + r·δ, q·σ − π + s·δ, c]`
//!
//! with stride σ, padding π, dilation δ, and `x` zero outside its extents.
//!
//! # The implicit product
//!
//! All three are matrix products whose operands need not exist. fprop multiplies columns (the taps of
//! an output pixel side by side, r·s·c long) by filters. Writing the columns out would copy each input
//! pixel r·s times. Instead the product's depth is given to the register tile as a list of segments,
//! one per tap: "from here in the map, from there in the filters, c steps". So
//!
//! - nothing larger than a cache-sized block of the map is ever copied, and that once;
//! - a tap that falls on padding is a segment that is not there. A 3×3 filter with padding 1 then does
//!   44 % of the nominal multiply-adds on a 2×2 map, 69 % on 4×4 and 84 % on 8×8, and these maps
//!   are two thirds of VGG16's multiply-adds on CIFAR;
//! - dgrad is the same gather with other offsets. For stride σ the input pixels fall into σ² classes
//!   that read different taps, and each class multiplies by those alone;
//! - dilation is a distance between segments.
//!
//! # Files
//!
//! - `geometry.rs`: extents, and for each axis which pixel reads which by which tap
//! - `filters.rs`: filters packed into panels one tile wide, once per call
//! - `gather.rs`: fprop and dgrad: blocks, staging, tiles
//! - `wgrad.rs`: the product whose depth is the pixels
//! - `micro/`: the register tile, in AVX-512, AVX2 and plain Rust
//! - `shared.rs`: an output that tasks write in strips
//!
//! # Cost
//!
//! Two operations per multiply-add, in the tile, where 80 to 90 % of the time of VGG16's layers goes.
//! Per call one pass over the filters to pack them, and about one over the map to stage it. Scratch
//! memory: the packed filters, 1 to 2 MiB per thread, and for wgrad a staged block of the whole maps
//! (at most about 8 MiB of `x`, and the `dy` that goes with it).
//!
//! Every output is one chain of additions in an order set by the extents alone (wgrad: by a cut into
//! blocks and parts set by the extents alone), so results are equal for any number of threads. They
//! differ in the last bits between instruction sets.

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

/// The instruction set the convolutions run on here: `avx512`, `avx2` or `portable`.
pub fn instruction_set() -> &'static str {
    micro::best::<f32>().name
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
