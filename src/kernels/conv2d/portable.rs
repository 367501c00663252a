//! Launches of `kernels/conv2d_{fprop,dgrad,wgrad}.cu`: products of warps, on every GPU from sm_80 on.

use super::extents::{Product, gcd};
use super::request::Request;
use super::{Direction, Epilogue, Kind, Math, NAME, SCRATCH, VECTOR};
use crate::kernels::params::Conv2dParams;
use crate::kernels::{Address, Launch};
use crate::{Error, Result};

/// Depth of one slab in shared memory, in bytes (`SLAB_BYTES` of the kernels).
const SLAB: usize = 64;
/// Slabs under way (`GEMM_STAGES`).
const STAGES: usize = 4;
/// A part of the depth has at least this many slabs: fewer would not repay its pass over scratch.
const SLABS_PER_PART: usize = 16;

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
    pub(super) fn side(self) -> usize {
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

/// One product, with its tile and its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    request: Request,
    product: Product,
    /// Channels divide into 16-byte vectors, in both operands.
    vectors: bool,
    tile: Tile,
    parts: usize,
}

impl Plan {
    pub fn new(request: Request) -> Result<Plan> {
        let Request {
            shape,
            math,
            direction,
            target,
            ..
        } = request;
        let multiprocessors = target.multiprocessors;
        let product = Product::of(&shape, direction);
        let per_vector = VECTOR / math.dtype().size();
        let vectors = shape.c.is_multiple_of(per_vector)
            && (direction == Direction::Fprop || shape.k.is_multiple_of(per_vector));
        let slabs = product.depth.div_ceil(SLAB / math.dtype().size());
        let parts_of = |tile: Tile| {
            let blocks = product.tiles(tile) * product.classes;
            let fill = multiprocessors * tile.resident() / blocks;
            let most = (slabs / SLABS_PER_PART)
                .min(SCRATCH / (4 * request.elements()))
                .min(65535);
            match request.whole {
                true => 1,
                false => fill.min(most).max(1),
            }
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
            request,
            product,
            vectors,
            tile,
            parts: parts_of(tile),
        };
        plan.checked()
    }

    /// The same with a chosen tile and number of parts.
    pub fn with(self, tile: Tile, parts: usize) -> Result<Plan> {
        let refuse = |what: String| Err(Error::shape(NAME, what));
        if tile != Tile::Scalar && !self.vectors {
            let g = &self.request.shape;
            return refuse(format!("{} to {} channels are no whole vectors", g.c, g.k));
        }
        let slabs = self
            .product
            .depth
            .div_ceil(SLAB / self.math().dtype().size());
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
                self.request.direction,
                i32::MAX
            );
            return Err(Error::shape(NAME, what));
        }
        Ok(self)
    }

    pub fn kind(&self) -> Kind {
        Kind::Portable {
            tile: self.tile,
            parts: self.parts,
        }
    }

    /// Rows of y of which one pair of statistics tells.
    pub fn statistics_rows(&self) -> usize {
        self.tile.side()
    }

    fn math(&self) -> Math {
        self.request.math
    }

    /// The product of x and w, dy and w, or x and dy: the result itself, or `parts` of it.
    pub fn launch(
        &self,
        operands: [Address; 2],
        result: Address,
        parts: Address,
        with: Epilogue,
    ) -> Launch {
        let grid = [
            self.product.tiles(self.tile) as u32,
            self.parts as u32,
            self.product.classes as u32,
        ];
        let launch = Launch::new(self.kernel(), grid, self.tile.threads())
            .shared(self.tile.shared_bytes())
            .params(self.params(with.relu))
            .pointer(operands[0])
            .pointer(operands[1]);
        match self.request.direction {
            Direction::Fprop => [with.scale, with.shift, with.bias, with.residual]
                .into_iter()
                .fold(launch, Launch::pointer)
                .pointer(result)
                .pointer(parts)
                .pointer(with.statistics),
            Direction::Dgrad | Direction::Wgrad => launch.pointer(result).pointer(parts),
        }
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
                match self.request.direction {
                    Direction::Fprop => named!("fprop", $math),
                    Direction::Dgrad => named!("dgrad", $math),
                    Direction::Wgrad => named!("wgrad", $math),
                }
            };
        }
        match self.math() {
            Math::F32 => directed!("f32"),
            Math::Tf32 => directed!("tf32"),
            Math::F16 => directed!("f16"),
            Math::Bf16 => directed!("bf16"),
        }
    }

    fn params(&self, relu: bool) -> Conv2dParams {
        let g = &self.request.shape;
        let pair = |values: [usize; 2]| values.map(|value| value as u32);
        let common = [0, 1].map(|axis| gcd(g.stride[axis], g.dilation[axis]));
        let per_vector = VECTOR / self.math().dtype().size();
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
            column_tiles: self.product.columns.div_ceil(self.tile.side()) as u32,
            elements: self.request.elements() as u32,
            wide: self.product.columns.is_multiple_of(per_vector) as u32,
            relu: relu as u32,
        }
    }
}
