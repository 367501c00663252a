//! Launches of `kernels/concat.cu`: columns of one matrix copied into columns of another.

use super::elementwise::{VECTOR, pick, refuse_unaligned};
use super::params::ConcatParams;
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

const THREADS: usize = 256;
const STEPS: usize = 4;

/// Some of the columns of a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Where the matrix is.
    pub matrix: Address,
    /// Elements of a row.
    pub width: usize,
    /// The first column.
    pub start: usize,
    /// How many.
    pub length: usize,
}

impl Columns {
    /// All columns of a matrix of this width.
    pub fn all(matrix: Address, width: usize) -> Self {
        Columns {
            matrix,
            width,
            start: 0,
            length: width,
        }
    }
}

/// `rows` rows of `from` to those of `to`, as many columns of each.
///
/// # Errors
/// [`Error::DType`]; [`Error::Shape`] for columns that are not there, nothing to copy, 2^31 elements or
/// more, and unaligned addresses.
pub fn copy(dtype: DType, rows: usize, from: Columns, to: Columns) -> Result<Launch> {
    refuse_unaligned("concat", &[from.matrix, to.matrix])?;
    let scalar = pick("concat", dtype, ["concat_b32", "concat_b16", "concat_b16"])?;
    let inside = |c: Columns| {
        let end = c.start.checked_add(c.length);
        end.is_some_and(|end| end <= c.width) && c.width <= i32::MAX as usize
    };
    let elements = rows.saturating_mul(from.length);
    if from.length != to.length || !inside(from) || !inside(to) || elements == 0 {
        let what = format!("{rows} rows of {from:?} into {to:?}");
        return Err(Error::shape("concat", what));
    }
    let whole = |n: usize| (n * dtype.size()).is_multiple_of(VECTOR);
    let all = [from.width, from.start, to.width, to.start, from.length];
    let (kernel, per_unit) = match all.into_iter().all(whole) {
        true => ("concat_b128", VECTOR / dtype.size()),
        false => (scalar, 1),
    };
    let units = elements / per_unit;
    if units > i32::MAX as usize {
        let what = format!("{elements} elements; the kernels move fewer than 2^31 at once");
        return Err(Error::shape("concat", what));
    }
    let params = ConcatParams {
        units: units as u32,
        length: (from.length / per_unit) as u32,
        from_width: (from.width / per_unit) as u32,
        from_start: (from.start / per_unit) as u32,
        to_width: (to.width / per_unit) as u32,
        to_start: (to.start / per_unit) as u32,
    };
    let blocks = units.div_ceil(THREADS * STEPS) as u32;
    Ok(Launch::new(kernel, [blocks, 1, 1], THREADS as u32)
        .params(params)
        .pointer(from.matrix)
        .pointer(to.matrix))
}
