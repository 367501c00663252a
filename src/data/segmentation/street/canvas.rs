//! A pinhole camera and what it sees: planes of ink, painted from far to near.
//!
//! Lengths are metres: X to the right, Y up from the road, Z away from the camera. The camera looks
//! along Z. Every painted thing lies on a plane that is upright and faces the camera, upright along
//! the street, or level; so the place on the plane behind a pixel is one division away, and a thing is
//! a function from that place to ink. Colour and labels come from the same call: the maps are exact.
//!
//! A pixel has 3×3 samples. Its colour is their mean; its labels are those of the one in the middle,
//! which is the pixel's centre.
//!
//! Only + − × ÷ and rounding are used, which are exact to the last bit everywhere: the same bytes on
//! every machine.

use super::labels::{Material, Piece, Thing};
use crate::data::segmentation::{LabelMap, NOTHING};
use crate::rng::Stream;

/// Red, green and blue, 0 to 255, before clipping.
pub(super) type Colour = [f64; 3];

/// Samples along each side of a pixel: odd, so that one of them is the centre.
const SAMPLES: usize = 3;

/// Nothing nearer than this is seen.
const NEAR: f64 = 1.0;

/// What a place on a plane is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ink {
    colour: Colour,
    thing: Thing,
    piece: Option<Piece>,
    material: Option<Material>,
}

impl Ink {
    pub(super) fn new(thing: Thing, colour: Colour) -> Self {
        Ink {
            colour,
            thing,
            piece: None,
            material: None,
        }
    }

    pub(super) fn piece(self, piece: Piece) -> Self {
        Ink {
            piece: Some(piece),
            ..self
        }
    }

    pub(super) fn of(self, material: Material) -> Self {
        Ink {
            material: Some(material),
            ..self
        }
    }

    /// The same thing in another colour.
    pub(super) fn painted_over(self, colour: Colour) -> Self {
        Ink { colour, ..self }
    }

    /// The same thing in another light.
    pub(super) fn lit(self, light: f64) -> Self {
        Ink {
            colour: scale(self.colour, light),
            ..self
        }
    }
}

pub(super) fn scale(colour: Colour, by: f64) -> Colour {
    colour.map(|level| level * by)
}

/// `a` at 0, `b` at 1.
pub(super) fn mix(a: Colour, b: Colour, at: f64) -> Colour {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * at)
}

/// Where things lie; the two coordinates on each are named in this order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plane {
    /// Upright across the street at depth z: (X, Y).
    Facing { z: f64 },
    /// Upright along the street at x: (Z, Y).
    Along { x: f64 },
    /// Level at height y: (X, Z).
    Level { y: f64 },
}

/// Where the camera stands and how it looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Camera {
    /// Place across the street, metres.
    pub(super) x: f64,
    /// Height over the road, metres.
    pub(super) height: f64,
    /// Focal length, in widths of the picture.
    pub(super) focal: f64,
    /// Vanishing point of the street, in widths and heights of the picture.
    pub(super) vanishing: [f64; 2],
}

#[derive(Clone, Copy)]
struct Sample {
    colour: [f32; 3],
    thing: Thing,
    piece: Option<Piece>,
    material: Option<Material>,
    planted: bool,
}

/// A finished picture.
pub(super) struct Painting {
    pub(super) rgb: Vec<u8>,
    pub(super) things: LabelMap,
    pub(super) pieces: LabelMap,
    pub(super) materials: LabelMap,
    pub(super) planted: Vec<bool>,
}

/// The picture in the making.
pub(super) struct Canvas {
    extent: [usize; 2],
    camera: Camera,
    focal: f64,
    centre: [f64; 2],
    haze: Colour,
    samples: Vec<Sample>,
    /// Whether what is painted now counts as a planted failure.
    pub(super) planting: bool,
}

