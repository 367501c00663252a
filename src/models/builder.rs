//! The parts every architecture is built from, and what treatments make of them.

use super::{Architecture, Block, Filter, Head, Network, Stage, TreatedPool, Treatment, Unit};
use crate::nn::{BatchNorm, Conv2d, Dropout, Layer, Linear, Pool, PoolKind, Shuffle, Store};
use crate::ops;
use crate::tensor::Shape;
use crate::{Error, Result};

/// Lowers an architecture with one treatment per unit.
pub(super) fn lower(architecture: &Architecture, treatments: &[Treatment]) -> Result<Network> {
    let mut builder = Builder {
        architecture,
        store: Store::default(),
        features: architecture.image.into(),
    };
    let mut stages = Vec::new();
    for (unit, &treatment) in architecture.units.iter().zip(treatments) {
        let name = unit.index.to_string();
        let layers = builder.unit(unit, treatment);
        stages.push(Stage {
            layers: layers.map_err(|e| e.in_layer(&name))?,
            treatment,
            name,
        });
    }
    stages.extend(builder.head()?);
    Ok(Network {
        name: architecture.name.clone(),
        image: architecture.image,
        classes: architecture.classes,
        stages,
        store: builder.store,
        fused: true,
    })
}

/// A network under construction: its tensors, and the extents one sample has come to.
pub(super) struct Builder<'a> {
    architecture: &'a Architecture,
    store: Store,
    features: Shape,
}

