//! What stands on the pavement: people, trees, hedges, fences, poles, lights, signs, bicycles. All
//! face the camera.

use super::building::{between, chance, pick};
use super::canvas::{Canvas, Colour, Grain, Ink, Plane, mix, scale};
use super::labels::{Material, Piece, Thing};
use crate::rng::Stream;

/// The colour of foliage at a place.
pub(super) fn leaf(grain: &Grain, s: f64, t: f64) -> Colour {
    let fine = grain.cell(s * 9.0, t * 9.0);
    let clump = grain.smooth(s * 2.2, t * 2.2);
    scale([84.0, 118.0, 52.0], 1.0 + 0.22 * fine + 0.3 * clump)
}

/// Distance of (s, t) from the line between two points.
fn from_line(s: f64, t: f64, a: [f64; 2], b: [f64; 2]) -> f64 {
    let (ds, dt) = (b[0] - a[0], b[1] - a[1]);
    let along = ((s - a[0]) * ds + (t - a[1]) * dt) / (ds * ds + dt * dt);
    let along = along.clamp(0.0, 1.0);
    let (es, et) = (s - a[0] - along * ds, t - a[1] - along * dt);
    (es * es + et * et).sqrt()
}

/// Whether (s, t) lies in the ellipse around `at` with these half axes.
fn in_ellipse(s: f64, t: f64, at: [f64; 2], half: [f64; 2]) -> bool {
    let (a, b) = ((s - at[0]) / half[0], (t - at[1]) / half[1]);
    a * a + b * b < 1.0
}

#[derive(Clone, Copy)]
pub(super) struct Person {
    height: f64,
    skin: Colour,
    hair: Colour,
    top: Colour,
    legs: Colour,
    stride: f64,
    swing: f64,
    back: bool,
}

impl Person {
    pub(super) fn draw(stream: &mut Stream) -> Self {
        Person {
            height: between(stream, 1.5, 1.9),
            skin: pick(
                stream,
                &[
                    [224.0, 184.0, 154.0],
                    [196.0, 150.0, 116.0],
                    [136.0, 94.0, 68.0],
                ],
            ),
            hair: pick(
                stream,
                &[
                    [48.0, 36.0, 28.0],
                    [96.0, 68.0, 40.0],
                    [190.0, 160.0, 100.0],
                    [120.0, 118.0, 116.0],
                ],
            ),
            top: pick(
                stream,
                &[
                    [180.0, 44.0, 48.0],
                    [46.0, 76.0, 140.0],
                    [226.0, 220.0, 210.0],
                    [70.0, 120.0, 84.0],
                    [208.0, 156.0, 60.0],
                    [104.0, 70.0, 120.0],
                ],
            ),
            legs: pick(
                stream,
                &[[44.0, 54.0, 82.0], [40.0, 40.0, 44.0], [128.0, 112.0, 88.0]],
            ),
            stride: between(stream, 0.06, 0.26),
            swing: between(stream, 0.04, 0.2),
            back: chance(stream, 50),
        }
    }

