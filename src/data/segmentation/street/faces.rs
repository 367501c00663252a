//! The faces of vehicles: what is where on a side, an end, a cabin.
//!
//! On a face along the vehicle `a` runs from its rear to its front; on a face across it `b` runs from
//! its middle; `t` is the height above the road. All in metres.

use super::building::sash;
use super::canvas::{Colour, Ink, mix, scale};
use super::labels::{Material, Piece, Thing};
use super::vehicle::{Kind, Plant, Vehicle};

const GLASS: Colour = [58.0, 70.0, 82.0];
const TYRE: Colour = [34.0, 34.0, 36.0];
const PLATE: Colour = [236.0, 234.0, 220.0];

impl Vehicle {
    fn thing(&self) -> Thing {
        match self.kind {
            Kind::Car => Thing::Car,
            Kind::Bus => Thing::Bus,
            Kind::Truck => Thing::Truck,
        }
    }

    fn ink(&self, colour: Colour, material: Material) -> Ink {
        Ink::new(self.thing(), colour).of(material)
    }

    pub(super) fn body(&self, t: f64) -> Ink {
        let light = 0.82 + 0.24 * (t / self.height).clamp(0.0, 1.0);
        self.ink(scale(self.paint, light), Material::Metal)
    }

    /// A wheel of this radius around (0, 0).
    fn wheel(&self, a: f64, t: f64, radius: f64, piece: Piece) -> Option<Ink> {
        let square = a * a + t * t;
        let rim = radius * 0.62;
        (square < radius * radius).then(|| {
            let hub = square < rim * rim;
            let spoke = hub && (a.abs() < 0.05 || t.abs() < 0.05);
            match hub {
                true => self.ink([if spoke { 110.0 } else { 176.0 }; 3], Material::Metal),
                false => self.ink(TYRE, Material::Rubber),
            }
            .piece(piece)
        })
    }

    /// The long side. `doors` on this side of a bus.
    pub(super) fn side(&self, a: f64, t: f64, doors: bool, plant: Plant) -> Option<Ink> {
        match self.kind {
            Kind::Car => self.car_side(a, t),
            Kind::Bus => self.bus_side(a, t, doors, plant),
            Kind::Truck => self.truck_side(a, t),
        }
    }

    fn car_side(&self, a: f64, t: f64) -> Option<Ink> {
        let (length, height, belt) = (self.length, self.height, self.belt);
        for axle in [0.82, length - 0.85] {
            if let Some(ink) = self.wheel(a - axle, t - 0.33, 0.33, Piece::CarWheel) {
                return Some(ink);
            }
            // The arch above the wheel is open.
            let square = (a - axle) * (a - axle) + (t - 0.33) * (t - 0.33);
            if square < 0.4 * 0.4 {
                return Some(self.ink([22.0, 22.0, 24.0], Material::Plastic));
            }
        }
        let (rear, front) = (if self.estate { 0.15 } else { 0.45 }, length - 1.15);
        if t >= belt {
            // The cabin: a trapezoid that leans in by up to 0.75 m on its way up.
            let up = (t - belt) / (height - belt);
            let lean = if self.estate { 0.25 } else { 0.55 };
            let (from, to) = (rear + lean * up, front - 0.85 * up);
            if (front - 0.75..front - 0.5).contains(&a) && t < belt + 0.17 {
                return Some(self.body(t).piece(Piece::CarMirror).lit(0.8));
            }
            if !(from..to).contains(&a) || t >= height {
                return None;
            }
            if t > height - 0.09 {
                return Some(self.body(t).piece(Piece::CarRoof));
            }
            let middle = (rear + front) / 2.0;
            let pillar = a < from + 0.1 || a > to - 0.08 || (a - middle).abs() < 0.05;
            return Some(match pillar {
                true => self.body(t).lit(0.75),
                false => {
                    let sheen = mix(GLASS, [150.0, 168.0, 184.0], 0.5 * up);
                    self.ink(sheen, Material::Glass).piece(Piece::CarWindow)
                }
            });
        }
        // Bonnet and boot fall off towards the ends.
        let end = (length - a).min(a);
        let top =
            belt - 0.5 * (0.35 - end).max(0.0) - if a > front { 0.1 * (a - front) } else { 0.0 };
        if t < 0.22 || t > top || !(0.0..length).contains(&a) {
            return None;
        }
        if end < 0.3 && t < 0.48 {
            let piece = Piece::CarBumper;
            return Some(self.ink([70.0, 72.0, 76.0], Material::Plastic).piece(piece));
        }
        if length - a < 0.28 && t > 0.56 && t < 0.74 {
            return Some(
                self.ink([244.0, 240.0, 214.0], Material::Glass)
                    .piece(Piece::CarHeadlight),
            );
        }
        if a < 0.22 && t > 0.58 && t < 0.82 {
            return Some(
                self.ink([196.0, 24.0, 24.0], Material::Plastic)
                    .piece(Piece::CarTaillight),
            );
        }
        if t < 0.3 {
            return Some(self.ink([40.0, 42.0, 44.0], Material::Plastic));
        }
        let door = (1.15..front - 0.1).contains(&a);
        let seam = (a - (rear + front) / 2.0).abs() < 0.02 || (a - 1.17).abs() < 0.02;
        let handle = (0.72..0.77).contains(&t)
            && ((a - 1.45).abs() < 0.1 || (a - (rear + front) / 2.0 - 0.25).abs() < 0.1);
        let ink = self.body(t).lit(if seam || handle { 0.55 } else { 1.0 });
        Some(if door { ink.piece(Piece::CarDoor) } else { ink })
    }

