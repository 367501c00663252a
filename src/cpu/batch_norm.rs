//! Batch normalisation over the rows of a (rows, channels) matrix, with an optional residual sum and ReLU.
//!
//! Forward in training: statistics (one read), then y = x·scale + shift (one read, one write; a residual
//! is one read more). Backward: two reads of x and dy, one write; with a residual also one read of y, and
//! one write of the gated dy, which is the residual's gradient. The statistics are taken in tasks of a fixed number of
//! rows, each by two passes over rows that are still in cache, and merged in row order in f64
//! (Chan, Golub, LeVeque 1979), so they do not depend on the number of threads and do not cancel.

use super::{ELEMENTS_PER_TASK, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// Per-channel mean and biased variance.
pub struct Statistics<T> {
    /// Mean of each channel.
    pub mean: Vec<T>,
    /// Sum of squared deviations over the number of rows.
    pub variance: Vec<T>,
}

/// The affine map a channel goes through: y = x·scale + shift.
pub struct Affine<'a, T> {
    /// γ / √(σ² + ε)
    pub scale: &'a [T],
    /// β − μ·scale
    pub shift: &'a [T],
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl<T: Real> Affine<'_, T> {
    /// The least result.
    fn floor(&self) -> T {
        match self.relu {
            true => T::zero(),
            false => T::neg_infinity(),
        }
    }
}

/// Rows one task works on.
pub(super) fn rows_per_task(channels: usize) -> usize {
    (ELEMENTS_PER_TASK / channels).max(1)
}

/// Mean and biased variance of every channel of `x` (rows, channels).
pub fn statistics<T: Real>(x: &[T], channels: usize) -> Statistics<T> {
    let rows = rows_per_task(channels);
    let parts: Vec<(usize, Vec<T>, Vec<T>)> = x
        .par_chunks(rows * channels)
        .map(|part| {
            let count = part.len() / channels;
            let mut mean = vec![T::zero(); channels];
            let mut squares = vec![T::zero(); channels];
            vectorised(|| {
                for row in part.chunks_exact(channels) {
                    for (sum, &x) in mean.iter_mut().zip(row) {
                        *sum += x;
                    }
                }
                let share = T::one() / T::of(count as f64);
                for sum in &mut mean {
                    *sum *= share;
                }
                for row in part.chunks_exact(channels) {
                    for ((sum, &x), &mean) in squares.iter_mut().zip(row).zip(&mean) {
                        *sum += (x - mean) * (x - mean);
                    }
                }
            });
            (count, mean, squares)
        })
        .collect();
    let (mut seen, mut mean, mut squares) = (0.0, vec![0.0f64; channels], vec![0.0f64; channels]);
    for (count, part_mean, part_squares) in parts {
        let count = count as f64;
        let total = seen + count;
        for ch in 0..channels {
            let delta = part_mean[ch].f64() - mean[ch];
            mean[ch] += delta * count / total;
            squares[ch] += part_squares[ch].f64() + delta * delta * seen * count / total;
        }
        seen = total;
    }
    Statistics {
        mean: mean.into_iter().map(T::of).collect(),
        variance: squares.into_iter().map(|s| T::of(s / seen)).collect(),
    }
}

