//! Houses: facades of storeys and bays, with windows, doors, shops, balconies, roofs and chimneys.

use super::canvas::{Canvas, Colour, Grain, Ink, Plane, mix, scale};
use super::labels::{Material, Piece, Thing};
use crate::rng::Stream;

/// A uniform number between two.
pub(super) fn between(stream: &mut Stream, low: f64, high: f64) -> f64 {
    low + (high - low) * stream.uniform()
}

/// Yes, with this probability in percent.
pub(super) fn chance(stream: &mut Stream, percent: u32) -> bool {
    stream.below(100) < percent
}

/// One of several.
pub(super) fn pick<T: Copy>(stream: &mut Stream, from: &[T]) -> T {
    from[stream.below(from.len() as u32) as usize]
}

/// A window with a frame and cross bars, `width` × `height`, its lower left corner at (0, 0): the
/// colour and material at (u, v), if that is on it. Houses have these, and so have buses whose
/// windows are planted.
pub(super) fn sash(u: f64, v: f64, [width, height]: [f64; 2]) -> Option<(Colour, Material)> {
    let frame: Colour = [232.0, 230.0, 222.0];
    if !(0.0..width).contains(&u) || !(0.0..height).contains(&v) {
        return None;
    }
    let edge = u.min(width - u).min(v).min(height - v);
    let bar = (u - width / 2.0).abs().min((v - 0.62 * height).abs());
    if edge < 0.09 || bar < 0.045 {
        return Some((frame, Material::Painted));
    }
    // The pane mirrors the sky above and the street below; a curtain hangs on one side.
    let pane = mix([62.0, 74.0, 88.0], [150.0, 172.0, 192.0], v / height);
    let curtain = u < 0.3 * width && v > 0.3 * height;
    Some(if curtain {
        (mix(pane, [200.0, 196.0, 186.0], 0.6), Material::Glass)
    } else {
        (pane, Material::Glass)
    })
}

#[derive(Clone, Copy)]
enum Wall {
    Brick,
    Plaster,
    Stone,
}

/// How the front of a house looks.
#[derive(Clone, Copy)]
pub(super) struct Facade {
    wall: Wall,
    colour: Colour,
    storey: f64,
    storeys: u32,
    bay: f64,
    window: [f64; 2],
    door: f64,
    shop: Option<Colour>,
    balconies: bool,
    roof: f64,
    tiles: Colour,
    chimney: bool,
}

impl Facade {
    pub(super) fn draw(stream: &mut Stream) -> Self {
        let wall = pick(
            stream,
            &[
                Wall::Brick,
                Wall::Brick,
                Wall::Plaster,
                Wall::Plaster,
                Wall::Stone,
            ],
        );
        let shades: &[Colour] = match wall {
            Wall::Brick => &[
                [150.0, 78.0, 62.0],
                [168.0, 104.0, 78.0],
                [122.0, 70.0, 60.0],
            ],
            Wall::Plaster => &[
                [214.0, 196.0, 156.0],
                [206.0, 176.0, 150.0],
                [190.0, 200.0, 196.0],
                [222.0, 214.0, 198.0],
                [178.0, 160.0, 170.0],
            ],
            Wall::Stone => &[[158.0, 154.0, 146.0], [182.0, 172.0, 152.0]],
        };
        let shade = pick(stream, shades);
        let bay = between(stream, 2.2, 3.4);
        let storey = between(stream, 2.9, 3.6);
        let sign = [
            [170.0, 40.0, 40.0],
            [40.0, 90.0, 60.0],
            [40.0, 60.0, 120.0],
            [210.0, 180.0, 70.0],
        ];
        let pitched = chance(stream, 65);
        Facade {
            wall,
            colour: scale(shade, between(stream, 0.88, 1.1)),
            storey,
            storeys: 2 + stream.below(4),
            bay,
            window: [bay * between(stream, 0.38, 0.5), between(stream, 1.35, 1.8)],
            door: f64::from(stream.below(3)),
            shop: chance(stream, 45).then(|| pick(stream, &sign)),
            balconies: chance(stream, 30),
            roof: if pitched {
                between(stream, 1.8, 3.0)
            } else {
                0.5
            },
            tiles: pick(
                stream,
                &[[140.0, 70.0, 54.0], [92.0, 88.0, 92.0], [112.0, 84.0, 70.0]],
            ),
            chimney: chance(stream, 55),
        }
    }