    fn bus_side(&self, a: f64, t: f64, doors: bool, plant: Plant) -> Option<Ink> {
        let (length, height) = (self.length, self.height);
        for axle in [2.3, length - 2.5] {
            if let Some(ink) = self.wheel(a - axle, t - 0.48, 0.48, Piece::BusWheel) {
                return Some(ink);
            }
        }
        if !(0.0..length).contains(&a) || !(0.28..height).contains(&t) {
            return None;
        }
        if t > height - 0.22 {
            return Some(
                self.ink([224.0, 224.0, 220.0], Material::Metal)
                    .piece(Piece::BusRoof),
            );
        }
        let door = doors
            && ((length - 1.6..length - 0.4).contains(&a)
                || (length / 2.0 - 0.6..length / 2.0 + 0.7).contains(&a));
        if door && t < 2.55 {
            let glass = t > 0.55 && (a * 1.65).fract() > 0.18;
            return Some(
                match glass {
                    true => self.ink(mix(GLASS, [128.0, 146.0, 160.0], t / 4.0), Material::Glass),
                    false => self.ink([48.0, 48.0, 52.0], Material::Rubber),
                }
                .piece(Piece::BusDoor),
            );
        }
        if let Some(ink) = self.bus_window(a, t, [0.2, length - 0.2], 1.45, plant) {
            return Some(ink);
        }
        if (0.78..1.0).contains(&t) {
            return Some(self.ink(self.stripe, Material::Painted));
        }
        Some(self.body(t))
    }

    /// A window of a bus: a dark band between thin posts, or, planted, those of a house.
    fn bus_window(
        &self,
        a: f64,
        t: f64,
        [from, to]: [f64; 2],
        every: f64,
        plant: Plant,
    ) -> Option<Ink> {
        let top = self.height - 0.5;
        if !(from..to).contains(&a) || !(self.belt..top).contains(&t) {
            return None;
        }
        let number = ((to - from) / every).round().max(1.0);
        let pitch = (to - from) / number;
        let u = (a - from).rem_euclid(pitch);
        if plant.sashes {
            let size = [0.62 * pitch, top - self.belt - 0.1];
            let (colour, material) = sash(u - 0.19 * pitch, t - self.belt - 0.05, size)?;
            return Some(self.ink(colour, material).piece(Piece::BusWindow));
        }
        if u < 0.07 {
            return Some(
                self.ink([38.0, 40.0, 42.0], Material::Rubber)
                    .piece(Piece::BusWindow),
            );
        }
        let up = (t - self.belt) / (top - self.belt);
        let heads =
            up < 0.45 && (u / pitch - 0.5).abs() < 0.2 && (a * 0.37 + self.phase).fract() < 0.5;
        let pane = mix(GLASS, [120.0, 140.0, 156.0], 0.6 * up);
        let pane = if heads { scale(pane, 0.72) } else { pane };
        Some(self.ink(pane, Material::Glass).piece(Piece::BusWindow))
    }

    fn truck_side(&self, a: f64, t: f64) -> Option<Ink> {
        let (length, height) = (self.length, self.height);
        for axle in [1.2, 2.3, length - 1.3] {
            if let Some(ink) = self.wheel(a - axle, t - 0.48, 0.48, Piece::TruckWheel) {
                return Some(ink);
            }
        }
        let cab = length - 1.9;
        if (0.0..cab - 0.15).contains(&a) && (0.95..height).contains(&t) {
            // A canvas cover with folds, or plain boards.
            let fold = if (a * 1.3 + self.phase).fract() < 0.08 {
                0.82
            } else {
                1.0
            };
            return Some(self.ink(scale(self.stripe, fold), Material::Fabric));
        }
        if (0.0..cab).contains(&a) && (0.7..0.95).contains(&t) {
            return Some(self.ink([58.0, 58.0, 62.0], Material::Metal));
        }
        if (cab..length).contains(&a) && (0.4..2.6).contains(&t) {
            let window = (cab + 0.45..length - 0.2).contains(&a) && (1.5..2.3).contains(&t);
            return Some(match window {
                true => self.ink(GLASS, Material::Glass),
                false => self.body(t).lit(if (a - cab - 0.35).abs() < 0.03 {
                    0.6
                } else {
                    1.0
                }),
            });
        }
        None
    }

