//! Parts on a periodic background: what all the tasks about arrangement are drawn with.

use super::around_zero;
use crate::rng::Stream;

/// A colour before noise and clipping.
pub(super) type Colour = [i32; 3];

pub(super) const RED: Colour = [225, 50, 50];
pub(super) const GREEN: Colour = [50, 190, 70];
pub(super) const BLUE: Colour = [60, 100, 240];
pub(super) const YELLOW: Colour = [235, 205, 50];

/// Noise of every pixel: at most this many grey levels up or down.
const NOISE: i32 = 12;

/// Shapes that can be told apart from 3×3 pixels up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Glyph {
    Disc,
    Plus,
    Ring,
    Saltire,
    Square,
}

impl Glyph {
    /// Whether the pixel in row `y`, column `x` of a glyph of this `side` is inked.
    fn inked(self, y: usize, x: usize, side: usize) -> bool {
        // Distance from the centre in half pixels, so that it is a whole number.
        let centred = |i: usize| (2 * i as i32 + 1 - side as i32).abs();
        let (dy, dx, side) = (centred(y), centred(x), side as i32);
        match self {
            Glyph::Disc => dy * dy + dx * dx <= side * side,
            Glyph::Plus => 3 * dy.min(dx) < side,
            Glyph::Ring => 3 * dy.max(dx) > side,
            Glyph::Saltire => 3 * (dy - dx).abs() <= side,
            Glyph::Square => true,
        }
    }
}

/// A small square picture; pixels that are `None` let the background through.
pub(super) struct Part {
    side: usize,
    pixels: Vec<Option<Colour>>,
}

impl Part {
    /// A part whose ink is where `inked(y, x)` says. Its noise is drawn here, so it moves along.
    pub(super) fn paint(
        stream: &mut Stream,
        side: usize,
        colour: Colour,
        inked: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let pixel = |i: usize| {
            let noisy = colour.map(|level| level + around_zero(stream, NOISE));
            inked(i / side, i % side).then_some(noisy)
        };
        Part {
            side,
            pixels: (0..side * side).map(pixel).collect(),
        }
    }

    /// A glyph of one colour.
    pub(super) fn glyph(stream: &mut Stream, glyph: Glyph, side: usize, colour: Colour) -> Self {
        Part::paint(stream, side, colour, |y, x| glyph.inked(y, x, side))
    }
}

/// A square image: a noise tile repeated over it, and parts on top.
pub(super) struct Scene {
    size: usize,
    pixels: Vec<Colour>,
}

impl Scene {
    /// A background that repeats every `period` pixels in both directions, of about this colour.
    pub(super) fn new(stream: &mut Stream, size: usize, period: usize, colour: Colour) -> Self {
        let tile: Vec<Colour> = (0..period * period)
            .map(|_| colour.map(|level| level + around_zero(stream, NOISE)))
            .collect();
        let pixels = (0..size * size)
            .map(|i| tile[(i / size % period) * period + i % size % period])
            .collect();
        Scene { size, pixels }
    }

    /// Puts `part` with its upper left corner at row `top`, column `left`.
    pub(super) fn put(&mut self, part: &Part, top: usize, left: usize) {
        for (i, pixel) in part.pixels.iter().enumerate() {
            if let Some(colour) = pixel {
                let (y, x) = (top + i / part.side, left + i % part.side);
                self.pixels[y * self.size + x] = *colour;
            }
        }
    }

    /// The image as bytes, all channels `brighter` by that many levels.
    pub(super) fn render(&self, brighter: i32, out: &mut [u8]) {
        for (value, level) in out.iter_mut().zip(self.pixels.iter().flatten()) {
            *value = (level + brighter).clamp(0, 255) as u8;
        }
    }
}

/// A grey level for the background of one image.
pub(super) fn grey(stream: &mut Stream) -> Colour {
    [90 + stream.below(51) as i32; 3]
}

/// How much brighter or darker one image is than the average.
pub(super) fn brightness(stream: &mut Stream) -> i32 {
    around_zero(stream, 16)
}
