//! Convolution, pooling, shuffles and their like.

use super::{SHUFFLE, Wrong, key, mapped, normal, vjp, wrong};
use whatwhere::check::Method;
use whatwhere::ops::add::Add;
use whatwhere::ops::avg_pool2d::AvgPool2d;
use whatwhere::ops::bilinear_resize::BilinearResize;
use whatwhere::ops::concat::Concat;
use whatwhere::ops::conv2d::Conv2d;
use whatwhere::ops::dropout::Dropout;
use whatwhere::ops::global_avg_pool::GlobalAvgPool;
use whatwhere::ops::linear::Linear;
use whatwhere::ops::max_pool2d::MaxPool2d;
use whatwhere::ops::pad2d::{Pad2d, PadMode};
use whatwhere::ops::relu::Relu;
use whatwhere::ops::spatial_shuffle::{Mode, SpatialShuffle};
use whatwhere::ops::{Input, Operation, Saved};

/// Convolution, pooling, shuffles and their like.
pub fn maps() -> Vec<Wrong> {
    use Method::{AdjointIdentity, CentralDifferences, Jacobian, Linearity};
    let conv = || Conv2d::new().padding(1);
    let filters = || [normal([2, 5, 4, 3]), normal([4, 3, 3, 3])];
    let map = || [normal([2, 3, 4, 5])];
    let spread = |dims: [usize; 4]| [Input::spread(dims)];
    vec![
        wrong(
            "shuffle: π used backward for π⁻¹",
            AdjointIdentity,
            SHUFFLE(),
            map(),
            |b| {
                let op = SHUFFLE();
                let forward = op.forward(&[b.dy], &mut Saved::default()).unwrap();
                b.gradients[0] = Some(forward.value);
            },
        ),
        wrong(
            "shuffle: another step's permutation",
            CentralDifferences,
            SHUFFLE(),
            map(),
            |b| {
                b.of(SpatialShuffle::new(Mode::Shuffle, key(2)));
            },
        ),
        wrong(
            "conv2d: dw with rows and columns exchanged",
            CentralDifferences,
            conv(),
            filters(),
            |b| {
                let dw = b.gradients[1].take();
                b.gradients[1] = dw.map(|dw| dw.permute4([0, 2, 1, 3]).unwrap());
            },
        ),
        wrong(
            "conv2d: dx with the filter not turned",
            AdjointIdentity,
            conv(),
            filters(),
            |b| {
                let w = b.inputs[1].to_f64_vec().unwrap();
                // Tap (r, s) for (2 − r, 2 − s).
                let turned = mapped(b.inputs[1], |i, _| {
                    w[i / 27 * 27 + (8 - i / 3 % 9) * 3 + i % 3]
                });
                b.gradients[0] = vjp(
                    &Conv2d::new().padding(1),
                    &[b.inputs[0], &turned],
                    b.dy,
                    &[true, false],
                )
                .swap_remove(0);
            },
        ),
        wrong(
            "conv2d: dx with padding off by one",
            CentralDifferences,
            conv(),
            filters(),
            |b| {
                b.moved(0, |i| i + 3);
            },
        ),
        wrong(
            "conv2d: dw with padding off by one",
            AdjointIdentity,
            conv(),
            filters(),
            |b| {
                let x = b.inputs[0].to_f64_vec().unwrap();
                let moved = mapped(b.inputs[0], |i, _| x[(i + 3) % x.len()]);
                b.gradients[1] = vjp(
                    &Conv2d::new().padding(1),
                    &[&moved, b.inputs[1]],
                    b.dy,
                    &[false, true],
                )
                .swap_remove(1);
            },
        ),
        Wrong {
            spoil: None,
            spoil_value: Some(|inputs, _| {
                let x = mapped(inputs[0], |i, v| if i % 3 == 2 { 0.0 } else { v });
                let op = Conv2d::new().padding(1);
                op.forward(&[&x, inputs[1]], &mut Saved::default())
                    .unwrap()
                    .value
            }),
            ..wrong(
                "conv2d: the last tile of the depth dropped forward",
                CentralDifferences,
                conv(),
                filters(),
                |_| (),
            )
        },
        wrong(
            "conv2d: the last image dropped from dw",
            AdjointIdentity,
            conv(),
            filters(),
            |b| {
                let half = b.dy.len() / 2;
                let dy = mapped(b.dy, |i, v| if i < half { v } else { 0.0 });
                b.gradients[1] =
                    vjp(&Conv2d::new().padding(1), b.inputs, &dy, &[false, true]).swap_remove(1);
            },
        ),
        wrong(
            "linear: w for its transpose",
            CentralDifferences,
            Linear,
            [normal([3, 5]), normal([5, 5])],
            |b| {
                let dx = Linear
                    .forward(&[b.dy, b.inputs[1]], &mut Saved::default())
                    .unwrap();
                b.gradients[0] = Some(dx.value);
            },
        ),
        wrong(
            "global_avg_pool: 1/HW missing",
            CentralDifferences,
            GlobalAvgPool,
            map(),
            |b| {
                b.map(0, |_, v| 12.0 * v);
            },
        ),
        wrong(
            "global_avg_pool: 1/(HW − 1)",
            AdjointIdentity,
            GlobalAvgPool,
            map(),
            |b| {
                b.map(0, |_, v| v * 12.0 / 11.0);
            },
        ),
        wrong(
            "global_avg_pool: off by one part in ten thousand",
            CentralDifferences,
            GlobalAvgPool,
            map(),
            |b| {
                b.map(0, |_, v| 1.0001 * v);
            },
        ),
        wrong(
            "max_pool2d: += for = in one channel",
            CentralDifferences,
            MaxPool2d::new(2),
            spread([2, 4, 6, 5]),
            |b| {
                b.map(0, |i, v| if i % 5 == 2 { 2.0 * v } else { v });
            },
        ),
        wrong(
            "max_pool2d: the gradient to the first cell of a window",
            CentralDifferences,
            MaxPool2d::new(2),
            spread([1, 4, 6, 1]),
            |b| {
                let dy = b.dy.to_f64_vec().unwrap();
                b.map(0, |i, _| match (i / 6 % 2, i % 2) {
                    (0, 0) => dy[i / 12 * 3 + i % 6 / 2],
                    _ => 0.0,
                });
            },
        ),
        wrong(
            "avg_pool2d: padding counted backward only",
            AdjointIdentity,
            AvgPool2d::new(3).padding(1, false),
            map(),
            |b| {
                b.of(AvgPool2d::new(3).padding(1, true));
            },
        ),
        wrong(
            "bilinear_resize: corners aligned backward only",
            AdjointIdentity,
            resize(false),
            map(),
            |b| b.of(resize(true)),
        ),
        wrong(
            "pad2d: reflected cells get nothing back",
            AdjointIdentity,
            Pad2d::new(PadMode::Reflect, 1),
            map(),
            |b| {
                b.of(Pad2d::new(PadMode::Zero, 1));
            },
        ),
        wrong(
            "concat: columns off by one",
            CentralDifferences,
            Concat,
            [normal([3, 4]), normal([3, 2])],
            |b| {
                b.moved(0, |i| i + 1);
            },
        ),
        wrong(
            "dropout: another mask backward",
            AdjointIdentity,
            dropout(4),
            map(),
            |b| b.of(dropout(5)),
        ),
        wrong(
            "dropout: 1/(1 − p) missing backward",
            CentralDifferences,
            dropout(4),
            map(),
            |b| {
                b.map(0, |_, v| 0.5 * v);
            },
        ),
        wrong(
            "relu: the gradient passes where x < 0",
            CentralDifferences,
            Relu,
            spread([1, 3, 5, 2]),
            |b| {
                b.gradients[0] = Some(b.dy.clone());
            },
        ),
        wrong(
            "relu: one entry of the gradient negated",
            Jacobian,
            Relu,
            spread([1, 3, 2, 2]),
            |b| {
                let x = b.inputs[0].to_f64_vec().unwrap();
                let first = x.iter().position(|&v| v > 0.0).unwrap_or(0);
                b.map(0, |i, v| if i == first { -v } else { v });
            },
        ),
        wrong(
            "add: nothing for the second branch",
            CentralDifferences,
            Add,
            [normal([7]), normal([7])],
            |b| {
                b.map(1, |_, _| 0.0);
            },
        ),
        wrong(
            "relu: the gradient clipped",
            Linearity,
            Relu,
            spread([1, 3, 5, 2]),
            |b| {
                b.map(0, |_, v| v.clamp(-2.0, 2.0));
            },
        ),
    ]
}

fn resize(align_corners: bool) -> BilinearResize {
    BilinearResize {
        output: [5, 7],
        align_corners,
    }
}

fn dropout(a: u64) -> Dropout {
    Dropout {
        p: 0.5,
        key: key(a).into(),
        by_channel: false,
    }
}