    /// Height of the wall.
    pub(super) fn eaves(&self) -> f64 {
        self.storey * f64::from(self.storeys)
    }

    /// What is at `s` along the front and `t` above the pavement.
    fn ink(&self, grain: &Grain, s: f64, t: f64) -> Option<Ink> {
        let ink = |colour| Ink::new(Thing::Building, colour);
        if t >= self.eaves() {
            return (t < self.eaves() + self.roof).then(|| self.roof_ink(grain, s, t));
        }
        let (storey, bay) = ((t / self.storey).floor(), (s / self.bay).floor());
        let (u, v) = (s - bay * self.bay, t - storey * self.storey);
        let upper = storey > 0.0;
        let has_door = bay.rem_euclid(3.0) == self.door;
        if self.balconies && upper && has_door {
            if v < 0.14 {
                return Some(
                    ink([176.0, 172.0, 166.0])
                        .piece(Piece::Balcony)
                        .of(Material::Stone),
                );
            }
            if v < 1.0 && (v > 0.93 || (s * 7.0).fract().abs() < 0.38) {
                return Some(
                    ink([52.0, 54.0, 58.0])
                        .piece(Piece::Railing)
                        .of(Material::Metal),
                );
            }
        }
        if !upper && has_door && (u - self.bay / 2.0).abs() < 0.58 && v < 2.25 {
            let leaf = (u - self.bay / 2.0).abs() < 0.48 && v < 2.14;
            let wood = match leaf {
                true => [104.0, 66.0, 40.0],
                false => [196.0, 186.0, 170.0],
            };
            let panel = if leaf && (v * 1.6).fract() < 0.1 {
                0.7
            } else {
                1.0
            };
            return Some(
                ink(scale(wood, panel))
                    .piece(Piece::Door)
                    .of(Material::Wood),
            );
        }
        if let (false, Some(sign)) = (upper, self.shop) {
            if v > 2.5 {
                let lettering = v < 2.85
                    && v > 2.62
                    && (0.5..self.bay - 0.5).contains(&u)
                    && grain.cell(s * 6.0, 31.0) > 0.0;
                let colour = if lettering {
                    [236.0, 232.0, 220.0]
                } else {
                    sign
                };
                return Some(ink(colour).piece(Piece::Wall).of(Material::Plastic));
            }
            if v > 0.45 && v < 2.4 && u > 0.15 && u < self.bay - 0.15 && !has_door {
                let goods = v < 1.5 && grain.cell(s * 2.5, 3.0) > 0.2;
                let pane = mix([84.0, 92.0, 98.0], [136.0, 150.0, 160.0], v / 2.4);
                let colour = if goods {
                    mix(pane, [214.0, 170.0, 110.0], 0.6)
                } else {
                    pane
                };
                return Some(ink(colour).piece(Piece::ShopWindow).of(Material::Glass));
            }
        } else {
            let [width, height] = self.window;
            if let Some((colour, material)) =
                sash(u - (self.bay - width) / 2.0, v - 0.95, self.window)
            {
                return Some(ink(colour).piece(Piece::Window).of(material));
            }
            let sill = (u - self.bay / 2.0).abs() < width / 2.0 + 0.1;
            let above = 0.95 + height;
            if sill && ((0.8..0.95).contains(&v) || (above..above + 0.15).contains(&v)) {
                return Some(
                    ink([204.0, 200.0, 190.0])
                        .piece(Piece::Wall)
                        .of(Material::Stone),
                );
            }
        }
        Some(self.wall_ink(grain, s, t))
    }

