//! Launches of `kernels/sgd.cu`: a step of gradient descent over a table of tensors, the search for
//! gradients that are not finite, and the loss scale.

use super::elementwise::{pick, refuse_unaligned};
use super::params::SgdParams;
use super::{Address, Launch};
use crate::cpu::sgd::Step;
use crate::tensor::DType;
use crate::{Error, Result};

const NAME: &str = "sgd";
const THREADS: u32 = 256;
/// Elements of a block.
const BLOCK: usize = 2048;

/// Tensors that one launch takes.
pub const TENSORS: usize = 100;

/// A tensor to be updated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrays {
    /// Elements of each array.
    pub elements: usize,
    /// f32 weights, updated.
    pub weights: Address,
    /// f32 velocities, updated.
    pub velocities: Address,
    /// Gradients: of the table's 16-bit dtype where there is a copy, else f32.
    pub gradient: Address,
    /// The new weights in the table's 16-bit dtype; null for none.
    pub copy: Address,
}

/// Where the numbers are that change from step to step: what a recorded graph reads anew.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The learning rate, f32.
    pub rate: Address,
    /// What the loss was multiplied by, a power of two, f32.
    pub scale: Address,
    /// A 32-bit integer: the step is left out where it is not 0.
    pub found: Address,
}

/// Tensors that one launch works on.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    dtype: DType,
    params: SgdParams,
    blocks: u32,
}

impl Table {
    /// As many tables as it takes for all `tensors`; `dtype` is that of their copies, f32 where none
    /// has one.
    ///
    /// # Errors
    /// [`Error::DType`]; [`Error::Shape`] for unaligned addresses, no elements or more than a grid or a
    /// 32-bit integer counts, and a copy in f32.
    pub fn of(dtype: DType, tensors: &[Arrays]) -> Result<Vec<Table>> {
        let tables = tensors.chunks(TENSORS);
        tables.map(|tensors| Table::new(dtype, tensors)).collect()
    }

    fn new(dtype: DType, tensors: &[Arrays]) -> Result<Table> {
        let mut params = SgdParams {
            weights: [0; TENSORS],
            velocities: [0; TENSORS],
            gradients: [0; TENSORS],
            copies: [0; TENSORS],
            elements: [0; TENSORS],
            first_block: [0; TENSORS],
            tensors: tensors.len() as u32,
            momentum: 0.0,
            decay: 0.0,
            nesterov: 0,
        };
        let mut blocks = 0;
        for (i, arrays) in tensors.iter().enumerate() {
            let addresses = [
                arrays.weights,
                arrays.velocities,
                arrays.gradient,
                arrays.copy,
            ];
            refuse_unaligned(NAME, &addresses)?;
            if dtype == DType::F32 && arrays.copy != Address::default() {
                return Err(Error::shape(NAME, "a copy of f32 weights in f32"));
            }
            let elements = arrays.elements;
            let count = u32::try_from(elements).ok().filter(|&count| count > 0);
            let Some(count) = count else {
                return Err(Error::shape(NAME, format!("arrays of {elements} elements")));
            };
            let [weights, velocities, gradient, copy] = addresses.map(|address| address.0);
            (params.weights[i], params.velocities[i]) = (weights, velocities);
            (params.gradients[i], params.copies[i]) = (gradient, copy);
            (params.elements[i], params.first_block[i]) = (count, blocks as u32);
            blocks += elements.div_ceil(BLOCK);
            if blocks > i32::MAX as usize {
                let what = format!("tensors that need {blocks} blocks in one launch");
                return Err(Error::shape(NAME, what));
            }
        }
        Ok(Table {
            dtype,
            params,
            blocks: blocks as u32,
        })
    }

    /// One step of all tensors. Of `step`, the learning rate is not looked at: it is among `numbers`.
    ///
    /// # Errors
    /// [`Error::DType`].
    pub fn update(&self, step: Step, numbers: Numbers) -> Result<Launch> {
        let kernel = pick(NAME, self.dtype, ["sgd_f32", "sgd_f16", "sgd_bf16"])?;
        let params = SgdParams {
            momentum: step.momentum as f32,
            decay: step.weight_decay as f32,
            nesterov: step.nesterov as u32,
            ..self.params
        };
        Ok(Launch::new(kernel, [self.blocks, 1, 1], THREADS)
            .params(params)
            .pointer(numbers.rate)
            .pointer(numbers.scale)
            .pointer(numbers.found))
    }

    /// Sets the 32-bit integer `found` to 1 if any gradient is infinite or NaN.
    ///
    /// # Errors
    /// [`Error::DType`].
    pub fn check(&self, found: Address) -> Result<Launch> {
        let kernels = ["sgd_check_f32", "sgd_check_f16", "sgd_check_bf16"];
        let kernel = pick(NAME, self.dtype, kernels)?;
        Ok(Launch::new(kernel, [self.blocks, 1, 1], THREADS)
            .params(self.params)
            .pointer(found))
    }
}

/// Sets the 32-bit integer `found` to 1 if the f32 `loss` is infinite or NaN, else to 0.
pub fn loss(loss: Address, found: Address) -> Launch {
    Launch::new("sgd_loss", [1; 3], 1)
        .pointer(loss)
        .pointer(found)
}

/// Halves the f32 `scale` if `found`, doubles it after 2000 steps in a row without, which `good` counts.
pub fn rescale(found: Address, scale: Address, good: Address) -> Launch {
    Launch::new("sgd_rescale", [1; 3], 1)
        .pointer(found)
        .pointer(scale)
        .pointer(good)
}
