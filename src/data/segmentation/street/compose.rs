//! Puts a street together: its width, houses, traffic and people.

use super::building::{Facade, House, between, chance, pick};
use super::canvas::{Camera, Canvas, Colour, Grain, Ink, Painting, Plane, scale};
use super::labels::{Material, Piece, Thing};
use super::thing::{self, Bicycle, Carries, Person, Sign, Tree};
use super::vehicle::{Heading, Kind, Plant, Vehicle};
use crate::rng::Stream;

/// Height of the pavement over the road.
const KERB: f64 = 0.14;

/// How far the street goes.
const END: f64 = 110.0;

/// The ground plan.
struct Plan {
    /// Half the width of the road.
    road: f64,
    /// Width of each pavement.
    walk: f64,
    /// Where the camera stands across the road.
    eye: f64,
    /// Depth of the near edge of a zebra crossing.
    crossing: Option<f64>,
    /// The side the sun is on: -1 left, 1 right.
    sun: f64,
}

/// Something that stands on the ground, to be painted at its depth.
enum Standing {
    Vehicle(Vehicle, Heading),
    Person(Person, f64),
    Tree(Tree),
    Pole(Carries),
    Bicycle(Bicycle),
}

struct Placed {
    what: Standing,
    at: (f64, f64),
}

/// Draws one street of `extent` pixels (height, width).
pub(super) fn street(stream: &mut Stream, extent: [usize; 2], plant: Plant) -> Painting {
    let grain = Grain::new(stream);
    let road = between(stream, 3.6, 6.6);
    let plan = Plan {
        road,
        walk: between(stream, 2.2, 3.8),
        eye: between(stream, 0.15, 0.75) * (road - 2.0),
        crossing: chance(stream, 55).then(|| between(stream, 6.0, 14.0)),
        sun: pick(stream, &[-1.0, 1.0]),
    };
    let camera = Camera {
        x: plan.eye,
        height: between(stream, 1.3, 1.9),
        focal: between(stream, 0.55, 0.8),
        vanishing: [between(stream, 0.4, 0.6), between(stream, 0.38, 0.48)],
    };
    // Blue, grey and evening skies.
    let (top, low, cover, gain): (Colour, Colour, f64, Colour) = match stream.below(3) {
        0 => (
            [70.0, 128.0, 206.0],
            [186.0, 210.0, 232.0],
            0.12,
            [1.04, 1.02, 0.98],
        ),
        1 => (
            [150.0, 160.0, 174.0],
            [206.0, 210.0, 214.0],
            0.3,
            [0.92, 0.94, 0.97],
        ),
        _ => (
            [92.0, 112.0, 170.0],
            [236.0, 196.0, 160.0],
            0.05,
            [1.02, 0.92, 0.84],
        ),
    };
    let cover = cover + between(stream, -0.15, 0.2);
    let canvas = &mut Canvas::new(extent, camera, low);
    thing::sky(canvas, &grain, top, low, cover);
    ground(canvas, &grain, &plan);
    far_end(canvas, &grain, stream, &plan);
    for side in [-1.0, 1.0] {
        houses(canvas, &grain, stream, &plan, side);
    }
    let mut standing = Vec::new();
    traffic(stream, &plan, &mut standing);
    furniture(stream, &plan, &mut standing);
    people(stream, &plan, &mut standing);
    // A stable sort: things at one depth keep the order they were placed in.
    standing.sort_by(|a, b| b.at.1.total_cmp(&a.at.1));
    for Placed { what, at } in &standing {
        let up = if at.0.abs() > plan.road { KERB } else { 0.0 };
        match what {
            Standing::Vehicle(vehicle, heading) => {
                vehicle.paint(canvas, &grain, *at, plan.eye, *heading, plant);
            }
            Standing::Person(person, ground) => person.paint(canvas, &grain, *at, *ground),
            Standing::Tree(tree) => tree.paint(canvas, &grain, *at, up),
            Standing::Pole(carries) => thing::pole(canvas, *at, up, *carries),
            Standing::Bicycle(bicycle) => bicycle.paint(canvas, *at, up),
        }
    }
    let exposure = between(stream, 0.88, 1.08);
    let finished = std::mem::replace(canvas, Canvas::new([0, 0], camera, low));
    finished.develop(scale(gain, exposure), 4, stream)
}

