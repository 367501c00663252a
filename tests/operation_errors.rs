//! Operands and settings no operation can work on: a typed error that says why, from the shape
//! inference and the forward pass alike, and no panic.

use whatwhere::device::Device;
use whatwhere::ops::adaptive_avg_pool2d::AdaptiveAvgPool2d;
use whatwhere::ops::avg_pool2d::AvgPool2d;
use whatwhere::ops::batch_norm::BatchNorm;
use whatwhere::ops::batch_norm_shuffle::BatchNormShuffle;
use whatwhere::ops::bilinear_resize::BilinearResize;
use whatwhere::ops::concat::Concat;
use whatwhere::ops::conv_batch_norm::ConvBatchNorm;
use whatwhere::ops::conv2d::Conv2d;
use whatwhere::ops::dropout::Dropout;
use whatwhere::ops::gap_linear::GapLinear;
use whatwhere::ops::global_avg_pool::GlobalAvgPool;
use whatwhere::ops::masked_bce::MaskedBce;
use whatwhere::ops::max_pool2d::MaxPool2d;
use whatwhere::ops::pad2d::{Pad2d, PadMode};
use whatwhere::ops::sb_projection::SbProjection;
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::ops::spatial_shuffle::{Mode, SpatialShuffle};
use whatwhere::ops::{self, Operation, Saved};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::{DType, Shape, Tensor};

fn zeros(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::zeros(shape, dtype, Device::cpu()).unwrap()
}

fn forward_error(op: &dyn Operation, inputs: &[&Tensor]) -> String {
    match op.forward(inputs, &mut Saved::default()) {
        Ok(_) => panic!("{op:?} accepted {inputs:?}"),
        Err(error) => error.to_string(),
    }
}

/// The operation refuses f32 operands of these shapes with a message that contains `says`.
fn refuses(op: impl Operation, inputs: &[&[usize]], says: &str) {
    let tensors: Vec<Tensor> = inputs.iter().map(|s| zeros(s, DType::F32)).collect();
    let tensors: Vec<&Tensor> = tensors.iter().collect();
    let shapes: Vec<&Shape> = tensors.iter().map(|t| t.shape()).collect();
    let inferred = op.output_shape(&shapes).unwrap_err().to_string();
    assert!(inferred.contains(says), "{inferred}");
    assert_eq!(forward_error(&op, &tensors), inferred);
}

/// Too few inputs and operands of a dtype the CPU does not compute in, for every declared case.
#[test]
fn every_operation_checks_count_and_dtype() {
    for declaration in ops::declarations() {
        for case in (declaration.cases)() {
            assert!(case.op.output_shape(&[]).is_err(), "{}", case.label);
            forward_error(&*case.op, &[]);
            // Casts are what half precision is left by.
            if declaration.name == "cast" {
                continue;
            }
            let halves = case
                .inputs
                .iter()
                .map(|i| zeros(i.shape().dims(), DType::F16));
            let halves: Vec<Tensor> = halves.collect();
            let says = forward_error(&*case.op, &halves.iter().collect::<Vec<_>>());
            assert!(says.contains("f16"), "{}: {says}", case.label);
        }
    }
}

/// A batch of no image: an empty result or an error, but no panic, forward and backward.
#[test]
fn empty_batches_do_not_panic() {
    for declaration in ops::declarations() {
        for case in (declaration.cases)() {
            let map = |shape: &Shape| match shape.rank() {
                4 => [&[0], &shape.dims()[1..]].concat(),
                _ => shape.dims().to_vec(),
            };
            let inputs = case
                .inputs
                .iter()
                .map(|i| zeros(&map(i.shape()), DType::F32));
            let inputs: Vec<Tensor> = inputs.collect();
            let mut saved = Saved::default();
            let output = case
                .op
                .forward(&inputs.iter().collect::<Vec<_>>(), &mut saved);
            if let Ok(output) = output {
                let wanted = vec![true; inputs.len()];
                let _ = case.op.vjp(saved, output.value, &wanted);
            }
        }
    }
}

