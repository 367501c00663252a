//! Linear layers: three matrix products over the kept GEMM, and the bias.

use super::gemm::{Matrix, gemm};
use super::{ELEMENTS_PER_TASK, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// Extents: x (rows, inputs), w (outputs, inputs), y (rows, outputs).
#[derive(Clone, Copy, Debug)]
pub struct LinearShape {
    /// Samples.
    pub rows: usize,
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
}

/// y = x · wᵀ + b.
pub fn forward<T: Real>(g: LinearShape, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    let beta = match bias {
        Some(bias) => {
            y.chunks_exact_mut(g.outputs)
                .for_each(|row| row.copy_from_slice(bias));
            T::one()
        }
        None => T::zero(),
    };
    let x = Matrix::new(x, g.rows, g.inputs);
    gemm(
        T::one(),
        x,
        Matrix::new(w, g.outputs, g.inputs).t(),
        beta,
        y,
    );
}

/// dx = dy · w.
pub fn input_gradient<T: Real>(g: LinearShape, dy: &[T], w: &[T], dx: &mut [T]) {
    let dy = Matrix::new(dy, g.rows, g.outputs);
    gemm(
        T::one(),
        dy,
        Matrix::new(w, g.outputs, g.inputs),
        T::zero(),
        dx,
    );
}

/// dw = dyᵀ · x.
pub fn weight_gradient<T: Real>(g: LinearShape, x: &[T], dy: &[T], dw: &mut [T]) {
    let dy = Matrix::new(dy, g.rows, g.outputs).t();
    gemm(
        T::one(),
        dy,
        Matrix::new(x, g.rows, g.inputs),
        T::zero(),
        dw,
    );
}

/// Sums of the columns of a row-major matrix: the gradient of a bias.
pub fn column_sums<T: Real>(dy: &[T], sums: &mut [T]) {
    let columns = sums.len();
    let rows = (ELEMENTS_PER_TASK / columns).max(1);
    let parts: Vec<Vec<T>> = dy
        .par_chunks(rows * columns)
        .map(|part| {
            let mut sums = vec![T::zero(); columns];
            vectorised(|| {
                for row in part.chunks_exact(columns) {
                    for (sum, &dy) in sums.iter_mut().zip(row) {
                        *sum += dy;
                    }
                }
            });
            sums
        })
        .collect();
    for (column, sum) in sums.iter_mut().enumerate() {
        *sum = T::of(parts.iter().map(|part| part[column].f64()).sum());
    }
}
