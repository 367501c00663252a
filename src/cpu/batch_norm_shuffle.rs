//! Normalisation, ReLU and spatial shuffle in one pass, for tables that all samples share.
//!
//! Forward one read and one write, backward two reads and one write: apart, the shuffle would read and
//! write the maps once more each way. Channels stay in place, so the coefficients of an output are those
//! of its own channel. Tasks are those of `batch_norm`, so every sum has the order it has there.

use super::batch_norm::{Affine, add_up, gate, rows_per_task};
use super::vectorised;
use crate::tensor::Real;
use rayon::prelude::*;

/// y\[n, j\] = max(x\[n, table\[j\]\]·scale + shift, 0), j over the elements of a sample.
pub fn forward<T: Real>(x: &[T], table: &[u32], affine: &Affine<T>, y: &mut [T]) {
    let channels = affine.scale.len();
    let rows = rows_per_task(channels);
    let tasks = y.par_chunks_mut(rows * channels).enumerate();
    tasks.for_each(|(task, y)| {
        vectorised(|| {
            for (row, y) in y.chunks_exact_mut(channels).enumerate() {
                let (x, table) = sources(x, table, (task * rows + row) * channels, channels);
                let coefficients = affine.scale.iter().zip(affine.shift);
                for ((y, &from), (&scale, &shift)) in y.iter_mut().zip(table).zip(coefficients) {
                    let v = x[from as usize] * scale + shift;
                    *y = if v < T::zero() { T::zero() } else { v };
                }
            }
        })
    });
}

/// g\[n, j\] = dy\[n, inverse\[j\]\] where x·scale + shift > 0, else 0; and of every channel Σ g and
/// Σ g·(x − mean).
pub fn backward<T: Real>(
    x: &[T],
    dy: &[T],
    inverse: &[u32],
    mean: &[T],
    affine: &Affine<T>,
    g: &mut [T],
) -> (Vec<T>, Vec<T>) {
    let channels = mean.len();
    let rows = rows_per_task(channels);
    let tasks = x
        .par_chunks(rows * channels)
        .zip(g.par_chunks_mut(rows * channels))
        .enumerate();
    let parts: Vec<(Vec<T>, Vec<T>)> = tasks
        .map(|(task, (x, g))| {
            let mut sums = vec![T::zero(); channels];
            let mut products = vec![T::zero(); channels];
            vectorised(|| {
                let values = x.chunks_exact(channels).zip(g.chunks_exact_mut(channels));
                for (row, (x, g)) in values.enumerate() {
                    let at = (task * rows + row) * channels;
                    let (dy, inverse) = sources(dy, inverse, at, channels);
                    let totals = sums.iter_mut().zip(products.iter_mut());
                    let coefficients = affine.scale.iter().zip(affine.shift).zip(mean);
                    let values = x.iter().zip(inverse).zip(g);
                    for (((sum, product), ((&x, &from), g)), ((&scale, &shift), &mean)) in
                        totals.zip(values).zip(coefficients)
                    {
                        *g = gate(x * scale + shift, dy[from as usize], true);
                        *sum += *g;
                        *product += *g * (x - mean);
                    }
                }
            });
            (sums, products)
        })
        .collect();
    add_up(&parts, channels)
}

/// The sample that holds element `at`, and the entries of the table from there on.
#[inline(always)]
fn sources<'a, T>(
    maps: &'a [T],
    table: &'a [u32],
    at: usize,
    channels: usize,
) -> (&'a [T], &'a [u32]) {
    let (sample, within) = (at / table.len(), at % table.len());
    let maps = &maps[sample * table.len()..][..table.len()];
    (maps, &table[within..][..channels])
}
