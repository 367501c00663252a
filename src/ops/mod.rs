//! Operations, one file each: shapes, dtypes, the CPU path, the vjp, the cost and the declared cases.
//!
//! An operation is a small value (its settings) that implements [`Operation`]. The trait has no
//! optional half: what can run forward can run backward. Each file also *declares* its operation
//! ([`Declaration`]): from that one list come the gradient checks, the comparison of dtypes and
//! devices, the benchmark rows and the table in `docs/operations.md`.

pub mod adaptive_avg_pool2d;
pub mod add;
pub mod avg_pool2d;
pub mod batch_norm;
pub mod batch_norm_shuffle;
pub mod bilinear_resize;
pub mod cast;
pub mod concat;
pub mod conv2d;
pub mod conv_batch_norm;
mod declare;
mod draw;
pub mod dropout;
mod fallback;
pub mod gap_linear;
pub mod global_avg_pool;
pub mod linear;
pub mod masked_bce;
pub mod max_pool2d;
mod normalise;
pub mod pad2d;
mod product;
mod random;
pub mod rectified;
pub mod relu;
mod resample;
pub mod sb_projection;
pub mod softmax_cross_entropy;
pub mod spatial_shuffle;
mod window;

use std::fmt;

pub use declare::{Case, Declaration, Input, declarations};
pub use draw::Draw;
pub use product::{set_tf32, tf32};
pub use random::{Clock, RandomKey};

use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result};

/// What an operation returns: the differentiable value, and side results that carry no gradient
/// (batch statistics, say).
pub struct Output {
    /// The value the tape goes on with.
    pub value: Tensor,
    /// Results without a gradient.
    pub aux: Vec<Tensor>,
}

impl From<Tensor> for Output {
    fn from(value: Tensor) -> Self {
        Output {
            value,
            aux: Vec::new(),
        }
    }
}

/// What an operation keeps for its vjp: tensors (their buffers are shared, nothing is copied), and
/// shapes of operands it needs no data of.
#[derive(Default)]
pub struct Saved {
    tensors: Vec<Tensor>,
    shapes: Vec<Shape>,
    /// Of the inputs, where gradients need them: what a cast, or a [`fallback`], was given.
    dtypes: Vec<DType>,
}

impl Saved {
    /// Keeps tensors for the backward pass.
    pub fn keep<const N: usize>(&mut self, tensors: [&Tensor; N]) {
        self.tensors.extend(tensors.into_iter().cloned());
    }

    /// Keeps shapes for the backward pass.
    pub fn keep_shapes(&mut self, shapes: &[&Shape]) {
        self.shapes.extend(shapes.iter().copied().cloned());
    }

    /// The kept shapes, in the order they were kept.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Takes the kept tensors back, in the order they were kept.
    pub fn take<const N: usize>(self) -> [Tensor; N] {
        let kept = self.tensors.len();
        <[Tensor; N]>::try_from(self.tensors)
            .unwrap_or_else(|_| unreachable!("an operation keeps {N} tensors but kept {kept}"))
    }

    /// The kept tensors, to look at.
    pub(crate) fn tensors<const N: usize>(&self) -> [&Tensor; N] {
        std::array::from_fn(|i| &self.tensors[i])
    }

    /// Bytes of the kept tensors.
    pub fn bytes(&self) -> usize {
        self.tensors.iter().map(Tensor::bytes).sum()
    }
}

/// Ideal cost of one forward call: arithmetic, and bytes that must move at least once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts two.
    pub flops: f64,
    /// Bytes read plus bytes written, each operand once.
    pub bytes: f64,
}

impl Cost {
    /// `flops` arithmetic operations, and every one of `shapes` moved once as 4-byte elements.
    pub fn new(flops: usize, shapes: &[&Shape]) -> Self {
        Cost {
            flops: flops as f64,
            bytes: shapes.iter().map(|s| 4.0 * s.len() as f64).sum(),
        }
    }
}

/// A differentiable operation.
pub trait Operation: fmt::Debug + Send + Sync + 'static {
    /// The operation's one name: of its file here, its CUDA kernel, its bench row and its doc entry.
    fn name(&self) -> &'static str;

    /// The result's shape.
    ///
    /// # Errors
    /// [`Error::Shape`] says what is wrong with the operands; [`Operation::forward`] returns the same.
    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape>;

    /// Computes the value, where the inputs are, and keeps in `saved` what [`Operation::vjp`] will need.
    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output>;

    /// The vector-Jacobian product: for each input i with `wanted[i]`, Jᵢᵀ · `cotangent`.
    ///
    /// Returns one entry per input, `None` where it was not wanted or the input has no gradient
    /// (labels). Consumes what was saved, so memory is free as soon as it has been used.
    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>>;

    /// Ideal cost of the forward call.
    fn cost(&self, inputs: &[&Shape]) -> Cost;
}

/// The inputs as an array, checked to be `N`, of one dtype, on one device.
pub(crate) fn operands<'a, const N: usize>(
    op: &'static str,
    inputs: &[&'a Tensor],
) -> Result<[&'a Tensor; N]> {
    let operands = arity(op, inputs)?;
    for other in &operands {
        same_kind(op, operands[0], other)?;
    }
    Ok(operands)
}

/// The inputs as an array, checked to be `N`.
pub(crate) fn arity<T: Copy, const N: usize>(op: &'static str, inputs: &[T]) -> Result<[T; N]> {
    <[T; N]>::try_from(inputs)
        .map_err(|_| Error::shape(op, format!("expected {N} inputs, found {}", inputs.len())))
}

/// Checks that two tensors have one dtype and live on one device.
pub(crate) fn same_kind(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dtype() == b.dtype() && a.device() == b.device() {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format!(
            "operands differ in kind: {} on {} and {} on {}",
            a.dtype(),
            a.device(),
            b.dtype(),
            b.device()
        ),
    ))
}

/// Checks that two tensors live on one device.
pub(crate) fn same_device(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.device() == b.device() {
        return Ok(());
    }
    let what = format!("operands on {} and {}", a.device(), b.device());
    Err(Error::shape(op, what))
}

/// The shapes of tensors.
pub(crate) fn shapes<'a>(inputs: &[&'a Tensor]) -> Vec<&'a Shape> {
    inputs.iter().map(|t| t.shape()).collect()
}

/// An uninitialised-by-contract result for `op`: of the inferred shape, like the first input.
pub(crate) fn result_of(op: &dyn Operation, inputs: &[&Tensor]) -> Result<Tensor> {
    let shape = op.output_shape(&shapes(inputs))?;
    Tensor::empty(shape, inputs[0].dtype(), inputs[0].device())
}
