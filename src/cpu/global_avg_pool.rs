//! Global average pooling: y[n, c] = 1/(H·W) Σ x[n, h, w, c]. One read of x; bound by memory.

use super::{rows_mut, vectorised};
use crate::tensor::Real;
use rayon::prelude::*;

/// Channels one task sums: 1 KiB of f32, so the running sums stay in the first-level cache.
const CHANNELS_PER_TASK: usize = 256;

/// x is [N, H, W, C] with `map` = (H, W), y is [N, C].
///
/// Each image row is summed by itself and the row sums are then added, so the rounding error grows
/// with H + W and not with H·W.
pub fn forward<T: Real>(x: &[T], map: [usize; 2], channels: usize, y: &mut [T]) {
    let [height, width] = map;
    let image = height * width * channels;
    let images = x
        .par_chunks(image.max(1))
        .zip(y.par_chunks_mut(channels.max(1)));
    let scale = T::one() / T::of((height * width) as f64);
    images.for_each(|(x, y)| {
        let blocks = y.par_chunks_mut(CHANNELS_PER_TASK).enumerate();
        blocks.for_each(|(block, y)| {
            let start = block * CHANNELS_PER_TASK;
            let pixel = |at: usize| &x[at * channels + start..][..y.len()];
            let (mut sum, mut row_sum) = (
                [T::zero(); CHANNELS_PER_TASK],
                [T::zero(); CHANNELS_PER_TASK],
            );
            vectorised(|| {
                for h in 0..height {
                    row_sum.fill(T::zero());
                    for w in 0..width {
                        add(&mut row_sum, pixel(h * width + w));
                    }
                    add(&mut sum, &row_sum);
                }
            });
            for (y, sum) in y.iter_mut().zip(sum) {
                *y = sum * scale;
            }
        });
    });
}

#[inline(always)]
fn add<T: Real>(sum: &mut [T], part: &[T]) {
    for (sum, &part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}

/// dx[n, h, w, c] = dy[n, c] / (H·W).
pub fn backward<T: Real>(dy: &[T], map: [usize; 2], channels: usize, dx: &mut [T]) {
    let pixels = map[0] * map[1];
    let scale = T::one() / T::of(pixels as f64);
    rows_mut(dx, channels).enumerate().for_each(|(index, dx)| {
        let dy = &dy[index / pixels * channels..][..dx.len()];
        vectorised(|| {
            for (dx, &dy) in dx.iter_mut().zip(dy) {
                *dx = dy * scale;
            }
        });
    });
}