fn ground(canvas: &mut Canvas, grain: &Grain, plan: &Plan) {
    let Plan {
        road,
        crossing,
        sun,
        ..
    } = *plan;
    let far = END * 3.0;
    for side in [-1.0, 1.0] {
        let span = if side < 0.0 {
            [-80.0, -road]
        } else {
            [road, 80.0]
        };
        canvas.paint(Plane::Level { y: KERB }, span, [0.0, far], |s, t| {
            // Slabs of 0.8 m.
            let (a, b) = (
                s.abs() / 0.8,
                t / 0.8 + 0.5 * (s.abs() / 0.8).floor().rem_euclid(2.0),
            );
            let joint = a.fract() < 0.05 || b.fract() < 0.05;
            let slab = 1.0 + 0.08 * grain.cell(a, b) + 0.04 * grain.cell(s * 30.0, t * 30.0);
            let colour = scale([172.0, 166.0, 158.0], if joint { 0.8 } else { slab });
            Some(Ink::new(Thing::Sidewalk, colour).of(Material::Stone))
        });
    }
    canvas.paint(
        Plane::Level { y: 0.0 },
        [-road, road],
        [0.0, far],
        |s, t| {
            let tar = Ink::new(Thing::Road, [92.0, 92.0, 96.0]).of(Material::Asphalt);
            let worn = 1.0
                + 0.05 * grain.cell(s * 24.0, t * 24.0)
                + 0.07 * grain.cloudy(s * 0.8, t * 0.25);
            let white = [214.0, 212.0, 204.0];
            if let Some(near) = crossing
                && (near..near + 3.2).contains(&t)
                && s.abs() < road - 0.3
            {
                // All of the crossing is one part, stripes and the tar between them.
                let stripe = (s / 1.0 + 100.0).fract() < 0.55;
                let ink = if stripe {
                    tar.painted_over(white).of(Material::Painted)
                } else {
                    tar
                };
                return Some(ink.lit(worn).piece(Piece::Crosswalk));
            }
            let dash = s.abs() < 0.07 && (t / 6.0).fract() < 0.5;
            let edge = (s.abs() - (road - 0.25)).abs() < 0.06;
            let ink = if dash || edge {
                tar.painted_over(white).of(Material::Painted)
            } else {
                tar
            };
            Some(ink.lit(worn))
        },
    );
    for x in [-road, road] {
        canvas.paint(Plane::Along { x }, [0.0, far], [0.0, KERB], |s, _| {
            let joint = s.fract() < 0.04;
            let ink = Ink::new(Thing::Sidewalk, [150.0, 146.0, 140.0]).of(Material::Stone);
            Some(ink.lit(if joint { 0.7 } else { 0.9 }))
        });
    }
    // The houses on the sun's side throw their shadow on the pavement before them.
    let reach = plan.walk * 0.8;
    let edge = sun * (road + plan.walk - reach);
    let span = if sun > 0.0 {
        [edge, edge + reach]
    } else {
        [edge - reach, edge]
    };
    canvas.light(Plane::Level { y: KERB }, span, [0.0, far], |_, _| 0.72);
}

/// Trees or houses where the street ends.
fn far_end(canvas: &mut Canvas, grain: &Grain, stream: &mut Stream, plan: &Plan) {
    thing::hedge(
        canvas,
        grain,
        END * 1.4,
        [-160.0, 160.0],
        between(stream, 6.0, 11.0),
    );
    if chance(stream, 50) {
        let width = plan.road + plan.walk + 4.0;
        let facade = Facade::draw(stream);
        House::across(&facade, canvas, grain, END, [-width, width]);
    }
}

fn houses(canvas: &mut Canvas, grain: &Grain, stream: &mut Stream, plan: &Plan, side: f64) {
    let x = side * (plan.road + plan.walk);
    let lit = if side == plan.sun { 0.72 } else { 1.06 };
    // A lot is a house or a garden; the first begins behind the camera.
    let mut lots = Vec::new();
    let mut z = -between(stream, 0.0, 12.0);
    while z < END {
        let length = between(stream, 9.0, 20.0);
        let garden = chance(stream, 22);
        lots.push((
            z,
            z + length,
            garden,
            Facade::draw(stream),
            chance(stream, 50),
        ));
        z += length
            + if chance(stream, 30) {
                between(stream, 1.5, 4.0)
            } else {
                0.0
            };
    }
    for (near, far, garden, facade, wooden) in lots.into_iter().rev() {
        if !garden {
            let light = [lit, 0.9];
            House {
                facade,
                x,
                z: [near, far],
                light,
            }
            .paint(canvas, grain);
            continue;
        }
        // A lawn's hedge and a tree behind a fence.
        let span = if side > 0.0 {
            [x + 0.5, x + 26.0]
        } else {
            [x - 26.0, x - 0.5]
        };
        thing::hedge(canvas, grain, far - 0.5, span, 2.6);
        let middle = (near + far) / 2.0;
        let tree = Tree::draw(stream);
        tree.paint(canvas, grain, (x + side * 3.0, middle), KERB);
        thing::fence(canvas, grain, x, [near, far], wooden);
    }
}

