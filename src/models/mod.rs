//! Networks as data: an ordered list of named units, lowered to layers.
//!
//! An [`Architecture`] says what the units are (the thirteen convolutions of VGG16, called 11 … 53);
//! a [`Treatment`] per unit says what is to be done to it. Lowering both gives a [`Network`]. One
//! definition of each architecture thus serves every data set and every intervention.

mod builder;
pub mod names;
mod resnet;
mod summary;
mod vgg;

use std::ops::Range;

pub use summary::{Row, Summary};

use crate::autograd::{Tape, Var};
use crate::device::Device;
use crate::nn::{self, Layer, Mode, Moment, Pass, Pool, Scope, Slot, Store};
use crate::ops::cast::Widen;
use crate::ops::spatial_shuffle::Mode as ShuffleMode;
use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result};

/// What is done to one unit of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Treatment {
    /// Nothing.
    Intact,
    /// The input of its convolution is shuffled; in a residual block that of the 3×3, and what the
    /// shortcut carries.
    Shuffle(ShuffleSetting),
    /// Its input is averaged over all positions and its convolution becomes a fully connected layer.
    GapFc,
    /// Its convolution becomes 1×1.
    Conv1x1,
    /// It is left out.
    Removed,
}

/// How a unit is shuffled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShuffleSetting {
    /// In training; `None` leaves the map alone.
    pub train: Option<ShuffleMode>,
    /// In test.
    pub test: Option<ShuffleMode>,
    /// Who shares a permutation.
    pub scope: Scope,
    /// Whether permutations without fixed points are drawn.
    pub derange: bool,
}

/// What stands in for the max-pooling behind a treated unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreatedPool {
    /// The convolution takes the pooling's stride and there is no pooling: the authors' CIFAR code.
    Stride,
    /// The max-pooling stays: the authors' ImageNet code.
    Max,
    /// An average-pooling of the same size.
    Average,
}

/// A network before anything is done to it.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// `vgg16`, …
    pub name: String,
    /// Extents of an image: rows, columns, channels.
    pub image: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// The units, in order.
    pub units: Vec<Unit>,
    /// What turns the last map into logits.
    pub head: Head,
    /// Whether batch normalisation follows each convolution.
    pub batch_norm: bool,
    /// Whether convolutions have a bias.
    pub conv_bias: bool,
    /// Whether the authors' GAP+FC variant has biases: in its convolutions, and in what replaces them.
    pub gap_fc_bias: bool,
    /// What happens to the pooling behind a treated unit.
    pub treated_pool: TreatedPool,
}

/// What turns the last map into logits: pooling and fully connected layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Rows and columns the map is averaged to. 1 is global average pooling; where it is more, the
    /// first fully connected layer sees every cell, as a convolution that covers the map.
    pub side: usize,
    /// Widths of the hidden fully connected layers, each with a ReLU.
    pub hidden: Vec<usize>,
    /// Share of the hidden values that are dropped in training.
    pub dropout: f64,
}

/// A unit: something an intervention can treat.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its index in the papers: stage · 10 + position, "43" being the third convolution of stage 4.
    pub index: u32,
    /// What it is.
    pub block: Block,
    /// Whether it is never treated.
    pub fixed: bool,
}

/// What a unit is before anything is done to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Block {
    /// Convolution, normalisation, ReLU and perhaps a pooling: a layer of VGG, the stem of a ResNet.
    Convolution {
        /// The convolution.
        filter: Filter,
        /// The pooling behind it.
        pool: Option<Pool>,
    },
    /// relu(body + shortcut) with the body 1×1, 3×3, 1×1: a block of a ResNet.
    Bottleneck {
        /// Channels of the 3×3 convolution.
        planes: usize,
        /// Output channels.
        width: usize,
        /// Stride of the 3×3 convolution and of the shortcut.
        stride: usize,
        /// Whether the shortcut is a 1×1 convolution instead of the identity.
        project: bool,
    },
}

/// A square convolution, padded to keep the map at stride 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Output channels.
    pub width: usize,
    /// Rows and columns.
    pub side: usize,
    /// Step.
    pub stride: usize,
}

/// The names [`Architecture::by_name`] knows.
pub const MODELS: [&str; 15] = [
    "vgg16",
    "vgg16-plain",
    "vgg16-torchvision",
    "vgg16-bn-torchvision",
    "vgg11",
    "vgg13",
    "vgg19",
    "vgg-small",
    "resnet50",
    "resnet50-cifar",
    "resnet50-imagenet",
    "resnet152",
    "resnet152-cifar",
    "resnet152-imagenet",
    "resnet-small",
];

/// A number of channels times the factor of [`Architecture::by_name`], at least 1.
fn scaled(channels: usize, width: f64) -> usize {
    ((channels as f64 * width).round() as usize).max(1)
}

impl Architecture {
    /// The architecture called `name` for images of these extents.
    ///
    /// `width` scales all channel counts (1 is the published network).
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown name or a width that leaves a layer without channels.
    pub fn by_name(name: &str, image: [usize; 3], classes: usize, width: f64) -> Result<Self> {
        if !(width > 0.0 && width <= 16.0) {
            return Err(Error::setting(
                "width",
                width,
                "expected a factor above 0 and at most 16",
            ));
        }
        let found = vgg::by_name(name, image, classes, width)
            .or_else(|| resnet::by_name(name, image, classes, width));
        found.ok_or_else(|| {
            let known = format!("known models: {}", MODELS.join(", "));
            Error::setting("model", name, known)
        })
    }