#[test]
fn fused_operations() {
    let norm = BatchNorm {
        training: true,
        epsilon: 1e-5,
        relu: true,
    };
    let (x, c): (&[usize], &[usize]) = (&[2, 3, 4, 5], &[5]);
    refuses(
        norm,
        &[x, c],
        "expected 3 inputs and perhaps a residual, found 2",
    );
    refuses(
        norm,
        &[x, c, c, &[2, 3, 4, 6]],
        "a residual of [2, 3, 4, 6]",
    );
    let key = Key::new(1, Purpose::Check, 0, 0);
    let shuffled = |mode| BatchNormShuffle {
        training: true,
        epsilon: 1e-5,
        shuffle: SpatialShuffle::new(mode, key),
    };
    let crand = shuffled(Mode::ChannelRand);
    refuses(
        crand,
        &[x, c, c],
        "mode crand moves values between channels",
    );
    refuses(shuffled(Mode::Local(2)), &[x, c, c], "do not divide");
    refuses(
        shuffled(Mode::Shuffle),
        &[x, c, c, x],
        "expected 3 inputs, found 4",
    );
    let conv = |shuffle| ConvBatchNorm {
        conv: Conv2d::new(),
        bias: false,
        norm,
        shuffle,
    };
    let w: &[usize] = &[7, 1, 1, 5];
    refuses(conv(None), &[x, w, c, c], "7 channels in [2, 3, 4, 7]");
    refuses(conv(None), &[x, &[7, 1, 1, 4], &[7], &[7]], "5 channels");
    refuses(
        conv(None),
        &[x, w, &[7], &[7], x],
        "a residual of [2, 3, 4, 5]",
    );
    refuses(conv(crand_shuffle(key)), &[x, w, &[7], &[7]], "mode crand");
    let head = GapLinear { relu: false };
    refuses(head, &[&[2, 5], &[7, 5]], "expected an NHWC map");
    refuses(head, &[x, &[7, 4]], "does not fit");
}

fn crand_shuffle(key: Key) -> Option<SpatialShuffle> {
    Some(SpatialShuffle::new(Mode::ChannelRand, key))
}

#[test]
fn pooling_windows() {
    let map: &[usize] = &[2, 4, 5, 3];
    let pool = MaxPool2d::new(2);
    refuses(pool, &[&[4, 5, 3]], "expected an NHWC map");
    refuses(pool, &[map, map], "expected 1 inputs, found 2");
    refuses(pool, &[&[2, 0, 5, 3]], "no pixel along rows");
    refuses(pool.stride(0), &[map], "stride 0");
    refuses(pool.padding(2), &[map], "at most half the kernel");
    refuses(MaxPool2d::new(0), &[map], "kernel 0");
    refuses(
        MaxPool2d::new(5),
        &[map],
        "kernel of 5 does not fit into a map of 4",
    );
    refuses(MaxPool2d::new(usize::MAX), &[map], "does not fit");
    refuses(
        AvgPool2d::new(5),
        &[map],
        "kernel of 5 does not fit into a map of 4",
    );
    refuses(
        AvgPool2d::new(2).padding(2, true),
        &[map],
        "at most half the kernel",
    );
    refuses(GlobalAvgPool, &[&[3, 4]], "expected an NHWC map");
    refuses(GlobalAvgPool, &[&[3, 0, 4, 2]], "no pixel");
    refuses(AdaptiveAvgPool2d { output: [0, 2] }, &[map], "no pixel");
    refuses(
        AdaptiveAvgPool2d { output: [2, 2] },
        &[&[1, 3, 0, 2]],
        "no pixel",
    );
}

#[test]
fn resizing_padding_and_concatenation() {
    let map: &[usize] = &[2, 4, 5, 3];
    let resize = |output| BilinearResize {
        output,
        align_corners: true,
    };
    refuses(resize([0, 3]), &[map], "no pixel");
    refuses(resize([3, 3]), &[&[4, 5]], "expected an NHWC map");
    refuses(Pad2d::new(PadMode::Reflect, 4), &[map], "at most 3");
    refuses(Pad2d::new(PadMode::Circular, 5), &[map], "at most 4");
    refuses(Concat, &[], "found none");
    refuses(Concat, &[&[]], "found none");
    refuses(Concat, &[&[2, 3], &[3, 3]], "leading dimensions differ");
    refuses(Conv2d::new(), &[map, &[7, 3, 3, 4]], "expect 4");
}

#[test]
fn dropout_settings() {
    let dropout = |p, by_channel| Dropout {
        p,
        key: Key::new(1, Purpose::Dropout, 0, 0).into(),
        by_channel,
    };
    refuses(dropout(1.0, false), &[&[3]], "must be in [0, 1)");
    refuses(dropout(-0.1, false), &[&[3]], "must be in [0, 1)");
    refuses(dropout(f64::NAN, false), &[&[3]], "must be in [0, 1)");
    refuses(dropout(0.5, true), &[&[3, 4]], "expected an NHWC map");
}

