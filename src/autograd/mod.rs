//! Reverse-mode differentiation: a tape that is written forward and read backward once.
//!
//! A [`Var`] is a tensor plus its place on the tape. [`Tape::apply`] runs an operation, and notes it
//! with what it saved, if any input wants a gradient. [`Tape::backward`] walks the notes from the
//! last to the first, hands each operation the cotangent of its output, and adds what comes back to
//! the cotangents of its inputs. A note is dropped as soon as it was used, so the memory of the
//! forward pass is freed while the backward pass goes on.
//!
//! ```
//! use whatwhere::autograd::Tape;
//! use whatwhere::device::Device;
//! use whatwhere::ops::{add::Add, relu::Relu};
//! use whatwhere::tensor::Tensor;
//!
//! # fn main() -> whatwhere::Result<()> {
//! let mut tape = Tape::new();
//! let x = tape.leaf(Tensor::from_slice([3], &[-1.0f64, 2.0, 3.0], Device::cpu())?);
//! let positive = tape.apply(Relu, &[&x])?;
//! let y = tape.apply(Add, &[&positive, &x])?;
//! let mut gradients = tape.vjp(&y, Tensor::full([3], 1.0f64, Device::cpu())?)?;
//! assert_eq!(gradients.take(&x).unwrap().to_vec::<f64>()?, [1.0, 2.0, 2.0]);
//! # Ok(())
//! # }
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::Device;
use crate::ops::{Operation, Saved};
use crate::tensor::{DType, Tensor, update_on_host};
use crate::{Error, Result, cpu, kernels, with_real};

/// A tensor, and where it stands on a tape. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Var {
    value: Tensor,
    place: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    tape: u64,
    node: usize,
}

impl Var {
    /// A value without a gradient.
    pub fn constant(value: Tensor) -> Self {
        Var { value, place: None }
    }

    /// The tensor.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The tensor, without its place on the tape.
    pub fn into_value(self) -> Tensor {
        self.value
    }

    /// Whether a gradient will flow to it.
    pub fn wants_gradient(&self) -> bool {
        self.place.is_some()
    }
}

/// One note: an operation with what it saved, or a leaf (no operation).
struct Node {
    inputs: Vec<Option<usize>>,
    recorded: Option<(Box<dyn Operation>, Saved)>,
    layer: String,
}

