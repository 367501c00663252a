//! The table of wrong operations.

mod kernels;
mod losses;
mod maps;

use std::sync::Arc;
use whatwhere::Result;
use whatwhere::check::{self, Method};
use whatwhere::device::Device;
use whatwhere::ops::spatial_shuffle::{Mode, SpatialShuffle};
use whatwhere::ops::{Input, Operation, Output, Saved};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::{Shape, Tensor};

pub use kernels::kernels;
pub use losses::losses;
pub use maps::maps;

/// Gradients of an operation, to be spoilt: what went in, the cotangent, what came out.
pub struct Backward<'a> {
    pub inputs: &'a [&'a Tensor],
    pub dy: &'a Tensor,
    pub gradients: Vec<Option<Tensor>>,
}

type SpoilValue = fn(&[&Tensor], Tensor) -> Tensor;

/// An operation with its value or its gradients spoilt, and the method that must see it.
#[derive(Clone)]
pub struct Wrong {
    pub what: &'static str,
    pub caught_by: Method,
    pub linear: bool,
    pub inner: Arc<dyn Operation>,
    pub inputs: Vec<Input>,
    pub spoil: Option<fn(&mut Backward)>,
    pub spoil_value: Option<SpoilValue>,
}

impl check::Function for Wrong {
    fn name(&self) -> &str {
        self.what
    }
    fn promised(&self, inputs: &[&Shape]) -> Result<Option<Shape>> {
        self.inner.output_shape(inputs).map(Some)
    }
    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let mut output = self.inner.forward(inputs, &mut Saved::default())?;
        if let Some(spoil) = self.spoil_value {
            output.value = spoil(inputs, output.value);
        }
        Ok(output)
    }
    fn vjp(&self, inputs: &[&Tensor], dy: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let gradients = vjp(&*self.inner, inputs, dy, wanted);
        let mut backward = Backward {
            inputs,
            dy,
            gradients,
        };
        if let Some(spoil) = self.spoil {
            spoil(&mut backward);
        }
        Ok(backward.gradients)
    }
}

fn vjp(
    op: &dyn Operation,
    inputs: &[&Tensor],
    dy: &Tensor,
    wanted: &[bool],
) -> Vec<Option<Tensor>> {
    let mut saved = Saved::default();
    op.forward(inputs, &mut saved).unwrap();
    op.vjp(saved, dy.deep_clone().unwrap(), wanted).unwrap()
}

impl Backward<'_> {
    fn wanted(&self) -> Vec<bool> {
        self.gradients.iter().map(Option::is_some).collect()
    }
    /// The gradients of another operation at the same point.
    fn of(&mut self, op: impl Operation) {
        self.gradients = vjp(&op, self.inputs, self.dy, &self.wanted());
    }
    /// Changes every element of one gradient by `f`, which sees its flat index.
    fn map(&mut self, input: usize, f: impl Fn(usize, f64) -> f64) {
        let gradient = self.gradients[input].take();
        self.gradients[input] = gradient.map(|g| mapped(&g, f));
    }
    /// Puts this element of one gradient to where that one was.
    fn moved(&mut self, input: usize, from: impl Fn(usize) -> usize) {
        if let Some(g) = &self.gradients[input] {
            let values = g.to_f64_vec().unwrap();
            self.map(input, |i, _| values[from(i) % values.len()]);
        }
    }
}

fn mapped(t: &Tensor, f: impl Fn(usize, f64) -> f64) -> Tensor {
    let values = t.to_f64_vec().unwrap().into_iter().enumerate();
    let values: Vec<f64> = values.map(|(i, v)| f(i, v)).collect();
    let wide = Tensor::from_slice(t.shape(), &values, Device::cpu()).unwrap();
    wide.cast(t.dtype()).unwrap()
}

fn normal(shape: impl Into<Shape>) -> Input {
    Input::normal(shape)
}

fn key(a: u64) -> Key {
    Key::new(3, Purpose::Check, a, 2)
}

const SHUFFLE: fn() -> SpatialShuffle = || SpatialShuffle::new(Mode::Shuffle, key(1));

/// An operation whose gradients are wrong.
fn wrong(
    what: &'static str,
    caught_by: Method,
    inner: impl Operation,
    inputs: impl Into<Vec<Input>>,
    spoil: fn(&mut Backward),
) -> Wrong {
    Wrong {
        what,
        caught_by,
        linear: caught_by == Method::AdjointIdentity,
        inner: Arc::new(inner),
        inputs: inputs.into(),
        spoil: Some(spoil),
        spoil_value: None,
    }
}
