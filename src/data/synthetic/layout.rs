//! `layout`: four parts in a 2×2 grid of cells; the class is which part stands in which cell.
//!
//! A cell is 8u wide and holds a part of 3u, jittered by up to u, at least 2u from the cell's edge.
//! A part takes its jitter, its noise and its brightness along when it moves to another cell, and the
//! background repeats from cell to cell.

use super::scene::{self, BLUE, GREEN, Glyph, Part, RED, Scene, YELLOW};
use crate::rng::Stream;

/// The parts and the letter that stands for each in a class name.
const PARTS: [(Glyph, scene::Colour, char); 4] = [
    (Glyph::Disc, RED, 'R'),
    (Glyph::Plus, GREEN, 'G'),
    (Glyph::Ring, BLUE, 'B'),
    (Glyph::Saltire, YELLOW, 'Y'),
];

/// The six orders of the parts 1, 2, 3 behind part 0.
const ORDERS: [[usize; 4]; 6] = [
    [0, 1, 2, 3],
    [0, 2, 3, 1],
    [0, 3, 1, 2],
    [0, 1, 3, 2],
    [0, 3, 2, 1],
    [0, 2, 1, 3],
];

/// The part in `cell` (row-major) of a class: each of the six orders, moved on by the four exchanges
/// of rows and columns (`cell ^ 0 … cell ^ 3`), makes 24 different arrangements.
fn part_in(class: usize, cell: usize) -> usize {
    ORDERS[class / 4][cell ^ (class % 4)]
}

/// `RG/BY`: the parts from left to right, the upper row first.
pub(super) fn class_names() -> Vec<String> {
    let letters = |class, cells: [usize; 2]| cells.map(|cell| PARTS[part_in(class, cell)].2);
    let name = |class| {
        let [[a, b], [c, d]] = [letters(class, [0, 1]), letters(class, [2, 3])];
        format!("{a}{b}/{c}{d}")
    };
    (0..24).map(name).collect()
}

pub(super) fn draw(stream: &mut Stream, label: u32, size: usize, out: &mut [u8]) {
    let unit = size / 16;
    let (cell, side, margin) = (8 * unit, 3 * unit, 2 * unit);
    let background = scene::grey(stream);
    let mut scene = Scene::new(stream, size, cell, background);
    let parts = PARTS.map(|(glyph, colour, _)| {
        let gain = 80 + stream.below(31) as i32;
        let colour = colour.map(|level| level * gain / 100);
        let mut offset = || margin + stream.below(unit as u32 + 1) as usize;
        let (top, left) = (offset(), offset());
        (Part::glyph(stream, glyph, side, colour), top, left)
    });
    for i in 0..4 {
        let (part, top, left) = &parts[part_in(label as usize, i)];
        scene.put(part, i / 2 * cell + top, i % 2 * cell + left);
    }
    scene.render(scene::brightness(stream), out);
}
