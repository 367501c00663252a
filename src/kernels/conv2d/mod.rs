//! Launches of `kernels/conv2d*.cu`: convolution and its gradients as implicit matrix products.
//!
//! A [`Plan`] is made from sizes alone: which kernel, which tile, how many parts the depth is cut into,
//! and the scratch memory that takes. With addresses it becomes launches, to be run in order.

mod extents;
mod hopper;
mod portable;
mod request;
mod sums;

pub use portable::Tile;
pub use request::{Direction, Epilogue, Fprop, Math, Target};
pub use sums::BiasGradient;

use extents::{collapsed, refuse_long, refuse_long_axes};
use request::Request;
use sums::{finish, join};

use super::{Address, Launch};
use crate::cpu::conv2d::ConvShape;
use crate::{Error, Result};

const NAME: &str = "conv2d";
const NULL: Address = Address(0);

/// Bytes of the widest access of a thread.
const VECTOR: usize = 16;
/// Most bytes of scratch that parts of the depth may take.
const SCRATCH: usize = 256 << 20;

/// The kernel of a product, and how it divides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Products of warps (FFMA or mma.sync), on every GPU from sm_80 on.
    Portable {
        /// Of a block.
        tile: Tile,
        /// Into which the depth is cut.
        parts: usize,
    },
    /// Products of warpgroups (wgmma) of tiles that the copy engine brings, on sm_90a.
    Hopper {
        /// Of a tile of 128 rows: 64, 128 or 256.
        columns: usize,
        /// Into which the depth is cut.
        parts: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Kernels {
    Portable(portable::Plan),
    Hopper(hopper::Plan),
}

impl Kernels {
    /// The rule: products of warpgroups where the device has them and they can make this product, and where
    /// at least half of what their large tiles multiply is wanted; else products of warps.
    fn choose(request: Request) -> Result<Kernels> {
        if request.target.capability == hopper::CAPABILITY {
            match hopper::Plan::new(request) {
                Ok(plan) if plan.is_dense() => return Ok(Kernels::Hopper(plan)),
                Ok(plan) => tracing::debug!("{plan:?} would multiply mostly zeros"),
                Err(why) => tracing::debug!("not by products of warpgroups: {why}"),
            }
        }
        portable::Plan::new(request).map(Kernels::Portable)
    }
}

/// One product of a convolution, planned.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    request: Request,
    kernels: Kernels,
}

impl Plan {
    /// Plans one product of a convolution. What is computed does not depend on the device, but the
    /// order of sums does where the depth is cut into parts. With `whole` it never is: fprop with
    /// statistics needs that.
    ///
    /// # Errors
    /// [`Error::Shape`] for extents that are no convolution, and for matrices and axes too long for
    /// the kernels' 32-bit indices.
    pub fn new(
        shape: &ConvShape,
        math: Math,
        direction: Direction,
        whole: bool,
        target: Target,
    ) -> Result<Plan> {
        refuse_long_axes(shape)?;
        shape.check()?;
        let shape = collapsed(shape);
        refuse_long(&shape)?;
        let request = Request {
            shape,
            math,
            direction,
            whole,
            target,
        };
        let kernels = Kernels::choose(request)?;
        Ok(Plan { request, kernels })
    }

    /// The same by a chosen kernel, to compare them.
    ///
    /// # Errors
    /// [`Error::Shape`] for what that kernel cannot do, and for more parts than the depth has, or none.
    pub fn with(self, kind: Kind) -> Result<Plan> {
        let kernels = match kind {
            Kind::Portable { tile, parts } => {
                Kernels::Portable(portable::Plan::new(self.request)?.with(tile, parts)?)
            }
            Kind::Hopper { columns, parts } => {
                Kernels::Hopper(hopper::Plan::new(self.request)?.with(columns, parts)?)
            }
        };
        Ok(Plan { kernels, ..self })
    }

    /// Which product.
    pub fn direction(&self) -> Direction {
        self.request.direction
    }

    /// By which kernel.
    pub fn kind(&self) -> Kind {
        match &self.kernels {
            Kernels::Portable(plan) => plan.kind(),
            Kernels::Hopper(plan) => plan.kind(),
        }
    }

    /// Parts the depth is cut into.
    pub fn parts(&self) -> usize {
        match self.kind() {
            Kind::Portable { parts, .. } | Kind::Hopper { parts, .. } => parts,
        }
    }

