//! Which layers run as one operation.
//!
//! Models are lists of plain layers, and treatments put layers into them or take some out. Only when a
//! list is run does [`steps`] look which neighbours have an operation that does the work of all of them in
//! one pass, in the list as it is and for the mode at hand. So a shuffle between two layers keeps these
//! apart because it is there, and one that does nothing in this mode keeps nobody apart.
//!
//! | Layers | Operation |
//! |---|---|
//! | convolution, normalisation (with its ReLU) | [`ConvBatchNorm`] |
//! | the same, shuffle of positions | [`ConvBatchNorm`] with a shuffle |
//! | normalisation with ReLU, shuffle of positions | [`BatchNormShuffle`] |
//! | what ends a residual branch in a normalisation, sum, ReLU | the same with a residual |
//! | convolution or fully connected layer, ReLU | [`Rectified`] |
//! | global average pooling, fully connected layer (, ReLU) | [`GapLinear`] |
//!
//! What is fused computes what its parts compute, in the same order on the CPU, bit for bit;
//! `tests/fusion.rs` compares every model. [`Pass::fused`] switches it off.

use super::{BatchNorm, Conv2d, Layer, Mode, Pass, Residual, Shuffle};
use crate::Result;
use crate::autograd::Var;
use crate::ops;
use crate::ops::batch_norm_shuffle::BatchNormShuffle;
use crate::ops::conv_batch_norm::ConvBatchNorm;
use crate::ops::gap_linear::GapLinear;
use crate::ops::rectified::Rectified;

/// Neighbouring layers that run as one operation, or one layer by itself.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// Place of the first layer in the list.
    pub first: usize,
    /// The layers, in order.
    pub layers: Vec<&'a Layer>,
}

/// The steps in which `layers` run; a layer each unless `fused`. Shuffles and dropout without effect in
/// this mode are left out.
pub fn steps<'a>(layers: &[&'a Layer], mode: Mode, fused: bool) -> Vec<Step<'a>> {
    let acts = |layer: &Layer| match layer {
        Layer::Shuffle(shuffle) => shuffle.mode(mode).is_some(),
        Layer::Dropout(_) => mode == Mode::Train,
        _ => true,
    };
    let (places, acting): (Vec<usize>, Vec<&Layer>) = (layers.iter().enumerate())
        .filter(|(_, layer)| acts(layer))
        .map(|(place, &layer)| (place, layer))
        .unzip();
    let (mut steps, mut at) = (Vec::new(), 0);
    while at < acting.len() {
        let count = if fused {
            joined(&acting[at..], mode)
        } else {
            1
        };
        steps.push(Step {
            first: places[at],
            layers: acting[at..at + count].to_vec(),
        });
        at += count;
    }
    steps
}

/// How many of the first layers run as one.
fn joined(layers: &[&Layer], mode: Mode) -> usize {
    let shuffled = |norm: &BatchNorm, rest: &[&Layer]| match rest {
        [Layer::Shuffle(shuffle), ..] => norm.relu && moves_positions(shuffle, mode),
        _ => false,
    };
    match layers {
        [Layer::Conv2d(_), Layer::BatchNorm(norm), rest @ ..] if shuffled(norm, rest) => 3,
        [Layer::Conv2d(_), Layer::BatchNorm(_), ..] => 2,
        [Layer::BatchNorm(norm), rest @ ..] if shuffled(norm, rest) => 2,
        [Layer::Gap, Layer::Linear(_), Layer::Relu, ..] => 3,
        [Layer::Gap, Layer::Linear(_), ..] => 2,
        [Layer::Conv2d(_) | Layer::Linear(_), Layer::Relu, ..] => 2,
        _ => 1,
    }
}

fn moves_positions(shuffle: &Shuffle, mode: Mode) -> bool {
    let mode = shuffle.mode(mode);
    mode.is_some_and(|mode| mode.keeps_channels())
}

/// Runs layers one after the other, fused where they can be.
pub fn forward(layers: &[Layer], pass: &mut Pass, x: Var) -> Result<Var> {
    let layers: Vec<&Layer> = layers.iter().collect();
    let steps = steps(&layers, pass.mode, pass.fused);
    steps.iter().try_fold(x, |x, step| step.forward(pass, x))
}

