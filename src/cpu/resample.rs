//! Separable resampling of NHWC maps: y[n, p, q, c] = Σ_h Σ_w R[p, h] · C[q, w] · x[n, h, w, c].
//!
//! Average pooling, bilinear resizing and padding differ in the two small matrices R and C only,
//! which are kept as a few taps per row. The vjp is the same sum with both matrices transposed, so
//! it too is a gather: no two tasks write one element, and sums have a fixed order. Each output
//! pixel reads its taps' channels once; bound by memory while the taps' rows stay in cache.

use super::{rows_mut, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// A sparse matrix of one axis: for each output cell the input cells it reads, with weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    input: usize,
    rows: Vec<Vec<(usize, f64)>>,
}

impl Taps {
    /// The taps of `output` cells over `input` cells; `row(o)` are those of cell `o`, in rising order.
    pub fn new(input: usize, output: usize, row: impl Fn(usize) -> Vec<(usize, f64)>) -> Self {
        let rows: Vec<_> = (0..output).map(row).collect();
        debug_assert!(rows.iter().flatten().all(|&(i, _)| i < input));
        Taps { input, rows }
    }

    /// The taps of each output cell: (input cell, weight).
    pub fn rows(&self) -> &[Vec<(usize, f64)>] {
        &self.rows
    }

    /// Input cells.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Output cells.
    pub fn output(&self) -> usize {
        self.rows.len()
    }

    /// Taps of all output cells together.
    pub fn len(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// Whether there is no tap at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The transposed matrix.
    pub fn transposed(&self) -> Self {
        let mut rows = vec![Vec::new(); self.input];
        for (o, row) in self.rows.iter().enumerate() {
            for &(i, weight) in row {
                rows[i].push((o, weight));
            }
        }
        Taps {
            input: self.rows.len(),
            rows,
        }
    }
}

/// y = (R ⊗ C) x for every image and channel; `taps` = [R, C].
pub fn resample<T: Real>(x: &[T], channels: usize, taps: [&Taps; 2], y: &mut [T]) {
    let [rows, cols] = taps;
    let (height, width) = (rows.rows.len(), cols.rows.len());
    let tasks = rows_mut(y, width * channels).enumerate();
    tasks.for_each(|(index, y)| {
        let (image, p) = (index / height, index % height);
        for (y, col) in y.chunks_exact_mut(channels).zip(&cols.rows) {
            let mut first = true;
            for &(h, in_row) in &rows.rows[p] {
                for &(w, in_col) in col {
                    let start = ((image * rows.input + h) * cols.input + w) * channels;
                    let x = &x[start..start + channels];
                    scale_onto(T::of(in_row * in_col), x, std::mem::take(&mut first), y);
                }
            }
            if first {
                y.fill(T::zero());
            }
        }
    });
}

/// y = (or += unless `first`) weight · x.
fn scale_onto<T: Real>(weight: T, x: &[T], first: bool, y: &mut [T]) {
    vectorised(|| {
        let cells = y.iter_mut().zip(x);
        if first {
            cells.for_each(|(y, &x)| *y = weight * x);
        } else {
            cells.for_each(|(y, &x)| *y += weight * x);
        }
    });
}
