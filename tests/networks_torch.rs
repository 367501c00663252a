//! One training step of whole networks against PyTorch in float64 (scripts/golden/vgg16.py, resnet.py).

use std::collections::BTreeMap;

use serde::Deserialize;

use whatwhere::autograd::{Tape, Var};
use whatwhere::device::Device;
use whatwhere::models::{Architecture, Network};
use whatwhere::nn::{Mode, Moment};
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::rng::{Key, Purpose};
use whatwhere::spatial::{Plan, Removal};
use whatwhere::tensor::{DType, Tensor};

#[derive(Deserialize)]
struct Step {
    logits: Vec<f64>,
    loss: f64,
    /// Sum, Euclidean norm and first values.
    gradients: BTreeMap<String, Vec<f64>>,
    running_mean: Vec<f64>,
    running_var: Vec<f64>,
}

/// Relative to the size of the numbers compared. Both sides run in f64 through up to 53 layers whose
/// reductions have up to 16,384 terms; a thousand roundings of 1e-16 per layer stay below this.
const F64: f64 = 1e-10;

fn close(found: &[f64], expected: &[f64], what: &str, relative: f64) {
    let size = expected.iter().fold(1e-300, |m: f64, v| m.max(v.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= relative * size,
            "{what}[{i}]: {f}, torch says {e}"
        );
    }
}

/// A network of a golden file: its name, its width, the side of its images, what is done to it, and
/// the normalisation whose running statistics are in the file.
struct Case {
    model: &'static str,
    width: f64,
    side: usize,
    plan: Plan,
    last_norm: &'static str,
}

impl Case {
    fn build(&self, dtype: DType) -> Network {
        let image = [self.side, self.side, 3];
        let architecture = Architecture::by_name(self.model, image, 10, self.width).unwrap();
        let mut network = self.plan.apply(&architecture).unwrap();
        network.initialise(6, dtype, Device::Cpu).unwrap();
        network
    }

    fn images(&self) -> Tensor {
        let mut stream = Key::new(3, Purpose::Check, 0, 0).stream(0);
        let dims = [4, self.side, self.side, 3];
        let pixels: Vec<f64> = (0..dims.iter().product())
            .map(|_| stream.normal())
            .collect();
        Tensor::from_slice(dims, &pixels, Device::Cpu).unwrap()
    }

    fn check(&self, golden: &Step, dtype: DType, relative: f64) {
        let mut network = self.build(dtype);
        let images = self.images().cast(dtype).unwrap();
        let labels = Tensor::from_slice([4], &[0i32, 3, 7, 9], Device::Cpu).unwrap();
        let mut tape = Tape::new();
        let moment = Moment::new(6, 17);
        let forward = network
            .forward(&mut tape, Mode::Train, moment, images)
            .unwrap();
        let logits = forward.logits.value().to_f64_vec().unwrap();
        close(&logits, &golden.logits, "logits", relative);
        let loss = SoftmaxCrossEntropy::default();
        let loss = tape
            .apply(loss, &[&forward.logits, &Var::constant(labels)])
            .unwrap();
        let value = loss.value().item().unwrap();
        close(&[value], &[golden.loss], "loss", relative);
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
        let buffer = |kind: &str| {
            let name = format!("{}.{kind}", self.last_norm);
            let mut entries = network.store.entries().iter();
            let at = entries.position(|e| e.name == name).unwrap();
            let slot = network.store.slots().nth(at).unwrap();
            let value = network.store.value(slot).unwrap();
            value.to_f64_vec().unwrap()[..4].to_vec()
        };
        let (mean, variance) = (&golden.running_mean, &golden.running_var);
        close(&buffer("running_mean"), mean, "running mean", relative);
        close(
            &buffer("running_var"),
            variance,
            "running variance",
            relative,
        );
    }
}

fn plan(remove: Removal, cut: u32) -> Plan {
    Plan {
        remove,
        cut,
        ..Plan::default()
    }
}

/// The steps of a golden file by name.
fn steps(text: &str) -> BTreeMap<String, Step> {
    let mut file: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    file.remove("torch");
    serde_json::from_value(file.into()).unwrap()
}

#[test]
fn vgg16_has_pytorchs_logits_loss_gradients_and_statistics() {
    let golden = steps(include_str!("golden/vgg16.json"));
    for (step, cut) in [("plain", 99), ("shuffled", 33)] {
        let case = Case {
            model: "vgg16",
            width: 0.125,
            side: 32,
            plan: plan(Removal::Shuffle, cut),
            last_norm: "bn53",
        };
        case.check(&golden[step], DType::F64, F64);
        // f32: a ReLU or a maximum can fall to the other side, so this only guards the fast paths.
        case.check(&golden[step], DType::F32, 2e-3);
    }
}

#[test]
fn resnets_have_pytorchs_logits_loss_gradients_and_statistics() {
    let golden = steps(include_str!("golden/resnet.json"));
    for (step, model, width, side, plan, last_norm) in [
        (
            "imagenet_stem",
            "resnet50-imagenet",
            1.0 / 16.0,
            64,
            Plan::default(),
            "block42.bn3",
        ),
        (
            "shuffled",
            "resnet50",
            1.0 / 16.0,
            32,
            plan(Removal::Shuffle, 21),
            "block42.bn3",
        ),
        (
            "gap_fc",
            "resnet-small",
            1.0,
            32,
            plan(Removal::GapFc, 20),
            "block31.bn3",
        ),
    ] {
        let case = Case {
            model,
            width,
            side,
            plan,
            last_norm,
        };
        case.check(&golden[step], DType::F64, F64);
    }
}
