//! A network as a table: extents, what is destroyed, receptive field, parameters, multiply-adds.

use super::{Network, Stage, Treatment};
use crate::Result;
use crate::nn::{Layer, Shuffle};
use crate::ops::spatial_shuffle::{Map, Mode};
use crate::tensor::Shape;

/// One unit of a network.
#[derive(Clone, Debug)]
pub struct Row {
    /// The unit's index, or the name of a part of the head.
    pub name: String,
    /// Its layers in words.
    pub layers: String,
    /// Extents of a sample before it.
    pub input: Shape,
    /// Extents of a sample after it.
    pub output: Shape,
    /// What is destroyed at its input, in words; empty if nothing is.
    pub destroyed: String,
    /// log₂ of the number of arrangements the destruction makes equal (of one channel, where
    /// channels are permuted independently), summed over the shuffles of the unit.
    pub bits: f64,
    /// Side of the theoretical receptive field in pixels; `None` once positions were mixed.
    pub receptive_field: Option<usize>,
    /// Trained numbers.
    pub parameters: u64,
    /// Multiply-adds of one image.
    pub macs: u64,
}

/// The table of a network.
#[derive(Clone, Debug)]
pub struct Summary {
    /// One row per unit and part of the head.
    pub rows: Vec<Row>,
}

/// Where a pixel of the current map looks: side of the field, and distance between neighbours.
#[derive(Clone, Copy)]
struct Field {
    side: usize,
    jump: usize,
}

impl Summary {
    pub(super) fn of(network: &Network) -> Result<Summary> {
        let mut shape = network.image_shape();
        let mut field = Some(Field { side: 1, jump: 1 });
        let mut rows = Vec::new();
        for stage in &network.stages {
            rows.push(row(stage, &mut shape, &mut field)?);
        }
        Ok(Summary { rows })
    }

    /// Sum of the destroyed bits over all units.
    pub fn bits(&self) -> f64 {
        self.rows.iter().map(|row| row.bits).sum()
    }
}

fn row(stage: &Stage, shape: &mut Shape, field: &mut Option<Field>) -> Result<Row> {
    let input = shape.clone();
    let (destroyed, bits) = destruction(stage, &input)?;
    let (mut parameters, mut macs, mut words) = (0, 0, Vec::new());
    for layer in &stage.layers {
        macs += layer.macs(shape)?;
        parameters += layer.parameters();
        words.push(layer.to_string());
        *shape = layer.output(shape)?;
        *field = field.and_then(|f| widen(f, layer));
    }
    Ok(Row {
        name: stage.name.clone(),
        layers: words.join(" · "),
        input,
        output: shape.clone(),
        destroyed,
        bits,
        receptive_field: field.map(|f| f.side),
        parameters,
        macs,
    })
}

fn widen(field: Field, layer: &Layer) -> Option<Field> {
    let (reach, stride) = match layer {
        Layer::Conv2d(conv) => (
            (conv.filter[1] - 1) * conv.op.dilation[0],
            conv.op.stride[0],
        ),
        Layer::Pool(pool) => (pool.size - 1, pool.stride),
        Layer::BatchNorm(_) | Layer::Relu | Layer::Dropout(_) => (0, 1),
        Layer::Residual(branches) => {
            let body = branches.body.iter().try_fold(field, widen)?;
            let shortcut = branches.shortcut.iter().try_fold(field, widen)?;
            return Some(Field {
                side: body.side.max(shortcut.side),
                jump: body.jump,
            });
        }
        Layer::AdaptiveAvgPool(_) | Layer::Gap | Layer::Linear(_) | Layer::Shuffle(_) => {
            return None;
        }
    };
    Some(Field {
        side: field.side + reach * field.jump,
        jump: field.jump * stride,
    })
}

/// What a stage destroys: in words, and as log₂ of the number of arrangements, over all its shuffles.
fn destruction(stage: &Stage, input: &Shape) -> Result<(String, f64)> {
    Ok(match (stage.treatment, input.dims()) {
        (Treatment::Intact | Treatment::Conv1x1, _) => (String::new(), 0.0),
        (Treatment::Removed, _) => ("the layer itself".to_owned(), 0.0),
        (Treatment::GapFc, &[h, w, c]) => (
            "positions, averaged".to_owned(),
            Mode::Shuffle.log2_permutations(Map { h, w, c }),
        ),
        (Treatment::GapFc, _) => ("no positions left".to_owned(), 0.0),
        (Treatment::Shuffle(setting), _) => {
            let (mut shuffles, mut bits) = (0, 0.0);
            let mut shape = input.clone();
            for layer in &stage.layers {
                shape = layer.visit(&shape, &mut |layer, input| {
                    if let (Layer::Shuffle(shuffle), &[h, w, c]) = (layer, input.dims()) {
                        shuffles += 1;
                        bits += bits_of(shuffle, Map { h, w, c });
                    }
                })?;
            }
            let named = |mode: Option<Mode>| mode.map_or("none".to_owned(), |m| m.to_string());
            let (train, test) = (named(setting.train), named(setting.test));
            let mut words = match train == test {
                true => train,
                false => format!("{train} in training, {test} in test"),
            };
            if shuffles > 1 {
                words += &format!(" ×{shuffles}");
            }
            (words, bits)
        }
    })
}

/// Of training and test, the greater.
fn bits_of(shuffle: &Shuffle, map: Map) -> f64 {
    let bits = |mode: Option<Mode>| mode.map_or(0.0, |m| m.log2_permutations(map));
    bits(shuffle.train).max(bits(shuffle.test))
}
