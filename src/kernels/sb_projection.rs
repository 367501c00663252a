//! Launches of `kernels/sb_projection.cu`: channels to a few concepts, with their loss, and the vjp.

use super::elementwise::{pick, refuse_unaligned};
use super::image::{THREADS, blocks, vector};
use super::params::{MeanParams, SbProjectionParams};
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

const OP: &str = "sb_projection";
/// Rows, concepts and channels of a tile.
const TILE_ROWS: usize = 64;
const TILE_CONCEPTS: usize = 80;
const TILE_CHANNELS: usize = 128;
/// Blocks wanted for the gradient of W: a few for each multiprocessor.
const WANTED_BLOCKS: usize = 512;
/// Rows of a part at least, so that its sums are small beside what they are made of.
const LEAST_ROWS: usize = 256;

/// Sizes of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projection {
    /// Rows: pixels of a batch of maps.
    pub rows: usize,
    /// Channels of x.
    pub channels: usize,
    /// Concepts.
    pub concepts: usize,
}

/// The concepts' labels, for the loss; [rows, concepts] each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Labels {
    /// Targets, 0 to 1.
    pub targets: Address,
    /// Mask: 0 where a label is not known.
    pub mask: Address,
    /// Weights, or null.
    pub weights: Address,
}

/// Operands and results of the forward pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forward {
    /// x, [rows, channels].
    pub x: Address,
    /// W, [concepts, channels].
    pub weight: Address,
    /// b, \[concepts\].
    pub bias: Address,
    /// What the loss compares with; no loss without.
    pub labels: Option<Labels>,
    /// Written: z, [rows, concepts].
    pub logits: Address,
    /// Written: σ(z), [rows, concepts]; null if it is not wanted.
    pub concepts: Address,
    /// Written where there are labels: f32 \[2\]: the loss and Σ m.
    pub result: Address,
    /// Written where there are labels: the loss, a scalar of the dtype of x.
    pub loss: Address,
    /// f32s that may be overwritten, [`Projection::forward_scratch`] of them.
    pub scratch: Address,
}

/// Operands and results of the vjp; `labels`, `logits` and `result` are the forward pass's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backward {
    /// x, [rows, channels].
    pub x: Address,
    /// W, [concepts, channels].
    pub weight: Address,
    /// What the loss compared with.
    pub labels: Option<Labels>,
    /// z, [rows, concepts].
    pub logits: Address,
    /// f32 \[2\], where there are labels.
    pub result: Address,
    /// The loss's cotangent where there are labels: a scalar of the dtype of x.
    pub loss_cotangent: Address,
    /// The cotangent of the concepts, [rows, concepts], or null.
    pub concept_cotangent: Address,
    /// Whether the concepts are σ(z), and not z itself.
    pub activated: bool,
    /// Written: f32 [rows, concepts], the gradient of z.
    pub dz: Address,
    /// Written: the gradient of x; null if it is not wanted.
    pub dx: Address,
    /// Written: the gradient of W; null if neither it nor that of b is wanted.
    pub dw: Address,
    /// Written with `dw`: the gradient of b.
    pub db: Address,
    /// f32s that may be overwritten, [`Projection::backward_scratch`] of them; needed for `dw`.
    pub scratch: Address,
}

impl Projection {
    /// f32s of scratch of the forward pass.
    pub fn forward_scratch(&self) -> usize {
        2 * self.row_tiles() * self.concept_tiles()
    }

    /// f32s of scratch of the vjp.
    pub fn backward_scratch(&self) -> usize {
        self.parts() * (self.channels + 1) * self.concepts
    }

    fn row_tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    fn concept_tiles(&self) -> usize {
        self.concepts.div_ceil(TILE_CONCEPTS)
    }

    fn channel_tiles(&self) -> usize {
        self.channels.div_ceil(TILE_CHANNELS)
    }

    fn rows_per_part(&self) -> usize {
        let tiles = (self.channel_tiles() * self.concept_tiles()).max(1);
        let wanted = WANTED_BLOCKS.div_ceil(tiles);
        self.rows.div_ceil(wanted).max(LEAST_ROWS)
    }

    fn parts(&self) -> usize {
        self.rows.div_ceil(self.rows_per_part())
    }