/// y = x·scale + shift (+ residual), then ReLU if asked.
pub fn apply<T: Real>(x: &[T], affine: &Affine<T>, residual: Option<&[T]>, y: &mut [T]) {
    let (channels, floor) = (affine.scale.len(), affine.floor());
    let block = rows_per_task(channels) * channels;
    let tasks = x.par_chunks(block).zip(y.par_chunks_mut(block)).enumerate();
    tasks.for_each(|(task, (x, y))| {
        let rows = x.chunks_exact(channels).zip(y.chunks_exact_mut(channels));
        match residual {
            None => vectorised(|| {
                for (x, y) in rows {
                    let coefficients = affine.scale.iter().zip(affine.shift);
                    for ((y, &x), (&scale, &shift)) in y.iter_mut().zip(x).zip(coefficients) {
                        let v = x * scale + shift;
                        *y = if v < floor { floor } else { v };
                    }
                }
            }),
            Some(residual) => vectorised(|| {
                let more = residual[task * block..].chunks_exact(channels);
                for ((x, y), more) in rows.zip(more) {
                    let coefficients = affine.scale.iter().zip(affine.shift);
                    let values = x.iter().zip(more);
                    for ((y, (&x, &more)), (&scale, &shift)) in
                        y.iter_mut().zip(values).zip(coefficients)
                    {
                        let v = x * scale + shift + more;
                        *y = if v < floor { floor } else { v };
                    }
                }
            }),
        }
    });
}

/// y = y·scale + shift (+ residual), then ReLU if asked.
pub fn apply_in_place<T: Real>(affine: &Affine<T>, residual: Option<&[T]>, y: &mut [T]) {
    let (channels, floor) = (affine.scale.len(), affine.floor());
    let block = rows_per_task(channels) * channels;
    let tasks = y.par_chunks_mut(block).enumerate();
    tasks.for_each(|(task, y)| {
        let rows = y.chunks_exact_mut(channels);
        match residual {
            None => vectorised(|| {
                for y in rows {
                    let coefficients = affine.scale.iter().zip(affine.shift);
                    for (y, (&scale, &shift)) in y.iter_mut().zip(coefficients) {
                        let v = *y * scale + shift;
                        *y = if v < floor { floor } else { v };
                    }
                }
            }),
            Some(residual) => vectorised(|| {
                let more = residual[task * block..].chunks_exact(channels);
                for (y, more) in rows.zip(more) {
                    let coefficients = affine.scale.iter().zip(affine.shift);
                    for ((y, &more), (&scale, &shift)) in y.iter_mut().zip(more).zip(coefficients) {
                        let v = *y * scale + shift + more;
                        *y = if v < floor { floor } else { v };
                    }
                }
            }),
        }
    });
}

/// Σ g and Σ g·(x − mean) of every channel, g being dy where the ReLU (if any) let the value through.
pub fn gradient_sums<T: Real>(
    x: &[T],
    dy: &[T],
    mean: &[T],
    affine: &Affine<T>,
) -> (Vec<T>, Vec<T>) {
    let channels = mean.len();
    let block = rows_per_task(channels) * channels;
    let parts: Vec<(Vec<T>, Vec<T>)> = x
        .par_chunks(block)
        .zip(dy.par_chunks(block))
        .map(|(x, dy)| {
            let mut sums = vec![T::zero(); channels];
            let mut products = vec![T::zero(); channels];
            vectorised(|| {
                let rows = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
                for (x, dy) in rows {
                    let totals = sums.iter_mut().zip(products.iter_mut());
                    let coefficients = affine.scale.iter().zip(affine.shift).zip(mean);
                    let values = x.iter().zip(dy);
                    for (((sum, product), (&x, &dy)), ((&scale, &shift), &mean)) in
                        totals.zip(values).zip(coefficients)
                    {
                        let g = gate(x * scale + shift, dy, affine.relu);
                        *sum += g;
                        *product += g * (x - mean);
                    }
                }
            });
            (sums, products)
        })
        .collect();
    add_up(&parts, channels)
}

