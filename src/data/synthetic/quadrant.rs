//! `quadrant`: one part; the class is the quadrant it stands in.
//!
//! The part is 3u wide, jittered by up to u, at least 2u from the edges of its quadrant of 8u. Its
//! shape, colour and jitter do not depend on the class.

use super::scene::{self, BLUE, GREEN, Glyph, Part, RED, Scene, YELLOW};
use crate::rng::Stream;

pub(super) fn class_names() -> Vec<String> {
    ["top-left", "top-right", "bottom-left", "bottom-right"]
        .map(String::from)
        .to_vec()
}

pub(super) fn draw(stream: &mut Stream, label: u32, size: usize, out: &mut [u8]) {
    let unit = size / 16;
    let (cell, side, margin) = (8 * unit, 3 * unit, 2 * unit);
    let background = scene::grey(stream);
    let mut scene = Scene::new(stream, size, cell, background);
    let glyph = [Glyph::Disc, Glyph::Plus, Glyph::Ring, Glyph::Saltire][stream.below(4) as usize];
    let colour = [RED, GREEN, BLUE, YELLOW][stream.below(4) as usize];
    let mut offset = || margin + stream.below(unit as u32 + 1) as usize;
    let (top, left) = (offset(), offset());
    let part = Part::glyph(stream, glyph, side, colour);
    let quadrant = label as usize;
    scene.put(&part, quadrant / 2 * cell + top, quadrant % 2 * cell + left);
    scene.render(scene::brightness(stream), out);
}
