//! Launches of `kernels/conv2d*.cu`: convolution and its gradients as implicit matrix products.
//!
//! A [`Plan`] is made from sizes alone: which kernel, which tile, how many parts the depth is cut into,
//! and the scratch memory that takes. With addresses it becomes launches, to be run in order.

mod extents;
mod sums;

pub use sums::BiasGradient;

use extents::{Product, collapsed, gcd, refuse_long, refuse_long_axes};
use sums::{SUM_THREADS, finish};

use super::params::{Conv2dParams, Conv2dSumParams};
use super::{Address, Launch};
use crate::cpu::conv2d::ConvShape;
use crate::tensor::DType;
use crate::{Error, Result};

const NAME: &str = "conv2d";

/// Depth of one slab in shared memory, in bytes (`SLAB_BYTES` of the kernels).
const SLAB: usize = 64;
/// Slabs under way (`GEMM_STAGES`).
const STAGES: usize = 4;
/// Bytes of the widest access of a thread.
const VECTOR: usize = 16;
/// A part of the depth has at least this many slabs: fewer would not repay its pass over scratch.
const SLABS_PER_PART: usize = 16;
/// Most bytes of scratch that parts may take.
const SCRATCH: usize = 256 << 20;

/// Element type and arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Math {
    /// f32 throughout: one fused multiply-add after the other.
    F32,
    /// f32 in memory, products of operands rounded to tf32 on tensor cores, sums in f32.
    Tf32,
    /// f16 in memory, tensor cores, sums in f32.
    F16,
    /// bf16 in memory, tensor cores, sums in f32.
    Bf16,
}

impl Math {
    /// The type of the elements in memory.
    pub fn dtype(self) -> DType {
        match self {
            Math::F32 | Math::Tf32 => DType::F32,
            Math::F16 => DType::F16,
            Math::Bf16 => DType::BF16,
        }
    }

    /// Unit roundoff of what the multiplication makes of its operands first; 0 where they stay.
    pub fn input_roundoff(self) -> f64 {
        match self {
            // 10 bits of significand after the first.
            Math::Tf32 => 1.0 / 2048.0,
            Math::F32 | Math::F16 | Math::Bf16 => 0.0,
        }
    }
}

/// Which of the three products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// y from x and the filters.
    Fprop,
    /// dx from dy and the filters.
    Dgrad,
    /// dw from x and dy.
    Wgrad,
}

/// The square tile of a block, and whether operands move in 16-byte vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 128 by 128.
    Large,
    /// 64 by 64.
    Small,
    /// 64 by 64, element by element.
    Scalar,
}

impl Tile {
    fn side(self) -> usize {
        match self {
            Tile::Large => 128,
            Tile::Small | Tile::Scalar => 64,
        }
    }

    fn threads(self) -> u32 {
        2 * self.side() as u32
    }

    /// Blocks that share a multiprocessor, by registers and shared memory.
    fn resident(self) -> usize {
        match self {
            Tile::Large => 2,
            Tile::Small => 4,
            Tile::Scalar => 3,
        }
    }

    /// Time per result and depth, relative to the large tile. The small one reads twice the bytes from
    /// L2 and half as many more from shared memory; what that costs is an estimate until measured.
    fn effort(self) -> f64 {
        match self {
            Tile::Large => 1.0,
            Tile::Small | Tile::Scalar => 1.25,
        }
    }

    fn shared_bytes(self) -> u32 {
        let side = self.side();
        (STAGES * 2 * side * SLAB).max(side * side * 4) as u32
    }
}

/// One product of a convolution, planned.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    shape: ConvShape,
    math: Math,
    direction: Direction,
    product: Product,
    /// Channels divide into 16-byte vectors, in both operands.
    vectors: bool,
    tile: Tile,
    parts: usize,
    elements: usize,
}

