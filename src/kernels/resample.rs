//! Launches of `kernels/resample.cu`: y = (R ⊗ C) x with one sparse matrix for rows and one for columns.

use super::elementwise::{pick, refuse_unaligned};
use super::image::{Images, THREADS, blocks, pair, vector};
use super::params::ResampleParams;
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

const OP: &str = "resample";
/// Taps that one thread may add up before several threads share the work.
const TAPS_PER_THREAD: usize = 16;
/// At most so many threads share one sum.
const MOST_SLICES: usize = 64;

/// Both matrices as the kernel reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What the kernel's table holds, to be copied to the device; weights are bits of f32.
    pub words: Vec<i32>,
    input: [usize; 2],
    output: [usize; 2],
    taps: [usize; 2],
    slices: usize,
}

impl Table {
    /// The table of R and C over maps of `input`; a row of a matrix is a list of (cell, weight).
    ///
    /// # Errors
    /// [`Error::Shape`] for a cell that is not on the map, and for an empty map or result.
    pub fn new(input: [usize; 2], matrices: [&[Vec<(usize, f64)>]; 2]) -> Result<Self> {
        for (rows, cells) in matrices.into_iter().zip(input) {
            let most = rows.iter().flatten().map(|&(cell, _)| cell).max();
            if rows.is_empty()
                || most.is_some_and(|cell| cell >= cells)
                || cells > i32::MAX as usize
            {
                let rows = rows.len();
                let what =
                    format!("a matrix of {rows} rows and cells up to {most:?} on {cells} cells");
                return Err(Error::shape(OP, what));
            }
        }
        let mut words = Vec::new();
        for rows in matrices {
            let mut start = 0;
            words.push(start);
            for row in rows {
                start += row.len() as i32;
                words.push(start);
            }
        }
        for rows in matrices {
            let taps = || rows.iter().flatten();
            words.extend(taps().map(|&(cell, _)| cell as i32));
            words.extend(taps().map(|&(_, weight)| (weight as f32).to_bits() as i32));
        }
        let longest = matrices.map(|rows| rows.iter().map(Vec::len).max().unwrap_or(0));
        Ok(Table {
            words,
            input,
            output: matrices.map(<[_]>::len),
            taps: matrices.map(|rows| rows.iter().map(Vec::len).sum()),
            slices: slices(longest),
        })
    }
}

/// Threads that share the sum of one output: a power of two, each with two rows of taps at least.
fn slices([rows, columns]: [usize; 2]) -> usize {
    let wanted = (rows * columns)
        .div_ceil(TAPS_PER_THREAD)
        .next_power_of_two();
    let possible = (rows / 2).max(1);
    wanted.min(1 << possible.ilog2()).min(MOST_SLICES)
}

/// `x` resampled to `y`. `words`: where [`Table::words`] lies on the device.
///
/// # Errors
/// [`Error`] for maps that are not the table's, and a dtype or addresses the kernels do not do.
pub fn launch(
    dtype: DType,
    x_shape: Images,
    table: &Table,
    words: Address,
    [x, y]: [Address; 2],
) -> Result<Launch> {
    let y_shape = Images {
        map: table.output,
        ..x_shape
    };
    x_shape.refuse_impossible(OP)?;
    y_shape.refuse_impossible(OP)?;
    refuse_unaligned(OP, &[x, y])?;
    if x_shape.map != table.input {
        let what = format!(
            "a table for maps of {:?} on maps of {:?}",
            table.input, x_shape.map
        );
        return Err(Error::shape(OP, what));
    }
    let vector = vector(dtype, x_shape.channels);
    let kernel = match vector {
        Some(_) => [
            "resample_vector_f32",
            "resample_vector_f16",
            "resample_vector_bf16",
        ],
        None => [
            "resample_scalar_f32",
            "resample_scalar_f16",
            "resample_scalar_bf16",
        ],
    };
    let kernel = pick(OP, dtype, kernel)?;
    let columns = THREADS / table.slices;
    let params = ResampleParams {
        input: pair(table.input),
        output: pair(table.output),
        channels: x_shape.channels as u32,
        taps: pair(table.taps),
        columns: columns as u32,
    };
    let chunks = blocks(
        OP,
        (y_shape.image() / vector.unwrap_or(1)).div_ceil(columns),
    )?;
    let grid = [chunks, x_shape.batch as u32, 1];
    let launch = Launch::new(kernel, grid, THREADS as u32).params(params);
    Ok(launch.pointer(words).pointer(x).pointer(y))
}