    /// The indices of the units that can be treated, in order: the cuts there are.
    pub fn cuts(&self) -> Vec<u32> {
        let free = self.units.iter().filter(|unit| !unit.fixed);
        free.map(|unit| unit.index).collect()
    }

    /// The network with one treatment per unit.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Shape`] where treatments contradict each other or the image is
    /// too small.
    pub fn lower(&self, treatments: &[Treatment]) -> Result<Network> {
        builder::lower(self, treatments)
    }
}

/// A unit of a lowered network.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The unit's index, or the name of a part of the head.
    pub name: String,
    /// What was done to it.
    pub treatment: Treatment,
    /// Its layers.
    pub layers: Vec<Layer>,
}

/// Layers and their tensors: something that can be run.
#[derive(Clone, Debug)]
pub struct Network {
    /// `vgg16`, …
    pub name: String,
    /// Extents of an image: rows, columns, channels.
    pub image: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Units and head, in order.
    pub stages: Vec<Stage>,
    /// Parameters and buffers.
    pub store: Store,
    /// Whether neighbouring layers run as one operation where they can. Results are the same; off, tests
    /// and benchmarks see what it changes.
    pub fused: bool,
}

/// What a recorded forward pass gives: the logits, and the parameters as leaves of the tape.
pub struct Forward {
    /// (N, classes); f32 where the network computes in half precision.
    pub logits: Var,
    /// The parameters that were used.
    pub leaves: Vec<(Slot, Var)>,
}

/// Every layer with the name of its stage.
fn placed(stages: &[Stage]) -> impl Iterator<Item = (&str, &Layer)> {
    stages.iter().flat_map(|stage| {
        let layers = stage.layers.iter();
        layers.map(|layer| (&*stage.name, layer))
    })
}

impl Network {
    /// Draws all first values.
    pub fn initialise(&mut self, seed: u64, dtype: DType, device: Device) -> Result<()> {
        self.store.initialise(seed, dtype, device)
    }

    /// Runs the network on images (N, H, W, C).
    ///
    /// # Errors
    /// What the layers say, with the name of the unit.
    pub fn forward(
        &mut self,
        tape: &mut Tape,
        mode: Mode,
        moment: Moment,
        images: Tensor,
    ) -> Result<Forward> {
        if images.dims().get(1..) != Some(&self.image[..]) {
            let what = format!("images {:?} expected, found {}", self.image, images.shape());
            return Err(Error::shape("network", what));
        }
        let images = images.cast(self.store.dtype())?;
        let images = Var::constant(images.to_device(self.store.device())?);
        self.forward_stages(tape, mode, moment, 0..self.stages.len(), images)
    }

    /// Runs the stages `range` on what the one before them gives; after the last that is the logits.
    ///
    /// # Errors
    /// What the layers say, with the name of the unit.
    pub fn forward_stages(
        &mut self,
        tape: &mut Tape,
        mode: Mode,
        moment: Moment,
        range: Range<usize>,
        mut x: Var,
    ) -> Result<Forward> {
        let ends = range.end == self.stages.len();
        let (names, layers): (Vec<&str>, Vec<&Layer>) = placed(&self.stages[range]).unzip();
        let mut pass = Pass::new(tape, &mut self.store, mode, moment);
        pass.fused = self.fused;
        for step in nn::steps(&layers, mode, self.fused) {
            pass.tape.enter_layer(names[step.first]);
            x = step.forward(&mut pass, x)?;
        }
        let logits = match ends {
            true => pass.tape.apply(Widen, &[&x])?,
            false => x,
        };
        let leaves = pass.into_leaves();
        Ok(Forward { logits, leaves })
    }

    /// What runs as one operation in `mode`: see [`nn::fusions`].
    pub fn fusions(&self, mode: Mode) -> Vec<String> {
        let layers: Vec<&Layer> = placed(&self.stages).map(|(_, layer)| layer).collect();
        nn::fusions(&layers, mode)
    }

    /// Number of trained numbers.
    pub fn parameters(&self) -> u64 {
        self.store.parameter_count()
    }

    /// Multiply-adds of one image.
    pub fn macs(&self) -> Result<u64> {
        Ok(self.summary()?.rows.iter().map(|row| row.macs).sum())
    }

    /// Whether two test passes can differ: a shuffle that draws anew acts in test.
    pub fn is_random_in_test(&self) -> bool {
        let layers = self.stages.iter().flat_map(|stage| &stage.layers);
        layers.into_iter().any(Layer::is_random_in_test)
    }

    /// Shows `see` every layer with its stage and the extents of its input, those of the branches of
    /// residual blocks included.
    pub fn visit(&self, mut see: impl FnMut(&Stage, &Layer, &Shape)) -> Result<()> {
        let mut shape = self.image_shape();
        for stage in &self.stages {
            for layer in &stage.layers {
                shape = layer.visit(&shape, &mut |layer, input| see(stage, layer, input))?;
            }
        }
        Ok(())
    }

    /// Extents of one image as a shape.
    pub fn image_shape(&self) -> Shape {
        self.image.into()
    }

    /// The network as a table.
    pub fn summary(&self) -> Result<Summary> {
        Summary::of(self)
    }
}
