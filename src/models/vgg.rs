//! VGG (Simonyan, Zisserman 2015) as Fan et al. 2020 use it (papers: section 1.4-1.6).
//!
//! Each unit is a 3×3 convolution, batch normalisation and ReLU; a 2×2 max-pooling ends each stage.
//! The head is global average pooling and fully connected layers, without dropout.

use super::{Architecture, Network, Stage, TreatedPool, Treatment, Unit};
use crate::nn::{BatchNorm, Conv2d, Layer, Linear, Pool, PoolKind, Shuffle, Store};
use crate::ops;
use crate::tensor::Shape;
use crate::{Error, Result};

/// Convolutions per stage, widths per stage, hidden widths of the head, batch normalisation.
type Plan = (&'static [usize], &'static [usize], &'static [usize], bool);

fn plan(name: &str) -> Option<Plan> {
    const WIDTHS: &[usize] = &[64, 128, 256, 512, 512];
    const HIDDEN: &[usize] = &[4096, 4096];
    Some(match name {
        "vgg11" => (&[1, 1, 2, 2, 2], WIDTHS, HIDDEN, true),
        "vgg13" => (&[2, 2, 2, 2, 2], WIDTHS, HIDDEN, true),
        "vgg16" => (&[2, 2, 3, 3, 3], WIDTHS, HIDDEN, true),
        "vgg16-plain" => (&[2, 2, 3, 3, 3], WIDTHS, HIDDEN, false),
        "vgg19" => (&[2, 2, 4, 4, 4], WIDTHS, HIDDEN, true),
        "vgg-small" => (&[2, 2, 2], &[16, 32, 64], &[], true),
        _ => return None,
    })
}

/// The VGG called `name`, or `None` if there is none.
pub fn by_name(name: &str, image: [usize; 3], classes: usize, width: f64) -> Option<Architecture> {
    let (depths, widths, hidden, batch_norm) = plan(name)?;
    let scaled = |channels: usize| ((channels as f64 * width).round() as usize).max(1);
    let mut units = Vec::new();
    for (stage, (&depth, &channels)) in depths.iter().zip(widths).enumerate() {
        units.extend((1..=depth).map(|position| Unit {
            index: (10 * (stage + 1) + position) as u32,
            width: scaled(channels),
            pool: position == depth,
        }));
    }
    Some(Architecture {
        name: name.to_owned(),
        image,
        classes,
        units,
        hidden: hidden.iter().map(|&h| scaled(h)).collect(),
        batch_norm,
        conv_bias: !batch_norm,
        treated_pool: if image[0] > 64 {
            TreatedPool::Max
        } else {
            TreatedPool::Stride
        },
    })
}

/// A network under construction: its layers, its tensors, and the extents it has come to.
struct Builder<'a> {
    architecture: &'a Architecture,
    store: Store,
    features: Shape,
}

/// Lowers the architecture with one treatment per unit.
pub fn lower(architecture: &Architecture, treatments: &[Treatment]) -> Result<Network> {
    let mut builder = Builder {
        architecture,
        store: Store::default(),
        features: architecture.image.into(),
    };
    let mut stages = Vec::new();
    for (unit, &treatment) in architecture.units.iter().zip(treatments) {
        let layers = builder
            .unit(unit, treatment)
            .map_err(|e| e.in_layer(&unit.index.to_string()))?;
        let name = unit.index.to_string();
        stages.push(Stage {
            name,
            treatment,
            layers,
        });
    }
    stages.extend(builder.head()?);
    Ok(Network {
        name: architecture.name.clone(),
        image: architecture.image,
        classes: architecture.classes,
        stages,
        store: builder.store,
    })
}

