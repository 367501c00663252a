//! What is asked of a planner: a product of a convolution, on a device; and what comes with it.

use super::{NAME, NULL, aligned};
use crate::cpu::conv2d::ConvShape;
use crate::kernels::Address;
use crate::tensor::DType;
use crate::{Error, Result};

/// Element type and arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Math {
    /// f32 throughout: one fused multiply-add after the other.
    F32,
    /// f32 in memory, of which tensor cores multiply what tf32 holds; sums in f32.
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

/// The device a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its instruction set: 80 for sm_80.
    pub capability: u32,
    /// Its multiprocessors.
    pub multiprocessors: usize,
}

/// What fprop does to its sums before it writes them; a null address leaves a thing out.
///
/// y = f(scale · (Σ + bias) + shift + residual), in f32, rounded once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue {
    /// \[k\] in the type of y.
    pub bias: Address,
    /// \[k\] in f32, together with a shift or not at all.
    pub scale: Address,
    /// \[k\] in f32.
    pub shift: Address,
    /// Like y.
    pub residual: Address,
    /// Then negative values become 0.
    pub relu: bool,
    /// Not a part of y: means and sums of squared deviations of tiles of y, [`super::Plan::statistics_len`]
    /// floats, for [`super::Plan::statistics`]. Of a y without scale, residual and ReLU.
    pub statistics: Address,
}

impl Epilogue {
    /// Whether the kernels can do it.
    pub(super) fn check(&self) -> Result<()> {
        aligned([self.bias, self.scale, self.shift])?;
        aligned([self.residual, self.statistics])?;
        if (self.scale == NULL) != (self.shift == NULL) {
            return Err(Error::shape(
                NAME,
                "a scale without a shift, or a shift alone",
            ));
        }
        let more = self.scale != NULL || self.residual != NULL || self.relu;
        if self.statistics != NULL && more {
            let what = "statistics of a result with scale, residual or ReLU";
            return Err(Error::shape(NAME, what));
        }
        Ok(())
    }
}

/// What fprop reads and writes, and does on the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fprop {
    /// Maps [n, h, w, c].
    pub x: Address,
    /// Filters [k, r, s, c].
    pub w: Address,
    /// Result [n, p, q, k].
    pub y: Address,
    /// What happens in between.
    pub epilogue: Epilogue,
}

/// One product of a convolution, checked and not yet planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub shape: ConvShape,
    pub math: Math,
    pub direction: Direction,
    /// Whether the depth must stay in one part.
    pub whole: bool,
    pub target: Target,
}

impl Request {
    /// Elements of the result.
    pub fn elements(&self) -> usize {
        match self.direction {
            Direction::Fprop => self.shape.output_len(),
            Direction::Dgrad => self.shape.input_len(),
            Direction::Wgrad => self.shape.filter_len(),
        }
    }

    /// Elements of a row of the result, which lie side by side.
    pub fn columns(&self) -> usize {
        let g = &self.shape;
        match self.direction {
            Direction::Fprop => g.k,
            Direction::Dgrad => g.c,
            Direction::Wgrad => g.r * g.s * g.c,
        }
    }
}
