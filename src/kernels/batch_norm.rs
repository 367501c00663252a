//! Launches of `kernels/batch_norm.cu`: statistics, normalisation and gradients of a [rows, channels]
//! matrix, channels innermost.

use super::columns::{BLOCKS, Cut, THREADS};
use super::elementwise::refuse_unaligned;
use super::params::BatchNormParams;
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

const NAME: &str = "batch_norm";
/// Channels and threads of a block that joins slabs.
const FINISH: (usize, u32) = (32, 1024);

/// Kernels of vectors of channels and of single channels, each for f32, f16 and bf16.
const STATISTICS: [[&str; 3]; 2] = [
    [
        "batch_norm_statistics_f32",
        "batch_norm_statistics_f16",
        "batch_norm_statistics_bf16",
    ],
    [
        "batch_norm_statistics_scalar_f32",
        "batch_norm_statistics_scalar_f16",
        "batch_norm_statistics_scalar_bf16",
    ],
];
const APPLY: [[&str; 3]; 2] = [
    [
        "batch_norm_apply_f32",
        "batch_norm_apply_f16",
        "batch_norm_apply_bf16",
    ],
    [
        "batch_norm_apply_scalar_f32",
        "batch_norm_apply_scalar_f16",
        "batch_norm_apply_scalar_bf16",
    ],
];
const BACKWARD_SUMS: [[&str; 3]; 2] = [
    [
        "batch_norm_backward_sums_f32",
        "batch_norm_backward_sums_f16",
        "batch_norm_backward_sums_bf16",
    ],
    [
        "batch_norm_backward_sums_scalar_f32",
        "batch_norm_backward_sums_scalar_f16",
        "batch_norm_backward_sums_scalar_bf16",
    ],
];
const BACKWARD: [[&str; 3]; 2] = [
    [
        "batch_norm_backward_f32",
        "batch_norm_backward_f16",
        "batch_norm_backward_bf16",
    ],
    [
        "batch_norm_backward_scalar_f32",
        "batch_norm_backward_scalar_f16",
        "batch_norm_backward_scalar_bf16",
    ],
];

/// A matrix and how its kernels are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    dtype: DType,
    cut: Cut,
}

/// Where the forward pass reads and writes the numbers of the channels, all f32. Those of training
/// are also what the backward pass reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Channels {
    /// γ.
    pub gamma: Address,
    /// β.
    pub beta: Address,
    /// μ: written in training, read in evaluation.
    pub mean: Address,
    /// σ²: the unbiased one is written in training, the biased one is read in evaluation.
    pub variance: Address,
    /// 1/√(σ² + ε), written.
    pub inverse_std: Address,
    /// γ/√(σ² + ε), written.
    pub scale: Address,
    /// β − μ·scale, written.
    pub shift: Address,
}

/// Running statistics, blended with those of the batch where they are not null.
#[derive(Clone, Copy, Debug, Default)]
pub struct Running {
    /// Mean.
    pub mean: Address,
    /// Unbiased variance.
    pub variance: Address,
    /// Share of the batch.
    pub momentum: f64,
}

/// What is normalised, and what becomes of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values {
    /// The input.
    pub x: Address,
    /// Added before the rectifier; null for none.
    pub residual: Address,
    /// The output.
    pub y: Address,
}

/// What the backward pass reads and writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gradients {
    /// The input of the forward pass.
    pub x: Address,
    /// Its output, where the rectifier's gate is to come from it; null to recompute the gate.
    pub y: Address,
    /// Gradient of the output.
    pub dy: Address,
    /// Gradient of the input; may be `dy`.
    pub dx: Address,
    /// Gradient of the residual; null for none.
    pub dresidual: Address,
    /// Gradient of γ.
    pub dgamma: Address,
    /// Gradient of β.
    pub dbeta: Address,
}

/// Settings of the operation.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether statistics are those of the batch.
    pub training: bool,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether a rectifier follows.
    pub relu: bool,
}

impl Plan {
    /// The plan for a matrix of `dtype`.
    ///
    /// # Errors
    /// [`Error::DType`], and [`Error::Shape`] for empty or too large matrices.
    pub fn new(dtype: DType, rows: usize, channels: usize) -> Result<Plan> {
        Self::with_blocks(dtype, rows, channels, BLOCKS)
    }

