//! What a spatial shuffle is, as properties of whole computations (papers, sections 1.2 and 1.5).

use proptest::prelude::*;

use whatwhere::autograd::{Tape, Var};
use whatwhere::device::Device;
use whatwhere::models::{Architecture, Network};
use whatwhere::nn::{Mode, Moment};
use whatwhere::ops::batch_norm::BatchNorm;
use whatwhere::ops::conv2d::Conv2d;
use whatwhere::ops::global_avg_pool::GlobalAvgPool;
use whatwhere::ops::relu::Relu;
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::ops::spatial_shuffle::{self as shuffle, SpatialShuffle};
use whatwhere::rng::{Key, Purpose};
use whatwhere::spatial::{Plan, Removal};
use whatwhere::tensor::{DType, Tensor};

fn normal(dims: &[usize], seed: u64) -> Tensor {
    let mut stream = Key::new(seed, Purpose::Check, 0, 0).stream(0);
    let count = dims.iter().product();
    let values: Vec<f64> = std::iter::repeat_with(|| stream.normal())
        .take(count)
        .collect();
    Tensor::from_slice(dims, &values, Device::Cpu).unwrap()
}

/// An operation as a function of one map.
type Function = fn(&mut Tape, &Var) -> Var;

fn shuffled(tape: &mut Tape, x: &Var, mode: shuffle::Mode, seed: u64) -> Var {
    let key = Key::new(seed, Purpose::Check, 1, 1);
    tape.apply(SpatialShuffle::new(mode, key), &[x]).unwrap()
}

