//! One training step of VGG16-BN against PyTorch in float64 (scripts/golden/vgg16.py).

use std::collections::BTreeMap;

use serde::Deserialize;

use whatwhere::autograd::{Tape, Var};
use whatwhere::device::Device;
use whatwhere::models::Architecture;
use whatwhere::nn::{Mode, Moment};
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::rng::{Key, Purpose};
use whatwhere::spatial::{Plan, Removal};
use whatwhere::tensor::{DType, Tensor};

#[derive(Deserialize)]
struct Golden {
    plain: Step,
    shuffled: Step,
}

#[derive(Deserialize)]
struct Step {
    logits: Vec<f64>,
    loss: f64,
    /// Sum, Euclidean norm and first values.
    gradients: BTreeMap<String, Vec<f64>>,
    running_mean: Vec<f64>,
    running_var: Vec<f64>,
}

/// Relative to the size of the numbers compared. Both sides run in f64 through sixteen layers whose
/// reductions have up to 16,384 terms; a thousand roundings of 1e-16 per layer stay below this.
fn close(found: &[f64], expected: &[f64], what: &str, relative: f64) {
    let size = expected.iter().fold(1e-300, |m: f64, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= relative * size,
            "{what}[{i}]: {f}, torch says {e}"
        );
    }
}

fn check(golden: &Step, cut: u32, dtype: DType, relative: f64) {
    let architecture = Architecture::by_name("vgg16", [32, 32, 3], 10, 0.125).unwrap();
    let plan = Plan {
        remove: Removal::Shuffle,
        cut,
        ..Plan::default()
    };
    let mut network = plan.apply(&architecture).unwrap();
    network.initialise(6, dtype, Device::Cpu).unwrap();
    let mut stream = Key::new(3, Purpose::Check, 0, 0).stream(0);
    let pixels: Vec<f64> = (0..4 * 32 * 32 * 3).map(|_| stream.normal()).collect();
    let images = Tensor::from_slice([4, 32, 32, 3], &pixels, Device::Cpu).unwrap();
    let labels = Tensor::from_slice([4], &[0i32, 3, 7, 9], Device::Cpu).unwrap();
    let mut tape = Tape::new();
    let moment = Moment { seed: 6, at: 17 };
    let images = images.cast(dtype).unwrap();
    let forward = network
        .forward(&mut tape, Mode::Train, moment, images)
        .unwrap();
    close(
        &forward.logits.value().to_f64_vec().unwrap(),
        &golden.logits,
        "logits",
        relative,
    );
    let loss = SoftmaxCrossEntropy::default();
    let loss = tape
        .apply(loss, &[&forward.logits, &Var::constant(labels)])
        .unwrap();
    close(
        &[loss.value().item().unwrap()],
        &[golden.loss],
        "loss",
        relative,
    );
    let gradients = tape.backward(&loss).unwrap();
    assert_eq!(forward.leaves.len(), golden.gradients.len());
    for (slot, leaf) in &forward.leaves {
        let name = &network.store.entries()[slot.index()].name;
        let g = gradients.get(leaf).unwrap().to_f64_vec().unwrap();
        let norm = g.iter().map(|v| v * v).sum::<f64>().sqrt();
        let expected = &golden.gradients[name];
        close(&[norm], &expected[1..2], name, relative);
        // The sum and the single values are small beside the norm, which sets their scale.
        let found = [&[g.iter().sum()], &g[..g.len().min(4)]].concat();
        let torch = [&expected[..1], &expected[2..]].concat();
        let scale = relative * norm * (g.len() as f64).sqrt();
        for (f, e) in found.iter().zip(&torch) {
            assert!((f - e).abs() <= scale, "{name}: {f}, torch says {e}");
        }
    }
    let buffer = |name: &str| {
        let at = network
            .store
            .entries()
            .iter()
            .position(|e| e.name == name)
            .unwrap();
        let slot = network.store.slots().nth(at).unwrap();
        network.store.value(slot).unwrap().to_f64_vec().unwrap()
    };
    close(
        &buffer("bn53.running_mean")[..4],
        &golden.running_mean,
        "running mean",
        relative,
    );
    close(
        &buffer("bn53.running_var")[..4],
        &golden.running_var,
        "running variance",
        relative,
    );
}

#[test]
fn logits_loss_gradients_and_statistics_are_pytorchs() {
    let text = include_str!("golden/vgg16.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    for (step, cut) in [(&golden.plain, 99), (&golden.shuffled, 33)] {
        check(step, cut, DType::F64, 1e-10);
        // f32: a ReLU or a maximum can fall to the other side, so this only guards the fast paths.
        check(step, cut, DType::F32, 2e-3);
    }
}
