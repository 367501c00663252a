//! `red-left-of-green`: two squares, one red, one green; the class is which is on the left (after the
//! "Red-left-of-Green" set of Kayhan and van Gemert, CVPR 2020).
//!
//! The squares are 2u wide and stand at least 2u from each other and from the border. Their rows are
//! free. The background repeats every 4u, and the columns of the two squares differ by a multiple of
//! 4u, as do their rows; so exchanging the colours shows every window again.

use super::scene::{self, GREEN, Glyph, Part, RED, Scene};
use crate::rng::Stream;

pub(super) fn class_names() -> Vec<String> {
    ["red-left-of-green", "green-left-of-red"]
        .map(String::from)
        .to_vec()
}

pub(super) fn draw(stream: &mut Stream, label: u32, size: usize, out: &mut [u8]) {
    let unit = size / 16;
    let (period, side, margin) = (4 * unit, 2 * unit, 2 * unit);
    let background = scene::grey(stream);
    let mut scene = Scene::new(stream, size, period, background);
    let columns = places(stream, size - side - margin, margin, period);
    let rows = places(stream, size - side - margin, margin, period);
    let left = stream.below(columns.len() as u32 - 1) as usize;
    let right = left + 1 + stream.below((columns.len() - left - 1) as u32) as usize;
    let mut row = || rows[stream.below(rows.len() as u32) as usize];
    let (left_row, right_row) = (row(), row());
    let red = Part::glyph(stream, Glyph::Square, side, RED);
    let green = Part::glyph(stream, Glyph::Square, side, GREEN);
    let (on_left, on_right) = if label == 0 {
        (red, green)
    } else {
        (green, red)
    };
    scene.put(&on_left, left_row, columns[left]);
    scene.put(&on_right, right_row, columns[right]);
    scene.render(scene::brightness(stream), out);
}

/// Coordinates from `first` to `last` that are a whole number of periods apart, at a random phase.
fn places(stream: &mut Stream, last: usize, first: usize, period: usize) -> Vec<usize> {
    let phase = stream.below(period as u32) as usize;
    (first + phase..=last).step_by(period).collect()
}