impl Builder<'_> {
    /// Extents of a sample here: (H, W, C), or (C) once positions are averaged away.
    pub(super) fn features(&self) -> &Shape {
        &self.features
    }

    /// Goes back to where a sample had these extents: to build a second branch, or to join both.
    pub(super) fn back_to(&mut self, features: Shape) {
        self.features = features;
    }

    pub(super) fn push(&mut self, layers: &mut Vec<Layer>, layer: Layer) -> Result<()> {
        self.features = layer.output(&self.features)?;
        layers.push(layer);
        Ok(())
    }

    fn unit(&mut self, unit: &Unit, treatment: Treatment) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        let has_positions = self.features.rank() == 3;
        match treatment {
            Treatment::Removed => return Ok(layers),
            Treatment::GapFc if has_positions => self.push(&mut layers, Layer::Gap)?,
            Treatment::GapFc => {}
            _ if !has_positions => {
                return Err(Error::setting(
                    "remove",
                    "gap-fc",
                    "the positions are gone after it, so every later layer must be replaced too \
                     (use --layers from)",
                ));
            }
            _ => {}
        }
        match unit.block {
            Block::Convolution { filter, pool } => {
                self.unit_convolution(&mut layers, unit.index, filter, pool, treatment)?;
            }
            Block::Bottleneck {
                planes,
                width,
                stride,
                project,
            } => {
                let extents = [planes, width, stride];
                self.bottleneck(&mut layers, unit, extents, project, treatment)?;
            }
        }
        Ok(layers)
    }

    /// Convolution, normalisation, ReLU and what is left of the pooling.
    fn unit_convolution(
        &mut self,
        layers: &mut Vec<Layer>,
        index: u32,
        mut filter: Filter,
        pool: Option<Pool>,
        treatment: Treatment,
    ) -> Result<()> {
        let treated = self.architecture.treated_pool;
        let pool = match (pool, treatment) {
            (pool, Treatment::Intact) => pool,
            (None, _) | (_, Treatment::GapFc) => None,
            (Some(pool), _) if treated == TreatedPool::Stride => {
                filter.stride *= pool.stride;
                None
            }
            (Some(pool), _) if treated == TreatedPool::Average => Some(Pool {
                kind: PoolKind::Average,
                ..pool
            }),
            (pool, _) => pool,
        };
        let names = [format!("conv{index}"), format!("fc{index}")];
        self.treated_convolution(layers, names, filter, treatment, index)?;
        self.normalise(layers, &format!("bn{index}"), true)?;
        match pool {
            Some(pool) => self.push(layers, Layer::Pool(pool)),
            None => Ok(()),
        }
    }

    /// What a treatment makes of a convolution: the same behind a shuffle, a 1×1 convolution, or a
    /// fully connected layer. `names` are those of the convolution and of the fully connected layer,
    /// `layer` is the shuffle's coordinate in the random key.
    pub(super) fn treated_convolution(
        &mut self,
        layers: &mut Vec<Layer>,
        names: [String; 2],
        filter: Filter,
        treatment: Treatment,
        layer: u32,
    ) -> Result<()> {
        let [conv, fc] = names;
        match treatment {
            Treatment::GapFc => {
                let (inputs, bias) = (self.features.channels(), self.architecture.gap_fc_bias);
                let linear = Linear::new(&mut self.store, &fc, inputs, filter.width, bias);
                self.push(layers, Layer::Linear(linear))
            }
            Treatment::Conv1x1 => self.convolution(layers, &conv, Filter { side: 1, ..filter }),
            _ => {
                self.shuffle(layers, treatment, layer)?;
                self.convolution(layers, &conv, filter)
            }
        }
    }

    /// A convolution; on a vector, which is a map of one pixel, its product with a matrix.
    pub(super) fn convolution(
        &mut self,
        layers: &mut Vec<Layer>,
        name: &str,
        filter: Filter,
    ) -> Result<()> {
        let (channels, bias) = (self.features.channels(), self.architecture.conv_bias);
        let Filter {
            width,
            side,
            stride,
        } = filter;
        if self.features.rank() == 1 && side == 1 {
            let linear = Linear::pointwise(&mut self.store, name, channels, width, bias);
            return self.push(layers, Layer::Linear(linear));
        }
        let op = ops::conv2d::Conv2d::new().padding(side / 2).stride(stride);
        let extents = [width, side, side, channels];
        let conv = Conv2d::new(&mut self.store, name, extents, op, bias);
        self.push(layers, Layer::Conv2d(conv))
    }

    /// A shuffle, if that is the treatment; `layer` is its coordinate in the random key.
    pub(super) fn shuffle(
        &mut self,
        layers: &mut Vec<Layer>,
        treatment: Treatment,
        layer: u32,
    ) -> Result<()> {
        let Treatment::Shuffle(setting) = treatment else {
            return Ok(());
        };
        let shuffle = Shuffle {
            train: setting.train,
            test: setting.test,
            scope: setting.scope,
            derange: setting.derange,
            layer,
        };
        self.push(layers, Layer::Shuffle(shuffle))
    }

    /// Batch normalisation and ReLU, each if it is wanted.
    pub(super) fn normalise(
        &mut self,
        layers: &mut Vec<Layer>,
        name: &str,
        relu: bool,
    ) -> Result<()> {
        if self.architecture.batch_norm {
            let channels = self.features.channels();
            let norm = BatchNorm::new(&mut self.store, name, channels, relu);
            return self.push(layers, Layer::BatchNorm(norm));
        }
        match relu {
            true => self.push(layers, Layer::Relu),
            false => Ok(()),
        }
    }

    fn head(&mut self) -> Result<Vec<Stage>> {
        let mut stages = Vec::new();
        let stage = |name: &str, layers| Stage {
            name: name.to_owned(),
            treatment: Treatment::Intact,
            layers,
        };
        let Head {
            side,
            hidden,
            dropout,
        } = &self.architecture.head;
        let (side, mut layers) = (*side, Vec::new());
        match *self.features.dims() {
            [_, _, _] if side == 1 => {
                self.push(&mut layers, Layer::Gap)?;
                stages.push(stage("gap", layers));
            }
            [h, w, _] if [h, w] != [side; 2] => {
                self.push(&mut layers, Layer::AdaptiveAvgPool(side))?;
                stages.push(stage("pool", layers));
            }
            [_] if side > 1 => {
                let why = format!(
                    "the head of {} reads a map of {side}×{side} and the positions are gone; \
                     choose a model that ends in global average pooling",
                    self.architecture.name
                );
                return Err(Error::setting("remove", "gap-fc", why));
            }
            _ => {}
        }
        let classes = self.architecture.classes;
        for (index, &width) in hidden.iter().chain([&classes]).enumerate() {
            let (name, mut layers) = (format!("head{index}"), Vec::new());
            let inputs = self.features.channels();
            if self.features.rank() == 3 {
                let (op, extents) = (ops::conv2d::Conv2d::new(), [width, side, side, inputs]);
                let conv = Conv2d::new(&mut self.store, &name, extents, op, true);
                self.push(&mut layers, Layer::Conv2d(conv))?;
                // One cell is left: its mean is the vector itself.
                self.push(&mut layers, Layer::Gap)?;
            } else {
                let linear = Linear::new(&mut self.store, &name, inputs, width, true);
                self.push(&mut layers, Layer::Linear(linear))?;
            }
            if index < hidden.len() {
                self.push(&mut layers, Layer::Relu)?;
                if *dropout > 0.0 {
                    let (p, layer) = (*dropout, index as u32);
                    self.push(&mut layers, Layer::Dropout(Dropout { p, layer }))?;
                }
            }
            stages.push(stage(&name, layers));
        }
        Ok(stages)
    }
}
