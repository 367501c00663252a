//! Rectifier: y = max(x, 0). One read and one write; no arithmetic worth counting.

use super::{ELEMENTS_PER_TASK, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// y = max(x, 0); NaN stays NaN.
pub fn forward<T: Real>(x: &[T], y: &mut [T]) {
    let chunks = x.par_chunks(ELEMENTS_PER_TASK);
    chunks
        .zip(y.par_chunks_mut(ELEMENTS_PER_TASK))
        .for_each(|(x, y)| {
            vectorised(|| {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = if x < T::zero() { T::zero() } else { x };
                }
            })
        });
}

/// y = max(y, 0) where y is; NaN stays NaN.
pub fn forward_in_place<T: Real>(y: &mut [T]) {
    y.par_chunks_mut(ELEMENTS_PER_TASK).for_each(|y| {
        vectorised(|| {
            for y in y {
                *y = if *y < T::zero() { T::zero() } else { *y };
            }
        })
    });
}

/// dx = dy where y > 0, else 0, in place of dy.
pub fn backward_in_place<T: Real>(y: &[T], dy: &mut [T]) {
    let chunks = y.par_chunks(ELEMENTS_PER_TASK);
    chunks
        .zip(dy.par_chunks_mut(ELEMENTS_PER_TASK))
        .for_each(|(y, dy)| {
            vectorised(|| {
                for (dy, &y) in dy.iter_mut().zip(y) {
                    *dy = if y > T::zero() { *dy } else { T::zero() };
                }
            })
        });
}
