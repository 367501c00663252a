//! Launches of `kernels/conv2d*.cu`: convolution and its gradients as implicit matrix products.
//!
//! A [`Plan`] is made from sizes alone: which kernel, which tile, how many parts the depth is cut into,
//! and the scratch memory that takes. With addresses it becomes launches, to be run in order.

mod extents;
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
}

/// One product of a convolution, planned.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    request: Request,
    kernels: portable::Plan,
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
        let kernels = portable::Plan::new(request)?;
        Ok(Plan { request, kernels })
    }

    /// The same by a chosen kernel, to compare them.
    ///
    /// # Errors
    /// [`Error::Shape`] for what that kernel cannot do, and for more parts than the depth has, or none.
    pub fn with(self, kind: Kind) -> Result<Plan> {
        let Kind::Portable { tile, parts } = kind;
        let kernels = portable::Plan::new(self.request)?.with(tile, parts)?;
        Ok(Plan { kernels, ..self })
    }

    /// Which product.
    pub fn direction(&self) -> Direction {
        self.request.direction
    }

    /// By which kernel.
    pub fn kind(&self) -> Kind {
        self.kernels.kind()
    }

    /// Parts the depth is cut into.
    pub fn parts(&self) -> usize {
        match self.kind() {
            Kind::Portable { parts, .. } => parts,
        }
    }

    /// Bytes of scratch memory that the launches use; their contents before and after do not matter.
    pub fn scratch_bytes(&self) -> usize {
        match self.parts() {
            1 => 0,
            parts => parts * self.request.elements() * 4,
        }
    }

    /// Floats of [`Epilogue::statistics`].
    pub fn statistics_len(&self) -> usize {
        let g = &self.request.shape;
        let rows = g.n * g.out_h() * g.out_w();
        2 * rows.div_ceil(self.kernels.statistics_rows()) * g.k
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
        let g = &self.request.shape;
        let rows = g.n * g.out_h() * g.out_w();
        join(rows, self.kernels.statistics_rows(), g.k)
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
        if self.parts() == 1 {
            return Ok(vec![self.kernels.launch(operands, result, NULL, epilogue)]);
        }
        let product = self
            .kernels
            .launch(operands, result, scratch, Epilogue::default());
        let (dtype, columns) = (self.request.math.dtype(), self.request.columns());
        let cut = [self.request.elements(), columns, self.parts()];
        let sum = finish(dtype, cut, epilogue, scratch, result)?;
        Ok(vec![product, sum])
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
