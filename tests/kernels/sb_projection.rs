//! `kernels/sb_projection*.cu` against the definition in f64: exactly on small integers, within the
//! bounds of rounding on normal numbers.

use half::{bf16, f16};
use whatwhere::cpu::masked_bce::{Operands, backward as bce_backward, loss_sum};
use whatwhere::kernels::Address;
use whatwhere::kernels::conv2d::Math;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::sb_projection::{self, Backward, Forward, Labels, Projection};
use whatwhere::rng::{Key, Purpose};

use super::bounds::{assert_close, f64s, gamma};
use super::numbers::{Number, assert_equal, drawn};
use super::{emulator_is_there, run};

const U: f64 = f32::EPSILON as f64 / 2.0;

/// c[i][j] = Σ_k a[i][k]·b[k][j], and the same of absolute values, by which rounding errors are bounded.
fn product(a: &[f64], b: &[f64], [n, depth, m]: [usize; 3]) -> [Vec<f64>; 2] {
    let entry = |at: usize| {
        let terms = (0..depth).map(|k| a[at / m * depth + k] * b[k * m + at % m]);
        terms.fold([0.0; 2], |[sum, size], term| {
            [sum + term, size + term.abs()]
        })
    };
    let both: Vec<[f64; 2]> = (0..n * m).map(entry).collect();
    [0, 1].map(|i| both.iter().map(|pair| pair[i]).collect())
}

/// [rows, columns] turned.
fn turned(a: &[f64], columns: usize) -> Vec<f64> {
    let rows = a.len() / columns;
    (0..a.len())
        .map(|at| a[at % rows * columns + at / rows])
        .collect()
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// The rows of dz without what pads them, which must be 0.
fn concepts_of<T: Number>(dz: &[T], pitch: usize, concepts: usize) -> Vec<T> {
    let rows = dz.chunks(pitch);
    assert!(
        rows.clone()
            .all(|row| row[concepts..].iter().all(|v| v.f64() == 0.0))
    );
    rows.flat_map(|row| row[..concepts].to_vec()).collect()
}

/// Numbers from -most to most.
fn integers<T: Number>(count: usize, lane: u32, most: i32) -> Vec<T> {
    let mut stream = Key::new(23, Purpose::Check, count as u64, lane).stream(0);
    let range = 2 * most as u32 + 1;
    let draw = |_| T::of(f64::from(stream.below(range) as i32 - most));
    (0..count).map(draw).collect()
}

/// Logits and all three gradients of integers, whose sums are exact in any order: to the last bit.
fn check_integers<T: Number>(math: Math, sizes: Projection, schedule: Schedule) {
    let Projection {
        rows,
        channels,
        concepts,
    } = sizes;
    let x = integers::<T>(rows * channels, 1, 3);
    let weight = integers::<T>(concepts * channels, 2, 2);
    let bias = integers::<T>(concepts, 3, 9);
    let cotangents = integers::<T>(rows * concepts, 4, 3);
    let (x64, weight64, dz64) = (f64s(&x), f64s(&weight), f64s(&cotangents));
    let rounded = |values: Vec<f64>| values.into_iter().map(T::of).collect::<Vec<T>>();
    let [mut z, _] = product(
        &x64,
        &turned(&weight64, channels),
        [rows, channels, concepts],
    );
    for (at, z) in z.iter_mut().enumerate() {
        *z += bias[at % concepts].f64();
    }
    let [dx, _] = product(&dz64, &weight64, [rows, concepts, channels]);
    let by_concept = turned(&dz64, concepts);
    let [dw, _] = product(&by_concept, &x64, [concepts, rows, channels]);
    let [db, _] = product(&by_concept, &vec![1.0; rows], [concepts, rows, 1]);
    let want = [z, dx, dw, db].map(rounded);

    let place = |values: &[T]| Memory::from_slice(values).unwrap();
    let (x, weight, bias) = (place(&x), place(&weight), place(&bias));
    let cotangents = place(&cotangents);
    let new = |count: usize| Memory::<T>::uninitialised(count).unwrap();
    for &tile in tiles(math, sizes) {
        let context = format!("{math:?} {sizes:?} by {tile} {schedule:?}");
        let logits = new(rows * concepts);
        let forward = Forward {
            x: x.address(),
            weight: weight.address(),
            bias: bias.address(),
            logits: logits.address(),
            ..Forward::default()
        };
        let launches = sb_projection::forward_by(math, sizes, forward, tile).unwrap();
        launches.iter().for_each(|launch| run(launch, schedule));
        let (dz, dx) = (new(rows * sizes.pitch(math)), new(rows * channels));
        let (dw, db) = (new(concepts * channels), new(concepts));
        let scratch = Memory::<f32>::uninitialised(sizes.backward_scratch()).unwrap();
        let backward = Backward {
            x: x.address(),
            weight: weight.address(),
            logits: logits.address(),
            concept_cotangent: cotangents.address(),
            dz: dz.address(),
            dx: dx.address(),
            dw: dw.address(),
            db: db.address(),
            scratch: scratch.address(),
            ..Backward::default()
        };
        let launches = sb_projection::backward(math, sizes, backward).unwrap();
        launches.iter().for_each(|launch| run(launch, schedule));
        let found = [&logits, &dx, &dw, &db].map(|memory| memory.to_vec());
        for (what, (found, want)) in ["z", "dx", "dW", "db"].iter().zip(found.iter().zip(&want)) {
            assert_equal(found, want, format!("{what}: {context}"));
        }
    }
}

struct Case {
    sizes: Projection,
    /// With a loss, with weights in it, with a cotangent of the concepts.
    loss: bool,
    weighted: bool,
    concepts: bool,
    /// Whether the concepts are σ(z).
    activated: bool,
}

/// Roundings of Σ of so many products, in units of Σ |product|: those of f32, and one of each operand
/// on its way into the multiplication.
fn roundings(math: Math, terms: usize) -> f64 {
    // 10 bits of significand after the first, to nearest.
    let unit = if math == Math::Tf32 {
        1.0 / 2048.0
    } else {
        0.0
    };
    let products = 2.0 * unit + unit * unit;
    gamma(terms) * (1.0 + products) + products
}

/// Whether tensor cores do it: then there are two tiles to choose from.
fn tiles(math: Math, sizes: Projection) -> &'static [usize] {
    let whole = (sizes.channels * math.dtype().size()).is_multiple_of(16);
    if math != Math::F32 && whole {
        &[64, 256]
    } else {
        &[64]
    }
}

