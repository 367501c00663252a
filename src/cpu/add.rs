//! Elementwise sum. Two reads and one write for one addition per element.

use super::{ELEMENTS_PER_TASK, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// a += b.
pub fn accumulate<T: Real>(a: &mut [T], b: &[T]) {
    let chunks = a.par_chunks_mut(ELEMENTS_PER_TASK);
    chunks
        .zip(b.par_chunks(ELEMENTS_PER_TASK))
        .for_each(|(a, b)| {
            vectorised(|| {
                for (a, &b) in a.iter_mut().zip(b) {
                    *a += b;
                }
            })
        });
}

/// y = a + b.
pub fn forward<T: Real>(a: &[T], b: &[T], y: &mut [T]) {
    let operands = a
        .par_chunks(ELEMENTS_PER_TASK)
        .zip(b.par_chunks(ELEMENTS_PER_TASK));
    operands
        .zip(y.par_chunks_mut(ELEMENTS_PER_TASK))
        .for_each(|((a, b), y)| {
            vectorised(|| {
                for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                    *y = a + b;
                }
            })
        });
}
