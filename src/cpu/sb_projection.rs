//! What a semantic bottleneck does to the logits of its projection (the products are those of
//! [`super::linear`]): the activation, and the gradient of the logits. Memory-bound but for the
//! exponentials, and small beside the products.

use super::masked_bce::sigmoid;
use super::{ELEMENTS_PER_TASK, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// p = σ(z).
pub fn activate<T: Real>(logits: &[T], concepts: &mut [T]) {
    let tasks = concepts.par_chunks_mut(ELEMENTS_PER_TASK);
    let tasks = tasks.zip(logits.par_chunks(ELEMENTS_PER_TASK));
    tasks.for_each(|(concepts, logits)| {
        vectorised(|| {
            for (concept, &z) in concepts.iter_mut().zip(logits) {
                *concept = sigmoid(z);
            }
        });
    });
}

/// dz = dp · p (1 − p) with p = σ(z), in place of dp.
pub fn activation_gradient<T: Real>(logits: &[T], gradient: &mut [T]) {
    let tasks = gradient.par_chunks_mut(ELEMENTS_PER_TASK);
    let tasks = tasks.zip(logits.par_chunks(ELEMENTS_PER_TASK));
    tasks.for_each(|(gradient, logits)| {
        vectorised(|| {
            for (gradient, &z) in gradient.iter_mut().zip(logits) {
                let p = sigmoid(z);
                *gradient = *gradient * p * (T::one() - p);
            }
        });
    });
}