    /// The same with at most about so many blocks: sums then run in another order.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn with_blocks(dtype: DType, rows: usize, channels: usize, blocks: usize) -> Result<Plan> {
        let cut = Cut::new(NAME, dtype, rows, channels, blocks)?;
        Ok(Plan { dtype, cut })
    }

    /// f32 numbers of scratch memory that a forward or backward pass needs.
    pub fn scratch(&self) -> usize {
        2 * self.cut.channels as usize * (self.cut.slabs as usize + 1)
    }

    /// Rows that one thread goes over, at most, and levels of the tree over a block: what the rounding
    /// errors of sums follow from.
    pub fn depth(&self) -> (usize, usize) {
        let lanes = THREADS / self.cut.vectors as usize;
        let rows = (self.cut.slab_rows as usize).div_ceil(lanes);
        (rows, lanes.ilog2() as usize)
    }

    /// Statistics, coefficients and running statistics, then y, from the batch; `scratch` as
    /// [`Plan::scratch`] says.
    ///
    /// # Errors
    /// [`Error::Shape`] for a single row, which has no variance, and unaligned addresses.
    pub fn train(
        &self,
        settings: Settings,
        values: Values,
        channels: Channels,
        running: Running,
        scratch: Address,
    ) -> Result<[Launch; 3]> {
        let [statistics, finish] = self.measure(settings, values.x, channels, running, scratch)?;
        Ok([statistics, finish, self.apply(settings, values, channels)?])
    }

    /// The first two launches of [`Plan::train`]: all but y.
    ///
    /// # Errors
    /// As [`Plan::train`].
    pub fn measure(
        &self,
        settings: Settings,
        x: Address,
        channels: Channels,
        running: Running,
        scratch: Address,
    ) -> Result<[Launch; 2]> {
        refuse_unaligned(NAME, &[x])?;
        if self.cut.rows < 2 {
            return Err(Error::shape(NAME, "one row has no variance"));
        }
        let mut params = self.params(settings);
        let statistics = self
            .walk(STATISTICS)?
            .params(params)
            .pointer(x)
            .pointer(scratch);
        params.momentum = running.momentum;
        let finish = self
            .finish("batch_norm_finish")
            .params(params)
            .pointer(scratch)
            .pointer(channels.gamma)
            .pointer(channels.beta)
            .pointer(channels.mean)
            .pointer(channels.variance)
            .pointer(channels.inverse_std)
            .pointer(channels.scale)
            .pointer(channels.shift)
            .pointer(running.mean)
            .pointer(running.variance);
        Ok([statistics, finish])
    }

    /// Coefficients, then y, from given statistics.
    ///
    /// # Errors
    /// [`Error::Shape`] for unaligned addresses.
    pub fn evaluate(
        &self,
        settings: Settings,
        values: Values,
        channels: Channels,
    ) -> Result<[Launch; 2]> {
        let apply = self.apply(settings, values, channels)?;
        let coefficients = self.coefficients(settings, channels, Address::default());
        Ok([coefficients, apply])
    }

    /// Coefficients from given statistics, and the unbiased variance that follows from a given biased one
    /// where `unbiased` is not null.
    pub fn coefficients(
        &self,
        settings: Settings,
        channels: Channels,
        unbiased: Address,
    ) -> Launch {
        per_channel("batch_norm_coefficients", self.cut.channels)
            .params(self.params(settings))
            .pointer(channels.mean)
            .pointer(channels.variance)
            .pointer(channels.gamma)
            .pointer(channels.beta)
            .pointer(channels.inverse_std)
            .pointer(channels.scale)
            .pointer(channels.shift)
            .pointer(unbiased)
    }

    /// y = x·scale + shift (+ residual), rectified if asked.
    ///
    /// # Errors
    /// [`Error::Shape`] for unaligned addresses.
    pub fn apply(&self, settings: Settings, values: Values, channels: Channels) -> Result<Launch> {
        refuse_unaligned(NAME, &[values.x, values.residual, values.y])?;
        Ok(self
            .walk(APPLY)?
            .params(self.params(settings))
            .pointer(values.x)
            .pointer(values.residual)
            .pointer(channels.scale)
            .pointer(channels.shift)
            .pointer(values.y))
    }

    /// The gradients, in training and in evaluation; `channels` as the forward pass left them.
    ///
    /// # Errors
    /// [`Error::Shape`] for unaligned addresses.
    pub fn backward(
        &self,
        settings: Settings,
        gradients: Gradients,
        channels: Channels,
        scratch: Address,
    ) -> Result<[Launch; 3]> {
        let Gradients {
            x,
            y,
            dy,
            dx,
            dresidual,
            ..
        } = gradients;
        refuse_unaligned(NAME, &[x, y, dy, dx, dresidual])?;
        let sums = self
            .reading(self.walk(BACKWARD_SUMS)?, settings, gradients, channels)
            .pointer(scratch);
        let slabs = self.cut.slabs;
        let [finish, backward] = self.conclude(settings, slabs, gradients, channels, scratch)?;
        Ok([sums, finish, backward])
    }

    /// The last two launches of the backward pass, when the sums of `slabs` slabs are in `scratch`.
    pub(super) fn conclude(
        &self,
        settings: Settings,
        slabs: u32,
        gradients: Gradients,
        channels: Channels,
        scratch: Address,
    ) -> Result<[Launch; 2]> {
        let params = BatchNormParams {
            slabs,
            ..self.params(settings)
        };
        let partials = 2 * self.cut.channels as u64 * slabs as u64;
        let slopes = Address(scratch.0 + size_of::<f32>() as u64 * partials);
        let finish = self
            .finish("batch_norm_backward_finish")
            .params(params)
            .pointer(scratch)
            .pointer(channels.inverse_std)
            .pointer(channels.scale)
            .pointer(gradients.dgamma)
            .pointer(gradients.dbeta)
            .pointer(slopes);
        let backward = self
            .reading(self.walk(BACKWARD)?, settings, gradients, channels)
            .pointer(slopes)
            .pointer(gradients.dx)
            .pointer(gradients.dresidual);
        Ok([finish, backward])
    }

    /// `launch` with the arguments that both passes over the values begin with.
    fn reading(
        &self,
        launch: Launch,
        settings: Settings,
        gradients: Gradients,
        channels: Channels,
    ) -> Launch {
        launch
            .params(self.params(settings))
            .pointer(gradients.x)
            .pointer(gradients.y)
            .pointer(gradients.dy)
            .pointer(channels.mean)
            .pointer(channels.scale)
            .pointer(channels.shift)
    }

    fn params(&self, settings: Settings) -> BatchNormParams {
        let Cut {
            rows,
            channels,
            vectors,
            slab_rows,
            slabs,
            ..
        } = self.cut;
        BatchNormParams {
            epsilon: settings.epsilon,
            momentum: 0.0,
            rows,
            channels,
            vectors,
            slab_rows,
            slabs,
            relu: settings.relu as u32,
            training: settings.training as u32,
            padding: 0,
        }
    }

    fn walk(&self, kernels: [[&'static str; 3]; 2]) -> Result<Launch> {
        let kernel = self.cut.pick(NAME, self.dtype, kernels)?;
        let grid = [self.cut.columns, self.cut.slabs, 1];
        Ok(Launch::new(kernel, grid, THREADS as u32))
    }

    fn finish(&self, kernel: &'static str) -> Launch {
        let (channels, threads) = FINISH;
        let blocks = (self.cut.channels as usize).div_ceil(channels) as u32;
        Launch::new(kernel, [blocks, 1, 1], threads)
    }
}

/// running = (1 − momentum)·running + momentum·batch over `channels` f32 numbers.
///
/// # Errors
/// [`Error::Shape`] for no channels.
pub fn blend(channels: usize, momentum: f64, batch: Address, running: Address) -> Result<Launch> {
    let plan = Plan::new(DType::F32, 1, channels)?;
    let settings = Settings {
        training: true,
        epsilon: 0.0,
        relu: false,
    };
    let params = BatchNormParams {
        momentum,
        ..plan.params(settings)
    };
    Ok(per_channel("batch_norm_blend", plan.cut.channels)
        .params(params)
        .pointer(batch)
        .pointer(running))
}

fn per_channel(kernel: &'static str, channels: u32) -> Launch {
    let blocks = channels.div_ceil(THREADS as u32);
    Launch::new(kernel, [blocks, 1, 1], THREADS as u32)
}