    fn ink(&self, grain: &Grain, s: f64, t: f64) -> Option<Ink> {
        // As if everybody were 1.8 m tall.
        let (s, t) = (s * 1.8 / self.height, t * 1.8 / self.height);
        let ink = |colour, material, piece| {
            Some(Ink::new(Thing::Person, colour).of(material).piece(piece))
        };
        let fold = |colour| scale(colour, 1.0 + 0.1 * grain.smooth(s * 9.0, t * 9.0));
        if in_ellipse(s, t, [0.0, 1.68], [0.105, 0.135]) {
            let hair = t > 1.73 || s.abs() > 0.085 || self.back;
            return match hair {
                true => ink(self.hair, Material::Hair, Piece::Hair),
                false => ink(self.skin, Material::Skin, Piece::Head),
            };
        }
        for side in [-1.0, 1.0] {
            let elbow = [side * (0.26 + 0.4 * self.swing), 1.14];
            let hand = [side * (0.26 + self.swing), 0.86];
            if in_ellipse(s, t, hand, [0.05, 0.06]) {
                return ink(self.skin, Material::Skin, Piece::Hand);
            }
            let sleeve =
                from_line(s, t, [side * 0.2, 1.44], elbow).min(from_line(s, t, elbow, hand));
            if sleeve < 0.055 {
                return ink(fold(scale(self.top, 0.84)), Material::Fabric, Piece::Arm);
            }
        }
        if (0.84..1.55).contains(&t) {
            let half = if t > 1.46 {
                0.2 - 1.6 * (t - 1.46)
            } else {
                0.2 - 0.1 * (1.2 - t).abs()
            };
            if s.abs() < half {
                return ink(fold(self.top), Material::Fabric, Piece::Torso);
            }
        }
        for side in [-1.0, 1.0] {
            let foot = [side * self.stride, 0.08];
            if in_ellipse(s, t, [foot[0] + 0.03, 0.045], [0.12, 0.055]) {
                return ink([46.0, 38.0, 34.0], Material::Rubber, Piece::Foot);
            }
            if t < 0.9 && from_line(s, t, [side * 0.09, 0.86], foot) < 0.085 {
                let light = if side < 0.0 { 0.86 } else { 1.0 };
                return ink(fold(scale(self.legs, light)), Material::Fabric, Piece::Leg);
            }
        }
        None
    }

    pub(super) fn paint(
        &self,
        canvas: &mut Canvas,
        grain: &Grain,
        (x, z): (f64, f64),
        ground: f64,
    ) {
        blob_shadow(canvas, (x, z), ground, 0.35);
        canvas.paint(
            Plane::Facing { z },
            [x - 0.6, x + 0.6],
            [ground, ground + 2.0],
            |s, t| self.ink(grain, s - x, t - ground),
        );
    }
}

/// A soft shadow on the ground around a foot.
fn blob_shadow(canvas: &mut Canvas, (x, z): (f64, f64), y: f64, radius: f64) {
    let (s, t) = ([x - radius, x + radius], [z - radius, z + radius]);
    canvas.light(Plane::Level { y }, s, t, |s, t| {
        let square = ((s - x) * (s - x) + (t - z) * (t - z)) / (radius * radius);
        1.0 - 0.45 * (1.0 - square).max(0.0)
    });
}

#[derive(Clone, Copy)]
pub(super) struct Tree {
    trunk: f64,
    crown: f64,
    light: f64,
    seed: f64,
}

impl Tree {
    pub(super) fn draw(stream: &mut Stream) -> Self {
        Tree {
            trunk: between(stream, 1.9, 2.9),
            crown: between(stream, 1.3, 2.3),
            light: between(stream, 0.8, 1.15),
            seed: between(stream, 0.0, 60.0),
        }
    }

    pub(super) fn paint(
        &self,
        canvas: &mut Canvas,
        grain: &Grain,
        (x, z): (f64, f64),
        ground: f64,
    ) {
        blob_shadow(canvas, (x, z), ground, self.crown * 0.9);
        let (trunk, crown) = (self.trunk, self.crown);
        let middle = trunk + 0.85 * crown;
        let span = [x - 1.4 * crown, x + 1.4 * crown];
        canvas.paint(
            Plane::Facing { z },
            span,
            [ground, ground + middle + 1.5 * crown],
            |s, t| {
                let (s, t) = (s - x, t - ground);
                let (u, v) = (s / crown, (t - middle) / (1.1 * crown));
                let frayed = 1.0 + 0.32 * grain.cloudy(s * 1.4 + self.seed, t * 1.4);
                if u * u + v * v < frayed * frayed {
                    let shade = 0.82 + 0.26 * v + 0.1 * u;
                    return Some(foliage(grain, s + self.seed, t).lit(shade * self.light));
                }
                let half = 0.14 + 0.1 * (0.4 - t).max(0.0);
                (t < middle && s.abs() < half).then(|| {
                    let bark = 1.0 + 0.25 * grain.cell(s * 22.0, t * 3.0);
                    let ink = Ink::new(Thing::Vegetation, [92.0, 72.0, 54.0]).piece(Piece::Trunk);
                    ink.of(Material::Wood).lit(bark)
                })
            },
        );
    }
}

