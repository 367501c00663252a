//! ResNet with bottlenecks (He et al. 2015; "v1.5", whose stride sits on the 3×3) as Fan et al. 2020
//! use it (papers: section 1.4).
//!
//! The units are the stem and the blocks. A block is relu(body + shortcut); its body is a 1×1, a 3×3
//! and a 1×1 convolution, its shortcut the identity or, in the first block of a stage, a 1×1
//! convolution. The head is global average pooling and one fully connected layer.
//!
//! Units are called as in the paper's experiments: the stem 0, the blocks of a stage of ResNet50 10,
//! 11, 12, those of the deeper ResNet152 100, 101, …. Nothing before stage 2 of a ResNet152 is treated.

use super::builder::Builder;
use super::{Architecture, Block, Filter, Head, TreatedPool, Treatment, Unit, scaled};
use crate::Result;
use crate::nn::{Layer, Pool, PoolKind, Residual};

/// Output channels of a block over those of its 3×3 convolution.
const EXPANSION: usize = 4;

/// A shortcut's permutations are drawn apart from its body's: this bit is set in the layer
/// coordinate of their random key.
const SHORTCUT: u32 = 1 << 16;

/// What tells one ResNet from another.
struct Plan {
    /// Blocks of each stage.
    depths: &'static [usize],
    /// Channels of the stem and of the first stage's 3×3 convolutions; they double with every stage.
    planes: usize,
    /// Distance between the indices of two stages.
    decade: u32,
    /// First unit that can be treated.
    first_cut: u32,
}

fn plan(name: &str) -> Option<Plan> {
    let (depths, planes, decade, first_cut) = match name {
        "resnet50" => (&[3, 4, 6, 3][..], 64, 10, 0),
        "resnet152" => (&[3, 8, 36, 3][..], 64, 100, 200),
        "resnet-small" => (&[2, 2, 2][..], 8, 10, 0),
        _ => return None,
    };
    Some(Plan {
        depths,
        planes,
        decade,
        first_cut,
    })
}

/// The ResNet called `name`, or `None` if there is none.
///
/// `resnet50` takes the stem for its images: 3×3 up to 64 pixels, 7×7/2 and a max-pooling above.
/// `resnet50-cifar` and `resnet50-imagenet` name the stem.
pub fn by_name(name: &str, image: [usize; 3], classes: usize, width: f64) -> Option<Architecture> {
    let (base, large) = match name.split_once('-') {
        Some((base, "cifar")) => (base, false),
        Some((base, "imagenet")) => (base, true),
        _ => (name, image[0] > 64 && name != "resnet-small"),
    };
    let plan = plan(base)?;
    let mut units = vec![stem(scaled(plan.planes, width), large)];
    for (stage, &depth) in plan.depths.iter().enumerate() {
        let planes = scaled(plan.planes << stage, width);
        units.extend((0..depth).map(|position| Unit {
            index: plan.decade * (stage as u32 + 1) + position as u32,
            block: Block::Bottleneck {
                planes,
                width: EXPANSION * planes,
                stride: if stage > 0 && position == 0 { 2 } else { 1 },
                project: position == 0,
            },
            fixed: false,
        }));
    }
    for unit in &mut units {
        unit.fixed = unit.index < plan.first_cut;
    }
    Some(Architecture {
        name: name.to_owned(),
        image,
        classes,
        units,
        head: Head {
            side: 1,
            ..Head::default()
        },
        batch_norm: true,
        conv_bias: false,
        gap_fc_bias: false,
        treated_pool: TreatedPool::Max,
    })
}

fn stem(width: usize, large: bool) -> Unit {
    let pool = Pool {
        kind: PoolKind::Max,
        size: 3,
        stride: 2,
        padding: 1,
    };
    Unit {
        index: 0,
        block: Block::Convolution {
            filter: Filter {
                width,
                side: if large { 7 } else { 3 },
                stride: if large { 2 } else { 1 },
            },
            pool: large.then_some(pool),
        },
        fixed: false,
    }
}

impl Builder<'_> {
    /// A block. What a treatment does to a convolution it does to the 3×3; a shuffle also shuffles
    /// what the shortcut carries, with permutations of its own.
    pub(super) fn bottleneck(
        &mut self,
        layers: &mut Vec<Layer>,
        unit: &Unit,
        [planes, width, stride]: [usize; 3],
        project: bool,
        treatment: Treatment,
    ) -> Result<()> {
        let named = |part: &str| format!("block{}.{part}", unit.index);
        let input = self.features().clone();
        // Where positions are gone there is no map to take every second pixel of.
        let stride = if input.rank() == 1 { 1 } else { stride };
        let pointwise = |width, stride| Filter {
            width,
            side: 1,
            stride,
        };
        let middle = Filter {
            width: planes,
            side: 3,
            stride,
        };
        let mut body = Vec::new();
        self.convolution(&mut body, &named("conv1"), pointwise(planes, 1))?;
        self.normalise(&mut body, &named("bn1"), true)?;
        let names = [named("conv2"), named("fc2")];
        self.treated_convolution(&mut body, names, middle, treatment, unit.index)?;
        self.normalise(&mut body, &named("bn2"), true)?;
        self.convolution(&mut body, &named("conv3"), pointwise(width, 1))?;
        self.normalise(&mut body, &named("bn3"), false)?;

        self.back_to(input.clone());
        let mut shortcut = Vec::new();
        self.shuffle(&mut shortcut, treatment, unit.index | SHORTCUT)?;
        if project {
            let name = named("shortcut.conv");
            self.convolution(&mut shortcut, &name, pointwise(width, stride))?;
            self.normalise(&mut shortcut, &named("shortcut.bn"), false)?;
        }
        self.back_to(input);
        self.push(layers, Layer::Residual(Residual { body, shortcut }))
    }
}
