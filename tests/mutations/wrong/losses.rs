//! Normalisation and losses.

use super::{Backward, Wrong, mapped, normal, vjp, wrong};
use whatwhere::check::Method;
use whatwhere::ops::batch_norm::BatchNorm;
use whatwhere::ops::masked_bce::MaskedBce;
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::ops::{Input, Operation, Saved};

/// Normalisation and losses.
pub fn losses() -> Vec<Wrong> {
    use Method::{CentralDifferences, SecondOrder};
    const TRAIN: BatchNorm = BatchNorm {
        training: true,
        epsilon: 1e-5,
        relu: false,
    };
    const IGNORING: SoftmaxCrossEntropy = SoftmaxCrossEntropy {
        ignore_index: Some(255),
        label_smoothing: 0.0,
        class_weights: None,
    };
    let rows = || [normal([6, 3]), normal([3]), normal([3])];
    let logits = || {
        let labels = Input::Labels {
            shape: [12].into(),
            classes: 5,
            ignore: Some(255),
        };
        [normal([12, 5]), labels]
    };
    let smoothed = SoftmaxCrossEntropy {
        label_smoothing: 0.2,
        ..IGNORING
    };
    /// Gradients with mean and variance for constants.
    fn as_in_evaluation(b: &mut Backward) {
        let eval = BatchNorm {
            training: false,
            ..TRAIN
        };
        let output = TRAIN.forward(b.inputs, &mut Saved::default()).unwrap();
        let biased = mapped(&output.aux[1], |_, v| v * 5.0 / 6.0);
        let inputs = [b.inputs, &[&output.aux[0], &biased]].concat();
        let mut gradients = vjp(&eval, &inputs, b.dy, &[true, true, true, false, false]);
        gradients.truncate(3);
        b.gradients = gradients;
    }
    vec![
        wrong(
            "batch_norm: the unbiased variance backward",
            CentralDifferences,
            TRAIN,
            rows(),
            |b| {
                b.map(0, |_, v| v * (5.0f64 / 6.0).sqrt());
            },
        ),
        wrong(
            "batch_norm: statistics taken for constants",
            CentralDifferences,
            TRAIN,
            rows(),
            as_in_evaluation,
        ),
        wrong(
            "batch_norm: the same, by its derivative",
            SecondOrder,
            TRAIN,
            rows(),
            as_in_evaluation,
        ),
        wrong(
            "batch_norm: dγ of x and not of the normalised x",
            CentralDifferences,
            TRAIN,
            rows(),
            |b| {
                let (x, dy) = (
                    b.inputs[0].to_f64_vec().unwrap(),
                    b.dy.to_f64_vec().unwrap(),
                );
                b.map(1, |c, _| (0..6).map(|n| x[3 * n + c] * dy[3 * n + c]).sum());
            },
        ),
        wrong(
            "cross-entropy: ignored rows counted",
            CentralDifferences,
            IGNORING,
            logits(),
            |b| {
                let labels = b.inputs[1].to_vec::<i32>().unwrap();
                let counted = labels.iter().filter(|&&l| l != 255).count();
                // Where no row happens to be ignored, one is counted twice.
                let share = if counted < 12 {
                    counted as f64 / 12.0
                } else {
                    12.0 / 13.0
                };
                b.map(0, |_, v| share * v);
            },
        ),
        wrong(
            "cross-entropy: no smoothing backward",
            CentralDifferences,
            smoothed,
            logits(),
            |b| b.of(IGNORING),
        ),
        wrong(
            "cross-entropy: softmax without the label's one",
            CentralDifferences,
            IGNORING,
            logits(),
            |b| {
                let (labels, dy) = (b.inputs[1].to_vec::<i32>().unwrap(), b.dy.item().unwrap());
                let counted = labels.iter().filter(|&&l| l != 255).count() as f64;
                b.map(0, |i, v| {
                    if labels[i / 5] == (i % 5) as i32 {
                        v + dy / counted
                    } else {
                        v
                    }
                });
            },
        ),
        wrong(
            "cross-entropy: no gradient",
            CentralDifferences,
            IGNORING,
            logits(),
            |b| b.map(0, |_, _| 0.0),
        ),
        wrong(
            "masked_bce: mean over all elements, not the mask",
            CentralDifferences,
            MaskedBce,
            bce(),
            |b| {
                let mask: f64 = b.inputs[2].to_f64_vec().unwrap().iter().sum();
                b.map(0, |_, v| v * mask / 12.0);
            },
        ),
        wrong(
            "masked_bce: the cotangent forgotten",
            CentralDifferences,
            MaskedBce,
            bce(),
            |b| {
                let dy = b.dy.item().unwrap();
                b.map(0, |_, v| v / dy);
            },
        ),
    ]
}

fn bce() -> [Input; 3] {
    let constant = || Input::Constant([3, 4].into());
    [normal([3, 4]), constant(), constant()]
}