fn foliage(grain: &Grain, s: f64, t: f64) -> Ink {
    Ink::new(Thing::Vegetation, leaf(grain, s, t))
        .piece(Piece::Crown)
        .of(Material::Foliage)
}

/// A row of bushes or trees across the view.
pub(super) fn hedge(canvas: &mut Canvas, grain: &Grain, z: f64, s: [f64; 2], height: f64) {
    canvas.paint(Plane::Facing { z }, s, [0.0, height * 1.35], |s, t| {
        let edge = height * (1.0 + 0.3 * grain.cloudy(s * 0.5, 7.0));
        (t < edge).then(|| foliage(grain, s * 0.7, t * 0.7).lit(0.7 + 0.3 * t / height))
    });
}

/// A fence along the street: wooden boards, or iron bars one sees through.
pub(super) fn fence(canvas: &mut Canvas, grain: &Grain, x: f64, z: [f64; 2], wooden: bool) {
    canvas.paint(Plane::Along { x }, z, [0.1, 1.7], |s, t| {
        let ink = |colour, material| Some(Ink::new(Thing::Fence, colour).of(material));
        let rail = (0.3..0.42).contains(&t) || (1.35..1.47).contains(&t);
        if wooden {
            let board = (s / 0.22).floor();
            let gap = (s / 0.22).rem_euclid(1.0) < 0.12;
            let top = 1.55 + 0.1 * grain.cell(board, 2.0).abs();
            if t > top || gap && !rail {
                return None;
            }
            let shade = 1.0 + 0.16 * grain.cell(board, 5.0);
            return ink(scale([140.0, 106.0, 72.0], shade), Material::Wood);
        }
        let bar = (s / 0.2).rem_euclid(1.0) < 0.3;
        (rail || bar).then_some(())?;
        ink([48.0, 54.0, 54.0], Material::Metal)
    });
}

/// What a pole carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carries {
    /// A lamp on an arm that reaches to `side`.
    Lamp { side: f64 },
    /// A traffic light with this one of its lights on, red on top.
    Light { on: u32 },
    /// A sign.
    Sign(Sign),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    Limit,
    Warning,
    Parking,
    Stop,
}