/// What fprop reads and writes, and does on the way; a null address leaves an operand out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fprop {
    /// Maps [n, h, w, c].
    pub x: Address,
    /// Filters [k, r, s, c].
    pub w: Address,
    /// Added to each pixel: \[k\], or null.
    pub bias: Address,
    /// Added to the result: like y, or null.
    pub residual: Address,
    /// Then negative values become 0.
    pub relu: bool,
    /// Result [n, p, q, k].
    pub y: Address,
    /// Means and sums of squared deviations of tiles of y, as [`Plan::statistics_len`] floats, or null.
    pub statistics: Address,
}

impl Plan {
    /// Plans one product of a convolution for a device with this many multiprocessors. What is
    /// computed does not depend on their number, but the order of sums does where the depth is cut
    /// into parts. With `whole` it never is: fprop with statistics needs that.
    ///
    /// # Errors
    /// [`Error::Shape`] for extents that are no convolution, and for matrices and axes too long for
    /// the kernels' 32-bit indices.
    pub fn new(
        shape: &ConvShape,
        math: Math,
        direction: Direction,
        whole: bool,
        multiprocessors: usize,
    ) -> Result<Plan> {
        refuse_long_axes(shape)?;
        shape.check()?;
        let shape = collapsed(shape);
        refuse_long(&shape)?;
        let product = Product::of(&shape, direction);
        let elements = match direction {
            Direction::Fprop => shape.output_len(),
            Direction::Dgrad => shape.input_len(),
            Direction::Wgrad => shape.filter_len(),
        };
        let per_vector = VECTOR / math.dtype().size();
        let vectors = shape.c.is_multiple_of(per_vector)
            && (direction == Direction::Fprop || shape.k.is_multiple_of(per_vector));
        let slabs = product.depth.div_ceil(SLAB / math.dtype().size());
        let parts_of = |tile: Tile| {
            let blocks = product.tiles(tile) * product.classes;
            let fill = multiprocessors * tile.resident() / blocks;
            let most = (slabs / SLABS_PER_PART)
                .min(SCRATCH / (4 * elements))
                .min(65535);
            if whole { 1 } else { fill.min(most).max(1) }
        };
        let time = |tile: Tile| {
            let (parts, resident) = (parts_of(tile), tile.resident());
            let blocks = product.tiles(tile) * product.classes * parts;
            let rounds = blocks.div_ceil(multiprocessors.max(1) * resident) * resident;
            (rounds * tile.side().pow(2)) as f64 * tile.effort() / parts as f64
        };
        let tile = match vectors {
            false => Tile::Scalar,
            true if time(Tile::Large) <= time(Tile::Small) => Tile::Large,
            true => Tile::Small,
        };
        let plan = Plan {
            shape,
            math,
            direction,
            product,
            vectors,
            tile,
            parts: parts_of(tile),
            elements,
        };
        plan.checked()
    }

    /// The same with a chosen tile and number of parts, to compare them.
    ///
    /// # Errors
    /// [`Error::Shape`] for vectors that channels do not divide into, for more parts than slabs, and for
    /// none.
    pub fn with(self, tile: Tile, parts: usize) -> Result<Plan> {
        let refuse = |what: String| Err(Error::shape(NAME, what));
        if tile != Tile::Scalar && !self.vectors {
            let g = &self.shape;
            return refuse(format!("{} to {} channels are no whole vectors", g.c, g.k));
        }
        let slabs = self.product.depth.div_ceil(SLAB / self.math.dtype().size());
        if parts == 0 || parts > slabs.min(65535) {
            return refuse(format!("a depth of {slabs} slabs in {parts} parts"));
        }
        Plan {
            tile,
            parts,
            ..self
        }
        .checked()
    }

    fn checked(self) -> Result<Plan> {
        let (blocks, classes) = (self.product.tiles(self.tile), self.product.classes);
        if classes > 65535 || blocks > i32::MAX as usize {
            let what = format!(
                "{:?} needs {blocks} blocks for each of {classes} pairs of residues; the kernels do at \
                 most {} for 65535",
                self.direction,
                i32::MAX
            );
            return Err(Error::shape(NAME, what));
        }
        Ok(self)
    }