    fn params(&self, dtype: DType, activated: bool) -> Result<SbProjectionParams> {
        let Projection {
            rows,
            channels,
            concepts,
        } = *self;
        let fits = |n: usize| (1..=i32::MAX as usize / 2).contains(&n);
        let product = |a: usize, b: usize| a.checked_mul(b).is_some_and(fits);
        if ![rows, channels, concepts].into_iter().all(fits) || !product(channels, concepts) {
            let what = format!("{rows} rows, {channels} channels, {concepts} concepts");
            return Err(Error::shape(OP, what));
        }
        Ok(SbProjectionParams {
            rows: rows as u32,
            channels: channels as u32,
            concepts: concepts as u32,
            aligned: vector(dtype, channels).is_some() as u32,
            concept_tiles: self.concept_tiles() as u32,
            channel_tiles: self.channel_tiles() as u32,
            parts: self.parts() as u32,
            rows_per_part: self.rows_per_part() as u32,
            activated: activated as u32,
        })
    }
}

/// The projection, and its loss where there are labels.
///
/// # Errors
/// [`Error`] for sizes, a dtype or addresses the kernels do not do.
pub fn forward(dtype: DType, sizes: Projection, f: Forward) -> Result<Vec<Launch>> {
    let params = sizes.params(dtype, f.concepts != Address::default())?;
    refuse_unaligned(OP, &[f.x, f.weight])?;
    let kernels = [
        "sb_projection_f32",
        "sb_projection_f16",
        "sb_projection_bf16",
    ];
    let count = blocks(OP, sizes.row_tiles() * sizes.concept_tiles())?;
    let labels = f.labels.unwrap_or_default();
    let pointers = [
        f.x,
        f.weight,
        f.bias,
        labels.targets,
        labels.mask,
        labels.weights,
        f.logits,
        f.concepts,
        f.scratch,
    ];
    let mut launches = vec![launch(pick(OP, dtype, kernels)?, count, params, &pointers)];
    if f.labels.is_some() {
        let kernels = [
            "sb_projection_mean_f32",
            "sb_projection_mean_f16",
            "sb_projection_mean_bf16",
        ];
        let mean = Launch::new(pick(OP, dtype, kernels)?, [1, 1, 1], THREADS as u32);
        let mean = mean.params(MeanParams { blocks: count });
        launches.push(mean.pointer(f.scratch).pointer(f.result).pointer(f.loss));
    }
    Ok(launches)
}

/// The vjp.
///
/// # Errors
/// As [`forward`].
pub fn backward(dtype: DType, sizes: Projection, b: Backward) -> Result<Vec<Launch>> {
    let params = sizes.params(dtype, b.activated)?;
    refuse_unaligned(OP, &[b.x, b.weight, b.dz, b.dx])?;
    let labels = b.labels.unwrap_or_default();
    let kernels = [
        "sb_projection_dz_f32",
        "sb_projection_dz_f16",
        "sb_projection_dz_bf16",
    ];
    let pointers = [
        b.logits,
        labels.targets,
        labels.mask,
        labels.weights,
        b.concept_cotangent,
        b.result,
        b.loss_cotangent,
        b.dz,
    ];
    let count = blocks(OP, (sizes.rows * sizes.concepts).div_ceil(THREADS))?;
    let mut launches = vec![launch(pick(OP, dtype, kernels)?, count, params, &pointers)];
    if b.dx != Address::default() {
        let kernels = [
            "sb_projection_dx_f32",
            "sb_projection_dx_f16",
            "sb_projection_dx_bf16",
        ];
        let count = blocks(OP, sizes.row_tiles() * sizes.channel_tiles())?;
        let pointers = [b.dz, b.weight, b.dx];
        launches.push(launch(pick(OP, dtype, kernels)?, count, params, &pointers));
    }
    if b.dw != Address::default() {
        let kernels = [
            "sb_projection_dw_f32",
            "sb_projection_dw_f16",
            "sb_projection_dw_bf16",
        ];
        let tiles = sizes.channel_tiles() * sizes.concept_tiles();
        let count = blocks(OP, tiles * sizes.parts())?;
        let pointers = [b.dz, b.x, b.scratch];
        launches.push(launch(pick(OP, dtype, kernels)?, count, params, &pointers));
        let kernels = [
            "sb_projection_sum_f32",
            "sb_projection_sum_f16",
            "sb_projection_sum_bf16",
        ];
        let count = blocks(
            OP,
            ((sizes.channels + 1) * sizes.concepts).div_ceil(THREADS),
        )?;
        let pointers = [b.scratch, b.dw, b.db];
        launches.push(launch(pick(OP, dtype, kernels)?, count, params, &pointers));
    }
    Ok(launches)
}

fn launch(
    kernel: &'static str,
    count: u32,
    params: SbProjectionParams,
    pointers: &[Address],
) -> Launch {
    let launch = Launch::new(kernel, [count, 1, 1], THREADS as u32).params(params);
    pointers.iter().copied().fold(launch, Launch::pointer)
}
