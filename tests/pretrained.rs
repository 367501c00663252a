//! Weights under the names of torchvision and timm: read, written, refused.
//! Truth is torchvision's own networks (scripts/golden/pretrained.py).

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use whatwhere::autograd::Tape;
use whatwhere::device::Device;
use whatwhere::models::names::{Naming, recognise};
use whatwhere::models::{Architecture, Network};
use whatwhere::nn::{Mode, Moment};
use whatwhere::rng::{Key, Purpose, name_hash};
use whatwhere::spatial::{Plan, Removal};
use whatwhere::tensor::{DType, Tensor};
use whatwhere::train::pretrained;

#[derive(Deserialize)]
struct Golden {
    logits: BTreeMap<String, Vec<f64>>,
    names: BTreeMap<String, String>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/pretrained.json")).unwrap()
}

fn build(model: &str, side: usize, classes: usize, width: f64) -> (Architecture, Network) {
    let architecture = Architecture::by_name(model, [side, side, 3], classes, width).unwrap();
    let mut network = Plan::default().apply(&architecture).unwrap();
    network.initialise(1, DType::F32, Device::Cpu).unwrap();
    (architecture, network)
}

/// The script's `draw`: values by the tensor's name.
fn draw(name: &str, shape: &[usize]) -> Vec<f32> {
    let key = Key::new(6, Purpose::Init, name_hash(name), 0);
    let fan_in: usize = shape.iter().skip(1).product();
    let mut values = vec![0f32; shape.iter().product()];
    for (lane, values) in values.chunks_mut(4096).enumerate() {
        let mut stream = key.stream(lane as u32);
        values.fill_with(|| match shape.len() {
            _ if name.ends_with("running_var") => (0.5 + stream.uniform()) as f32,
            1 => (0.1 * stream.normal()) as f32 + f32::from(u8::from(name.ends_with("weight"))),
            _ => (stream.normal() * (2.0 / fan_in as f64).sqrt()) as f32,
        });
    }
    values
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn read(path: &Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, t)| {
            let parts = (t.dtype(), t.shape().to_vec(), t.data().to_vec());
            (name.to_owned(), parts)
        })
        .collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap();
        (name.clone(), view)
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A file as torchvision would have written it, with values drawn by name: names and extents are those
/// this crate exports, which `exported_names_and_extents_are_torchvisions` compares with torchvision's.
fn drawn(folder: &Path, model: &str, classes: usize, width: f64) -> (std::path::PathBuf, Tensors) {
    let (architecture, network) = build(model, 224, classes, width);
    let path = folder.join("drawn.safetensors");
    pretrained::save(&path, &architecture, &network, Naming::Torchvision).unwrap();
    let tensors: Tensors = read(&path)
        .into_iter()
        .filter(|(_, (dtype, ..))| *dtype == Dtype::F32)
        .map(|(name, (_, shape, _))| {
            let values = draw(&name, &shape);
            (name, (shape, values))
        })
        .collect();
    write(&path, &tensors);
    (path, tensors)
}

fn logits(network: &mut Network, side: usize) -> Vec<f64> {
    let mut stream = Key::new(3, Purpose::Check, 0, 0).stream(0);
    let pixels: Vec<f32> = (0..2 * side * side * 3)
        .map(|_| stream.normal() as f32)
        .collect();
    let images = Tensor::from_slice([2, side, side, 3], &pixels, Device::Cpu).unwrap();
    let moment = Moment::new(0, 0);
    let forward = network
        .forward(&mut Tape::no_grad(), Mode::Test, moment, images)
        .unwrap();
    forward.logits.value().to_f64_vec().unwrap()
}

#[test]
fn logits_are_torchvisions_on_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden();
    for (model, side, width) in [
        ("vgg16-torchvision", 64, 0.125),
        ("vgg16-bn-torchvision", 224, 0.125),
        ("resnet50-imagenet", 64, 1.0),
    ] {
        let (path, _) = drawn(folder.path(), model, 10, width);
        let (architecture, mut network) = build(model, side, 10, width);
        let report = pretrained::load(&path, &architecture, &mut network, false).unwrap();
        assert_eq!(report.naming, Naming::Torchvision, "{model}");
        assert_eq!(report.loaded, network.store.entries().len());
        let expected = &golden.logits[model];
        let size = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
        for (found, expected) in logits(&mut network, side).iter().zip(expected) {
            let error = (found - expected).abs() / size;
            assert!(
                error <= 1e-4,
                "{model}: {found}, torchvision says {expected}"
            );
        }
    }
}

#[test]
fn exported_names_and_extents_are_torchvisions() {
    for (model, hash) in golden().names {
        let architecture = Architecture::by_name(&model, [224, 224, 3], 1000, 1.0).unwrap();
        let network = Plan::default().apply(&architecture).unwrap();
        let mut there = pretrained::tensors(&architecture, &network, Naming::Torchvision).unwrap();
        let norms: Vec<String> = there
            .iter()
            .filter_map(|(name, _)| name.strip_suffix("running_var").map(str::to_owned))
            .collect();
        there.extend(
            norms
                .iter()
                .map(|n| (format!("{n}num_batches_tracked"), vec![])),
        );
        assert_eq!(recognise(&there), Some((model.clone(), 1000)));
        let lines = there
            .iter()
            .map(|(name, shape)| format!("{name} {shape:?}"));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        let found = Sha256::digest(lines.join("\n"));
        let found: String = found.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found, hash, "{model}");
    }
}