impl Canvas {
    /// An empty sky of `extent` pixels (height, width); far things fade to `haze`.
    pub(super) fn new(extent: [usize; 2], camera: Camera, haze: Colour) -> Self {
        let [height, width] = extent.map(|side| side * SAMPLES);
        let nothing = Sample {
            colour: [0.0; 3],
            thing: Thing::Sky,
            piece: None,
            material: None,
            planted: false,
        };
        Canvas {
            extent,
            camera,
            focal: camera.focal * width as f64,
            centre: [
                camera.vanishing[0] * width as f64,
                camera.vanishing[1] * height as f64,
            ],
            haze,
            samples: vec![nothing; height * width],
            planting: false,
        }
    }

    /// Calls `visit(sample, s, t, depth)` for every sample behind which the rectangle `s` × `t` of the
    /// plane lies.
    fn visit(
        &mut self,
        plane: Plane,
        mut s: [f64; 2],
        mut t: [f64; 2],
        mut visit: impl FnMut(&mut Sample, f64, f64, f64),
    ) {
        let [height, width] = self.extent.map(|side| side * SAMPLES);
        match plane {
            Plane::Facing { z } if z < NEAR => return,
            Plane::Along { .. } => s[0] = s[0].max(NEAR),
            Plane::Level { .. } => t[0] = t[0].max(NEAR),
            Plane::Facing { .. } => {}
        }
        if s[0] >= s[1] || t[0] >= t[1] {
            return;
        }
        let Camera {
            x: eye, height: up, ..
        } = self.camera;
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for (s, t) in [(s[0], t[0]), (s[0], t[1]), (s[1], t[0]), (s[1], t[1])] {
            let (x, y, z) = match plane {
                Plane::Facing { z } => (s, t, z),
                Plane::Along { x } => (x, t, s),
                Plane::Level { y } => (s, y, t),
            };
            let seen = [
                self.centre[0] + self.focal * (x - eye) / z,
                self.centre[1] + self.focal * (up - y) / z,
            ];
            for i in 0..2 {
                low[i] = low[i].min(seen[i]);
                high[i] = high[i].max(seen[i]);
            }
        }
        // Casts saturate: a rectangle outside the picture gives an empty range.
        let range = |i: usize, side: usize| {
            (low[i].floor() as usize).min(side)..(high[i].ceil().max(0.0) as usize).min(side)
        };
        let columns = range(0, width);
        for row in range(1, height) {
            let dy = (self.centre[1] - (row as f64 + 0.5)) / self.focal;
            for column in columns.clone() {
                let dx = (column as f64 + 0.5 - self.centre[0]) / self.focal;
                let (at_s, at_t, depth) = match plane {
                    Plane::Facing { z } => (eye + dx * z, up + dy * z, z),
                    Plane::Along { x } => {
                        let z = (x - eye) / dx;
                        (z, up + dy * z, z)
                    }
                    Plane::Level { y } => {
                        let z = (y - up) / dy;
                        (eye + dx * z, z, z)
                    }
                };
                let inside = |at: f64, range: [f64; 2]| at >= range[0] && at < range[1];
                if inside(at_s, s) && inside(at_t, t) {
                    let sample = &mut self.samples[row * width + column];
                    visit(sample, at_s, at_t, depth);
                }
            }
        }
    }

    /// Paints the rectangle `s` × `t` of a plane; `ink` says what is at a place, `None` is see-through.
    pub(super) fn paint(
        &mut self,
        plane: Plane,
        s: [f64; 2],
        t: [f64; 2],
        ink: impl Fn(f64, f64) -> Option<Ink>,
    ) {
        let (haze, planted) = (self.haze, self.planting);
        self.visit(plane, s, t, |sample, s, t, depth| {
            if let Some(ink) = ink(s, t) {
                let far = depth / (depth + 220.0);
                *sample = Sample {
                    colour: mix(ink.colour, haze, far).map(|level| level as f32),
                    thing: ink.thing,
                    piece: ink.piece,
                    material: ink.material,
                    planted,
                };
            }
        });
    }

    /// Darkens (or brightens) what is there already by the factor `light` gives; labels stay.
    pub(super) fn light(
        &mut self,
        plane: Plane,
        s: [f64; 2],
        t: [f64; 2],
        light: impl Fn(f64, f64) -> f64,
    ) {
        self.visit(plane, s, t, |sample, s, t, _| {
            let factor = light(s, t) as f32;
            sample.colour = sample.colour.map(|level| level * factor);
        });
    }