pub(super) fn pole(canvas: &mut Canvas, (x, z): (f64, f64), ground: f64, carries: Carries) {
    let metal = |s: f64| {
        let round = 1.0 - 3.0 * (s - x).abs();
        Ink::new(Thing::Pole, [136.0, 140.0, 142.0])
            .of(Material::Metal)
            .lit(round)
    };
    let top = match carries {
        Carries::Lamp { .. } => 6.2,
        Carries::Light { .. } => 2.5,
        Carries::Sign(_) => 2.3,
    };
    blob_shadow(canvas, (x, z), ground, 0.25);
    let plane = Plane::Facing { z };
    let half = if matches!(carries, Carries::Sign(_)) {
        0.05
    } else {
        0.08
    };
    canvas.paint(
        plane,
        [x - half, x + half],
        [ground, ground + top],
        |s, _| Some(metal(s)),
    );
    match carries {
        Carries::Lamp { side } => {
            let span = [x.min(x + side * 1.5), x.max(x + side * 1.5)];
            canvas.paint(plane, span, [ground + 6.0, ground + 6.5], |s, t| {
                let out = (s - x) * side;
                let t = t - ground - 6.1;
                if out > 0.9 && (-0.06..0.12).contains(&t) {
                    let ink = Ink::new(Thing::Pole, [238.0, 232.0, 200.0]);
                    return Some(ink.of(Material::Glass));
                }
                (t - 0.1).abs().lt(&0.05).then(|| metal(x))
            });
        }
        Carries::Light { on } => {
            canvas.paint(
                plane,
                [x - 0.2, x + 0.2],
                [ground + 2.3, ground + 3.3],
                |s, t| {
                    let (s, t) = (s - x, t - ground - 2.3);
                    let lamp = (3.0 - t / 0.3333).floor().clamp(0.0, 2.0);
                    let middle = [0.0, (2.5 - lamp) * 0.3333];
                    let ink = Ink::new(Thing::TrafficLight, [28.0, 30.0, 30.0]);
                    if !in_ellipse(s, t, middle, [0.13, 0.13]) {
                        return Some(ink.of(Material::Plastic));
                    }
                    let colours = [
                        [236.0, 48.0, 40.0],
                        [244.0, 180.0, 50.0],
                        [60.0, 214.0, 120.0],
                    ];
                    let lit = if lamp == f64::from(on) { 1.0 } else { 0.28 };
                    Some(
                        ink.painted_over(scale(colours[lamp as usize], lit))
                            .of(Material::Glass),
                    )
                },
            );
        }
        Carries::Sign(sign) => {
            canvas.paint(
                plane,
                [x - 0.45, x + 0.45],
                [ground + 1.9, ground + 2.8],
                |s, t| {
                    let (s, t) = (s - x, t - ground - 2.35);
                    let colour = sign.colour(s, t)?;
                    Some(Ink::new(Thing::TrafficSign, colour).of(Material::Metal))
                },
            );
        }
    }
}

impl Sign {
    pub(super) fn draw(stream: &mut Stream) -> Self {
        pick(
            stream,
            &[Sign::Limit, Sign::Warning, Sign::Parking, Sign::Stop],
        )
    }