fn check<T: Number>(math: Math, case: &Case, schedules: &[Schedule]) {
    for &rows in tiles(math, case.sizes) {
        check_tile::<T>(math, case, rows, schedules);
    }
}

fn check_tile<T: Number>(math: Math, case: &Case, tile: usize, schedules: &[Schedule]) {
    let sizes = case.sizes;
    let Projection {
        rows,
        channels,
        concepts,
    } = sizes;
    let cells = rows * concepts;
    let (x, bias) = (drawn::<T>(rows * channels, 1), drawn::<T>(concepts, 3));
    let scale = 1.0 / (channels as f64).sqrt();
    let weight: Vec<T> = drawn::<T>(concepts * channels, 2)
        .iter()
        .map(|w| T::of(w.f64() * scale))
        .collect();
    let targets: Vec<T> = (0..cells).map(|i| T::of((i % 5) as f64 / 4.0)).collect();
    let mask: Vec<T> = (0..cells)
        .map(|i| T::of((i % 3 != 1) as u8 as f64))
        .collect();
    let shares: Vec<T> = (0..cells)
        .map(|i| T::of(0.5 + (i % 4) as f64 / 2.0))
        .collect();
    let cotangents = drawn::<T>(cells, 4);
    let (x64, weight64, bias64) = (f64s(&x), f64s(&weight), f64s(&bias));
    let (targets64, mask64, shares64) = (f64s(&targets), f64s(&mask), f64s(&shares));

    let by_channel = turned(&weight64, channels);
    let [mut want_z, mut size_z] = product(&x64, &by_channel, [rows, channels, concepts]);
    for at in 0..cells {
        want_z[at] += bias64[at % concepts];
        size_z[at] += bias64[at % concepts].abs();
    }

    let place = |values: &[T]| Memory::from_slice(values).unwrap();
    let (x, weight, bias) = (place(&x), place(&weight), place(&bias));
    let (targets, mask, shares) = (place(&targets), place(&mask), place(&shares));
    let (cotangents, loss_cotangent) = (place(&cotangents), place(&[T::of(3.0)]));
    let labels = case.loss.then(|| Labels {
        targets: targets.address(),
        mask: mask.address(),
        weights: if case.weighted {
            shares.address()
        } else {
            Address(0)
        },
    });
    for &schedule in schedules {
        let context = format!("{math:?} {sizes:?} by {tile} {schedule:?}");
        let new = |count: usize| Memory::<T>::uninitialised(count).unwrap();
        let new32 = |count: usize| Memory::<f32>::uninitialised(count).unwrap();
        let (logits, activations, loss) = (new(cells), new(cells), new(1));
        let (result, scratch) = (new32(2), new32(sizes.forward_scratch()));
        let forward = Forward {
            x: x.address(),
            weight: weight.address(),
            bias: bias.address(),
            labels,
            logits: logits.address(),
            concepts: if case.activated {
                activations.address()
            } else {
                Address(0)
            },
            result: result.address(),
            loss: loss.address(),
            scratch: scratch.address(),
        };
        let launches = sb_projection::forward_by(math, sizes, forward, tile).unwrap();
        launches.iter().for_each(|launch| run(launch, schedule));
        let bound = |i: usize| roundings(math, channels + 1) * size_z[i];
        assert_close(&logits.to_vec(), &want_z, bound, &format!("z: {context}"));
        // All that follows is made of the stored logits.
        let z = f64s(&logits.to_vec());
        let p: Vec<f64> = z.iter().map(|&z| sigmoid(z)).collect();
        if case.activated {
            assert_close(
                &activations.to_vec(),
                &p,
                |i| 4.0 * U * p[i],
                &format!("p: {context}"),
            );
        }

        let operands = Operands {
            logits: &z,
            targets: &targets64,
            mask: &mask64,
            weights: case.weighted.then_some(&shares64[..]),
        };
        let (mut want_dz, mut slack) = (vec![0.0; cells], vec![0.0; cells]);
        if case.loss {
            let [sum, total] = loss_sum(operands);
            let found = result.to_vec();
            assert_eq!(found[1] as f64, total, "{context}");
            let bound = |_| gamma(cells + 12) * sum / total;
            assert_close(
                &found[..1],
                &[sum / total],
                bound,
                &format!("loss: {context}"),
            );
            assert_eq!(loss.to_vec(), [T::of(found[0] as f64)], "{context}");
            bce_backward(operands, 3.0 / total, &mut want_dz);
            for at in 0..cells {
                let share = if case.weighted { shares64[at] } else { 1.0 };
                slack[at] = 10.0 * U * 3.0 / total * mask64[at] * share;
            }
        }
        if case.concepts {
            for (at, dp) in f64s(&cotangents.to_vec()).into_iter().enumerate() {
                let slope = match case.activated {
                    true => p[at] * (1.0 - p[at]),
                    false => 1.0,
                };
                want_dz[at] += dp * slope;
                slack[at] += 10.0 * U * dp.abs();
            }
        }

        let pitch = sizes.pitch(math);
        let dz = new(rows * pitch);
        let (dx, dw, db) = (
            new(rows * channels),
            new(concepts * channels),
            new(concepts),
        );
        let scratch = new32(sizes.backward_scratch());
        let backward = Backward {
            x: x.address(),
            weight: weight.address(),
            labels,
            logits: logits.address(),
            result: result.address(),
            loss_cotangent: loss_cotangent.address(),
            concept_cotangent: if case.concepts {
                cotangents.address()
            } else {
                Address(0)
            },
            activated: case.activated,
            dz: dz.address(),
            dx: dx.address(),
            dw: dw.address(),
            db: db.address(),
            scratch: scratch.address(),
        };
        let launches = sb_projection::backward(math, sizes, backward).unwrap();
        launches.iter().for_each(|launch| run(launch, schedule));
        let dz = concepts_of(&dz.to_vec(), pitch, concepts);
        assert_close(&dz, &want_dz, |i| slack[i], &format!("dz: {context}"));
        // And the products are made of the stored gradient of z.
        let dz = f64s(&dz);
        let [want, size] = product(&dz, &weight64, [rows, concepts, channels]);
        let bound = |i: usize| roundings(math, concepts) * size[i];
        assert_close(&dx.to_vec(), &want, bound, &format!("dx: {context}"));
        let by_concept = turned(&dz, concepts);
        let [want, size] = product(&by_concept, &x64, [concepts, rows, channels]);
        let bound = |i: usize| roundings(math, rows) * size[i];
        assert_close(&dw.to_vec(), &want, bound, &format!("dW: {context}"));
        let ones = vec![1.0; rows];
        let [want, size] = product(&by_concept, &ones, [concepts, rows, 1]);
        let bound = |i: usize| gamma(rows) * size[i];
        assert_close(&db.to_vec(), &want, bound, &format!("db: {context}"));
    }
}

