//! Which layers run as one operation.
//!
//! Models are lists of plain layers, and treatments put layers into them or take some out. Only when a
//! list is run does [`steps`] look which neighbours have an operation that does the work of all of them in
//! one pass, in the list as it is and for the mode at hand. So a shuffle between two layers keeps these
//! apart because it is there, and one that does nothing in this mode keeps nobody apart.
//!
//! | Layers | Operation |
//! |---|---|
//! | normalisation with ReLU, shuffle of positions | [`BatchNormShuffle`] |
//! | last normalisation of a residual branch, sum, ReLU | [`ops::batch_norm::BatchNorm`] with a residual |
//!
//! What is fused computes what its parts compute, in the same order on the CPU, bit for bit;
//! `tests/fusion.rs` compares every model. [`Pass::fused`] switches it off.

use super::{BatchNorm, Layer, Mode, Pass, Residual, Shuffle};
use crate::Result;
use crate::autograd::Var;
use crate::ops::{self, batch_norm_shuffle::BatchNormShuffle};

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
    match layers {
        [Layer::BatchNorm(norm), Layer::Shuffle(shuffle), ..]
            if norm.relu && moves_positions(shuffle, mode) =>
        {
            2
        }
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
            [Layer::BatchNorm(norm), Layer::Shuffle(shuffle)] => {
                normalised(pass, norm, Some(shuffle), x, None)
            }
            [layer] => layer.forward(pass, x),
            _ => unreachable!("{} are not run as one", self.words()),
        }
    }

    /// Whether `relu(self(x) + residual)` is one operation too.
    fn takes_residual(&self) -> bool {
        matches!(self.layers[..], [Layer::BatchNorm(norm)] if !norm.relu)
    }

    /// relu(self(x) + residual), for a step that takes one.
    fn forward_onto(&self, pass: &mut Pass, x: Var, residual: Var) -> Result<Var> {
        match self.layers[..] {
            [Layer::BatchNorm(norm)] => normalised(pass, norm, None, x, Some(residual)),
            _ => unreachable!("{} take no residual", self.words()),
        }
    }

    /// The layers in words.
    pub fn words(&self) -> String {
        let words: Vec<String> = self.layers.iter().map(|layer| layer.to_string()).collect();
        words.join(" · ")
    }
}

/// The normalisation of x, then a residual sum and ReLU if there is a residual, or a shuffle.
fn normalised(
    pass: &mut Pass,
    norm: &BatchNorm,
    shuffle: Option<&Shuffle>,
    x: Var,
    residual: Option<Var>,
) -> Result<Var> {
    let (training, epsilon) = (pass.mode == Mode::Train, BatchNorm::EPSILON);
    match shuffle.and_then(|shuffle| shuffle.op(pass)) {
        Some(shuffle) => {
            let op = BatchNormShuffle {
                training,
                epsilon,
                shuffle,
            };
            norm.run(pass, op, &[x], None)
        }
        None => {
            let op = ops::batch_norm::BatchNorm {
                training,
                epsilon,
                relu: norm.relu || residual.is_some(),
            };
            norm.run(pass, op, &[x], residual)
        }
    }
}

impl BatchNorm {
    /// The normalisation by itself.
    pub(super) fn forward(&self, pass: &mut Pass, x: Var) -> Result<Var> {
        normalised(pass, self, None, x, None)
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