    fn wall_ink(&self, grain: &Grain, s: f64, t: f64) -> Ink {
        let (colour, material) = match self.wall {
            Wall::Brick => {
                let course = (t / 0.16).floor();
                let along = s / 0.42 + 0.5 * course.rem_euclid(2.0);
                let mortar = (t / 0.16).fract() < 0.16 || along.rem_euclid(1.0) < 0.07;
                let brick = scale(self.colour, 1.0 + 0.14 * grain.cell(along, course));
                let colour = if mortar {
                    mix(brick, [190.0, 180.0, 168.0], 0.75)
                } else {
                    brick
                };
                (colour, Material::Brick)
            }
            Wall::Plaster => {
                let stain = 1.0 + 0.06 * grain.cloudy(s * 0.7, t * 0.5);
                (scale(self.colour, stain), Material::Painted)
            }
            Wall::Stone => {
                let course = (t / 0.6).floor();
                let along = s / 1.1 + 0.5 * course.rem_euclid(2.0);
                let joint = (t / 0.6).fract() < 0.06 || along.rem_euclid(1.0) < 0.04;
                let block = scale(self.colour, 1.0 + 0.09 * grain.cell(along, course));
                (
                    if joint { scale(block, 0.7) } else { block },
                    Material::Stone,
                )
            }
        };
        Ink::new(Thing::Building, colour)
            .piece(Piece::Wall)
            .of(material)
    }

    fn roof_ink(&self, grain: &Grain, s: f64, t: f64) -> Ink {
        let ink = Ink::new(Thing::Building, self.tiles).piece(Piece::Roof);
        if self.roof < 1.0 {
            return Ink::new(Thing::Building, [186.0, 180.0, 170.0])
                .piece(Piece::Roof)
                .of(Material::Stone);
        }
        let row = (t / 0.28).floor();
        let shadow = if (t / 0.28).fract() < 0.2 { 0.72 } else { 1.0 };
        ink.of(Material::Stone)
            .lit(shadow * (1.0 + 0.12 * grain.cell(s / 0.3, row)))
    }
}

/// A house at the street: its front lies along x, from `z[0]` to `z[1]`.
pub(super) struct House {
    pub(super) facade: Facade,
    pub(super) x: f64,
    pub(super) z: [f64; 2],
    /// Light on the front and on the side that faces the camera.
    pub(super) light: [f64; 2],
}

impl House {
    pub(super) fn paint(&self, canvas: &mut Canvas, grain: &Grain) {
        let facade = &self.facade;
        let top = facade.eaves() + facade.roof;
        let [near, far] = self.z;
        let away = if self.x > 0.0 { 1.0 } else { -1.0 };
        if facade.chimney {
            let middle = near + 0.3 * (far - near);
            let x = self.x + away * 1.2;
            let (left, right) = (x.min(x + away * 0.9), x.max(x + away * 0.9));
            canvas.paint(
                Plane::Facing { z: middle },
                [left, right],
                [top - 1.0, top + 1.3],
                |s, t| {
                    let course = (t / 0.2).floor();
                    let ink = Ink::new(Thing::Building, [136.0, 80.0, 66.0]).piece(Piece::Chimney);
                    Some(
                        ink.of(Material::Brick)
                            .lit(0.9 + 0.12 * grain.cell(s / 0.3, course)),
                    )
                },
            );
        }
        // The gable first: the front hides it where they meet.
        let depth = [
            self.x.min(self.x + away * 14.0),
            self.x.max(self.x + away * 14.0),
        ];
        canvas.paint(Plane::Facing { z: near }, depth, [0.0, top], |s, t| {
            let into = (s - self.x) * away;
            let slope = facade.eaves() + facade.roof * (into / 4.0).min(1.0);
            if t > slope {
                return None;
            }
            let blind = Facade {
                storeys: 20,
                shop: None,
                balconies: false,
                door: 9.0,
                ..*facade
            };
            // Windows on every second bay only.
            let bay = (into / facade.bay).floor();
            let ink = match bay.rem_euclid(2.0) == 1.0 && t < facade.eaves() {
                true => blind.ink(grain, into, t)?,
                false => facade.wall_ink(grain, into, t),
            };
            Some(ink.lit(self.light[1]))
        });
        canvas.paint(Plane::Along { x: self.x }, self.z, [0.0, top], |s, t| {
            facade
                .ink(grain, s - near, t)
                .map(|ink| ink.lit(self.light[0]))
        });
    }

    /// A house across the end of the street.
    pub(super) fn across(facade: &Facade, canvas: &mut Canvas, grain: &Grain, z: f64, s: [f64; 2]) {
        let top = facade.eaves() + facade.roof;
        canvas.paint(Plane::Facing { z }, s, [0.0, top], |at, t| {
            facade.ink(grain, at - s[0], t)
        });
    }
}