    /// Rear or front, up to the belt of a car or all of a bus or truck.
    pub(super) fn end(&self, b: f64, t: f64, front: bool, plant: Plant) -> Option<Ink> {
        let (half, across) = (self.width / 2.0, b.abs());
        let (wheel, headlight, plate, bumper) = match self.kind {
            Kind::Car => (
                Some(Piece::CarWheel),
                if front {
                    Some(Piece::CarHeadlight)
                } else {
                    Some(Piece::CarTaillight)
                },
                Some(Piece::CarPlate),
                Some(Piece::CarBumper),
            ),
            Kind::Bus => (
                Some(Piece::BusWheel),
                front.then_some(Piece::BusHeadlight),
                Some(Piece::BusPlate),
                None,
            ),
            Kind::Truck => (Some(Piece::TruckWheel), None, None, None),
        };
        let part = |ink: Ink, piece: Option<Piece>| match piece {
            Some(piece) => ink.piece(piece),
            None => ink,
        };
        let big = self.kind != Kind::Car;
        let (clearance, sill) = if big { (0.42, 0.72) } else { (0.28, 0.52) };
        let upper = match self.kind {
            Kind::Car => self.belt,
            Kind::Bus => self.height,
            Kind::Truck => {
                if front {
                    2.6
                } else {
                    self.height
                }
            }
        };
        if self.kind == Kind::Bus && front && across > half && (1.75..2.3).contains(&t) {
            let mirror = self.ink([40.0, 40.0, 44.0], Material::Plastic);
            return Some(mirror.piece(Piece::BusMirror));
        }
        if across > half || t > upper {
            return None;
        }
        if t < clearance {
            let tyre = (half - 0.3..half - 0.05).contains(&across);
            return tyre.then(|| part(self.ink(TYRE, Material::Rubber), wheel));
        }
        if across < 0.27 && (sill + 0.02..sill + 0.16).contains(&t) {
            return Some(part(self.ink(PLATE, Material::Plastic), plate));
        }
        if t < sill {
            return Some(part(
                self.ink([74.0, 76.0, 80.0], Material::Plastic),
                bumper,
            ));
        }
        if (half - 0.36..half - 0.08).contains(&across) && (sill + 0.06..sill + 0.26).contains(&t) {
            return Some(part(
                match front {
                    true => self.ink([246.0, 242.0, 218.0], Material::Glass),
                    false => self.ink([198.0, 24.0, 24.0], Material::Plastic),
                },
                headlight,
            ));
        }
        if !big {
            let grille = front && across < 0.45 && t < sill + 0.3 && t > sill + 0.18;
            return Some(match grille {
                true => self.ink([36.0, 36.0, 40.0], Material::Plastic),
                false => self.body(t),
            });
        }
        if self.kind == Kind::Truck && !front {
            let seam = b.abs() < 0.03;
            return Some(self.ink(
                scale(self.stripe, if seam { 0.6 } else { 0.9 }),
                Material::Fabric,
            ));
        }
        if self.kind == Kind::Bus {
            if t > self.height - 0.2 {
                return Some(
                    self.ink([224.0, 224.0, 220.0], Material::Metal)
                        .piece(Piece::BusRoof),
                );
            }
            if front && t > self.height - 0.52 {
                let digits = across < 0.8 && (b * 5.0).fract().abs() > 0.35;
                let colour = if digits {
                    [244.0, 176.0, 40.0]
                } else {
                    [26.0, 26.0, 28.0]
                };
                return Some(self.ink(colour, Material::Plastic));
            }
            if across < half - 0.14
                && let Some(ink) = self.bus_window(
                    b + half,
                    t,
                    [0.14, self.width - 0.14],
                    if front { 1.15 } else { 2.3 },
                    plant,
                )
            {
                return Some(ink);
            }
            return Some(self.body(t));
        }
        if across < half - 0.12 && (1.45..2.35).contains(&t) {
            let pane = mix(GLASS, [140.0, 160.0, 176.0], 0.5 * (t - 1.45));
            return Some(
                self.ink(pane, Material::Glass)
                    .piece(Piece::TruckWindshield),
            );
        }
        Some(self.body(t))
    }

    /// The slanting rear window or windshield of a car, drawn upright half way.
    pub(super) fn cabin(&self, b: f64, t: f64, front: bool) -> Option<Ink> {
        let up = (t - self.belt) / (self.height - self.belt);
        let half = self.width / 2.0 - 0.06 - 0.2 * up;
        let across = b.abs();
        if front && (self.width / 2.0 - 0.02..self.width / 2.0 + 0.2).contains(&across) && up < 0.36
        {
            return Some(self.body(t).piece(Piece::CarMirror).lit(0.8));
        }
        if across > half || !(0.0..1.0).contains(&up) {
            return None;
        }
        if up > 0.86 {
            return Some(self.body(t).piece(Piece::CarRoof));
        }
        if across > half - 0.09 {
            return Some(self.body(t).lit(0.75));
        }
        let pane = mix(GLASS, [156.0, 174.0, 190.0], 0.55 * up);
        let piece = if front {
            Piece::CarWindshield
        } else {
            Piece::CarWindow
        };
        Some(self.ink(pane, Material::Glass).piece(piece))
    }
}
