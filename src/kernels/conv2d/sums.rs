//! Launches of `kernels/conv2d.cu`: the sums around the products.

use super::super::params::Conv2dSumParams;
use super::super::{Address, Launch};
use super::{Epilogue, NAME, VECTOR, aligned};
use crate::tensor::DType;
use crate::{Error, Result};

const SUM_THREADS: u32 = 256;
const FINISH: [&str; 3] = [
    "conv2d_finish_f32",
    "conv2d_finish_f16",
    "conv2d_finish_bf16",
];
const BIAS_GRADIENT: [&str; 3] = [
    "conv2d_bias_gradient_f32",
    "conv2d_bias_gradient_f16",
    "conv2d_bias_gradient_bf16",
];

fn named(dtype: DType, kernels: [&'static str; 3]) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok(kernels[0]),
        DType::F16 => Ok(kernels[1]),
        DType::BF16 => Ok(kernels[2]),
        other => Err(Error::DType {
            op: NAME,
            expected: "f32, f16 or bf16",
            found: other,
        }),
    }
}

/// Adds the `parts` of a result of `elements` elements, `columns` in a row, and finishes it.
pub(super) fn finish(
    dtype: DType,
    [elements, columns, parts]: [usize; 3],
    with: Epilogue,
    scratch: Address,
    result: Address,
) -> Result<Launch> {
    let params = Conv2dSumParams {
        elements: elements as u32,
        columns: columns as u32,
        rows: 0,
        part: parts as u32,
        lanes: 1,
        wide: columns.is_multiple_of(4) as u32,
        relu: with.relu as u32,
    };
    let blocks = params.elements.div_ceil(4 * SUM_THREADS);
    Ok(
        Launch::new(named(dtype, FINISH)?, [blocks, 1, 1], SUM_THREADS)
            .params(params)
            .pointer(scratch)
            .pointer(with.scale)
            .pointer(with.shift)
            .pointer(with.bias)
            .pointer(with.residual)
            .pointer(result),
    )
}

/// Joins the statistics of tiles of `part` rows each; takes their address, that of the means and that of
/// the variances.
pub(super) fn join(rows: usize, part: usize, columns: usize) -> Launch {
    let params = Conv2dSumParams {
        elements: columns as u32,
        columns: columns as u32,
        rows: rows as u32,
        part: part as u32,
        lanes: 1,
        wide: 0,
        relu: 0,
    };
    let blocks = columns.div_ceil(SUM_THREADS as usize / 32) as u32;
    Launch::new("conv2d_statistics", [blocks, 1, 1], SUM_THREADS).params(params)
}

/// The gradient of a bias, planned: sums of the columns of dy \[rows, columns\].
#[derive(Clone, Copy, Debug)]
pub struct BiasGradient {
    dtype: DType,
    params: Conv2dSumParams,
    parts: usize,
}

impl BiasGradient {
    /// Plans the sums for a device with this many multiprocessors.
    ///
    /// # Errors
    /// [`Error::Shape`] for an empty matrix or one of 2^31 elements and more, and for a dtype
    /// without kernels.
    pub fn new(rows: usize, columns: usize, dtype: DType, multiprocessors: usize) -> Result<Self> {
        named(dtype, BIAS_GRADIENT)?;
        if rows * columns == 0 || rows.saturating_mul(columns) > i32::MAX as usize {
            let what = format!("a bias gradient of {rows} rows and {columns} columns");
            return Err(Error::shape(NAME, what));
        }
        let per_vector = VECTOR / dtype.size();
        let wide = columns.is_multiple_of(per_vector);
        let vectors = if wide { columns / per_vector } else { columns };
        let lanes = vectors.next_power_of_two().min(32);
        let together = SUM_THREADS as usize / lanes;
        let fill = (2 * multiprocessors).div_ceil(vectors.div_ceil(lanes));
        let parts = fill.min(rows.div_ceil(8 * together)).clamp(1, 65535);
        let part = rows.div_ceil(parts);
        let params = Conv2dSumParams {
            elements: columns as u32,
            columns: columns as u32,
            rows: rows as u32,
            part: part as u32,
            lanes: lanes as u32,
            wide: wide as u32,
            relu: 0,
        };
        Ok(BiasGradient {
            dtype,
            params,
            parts: rows.div_ceil(part),
        })
    }

    /// Bytes of scratch memory that the launches use.
    pub fn scratch_bytes(&self) -> usize {
        self.parts * self.params.columns as usize * 4
    }

    /// The launches that write `db` from `dy`.
    ///
    /// # Errors
    /// [`Error::Shape`] for an address that is not aligned to 16 bytes.
    pub fn launches(&self, dy: Address, db: Address, scratch: Address) -> Result<[Launch; 2]> {
        aligned([dy, db, scratch])?;
        let p = self.params;
        let width = if p.wide == 1 {
            VECTOR / self.dtype.size()
        } else {
            1
        };
        let across = p.columns.div_ceil(p.lanes * width as u32);
        let kernel = named(self.dtype, BIAS_GRADIENT)?;
        let partial = Launch::new(kernel, [across, self.parts as u32, 1], SUM_THREADS)
            .params(p)
            .pointer(dy)
            .pointer(scratch);
        let columns = p.columns as usize;
        let cut = [columns, columns, self.parts];
        let sum = finish(self.dtype, cut, Epilogue::default(), scratch, db)?;
        Ok([partial, sum])
    }
}