/// Vehicles: parked at both kerbs, driving in both lanes, and crossing.
fn traffic(stream: &mut Stream, plan: &Plan, out: &mut Vec<Placed>) {
    let Plan { road, crossing, .. } = *plan;
    let clear = |z: f64, length: f64| match crossing {
        Some(near) => z > near + 3.4 || z + length < near - 0.2,
        None => true,
    };
    let kind = |stream: &mut Stream| match stream.below(100) {
        0..52 => Kind::Car,
        52..82 => Kind::Bus,
        _ => Kind::Truck,
    };
    for (side, heading) in [(1.0, Heading::Away), (-1.0, Heading::Towards)] {
        if road > 4.6 {
            let mut z = between(stream, 3.0, 16.0);
            while z < 70.0 {
                let vehicle = Vehicle::draw(stream, Kind::Car);
                if chance(stream, 62) && clear(z, vehicle.length()) {
                    let at = (side * (road - 0.35 - vehicle.width() / 2.0), z);
                    out.push(Placed {
                        what: Standing::Vehicle(vehicle, heading),
                        at,
                    });
                }
                z += vehicle.length() + between(stream, 0.9, 3.0);
            }
        }
        let middle = side
            * if road > 4.6 {
                (road - 2.4) / 2.0
            } else {
                road / 2.0
            };
        let mut z = if side > 0.0 {
            between(stream, 9.0, 26.0)
        } else {
            between(stream, 5.0, 20.0)
        };
        while z < 80.0 {
            let sort = kind(stream);
            let vehicle = Vehicle::draw(stream, sort);
            if clear(z, vehicle.length()) {
                out.push(Placed {
                    what: Standing::Vehicle(vehicle, heading),
                    at: (middle, z),
                });
            }
            z += vehicle.length() + between(stream, 7.0, 24.0);
        }
    }
    // One that crosses, in front of everything that is farther away.
    if chance(stream, 45) {
        let sort = kind(stream);
        let vehicle = Vehicle::draw(stream, sort);
        let right = chance(stream, 50);
        let z = between(stream, 15.0, 26.0);
        let x = between(stream, -road, road);
        let (low, high) = (x - vehicle.length() / 2.0, x + vehicle.length() / 2.0);
        let across = |other: &Placed| match &other.what {
            Standing::Vehicle(it, _) => {
                let (from, to) = (other.at.1, other.at.1 + it.length());
                let beside =
                    other.at.0 + it.width() / 2.0 < low || other.at.0 - it.width() / 2.0 > high;
                to < z - 0.5 || from > z + vehicle.width() + 0.5 || beside
            }
            _ => true,
        };
        out.retain(across);
        if clear(z, vehicle.width()) {
            let what = Standing::Vehicle(vehicle, Heading::Across { right });
            out.push(Placed { what, at: (x, z) });
        }
    }
}

/// Trees, lamps, signs, lights and bicycles on the pavements.
fn furniture(stream: &mut Stream, plan: &Plan, out: &mut Vec<Placed>) {
    let Plan {
        road,
        walk,
        crossing,
        ..
    } = *plan;
    for side in [-1.0, 1.0] {
        let kerb = side * (road + 0.5);
        let avenue = chance(stream, 55);
        let mut z = between(stream, 5.0, 12.0);
        while z < 90.0 {
            let lamp = stream.below(3) == 0;
            let what = match (avenue, lamp) {
                (true, false) => Some(Standing::Tree(Tree::draw(stream))),
                (_, true) => Some(Standing::Pole(Carries::Lamp { side: -side })),
                (false, false) => None,
            };
            out.extend(what.map(|what| Placed {
                what,
                at: (kerb, z),
            }));
            z += between(stream, 6.0, 11.0);
        }
        for _ in 0..stream.below(3) {
            let (x, z) = (side * (road + 0.35), between(stream, 6.0, 30.0));
            let what = Standing::Pole(Carries::Sign(Sign::draw(stream)));
            out.push(Placed { what, at: (x, z) });
        }
        if let Some(near) = crossing
            && chance(stream, 75)
        {
            let what = Standing::Pole(Carries::Light {
                on: pick(stream, &[0, 2]),
            });
            out.push(Placed {
                what,
                at: (side * (road + 0.3), near - 0.4),
            });
        }
        for _ in 0..stream.below(4) {
            let (x, z) = (
                side * (road + between(stream, 0.8, walk - 0.5)),
                between(stream, 5.0, 22.0),
            );
            let what = Standing::Bicycle(Bicycle::draw(stream));
            out.push(Placed { what, at: (x, z) });
        }
    }
}

fn people(stream: &mut Stream, plan: &Plan, out: &mut Vec<Placed>) {
    let Plan {
        road,
        walk,
        crossing,
        ..
    } = *plan;
    for side in [-1.0, 1.0] {
        for _ in 0..1 + stream.below(6) {
            let (x, z) = (
                side * (road + between(stream, 0.6, walk - 0.3)),
                between(stream, 4.5, 34.0),
            );
            let what = Standing::Person(Person::draw(stream), KERB);
            out.push(Placed { what, at: (x, z) });
        }
    }
    if let Some(near) = crossing {
        for _ in 0..stream.below(4) {
            let (x, z) = (
                between(stream, -0.9, 0.9) * road,
                near + between(stream, 0.5, 2.7),
            );
            let what = Standing::Person(Person::draw(stream), 0.0);
            out.push(Placed { what, at: (x, z) });
        }
    }
}