impl Step<'_> {
    /// Runs the step.
    pub fn forward(&self, pass: &mut Pass, x: Var) -> Result<Var> {
        match self.layers[..] {
            [Layer::Conv2d(conv), Layer::BatchNorm(norm)] => {
                normalised(pass, Some(conv), norm, None, x, None)
            }
            [
                Layer::Conv2d(conv),
                Layer::BatchNorm(norm),
                Layer::Shuffle(shuffle),
            ] => normalised(pass, Some(conv), norm, Some(shuffle), x, None),
            [Layer::BatchNorm(norm), Layer::Shuffle(shuffle)] => {
                normalised(pass, None, norm, Some(shuffle), x, None)
            }
            [Layer::Conv2d(conv), Layer::Relu] => conv.run(pass, Rectified::Conv2d(conv.op), x),
            [Layer::Linear(linear), Layer::Relu] => {
                linear.run(pass, Rectified::Linear(ops::linear::Linear), x)
            }
            [Layer::Gap, Layer::Linear(linear)] => linear.run(pass, GapLinear { relu: false }, x),
            [Layer::Gap, Layer::Linear(linear), Layer::Relu] => {
                linear.run(pass, GapLinear { relu: true }, x)
            }
            [layer] => layer.forward(pass, x),
            _ => unreachable!("{} are not run as one", self.words()),
        }
    }

    /// Whether `relu(self(x) + residual)` is one operation too.
    fn takes_residual(&self) -> bool {
        matches!(
            self.layers[..],
            [Layer::BatchNorm(norm)] | [Layer::Conv2d(_), Layer::BatchNorm(norm)] if !norm.relu
        )
    }

    /// relu(self(x) + residual), for a step that takes one.
    fn forward_onto(&self, pass: &mut Pass, x: Var, residual: Var) -> Result<Var> {
        match self.layers[..] {
            [Layer::BatchNorm(norm)] => normalised(pass, None, norm, None, x, Some(residual)),
            [Layer::Conv2d(conv), Layer::BatchNorm(norm)] => {
                normalised(pass, Some(conv), norm, None, x, Some(residual))
            }
            _ => unreachable!("{} take no residual", self.words()),
        }
    }

    /// The layers in words.
    pub fn words(&self) -> String {
        let words: Vec<String> = self.layers.iter().map(|layer| layer.to_string()).collect();
        words.join(" · ")
    }
}

/// The normalisation of x, or of its convolution, then a residual sum and ReLU if there is a residual, or a
/// shuffle.
fn normalised(
    pass: &mut Pass,
    conv: Option<&Conv2d>,
    norm: &BatchNorm,
    shuffle: Option<&Shuffle>,
    x: Var,
    residual: Option<Var>,
) -> Result<Var> {
    let of = ops::batch_norm::BatchNorm {
        training: pass.mode == Mode::Train,
        epsilon: BatchNorm::EPSILON,
        relu: norm.relu || residual.is_some(),
    };
    let shuffle = shuffle.and_then(|shuffle| shuffle.op(pass));
    let mut inputs = vec![x];
    match (conv, shuffle) {
        (Some(conv), shuffle) => {
            inputs.extend(conv.parameters(pass)?);
            let op = ConvBatchNorm {
                conv: conv.op,
                bias: inputs.len() == 3,
                norm: of,
                shuffle,
            };
            norm.run(pass, op, &inputs, residual)
        }
        (None, Some(shuffle)) => {
            let op = BatchNormShuffle {
                training: of.training,
                epsilon: of.epsilon,
                shuffle,
            };
            norm.run(pass, op, &inputs, None)
        }
        (None, None) => norm.run(pass, of, &inputs, residual),
    }
}

impl BatchNorm {
    /// The normalisation by itself.
    pub(super) fn forward(&self, pass: &mut Pass, x: Var) -> Result<Var> {
        normalised(pass, None, self, None, x, None)
    }
}

impl Residual {
    /// relu(body(x) + shortcut(x)).
    pub(super) fn forward(&self, pass: &mut Pass, x: Var) -> Result<Var> {
        let residual = forward(&self.shortcut, pass, x.clone())?;
        let body: Vec<&Layer> = self.body.iter().collect();
        let steps = steps(&body, pass.mode, pass.fused);
        let run = |pass: &mut Pass, x: Var, steps: &[Step]| {
            steps.iter().try_fold(x, |x, step| step.forward(pass, x))
        };
        match steps.split_last() {
            Some((last, before)) if pass.fused && last.takes_residual() => {
                let x = run(pass, x, before)?;
                last.forward_onto(pass, x, residual)
            }
            _ => {
                let x = run(pass, x, &steps)?;
                let sum = pass.tape.apply(ops::add::Add, &[&x, &residual])?;
                pass.tape.apply(ops::relu::Relu, &[&sum])
            }
        }
    }
}

/// What runs as one operation when `layers` run in `mode`, in words, in their order: neighbours with a dot
/// between, a residual sum and its ReLU as `+`. Layers by themselves are left out.
pub fn fusions(layers: &[&Layer], mode: Mode) -> Vec<String> {
    let mut found = Vec::new();
    let list = steps(layers, mode, true);
    for step in &list {
        if let [Layer::Residual(branches)] = step.layers[..] {
            let [shortcut, body] = [&branches.shortcut, &branches.body].map(|branch| {
                let layers: Vec<&Layer> = branch.iter().collect();
                layers
            });
            found.extend(fusions(&shortcut, mode));
            let steps = steps(&body, mode, true);
            let Some((last, _)) = steps.split_last() else {
                continue;
            };
            let mut inner = fusions(&body, mode);
            if last.takes_residual() {
                if last.layers.len() > 1 {
                    inner.pop();
                }
                inner.push(format!("{} · +", last.words()));
            }
            found.extend(inner);
        } else if step.layers.len() > 1 {
            found.push(step.words());
        }
    }
    found
}
