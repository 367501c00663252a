//! Stochastic gradient descent with momentum, one pass: three reads and two writes per parameter.

use super::{ELEMENTS_PER_TASK, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// The numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Learning rate.
    pub lr: f64,
    /// Share of the old velocity that stays.
    pub momentum: f64,
    /// Factor of the weight added to its gradient.
    pub weight_decay: f64,
    /// Nesterov's form: the gradient is looked up one velocity ahead.
    pub nesterov: bool,
}

/// g += decay·w; v = momentum·v + g; w −= lr·v (Nesterov: w −= lr·(g + momentum·v)), as in PyTorch.
pub fn update<T: Real>(step: Step, w: &mut [T], v: &mut [T], gradient: &[T]) {
    let [lr, momentum, decay] = [step.lr, step.momentum, step.weight_decay].map(T::of);
    let weights = w.par_chunks_mut(ELEMENTS_PER_TASK);
    let velocities = v.par_chunks_mut(ELEMENTS_PER_TASK);
    let gradients = gradient.par_chunks(ELEMENTS_PER_TASK);
    weights
        .zip(velocities)
        .zip(gradients)
        .for_each(|((w, v), gradient)| {
            vectorised(|| {
                for ((w, v), &gradient) in w.iter_mut().zip(v.iter_mut()).zip(gradient) {
                    let g = gradient + decay * *w;
                    *v = momentum * *v + g;
                    let direction = if step.nesterov { g + momentum * *v } else { *v };
                    *w -= lr * direction;
                }
            })
        });
}
