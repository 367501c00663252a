//! `kernels/conv2d_{fprop,dgrad,wgrad}.cu`: every direction, tile and arithmetic.

use half::{bf16, f16};
use whatwhere::cpu::conv2d::ConvShape;
use whatwhere::kernels::conv2d::{Kind, Math, Plan, Tile};
use whatwhere::kernels::emulator::Schedule;

use super::super::emulator_is_there;
use super::super::numbers::Number;
use super::{DIRECTIONS, check_integers, check_normals, planned, shape};

/// The declared cases of `ops::conv2d`, and more: H≠W, prime channels, dilation 2 and 4, stride 2 and 3 on
/// odd sizes, strides that share a factor with the dilation, filters that miss pixels, 1×1 and 2×2 maps,
/// batch 1. All are small: one or two tiles.
fn small_shapes() -> Vec<ConvShape> {
    vec![
        shape([2, 6, 5, 3], [8, 3, 3], 1, 1, 1),
        shape([2, 7, 4, 5], [6, 3, 3], 2, 1, 1),
        shape([3, 4, 4, 7], [11, 1, 1], 1, 0, 1),
        shape([1, 5, 3, 4], [3, 1, 1], 2, 0, 1),
        shape([1, 9, 8, 3], [4, 7, 7], 2, 3, 1),
        shape([1, 6, 7, 2], [3, 3, 3], 1, 2, 2),
        shape([1, 5, 5, 2], [3, 3, 3], 1, 4, 4),
        shape([4, 1, 1, 5], [6, 3, 3], 1, 1, 1),
        shape([3, 2, 2, 13], [17, 3, 3], 1, 1, 1),
        ConvShape {
            stride: [2, 1],
            padding: [0, 2],
            dilation: [1, 2],
            ..shape([2, 5, 6, 3], [4, 3, 2], 1, 0, 1)
        },
        shape([1, 7, 9, 8], [16, 3, 3], 2, 1, 1),
        shape([1, 1, 1, 8], [8, 1, 1], 1, 0, 1),
        shape([2, 2, 2, 16], [24, 3, 3], 1, 1, 1),
        shape([1, 9, 7, 8], [8, 3, 3], 2, 2, 2),
        shape([1, 8, 8, 8], [8, 3, 3], 3, 1, 2),
        shape([1, 8, 6, 8], [8, 2, 2], 4, 0, 1),
        shape([1, 6, 6, 8], [8, 3, 2], 4, 2, 2),
        shape([1, 12, 11, 8], [72, 3, 3], 1, 4, 4),
    ]
}

/// Several tiles in both directions, a depth of many slabs.
fn large_shapes() -> Vec<ConvShape> {
    vec![
        shape([2, 9, 11, 24], [136, 3, 3], 1, 1, 1),
        shape([1, 15, 13, 136], [72, 3, 3], 2, 1, 1),
        shape([200, 1, 1, 136], [72, 1, 1], 1, 0, 1),
        shape([2, 9, 11, 19], [67, 3, 3], 2, 1, 1),
    ]
}

fn plans(g: &ConvShape, math: Math) -> Vec<Plan> {
    let tiles = [Tile::Large, Tile::Small, Tile::Scalar];
    let kinds = tiles.map(|tile| Kind::Portable { tile, parts: 1 });
    DIRECTIONS
        .iter()
        .flat_map(|&direction| kinds.map(|kind| planned(g, math, direction, kind)))
        .flatten()
        .collect()
}

/// Every direction and tile on the small shapes, in all schedules with integers, and on normal numbers.
fn small<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    for (i, g) in small_shapes().iter().enumerate() {
        for plan in plans(g, math) {
            // Every schedule for the first of each kind; then one after the other, so that each sees all.
            for (j, schedule) in Schedule::all().enumerate() {
                if i % 6 == j || i == 10 {
                    check_integers::<T>(&plan, g, schedule);
                }
            }
            check_normals::<T>(&plan, g);
        }
    }
}

/// The large shapes, unchecked and in one schedule; whole and in parts.
fn large<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    for g in large_shapes() {
        for plan in plans(&g, math) {
            check_integers::<T>(&plan, &g, Schedule::FAST);
            check_normals::<T>(&plan, &g);
            let Kind::Portable { tile, .. } = plan.kind() else {
                panic!("{plan:?}");
            };
            let split = plan.with(Kind::Portable { tile, parts: 2 }).unwrap();
            check_integers::<T>(&split, &g, Schedule::FAST);
            check_normals::<T>(&split, &g);
        }
    }
}

#[test]
fn f32() {
    small::<f32>(Math::F32);
    large::<f32>(Math::F32);
}

#[test]
fn tf32() {
    small::<f32>(Math::Tf32);
    large::<f32>(Math::Tf32);
}

#[test]
fn float16() {
    small::<f16>(Math::F16);
    large::<f16>(Math::F16);
}

#[test]
fn bfloat16() {
    small::<bf16>(Math::Bf16);
    large::<bf16>(Math::Bf16);
}
