//! Dropout: y = x · m, where m is 0 or 1/(1 − p), drawn from a key. One read, one write and a tenth
//! of a Philox block per element; the mask is drawn again in the vjp and never stored.

use super::{ELEMENTS_PER_TASK, rows_mut, vectorised};
use crate::rng::Key;
use crate::tensor::Real;
use rayon::prelude::*;

/// The mask: element i is decided by word i mod 4 of block ⌊i/4⌋ of `key`.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// The key of this draw.
    pub key: Key,
    /// Probability of a zero, in [0, 1).
    pub p: f64,
}

impl Mask {
    /// p · 2³², rounded: words below it drop, exactly p of them for every p that is a multiple of 2⁻³².
    pub fn threshold(self) -> u64 {
        (self.p * 4_294_967_296.0).round() as u64
    }

    /// What is not dropped is multiplied by this.
    pub fn kept(self) -> f64 {
        1.0 / (1.0 - self.p)
    }

    /// The mask's values at four elements, starting at 4·`block`.
    #[inline(always)]
    fn four<T: Real>(self, block: usize) -> [T; 4] {
        let (threshold, kept) = (self.threshold(), T::of(self.kept()));
        let words = self.key.block(block as u32, (block >> 32) as u32);
        words.map(|word| {
            if (word as u64) < threshold {
                T::zero()
            } else {
                kept
            }
        })
    }
}

/// y = x · m, a mask value for each element.
pub fn elements<T: Real>(mask: Mask, x: &[T], y: &mut [T]) {
    let tasks = y.par_chunks_mut(ELEMENTS_PER_TASK).enumerate();
    tasks.for_each(|(task, y)| {
        let start = task * ELEMENTS_PER_TASK;
        let blocks = y.chunks_mut(4).zip(x[start..].chunks(4)).enumerate();
        vectorised(|| {
            for (block, (y, x)) in blocks {
                let m = mask.four::<T>(start / 4 + block);
                for ((y, &x), m) in y.iter_mut().zip(x).zip(m) {
                    *y = x * m;
                }
            }
        });
    });
}

/// y[n, i, c] = x[n, i, c] · m[n·C + c]: whole channels of `pixels` pixels live or die together.
pub fn channels<T: Real>(mask: Mask, pixels: usize, channels: usize, x: &[T], y: &mut [T]) {
    let maps = y.len() / pixels.max(1);
    let drawn: Vec<T> = (0..maps.div_ceil(4))
        .flat_map(|block| mask.four::<T>(block))
        .collect();
    rows_mut(y, channels).enumerate().for_each(|(pixel, y)| {
        let m = &drawn[pixel / pixels * channels..][..y.len()];
        let x = &x[pixel * channels..][..y.len()];
        vectorised(|| {
            for ((y, &x), &m) in y.iter_mut().zip(x).zip(m) {
                *y = x * m;
            }
        });
    });
}
