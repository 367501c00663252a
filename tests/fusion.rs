//! Layers that run as one operation give what they give one by one: every model, whole and treated, in
//! training and in test, bit for bit on the CPU; and on the emulator within the bound of a stable algorithm.

use whatwhere::autograd::{Tape, Var};
use whatwhere::device::Device;
use whatwhere::kernels::emulator;
use whatwhere::models::{Architecture, MODELS, Network};
use whatwhere::nn::{Mode, Moment};
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::ops::spatial_shuffle;
use whatwhere::rng::{Key, Purpose, Stream};
use whatwhere::spatial::{Plan, Removal, When};
use whatwhere::tensor::{DType, Tensor};

const BATCH: usize = 3;

/// A narrow network of the model.
fn network(model: &str, plan: &Plan, size: Size, dtype: DType, device: Device) -> Network {
    let Size { side, width } = size;
    let architecture = Architecture::by_name(model, [side, side, 3], 7, width).unwrap();
    let mut network = plan.apply(&architecture).unwrap();
    network.initialise(6, dtype, device).unwrap();
    network
}

/// Rows and columns of an image, and the share of a model's channels.
#[derive(Clone, Copy)]
struct Size {
    side: usize,
    width: f64,
}

const THIN: Size = Size {
    side: 32,
    width: 1.0 / 16.0,
};

/// What a step leaves: the logits, the gradient of every parameter, and the running statistics, each
/// with its name.
fn step(mut network: Network, mode: Mode) -> Vec<(String, Tensor)> {
    let (dtype, device) = (network.store.dtype(), network.store.device());
    let [h, w, c] = network.image;
    let mut stream = Key::new(3, Purpose::Check, 0, 0).stream(0);
    let pixels: Vec<f64> = (0..BATCH * h * w * c).map(|_| stream.normal()).collect();
    let images = Tensor::from_slice([BATCH, h, w, c], &pixels, Device::Cpu).unwrap();
    let labels = Tensor::from_slice([BATCH], &[0i32, 3, 5], Device::Cpu).unwrap();
    let labels = Var::constant(labels.to_device(device).unwrap());
    let mut tape = Tape::new();
    let images = images.cast(dtype).unwrap();
    let moment = Moment::new(6, 17);
    let forward = network.forward(&mut tape, mode, moment, images).unwrap();
    let loss = SoftmaxCrossEntropy::default();
    let loss = tape.apply(loss, &[&forward.logits, &labels]).unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    let mut found = vec![("logits".to_owned(), forward.logits.value().clone())];
    for (slot, leaf) in &forward.leaves {
        let name = network.store.entries()[slot.index()].name.clone();
        found.push((name, gradients.take(leaf).unwrap()));
    }
    for slot in network.store.slots() {
        let entry = &network.store.entries()[slot.index()];
        if !entry.trained {
            let value = network.store.value(slot).unwrap().clone();
            found.push((entry.name.clone(), value));
        }
    }
    found
}

/// The network as it is; shuffled from one of its units on, positions or rows; and without positions there.
fn plans(model: &str) -> Vec<Plan> {
    let cut = match model {
        "vgg-small" => 22,
        "resnet-small" => 20,
        _ if model.starts_with("resnet152") => 300,
        _ if model.starts_with("resnet") => 30,
        _ => 42,
    };
    let shuffled = Plan {
        remove: Removal::Shuffle,
        cut,
        ..Plan::default()
    };
    let rows = Plan {
        mode: spatial_shuffle::Mode::Horizontal,
        ..shuffled.clone()
    };
    let averaged = Plan {
        remove: Removal::GapFc,
        ..shuffled.clone()
    };
    let mut plans = vec![Plan::default(), shuffled, rows];
    // Those heads read a map.
    if !model.ends_with("torchvision") {
        plans.push(averaged);
    }
    plans
}

#[test]
fn every_model_runs_fused_as_it_runs_unfused() {
    for model in MODELS {
        for plan in plans(model) {
            for mode in [Mode::Train, Mode::Test] {
                let build = || network(model, &plan, THIN, DType::F64, Device::Cpu);
                let (fused, mut plain) = (build(), build());
                assert!(fused.fused);
                plain.fused = false;
                let what = format!("{model} {} {mode:?}", plan.remove);
                let (fused, plain) = (step(fused, mode), step(plain, mode));
                assert_eq!(fused.len(), plain.len(), "{what}");
                for ((name, found), (same, expected)) in fused.iter().zip(&plain) {
                    assert_eq!(name, same, "{what}");
                    let bits = |t: &Tensor| t.as_bytes().unwrap().to_vec();
                    assert!(bits(found) == bits(expected), "{what}: {name}");
                }
            }
        }
    }
}