impl Builder<'_> {
    fn push(&mut self, layers: &mut Vec<Layer>, layer: Layer) -> Result<()> {
        self.features = layer.output(&self.features)?;
        layers.push(layer);
        Ok(())
    }

    fn unit(&mut self, unit: &Unit, treatment: Treatment) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        match treatment {
            Treatment::Removed => {}
            Treatment::GapFc => self.fully_connected(&mut layers, unit)?,
            _ if self.features.rank() == 1 => {
                return Err(Error::setting(
                    "remove",
                    "gap-fc",
                    "the positions are gone after it, so every later layer must be replaced too \
                     (use --layers from)",
                ));
            }
            Treatment::Intact => self.convolution(&mut layers, unit, 3, None)?,
            Treatment::Conv1x1 => {
                self.convolution(&mut layers, unit, 1, Some(self.architecture.treated_pool))?;
            }
            Treatment::Shuffle(setting) => {
                let shuffle = Shuffle {
                    train: setting.train,
                    test: setting.test,
                    scope: setting.scope,
                    derange: setting.derange,
                    layer: unit.index,
                };
                self.push(&mut layers, Layer::Shuffle(shuffle))?;
                self.convolution(&mut layers, unit, 3, Some(self.architecture.treated_pool))?;
            }
        }
        Ok(layers)
    }

    /// Convolution, normalisation, ReLU and what is left of the pooling (`treated` says how).
    fn convolution(
        &mut self,
        layers: &mut Vec<Layer>,
        unit: &Unit,
        side: usize,
        treated: Option<TreatedPool>,
    ) -> Result<()> {
        let strided = unit.pool && treated == Some(TreatedPool::Stride);
        let op = ops::conv2d::Conv2d::new()
            .padding(side / 2)
            .stride(if strided { 2 } else { 1 });
        let filter = [unit.width, side, side, self.features.channels()];
        let name = format!("conv{}", unit.index);
        let conv = Conv2d::new(
            &mut self.store,
            &name,
            filter,
            op,
            self.architecture.conv_bias,
        );
        self.push(layers, Layer::Conv2d(conv))?;
        self.normalise(layers, unit)?;
        if unit.pool && !strided {
            let average = treated == Some(TreatedPool::Average);
            let kind = if average {
                PoolKind::Average
            } else {
                PoolKind::Max
            };
            self.push(layers, Layer::Pool(Pool { kind, size: 2 }))?;
        }
        Ok(())
    }

    fn fully_connected(&mut self, layers: &mut Vec<Layer>, unit: &Unit) -> Result<()> {
        if self.features.rank() == 3 {
            self.push(layers, Layer::Gap)?;
        }
        let (name, inputs) = (format!("fc{}", unit.index), self.features.channels());
        let linear = Linear::new(&mut self.store, &name, inputs, unit.width, true);
        self.push(layers, Layer::Linear(linear))?;
        self.normalise(layers, unit)
    }

    fn normalise(&mut self, layers: &mut Vec<Layer>, unit: &Unit) -> Result<()> {
        if !self.architecture.batch_norm {
            return self.push(layers, Layer::Relu);
        }
        let name = format!("bn{}", unit.index);
        let norm = BatchNorm::new(&mut self.store, &name, unit.width, true);
        self.push(layers, Layer::BatchNorm(norm))
    }

    fn head(&mut self) -> Result<Vec<Stage>> {
        let mut stages = Vec::new();
        let stage = |name: String, layers| Stage {
            name,
            treatment: Treatment::Intact,
            layers,
        };
        if self.features.rank() == 3 {
            let mut layers = Vec::new();
            self.push(&mut layers, Layer::Gap)?;
            stages.push(stage("gap".to_owned(), layers));
        }
        let hidden = &self.architecture.hidden;
        for (index, &width) in hidden
            .iter()
            .chain([&self.architecture.classes])
            .enumerate()
        {
            let (name, mut layers) = (format!("head{index}"), Vec::new());
            let inputs = self.features.channels();
            let linear = Linear::new(&mut self.store, &name, inputs, width, true);
            self.push(&mut layers, Layer::Linear(linear))?;
            if index < hidden.len() {
                self.push(&mut layers, Layer::Relu)?;
            }
            stages.push(stage(name, layers));
        }
        Ok(stages)
    }
}