#[test]
fn timms_head_is_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (architecture, mut network) = build("vgg16-bn-torchvision", 64, 10, 0.125);
    let before = logits(&mut network, 64);
    let path = folder.path().join("timm.safetensors");
    pretrained::save(&path, &architecture, &network, Naming::Timm).unwrap();
    let there = read(&path);
    for (name, shape) in [
        ("features.1.num_batches_tracked", &[][..]),
        ("pre_logits.fc1.weight", &[512, 64, 7, 7]),
        ("pre_logits.fc2.weight", &[512, 512, 1, 1]),
        ("head.fc.weight", &[10, 512]),
    ] {
        assert_eq!(there[name].1, shape, "{name}");
    }
    network.initialise(2, DType::F32, Device::Cpu).unwrap();
    assert_ne!(logits(&mut network, 64), before);
    let report = pretrained::load(&path, &architecture, &mut network, false).unwrap();
    assert_eq!((report.naming, report.ignored), (Naming::Timm, 13));
    assert_eq!(logits(&mut network, 64), before);
}

#[test]
fn prefixes_half_precision_and_new_heads_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (path, tensors) = drawn(folder.path(), "resnet50-imagenet", 10, 1.0 / 16.0);
    let wrapped = tensors
        .iter()
        .map(|(name, t)| (format!("module.{name}"), t.clone()));
    write(&path, &wrapped.collect());
    let (architecture, mut network) = build("resnet50-imagenet", 64, 7, 1.0 / 16.0);
    let refused = pretrained::load(&path, &architecture, &mut network, false).unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.contains("fc.weight is [10, 128], here [7, 128]"),
        "{refused}"
    );
    assert!(
        refused.contains("resnet50-imagenet with 10 classes"),
        "{refused}"
    );
    let head = logits(&mut network, 64);
    let report = pretrained::load(&path, &architecture, &mut network, true).unwrap();
    assert_eq!(report.new.len(), 2, "{report}");
    assert_ne!(logits(&mut network, 64), head);
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = "vgg16-bn-torchvision";
    let (path, tensors) = drawn(folder.path(), model, 10, 0.125);
    let (architecture, mut network) = build(model, 64, 10, 0.125);
    let before = logits(&mut network, 64);
    let mut refused = |tensors: &Tensors, expected: &str| {
        write(&path, tensors);
        let said = pretrained::load(&path, &architecture, &mut network, true);
        let said = said.unwrap_err().to_string();
        assert!(
            said.contains(expected) && said.contains("drawn.safetensors"),
            "{said}"
        );
        assert_eq!(logits(&mut network, 64), before);
    };
    let mut broken = tensors.clone();
    broken.get_mut("features.4.running_var").unwrap().1[3] = f32::NAN;
    refused(
        &broken,
        "1 of the 8 numbers of features.4.running_var are NaN",
    );
    let mut missing = tensors.clone();
    missing.remove("features.0.weight");
    refused(&missing, "features.0.weight is missing");
    let mut more = tensors.clone();
    more.insert("features.99.weight".into(), (vec![1], vec![0.0]));
    refused(&more, "features.99.weight is unexpected");
    let mut plain = tensors.clone();
    plain.retain(|name, _| !name.contains("running"));
    refused(&plain, "running_mean is missing");
    let other = BTreeMap::from([("encoder.0.weight".to_owned(), (vec![1], vec![0.0]))]);
    refused(&other, "the first is called encoder.0.weight");

    let cut = Plan {
        remove: Removal::GapFc,
        cut: 40,
        ..Plan::default()
    };
    let architecture = Architecture::by_name("resnet50", [32, 32, 3], 10, 0.125).unwrap();
    let mut network = cut.apply(&architecture).unwrap();
    network.initialise(0, DType::F32, Device::Cpu).unwrap();
    let said = pretrained::save(&path, &architecture, &network, Naming::Timm);
    let said = said.unwrap_err().to_string();
    assert!(
        said.contains("block40.fc2.weight has no name there"),
        "{said}"
    );
}

/// A run trained here, its weights exported, a second run that starts from them.
#[test]
fn the_program_trains_on_and_tests_what_it_exported() {
    let folder = tempfile::tempdir().unwrap();
    let whatwhere = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_whatwhere"))
            .current_dir(folder.path())
            .args(arguments)
            .arg("--quiet")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    let data = [
        "--data=layout",
        "--size=16",
        "--train-images=64",
        "--test-images=64",
    ];
    let small = ["--model=vgg-small", "--epochs=1"];
    let with = |first: &[&'static str]| [first, &data, &small].concat();
    whatwhere(&with(&["train", "--out=a"]));
    let export = "weights a/best.safetensors --model vgg-small --classes 8 --size 16 \
                  --export torchvision --out t.safetensors";
    whatwhere(&export.split_whitespace().collect::<Vec<_>>());
    whatwhere(&["eval", "a", "--passes=1", "--json=a.json"]);
    whatwhere(&with(&[
        "eval",
        "--pretrained=t.safetensors",
        "--passes=1",
        "--json=t.json",
    ]));
    let accuracy = |name: &str| {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        (found["accuracy_mean"].clone(), found["loss_mean"].clone())
    };
    assert_eq!(accuracy("a.json"), accuracy("t.json"));
    // With a rate of zero a run ends with the weights it started from.
    whatwhere(&with(&[
        "train",
        "--out=b",
        "--pretrained=t.safetensors",
        "--lr=1e-30",
    ]));
    let weights = |run: &str| read(&folder.path().join(run).join("last.safetensors"));
    let (a, b) = (weights("a"), weights("b"));
    assert_eq!(a["conv11.weight"], b["conv11.weight"]);
    assert_eq!(a["head0.weight"], b["head0.weight"]);
}