    /// Bytes of scratch memory that the launches use; their contents before and after do not matter.
    pub fn scratch_bytes(&self) -> usize {
        match self.parts {
            1 => 0,
            parts => parts * self.elements * 4,
        }
    }

    /// Which product.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The tile of a block.
    pub fn tile(&self) -> Tile {
        self.tile
    }

    /// Parts the depth is cut into.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Floats of [`Fprop::statistics`].
    pub fn statistics_len(&self) -> usize {
        2 * self.product.rows.div_ceil(self.tile.side()) * self.shape.k
    }

    /// The launches of fprop.
    ///
    /// # Errors
    /// [`Error::Shape`] for an address that is not aligned to 16 bytes, and for statistics of a
    /// result that is not the product itself or whose depth is cut into parts.
    pub fn fprop(&self, with: Fprop, scratch: Address) -> Result<Vec<Launch>> {
        self.expect(Direction::Fprop, [with.x, with.w, with.y, scratch])?;
        aligned([with.bias, with.residual, with.statistics])?;
        let plain = with.bias == NULL && with.residual == NULL && !with.relu && self.parts == 1;
        if with.statistics != NULL && !plain {
            let what = "statistics are of a whole product without bias, residual and ReLU";
            return Err(Error::shape(NAME, what.to_owned()));
        }
        let split = self.parts > 1;
        let first = |address: Address| if split { NULL } else { address };
        let mut launches = vec![
            self.launch(with.relu && !split)
                .pointer(with.x)
                .pointer(with.w)
                .pointer(first(with.bias))
                .pointer(first(with.residual))
                .pointer(with.y)
                .pointer(if split { scratch } else { NULL })
                .pointer(with.statistics),
        ];
        if split {
            let params = self.sums(with.relu);
            launches.push(
                finish(self.math.dtype(), params, scratch)?
                    .pointer(with.bias)
                    .pointer(with.residual)
                    .pointer(with.y),
            );
        }
        Ok(launches)
    }

    /// The launches that write `dx` from `dy` and the filters `w`.
    ///
    /// # Errors
    /// [`Error::Shape`] for an address that is not aligned to 16 bytes.
    pub fn dgrad(
        &self,
        dy: Address,
        w: Address,
        dx: Address,
        scratch: Address,
    ) -> Result<Vec<Launch>> {
        self.expect(Direction::Dgrad, [dy, w, dx, scratch])?;
        self.gradient(dy, w, dx, scratch)
    }

    /// The launches that write `dw` from `x` and `dy`.
    ///
    /// # Errors
    /// [`Error::Shape`] for an address that is not aligned to 16 bytes.
    pub fn wgrad(
        &self,
        x: Address,
        dy: Address,
        dw: Address,
        scratch: Address,
    ) -> Result<Vec<Launch>> {
        self.expect(Direction::Wgrad, [x, dy, dw, scratch])?;
        self.gradient(x, dy, dw, scratch)
    }

    /// The launch that makes mean and (biased) variance of each channel, \[k\] floats each, from the
    /// `statistics` of fprop.
    pub fn statistics(&self, statistics: Address, mean: Address, variance: Address) -> Launch {
        let params = Conv2dSumParams {
            rows: self.product.rows as u32,
            part: self.tile.side() as u32,
            ..self.sums(false)
        };
        let blocks = self.shape.k.div_ceil(SUM_THREADS as usize / 32) as u32;
        Launch::new("conv2d_statistics", [blocks, 1, 1], SUM_THREADS)
            .params(params)
            .pointer(statistics)
            .pointer(mean)
            .pointer(variance)
    }

