//! The register tile, where all the arithmetic happens.
//!
//! A tile holds `rows × (vectors · lanes)` sums in registers and adds outer products to them: at each
//! step of the depth it loads `vectors` vectors of B, broadcasts one element of each row of A, and
//! issues `rows · vectors` fused multiply-adds. With 32 registers of AVX-512, 14 × 2 sums leave four
//! for the operands; a step is then 28 multiply-adds on 16 loads, so the two multiply-add ports are
//! the limit, not the loads.
//!
//! The depth is a list of [`Segment`]s, one per filter tap or run of pixels. That is the whole trick
//! of the implicit product: a tap that falls on padding is a segment that is not there.
//!
//! Every sum is one chain of additions over the segments in order, whatever the tile's size and
//! whoever computes it, so a result never depends on how the work was cut.

#[cfg(target_arch = "x86_64")]
mod avx;
mod portable;

use std::any::Any;
use std::sync::LazyLock;

use crate::tensor::Real;

/// Most rows and vectors that any instruction set's tile has.
const MAX_ROWS: usize = 14;
/// Vectors of a full tile.
pub(in crate::cpu) const VECTORS: usize = 2;

/// A run of `depth` steps: A from step `a`, B from step `b`, counted as [`Tile`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) struct Segment {
    pub a: usize,
    pub b: usize,
    pub depth: usize,
}

/// Appends a segment, or lengthens the last one when this one continues it (`b_skip` steps of B per
/// step of A).
#[inline]
pub(in crate::cpu) fn push(segments: &mut Vec<Segment>, next: Segment, b_skip: usize) {
    match segments.last_mut() {
        Some(last) if last.a + last.depth == next.a && last.b + last.depth * b_skip == next.b => {
            last.depth += next.depth;
        }
        _ => segments.push(next),
    }
}

/// One call of a tile kernel; all pitches in elements.
///
/// `c[i, j] = start + Σ a[i, s] · b[s, j]` over the steps s of the segments.
pub(in crate::cpu) struct Tile<'a, T> {
    /// A at step 0. Walked by rows, row `i` and step `s` are at `i * a_pitch + s`; walked by columns,
    /// at `s * a_pitch + i`.
    pub a: *const T,
    pub a_pitch: usize,
    /// B at step 0: step `s` is the `vectors * lanes` elements at `s * b_pitch`.
    pub b: *const T,
    pub b_pitch: usize,
    /// Steps of B per step of A within a segment.
    pub b_skip: usize,
    pub segments: &'a [Segment],
    /// The sums' place: row `i`, column `j` at `i * c_pitch + j`; only the first `columns` exist.
    pub c: *mut T,
    pub c_pitch: usize,
    pub columns: usize,
    pub start: Start<'a, T>,
}

/// What a tile's sums are added to.
#[derive(Clone, Copy)]
pub(in crate::cpu) enum Start<'a, T> {
    /// Nothing: the tile is written.
    Zero,
    /// One value per column.
    Bias(&'a [T]),
    /// What is there.
    Sum,
}

/// A vector register of an instruction set.
///
/// # Safety
/// The methods may only run on a machine that has the instructions.
pub(super) trait Lanes<T: Real>: Copy {
    /// Elements of a register.
    const LANES: usize;
    /// Rows of the largest tile that the registers hold.
    const ROWS: usize;
    unsafe fn splat(x: T) -> Self;
    unsafe fn load(from: *const T) -> Self;
    unsafe fn store(self, to: *mut T);
    unsafe fn add(self, other: Self) -> Self;
    /// `self * b + sum`.
    unsafe fn mul_add(self, b: Self, sum: Self) -> Self;

    /// The first `count` lanes; the others are zero.
    #[inline(always)]
    unsafe fn load_part(from: *const T, count: usize) -> Self {
        let mut lanes = [T::zero(); 16];
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count.min(Self::LANES));
            Self::load(lanes.as_ptr())
        }
    }

    /// Stores the first `count` lanes.
    #[inline(always)]
    unsafe fn store_part(self, to: *mut T, count: usize) {
        let mut lanes = [T::zero(); 16];
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count.min(Self::LANES));
        }
    }
}

