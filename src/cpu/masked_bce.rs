//! Binary cross-entropy of logits over known elements. Forward reads four arrays once, backward reads
//! them again and writes one; the exponentials cost as much as the memory.

use super::{ELEMENTS_PER_TASK, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// Flat arrays of one length: logits z, targets t in [0, 1], mask m, weights w (all 1 without).
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a, T> {
    /// Logits z.
    pub logits: &'a [T],
    /// Targets t.
    pub targets: &'a [T],
    /// Mask m: 0 where an element is not known, and then nothing else is looked at.
    pub mask: &'a [T],
    /// Weights w.
    pub weights: Option<&'a [T]>,
}

impl<T: Real> Operands<'_, T> {
    #[inline(always)]
    fn weight(&self, i: usize) -> T {
        self.weights.map_or(T::one(), |weights| weights[i])
    }
}

/// Σ m w ℓ and Σ m, with ℓ = −t ln σ(z) − (1 − t) ln(1 − σ(z)); sums are in f64, in order.
pub fn loss_sum<T: Real>(operands: Operands<T>) -> [f64; 2] {
    let count = operands.logits.len();
    let tasks = (0..count.div_ceil(ELEMENTS_PER_TASK)).into_par_iter();
    let partial: Vec<[f64; 2]> = tasks
        .map(|task| {
            let start = task * ELEMENTS_PER_TASK;
            let (mut loss, mut mask) = (0.0, 0.0);
            for i in start..count.min(start + ELEMENTS_PER_TASK) {
                let m = operands.mask[i].f64();
                if m != 0.0 {
                    let (z, t) = (operands.logits[i].f64(), operands.targets[i].f64());
                    let one = (-z.abs()).exp().ln_1p() + (1.0 - t) * z.max(0.0) + t * (-z).max(0.0);
                    // `max` of the standard library drops a NaN; the exponential keeps it.
                    loss += m * operands.weight(i).f64() * one;
                }
                mask += m;
            }
            [loss, mask]
        })
        .collect();
    partial
        .iter()
        .fold([0.0; 2], |[a, b], [loss, mask]| [a + loss, b + mask])
}

/// dz = scale · m w (σ(z) − t), and 0 where m is 0.
pub fn backward<T: Real>(operands: Operands<T>, scale: f64, dz: &mut [T]) {
    let scale = T::of(scale);
    let tasks = dz.par_chunks_mut(ELEMENTS_PER_TASK).enumerate();
    tasks.for_each(|(task, dz)| {
        let start = task * ELEMENTS_PER_TASK;
        vectorised(|| {
            for (i, dz) in (start..).zip(dz) {
                let (z, m) = (operands.logits[i], operands.mask[i]);
                let gradient =
                    scale * (m * operands.weight(i)) * (sigmoid(z) - operands.targets[i]);
                *dz = if m == T::zero() { T::zero() } else { gradient };
            }
        });
    });
}

/// σ without overflow on either side.
#[inline(always)]
pub(super) fn sigmoid<T: Real>(z: T) -> T {
    let small = (-z.abs()).exp();
    let above = if z < T::zero() { small } else { T::one() };
    above / (T::one() + small)
}
