//! The tile on x86-64: AVX-512 (14 × 2 of 32 registers) and AVX2 with FMA (6 × 2 of 16), chosen when
//! the program runs.

use std::arch::x86_64::*;

use super::{Kernels, Lanes, Tile, compute, kernels};

macro_rules! lanes {
    ($vector:ty, $t:ty, $lanes:literal, $rows:literal,
     $splat:ident, $load:ident, $store:ident, $add:ident, $mul_add:ident) => {
        impl Lanes<$t> for $vector {
            const LANES: usize = $lanes;
            const ROWS: usize = $rows;

            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self {
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $t) {
                unsafe { $store(to, self) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, sum: Self) -> Self {
                unsafe { $mul_add(self, b, sum) }
            }
        }
    };
}

lanes!(
    __m512,
    f32,
    16,
    14,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_fmadd_ps
);
lanes!(
    __m512d,
    f64,
    8,
    14,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_add_pd,
    _mm512_fmadd_pd
);
lanes!(
    __m256,
    f32,
    8,
    6,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_fmadd_ps
);
lanes!(
    __m256d,
    f64,
    4,
    6,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_add_pd,
    _mm256_fmadd_pd
);

macro_rules! tile {
    ($name:ident, $features:literal, $t:ty, $vector:ty) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const N: usize, const BY_ROWS: bool>(tile: &Tile<$t>) {
            unsafe { compute::<$t, $vector, R, N, BY_ROWS>(tile) }
        }
    };
}

tile!(avx512_f32, "avx512f", f32, __m512);
tile!(avx512_f64, "avx512f", f64, __m512d);
tile!(avx2_f32, "avx2,fma", f32, __m256);
tile!(avx2_f64, "avx2,fma", f64, __m256d);

fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
}

fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Those this machine has, best first.
pub(super) fn f32_kernels() -> impl Iterator<Item = Kernels<f32>> {
    let wide = has_avx512().then_some(kernels!("avx512", f32, __m512, avx512_f32));
    let narrow = has_avx2().then_some(kernels!("avx2", f32, __m256, avx2_f32));
    wide.into_iter().chain(narrow)
}

/// Those this machine has, best first.
pub(super) fn f64_kernels() -> impl Iterator<Item = Kernels<f64>> {
    let wide = has_avx512().then_some(kernels!("avx512", f64, __m512d, avx512_f64));
    let narrow = has_avx2().then_some(kernels!("avx2", f64, __m256d, avx2_f64));
    wide.into_iter().chain(narrow)
}