#[test]
fn cross_entropy_labels_and_settings() {
    let plain = SoftmaxCrossEntropy::default;
    refuses(plain(), &[&[], &[]], "expected logits");
    refuses(plain(), &[&[2, 0], &[2]], "expected logits");
    refuses(plain(), &[&[2, 5], &[3]], "need labels of shape [2]");
    let smoothed = |label_smoothing| SoftmaxCrossEntropy {
        label_smoothing,
        ..plain()
    };
    refuses(smoothed(1.5), &[&[2, 5], &[2]], "must be in 0..=1");
    refuses(smoothed(f64::NAN), &[&[2, 5], &[2]], "must be in 0..=1");
    let weighted = |weights: &[f64]| SoftmaxCrossEntropy {
        class_weights: Some(weights.to_vec()),
        ..plain()
    };
    refuses(
        weighted(&[1.0; 4]),
        &[&[2, 5], &[2]],
        "4 class weights for 5 classes",
    );
    refuses(weighted(&[-1.0; 5]), &[&[2, 5], &[2]], "not negative");

    let logits = zeros(&[3, 5], DType::F32);
    let says = |op: SoftmaxCrossEntropy, labels: [i32; 3]| {
        let labels = Tensor::from_slice([3], &labels, Device::cpu()).unwrap();
        forward_error(&op, &[&logits, &labels])
    };
    assert!(says(plain(), [0, 4, 5]).contains("label of row 2 is 5"));
    assert!(says(plain(), [0, -1, 3]).contains("label of row 1 is -1"));
    assert!(says(plain(), [255, 1, 2]).contains("label of row 0 is 255"));
    assert!(says(weighted(&[0.0; 5]), [0, 1, 2]).contains("no row"));
    let ignoring = SoftmaxCrossEntropy {
        ignore_index: Some(255),
        ..plain()
    };
    assert!(says(ignoring, [255; 3]).contains("none of the 3 labels counts"));
    let floats = zeros(&[3], DType::F32);
    assert!(forward_error(&plain(), &[&logits, &floats]).contains("expected i32 labels"));
}

#[test]
fn masked_bce_operands() {
    let known: &[usize] = &[2, 3];
    refuses(MaskedBce, &[known, known], "found 2");
    refuses(MaskedBce, &[known; 5], "found 5");
    let other: &[usize] = &[3, 2];
    refuses(MaskedBce, &[known, known, other], "different shapes");
    let operand = || zeros(known, DType::F32);
    let (logits, targets, mask) = (operand(), operand(), operand());
    let says = forward_error(&MaskedBce, &[&logits, &targets, &mask]);
    assert!(says.contains("the mask's sum is 0"), "{says}");
    let wide = zeros(known, DType::F64);
    let says = forward_error(&MaskedBce, &[&logits, &wide, &mask]);
    assert!(says.contains("differ in kind"), "{says}");
}

#[test]
fn sb_projection_operands() {
    let (x, w, b): (&[usize], &[usize], &[usize]) = (&[2, 3, 4, 5], &[7, 5], &[7]);
    let maps: &[usize] = &[2, 3, 4, 7];
    let op = SbProjection::default();
    refuses(op, &[x, w], "found 2");
    refuses(op, &[x, w, b, maps], "found 4");
    refuses(op, &[x, w, b, maps, maps, maps, maps], "found 7");
    refuses(op, &[x, &[7, 4], b], "does not fit weights");
    refuses(op, &[&[0, 5], w, b], "does not fit weights");
    refuses(op, &[&[], &[0, 0], &[0]], "does not fit weights");
    refuses(op, &[x, &[7, 5, 1], b], "[7, 5, 1]");
    refuses(op, &[x, w, &[6]], "take no bias of shape [6]");
    refuses(
        op,
        &[x, w, b, maps, &[2, 3, 4, 6]],
        "take no labels of shape [2, 3, 4, 6]",
    );
    let all = [x, w, b, maps, maps].map(|shape| zeros(shape, DType::F32));
    let says = forward_error(&op, &all.iter().collect::<Vec<_>>());
    assert!(says.contains("the mask's sum is 0"), "{says}");
    let wide = zeros(w, DType::F64);
    let says = forward_error(&op, &[&all[0], &wide, &all[2]]);
    assert!(says.contains("differ in kind"), "{says}");
}
