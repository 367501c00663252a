//! Launches of `kernels/sb_projection*.cu`: channels to a few concepts, with their loss, and the vjp.

use super::conv2d::Math;
use super::elementwise::{pick, refuse_unaligned};
use super::image::{THREADS, blocks, vector};
use super::params::{MeanParams, SbProjectionParams};
use super::{Address, Launch};
use crate::{Error, Result};

const OP: &str = "sb_projection";
/// Bytes of a slab's depth, and slabs under way; twice as many in small tiles of the forward pass.
const SLAB: usize = 64;
const STAGES: usize = 4;
/// Concepts of a tile of all kernels; rows or channels of one of the gradients'.
const TILE_CONCEPTS: usize = 80;
const TILE_SIDE: usize = 128;
/// Rows of a tile of the forward pass.
const SMALL_ROWS: usize = 64;
const LARGE_ROWS: usize = 256;
/// Large tiles must be as many as an H100 has multiprocessors, or nearly; else small ones serve better.
const LARGE_TILES: usize = 128;
/// Blocks wanted for the gradient of W: two for each multiprocessor.
const WANTED_BLOCKS: usize = 264;
/// Rows of a part at least, so that its sums are small beside what they are made of.
const LEAST_ROWS: usize = 256;
/// Rows of a part are a multiple of this: whole slabs.
const PART_STEP: usize = 32;

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
    /// Written: the gradient of z, [rows, [`Projection::pitch`]].
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
        2 * self.rows.div_ceil(SMALL_ROWS) * self.concept_tiles()
    }

    /// f32s of scratch of the vjp.
    pub fn backward_scratch(&self) -> usize {
        self.parts() * (self.channels + 1) * self.concepts
    }

    /// Elements from one row of dz to the next: the concepts, up to a multiple of 16 bytes.
    pub fn pitch(&self, math: Math) -> usize {
        self.concepts.next_multiple_of(16 / math.dtype().size())
    }

    fn concept_tiles(&self) -> usize {
        self.concepts.div_ceil(TILE_CONCEPTS)
    }

    fn channel_tiles(&self) -> usize {
        self.channels.div_ceil(TILE_SIDE)
    }

    fn rows_per_part(&self) -> usize {
        let tiles = (self.channel_tiles() * self.concept_tiles()).max(1);
        let wanted = WANTED_BLOCKS.div_ceil(tiles);
        let rows = self.rows.div_ceil(wanted).max(LEAST_ROWS);
        rows.next_multiple_of(PART_STEP)
    }

    fn parts(&self) -> usize {
        self.rows.div_ceil(self.rows_per_part())
    }

    fn params(&self, math: Math, activated: bool) -> Result<SbProjectionParams> {
        let Projection {
            rows,
            channels,
            concepts,
        } = *self;
        let fits = |n: usize| (1..=i32::MAX as usize / 2).contains(&n);
        let product = |a: usize, b: usize| a.checked_mul(b).is_some_and(fits);
        let all = [rows, channels, concepts].into_iter().all(fits);
        if !all || !product(channels, concepts) || !product(rows, self.pitch(math)) {
            let what = format!("{rows} rows, {channels} channels, {concepts} concepts");
            return Err(Error::shape(OP, what));
        }
        Ok(SbProjectionParams {
            rows: rows as u32,
            channels: channels as u32,
            concepts: concepts as u32,
            pitch: self.pitch(math) as u32,
            aligned: vector(math.dtype(), channels).is_some() as u32,
            concept_tiles: self.concept_tiles() as u32,
            channel_tiles: self.channel_tiles() as u32,
            parts: self.parts() as u32,
            rows_per_part: self.rows_per_part() as u32,
            activated: activated as u32,
        })
    }

    /// Whether tensor cores do the products: where the arithmetic asks for them and channels are whole
    /// vectors.
    fn on_tensor_cores(&self, math: Math) -> bool {
        math != Math::F32 && vector(math.dtype(), self.channels).is_some()
    }

    /// Rows of a tile of the forward pass.
    fn rows_of_tile(&self, math: Math) -> usize {
        let large = self.rows.div_ceil(LARGE_ROWS) * self.concept_tiles() >= LARGE_TILES;
        match self.on_tensor_cores(math) && large {
            true => LARGE_ROWS,
            false => SMALL_ROWS,
        }
    }
}

/// Kernels on tensor cores: the forward pass with small and with large tiles, the gradients of x and W.
fn mma(math: Math) -> [&'static str; 4] {
    match math {
        Math::F32 | Math::Tf32 => [
            "sb_projection_mma_64_tf32",
            "sb_projection_mma_256_tf32",
            "sb_projection_mma_dx_tf32",
            "sb_projection_mma_dw_tf32",
        ],
        Math::F16 => [
            "sb_projection_mma_64_f16",
            "sb_projection_mma_256_f16",
            "sb_projection_mma_dx_f16",
            "sb_projection_mma_dw_f16",
        ],
        Math::Bf16 => [
            "sb_projection_mma_64_bf16",
            "sb_projection_mma_256_bf16",
            "sb_projection_mma_dx_bf16",
            "sb_projection_mma_dw_bf16",
        ],
    }
}