fn case(rows: usize, channels: usize, concepts: usize, with: [bool; 3]) -> Case {
    let [loss, weighted, concept_cotangent] = with;
    Case {
        sizes: Projection {
            rows,
            channels,
            concepts,
        },
        loss,
        weighted,
        concepts: concept_cotangent,
        activated: true,
    }
}

fn check_all<T: Number>(math: Math) {
    if !emulator_is_there() {
        return;
    }
    let all: Vec<Schedule> = Schedule::all().collect();
    // Everything in one tile, ragged; channels that are no vectors; more than a tile of each kind.
    check::<T>(math, &case(5, 40, 7, [true, true, true]), &all);
    check::<T>(math, &case(1, 13, 1, [true, false, false]), &all);
    let logits = Case {
        activated: false,
        ..case(5, 24, 7, [true, false, true])
    };
    check::<T>(math, &logits, &all);
    let one = [Schedule::all().last().unwrap()];
    check::<T>(math, &case(70, 136, 83, [false, false, true]), &one);
    // Several parts, and the sizes that the kernels are for, but few rows.
    let fast = [Schedule::FAST];
    check::<T>(math, &case(600, 16, 70, [true, false, true]), &fast);
    check::<T>(math, &case(67, 520, 70, [true, true, true]), &fast);

    let sizes = |rows, channels, concepts| Projection {
        rows,
        channels,
        concepts,
    };
    for (i, schedule) in all.iter().enumerate() {
        // One row, one concept; ragged tiles down, across and along the depth.
        check_integers::<T>(math, sizes(1, 24, 1), *schedule);
        check_integers::<T>(math, sizes(67, 40 + 8 * i, 71), *schedule);
    }
    for (rows, channels, concepts) in [
        (257, 24, 71),
        (600, 136, 7),
        (61, 2048 + 8, 70),
        (1, 2048, 100),
        (263, 13, 81),
    ] {
        check_integers::<T>(math, sizes(rows, channels, concepts), Schedule::FAST);
    }
}

