//! Max pooling over NHWC maps: y[n, p, q, c] = max over the window's cells of x.
//!
//! Forward reads each input cell once per window and writes the maximum and its offset within the
//! window; backward gathers, for every input cell, from the windows that chose it, so no two tasks
//! write one element and nothing is zeroed first. Both are bound by memory.

use super::window::Axis;
use super::{rows_mut, vectorised};
use crate::tensor::{Element, Real};
use rayon::prelude::*;

/// An offset within a window, as it is stored.
pub trait Offset: Element {
    /// `offset` in this type; it must fit.
    fn of(offset: usize) -> Self;
}

impl Offset for u8 {
    fn of(offset: usize) -> Self {
        offset as u8
    }
}

impl Offset for i32 {
    fn of(offset: usize) -> Self {
        offset as i32
    }
}

/// y = the maximum of each window, chosen = its row-major offset within the window.
///
/// Ties go to the first cell in row-major order, NaN wins over every number, and among several NaN
/// the last one is chosen: PyTorch's rule. Padding never wins. x is [N, H, W, C], y and `chosen` are
/// [N, P, Q, C] with H, P of `axes[0]` and W, Q of `axes[1]`.
pub fn forward<T: Real, I: Offset>(
    x: &[T],
    channels: usize,
    axes: [Axis; 2],
    y: &mut [T],
    chosen: &mut [I],
) {
    let [rows, cols] = axes;
    let row = cols.output * channels;
    let quads = rows.kernel == 2 && cols.kernel == 2 && rows.padding == 0 && cols.padding == 0;
    let tasks = rows_mut(y, row).zip(rows_mut(chosen, row)).enumerate();
    tasks.for_each(|(index, (y, chosen))| {
        let (image, p) = (index / rows.output, index % rows.output);
        let cell = |h: usize, w: usize| {
            let start = ((image * rows.input + h) * cols.input + w) * channels;
            &x[start..start + channels]
        };
        let pixels = y.chunks_exact_mut(channels);
        for (q, (y, chosen)) in pixels.zip(chosen.chunks_exact_mut(channels)).enumerate() {
            if quads {
                let (h, w) = (p * rows.stride, q * cols.stride);
                let cells = [
                    cell(h, w),
                    cell(h, w + 1),
                    cell(h + 1, w),
                    cell(h + 1, w + 1),
                ];
                max_of_four(cells, y, chosen);
            } else {
                max_of_window([rows, cols], [p, q], cell, y, chosen);
            }
        }
    });
}

/// The common 2×2 window: four reads, two writes, the running maximum in registers.
fn max_of_four<T: Real, I: Offset>(cells: [&[T]; 4], y: &mut [T], chosen: &mut [I]) {
    let [a, b, c, d] = cells.map(|cell| &cell[..y.len()]);
    let chosen = &mut chosen[..y.len()];
    vectorised(|| {
        for i in 0..y.len() {
            let mut best = (a[i], I::of(0));
            for (offset, x) in [(1, b[i]), (2, c[i]), (3, d[i])] {
                best = if beats(x, best.0) {
                    (x, I::of(offset))
                } else {
                    best
                };
            }
            (y[i], chosen[i]) = best;
        }
    });
}

/// Any window, cell by cell; the first cell starts the maximum.
fn max_of_window<'a, T: Real, I: Offset>(
    [rows, cols]: [Axis; 2],
    [p, q]: [usize; 2],
    cell: impl Fn(usize, usize) -> &'a [T],
    y: &mut [T],
    chosen: &mut [I],
) {
    let mut first = true;
    for h in rows.cells(p) {
        for w in cols.cells(q) {
            let offset = I::of(rows.offset(p, h) * cols.kernel + cols.offset(q, w));
            let x = cell(h, w);
            if std::mem::take(&mut first) {
                y.copy_from_slice(x);
                chosen.fill(offset);
                continue;
            }
            vectorised(|| {
                for ((y, chosen), &x) in y.iter_mut().zip(chosen.iter_mut()).zip(x) {
                    let wins = beats(x, *y);
                    *y = if wins { x } else { *y };
                    *chosen = if wins { offset } else { *chosen };
                }
            });
        }
    }
}

#[inline(always)]
fn beats<T: Real>(x: T, best: T) -> bool {
    x > best || x.is_nan()
}

/// dx = sum of dy over the windows that chose this cell, in rising order of the windows.
pub fn backward<T: Real, I: Offset>(
    dy: &[T],
    chosen: &[I],
    channels: usize,
    axes: [Axis; 2],
    dx: &mut [T],
) {
    let [rows, cols] = axes;
    let tasks = rows_mut(dx, cols.input * channels).enumerate();
    tasks.for_each(|(index, dx)| {
        let (image, h) = (index / rows.input, index % rows.input);
        for (w, dx) in dx.chunks_exact_mut(channels).enumerate() {
            let mut first = true;
            for p in rows.windows(h) {
                for q in cols.windows(w) {
                    let start = ((image * rows.output + p) * cols.output + q) * channels;
                    let window = start..start + channels;
                    let offset = I::of(rows.offset(p, h) * cols.kernel + cols.offset(q, w));
                    let first = std::mem::take(&mut first);
                    gather(&dy[window.clone()], &chosen[window], offset, first, dx);
                }
            }
            if first {
                dx.fill(T::zero());
            }
        }
    });
}

/// dx = (or += unless `first`) dy where the window chose `offset`.
fn gather<T: Real, I: Offset>(dy: &[T], chosen: &[I], offset: I, first: bool, dx: &mut [T]) {
    vectorised(|| {
        let parts = dy.iter().zip(chosen);
        let parts = parts.map(|(&dy, &c)| if c == offset { dy } else { T::zero() });
        if first {
            dx.iter_mut().zip(parts).for_each(|(dx, part)| *dx = part);
        } else {
            dx.iter_mut().zip(parts).for_each(|(dx, part)| *dx += part);
        }
    });
}
