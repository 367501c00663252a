//! Launches of `kernels/batch_norm_shuffle.cu`: y = max(x\[π\]·scale + shift, 0) in one pass, and back.

use super::batch_norm::{Channels, Gradients, Plan, Settings};
use super::elementwise::{VECTOR, pick, refuse_unaligned};
use super::params::SpatialShuffleParams;
use super::spatial_shuffle::{Maps, refuse_impossible, staged_vectors};
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

const NAME: &str = "batch_norm_shuffle";
const FORWARD: [[&str; 3]; 3] = [
    [
        "batch_norm_shuffle_staged_f32",
        "batch_norm_shuffle_staged_f16",
        "batch_norm_shuffle_staged_bf16",
    ],
    [
        "batch_norm_shuffle_direct_f32",
        "batch_norm_shuffle_direct_f16",
        "batch_norm_shuffle_direct_bf16",
    ],
    [
        "batch_norm_shuffle_scalar_f32",
        "batch_norm_shuffle_scalar_f16",
        "batch_norm_shuffle_scalar_bf16",
    ],
];
const BACKWARD: [[&str; 3]; 3] = [
    [
        "batch_norm_shuffle_backward_staged_f32",
        "batch_norm_shuffle_backward_staged_f16",
        "batch_norm_shuffle_backward_staged_bf16",
    ],
    [
        "batch_norm_shuffle_backward_direct_f32",
        "batch_norm_shuffle_backward_direct_f16",
        "batch_norm_shuffle_backward_direct_bf16",
    ],
    [
        "batch_norm_shuffle_backward_scalar_f32",
        "batch_norm_shuffle_backward_scalar_f16",
        "batch_norm_shuffle_backward_scalar_bf16",
    ],
];

/// Maps, their type, and how the kernels go over them.
#[derive(Clone, Copy, Debug)]
pub struct Shuffle {
    dtype: DType,
    maps: Maps,
    /// 0: staged, 1: direct, 2: scalar.
    method: usize,
    /// Packs of a column.
    vectors: usize,
    /// Channels of a pack.
    width: usize,
}

impl Shuffle {
    /// The plan for maps of `dtype`, whose `width` is that of the dtype. `shared_limit`: bytes of shared
    /// memory a block can have to stage its column.
    ///
    /// # Errors
    /// [`Error::DType`], and [`Error::Shape`] for sizes the kernels do not do.
    pub fn new(dtype: DType, maps: Maps, shared_limit: u32) -> Result<Shuffle> {
        pick(NAME, dtype, ["", "", ""])?;
        if maps.width != dtype.size() {
            let what = format!("elements of {} bytes, but {dtype}", maps.width);
            return Err(Error::shape(NAME, what));
        }
        refuse_impossible(NAME, maps)?;
        let per_vector = VECTOR / maps.width;
        let packs = maps.channels / per_vector;
        let (method, vectors, width) = if !maps.channels.is_multiple_of(per_vector) {
            let vectors = maps.channels.next_power_of_two().min(32);
            (2, vectors, 1)
        } else {
            match staged_vectors(maps.positions, packs, shared_limit as usize) {
                Some(vectors) => (0, vectors, per_vector),
                // 32 bytes side by side: a whole sector.
                None => (1, 2, per_vector),
            }
        };
        Ok(Shuffle {
            dtype,
            maps,
            method,
            vectors,
            width,
        })
    }

    /// y[n, i, c] = max(x[n, π_c(i), c] · scale_c + shift_c, 0).
    ///
    /// # Errors
    /// [`Error::Shape`] for unaligned addresses.
    pub fn forward(
        &self,
        x: Address,
        table: Address,
        scale: Address,
        shift: Address,
        y: Address,
    ) -> Result<Launch> {
        refuse_unaligned(NAME, &[x, table, y])?;
        Ok(self
            .launch(FORWARD, 0)?
            .pointer(x)
            .pointer(table)
            .pointer(scale)
            .pointer(shift)
            .pointer(y))
    }

    /// f32 numbers of scratch memory that [`Shuffle::backward`] needs.
    pub fn scratch(&self) -> usize {
        2 * self.maps.channels * (self.maps.batch + 1)
    }

    /// dγ, dβ and dx from the gradient of y and the inverse table; `channels` as the forward pass of
    /// the normalisation left them. dx is written before dy is read for the last time, so they must differ;
    /// `y` and `dresidual` of the gradients are not used.
    ///
    /// # Errors
    /// [`Error::Shape`] for unaligned addresses, and where dx is dy or x.
    pub fn backward(
        &self,
        training: bool,
        gradients: Gradients,
        inverse: Address,
        channels: Channels,
        scratch: Address,
    ) -> Result<[Launch; 3]> {
        let Gradients { x, dy, dx, .. } = gradients;
        refuse_unaligned(NAME, &[x, dy, dx, inverse])?;
        if dx == dy || dx == x {
            return Err(Error::shape(NAME, "dx takes the place of dy or x"));
        }
        let Maps {
            batch,
            positions,
            channels: width,
            ..
        } = self.maps;
        let gather = self
            .launch(BACKWARD, 2 * self.width * size_of::<f32>())?
            .pointer(x)
            .pointer(dy)
            .pointer(inverse)
            .pointer(channels.mean)
            .pointer(channels.scale)
            .pointer(channels.shift)
            .pointer(dx)
            .pointer(scratch);
        let settings = Settings {
            training,
            epsilon: 0.0,
            relu: false,
        };
        let gated = Gradients {
            y: Address::default(),
            dy: dx,
            dresidual: Address::default(),
            ..gradients
        };
        let plan = Plan::new(self.dtype, batch * positions, width)?;
        let [finish, last] = plan.conclude(settings, batch as u32, gated, channels, scratch)?;
        Ok([gather, finish, last])
    }

    /// With at least `tree` bytes of shared memory for each thread.
    fn launch(&self, kernels: [[&'static str; 3]; 3], tree: usize) -> Result<Launch> {
        let Maps {
            batch,
            positions,
            channels,
            ..
        } = self.maps;
        let threads = (positions * self.vectors)
            .next_power_of_two()
            .clamp(128, 512);
        let staged = match self.method {
            0 => positions * self.vectors * VECTOR,
            _ => 0,
        };
        let params = SpatialShuffleParams {
            batch: batch as u32,
            positions: positions as u32,
            channels: channels as u32,
            vectors: self.vectors as u32,
            table_stride: match self.maps.table_per_image {
                true => (positions * channels) as u32,
                false => 0,
            },
        };
        let columns = channels.div_ceil(self.width * self.vectors);
        let kernel = pick(NAME, self.dtype, kernels[self.method])?;
        Ok(
            Launch::new(kernel, [columns as u32, batch as u32, 1], threads as u32)
                .shared(staged.max(tree * threads) as u32)
                .params(params),
        )
    }
}
