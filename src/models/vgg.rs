//! VGG (Simonyan, Zisserman 2015) as Fan et al. 2020 use it (papers: section 1.4-1.6).
//!
//! Each unit is a 3×3 convolution, batch normalisation and ReLU; a 2×2 max-pooling ends each stage.
//! The head is global average pooling and fully connected layers, without dropout.

use super::{Architecture, Block, Filter, Head, TreatedPool, Unit, scaled};
use crate::nn::Pool;

/// What tells one VGG from another.
struct Plan {
    /// Convolutions of each stage.
    depths: &'static [usize],
    /// Channels of each stage.
    widths: &'static [usize],
    batch_norm: bool,
    /// Biases in the convolutions of the network itself.
    conv_bias: bool,
    head: Head,
}

/// The head of the paper: averages, and two hidden layers without dropout.
fn gap_head(hidden: &[usize]) -> Head {
    Head {
        side: 1,
        hidden: hidden.to_vec(),
        dropout: 0.0,
    }
}

fn plan(name: &str) -> Option<Plan> {
    const WIDTHS: &[usize] = &[64, 128, 256, 512, 512];
    const HIDDEN: &[usize] = &[4096, 4096];
    if name == "vgg-small" {
        return Some(Plan {
            depths: &[2, 2, 2],
            widths: &[16, 32, 64],
            batch_norm: true,
            conv_bias: false,
            head: gap_head(&[]),
        });
    }
    let (depth, variant) = name.split_once('-').unwrap_or((name, ""));
    let depths: &[usize] = match depth {
        "vgg11" => &[1, 1, 2, 2, 2],
        "vgg13" => &[2, 2, 2, 2, 2],
        "vgg16" => &[2, 2, 3, 3, 3],
        "vgg19" => &[2, 2, 4, 4, 4],
        _ => return None,
    };
    // torchvision's: every cell of a 7×7 map reaches the first hidden layer.
    let flat_head = Head {
        side: 7,
        dropout: 0.5,
        ..gap_head(HIDDEN)
    };
    let (batch_norm, conv_bias, head) = match variant {
        "" => (true, false, gap_head(HIDDEN)),
        "plain" => (false, true, gap_head(HIDDEN)),
        "torchvision" => (false, true, flat_head),
        "bn-torchvision" => (true, true, flat_head),
        _ => return None,
    };
    Some(Plan {
        depths,
        widths: WIDTHS,
        batch_norm,
        conv_bias,
        head,
    })
}

/// The VGG called `name`, or `None` if there is none.
///
/// `vgg16-plain` has no batch normalisation. `vgg16-torchvision` and `vgg16-bn-torchvision` are
/// torchvision's `vgg16` and `vgg16_bn`, with the 7×7 map before their head and dropout in it.
pub fn by_name(name: &str, image: [usize; 3], classes: usize, width: f64) -> Option<Architecture> {
    let plan = plan(name)?;
    let mut units = Vec::new();
    for (stage, (&depth, &channels)) in plan.depths.iter().zip(plan.widths).enumerate() {
        units.extend((1..=depth).map(|position| Unit {
            index: (10 * (stage + 1) + position) as u32,
            block: Block::Convolution {
                filter: Filter {
                    width: scaled(channels, width),
                    side: 3,
                    stride: 1,
                },
                pool: (position == depth).then_some(Pool::max(2)),
            },
            fixed: false,
        }));
    }
    let hidden = plan.head.hidden.iter().map(|&h| scaled(h, width));
    Some(Architecture {
        name: name.to_owned(),
        image,
        classes,
        units,
        head: Head {
            hidden: hidden.collect(),
            ..plan.head
        },
        batch_norm: plan.batch_norm,
        conv_bias: plan.conv_bias,
        gap_fc_bias: true,
        treated_pool: match image[0] > 64 {
            true => TreatedPool::Max,
            false => TreatedPool::Stride,
        },
    })
}
