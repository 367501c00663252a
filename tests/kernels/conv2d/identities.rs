//! What holds whatever the numbers are: the same bits in every schedule, and gradients that are adjoints.

use half::{bf16, f16};
use whatwhere::kernels::conv2d::{Direction, Kind, Math, Tile};
use whatwhere::kernels::emulator::Schedule;

use super::super::emulator_is_there;
use super::super::numbers::Number;
use super::{DIRECTIONS, Operands, integers, planned, result, shape, stream};

/// Every kind of kernel, whole and in parts.
const KINDS: [Kind; 6] = [
    Kind::Portable {
        tile: Tile::Small,
        parts: 1,
    },
    Kind::Portable {
        tile: Tile::Large,
        parts: 2,
    },
    Kind::Portable {
        tile: Tile::Scalar,
        parts: 3,
    },
    Kind::Hopper {
        columns: 64,
        parts: 1,
    },
    Kind::Hopper {
        columns: 128,
        parts: 2,
    },
    Kind::Hopper {
        columns: 256,
        parts: 1,
    },
];

/// Sums of normal numbers, where another order would show.
fn same_bits<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    let g = shape([2, 9, 8, 16], [24, 3, 3], 1, 1, 1);
    let operands = Operands::normals::<T>(&g);
    for kind in KINDS {
        for direction in DIRECTIONS {
            let Some(plan) = planned(&g, math, direction, kind) else {
                continue;
            };
            let length = match direction {
                Direction::Fprop => g.output_len(),
                Direction::Dgrad => g.input_len(),
                Direction::Wgrad => g.filter_len(),
            };
            let run = |schedule| result::<T>(&plan, &operands, schedule, length);
            let first = run(Schedule::FAST);
            for schedule in Schedule::all() {
                assert_eq!(run(schedule), first, "{plan:?} {schedule:?}");
            }
        }
    }
}

#[test]
fn the_same_bits_in_every_schedule() {
    same_bits::<bf16>(Math::Bf16);
    same_bits::<f32>(Math::Tf32);
    same_bits::<f32>(Math::F32);
}

/// ⟨x * w, dy⟩ = ⟨x, dgrad(dy, w)⟩ = ⟨w, wgrad(x, dy)⟩, where all three are exact: sums of at most 256 ones.
fn adjoint<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    for g in [
        shape([2, 9, 8, 16], [24, 3, 3], 1, 1, 1),
        shape([1, 9, 7, 16], [24, 3, 3], 2, 2, 2),
        shape([3, 5, 3, 32], [40, 1, 1], 1, 0, 1),
    ] {
        let mut s = stream(6);
        let [x, w, dy] = [g.input_len(), g.filter_len(), g.output_len()]
            .map(|length| integers(&mut s, length, 1));
        let operands = Operands { x, w, dy };
        for kind in KINDS {
            let inner = |direction, with: &[f64]| {
                let plan = planned(&g, math, direction, kind)?;
                let found = result::<T>(&plan, &operands, Schedule::FAST, with.len());
                let terms = found.iter().zip(with).map(|(a, b)| a.f64() * b);
                Some(terms.sum::<f64>())
            };
            let sides = [
                inner(Direction::Fprop, &operands.dy),
                inner(Direction::Dgrad, &operands.x),
                inner(Direction::Wgrad, &operands.w),
            ];
            let [Some(forward), others @ ..] = sides else {
                continue;
            };
            assert_ne!(forward, 0.0, "nothing is compared");
            for other in others.into_iter().flatten() {
                assert_eq!(other, forward, "{math:?} {kind:?} {g:?}");
            }
        }
    }
}

#[test]
fn gradients_are_adjoints() {
    adjoint::<f32>(Math::F32);
    adjoint::<f32>(Math::Tf32);
    adjoint::<f16>(Math::F16);
    adjoint::<bf16>(Math::Bf16);
}