#[test]
fn f32s() {
    check_all::<f32>(Math::F32);
}

#[test]
fn tf32s() {
    check_all::<f32>(Math::Tf32);
}

#[test]
fn f16s() {
    check_all::<f16>(Math::F16);
}

#[test]
fn bf16s() {
    check_all::<bf16>(Math::Bf16);
}

/// x is read once in each direction: by one block a row tile forward, by one a channel tile for dW.
#[test]
fn plans() {
    let sizes = Projection {
        rows: 16 * 60 * 60,
        channels: 2048,
        concepts: 70,
    };
    let (dx, dw) = (Address(16), Address(32));
    let backward = Backward {
        dx,
        dw,
        ..Backward::default()
    };
    let plan = |math| {
        let forward = sb_projection::forward(math, sizes, Forward::default()).unwrap();
        let backward = sb_projection::backward(math, sizes, backward).unwrap();
        let all = forward.iter().chain(&backward);
        all.map(|l| (l.kernel(), l.grid()[0])).collect::<Vec<_>>()
    };
    let elements = (2049 * 70usize).div_ceil(256) as u32;
    let want = [
        ("sb_projection_mma_256_bf16", 225),
        ("sb_projection_dz_bf16", 57600 * 72 / 256),
        ("sb_projection_mma_dx_bf16", 450 * 16),
        ("sb_projection_mma_dw_bf16", 16 * 17),
        ("sb_projection_sum_bf16", elements),
    ];
    assert_eq!(plan(Math::Bf16), want);
    let want = [
        ("sb_projection_f32", 900),
        ("sb_projection_dz_f32", 57600 * 72 / 256),
        ("sb_projection_dx_f32", 900 * 16),
        ("sb_projection_dw_f32", 16 * 17),
        ("sb_projection_sum_f32", elements),
    ];
    assert_eq!(plan(Math::F32), want);
    assert_eq!(sizes.backward_scratch(), 17 * 2049 * 70);
    // Without wanted gradients there is less to do.
    let none = sb_projection::backward(Math::F32, sizes, Backward::default()).unwrap();
    assert_eq!(none.len(), 1);
    // A single image has too few rows for large tiles, and channels that are no vectors want FFMA.
    let kernel = |sizes| {
        let forward = sb_projection::forward(Math::Tf32, sizes, Forward::default());
        forward.unwrap()[0].kernel()
    };
    let image = Projection {
        rows: 90 * 90,
        ..sizes
    };
    assert_eq!(kernel(image), "sb_projection_mma_64_tf32");
    let odd = Projection {
        channels: 2047,
        ..sizes
    };
    assert_eq!(kernel(odd), "sb_projection_f32");
}

#[test]
fn impossible_projections_are_refused() {
    let good = Projection {
        rows: 4,
        channels: 8,
        concepts: 3,
    };
    let refused = |sizes, x| {
        let x = Address(x);
        let error = sb_projection::forward(
            Math::F32,
            sizes,
            Forward {
                x,
                ..Forward::default()
            },
        );
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("sb_projection: "), "{error}");
    };
    let tiles = sb_projection::forward_by(Math::F32, good, Forward::default(), 256);
    let error = tiles.unwrap_err().to_string();
    assert!(error.contains("tiles of 256 rows"), "{error}");
    refused(good, 4);
    refused(Projection { rows: 0, ..good }, 0);
    refused(
        Projection {
            channels: 0,
            ..good
        },
        0,
    );
    refused(
        Projection {
            concepts: 0,
            ..good
        },
        0,
    );
    refused(
        Projection {
            rows: 1 << 31,
            ..good
        },
        0,
    );
    let wide = 1 << 20;
    refused(
        Projection {
            channels: wide,
            concepts: wide,
            ..good
        },
        0,
    );
}