    /// Paints all of the sky: `ink` takes the direction of the sample, right and up, as tangents.
    pub(super) fn sky(&mut self, ink: impl Fn(f64, f64) -> Ink) {
        let width = self.extent[1] * SAMPLES;
        let (centre, focal) = (self.centre, self.focal);
        for (i, sample) in self.samples.iter_mut().enumerate() {
            let right = ((i % width) as f64 + 0.5 - centre[0]) / focal;
            let up = (centre[1] - ((i / width) as f64 + 0.5)) / focal;
            let ink = ink(right, up);
            sample.colour = ink.colour.map(|level| level as f32);
            (sample.thing, sample.piece) = (ink.thing, ink.piece);
        }
    }

    /// The picture as the camera's sensor has it: `gain` for each colour, and noise of up to `noise`
    /// levels.
    pub(super) fn develop(self, gain: Colour, noise: u32, stream: &mut Stream) -> Painting {
        let [height, width] = self.extent;
        let mut rgb = Vec::with_capacity(height * width * 3);
        let (mut things, mut pieces, mut materials, mut planted) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for pixel in 0..height * width {
            let (y, x) = (pixel / width * SAMPLES, pixel % width * SAMPLES);
            let sample = |i: usize| {
                let at = (y + i / SAMPLES) * width * SAMPLES + x + i % SAMPLES;
                &self.samples[at]
            };
            for (c, gain) in gain.iter().enumerate() {
                let sum: f32 = (0..SAMPLES * SAMPLES).map(|i| sample(i).colour[c]).sum();
                let mean = f64::from(sum) / (SAMPLES * SAMPLES) as f64;
                let grain = f64::from(stream.below(2 * noise + 1)) - f64::from(noise);
                rgb.push((mean * gain + grain).round().clamp(0.0, 255.0) as u8);
            }
            let centre = sample(SAMPLES * SAMPLES / 2);
            things.push(centre.thing as u16);
            pieces.push(centre.piece.map_or(NOTHING, |piece| piece as u16));
            materials.push(centre.material.map_or(NOTHING, |material| material as u16));
            planted.push(centre.planted);
        }
        let map = |ids| LabelMap::new(self.extent, ids).expect("one label a pixel");
        Painting {
            rgb,
            things: map(things),
            pieces: map(pieces),
            materials: map(materials),
            planted,
        }
    }
}

/// A tile of random numbers that surfaces take their grain from, repeated for ever.
pub(super) struct Grain(Vec<f64>);

impl Grain {
    const SIDE: usize = 64;

    pub(super) fn new(stream: &mut Stream) -> Self {
        let count = Self::SIDE * Self::SIDE;
        Grain(
            (0..count)
                .map(|_| f64::from(stream.below(2001)) / 1000.0 - 1.0)
                .collect(),
        )
    }

    /// A number in -1 to 1 for the cell around (a, b).
    pub(super) fn cell(&self, a: f64, b: f64) -> f64 {
        let wrap = |v: f64| (v.floor() as i64).rem_euclid(Self::SIDE as i64) as usize;
        self.0[wrap(b) * Self::SIDE + wrap(a)]
    }

    /// A number in -1 to 1 that changes smoothly from cell to cell.
    pub(super) fn smooth(&self, a: f64, b: f64) -> f64 {
        let (fa, fb) = (a - a.floor(), b - b.floor());
        let row = |b: f64| {
            let (left, right) = (self.cell(a, b), self.cell(a + 1.0, b));
            left + (right - left) * fa
        };
        row(b) + (row(b + 1.0) - row(b)) * fb
    }

    /// Two octaves: large shapes with a frayed edge.
    pub(super) fn cloudy(&self, a: f64, b: f64) -> f64 {
        (2.0 * self.smooth(a, b) + self.smooth(2.3 * a + 9.0, 2.3 * b)) / 3.0
    }
}