    fn gradient(
        &self,
        a: Address,
        b: Address,
        result: Address,
        scratch: Address,
    ) -> Result<Vec<Launch>> {
        let launch = self.launch(false).pointer(a).pointer(b).pointer(result);
        if self.parts == 1 {
            return Ok(vec![launch.pointer(NULL)]);
        }
        let sum = finish(self.math.dtype(), self.sums(false), scratch)?
            .pointer(NULL)
            .pointer(NULL)
            .pointer(result);
        Ok(vec![launch.pointer(scratch), sum])
    }

    fn launch(&self, relu: bool) -> Launch {
        let column_tiles = self.product.columns.div_ceil(self.tile.side());
        let grid = [
            self.product.tiles(self.tile) as u32,
            self.parts as u32,
            self.product.classes as u32,
        ];
        Launch::new(self.kernel(), grid, self.tile.threads())
            .shared(self.tile.shared_bytes())
            .params(self.params(column_tiles, relu))
    }

    fn kernel(&self) -> &'static str {
        macro_rules! named {
            ($direction:literal, $math:literal) => {
                match self.tile {
                    Tile::Large => concat!("conv2d_", $direction, "_128_", $math),
                    Tile::Small => concat!("conv2d_", $direction, "_64_", $math),
                    Tile::Scalar => concat!("conv2d_", $direction, "_scalar_", $math),
                }
            };
        }
        macro_rules! directed {
            ($math:literal) => {
                match self.direction {
                    Direction::Fprop => named!("fprop", $math),
                    Direction::Dgrad => named!("dgrad", $math),
                    Direction::Wgrad => named!("wgrad", $math),
                }
            };
        }
        match self.math {
            Math::F32 => directed!("f32"),
            Math::Tf32 => directed!("tf32"),
            Math::F16 => directed!("f16"),
            Math::Bf16 => directed!("bf16"),
        }
    }

    fn params(&self, column_tiles: usize, relu: bool) -> Conv2dParams {
        let g = &self.shape;
        let pair = |values: [usize; 2]| values.map(|value| value as u32);
        let common = [0, 1].map(|axis| gcd(g.stride[axis], g.dilation[axis]));
        let per_vector = VECTOR / self.math.dtype().size();
        Conv2dParams {
            batch: g.n as u32,
            input: pair([g.h, g.w]),
            output: pair([g.out_h(), g.out_w()]),
            channels: g.c as u32,
            filters: g.k as u32,
            taps: pair([g.r, g.s]),
            stride: pair(g.stride),
            padding: pair(g.padding),
            dilation: pair(g.dilation),
            tap_step: pair([0, 1].map(|axis| g.stride[axis] / common[axis])),
            pixel_step: pair([0, 1].map(|axis| g.dilation[axis] / common[axis])),
            column_tiles: column_tiles as u32,
            elements: self.elements as u32,
            wide: self.product.columns.is_multiple_of(per_vector) as u32,
            relu: relu as u32,
        }
    }

    fn sums(&self, relu: bool) -> Conv2dSumParams {
        Conv2dSumParams {
            elements: self.elements as u32,
            columns: self.product.columns as u32,
            rows: 0,
            part: self.parts as u32,
            lanes: 1,
            wide: self.product.columns.is_multiple_of(4) as u32,
            relu: relu as u32,
        }
    }

    fn expect(&self, direction: Direction, addresses: [Address; 4]) -> Result<()> {
        if self.direction != direction {
            let what = format!("a plan of {:?} makes no {direction:?}", self.direction);
            return Err(Error::shape(NAME, what));
        }
        aligned(addresses)
    }
}

const NULL: Address = Address(0);

fn aligned<const N: usize>(addresses: [Address; N]) -> Result<()> {
    match addresses
        .iter()
        .find(|a| !a.0.is_multiple_of(VECTOR as u64))
    {
        Some(bad) => {
            let what = format!("address {:#x} is not aligned to {VECTOR} bytes", bad.0);
            Err(Error::shape(NAME, what))
        }
        None => Ok(()),
    }
}