    /// Relative error of what the multiplication makes of its operands first; 0 where they stay.
    pub fn input_roundoff(&self) -> f64 {
        match (self.request.math, self.kind()) {
            // 10 bits of significand after the first: to nearest, or cut off.
            (Math::Tf32, Kind::Portable { .. }) => 1.0 / 2048.0,
            (Math::Tf32, Kind::Hopper { .. }) => 1.0 / 1024.0,
            _ => 0.0,
        }
    }

    /// Bytes of scratch memory that the launches use; their contents before and after do not matter.
    pub fn scratch_bytes(&self) -> usize {
        let workspace = match &self.kernels {
            Kernels::Portable(_) => 0,
            Kernels::Hopper(plan) => plan.workspace_bytes(),
        };
        self.part_bytes() + workspace
    }

    /// Those of the parts, which come first: whole vectors.
    fn part_bytes(&self) -> usize {
        match self.parts() {
            1 => 0,
            parts => (parts * self.request.elements() * 4).next_multiple_of(VECTOR),
        }
    }

    /// Floats of [`Epilogue::statistics`].
    pub fn statistics_len(&self) -> usize {
        2 * self.rows().div_ceil(self.statistics_rows()) * self.request.shape.k
    }

    /// Rows of y, and of a tile of its statistics.
    fn rows(&self) -> usize {
        let g = &self.request.shape;
        g.n * g.out_h() * g.out_w()
    }

    fn statistics_rows(&self) -> usize {
        match &self.kernels {
            Kernels::Portable(plan) => plan.statistics_rows(),
            Kernels::Hopper(plan) => plan.statistics_rows(),
        }
    }

    /// The launches of fprop.
    ///
    /// # Errors
    /// [`Error::Shape`] for an address that is not aligned to 16 bytes, for a scale without a shift, and
    /// for statistics of a result that is not the whole product, with its bias at most.
    pub fn fprop(&self, with: Fprop, scratch: Address) -> Result<Vec<Launch>> {
        self.expect(Direction::Fprop)?;
        let epilogue = with.epilogue;
        epilogue.check()?;
        if epilogue.statistics != NULL && self.parts() > 1 {
            let what = "statistics of a product whose depth is cut into parts";
            return Err(Error::shape(NAME, what));
        }
        self.launches([with.x, with.w], with.y, epilogue, scratch)
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
        self.expect(Direction::Dgrad)?;
        self.launches([dy, w], dx, Epilogue::default(), scratch)
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
        self.expect(Direction::Wgrad)?;
        self.launches([x, dy], dw, Epilogue::default(), scratch)
    }

    /// The launch that makes mean and (biased) variance of each channel, \[k\] floats each, from the
    /// [`Epilogue::statistics`] of fprop.
    pub fn statistics(&self, statistics: Address, mean: Address, variance: Address) -> Launch {
        join(self.rows(), self.statistics_rows(), self.request.shape.k)
            .pointer(statistics)
            .pointer(mean)
            .pointer(variance)
    }

    /// The product, and where it comes in parts, their sum.
    fn launches(
        &self,
        operands: [Address; 2],
        result: Address,
        epilogue: Epilogue,
        scratch: Address,
    ) -> Result<Vec<Launch>> {
        aligned([operands[0], operands[1], result, scratch])?;
        let workspace = Address(scratch.0 + self.part_bytes() as u64);
        let (parts, first) = match self.parts() {
            1 => (NULL, epilogue),
            _ => (scratch, Epilogue::default()),
        };
        let mut launches = match &self.kernels {
            Kernels::Portable(plan) => vec![plan.launch(operands, result, parts, first)],
            Kernels::Hopper(plan) => plan.launches(operands, result, parts, first, workspace),
        };
        if self.parts() > 1 {
            let (dtype, columns) = (self.request.math.dtype(), self.request.columns());
            let cut = [self.request.elements(), columns, self.parts()];
            launches.push(finish(dtype, cut, epilogue, scratch, result)?);
        }
        Ok(launches)
    }

    fn expect(&self, direction: Direction) -> Result<()> {
        match self.request.direction == direction {
            true => Ok(()),
            false => {
                let what = format!("a plan of {:?} makes no {direction:?}", self.direction());
                Err(Error::shape(NAME, what))
            }
        }
    }
}

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
