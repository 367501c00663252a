//! `anagram`: a figure cut into four pieces, in place or with its left and right halves exchanged
//! (after the object anagrams of the Configural Shape Score, arXiv 2507.00493).
//!
//! A piece is 4u wide in the middle of a cell of 8u, so pieces stay 4u apart and 2u from the border.
//! A diamond with its halves exchanged is a saltire: the same four strokes.

use super::around_zero;
use super::scene::{self, Part, Scene};
use crate::rng::Stream;

/// Figures, each a class, and what each becomes with its halves exchanged: the next class.
const FIGURES: [[&str; 2]; 4] = [
    ["diamond", "saltire"],
    ["circle", "arcs-back-to-back"],
    ["box", "brackets-back-to-back"],
    ["wheel", "hourglass"],
];

pub(super) fn class_names() -> Vec<String> {
    FIGURES
        .as_flattened()
        .iter()
        .map(|name| name.to_string())
        .collect()
}

/// Whether a figure has ink at (`y`, `x`); the figure is `side` pixels wide and fills that square.
fn inked(figure: usize, y: usize, x: usize, side: usize) -> bool {
    // Distance from the centre in half pixels, so that it is a whole number.
    let centred = |i: usize| (2 * i as i32 + 1 - side as i32).abs();
    let (dy, dx, side) = (centred(y), centred(x), side as i32);
    // Strokes are an eighth of the figure wide: 1u.
    let stroke = side / 4;
    match figure {
        0 => (dy + dx - side).abs() < stroke,
        1 => {
            let (outer, inner) = (side * side, (side - stroke) * (side - stroke));
            (inner..=outer).contains(&(dy * dy + dx * dx))
        }
        2 => dy.max(dx) > side - stroke,
        _ => dy * dy + dx * dx <= side * side,
    }
}

pub(super) fn draw(stream: &mut Stream, label: u32, size: usize, out: &mut [u8]) {
    let unit = size / 16;
    let (cell, side, margin) = (8 * unit, 4 * unit, 2 * unit);
    let (figure, exchanged) = (label as usize / 2, label as usize % 2);
    let background = scene::grey(stream);
    let mut scene = Scene::new(stream, size, cell, background);
    // Ink lighter or darker than the background, of any hue.
    let contrast = if stream.below(2) == 0 { 70 } else { -60 };
    let ink = background.map(|level| level + contrast + around_zero(stream, 30));
    let pieces = [0, 1, 2, 3].map(|i| {
        let (top, left) = (i / 2 * side, i % 2 * side);
        Part::paint(stream, side, ink, |y, x| {
            inked(figure, top + y, left + x, 2 * side)
        })
    });
    for (i, piece) in pieces.iter().enumerate() {
        let at = i ^ exchanged;
        scene.put(piece, at / 2 * cell + margin, at % 2 * cell + margin);
    }
    scene.render(scene::brightness(stream), out);
}
