//! Launches of `kernels/global_avg_pool.cu`: y[n, c] = 1/P Σ_i x[n, i, c].

use super::elementwise::{pick, refuse_unaligned};
use super::image::{Images, THREADS, blocks, vector};
use super::params::GlobalAvgPoolParams;
use super::{Address, Launch};
use crate::Result;
use crate::tensor::DType;

const OP: &str = "global_avg_pool";
/// Positions that one thread adds up, about.
const POSITIONS_PER_THREAD: usize = 8;
/// At most so many threads share one mean.
const MOST_SLICES: usize = 64;

/// The mean of each channel of `x` over its map, to `y`, [batch, channels].
///
/// # Errors
/// [`crate::Error`] for maps, a dtype or addresses the kernels do not do.
pub fn forward(dtype: DType, x_shape: Images, x: Address, y: Address) -> Result<Launch> {
    let kernels = [
        pick(
            OP,
            dtype,
            [
                "global_avg_pool_scalar_f32",
                "global_avg_pool_scalar_f16",
                "global_avg_pool_scalar_bf16",
            ],
        )?,
        pick(
            OP,
            dtype,
            [
                "global_avg_pool_vector_f32",
                "global_avg_pool_vector_f16",
                "global_avg_pool_vector_bf16",
            ],
        )?,
    ];
    plan(kernels, dtype, x_shape, x, y)
}

/// The vjp: `dy`, [batch, channels], divided among the positions of `dx`.
///
/// # Errors
/// As [`forward`].
pub fn backward(dtype: DType, x_shape: Images, dy: Address, dx: Address) -> Result<Launch> {
    let kernels = [
        pick(
            OP,
            dtype,
            [
                "global_avg_pool_backward_scalar_f32",
                "global_avg_pool_backward_scalar_f16",
                "global_avg_pool_backward_scalar_bf16",
            ],
        )?,
        pick(
            OP,
            dtype,
            [
                "global_avg_pool_backward_vector_f32",
                "global_avg_pool_backward_vector_f16",
                "global_avg_pool_backward_vector_bf16",
            ],
        )?,
    ];
    plan(kernels, dtype, x_shape, dy, dx)
}

/// `kernels`: for channels one by one, and for vectors of them.
fn plan(
    kernels: [&'static str; 2],
    dtype: DType,
    shape: Images,
    from: Address,
    to: Address,
) -> Result<Launch> {
    shape.refuse_impossible(OP)?;
    refuse_unaligned(OP, &[from, to])?;
    let vector = vector(dtype, shape.channels);
    let positions = shape.map[0] * shape.map[1];
    let slices = positions.div_ceil(POSITIONS_PER_THREAD);
    let columns = THREADS / slices.next_power_of_two().min(MOST_SLICES);
    let image_blocks = (shape.channels / vector.unwrap_or(1)).div_ceil(columns);
    let params = GlobalAvgPoolParams {
        positions: positions as u32,
        channels: shape.channels as u32,
        columns: columns as u32,
        blocks: image_blocks as u32,
    };
    let grid = [blocks(OP, shape.batch * image_blocks)?, 1, 1];
    let launch = Launch::new(kernels[vector.is_some() as usize], grid, THREADS as u32);
    Ok(launch.params(params).pointer(from).pointer(to))
}
