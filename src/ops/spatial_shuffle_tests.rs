use super::*;
use crate::device::Device;

const MODES: [Mode; 8] = [
    Mode::Shuffle,
    Mode::Rand,
    Mode::ChannelRand,
    Mode::ChannelShuffle,
    Mode::ShuffleAll,
    Mode::Horizontal,
    Mode::Vertical,
    Mode::Local(2),
];

fn key(step: u64) -> Key {
    Key::new(6, Purpose::ShuffleTrain, step, 43)
}

fn run(op: SpatialShuffle, x: &Tensor) -> Vec<f64> {
    let y = op.forward(&[x], &mut Saved::default()).unwrap().value;
    y.to_vec().unwrap()
}

fn iota(dims: [usize; 4]) -> Tensor {
    let values: Vec<f64> = (0..dims.iter().product::<usize>())
        .map(|i| i as f64)
        .collect();
    Tensor::from_slice(dims, &values, Device::Cpu).unwrap()
}

#[test]
fn every_mode_and_scope_permutes_within_a_sample_and_is_undone_by_its_vjp() {
    let x = iota([3, 4, 6, 5]);
    for mode in MODES {
        for (per_sample, derange) in [(false, false), (true, false), (false, true)] {
            let op = SpatialShuffle {
                per_sample,
                derange,
                ..SpatialShuffle::new(mode, key(1))
            };
            let y = op.forward(&[&x], &mut Saved::default()).unwrap().value;
            let back = op
                .vjp(Saved::default(), y.clone(), &[true])
                .unwrap()
                .remove(0)
                .unwrap();
            assert_eq!(
                back.to_vec::<f64>().unwrap(),
                x.to_vec::<f64>().unwrap(),
                "{op:?}"
            );
            let (x, y) = (x.to_vec::<f64>().unwrap(), y.to_vec::<f64>().unwrap());
            assert_ne!(x, y, "{op:?}");
            for (x, y) in x.chunks(120).zip(y.chunks(120)) {
                let mut sorted = y.to_vec();
                sorted.sort_by(f64::total_cmp);
                assert_eq!(sorted, x, "{op:?}");
            }
        }
    }
}

/// What each mode may and may not move, read off a map whose values are their own indices.
#[test]
fn each_mode_moves_what_its_name_says() {
    let (h, w, c) = (4, 6, 5);
    let source = |mode| -> Vec<[usize; 3]> {
        let y = run(SpatialShuffle::new(mode, key(2)), &iota([1, h, w, c]));
        y.iter()
            .map(|&v| v as usize)
            .map(|v| [v / c / w, v / c % w, v % c])
            .collect()
    };
    let at = |y: usize, x: usize, ch: usize| (y * w + x) * c + ch;
    for mode in MODES {
        let from = source(mode);
        let all = |test: &dyn Fn(usize, usize, usize, [usize; 3]) -> bool| {
            (0..h).all(|y| (0..w).all(|x| (0..c).all(|ch| test(y, x, ch, from[at(y, x, ch)]))))
        };
        let keeps_channel = all(&|_, _, ch, f| f[2] == ch);
        let keeps_position = all(&|y, x, _, f| f[..2] == [y, x]);
        let channels_aligned = all(&|y, x, _, f| f[..2] == from[at(y, x, 0)][..2]);
        let positions_aligned = all(&|_, _, ch, f| f[2] == from[at(0, 0, ch)][2]);
        match mode {
            Mode::Shuffle => assert!(keeps_channel && !channels_aligned),
            Mode::Rand => assert!(keeps_channel && channels_aligned),
            Mode::ChannelRand => assert!(keeps_position && positions_aligned),
            Mode::ChannelShuffle => assert!(keeps_position && !positions_aligned),
            Mode::ShuffleAll => assert!(!keeps_channel && !keeps_position),
            Mode::Horizontal => {
                assert!(all(&|y, x, ch, f| f == [y, from[at(0, x, 0)][1], ch]));
            }
            Mode::Vertical => assert!(all(&|y, x, ch, f| f == [from[at(y, 0, 0)][0], x, ch])),
            Mode::Local(t) => {
                assert!(all(
                    &|y, x, ch, f| [f[0] / t, f[1] / t, f[2]] == [y / t, x / t, ch]
                ));
            }
        }
    }
}

#[test]
fn a_tile_as_large_as_the_map_is_the_full_shuffle_and_a_tile_of_one_the_identity() {
    let x = iota([2, 4, 4, 3]);
    let full = run(SpatialShuffle::new(Mode::Shuffle, key(1)), &x);
    assert_eq!(run(SpatialShuffle::new(Mode::Local(4), key(1)), &x), full);
    let identity = run(SpatialShuffle::new(Mode::Local(1), key(1)), &x);
    assert_eq!(identity, x.to_vec::<f64>().unwrap());
}