/// The projection, and its loss where there are labels.
///
/// # Errors
/// [`Error`] for sizes or addresses the kernels do not do.
pub fn forward(math: Math, sizes: Projection, f: Forward) -> Result<Vec<Launch>> {
    forward_by(math, sizes, f, sizes.rows_of_tile(math))
}

/// The same with tiles of so many rows, to compare them: 64, or 256 on tensor cores.
///
/// # Errors
/// As [`forward`], and for other tiles.
pub fn forward_by(math: Math, sizes: Projection, f: Forward, rows: usize) -> Result<Vec<Launch>> {
    let params = sizes.params(math, f.concepts != Address::default())?;
    refuse_unaligned(OP, &[f.x, f.weight])?;
    let count = blocks(OP, sizes.rows.div_ceil(rows) * sizes.concept_tiles())?;
    let [small, large, ..] = mma(math);
    let launch = match (sizes.on_tensor_cores(math), rows) {
        (false, SMALL_ROWS) => {
            let kernels = [
                "sb_projection_f32",
                "sb_projection_f16",
                "sb_projection_bf16",
            ];
            plain(pick(OP, math.dtype(), kernels)?, count)
        }
        (true, SMALL_ROWS) => tiled(small, count, 128, 2 * STAGES * (TILE_CONCEPTS + rows)),
        (true, LARGE_ROWS) => tiled(large, count, 256, STAGES * (TILE_CONCEPTS + rows)),
        _ => return Err(Error::shape(OP, format!("tiles of {rows} rows"))),
    };
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
    let mut launches = vec![with(launch, params, &pointers)];
    if f.labels.is_some() {
        let kernels = [
            "sb_projection_mean_f32",
            "sb_projection_mean_f16",
            "sb_projection_mean_bf16",
        ];
        let mean = plain(pick(OP, math.dtype(), kernels)?, 1);
        let mean = mean.params(MeanParams { blocks: count });
        launches.push(mean.pointer(f.scratch).pointer(f.result).pointer(f.loss));
    }
    Ok(launches)
}

/// The vjp.
///
/// # Errors
/// As [`forward`].
pub fn backward(math: Math, sizes: Projection, b: Backward) -> Result<Vec<Launch>> {
    let params = sizes.params(math, b.activated)?;
    let dtype = math.dtype();
    refuse_unaligned(OP, &[b.x, b.weight, b.dz, b.dx, b.scratch])?;
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
    let count = blocks(OP, (sizes.rows * sizes.pitch(math)).div_ceil(THREADS))?;
    let dz = plain(pick(OP, dtype, kernels)?, count);
    let mut launches = vec![with(dz, params, &pointers)];
    let [.., mma_dx, mma_dw] = mma(math);
    let tensor_cores = sizes.on_tensor_cores(math);
    if b.dx != Address::default() {
        let rows = if tensor_cores { TILE_SIDE } else { SMALL_ROWS };
        let count = blocks(OP, sizes.rows.div_ceil(rows) * sizes.channel_tiles())?;
        let kernels = [
            "sb_projection_dx_f32",
            "sb_projection_dx_f16",
            "sb_projection_dx_bf16",
        ];
        let dx = match tensor_cores {
            true => tiled(mma_dx, count, 256, STAGES * 2 * TILE_SIDE),
            false => plain(pick(OP, dtype, kernels)?, count),
        };
        launches.push(with(dx, params, &[b.dz, b.weight, b.dx]));
    }
    if b.dw != Address::default() {
        let tiles = sizes.channel_tiles() * sizes.concept_tiles();
        let count = blocks(OP, tiles * sizes.parts())?;
        let kernels = [
            "sb_projection_dw_f32",
            "sb_projection_dw_f16",
            "sb_projection_dw_bf16",
        ];
        // The concepts' side is laid out in whole groups of 8 vectors.
        let padded = TILE_CONCEPTS.next_multiple_of(8 * 16 / dtype.size());
        let dw = match tensor_cores {
            true => tiled(mma_dw, count, 128, STAGES * (padded + TILE_SIDE)),
            false => plain(pick(OP, dtype, kernels)?, count),
        };
        launches.push(with(dw, params, &[b.dz, b.x, b.scratch]));
        let kernels = [
            "sb_projection_sum_f32",
            "sb_projection_sum_f16",
            "sb_projection_sum_bf16",
        ];
        let elements = (sizes.channels + 1) * sizes.concepts;
        let sum = plain(
            pick(OP, dtype, kernels)?,
            blocks(OP, elements.div_ceil(THREADS))?,
        );
        launches.push(with(sum, params, &[b.scratch, b.dw, b.db]));
    }
    Ok(launches)
}

fn plain(kernel: &'static str, count: u32) -> Launch {
    Launch::new(kernel, [count, 1, 1], THREADS as u32)
}

/// A kernel on tensor cores, whose stages hold so many rows of slabs together; what it stages of its
/// results is never more.
fn tiled(kernel: &'static str, count: u32, threads: u32, rows: usize) -> Launch {
    Launch::new(kernel, [count, 1, 1], threads).shared((rows * SLAB) as u32)
}

fn with(launch: Launch, params: SbProjectionParams, pointers: &[Address]) -> Launch {
    let launch = launch.params(params);
    pointers.iter().copied().fold(launch, Launch::pointer)
}
