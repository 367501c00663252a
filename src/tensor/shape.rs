//! Shapes. Images are NHWC everywhere inside the crate.

use std::fmt;

use crate::{Error, Result};

/// The extents of a tensor, outermost first. A scalar has rank 0 and one element.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }

    /// Whether there is no element at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Extent of the innermost dimension: channels of an NHWC map, features of a matrix.
    pub fn channels(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// The extents as (N, H, W, C), or an error of `op`.
    pub fn nhwc(&self, op: &'static str) -> Result<[usize; 4]> {
        <[usize; 4]>::try_from(self.dims())
            .map_err(|_| Error::shape(op, format!("expected an NHWC map, found shape {self}")))
    }

    /// The extents as (rows, columns), or an error of `op`.
    pub fn matrix(&self, op: &'static str) -> Result<[usize; 2]> {
        <[usize; 2]>::try_from(self.dims())
            .map_err(|_| Error::shape(op, format!("expected a matrix, found shape {self}")))
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Shape(dims.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape(dims.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Shape(dims)
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        shape.clone()
    }
}

/// `[64, 32, 32, 3]`
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
