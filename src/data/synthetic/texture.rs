//! `texture`: a two-tone pattern at a random phase, with noise; position means nothing.
//!
//! A pattern gives each pixel a rank of 0 to 3, each equally often. In a channel where the class says
//! "bright", three of the four ranks are bright; elsewhere one. So class c has its own pattern and its
//! own channel means (bit 0 of c: red, bit 1: green, bit 2: blue): 98 to 118 where dark, 126 to 154
//! where bright, whatever the contrast and brightness of the image. Means survive any shuffle, of
//! pixels or of features.

use super::around_zero;
use crate::rng::Stream;

/// A pattern: its name and the rank (mod 4) at row `y`, column `x`, in units.
type Pattern = (&'static str, fn(usize, usize) -> usize);

/// Every pattern repeats after 4 units in both directions.
const PATTERNS: [Pattern; 8] = [
    ("rows", |y, _| y),
    ("checks", |y, x| y / 2 * 2 + x / 2 * 2 + y % 2),
    ("columns", |_, x| x),
    ("diagonals", |y, x| y + x),
    ("bricks", |y, x| y / 2 * 2 + x),
    ("antidiagonals", |y, x| 3 * y + x),
    ("dots", |y, x| y % 2 * 2 + x % 2),
    ("zigzag", |y, x| y + x.min(4 - x)),
];

pub(super) fn class_names() -> Vec<String> {
    PATTERNS.map(|(name, _)| name.to_owned()).to_vec()
}

pub(super) fn draw(stream: &mut Stream, label: u32, size: usize, out: &mut [u8]) {
    let unit = size / 16;
    let period = 4 * unit;
    let (_, rank) = PATTERNS[label as usize];
    let mut phase = || stream.below(period as u32) as usize;
    let (dy, dx) = (phase(), phase());
    let contrast = 56 + stream.below(17) as i32;
    let dark = 92 + around_zero(stream, 8);
    for (i, pixel) in out.chunks_exact_mut(3).enumerate() {
        let (y, x) = (i / size + dy, i % size + dx);
        let rank = rank(y / unit % 4, x / unit % 4) % 4;
        for (channel, value) in pixel.iter_mut().enumerate() {
            let bright_ranks = if label >> channel & 1 == 1 { 3 } else { 1 };
            let level = if rank < bright_ranks {
                dark + contrast
            } else {
                dark
            };
            *value = (level + around_zero(stream, 24)) as u8;
        }
    }
}
