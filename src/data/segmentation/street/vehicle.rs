//! Cars, buses and trucks: boxes whose faces ([`super::faces`]) carry the parts.

use super::building::{between, chance, pick};
use super::canvas::{Canvas, Colour, Grain, Ink, Plane, mix};
use crate::rng::Stream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Car,
    Bus,
    Truck,
}

/// Which way a vehicle stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heading {
    /// Away from the camera, which sees the rear.
    Away,
    /// Towards the camera, which sees the front.
    Towards,
    /// Across the street, to the right or to the left.
    Across { right: bool },
}

/// What is wrong with a vehicle, if a failure is planted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plant {
    /// Buses have the windows of houses.
    pub(super) sashes: bool,
    /// Cars are overgrown with leaves.
    pub(super) leaves: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Vehicle {
    pub(super) kind: Kind,
    pub(super) paint: Colour,
    pub(super) stripe: Colour,
    pub(super) length: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) belt: f64,
    /// An estate's roof goes on to the rear.
    pub(super) estate: bool,
    pub(super) phase: f64,
}

impl Vehicle {
    pub(super) fn draw(stream: &mut Stream, kind: Kind) -> Self {
        let paints: &[Colour] = match kind {
            Kind::Car => &[
                [176.0, 30.0, 34.0],
                [38.0, 66.0, 138.0],
                [196.0, 200.0, 204.0],
                [44.0, 46.0, 50.0],
                [228.0, 226.0, 220.0],
                [60.0, 110.0, 80.0],
                [204.0, 160.0, 50.0],
            ],
            Kind::Bus => &[
                [206.0, 48.0, 40.0],
                [226.0, 184.0, 48.0],
                [52.0, 110.0, 176.0],
                [88.0, 150.0, 96.0],
            ],
            Kind::Truck => &[
                [214.0, 212.0, 206.0],
                [70.0, 96.0, 146.0],
                [180.0, 110.0, 60.0],
            ],
        };
        let paint = pick(stream, paints);
        let stretch = between(stream, 0.94, 1.08);
        let (length, width, height, belt) = match kind {
            Kind::Car => (4.3 * stretch, 1.8, 1.48 * stretch, 0.92),
            Kind::Bus => (10.5 * stretch, 2.5, 3.1 * stretch, 1.25),
            Kind::Truck => (7.6 * stretch, 2.4, 3.2 * stretch, 1.1),
        };
        Vehicle {
            kind,
            paint,
            stripe: mix(paint, [240.0, 240.0, 236.0], 0.75),
            length,
            width,
            height,
            belt,
            estate: chance(stream, 35),
            phase: stream.uniform(),
        }
    }

    pub(super) fn length(&self) -> f64 {
        self.length
    }

    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// Paints the vehicle with its nearest corner at depth `z` and its middle at `x`.
    pub(super) fn paint(
        &self,
        canvas: &mut Canvas,
        grain: &Grain,
        (x, z): (f64, f64),
        eye: f64,
        heading: Heading,
        plant: Plant,
    ) {
        canvas.planting =
            plant.sashes && self.kind == Kind::Bus || plant.leaves && self.kind == Kind::Car;
        let grown = |ink: Option<Ink>, s: f64, t: f64| match plant.leaves && self.kind == Kind::Car
        {
            true => ink.map(|ink| overgrown(ink, grain, s, t)),
            false => ink,
        };
        let shadow = |s: f64, from: f64, to: f64, t: f64| {
            let edge = (s - from).min(to - s).min(0.6) / 0.6;
            1.0 - 0.55 * edge.max(0.0) * (t * 2.0).clamp(0.0, 1.0)
        };
        let (length, half) = (self.length, self.width / 2.0);
        if let Heading::Across { right } = heading {
            let (left, end) = (x - length / 2.0, x + length / 2.0);
            canvas.light(
                Plane::Level { y: 0.0 },
                [left, end],
                [z - 0.3, z + self.width],
                |s, t| shadow(s, left, end, t - z + 0.3),
            );
            let facing = Plane::Facing { z };
            canvas.paint(facing, [left, end], [0.0, self.height], |s, t| {
                let a = if right { s - left } else { end - s };
                grown(self.side(a, t, !right, plant), s, t)
            });
            canvas.planting = false;
            return;
        }
        let front = heading == Heading::Towards;
        let far = z + length;
        canvas.light(
            Plane::Level { y: 0.0 },
            [x - half - 0.2, x + half + 0.2],
            [z - 0.2, far],
            |s, t| shadow(s, x - half - 0.2, x + half + 0.2, t - z + 0.2),
        );
        let along = |s: f64| if front { far - s } else { s - z };
        let side = if x > eye { x - half } else { x + half };
        // The kerb is on the vehicle's right: doors show on the side away from the middle of the road.
        let doors = (side < x) == front;
        canvas.paint(
            Plane::Along { x: side },
            [z, far],
            [0.0, self.height],
            |s, t| grown(self.side(along(s), t, doors, plant), s, t).map(|ink| ink.lit(0.86)),
        );
        let facing = Plane::Facing { z };
        if self.kind == Kind::Car {
            let setback = match (front, self.estate) {
                (true, _) => 1.5,
                (false, true) => 0.25,
                (false, false) => 0.7,
            };
            canvas.paint(
                Plane::Facing { z: z + setback },
                [x - 1.2, x + 1.2],
                [self.belt, self.height],
                |s, t| grown(self.cabin(s - x, t, front), s, t),
            );
            canvas.paint(
                Plane::Level { y: self.belt },
                [x - half + 0.05, x + half - 0.05],
                [z, z + setback],
                |s, t| grown(Some(self.body(self.height)), s, t),
            );
        }
        canvas.paint(
            facing,
            [x - half - 0.22, x + half + 0.22],
            [0.0, self.height],
            |s, t| grown(self.end(s - x, t, front, plant), s, t),
        );
        canvas.planting = false;
    }
}

/// Leaves over what is there, which stays what it is.
fn overgrown(ink: Ink, grain: &Grain, s: f64, t: f64) -> Ink {
    match grain.cloudy(s * 1.7, t * 1.7 + 40.0) > -0.25 {
        true => ink.painted_over(super::thing::leaf(grain, s, t)),
        false => ink,
    }
}
