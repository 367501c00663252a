//! Values and gradients against PyTorch, in f64, on the files of `scripts/golden/operations.py`.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use whatwhere::check;
use whatwhere::device::Device;
use whatwhere::ops::adaptive_avg_pool2d::AdaptiveAvgPool2d;
use whatwhere::ops::avg_pool2d::AvgPool2d;
use whatwhere::ops::batch_norm::BatchNorm;
use whatwhere::ops::bilinear_resize::BilinearResize;
use whatwhere::ops::conv2d::Conv2d;
use whatwhere::ops::linear::Linear;
use whatwhere::ops::masked_bce::MaskedBce;
use whatwhere::ops::max_pool2d::MaxPool2d;
use whatwhere::ops::pad2d::{Pad2d, PadMode};
use whatwhere::ops::sb_projection::{Activation, SbProjection};
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::ops::{Input, Operation, Saved};
use whatwhere::tensor::Tensor;

/// One case of a golden file: settings, and tensors in this crate's layouts.
struct Case {
    name: String,
    settings: Value,
    tensors: HashMap<String, Tensor>,
}

/// The cases of a file, in the order of their names.
fn cases(file: &str) -> Vec<Case> {
    let path = format!(
        "{}/tests/golden/torch_{file}.safetensors",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut settings = header.metadata().clone().unwrap();
    settings.remove("torch").expect("the version of PyTorch");
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let mut cases: Vec<Case> = settings
        .into_iter()
        .map(|(name, settings)| {
            let of_case = |key: &str| Some(key.strip_prefix(&name)?.strip_prefix('.')?.to_owned());
            let tensors = stored.tensors().into_iter();
            let tensors = tensors.filter_map(|(key, view)| Some((of_case(&key)?, tensor(&view))));
            Case {
                tensors: tensors.collect(),
                settings: serde_json::from_str(&settings).unwrap(),
                name,
            }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!cases.is_empty());
    cases
}

/// NCHW becomes NHWC, and OIHW becomes OHWI.
fn tensor(view: &safetensors::tensor::TensorView) -> Tensor {
    let (shape, bytes) = (view.shape(), view.data());
    let tensor = match view.dtype() {
        Dtype::F64 => {
            let words = bytes.chunks_exact(8);
            let values: Vec<f64> = words
                .map(|w| f64::from_le_bytes(w.try_into().unwrap()))
                .collect();
            Tensor::from_slice(shape, &values, Device::cpu())
        }
        Dtype::I32 => {
            let words = bytes.chunks_exact(4);
            let values: Vec<i32> = words
                .map(|w| i32::from_le_bytes(w.try_into().unwrap()))
                .collect();
            Tensor::from_slice(shape, &values, Device::cpu())
        }
        other => panic!("{other:?}"),
    };
    match shape.len() {
        4 => tensor.unwrap().permute4([0, 2, 3, 1]).unwrap(),
        _ => tensor.unwrap(),
    }
}

impl Case {
    /// A setting like `[2, 1]`.
    fn pair(&self, name: &str) -> [usize; 2] {
        let pair = &self.settings[name];
        [0, 1].map(|i| pair[i].as_u64().unwrap() as usize)
    }

    /// Runs `op` forward and backward on the named operands and compares everything with PyTorch;
    /// returns the side results.
    fn compare(&self, op: impl Operation, operands: &[&str]) -> Vec<Tensor> {
        let inputs: Vec<&Tensor> = operands.iter().map(|name| &self.tensors[*name]).collect();
        let gradients = operands
            .iter()
            .map(|name| self.tensors.get(&format!("d{name}")));
        let gradients: Vec<Option<&Tensor>> = gradients.collect();
        let mut saved = Saved::default();
        let output = op.forward(&inputs, &mut saved).unwrap();
        self.assert_close("y", &output.value, &self.tensors["y"]);
        let wanted: Vec<bool> = gradients.iter().map(Option::is_some).collect();
        let dy = self.tensors["dy"].deep_clone().unwrap();
        let found = op.vjp(saved, dy, &wanted).unwrap();
        for ((name, found), expected) in operands.iter().zip(found).zip(&gradients) {
            if let Some(expected) = expected {
                self.assert_close(&format!("d{name}"), &found.unwrap(), expected);
            }
        }
        self.compare_differences(&op, &inputs, &gradients);
        output.aux
    }

    /// The harness against PyTorch, without the crate's vjp: difference quotients of the value lie within
    /// their bounds of PyTorch's gradients, and a gradient that is off by a thousandth does not.
    fn compare_differences(
        &self,
        op: &dyn Operation,
        inputs: &[&Tensor],
        gradients: &[Option<&Tensor>],
    ) {
        let value_only = check::closures(
            "value only",
            |inputs| Ok(op.forward(inputs, &mut Saved::default())?.value),
            |_, _| Ok(Vec::new()),
        );
        let given: Vec<Input> = inputs.iter().map(|&x| Input::Given(x.clone())).collect();
        let harness = check::Check::new(&value_only, &given);
        let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
        for (input, expected) in gradients.iter().enumerate() {
            let Some(expected) = expected else { continue };
            // Maps with ties or NaN have no derivative there.
            let finite = |t: &Tensor| t.to_f64_vec().unwrap().iter().all(|v| v.is_finite());
            if !finite(&inputs[input]) || self.name.contains("tie") || inputs[input].len() > 400 {
                continue;
            }
            let found = harness.numeric_gradient(&inputs, &self.tensors["dy"], input);
            let expected = expected.to_f64_vec().unwrap();
            let size = expected.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
            for (i, ((quotient, bound), e)) in found.unwrap().into_iter().zip(expected).enumerate()
            {
                let error = (quotient - e).abs();
                let what = format!("{}: d{input}[{i}]", self.name);
                assert!(
                    error <= bound,
                    "{what}: PyTorch {e:e}, here {quotient:e} ± {bound:e}"
                );
                // Where a kink is near the bound says so; elsewhere it sees a thousandth.
                assert!(
                    bound < 1e-3 * size || bound > 0.1 * size,
                    "{what}: {bound:e}"
                );
            }
        }
    }

    /// Both sum the same numbers, at most 1,000 of them, in different orders: γ₁₀₀₀ of the largest.
    fn assert_close(&self, what: &str, found: &Tensor, expected: &Tensor) {
        let case = &self.name;
        assert_eq!(found.shape(), expected.shape(), "{case}: {what}");
        let (found, expected) = (found.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
        let numbers = expected.iter().filter(|v| !v.is_nan());
        let bound = 1000.0 * f64::EPSILON * numbers.fold(1.0, |max, v| v.abs().max(max));
        for (i, (f, e)) in found.into_iter().zip(expected).enumerate() {
            let agree = (f - e).abs() <= bound || (f.is_nan() && e.is_nan());
            assert!(
                agree,
                "{case}: element {i} of {what}: PyTorch {e:e}, here {f:e} ± {bound:e}"
            );
        }
    }
}

#[test]
fn conv2d_and_linear() {
    for case in cases("conv2d") {
        let op = Conv2d {
            stride: case.pair("stride"),
            padding: case.pair("padding"),
            dilation: case.pair("dilation"),
        };
        case.compare(op, operands_with_bias(&case));
    }
    for case in cases("linear") {
        case.compare(Linear, operands_with_bias(&case));
    }
}

fn operands_with_bias(case: &Case) -> &'static [&'static str] {
    match case.tensors.contains_key("b") {
        true => &["x", "w", "b"],
        false => &["x", "w"],
    }
}

#[test]
fn batch_norm() {
    for case in cases("batch_norm") {
        let training = case.name.ends_with("train");
        let op = BatchNorm {
            training,
            epsilon: case.settings["eps"].as_f64().unwrap(),
            relu: false,
        };
        if training {
            let statistics = case.compare(op, &["x", "gamma", "beta"]);
            case.assert_close("running mean", &statistics[0], &case.tensors["mean"]);
            case.assert_close("running variance", &statistics[1], &case.tensors["var"]);
        } else {
            case.compare(op, &["x", "gamma", "beta", "mean", "var"]);
        }
    }
}

/// Ties and NaN included.
#[test]
fn pooling() {
    for case in cases("pooling") {
        if case.name.starts_with("adaptive") {
            let output = case.pair("output");
            case.compare(AdaptiveAvgPool2d { output }, &["x"]);
            continue;
        }
        let [kernel, stride, padding] = ["kernel", "stride", "padding"].map(|k| case.pair(k));
        if let Some(count_include_pad) = case.settings["count_include_pad"].as_bool() {
            let op = AvgPool2d {
                kernel,
                stride,
                padding,
                count_include_pad,
            };
            case.compare(op, &["x"]);
        } else {
            let op = MaxPool2d {
                kernel,
                stride,
                padding,
            };
            case.compare(op, &["x"]);
        }
    }
}

#[test]
fn softmax_cross_entropy() {
    for case in cases("cross_entropy") {
        let weights = case.settings["weights"].as_array();
        let op = SoftmaxCrossEntropy {
            ignore_index: Some(255),
            label_smoothing: case.settings["smoothing"].as_f64().unwrap(),
            class_weights: weights.map(|w| w.iter().map(|v| v.as_f64().unwrap()).collect()),
        };
        case.compare(op, &["x", "labels"]);
    }
}

#[test]
fn masked_bce() {
    for case in cases("masked_bce") {
        let operands = ["x", "t", "m", "w"];
        let given = operands
            .iter()
            .filter(|name| case.tensors.contains_key(**name));
        case.compare(MaskedBce, &operands[..given.count()]);
    }
}

#[test]
fn sb_projection() {
    for case in cases("sb_projection") {
        let activation = match case.settings["activation"].as_str() {
            Some("none") => Activation::None,
            _ => Activation::Sigmoid,
        };
        let operands = ["x", "w", "b", "t", "m", "share"];
        let given = operands
            .iter()
            .filter(|name| case.tensors.contains_key(**name));
        let aux = case.compare(SbProjection { activation }, &operands[..given.count()]);
        // The maps stand beside the loss, as they are without it.
        let with_loss = case.tensors.contains_key("t");
        assert_eq!(aux.len(), with_loss as usize);
        if let Some(maps) = aux.first() {
            let inputs = ["x", "w", "b"].map(|name| &case.tensors[name]);
            let alone = SbProjection { activation }.forward(&inputs, &mut Saved::default());
            let alone = alone.unwrap().value;
            assert_eq!(maps.to_f64_vec().unwrap(), alone.to_f64_vec().unwrap());
        }
    }
}

#[test]
fn bilinear_resize_and_padding() {
    for case in cases("bilinear") {
        let op = BilinearResize {
            output: case.pair("output"),
            align_corners: case.settings["align"].as_bool().unwrap(),
        };
        case.compare(op, &["x"]);
    }
    for case in cases("padding") {
        let mode = match case.name.as_str() {
            "constant" => PadMode::Zero,
            "reflect" => PadMode::Reflect,
            "replicate" => PadMode::Replicate,
            _ => PadMode::Circular,
        };
        let padding = [0, 1].map(|axis| {
            let sides = &case.settings["padding"][axis];
            [0, 1].map(|side| sides[side].as_u64().unwrap() as usize)
        });
        case.compare(Pad2d { mode, padding }, &["x"]);
    }
}
