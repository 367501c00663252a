//! Softmax cross-entropy over rows of logits. Two reads of the logits forward, one read and one
//! write backward; the exponentials, not memory, are what costs.

use super::{rows_mut, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// Rows whose losses one task adds up; the partial sums are added in order.
const ROWS_PER_TASK: usize = 1024;

/// What a row should predict: t_c = (1 − ε) w_y [c = y] + ε/C · w_c, and what its loss counts.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Label smoothing ε in [0, 1].
    pub smoothing: f64,
    /// The label that counts nowhere.
    pub ignore: Option<i32>,
    /// Class weights w; all 1 without.
    pub weights: Option<&'a [f64]>,
}

impl Target<'_> {
    /// Weight of the rows with this label: w_y, or 0 if it is ignored.
    pub fn weight(&self, label: i32) -> f64 {
        match self.weights {
            _ if self.ignore == Some(label) => 0.0,
            Some(weights) => weights[label as usize],
            None => 1.0,
        }
    }

    /// ε/C · w_c.
    #[inline(always)]
    fn smooth(&self, class: usize, classes: usize) -> f64 {
        self.smoothing / classes as f64 * self.weights.map_or(1.0, |w| w[class])
    }
}

/// Σ over the rows of Σ_c t_c (lse − z_c), where lse = ln Σ_c exp z_c is also written out per row.
///
/// The maximum is subtracted before exponentials are taken; sums are in f64, in the order of the
/// rows. Labels must be in range or ignored.
pub fn loss_sum<T: Real>(
    logits: &[T],
    classes: usize,
    labels: &[i32],
    target: Target,
    lse: &mut [f64],
) -> f64 {
    let rows = logits.par_chunks(classes * ROWS_PER_TASK);
    let tasks = rows
        .zip(labels.par_chunks(ROWS_PER_TASK))
        .zip(lse.par_chunks_mut(ROWS_PER_TASK));
    let partial: Vec<f64> = tasks
        .map(|((logits, labels), lse)| {
            let mut sum = 0.0;
            for ((z, &label), lse) in logits.chunks_exact(classes).zip(labels).zip(lse) {
                *lse = log_sum_exp(z);
                sum += row_loss(z, label, target, *lse);
            }
            sum
        })
        .collect();
    partial.iter().sum()
}

fn log_sum_exp<T: Real>(z: &[T]) -> f64 {
    // `max` of the standard library drops NaN; the sum below brings it back.
    let max = z.iter().copied().fold(T::neg_infinity(), T::max);
    let sum: f64 = z.iter().map(|&z| (z - max).exp().f64()).sum();
    max.f64() + sum.ln()
}

fn row_loss<T: Real>(z: &[T], label: i32, target: Target, lse: f64) -> f64 {
    if target.ignore == Some(label) {
        return 0.0;
    }
    let hard = (1.0 - target.smoothing) * target.weight(label);
    let mut loss = hard * (lse - z[label as usize].f64());
    if target.smoothing > 0.0 {
        for (c, &value) in z.iter().enumerate() {
            loss += target.smooth(c, z.len()) * (lse - value.f64());
        }
    }
    loss
}

/// dz_c = scale · (p_c Σ_k t_k − t_c), with p = exp(z − lse); zero in ignored rows.
pub fn backward<T: Real>(
    logits: &[T],
    classes: usize,
    labels: &[i32],
    target: Target,
    lse: &[f64],
    scale: f64,
    dz: &mut [T],
) {
    let smooth: Vec<f64> = (0..classes).map(|c| target.smooth(c, classes)).collect();
    let smooth_sum: f64 = smooth.iter().sum();
    rows_mut(dz, classes).enumerate().for_each(|(row, dz)| {
        let (z, label) = (&logits[row * classes..][..classes], labels[row]);
        if target.ignore == Some(label) {
            return dz.fill(T::zero());
        }
        let hard = (1.0 - target.smoothing) * target.weight(label);
        let (total, lse) = (T::of(scale * (hard + smooth_sum)), lse[row]);
        vectorised(|| {
            for ((dz, &z), &smooth) in dz.iter_mut().zip(z).zip(&smooth) {
                let p = T::of(z.f64() - lse).exp();
                *dz = total * p - T::of(scale * smooth);
            }
        });
        // The labelled class again, in f64: p − 1 loses digits where the network is sure.
        let p = (z[label as usize].f64() - lse).exp();
        let at = label as usize;
        dz[at] = T::of(scale * ((hard + smooth_sum) * p - hard - smooth[at]));
    });
}
