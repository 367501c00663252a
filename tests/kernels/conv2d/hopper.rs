//! `kernels/conv2d_hopper.cu`: every direction, tile and arithmetic.

use half::{bf16, f16};
use whatwhere::cpu::conv2d::ConvShape;
use whatwhere::kernels::conv2d::{Direction, Kind, Math};
use whatwhere::kernels::emulator::Schedule;

use super::super::emulator_is_there;
use super::super::numbers::Number;
use super::{DIRECTIONS, check_integers, check_normals, planned, shape, stream};

const TYPES: [Math; 3] = [Math::Bf16, Math::F16, Math::Tf32];

/// H≠W, 1x1 and 2x2 maps, batch 1, channels that do not fill a tile, strides with and without a factor in
/// common with the dilation, filters that miss pixels, several tiles in both directions.
fn shapes() -> Vec<ConvShape> {
    vec![
        shape([2, 6, 5, 16], [24, 3, 3], 1, 1, 1),
        shape([1, 7, 9, 8], [72, 3, 3], 2, 1, 1),
        shape([1, 9, 8, 8], [16, 7, 7], 2, 3, 1),
        shape([1, 5, 3, 40], [8, 1, 1], 2, 0, 1),
        shape([4, 1, 1, 8], [16, 3, 3], 1, 1, 1),
        shape([3, 2, 2, 104], [24, 3, 3], 1, 1, 1),
        shape([1, 12, 11, 8], [8, 3, 3], 1, 4, 4),
        shape([1, 9, 7, 8], [8, 3, 3], 2, 2, 2),
        shape([1, 8, 6, 8], [8, 2, 2], 4, 0, 1),
        ConvShape {
            stride: [3, 1],
            padding: [0, 2],
            dilation: [1, 2],
            ..shape([2, 8, 6, 8], [16, 3, 2], 1, 0, 1)
        },
        shape([130, 1, 1, 136], [72, 1, 1], 1, 0, 1),
        shape([2, 9, 10, 72], [136, 3, 3], 1, 1, 1),
    ]
}

fn exact(g: &ConvShape, math: Math, direction: Direction, kind: Kind, schedule: Schedule) {
    let Some(plan) = planned(g, math, direction, kind) else {
        assert_eq!((math, direction), (Math::Tf32, Direction::Wgrad), "{g:?}");
        return;
    };
    assert_eq!(plan.kind(), kind);
    match math {
        Math::Bf16 => check_integers::<bf16>(&plan, g, schedule),
        Math::F16 => check_integers::<f16>(&plan, g, schedule),
        Math::Tf32 | Math::F32 => check_integers::<f32>(&plan, g, schedule),
    }
}

fn hopper(columns: usize, parts: usize) -> Kind {
    Kind::Hopper { columns, parts }
}

/// All shapes, under the schedules in turn.
#[test]
fn exact_on_small_integers() {
    if !emulator_is_there() {
        return;
    }
    let schedules: Vec<_> = Schedule::all().collect();
    for (i, g) in shapes().iter().enumerate() {
        for direction in DIRECTIONS {
            let kind = hopper(64, 1);
            exact(g, Math::Bf16, direction, kind, schedules[i % 6]);
            exact(g, Math::Tf32, direction, kind, schedules[(i + 3) % 6]);
        }
    }
}

/// Every tile and type, every schedule: a ragged tile beside a full one, more steps than stages, a
/// strided dgrad with classes of one and of no taps.
#[test]
fn every_tile_and_schedule() {
    if !emulator_is_there() {
        return;
    }
    let g = shape([2, 9, 10, 72], [80, 3, 1], 2, 1, 1);
    for (i, schedule) in Schedule::all().enumerate() {
        for direction in DIRECTIONS {
            for (j, columns) in [64, 128, 256].into_iter().enumerate() {
                let math = TYPES[(i + j) % 3];
                exact(&g, math, direction, hopper(columns, 1), schedule);
            }
        }
    }
}