/// What is fused, and what a treatment changes of it: nothing else.
#[test]
fn fusions_are_these() {
    let found = |model: &str, plan: Plan, mode| {
        network(model, &plan, THIN, DType::F32, Device::Cpu).fusions(mode)
    };
    let conv = "conv3x3 · bn+relu";
    let head = "gap · fc";
    let whole = found("vgg-small", Plan::default(), Mode::Train);
    assert_eq!(whole, [conv, conv, conv, conv, conv, conv, head]);
    let shuffled = |when, mode| Plan {
        remove: Removal::Shuffle,
        cut: 22,
        mode,
        when,
        ..Plan::default()
    };
    // Units 22, 31 and 32 begin with a shuffle; a pooling, here a stride, lies before none of them.
    let mixed = "conv3x3 · bn+relu · shuffle";
    let strided = "conv3x3/2 · bn+relu · shuffle";
    let last = "conv3x3/2 · bn+relu";
    let positions = shuffled(When::Train, spatial_shuffle::Mode::Shuffle);
    let train = found("vgg-small", positions.clone(), Mode::Train);
    assert_eq!(train, [conv, conv, mixed, strided, mixed, last, head]);
    let test = found("vgg-small", positions, Mode::Test);
    assert_eq!(test, [conv, conv, conv, last, conv, last, head]);
    // A shuffle that moves channels stays by itself and parts nobody.
    let channels = shuffled(When::Both, spatial_shuffle::Mode::ChannelRand);
    let train = found("vgg-small", channels, Mode::Train);
    assert_eq!(train, [conv, conv, conv, last, conv, last, head]);

    let resnet = found("resnet-small", Plan::default(), Mode::Train);
    let (point, sum) = ("conv1x1 · bn+relu", "conv1x1 · bn · +");
    let first = [conv, "conv1x1 · bn", point, conv, sum];
    assert_eq!(resnet[..8], [&first[..], &[point, conv, sum]].concat());
    assert_eq!(resnet.last().unwrap(), head);
    let plain = found("vgg16-plain", Plan::default(), Mode::Test);
    let rectified = vec!["conv3x3 · relu"; 13];
    let head = ["gap · fc · relu", "fc · relu"];
    assert_eq!(plain, [&rectified[..], &head].concat());
}

/// Fused on the emulator in f32 against unfused on the CPU in f64.
///
/// The bound is that of a stable algorithm, as in `devices.rs`: what a step computes is exact for numbers of
/// the network moved by a share γ of themselves, γ = λ√K·u with K the terms of the longest sum (a channel's
/// statistics) and λ = 6; how far that moves a result is measured in f64 over four random moves.
#[test]
fn fused_kernels_give_the_numbers_of_the_cpu() {
    // With more than one channel: one that is normalised again has no gradient of its scale.
    const SMALL: Size = Size {
        side: 16,
        width: 0.25,
    };
    if !emulator::is_available() {
        assert!(
            std::env::var_os("CI").is_none(),
            "this build has no emulator"
        );
        eprintln!("skipped: this build has no emulator");
        return;
    }
    let gamma =
        6.0 * ((BATCH * SMALL.side * SMALL.side) as f64).sqrt() * DType::F32.unit_roundoff();
    let mut stream = Key::new(9, Purpose::Check, 0, 0).stream(0);
    for model in ["vgg-small", "resnet-small"] {
        for plan in plans(model) {
            for mode in [Mode::Train, Mode::Test] {
                // A bias before a normalisation has no gradient in training.
                if plan.remove == Removal::GapFc && mode == Mode::Train {
                    continue;
                }
                let exact = || {
                    let mut plain = network(model, &plan, SMALL, DType::F64, Device::Cpu);
                    plain.fused = false;
                    plain
                };
                let expected = step(exact(), mode);
                let mut bounds: Vec<f64> = (expected.iter())
                    .map(|(_, t)| gamma * furthest(t, None))
                    .collect();
                for _ in 0..4 {
                    let other = step(moved(exact(), gamma, &mut stream), mode);
                    for ((bound, (_, a)), (_, b)) in bounds.iter_mut().zip(&expected).zip(&other) {
                        *bound = bound.max(gamma * furthest(a, None) + furthest(a, Some(b)));
                    }
                }
                let excess = |network: Network| -> (f64, String) {
                    let found = step(network, mode);
                    let pairs = found.iter().zip(&expected).zip(&bounds);
                    pairs.fold(
                        (0.0, String::new()),
                        |worst, (((name, f), (_, e)), bound)| {
                            let share = furthest(e, Some(f)) / bound;
                            if share > worst.0 {
                                (share, name.clone())
                            } else {
                                worst
                            }
                        },
                    )
                };
                let build = || network(model, &plan, SMALL, DType::F32, Device::Emulator);
                let (share, name) = excess(build());
                let what = format!("{model} {} {mode:?}: {name}", plan.remove);
                assert!(share <= 1.0, "{what} is off by {share} times the bound");
                let (share, _) = excess(moved(build(), 100.0 * gamma, &mut stream));
                assert!(share > 1.0, "{what}: a change is not seen");
            }
        }
    }
}

/// The largest element, or difference from another tensor.
fn furthest(tensor: &Tensor, other: Option<&Tensor>) -> f64 {
    let values = tensor.to_f64_vec().unwrap();
    let others = other.map_or(vec![0.0; values.len()], |t| t.to_f64_vec().unwrap());
    let pairs = values.iter().zip(&others);
    pairs.fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

/// The network with every number moved by a share of itself, up or down.
fn moved(mut network: Network, share: f64, stream: &mut Stream) -> Network {
    for slot in network.store.slots() {
        let value = network.store.value(slot).unwrap();
        let (dtype, device) = (value.dtype(), value.device());
        let values: Vec<f64> = (value.to_f64_vec().unwrap().iter())
            .map(|v| v * (1.0 + share * [-1.0, 1.0][stream.below(2) as usize]))
            .collect();
        let moved = Tensor::from_slice(value.shape(), &values, Device::Cpu).unwrap();
        let moved = moved.cast(dtype).unwrap().to_device(device).unwrap();
        network.store.set(slot, moved).unwrap();
    }
    network
}
