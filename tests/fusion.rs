//! Layers that run as one operation give what they give one by one: every model, whole and treated, in
//! training and in test, bit for bit on the CPU; and on the emulator within the bound of a stable algorithm.

use whatwhere::autograd::{Tape, Var};
use whatwhere::device::Device;
use whatwhere::models::{Architecture, MODELS, Network};
use whatwhere::nn::{Mode, Moment};
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::ops::spatial_shuffle;
use whatwhere::rng::{Key, Purpose};
use whatwhere::spatial::{Plan, Removal};
use whatwhere::tensor::{DType, Tensor};

const SIDE: usize = 32;
const BATCH: usize = 3;

/// A narrow network of the model, treated from unit `cut` on; its numbers do not depend on how it runs.
fn network(model: &str, plan: &Plan, dtype: DType, device: Device) -> Network {
    let architecture = Architecture::by_name(model, [SIDE, SIDE, 3], 7, WIDTH).unwrap();
    let mut network = plan.apply(&architecture).unwrap();
    network.initialise(6, dtype, device).unwrap();
    network
}

const WIDTH: f64 = 1.0 / 16.0;

/// What a step leaves: the logits, the gradient of every parameter, and in training the running
/// statistics, each with its name.
fn step(mut network: Network, mode: Mode) -> Vec<(String, Tensor)> {
    let (dtype, device) = (network.store.dtype(), network.store.device());
    let mut stream = Key::new(3, Purpose::Check, 0, 0).stream(0);
    let pixels: Vec<f64> = (0..BATCH * SIDE * SIDE * 3)
        .map(|_| stream.normal())
        .collect();
    let images = Tensor::from_slice([BATCH, SIDE, SIDE, 3], &pixels, Device::Cpu).unwrap();
    let labels = Tensor::from_slice([BATCH], &[0i32, 3, 5], Device::Cpu).unwrap();
    let labels = Var::constant(labels.to_device(device).unwrap());
    let mut tape = Tape::new();
    let moment = Moment::new(6, 17);
    let images = images.cast(dtype).unwrap();
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

/// The network as it is, and shuffled from one of its units on, in two ways.
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
                let fused = network(model, &plan, DType::F64, Device::Cpu);
                assert!(fused.fused);
                let what = format!("{model} {} {mode:?}", plan.remove);
                let normalised = !["vgg16-plain", "vgg16-torchvision"].contains(&model);
                let treated = plan.remove == Removal::Shuffle && normalised;
                let some = treated || model.starts_with("resnet");
                assert_eq!(!fused.fusions(mode).is_empty(), some, "{what}");
                let mut plain = network(model, &plan, DType::F64, Device::Cpu);
                plain.fused = false;
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
