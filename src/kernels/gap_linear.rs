//! Launches of `kernels/gap_linear.cu`: y[n, k] = b\[k\] + Σ_c w[k, c] · m[n, c], m the means of maps.

use super::elementwise::{pick, refuse_unaligned};
use super::image::{Images, vector};
use super::params::GapLinearParams;
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

const NAME: &str = "gap_linear";
/// Threads of a block, and most images of one.
const THREADS: usize = 512;
const IMAGES: usize = 4;
/// Most threads that share the positions of a vector.
const MOST_SLICES: usize = 8;
/// A block reads w from L2 about 4 times as fast as its share of x from memory, and a launch saved is worth
/// as much again; an estimate until measured.
const WEIGHTS_OVER_MAPS: usize = 8;

/// Maps and outputs, and how the kernel goes over them.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    dtype: DType,
    maps: Images,
    outputs: usize,
    images: usize,
    slices: usize,
}

/// Where the kernel reads and writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operands {
    /// [batch, height, width, channels].
    pub x: Address,
    /// [outputs, channels].
    pub w: Address,
    /// \[outputs\], or null.
    pub bias: Address,
    /// [batch, channels], written: the means.
    pub pooled: Address,
    /// [batch, outputs], written.
    pub y: Address,
}

impl Plan {
    /// The plan for a device with so many multiprocessors and bytes of shared memory for a block.
    ///
    /// # Errors
    /// [`Error::DType`], and [`Error::Shape`] for maps and outputs the kernels do not do.
    pub fn new(
        dtype: DType,
        maps: Images,
        outputs: usize,
        multiprocessors: usize,
        shared_limit: u32,
    ) -> Result<Plan> {
        pick(NAME, dtype, ["", "", ""])?;
        maps.refuse_impossible(NAME)?;
        if outputs == 0 || outputs.saturating_mul(maps.channels) > i32::MAX as usize {
            let what = format!("{outputs} outputs of {} channels", maps.channels);
            return Err(Error::shape(NAME, what));
        }
        let positions = maps.map[0] * maps.map[1];
        let vectors = maps.channels / vector(dtype, maps.channels).unwrap_or(1);
        let images = maps.batch.div_ceil(multiprocessors.max(1)).min(IMAGES);
        let busy = (THREADS / vectors).min(positions).clamp(1, MOST_SLICES);
        let plan = Plan {
            dtype,
            maps,
            outputs,
            images,
            // A power of two, from below.
            slices: 1 << busy.ilog2(),
        };
        if plan.shared() > shared_limit as usize {
            let what = format!(
                "{} channels take {} bytes of shared memory; a block has {shared_limit}",
                maps.channels,
                plan.shared()
            );
            return Err(Error::shape(NAME, what));
        }
        Ok(plan)
    }

    fn shared(&self) -> usize {
        self.slices * IMAGES * self.maps.channels * size_of::<f32>()
    }

    /// Whether this is likely to take less time than pooling and product by kernels of their own: whether
    /// reading all weights costs a block about what reading its maps does.
    pub fn pays(&self) -> bool {
        let positions = self.maps.map[0] * self.maps.map[1];
        self.outputs <= WEIGHTS_OVER_MAPS * self.images * positions
    }

    /// The launch, with a rectifier if asked.
    ///
    /// # Errors
    /// [`Error::Shape`] for unaligned addresses.
    pub fn forward(&self, relu: bool, at: Operands) -> Result<Launch> {
        refuse_unaligned(NAME, &[at.x, at.w, at.bias, at.pooled, at.y])?;
        let kernels = match vector(self.dtype, self.maps.channels) {
            Some(_) => [
                "gap_linear_vector_f32",
                "gap_linear_vector_f16",
                "gap_linear_vector_bf16",
            ],
            None => [
                "gap_linear_scalar_f32",
                "gap_linear_scalar_f16",
                "gap_linear_scalar_bf16",
            ],
        };
        let kernel = pick(NAME, self.dtype, kernels)?;
        let params = GapLinearParams {
            batch: self.maps.batch as u32,
            positions: (self.maps.map[0] * self.maps.map[1]) as u32,
            channels: self.maps.channels as u32,
            outputs: self.outputs as u32,
            images: self.images as u32,
            slices: self.slices as u32,
            relu: relu as u32,
        };
        let blocks = self.maps.batch.div_ceil(self.images) as u32;
        Ok(Launch::new(kernel, [blocks, 1, 1], THREADS as u32)
            .shared(self.shared() as u32)
            .params(params)
            .pointer(at.x)
            .pointer(at.w)
            .pointer(at.bias)
            .pointer(at.pooled)
            .pointer(at.y))
    }
}