/// The record of a forward pass. See the module's page.
pub struct Tape {
    id: u64,
    nodes: Vec<Node>,
    recording: bool,
    spent: bool,
    check_finite: bool,
    layer: String,
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

impl Tape {
    /// An empty tape that records.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Tape {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            nodes: Vec::new(),
            recording: true,
            spent: false,
            check_finite: false,
            layer: String::new(),
        }
    }

    /// A tape that runs operations and records nothing: evaluation.
    pub fn no_grad() -> Self {
        Tape {
            recording: false,
            ..Self::new()
        }
    }

    /// The same tape, but every operation's result and gradients are searched for NaN and infinity, and
    /// the first one found is an error that names its layer. Slow: for finding out where a loss went wrong.
    pub fn checked(mut self) -> Self {
        self.check_finite = true;
        self
    }

    /// Names the layer that the next operations belong to; errors carry this name.
    pub fn enter_layer(&mut self, name: &str) {
        self.layer.clear();
        self.layer.push_str(name);
    }

    /// A value a gradient is wanted for: an input, a parameter.
    pub fn leaf(&mut self, value: Tensor) -> Var {
        if !self.recording {
            return Var::constant(value);
        }
        self.push(value, Vec::new(), None)
    }

    /// Runs `op`, and records it if any input wants a gradient.
    ///
    /// # Errors
    /// What the operation says of its inputs, with the layer's name.
    pub fn apply(&mut self, op: impl Operation, inputs: &[&Var]) -> Result<Var> {
        Ok(self.apply_with_aux(op, inputs)?.0)
    }

    /// As [`Tape::apply`], with the operation's side results.
    pub fn apply_with_aux(
        &mut self,
        op: impl Operation,
        inputs: &[&Var],
    ) -> Result<(Var, Vec<Tensor>)> {
        let places = self.places(inputs)?;
        let tensors: Vec<&Tensor> = inputs.iter().map(|v| &v.value).collect();
        let mut saved = Saved::default();
        let output = op
            .forward(&tensors, &mut saved)
            .map_err(|e| e.in_layer(&self.layer))?;
        if self.check_finite && !is_finite(&output.value)? {
            return Err(Error::shape(op.name(), "the result is not finite").in_layer(&self.layer));
        }
        if places.iter().all(Option::is_none) {
            return Ok((Var::constant(output.value), output.aux));
        }
        let recorded = Some((Box::new(op) as Box<dyn Operation>, saved));
        Ok((self.push(output.value, places, recorded), output.aux))
    }

    /// Gradients of a one-element loss with respect to every leaf.
    ///
    /// # Errors
    /// [`Error::BackwardTwice`] on a tape already used; [`Error::ForeignVar`] if `loss` is not of
    /// this tape; [`Error::Shape`] if it has more than one element.
    pub fn backward(&mut self, loss: &Var) -> Result<Gradients> {
        if loss.value.len() != 1 {
            return Err(Error::shape(
                "backward",
                format!(
                    "expected a one-element loss, found shape {}; use `vjp` with a cotangent",
                    loss.value.shape()
                ),
            ));
        }
        let one = Tensor::full(loss.value.shape(), 1.0f64, Device::Cpu)?;
        let one = one.cast(loss.value.dtype())?;
        self.vjp(loss, one.constant_on(loss.value.device())?)
    }

    /// Gradients of ⟨`output`, `cotangent`⟩ with respect to every leaf.
    ///
    /// # Errors
    /// As [`Tape::backward`]; [`Error::Shape`] if the cotangent is not of the output's shape.
    pub fn vjp(&mut self, output: &Var, cotangent: Tensor) -> Result<Gradients> {
        if self.spent {
            return Err(Error::BackwardTwice);
        }
        let [Some(last)] = self.places(&[output])?[..] else {
            return Err(Error::ForeignVar {
                what: "it depends on no leaf, or was computed without gradients",
            });
        };
        if cotangent.shape() != output.value.shape() {
            return Err(Error::shape(
                "vjp",
                format!(
                    "the output has shape {}, the cotangent {}",
                    output.value.shape(),
                    cotangent.shape()
                ),
            ));
        }
        self.spent = true;
        let mut cotangents: Vec<Option<Tensor>> = Vec::new();
        cotangents.resize_with(self.nodes.len(), || None);
        cotangents[last] = Some(cotangent);
        for index in (0..self.nodes.len()).rev() {
            let node = &mut self.nodes[index];
            let Some((op, saved)) = node.recorded.take() else {
                continue;
            };
            let Some(cotangent) = cotangents[index].take() else {
                continue;
            };
            let wanted: Vec<bool> = node.inputs.iter().map(Option::is_some).collect();
            let parts = op
                .vjp(saved, cotangent, &wanted)
                .map_err(|e| e.in_layer(&node.layer))?;
            for (input, part) in node.inputs.iter().zip(parts) {
                if let (Some(input), Some(part)) = (*input, part) {
                    if self.check_finite && !is_finite(&part)? {
                        let what = "a gradient is not finite";
                        return Err(Error::shape(op.name(), what).in_layer(&node.layer));
                    }
                    accumulate(&mut cotangents[input], part)?;
                }
            }
        }
        Ok(Gradients {
            tape: self.id,
            by_node: cotangents,
        })
    }

    /// Bytes kept for the backward pass (shared buffers counted once per note).
    pub fn saved_bytes(&self) -> usize {
        let recorded = self.nodes.iter().filter_map(|n| n.recorded.as_ref());
        recorded.map(|(_, saved)| saved.bytes()).sum()
    }

    fn push(
        &mut self,
        value: Tensor,
        inputs: Vec<Option<usize>>,
        recorded: Option<(Box<dyn Operation>, Saved)>,
    ) -> Var {
        self.nodes.push(Node {
            inputs,
            recorded,
            layer: self.layer.clone(),
        });
        let place = Place {
            tape: self.id,
            node: self.nodes.len() - 1,
        };
        Var {
            value,
            place: Some(place),
        }
    }

    fn places(&self, vars: &[&Var]) -> Result<Vec<Option<usize>>> {
        if self.spent {
            return Err(Error::BackwardTwice);
        }
        vars.iter()
            .map(|var| match var.place {
                Some(place) if place.tape != self.id => Err(Error::ForeignVar {
                    what: "it belongs to another tape",
                }),
                place => Ok(place.map(|p| p.node).filter(|_| self.recording)),
            })
            .collect()
    }
}

/// The gradients of the leaves, after a backward pass.
pub struct Gradients {
    tape: u64,
    by_node: Vec<Option<Tensor>>,
}

impl Gradients {
    /// The gradient of a leaf; `None` if the output does not depend on it.
    pub fn get(&self, leaf: &Var) -> Option<&Tensor> {
        let place = leaf.place.filter(|p| p.tape == self.tape)?;
        self.by_node[place.node].as_ref()
    }

    /// The gradient of a leaf, taken out.
    pub fn take(&mut self, leaf: &Var) -> Option<Tensor> {
        let place = leaf.place.filter(|p| p.tape == self.tape)?;
        self.by_node[place.node].take()
    }
}

/// `sum += part`, in place where nobody else holds the sum.
fn accumulate(sum: &mut Option<Tensor>, part: Tensor) -> Result<()> {
    let Some(old) = sum.take() else {
        *sum = Some(part);
        return Ok(());
    };
    let mut total = old.into_unique()?;
    const NAME: &str = "gradient sum";
    let (device, dtype) = (total.device(), total.dtype());
    if device != Device::Cpu && device == part.device() && dtype == part.dtype() {
        let to = total.address_mut()?;
        let plan = kernels::add::forward(dtype, false, part.len(), to, part.address(), to);
        if let Ok(launch) = plan {
            device.launch(&launch)?;
            *sum = Some(total);
            return Ok(());
        }
    }
    update_on_host(NAME, [&mut total], [&part], |[total], [part]| {
        with_real!(part.dtype(), NAME, T => {
            cpu::add::accumulate::<T>(total.data_mut()?, part.data()?)
        });
        Ok(())
    })?;
    *sum = Some(total);
    Ok(())
}

/// Whether every element of a floating tensor is finite (integers always are).
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    Ok(match tensor.dtype() {
        DType::F32 => {
            let host = tensor.on_host()?;
            host.data::<f32>()?.iter().all(|v| v.is_finite())
        }
        DType::I32 | DType::U8 => true,
        _ => tensor.to_f64_vec()?.iter().all(|v| v.is_finite()),
    })
}

#[cfg(test)]
mod tests;

/// The example of the documentation runs.
#[cfg(doctest)]
#[doc = include_str!("../../docs/autograd.md")]
struct Documentation;
