//! Launches of `kernels/dropout.cu`: y = x · m, by element or by channel.

use super::columns::{BLOCKS, Cut, THREADS};
use super::elementwise::{VECTOR, blocks, pick, refuse_unaligned};
use super::key::KeySource;
use super::params::DropoutParams;
use super::{Address, Launch};
use crate::cpu::dropout::Mask;
use crate::tensor::DType;
use crate::{Error, Result};

const NAME: &str = "dropout";
const CHANNELS: [[&str; 3]; 2] = [
    [
        "dropout_channels_f32",
        "dropout_channels_f16",
        "dropout_channels_bf16",
    ],
    [
        "dropout_channels_scalar_f32",
        "dropout_channels_scalar_f16",
        "dropout_channels_scalar_bf16",
    ],
];

/// A mask as the kernels take it.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The key.
    pub key: KeySource,
    /// Words below it drop.
    pub threshold: u64,
    /// What the others are multiplied by.
    pub kept: f32,
}

impl From<Mask> for Draw {
    fn from(mask: Mask) -> Self {
        Draw {
            key: mask.key.into(),
            threshold: mask.threshold(),
            kept: mask.kept() as f32,
        }
    }
}

fn params(draw: Draw) -> DropoutParams {
    DropoutParams {
        elements: 0,
        threshold: draw.threshold,
        key: draw.key.params(),
        kept: draw.kept,
        pixels: 0,
        channels: 0,
        vectors: 1,
        slab_rows: 0,
        padding: 0,
    }
}

/// A mask value for each of `elements` elements.
///
/// # Errors
/// [`Error::DType`]; [`Error::Shape`] for no elements and unaligned addresses.
pub fn elements(
    dtype: DType,
    mask: impl Into<Draw>,
    elements: usize,
    x: Address,
    y: Address,
) -> Result<Launch> {
    refuse_unaligned(NAME, &[x, y])?;
    let draw = mask.into();
    let kernel = pick(NAME, dtype, ["dropout_f32", "dropout_f16", "dropout_bf16"])?;
    let blocks = blocks(NAME, elements, VECTOR / dtype.size())?;
    let params = DropoutParams {
        elements: elements as u64,
        ..params(draw)
    };
    Ok(Launch::new(kernel, [blocks, 1, 1], THREADS as u32)
        .params(params)
        .pointer(draw.key.step())
        .pointer(x)
        .pointer(y))
}

/// A mask value for each channel of each image of [batch, pixels, channels].
///
/// # Errors
/// As [`elements`], and for more than 65535 images.
pub fn channels(
    dtype: DType,
    mask: impl Into<Draw>,
    [batch, pixels, channels]: [usize; 3],
    x: Address,
    y: Address,
) -> Result<Launch> {
    refuse_unaligned(NAME, &[x, y])?;
    if batch == 0 || batch > 65535 {
        let what = format!("a batch of {batch} images; the kernels do 1 to 65535");
        return Err(Error::shape(NAME, what));
    }
    let draw = mask.into();
    let cut = Cut::new(NAME, dtype, pixels, channels, BLOCKS.div_ceil(batch))?;
    let params = DropoutParams {
        pixels: cut.rows,
        channels: cut.channels,
        vectors: cut.vectors,
        slab_rows: cut.slab_rows,
        ..params(draw)
    };
    let grid = [cut.columns, cut.slabs, batch as u32];
    let kernel = cut.pick(NAME, dtype, CHANNELS)?;
    Ok(Launch::new(kernel, grid, THREADS as u32)
        .params(params)
        .pointer(draw.key.step())
        .pointer(x)
        .pointer(y))
}
