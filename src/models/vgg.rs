//! VGG (Simonyan, Zisserman 2015) as Fan et al. 2020 use it (papers: section 1.4-1.6).
//!
//! Each unit is a 3×3 convolution, batch normalisation and ReLU; a 2×2 max-pooling ends each stage.
//! The head is global average pooling and fully connected layers, without dropout.

use super::{Architecture, Block, Filter, TreatedPool, Unit, scaled};
use crate::nn::Pool;

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
    let mut units = Vec::new();
    for (stage, (&depth, &channels)) in depths.iter().zip(widths).enumerate() {
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
    Some(Architecture {
        name: name.to_owned(),
        image,
        classes,
        units,
        hidden: hidden.iter().map(|&h| scaled(h, width)).collect(),
        batch_norm,
        conv_bias: !batch_norm,
        gap_fc_bias: true,
        treated_pool: match image[0] > 64 {
            true => TreatedPool::Max,
            false => TreatedPool::Stride,
        },
    })
}
