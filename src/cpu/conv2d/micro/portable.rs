//! The tile in plain Rust, for machines without AVX: arrays of the 16 bytes that every vector unit
//! has, which the compiler turns into its instructions.

use super::{Kernels, Lanes, Tile, compute, kernels};
use crate::tensor::Real;

impl<T: Real, const L: usize> Lanes<T> for [T; L] {
    const LANES: usize = L;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        [x; L]
    }
    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        std::array::from_fn(|i| unsafe { *from.add(i) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        unsafe { std::ptr::copy_nonoverlapping(self.as_ptr(), to, L) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] + other[i])
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Self, sum: Self) -> Self {
        std::array::from_fn(|i| self[i] * b[i] + sum[i])
    }
}

unsafe fn f32_tile<const R: usize, const N: usize, const BY_ROWS: bool>(tile: &Tile<f32>) {
    unsafe { compute::<f32, [f32; 4], R, N, BY_ROWS>(tile) }
}

unsafe fn f64_tile<const R: usize, const N: usize, const BY_ROWS: bool>(tile: &Tile<f64>) {
    unsafe { compute::<f64, [f64; 2], R, N, BY_ROWS>(tile) }
}

pub(super) fn f32_kernels() -> Kernels<f32> {
    kernels!("portable", f32, [f32; 4], f32_tile)
}

pub(super) fn f64_kernels() -> Kernels<f64> {
    kernels!("portable", f64, [f64; 2], f64_tile)
}
