//! Blocked im2col and a kept GEMM: any element type, any machine.

use rayon::prelude::*;

use super::ConvShape;
use crate::cpu::gemm::{Matrix, gemm_serial};
use crate::tensor::Real;

/// Output pixels per block: its columns stay within the L2 cache for all but the deepest filters.
const BLOCK: usize = 128;

/// Batches are cut into this many parts for the filter gradient, whatever the number of threads.
const PARTS: usize = 8;

/// Calls `visit(row, tap, pixel)` for every filter tap of the output pixels `first..first + rows`
/// that reads an input pixel, and with `None` where it reads padding.
fn gather(
    g: &ConvShape,
    first: usize,
    rows: usize,
    mut visit: impl FnMut(usize, usize, Option<usize>),
) {
    let (vertical, horizontal) = (g.vertical(), g.horizontal());
    let (out_h, out_w) = (g.out_h(), g.out_w());
    for row in 0..rows {
        let pixel = first + row;
        let (image, oh, ow) = (
            pixel / (out_h * out_w),
            pixel / out_w % out_h,
            pixel % out_w,
        );
        for r in 0..g.r {
            let ih = vertical.source(oh, r);
            for s in 0..g.s {
                let source = ih.zip(horizontal.source(ow, s));
                visit(
                    row,
                    r * g.s + s,
                    source.map(|(ih, iw)| (image * g.h + ih) * g.w + iw),
                );
            }
        }
    }
}

fn im2col<T: Real>(g: &ConvShape, first: usize, x: &[T], columns: &mut [T]) {
    let depth = g.r * g.s * g.c;
    gather(g, first, columns.len() / depth, |row, tap, source| {
        let column = &mut columns[row * depth + tap * g.c..][..g.c];
        match source {
            Some(pixel) => column.copy_from_slice(&x[pixel * g.c..][..g.c]),
            None => column.fill(T::zero()),
        }
    });
}

pub(super) fn fprop<T: Real>(g: &ConvShape, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    let depth = g.r * g.s * g.c;
    let filters = Matrix::new(w, g.k, depth);
    y.par_chunks_mut(BLOCK * g.k)
        .enumerate()
        .for_each_init(Vec::new, |columns, (block, y)| {
            let rows = y.len() / g.k;
            columns.resize(rows * depth, T::zero());
            im2col(g, block * BLOCK, x, columns);
            if let Some(bias) = bias {
                y.chunks_mut(g.k)
                    .for_each(|pixel| pixel.copy_from_slice(bias));
            }
            let beta = if bias.is_some() { T::one() } else { T::zero() };
            gemm_serial(
                T::one(),
                Matrix::new(columns, rows, depth),
                filters.t(),
                beta,
                y,
            );
        });
}

pub(super) fn dgrad<T: Real>(g: &ConvShape, dy: &[T], w: &[T], dx: &mut [T]) {
    let depth = g.r * g.s * g.c;
    let pixels = g.out_h() * g.out_w();
    let filters = Matrix::new(w, g.k, depth);
    dx.par_chunks_mut(g.h * g.w * g.c)
        .enumerate()
        .for_each_init(Vec::new, |columns, (image, dx)| {
            dx.fill(T::zero());
            for first in (0..pixels).step_by(BLOCK) {
                let rows = BLOCK.min(pixels - first);
                columns.resize(rows * depth, T::zero());
                let dy = &dy[(image * pixels + first) * g.k..][..rows * g.k];
                gemm_serial(
                    T::one(),
                    Matrix::new(dy, rows, g.k),
                    filters,
                    T::zero(),
                    columns,
                );
                gather(g, first, rows, |row, tap, source| {
                    let Some(pixel) = source else { return };
                    let column = &columns[row * depth + tap * g.c..][..g.c];
                    for (dx, column) in dx[pixel * g.c..][..g.c].iter_mut().zip(column) {
                        *dx += *column;
                    }
                });
            }
        });
}

pub(super) fn wgrad<T: Real>(g: &ConvShape, x: &[T], dy: &[T], dw: &mut [T]) {
    let depth = g.r * g.s * g.c;
    let pixels = g.n * g.out_h() * g.out_w();
    let part = pixels.div_ceil(PARTS).next_multiple_of(BLOCK);
    let partial = |start: usize| {
        let mut sum = vec![T::zero(); dw.len()];
        let mut columns = Vec::new();
        let end = pixels.min(start + part);
        for first in (start..end).step_by(BLOCK) {
            let rows = BLOCK.min(end - first);
            columns.resize(rows * depth, T::zero());
            im2col(g, first, x, &mut columns);
            let dy = Matrix::new(&dy[first * g.k..][..rows * g.k], rows, g.k);
            gemm_serial(
                T::one(),
                dy.t(),
                Matrix::new(&columns, rows, depth),
                T::one(),
                &mut sum,
            );
        }
        sum
    };
    let starts: Vec<usize> = (0..pixels).step_by(part).collect();
    let sums: Vec<Vec<T>> = starts.into_par_iter().map(partial).collect();
    dw.fill(T::zero());
    for sum in sums {
        for (dw, sum) in dw.iter_mut().zip(sum) {
            *dw += sum;
        }
    }
}