    /// The face of the sign, 0.9 m across; `None` beside it.
    fn colour(self, s: f64, t: f64) -> Option<Colour> {
        const RED: Colour = [206.0, 32.0, 38.0];
        const WHITE: Colour = [240.0, 240.0, 236.0];
        const BLUE: Colour = [36.0, 84.0, 170.0];
        let (across, up) = (s.abs(), t.abs());
        let glyph = across < 0.1 && up < 0.16;
        match self {
            Sign::Limit => in_ellipse(s, t, [0.0, 0.0], [0.42, 0.42]).then(|| {
                match in_ellipse(s, t, [0.0, 0.0], [0.31, 0.31]) {
                    true if glyph => [30.0; 3],
                    true => WHITE,
                    false => RED,
                }
            }),
            Sign::Warning => {
                let half = 0.44 - 0.55 * (t + 0.36);
                (across < half && t > -0.36).then(|| {
                    let inner = across < half - 0.13 && t > -0.28;
                    match inner {
                        true if across < 0.04 && t < 0.12 => [30.0; 3],
                        true => WHITE,
                        false => RED,
                    }
                })
            }
            Sign::Parking => (across < 0.36 && up < 0.36).then(|| {
                let stem = (-0.14..-0.06).contains(&s) && up < 0.24;
                let bowl = in_ellipse(s, t, [0.0, 0.1], [0.17, 0.14])
                    && !in_ellipse(s, t, [0.0, 0.1], [0.09, 0.06]);
                if stem || bowl && s > -0.14 {
                    WHITE
                } else {
                    BLUE
                }
            }),
            Sign::Stop => (across < 0.4 && up < 0.4 && across + up < 0.56).then(|| {
                let border = across > 0.36 || up > 0.36 || across + up > 0.51;
                let word = up < 0.1 && across < 0.28 && (s * 11.0).rem_euclid(1.0) < 0.6;
                if border || word { WHITE } else { RED }
            }),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Bicycle {
    frame: Colour,
    right: bool,
}

impl Bicycle {
    pub(super) fn draw(stream: &mut Stream) -> Self {
        Bicycle {
            frame: pick(
                stream,
                &[
                    [190.0, 40.0, 44.0],
                    [40.0, 80.0, 150.0],
                    [36.0, 36.0, 40.0],
                    [60.0, 140.0, 90.0],
                ],
            ),
            right: chance(stream, 50),
        }
    }

    fn ink(&self, s: f64, t: f64) -> Option<Ink> {
        let ink = |colour, material| Ink::new(Thing::Bicycle, colour).of(material);
        let line = |a, b, half: f64| from_line(s, t, a, b) < half;
        let (crank, seat, head) = ([-0.08, 0.3], [-0.22, 0.82], [0.36, 0.86]);
        if line([-0.36, 0.96], [-0.1, 0.96], 0.045) {
            return Some(ink([34.0, 30.0, 30.0], Material::Plastic).piece(Piece::Saddle));
        }
        if line([0.3, 1.02], [0.5, 1.06], 0.04) || line(head, [0.32, 1.02], 0.03) {
            return Some(ink([50.0, 50.0, 54.0], Material::Metal).piece(Piece::HandleBar));
        }
        if in_ellipse(s, t, crank, [0.1, 0.1]) {
            return Some(ink([150.0, 152.0, 156.0], Material::Metal).piece(Piece::ChainWheel));
        }
        let bars = [
            (crank, seat),
            (crank, head),
            ([-0.2, 0.74], [0.36, 0.78]),
            (crank, [-0.54, 0.34]),
            ([-0.2, 0.74], [-0.54, 0.34]),
            (head, [0.54, 0.34]),
            (seat, [-0.23, 0.94]),
        ];
        if bars.into_iter().any(|(a, b)| line(a, b, 0.032)) {
            return Some(ink(self.frame, Material::Metal));
        }
        for hub in [[-0.54, 0.34], [0.54, 0.34]] {
            let (ds, dt) = (s - hub[0], t - hub[1]);
            let square = ds * ds + dt * dt;
            if square < 0.34 * 0.34 {
                if square > 0.275 * 0.275 {
                    return Some(
                        ink([32.0, 32.0, 34.0], Material::Rubber).piece(Piece::BicycleWheel),
                    );
                }
                let spoke = ds.abs() < 0.012
                    || dt.abs() < 0.012
                    || (ds - dt).abs() < 0.017
                    || (ds + dt).abs() < 0.017;
                if spoke || square < 0.04 * 0.04 {
                    return Some(ink([150.0; 3], Material::Metal).piece(Piece::BicycleWheel));
                }
            }
        }
        None
    }

    pub(super) fn paint(&self, canvas: &mut Canvas, (x, z): (f64, f64), ground: f64) {
        blob_shadow(canvas, (x, z), ground, 0.6);
        canvas.paint(
            Plane::Facing { z },
            [x - 1.0, x + 1.0],
            [ground, ground + 1.2],
            |s, t| self.ink(if self.right { s - x } else { x - s }, t - ground),
        );
    }
}

/// Clouds and the blue (or grey) behind them.
pub(super) fn sky(canvas: &mut Canvas, grain: &Grain, top: Colour, low: Colour, cover: f64) {
    canvas.sky(|right, up| {
        let clear = mix(low, top, (1.6 * up).clamp(0.0, 1.0));
        // Clouds get flatter and denser towards the horizon, as a level layer does.
        let layer = 1.0 / (up.max(0.0) + 0.22);
        let dense = grain.cloudy(right * 1.6 * layer + 30.0, layer * 2.2) + cover;
        let ink = Ink::new(Thing::Sky, clear);
        if dense < 0.3 || up < 0.02 {
            return ink;
        }
        let white = mix([205.0, 208.0, 214.0], [250.0; 3], (dense - 0.3) * 2.0);
        ink.painted_over(mix(clear, white, (4.0 * (dense - 0.3)).min(1.0)))
            .piece(Piece::Cloud)
    });
}
