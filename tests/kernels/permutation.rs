//! `kernels/permutation.cu` against `rng::Stream::permutation`, number by number.

use half::f16;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::key::KeySource;
use whatwhere::kernels::permutation::{self, Tables};
use whatwhere::kernels::{Address, Launch};
use whatwhere::rng::{Key, Purpose};

use super::{emulator_is_there, run};

/// A table of 16-bit integers; the crate has no such dtype, so their bits travel as f16.
pub fn bits(table: &Memory<f16>) -> Vec<u16> {
    table.to_vec().into_iter().map(f16::to_bits).collect()
}

fn expected(key: Key, first_lane: u32, positions: usize, channels: usize) -> (Vec<u16>, Vec<u16>) {
    let (mut table, mut inverse) = (vec![0; positions * channels], vec![0; positions * channels]);
    for c in 0..channels {
        let permutation = key.stream(first_lane + c as u32).permutation(positions);
        for (rank, &position) in permutation.iter().enumerate() {
            table[rank * channels + c] = position as u16;
            inverse[position as usize * channels + c] = rank as u16;
        }
    }
    (table, inverse)
}

fn check(
    positions: usize,
    channels: usize,
    schedules: &[Schedule],
    plan: impl Fn(Key, Tables) -> Launch,
) {
    let key = Key::new(17, Purpose::ShuffleTrain, positions as u64, 3);
    let (want_table, want_inverse) = expected(key, 5, positions, channels);
    for &schedule in schedules {
        let table = Memory::uninitialised(positions * channels).unwrap();
        let inverse = Memory::uninitialised(positions * channels).unwrap();
        let tables = Tables {
            forward: table.address(),
            inverse: inverse.address(),
        };
        run(&plan(key, tables), schedule);
        assert_eq!(
            bits(&table),
            want_table,
            "π of {positions} positions, {schedule:?}"
        );
        assert_eq!(
            bits(&inverse),
            want_inverse,
            "π⁻¹ of {positions} positions, {schedule:?}"
        );
    }
}

#[test]
fn small_maps_under_every_schedule() {
    if !emulator_is_there() {
        return;
    }
    let schedules: Vec<_> = Schedule::all().collect();
    for (positions, channels) in [
        (1, 1),
        (2, 3),
        (4, 7),
        (15, 2),
        (49, 5),
        (64, 1),
        (65, 3),
        (196, 2),
    ] {
        check(positions, channels, &schedules, |key, tables| {
            permutation::launch(key, 5, positions, channels, tables).unwrap()
        });
    }
}

/// Slices that fit, and slices that must be halved again and again until they do.
#[test]
fn slices_and_overfull_slices() {
    if !emulator_is_there() {
        return;
    }
    let schedules: Vec<_> = Schedule::all().collect();
    for (capacity, slices) in [(64, 9), (64, 1), (128, 3)] {
        check(500, 2, &schedules, |key, tables| {
            permutation::launch_with(key, 5, 500, 2, tables, capacity, slices).unwrap()
        });
    }
}

/// The largest map of the networks, and the largest the kernel does; unchecked, because they are long.
#[test]
fn large_maps() {
    if !emulator_is_there() {
        return;
    }
    for positions in [224 * 224, permutation::MAX_POSITIONS] {
        check(positions, 1, &[Schedule::FAST], |key, tables| {
            permutation::launch(key, 5, positions, 1, tables).unwrap()
        });
    }
}

/// A key made of a step in memory is the host's, and one launch does a whole batch: maps in one slice and in
/// several.
#[test]
fn keys_from_memory_and_a_table_for_each_sample() {
    if !emulator_is_there() {
        return;
    }
    let (seed, step, layer) = (0x1234_5678_9ABC, 0xF_0000_0007_u64, 43);
    let key = Key::new(seed, Purpose::ShuffleTrain, step, layer);
    let words = Memory::from_slice(&[step as u32 as i32, (step >> 32) as i32]).unwrap();
    let late = KeySource::at(seed, Purpose::ShuffleTrain, words.address(), layer);
    for (samples, positions, channels) in [(1, 1, 1), (3, 15, 2), (2, 8200, 1)] {
        let schedules: Vec<_> = match positions {
            8200 => vec![Schedule::FAST],
            _ => Schedule::all().collect(),
        };
        for (schedule, source) in schedules
            .into_iter()
            .flat_map(|schedule| [key.into(), late].map(|source| (schedule, source)))
        {
            let count = samples * positions * channels;
            let forward = Memory::uninitialised(count).unwrap();
            let inverse = Memory::uninitialised(count).unwrap();
            let tables = Tables {
                forward: forward.address(),
                inverse: inverse.address(),
            };
            let map = [positions, channels];
            run(
                &permutation::launch_per_sample(source, samples, map, tables).unwrap(),
                schedule,
            );
            let each = (0..samples).map(|n| expected(key.fold(n as u32), 0, positions, channels));
            let (want, want_inverse): (Vec<_>, Vec<_>) = each.unzip();
            assert_eq!(bits(&forward), want.concat(), "{samples} {schedule:?}");
            assert_eq!(
                bits(&inverse),
                want_inverse.concat(),
                "{samples} {schedule:?}"
            );
        }
    }
    let table = Memory::uninitialised(30).unwrap();
    let tables = Tables {
        forward: table.address(),
        inverse: Address::default(),
    };
    for schedule in Schedule::all() {
        run(
            &permutation::launch(late, 5, 15, 2, tables).unwrap(),
            schedule,
        );
        assert_eq!(bits(&table), expected(key, 5, 15, 2).0, "{schedule:?}");
    }
}

#[test]
fn either_table_may_be_left_out() {
    if !emulator_is_there() {
        return;
    }
    let key = Key::new(1, Purpose::Check, 0, 0);
    let inverse = Memory::uninitialised(30).unwrap();
    let tables = Tables {
        forward: Address::default(),
        inverse: inverse.address(),
    };
    let launch = permutation::launch(key, 0, 10, 3, tables).unwrap();
    for schedule in Schedule::all() {
        run(&launch, schedule);
    }
    assert_eq!(bits(&inverse), expected(key, 0, 10, 3).1);
}

#[test]
fn impossible_maps_are_refused() {
    let tables = Tables {
        forward: Address::default(),
        inverse: Address::default(),
    };
    let key = Key::new(1, Purpose::Check, 0, 0);
    for (positions, channels) in [(0, 1), (65537, 1), (4, 0)] {
        let error = permutation::launch(key, 0, positions, channels, tables)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("permutation: "), "{error}");
    }
    for samples in [0, 65536] {
        let plan = permutation::launch_per_sample(key, samples, [4, 1], tables);
        let error = plan.unwrap_err().to_string();
        assert!(error.starts_with("permutation: "), "{error}");
    }
}