/// Σ g and Σ g·(x − mean) of every channel, with g = dy where y > 0, else 0, which takes the place of dy.
pub fn gate_sums<T: Real>(x: &[T], y: &[T], dy: &mut [T], mean: &[T]) -> (Vec<T>, Vec<T>) {
    let channels = mean.len();
    let block = rows_per_task(channels) * channels;
    let values = x.par_chunks(block).zip(y.par_chunks(block));
    let parts: Vec<(Vec<T>, Vec<T>)> = values
        .zip(dy.par_chunks_mut(block))
        .map(|((x, y), dy)| {
            let mut sums = vec![T::zero(); channels];
            let mut products = vec![T::zero(); channels];
            vectorised(|| {
                let values = x.chunks_exact(channels).zip(y.chunks_exact(channels));
                for ((x, y), dy) in values.zip(dy.chunks_exact_mut(channels)) {
                    let totals = sums.iter_mut().zip(products.iter_mut());
                    let values = x.iter().zip(y).zip(dy);
                    for (((sum, product), ((&x, &y), dy)), &mean) in totals.zip(values).zip(mean) {
                        let g = if y > T::zero() { *dy } else { T::zero() };
                        *dy = g;
                        *sum += g;
                        *product += g * (x - mean);
                    }
                }
            });
            (sums, products)
        })
        .collect();
    add_up(&parts, channels)
}

/// The sums of tasks, added in their order in f64.
pub(super) fn add_up<T: Real>(parts: &[(Vec<T>, Vec<T>)], channels: usize) -> (Vec<T>, Vec<T>) {
    let (mut sums, mut products) = (vec![0.0f64; channels], vec![0.0f64; channels]);
    for (part_sums, part_products) in parts {
        for ch in 0..channels {
            sums[ch] += part_sums[ch].f64();
            products[ch] += part_products[ch].f64();
        }
    }
    let round = |totals: Vec<f64>| totals.into_iter().map(T::of).collect();
    (round(sums), round(products))
}

/// dx = a·g + b·x + d per channel, in place of dy.
pub fn backward_in_place<T: Real>(x: &[T], dy: &mut [T], affine: &Affine<T>, abd: [&[T]; 3]) {
    let channels = affine.scale.len();
    let [a, b, d] = abd;
    let block = rows_per_task(channels) * channels;
    x.par_chunks(block)
        .zip(dy.par_chunks_mut(block))
        .for_each(|(x, dy)| {
            vectorised(|| {
                for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact_mut(channels)) {
                    let coefficients = affine
                        .scale
                        .iter()
                        .zip(affine.shift)
                        .zip(a.iter().zip(b).zip(d));
                    for ((dy, &x), ((&scale, &shift), ((&a, &b), &d))) in
                        dy.iter_mut().zip(x).zip(coefficients)
                    {
                        *dy = a * gate(x * scale + shift, *dy, affine.relu) + b * x + d;
                    }
                }
            })
        });
}

/// dx = a·g + b·x + d per channel.
pub fn backward<T: Real>(x: &[T], g: &[T], dx: &mut [T], [a, b, d]: [&[T]; 3]) {
    let channels = a.len();
    let block = rows_per_task(channels) * channels;
    let values = x.par_chunks(block).zip(g.par_chunks(block));
    values
        .zip(dx.par_chunks_mut(block))
        .for_each(|((x, g), dx)| {
            vectorised(|| {
                let values = x.chunks_exact(channels).zip(g.chunks_exact(channels));
                for ((x, g), dx) in values.zip(dx.chunks_exact_mut(channels)) {
                    let coefficients = a.iter().zip(b).zip(d);
                    for ((dx, (&x, &g)), ((&a, &b), &d)) in
                        dx.iter_mut().zip(x.iter().zip(g)).zip(coefficients)
                    {
                        *dx = a * g + b * x + d;
                    }
                }
            })
        });
}

#[inline(always)]
pub(super) fn gate<T: Real>(value: T, dy: T, relu: bool) -> T {
    if relu && value <= T::zero() {
        T::zero()
    } else {
        dy
    }
}

/// running = (1 − momentum)·running + momentum·batch, PyTorch's running statistics.
pub fn blend<T: Real>(running: &mut [T], batch: &[T], momentum: f64) {
    for (running, &batch) in running.iter_mut().zip(batch) {
        *running = T::of((1.0 - momentum) * running.f64() + momentum * batch.f64());
    }
}