/// Largest difference between f(shuffle(x)) and shuffle(f(x)), one permutation for all channels.
fn commutator(f: Function, x: &Tensor, seed: u64) -> f64 {
    let mut tape = Tape::no_grad();
    let x = Var::constant(x.clone());
    let mixed = shuffled(&mut tape, &x, shuffle::Mode::Rand, seed);
    let first = f(&mut tape, &mixed);
    let second = f(&mut tape, &x);
    let second = shuffled(&mut tape, &second, shuffle::Mode::Rand, seed);
    largest_difference(first.value(), second.value())
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

fn conv(tape: &mut Tape, x: &Var, side: usize) -> Var {
    let channels = x.value().shape().channels();
    let w = Var::constant(normal(&[4, side, side, channels], 99));
    tape.apply(Conv2d::new().padding(side / 2), &[x, &w])
        .unwrap()
}

fn norm(tape: &mut Tape, x: &Var) -> Var {
    let channels = x.value().shape().channels();
    let (gamma, beta) = (normal(&[channels], 5), normal(&[channels], 6));
    let op = BatchNorm {
        training: true,
        epsilon: 1e-5,
        relu: false,
    };
    tape.apply(op, &[x, &Var::constant(gamma), &Var::constant(beta)])
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn pointwise_layers_commute_with_a_shared_permutation_and_3x3_does_not(
        n in 1usize..4, h in 2usize..7, w in 2usize..7, c in 1usize..6, seed in 0u64..1000
    ) {
        let x = normal(&[n, h, w, c], seed);
        prop_assert_eq!(commutator(|t, x| t.apply(Relu, &[x]).unwrap(), &x, seed), 0.0);
        prop_assert!(commutator(|t, x| conv(t, x, 1), &x, seed) < 1e-12);
        prop_assert!(commutator(norm, &x, seed) < 1e-10);
        // A 2×2 map has symmetries that commute by luck; three or more rows and columns do not.
        if h >= 3 && w >= 3 {
            prop_assert!(commutator(|t, x| conv(t, x, 3), &x, seed) > 1e-3);
        }
    }

    #[test]
    fn averages_and_channel_multisets_survive_any_position_shuffle(
        n in 1usize..4, h in 1usize..8, w in 1usize..8, c in 1usize..6, seed in 0u64..1000
    ) {
        let x = Var::constant(normal(&[n, h, w, c], seed));
        for mode in [shuffle::Mode::Shuffle, shuffle::Mode::Rand, shuffle::Mode::Horizontal] {
            let mut tape = Tape::no_grad();
            let y = shuffled(&mut tape, &x, mode, seed);
            let before = tape.apply(GlobalAvgPool, &[&x]).unwrap();
            let after = tape.apply(GlobalAvgPool, &[&y]).unwrap();
            prop_assert!(largest_difference(before.value(), after.value()) < 1e-12);
            prop_assert_eq!(channel_multisets(x.value()), channel_multisets(y.value()));
        }
    }
}

/// The sorted values of every (sample, channel).
fn channel_multisets(x: &Tensor) -> Vec<Vec<f64>> {
    let [n, h, w, c] = x.shape().nhwc("test").unwrap();
    let values = x.to_f64_vec().unwrap();
    let of = |sample: usize, ch: usize| {
        let mut plane: Vec<f64> = (0..h * w)
            .map(|i| values[(sample * h * w + i) * c + ch])
            .collect();
        plane.sort_by(f64::total_cmp);
        plane
    };
    (0..n)
        .flat_map(|s| (0..c).map(move |ch| (s, ch)))
        .map(|(s, ch)| of(s, ch))
        .collect()
}

/// Mean and variance of a 3×3 convolution of a shuffled map, over the draws, against the closed
/// forms: E = Σ_c μ_c S_c and Var = Σ_c s_c² (M Q_c − S_c²)/(M − 1), with S_c and Q_c the sums of the
/// weights and of their squares over the taps that lie within the map.
#[test]
fn a_convolution_of_a_shuffled_map_has_the_mean_and_variance_of_the_closed_form() {
    const DRAWS: usize = 20_000;
    let (c, h, w) = (3, 4, 4);
    let m = (h * w) as f64;
    let x = normal(&[1, h, w, c], 1);
    let filter = normal(&[1, 3, 3, c], 2);
    let (values, taps) = (x.to_f64_vec().unwrap(), filter.to_f64_vec().unwrap());
    let (mut sum, mut squares) = (vec![0.0; h * w], vec![0.0; h * w]);
    let weight = Var::constant(filter);
    for draw in 0..DRAWS {
        let mut tape = Tape::no_grad();
        let key = Key::new(3, Purpose::ShuffleTrain, draw as u64, 0);
        let op = SpatialShuffle::new(shuffle::Mode::Shuffle, key);
        let y = tape.apply(op, &[&Var::constant(x.clone())]).unwrap();
        let y = tape
            .apply(Conv2d::new().padding(1), &[&y, &weight])
            .unwrap();
        for (i, v) in y.value().to_f64_vec().unwrap().into_iter().enumerate() {
            sum[i] += v;
            squares[i] += v * v;
        }
    }
    for row in 0..h {
        for col in 0..w {
            let (mut mean, mut variance) = (0.0, 0.0);
            for ch in 0..c {
                let plane: Vec<f64> = (0..h * w).map(|i| values[i * c + ch]).collect();
                let mu = plane.iter().sum::<f64>() / m;
                let s2 = plane.iter().map(|v| (v - mu).powi(2)).sum::<f64>() / m;
                let inside = (0..9).filter(|t| {
                    let (y, x) = (row + t / 3, col + t % 3);
                    (1..=h).contains(&y) && (1..=w).contains(&x)
                });
                let used: Vec<f64> = inside.map(|t| taps[t * c + ch]).collect();
                let (s, q) = (
                    used.iter().sum::<f64>(),
                    used.iter().map(|v| v * v).sum::<f64>(),
                );
                mean += mu * s;
                variance += s2 * (m * q - s * s) / (m - 1.0);
            }
            let i = row * w + col;
            let found = sum[i] / DRAWS as f64;
            let spread = squares[i] / DRAWS as f64 - found * found;
            // Five standard errors of the mean; the variance of 20,000 draws is good to 5 %.
            let tolerance = 5.0 * (variance / DRAWS as f64).sqrt();
            assert!(
                (found - mean).abs() < tolerance,
                "{row},{col}: {found} {mean}"
            );
            assert!(
                (spread / variance - 1.0).abs() < 0.05,
                "{row},{col}: {spread} {variance}"
            );
        }
    }
}

fn network(plan: &Plan) -> Network {
    let architecture = Architecture::by_name("vgg16", [32, 32, 3], 10, 0.125).unwrap();
    let mut network = plan.apply(&architecture).unwrap();
    network.initialise(6, DType::F32, Device::Cpu).unwrap();
    network
}

/// Logits and all gradients of one training step, as bits.
fn step(plan: &Plan) -> Vec<u32> {
    let mut network = network(plan);
    let images = normal(&[4, 32, 32, 3], 3).cast(DType::F32).unwrap();
    let labels = Tensor::from_slice([4], &[0i32, 3, 7, 9], Device::Cpu).unwrap();
    let mut tape = Tape::new();
    let moment = Moment::new(6, 17);
    let forward = network
        .forward(&mut tape, Mode::Train, moment, images)
        .unwrap();
    let mut bits: Vec<u32> = Vec::new();
    let mut keep = |t: &Tensor| bits.extend(t.data::<f32>().unwrap().iter().map(|v| v.to_bits()));
    keep(forward.logits.value());
    let loss = SoftmaxCrossEntropy::default();
    let loss = tape
        .apply(loss, &[&forward.logits, &Var::constant(labels)])
        .unwrap();
    let gradients = tape.backward(&loss).unwrap();
    for (_, leaf) in &forward.leaves {
        keep(gradients.get(leaf).unwrap());
    }
    bits
}

#[test]
fn cut_99_is_the_plain_network_bit_for_bit() {
    let plain = Plan::default();
    let cut = |remove| Plan {
        remove,
        ..plain.clone()
    };
    for remove in [Removal::Shuffle, Removal::Truncate, Removal::Conv1x1] {
        assert_eq!(step(&cut(remove)), step(&plain), "{remove}");
    }
    // GAP+FC networks have biases, so their baseline is the plain network with biases.
    let biased = Plan {
        conv_bias: Some(true),
        ..plain.clone()
    };
    assert_eq!(step(&cut(Removal::GapFc)), step(&biased));
    let shuffled = Plan {
        cut: 43,
        ..cut(Removal::Shuffle)
    };
    assert_ne!(step(&shuffled), step(&plain));
    assert_eq!(step(&shuffled), step(&shuffled));
}

/// Everything before the cut sees the same numbers, whatever is done behind it.
#[test]
fn layers_before_the_cut_start_alike() {
    let plain = network(&Plan::default());
    let treated = network(&Plan {
        remove: Removal::GapFc,
        cut: 33,
        conv_bias: Some(false),
        ..Plan::default()
    });
    for name in ["conv11.weight", "conv32.weight", "head2.weight"] {
        let value = |n: &Network| {
            let index = n
                .store
                .entries()
                .iter()
                .position(|e| e.name == name)
                .unwrap();
            let slot = n.store.slots().nth(index).unwrap();
            n.store.value(slot).unwrap().to_vec::<f32>().unwrap()
        };
        assert_eq!(value(&plain), value(&treated), "{name}");
    }
}

#[test]
fn train_and_test_cells_shuffle_when_they_say() {
    use whatwhere::spatial::When;
    let images = normal(&[2, 32, 32, 3], 3).cast(DType::F32).unwrap();
    for (when, train, test) in [
        (When::Both, true, true),
        (When::Train, true, false),
        (When::Test, false, true),
        (When::Neither, false, false),
    ] {
        let plan = Plan {
            remove: Removal::Shuffle,
            cut: 31,
            when,
            ..Plan::default()
        };
        for (mode, expected) in [(Mode::Train, train), (Mode::Test, test)] {
            let logits = |at: u64| {
                let mut network = network(&plan);
                let moment = Moment::new(0, at);
                let mut tape = Tape::no_grad();
                let forward = network
                    .forward(&mut tape, mode, moment, images.clone())
                    .unwrap();
                forward.logits.value().to_vec::<f32>().unwrap()
            };
            assert_eq!(logits(1) != logits(2), expected, "{when} {mode:?}");
        }
    }
}