/// The tile of `R` rows and `N` vectors, A walked by rows or (`BY_ROWS` false) by columns.
///
/// # Safety
/// All steps of `tile.segments` lie within A and B, `R` rows of `tile.columns` within C, and the
/// machine has the instructions of `V`.
#[inline(always)]
unsafe fn compute<T: Real, V: Lanes<T>, const R: usize, const N: usize, const BY_ROWS: bool>(
    tile: &Tile<T>,
) {
    if R > V::ROWS {
        unreachable!("a tile taller than the registers hold");
    }
    unsafe {
        let mut sums = [[V::splat(T::zero()); N]; R];
        let columns = |v: usize| tile.columns.saturating_sub(v * V::LANES);
        if let Start::Bias(bias) = tile.start {
            let bias: [V; N] =
                std::array::from_fn(|v| V::load_part(bias.as_ptr().add(v * V::LANES), columns(v)));
            sums = [bias; R];
        }
        let (a_pitch, b_step) = (tile.a_pitch, tile.b_pitch * tile.b_skip);
        for segment in tile.segments {
            let mut a = tile.a.add(segment.a * if BY_ROWS { 1 } else { a_pitch });
            let mut b = tile.b.add(segment.b * tile.b_pitch);
            for _ in 0..segment.depth {
                let column: [V; N] = std::array::from_fn(|v| V::load(b.add(v * V::LANES)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let row = V::splat(*a.add(if BY_ROWS { i * a_pitch } else { i }));
                    for (sum, column) in sums.iter_mut().zip(column) {
                        *sum = row.mul_add(column, *sum);
                    }
                }
                a = a.add(if BY_ROWS { 1 } else { a_pitch });
                b = b.add(b_step);
            }
        }
        for (i, row) in sums.into_iter().enumerate() {
            for (v, mut sum) in row.into_iter().enumerate() {
                let place = tile.c.add(i * tile.c_pitch + v * V::LANES);
                let width = columns(v);
                let full = width >= V::LANES;
                if let Start::Sum = tile.start {
                    sum = sum.add(if full {
                        V::load(place)
                    } else {
                        V::load_part(place, width)
                    });
                }
                if full {
                    sum.store(place)
                } else {
                    sum.store_part(place, width)
                }
            }
        }
    }
}

type Kernel<T> = unsafe fn(&Tile<T>);
type Table<T> = [[Kernel<T>; MAX_ROWS]; VECTORS];

/// The tile kernels of one instruction set.
pub(in crate::cpu) struct Kernels<T> {
    /// Name of the instruction set.
    pub name: &'static str,
    /// Elements of a vector register.
    pub lanes: usize,
    /// Rows of the largest tile.
    pub rows: usize,
    by_rows: Table<T>,
    by_columns: Table<T>,
}

impl<T: Real> Kernels<T> {
    /// Computes a tile of `rows` rows and `vectors` vectors of A walked by rows.
    ///
    /// # Safety
    /// As [`Tile`] says, all steps of the segments lie within A and B, and the rows within C, which
    /// nobody else touches meanwhile.
    pub unsafe fn by_rows(&self, rows: usize, vectors: usize, tile: &Tile<T>) {
        unsafe { self.by_rows[vectors - 1][rows - 1](tile) }
    }

    /// The same for A walked by columns.
    ///
    /// # Safety
    /// As [`Kernels::by_rows`].
    pub unsafe fn by_columns(&self, rows: usize, vectors: usize, tile: &Tile<T>) {
        unsafe { self.by_columns[vectors - 1][rows - 1](tile) }
    }

    /// Columns of a full tile.
    pub fn width(&self) -> usize {
        VECTORS * self.lanes
    }
}

/// All tile kernels of one instruction set: `$tile::<ROWS, VECTORS, BY_ROWS>` in tables.
macro_rules! kernels {
    ($name:literal, $t:ty, $lanes:ty, $tile:ident) => {
        Kernels::<$t> {
            name: $name,
            lanes: <$lanes as Lanes<$t>>::LANES,
            rows: <$lanes as Lanes<$t>>::ROWS,
            by_rows: kernels!(@table $tile, true),
            by_columns: kernels!(@table $tile, false),
        }
    };
    (@table $tile:ident, $by_rows:literal) => {
        [kernels!(@rows $tile, 1, $by_rows), kernels!(@rows $tile, 2, $by_rows)]
    };
    (@rows $tile:ident, $vectors:literal, $by_rows:literal) => {
        kernels!(@list $tile, $vectors, $by_rows; 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    (@list $tile:ident, $vectors:literal, $by_rows:literal; $($rows:literal)*) => {
        [$($tile::<$rows, $vectors, $by_rows>),*]
    };
}
use kernels;

/// The kernels of every instruction set this machine has, best first.
pub(in crate::cpu) fn available<T: Real>() -> &'static [Kernels<T>] {
    static F32: LazyLock<Vec<Kernels<f32>>> = LazyLock::new(detect_f32);
    static F64: LazyLock<Vec<Kernels<f64>>> = LazyLock::new(detect_f64);
    let sets: [&'static dyn Any; 2] = [&*F32, &*F64];
    let found = sets
        .into_iter()
        .find_map(|set| set.downcast_ref::<Vec<Kernels<T>>>());
    found.map_or(&[], Vec::as_slice)
}

/// The best kernels of this machine.
pub(in crate::cpu) fn best<T: Real>() -> &'static Kernels<T> {
    &available::<T>()[0]
}

fn detect_f32() -> Vec<Kernels<f32>> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    found.extend(avx::f32_kernels());
    found.push(portable::f32_kernels());
    found
}

fn detect_f64() -> Vec<Kernels<f64>> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    found.extend(avx::f64_kernels());
    found.push(portable::f64_kernels());
    found
}