/// Matrices come by plain tiles: several rows of tiles, and ragged ends on all three axes.
#[test]
fn matrices() {
    if !emulator_is_there() {
        return;
    }
    let linear = shape([140, 1, 1, 136], [72, 1, 1], 1, 0, 1);
    let pointwise = shape([2, 7, 5, 40], [24, 1, 1], 1, 0, 1);
    for (i, schedule) in Schedule::all().enumerate() {
        for direction in DIRECTIONS {
            exact(&linear, TYPES[i % 3], direction, hopper(64, 1), schedule);
            exact(
                &pointwise,
                TYPES[(i + 1) % 3],
                direction,
                hopper(128, 1),
                schedule,
            );
        }
    }
}

/// A depth in parts: of several taps, of channels in one tap, and of residue classes that have fewer steps
/// than there are parts.
#[test]
fn parts_add_up() {
    if !emulator_is_there() {
        return;
    }
    let schedules: Vec<_> = Schedule::all().collect();
    let deep = shape([3, 9, 10, 72], [136, 1, 2], 1, 0, 1);
    let strided = shape([2, 9, 10, 72], [80, 3, 1], 2, 1, 1);
    for (i, g) in [deep, strided].iter().enumerate() {
        for direction in DIRECTIONS {
            for parts in [2, 3] {
                let (kind, schedule) = (hopper(64, parts), schedules[3 * i + parts - 2]);
                if direction == Direction::Wgrad && i == 1 {
                    // 50 pixels are one step.
                    assert!(planned(g, Math::F16, direction, kind).is_none());
                    continue;
                }
                exact(g, Math::F16, direction, kind, schedule);
            }
        }
        exact(
            g,
            Math::Tf32,
            Direction::Dgrad,
            hopper(128, 2),
            schedules[2],
        );
    }
}

/// Extents drawn at random: whatever these kernels say they can do, they do.
#[test]
fn random_shapes() {
    if !emulator_is_there() {
        return;
    }
    let mut s = stream(7);
    let mut done = 0;
    while done < 40 {
        let mut pick = |choices: &[usize]| choices[s.below(choices.len() as u32) as usize];
        let few: Vec<usize> = (1..12).collect();
        let channels = [8, 16, 24, 40, 64, 72];
        let (x, filters) = (
            [pick(&[1, 2, 3]), pick(&few), pick(&few), pick(&channels)],
            [pick(&channels), pick(&[1, 2, 3]), pick(&[1, 2, 3, 5])],
        );
        let g = ConvShape {
            stride: [pick(&[1, 2, 3]), pick(&[1, 2, 4])],
            padding: [pick(&[0, 1, 2]), pick(&[0, 1, 3])],
            dilation: [pick(&[1, 2, 3]), pick(&[1, 2])],
            ..shape(x, filters, 1, 0, 1)
        };
        let (math, direction) = (TYPES[pick(&[0, 1, 2])], DIRECTIONS[pick(&[0, 1, 2])]);
        let kind = hopper(pick(&[64, 128, 256]), pick(&[1, 1, 2]));
        let possible = g.check().is_ok() && planned(&g, math, direction, kind).is_some();
        if possible {
            exact(&g, math, direction, kind, Schedule::FAST);
            done += 1;
        }
    }
}

fn bounded<T: Number>(g: &ConvShape, math: Math) {
    for direction in DIRECTIONS {
        if let Some(plan) = planned(g, math, direction, hopper(64, 1)) {
            check_normals::<T>(&plan, g);
        }
    }
}

#[test]
fn within_the_rounding_of_floats() {
    if !emulator_is_there() {
        return;
    }
    for g in &shapes() {
        bounded::<bf16>(g, Math::Bf16);
        bounded::<f32>(g, Math::Tf32);
    }
    bounded::<f16>(&shapes()[0], Math::F16);
    bounded::<f16>(&shapes()[1], Math::F16);
}
