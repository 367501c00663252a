//! What the planners of kernels on NHWC maps share.

use crate::tensor::DType;
use crate::{Error, Result};

/// Threads of a block.
pub(super) const THREADS: usize = 256;

/// Maps of one kind: a batch of images, NHWC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    /// Images.
    pub batch: usize,
    /// Height and width.
    pub map: [usize; 2],
    /// Channels.
    pub channels: usize,
}

/// [N, H, W, C].
impl From<[usize; 4]> for Images {
    fn from([batch, height, width, channels]: [usize; 4]) -> Self {
        Images {
            batch,
            map: [height, width],
            channels,
        }
    }
}

impl Images {
    /// Elements of one image.
    pub fn image(&self) -> usize {
        self.map[0] * self.map[1] * self.channels
    }

    /// Elements of all images.
    pub fn len(&self) -> usize {
        self.batch * self.image()
    }

    /// Whether there is no element at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses maps without an element, images whose elements a 32-bit integer cannot count, and more
    /// images than a grid has rows.
    pub(super) fn refuse_impossible(&self, op: &'static str) -> Result<()> {
        let Images {
            batch,
            map: [height, width],
            channels,
        } = *self;
        let image = height
            .checked_mul(width)
            .and_then(|n| n.checked_mul(channels));
        if batch == 0 || batch > 65535 {
            let what = format!("a batch of {batch} images; the kernels do 1 to 65535");
            return Err(Error::shape(op, what));
        }
        if image.is_none_or(|n| n == 0 || n > i32::MAX as usize) {
            let what = format!("images of {height}x{width} pixels and {channels} channels");
            return Err(Error::shape(op, what));
        }
        Ok(())
    }
}

/// Elements of a 16-byte vector, or `None` where channels do not divide into vectors.
pub(super) fn vector(dtype: DType, channels: usize) -> Option<usize> {
    let size = 16 / dtype.size();
    channels.is_multiple_of(size).then_some(size)
}

/// Blocks of a grid's first dimension.
pub(super) fn blocks(op: &'static str, count: usize) -> Result<u32> {
    match u32::try_from(count) {
        Ok(count) if count <= i32::MAX as u32 => Ok(count),
        _ => Err(Error::shape(op, format!("a grid of {count} blocks"))),
    }
}

/// A pair of sizes as a kernel takes it.
pub(super) fn pair(sizes: [usize; 2]) -> [u32; 2] {
    sizes.map(|size| size as u32)
}