#[test]
fn the_batch_shares_one_draw_unless_asked_and_keys_draw_anew() {
    let one = iota([1, 4, 4, 3]).to_vec::<f64>().unwrap();
    let twice =
        Tensor::from_slice([2, 4, 4, 3], &[one.clone(), one].concat(), Device::Cpu).unwrap();
    let op = SpatialShuffle::new(Mode::Shuffle, key(1));
    let y = run(op.clone(), &twice);
    assert_eq!(y[..48], y[48..]);
    let y = run(
        SpatialShuffle {
            per_sample: true,
            ..op.clone()
        },
        &twice,
    );
    assert_ne!(y[..48], y[48..]);
    assert_ne!(
        run(op.clone(), &twice),
        run(SpatialShuffle::new(Mode::Shuffle, key(2)), &twice)
    );
    assert_eq!(run(op.clone(), &twice), run(op, &twice));
}

/// Chi-square over all 24 permutations of a 2×2 map, 24,000 draws from the channels of 100 steps.
#[test]
fn permutations_are_uniform() {
    let map = Map { h: 2, w: 2, c: 240 };
    let mut counts = std::collections::BTreeMap::new();
    let mut pairs = std::collections::BTreeMap::new();
    for step in 0..100 {
        let table = table(Mode::Shuffle, map, key(step), false);
        let of = |ch: usize| -> Vec<u32> {
            (0..4)
                .map(|i| table[i * map.c + ch] / map.c as u32)
                .collect()
        };
        for ch in 0..map.c {
            *counts.entry(of(ch)).or_insert(0u32) += 1;
            *pairs
                .entry((of(ch)[0], of((ch + 1) % map.c)[0]))
                .or_insert(0u32) += 1;
        }
    }
    let chi2 = |counts: Vec<u32>, cells: usize| -> f64 {
        assert_eq!(counts.len(), cells);
        let expected = 24_000.0 / cells as f64;
        counts
            .iter()
            .map(|&n| (n as f64 - expected).powi(2) / expected)
            .sum()
    };
    // 0.001 quantiles: 49.7 with 23 degrees of freedom, 37.7 with 15.
    let uniform = chi2(counts.into_values().collect(), 24);
    assert!(uniform < 49.7, "{uniform}");
    let independent = chi2(pairs.into_values().collect(), 16);
    assert!(independent < 37.7, "{independent}");
}

#[test]
fn derangements_have_no_fixed_point_and_are_uniform() {
    let map = Map { h: 2, w: 2, c: 90 };
    let mut counts = std::collections::BTreeMap::new();
    for step in 0..100 {
        let table = table(Mode::Shuffle, map, key(step), true);
        for ch in 0..map.c {
            let pi: Vec<u32> = (0..4)
                .map(|i| table[i * map.c + ch] / map.c as u32)
                .collect();
            assert!(pi.iter().enumerate().all(|(i, &p)| i as u32 != p));
            *counts.entry(pi).or_insert(0u32) += 1;
        }
    }
    assert_eq!(counts.len(), 9);
    let chi2: f64 = counts
        .values()
        .map(|&n| (n as f64 - 1000.0).powi(2) / 1000.0)
        .sum();
    assert!(chi2 < 26.1, "{chi2}"); // 0.001 quantile, 8 degrees of freedom
    let single = table_of_one();
    assert_eq!(single, [0, 1, 2]);
}

fn table_of_one() -> Vec<u32> {
    table(Mode::Shuffle, Map { h: 1, w: 1, c: 3 }, key(0), true)
}

/// The contract with the kernels: π_c is the argsort of lane c of the key's stream.
#[test]
fn the_table_is_the_argsort_of_the_stream() {
    let map = Map { h: 5, w: 3, c: 4 };
    let table = table(Mode::Shuffle, map, key(7), false);
    for ch in 0..map.c {
        let pi = key(7).stream(ch as u32).permutation(15);
        let found: Vec<u32> = (0..15)
            .map(|i| table[i * map.c + ch] / map.c as u32)
            .collect();
        assert_eq!(found, pi);
    }
}

#[test]
fn a_tile_that_does_not_divide_the_map_is_refused() {
    let op = SpatialShuffle::new(Mode::Local(4), key(0));
    let refused = op.forward(&[&iota([1, 4, 6, 2])], &mut Saved::default());
    let message = refused.err().unwrap().to_string();
    assert!(
        message.contains("4×4") && message.contains("4×6"),
        "{message}"
    );
}
