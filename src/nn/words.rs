//! Layers in words, for tables and errors.

use std::fmt;

use super::{Layer, PoolKind};

/// The layer in a word: `conv3x3/2`, `bn+relu`, `max2`, `[conv3x3 conv3x3 + id]`, …
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layer::Conv2d(conv) => {
                write!(f, "conv{}x{}", conv.filter[1], conv.filter[2])?;
                step(f, conv.op.stride[0], 1)
            }
            Layer::BatchNorm(norm) => f.write_str(if norm.relu { "bn+relu" } else { "bn" }),
            Layer::Relu => f.write_str("relu"),
            Layer::Pool(pool) => {
                let kind = if pool.kind == PoolKind::Max {
                    "max"
                } else {
                    "avg"
                };
                write!(f, "{kind}{}", pool.size)?;
                step(f, pool.stride, pool.size)
            }
            Layer::AdaptiveAvgPool(side) => write!(f, "avg to {side}x{side}"),
            Layer::Gap => f.write_str("gap"),
            Layer::Dropout(_) => f.write_str("dropout"),
            Layer::Linear(_) => f.write_str("fc"),
            Layer::Shuffle(_) => f.write_str("shuffle"),
            Layer::Residual(branches) => {
                write!(f, "[{}", words(&branches.body))?;
                match branches.shortcut.is_empty() {
                    true => f.write_str(" + id]"),
                    false => write!(f, " + {}]", words(&branches.shortcut)),
                }
            }
        }
    }
}

/// The stride, where it is not the usual one.
fn step(f: &mut fmt::Formatter<'_>, stride: usize, usual: usize) -> fmt::Result {
    match stride == usual {
        true => Ok(()),
        false => write!(f, "/{stride}"),
    }
}

/// The layers of a branch but for its normalisations, which follow every convolution.
fn words(branch: &[Layer]) -> String {
    let named = branch
        .iter()
        .filter(|l| !matches!(l, Layer::BatchNorm(_) | Layer::Relu));
    let words: Vec<String> = named.map(Layer::to_string).collect();
    words.join(" ")
}
