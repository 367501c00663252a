//! Launches of `kernels/transform.cu`: batches from a data set of bytes that is on the device.

use super::elementwise::{pick, refuse_unaligned};
use super::image::{Images, THREADS, blocks};
use super::params::TransformParams;
use super::{Address, Launch};
use crate::rng::Purpose;
use crate::tensor::DType;
use crate::{Error, Result};

const OP: &str = "transform";
/// Vectors of a thread.
const STEPS: usize = 4;

/// A batch of RGB images, and how they are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Images of the data set.
    pub samples: usize,
    /// Images of the batch.
    pub batch: usize,
    /// Height and width.
    pub map: [usize; 2],
    /// By how many pixels images are moved at most, and that they are mirrored; `None` for neither.
    pub pad: Option<usize>,
    /// The run's seed.
    pub seed: u64,
    /// The epoch, where [`Buffers::epoch`] is null.
    pub epoch: u64,
}

/// What a launch reads and writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffers {
    /// The data set, u8, [samples, H, W, 3].
    pub images: Address,
    /// Its labels, i32, \[samples\], or null.
    pub labels: Address,
    /// The samples of the batch, i32, \[batch\].
    pub indices: Address,
    /// The epoch, two words of 32 bits, low one first; null for the one of the batch.
    pub epoch: Address,
    /// What the bytes of each channel become, f32, [3, 256].
    pub table: Address,
    /// Written: the batch, [batch, H, W, 3].
    pub to: Address,
    /// Written: its labels, i32, \[batch\]; null where there are none.
    pub to_labels: Address,
}

/// The batch in `dtype`.
///
/// # Errors
/// [`Error`] for sizes, a dtype or addresses the kernels do not do.
pub fn launch(dtype: DType, batch: Batch, b: Buffers) -> Result<Launch> {
    let images = Images {
        batch: batch.batch,
        map: batch.map,
        channels: 3,
    };
    images.refuse_impossible(OP)?;
    refuse_unaligned(OP, &[b.to])?;
    let pad = batch.pad.unwrap_or(0);
    if batch.samples == 0 || batch.samples > i32::MAX as usize || pad > u16::MAX as usize {
        let what = format!("{} samples moved by up to {pad} pixels", batch.samples);
        return Err(Error::shape(OP, what));
    }
    let size = 16 / dtype.size();
    let (kernels, size) = match images.image().is_multiple_of(size) {
        true => (
            [
                "transform_vector_f32",
                "transform_vector_f16",
                "transform_vector_bf16",
            ],
            size,
        ),
        false => (
            [
                "transform_scalar_f32",
                "transform_scalar_f16",
                "transform_scalar_bf16",
            ],
            1,
        ),
    };
    let words = |n: u64| [n as u32, (n >> 32) as u32];
    let params = TransformParams {
        seed: words(batch.seed),
        epoch: words(batch.epoch),
        purpose: Purpose::Augment as u32,
        augment: batch.pad.is_some() as u32,
        pad: pad as u32,
        samples: batch.samples as u32,
        height: batch.map[0] as u32,
        width: batch.map[1] as u32,
    };
    let chunks = blocks(OP, images.image().div_ceil(THREADS * STEPS * size))?;
    let grid = [chunks, batch.batch as u32, 1];
    let launch = Launch::new(pick(OP, dtype, kernels)?, grid, THREADS as u32).params(params);
    let pointers = [
        b.images,
        b.labels,
        b.indices,
        b.epoch,
        b.table,
        b.to,
        b.to_labels,
    ];
    Ok(pointers.into_iter().fold(launch, Launch::pointer))
}
