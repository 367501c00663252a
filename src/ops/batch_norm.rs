//! Batch normalisation (Ioffe, Szegedy 2015) over the innermost axis, with an optional residual sum and
//! an optional ReLU in the same pass.

use super::fallback::{self, kernel_device};
use super::normalise::{Coefficients, Slopes, rows_and_channels, vector};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, result_of, same_kind};
use crate::cpu::batch_norm::{apply, backward, backward_in_place, gate_sums, gradient_sums};
use crate::device::Device;
use crate::kernels::batch_norm::{Gradients, Plan, Settings, Values};
use crate::tensor::{DType, Real, Shape, Tensor};
use crate::{Error, Result, with_real};

/// y = γ·(x − μ)/√(σ² + ε) + β (+ residual), then ReLU if asked; channels innermost, all other axes are rows.
///
/// In training the inputs are x, γ, β, and μ, σ² are those of the batch (σ² biased); the side results
/// are μ and the *unbiased* variance, for PyTorch's running averages. In evaluation the inputs are
/// x, γ, β, running mean, running variance; the last two have no gradient. One input more is a residual
/// of the shape of x, added before the ReLU.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Whether batch statistics are used.
    pub training: bool,
    /// ε, 1e-5 in PyTorch.
    pub epsilon: f64,
    /// Whether max(·, 0) follows in the same pass.
    pub relu: bool,
}

const NAME: &str = "batch_norm";

/// A normalisation, alone or with what follows in the same pass.
pub(super) trait Normalisation: Operation {
    /// The forward pass on the CPU, in the dtype of all inputs.
    fn run<T: Real>(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output>;

    /// The same by kernels; in training with the mean and biased variance of x where they are known.
    fn launch(
        &self,
        device: Device,
        inputs: &[&Tensor],
        statistics: Option<[Tensor; 2]>,
        saved: &mut Saved,
    ) -> Result<Output>;

    /// The forward pass where the inputs are; in training with the mean and biased variance of x where
    /// whoever made x has them, on a device with kernels.
    fn forward_measured(
        &self,
        inputs: &[&Tensor],
        statistics: Option<[Tensor; 2]>,
        saved: &mut Saved,
    ) -> Result<Output>
    where
        Self: Sized,
    {
        self.output_shape(&super::shapes(inputs))?;
        if let Some(device) = kernel_device(inputs) {
            return match self.launch(device, inputs, statistics, saved) {
                Ok(output) => Ok(output),
                Err(why) => fallback::forward(self, inputs, saved, why),
            };
        }
        let x = inputs[0];
        for other in inputs {
            same_kind(self.name(), x, other)?;
        }
        with_real!(x.dtype(), self.name(), T => self.run::<T>(inputs, saved))
    }
}

impl BatchNorm {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            training: self.training,
            epsilon: self.epsilon,
            relu: self.relu,
        }
    }

    /// Inputs without a residual.
    pub(super) fn arity(&self) -> usize {
        if self.training { 3 } else { 5 }
    }

    /// With a residual and a ReLU also the result: its gate cannot be had from x alone. A shape says that
    /// there is a residual. (Whoever keeps a result without a residual has the gate taken from it, too.)
    fn keep(&self, at: &Coefficients, x: &Tensor, residual: bool, y: &Tensor, saved: &mut Saved) {
        at.keep(x, saved);
        if residual {
            saved.keep_shapes(&[x.shape()]);
            if self.relu {
                saved.keep([y]);
            }
        }
    }

    fn pull_back<T: Real>(&self, saved: Saved, cotangent: Tensor) -> Result<Vec<Option<Tensor>>> {
        let y = saved.tensors.get(5).cloned();
        let residual = !saved.shapes.is_empty();
        let (x, at) = Coefficients::kept(&saved);
        drop(saved);
        let (rows, _) = rows_and_channels(x.shape());
        let mean = at.mean.data::<T>()?;
        let mut g = cotangent.into_unique()?;
        let affine = at.affine::<T>(self.relu && !residual && y.is_none())?;
        let (sums, products) = match y {
            Some(y) => gate_sums(x.data()?, y.data()?, g.data_mut()?, mean),
            None => gradient_sums(x.data()?, g.data()?, mean, &affine),
        };
        let Slopes { dgamma, b, d } = Slopes::new(self.training, rows, &at, &sums, &products)?;
        let abd = [affine.scale, &b, &d];
        let (dx, residual) = if residual {
            let mut dx = x.empty_like()?;
            backward(x.data()?, g.data()?, dx.data_mut()?, abd);
            (dx, Some(g))
        } else {
            backward_in_place(x.data()?, g.data_mut()?, &affine, abd);
            (g, None)
        };
        Ok(self.gradients(dx, [vector(&dgamma)?, vector(&sums)?], residual))
    }

    /// Gradients in the order of the inputs.
    pub(super) fn gradients(
        &self,
        dx: Tensor,
        [dgamma, dbeta]: [Tensor; 2],
        residual: Option<Tensor>,
    ) -> Vec<Option<Tensor>> {
        let mut all = vec![Some(dx), Some(dgamma), Some(dbeta)];
        all.resize_with(self.arity(), || None);
        all.extend(residual.map(Some));
        all
    }
}

impl Normalisation for BatchNorm {
    fn run<T: Real>(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let found = Coefficients::on_cpu::<T>(self.settings(), inputs[0], &inputs[1..])?;
        let mut y = result_of(self, inputs)?;
        let residual = inputs.get(self.arity());
        let more = residual.map(|r| r.data::<T>()).transpose()?;
        let affine = found.affine::<T>(self.relu)?;
        apply(inputs[0].data()?, &affine, more, y.data_mut()?);
        self.keep(&found, inputs[0], residual.is_some(), &y, saved);
        Ok(Output {
            value: y,
            aux: found.aux(self.training),
        })
    }

    fn launch(
        &self,
        device: Device,
        inputs: &[&Tensor],
        statistics: Option<[Tensor; 2]>,
        saved: &mut Saved,
    ) -> Result<Output> {
        let x = inputs[0];
        refuse_scattered(device, inputs)?;
        let residual = inputs.get(self.arity());
        let (rows, channels) = rows_and_channels(x.shape());
        let plan = Plan::new(x.dtype(), rows, channels)?;
        let (settings, parameters) = (self.settings(), &inputs[1..]);
        let found = Coefficients::by_kernels(device, &plan, settings, x, parameters, statistics)?;
        let mut y = result_of(self, inputs)?;
        let values = Values {
            x: x.address(),
            residual: residual.map(|r| r.address()).unwrap_or_default(),
            y: y.address_mut()?,
        };
        device.launch(&plan.apply(self.settings(), values, found.channels())?)?;
        self.keep(&found, x, residual.is_some(), &y, saved);
        saved.dtypes = inputs.iter().map(|t| t.dtype()).collect();
        Ok(Output {
            value: y,
            aux: found.aux(self.training),
        })
    }
}

/// By kernels. What belongs to a channel is f32 there, whatever the dtype of the values.
impl BatchNorm {
    /// dγ, dβ, and what `dy` does not become: without a residual it becomes dx, with one and a ReLU too, and
    /// the gated gradient is the residual's; without a ReLU it is that as it stands, and dx is apart.
    fn launch_backward(
        &self,
        device: Device,
        saved: &Saved,
        dy: &mut Tensor,
    ) -> Result<([Tensor; 2], Option<Tensor>)> {
        let (x, at) = Coefficients::kept(saved);
        if x.dtype() != dy.dtype() {
            let what = format!("values of {} and a cotangent of {}", x.dtype(), dy.dtype());
            return Err(Error::shape(NAME, what));
        }
        let (rows, channels) = rows_and_channels(x.shape());
        let plan = Plan::new(x.dtype(), rows, channels)?;
        let new = |elements: usize| Tensor::empty([elements], DType::F32, device);
        let (mut dgamma, mut dbeta) = (new(channels)?, new(channels)?);
        let mut scratch = new(plan.scratch())?;
        let residual = !saved.shapes.is_empty();
        let mut apart = residual.then(|| x.empty_like()).transpose()?;
        let mut gradients = Gradients {
            x: x.address(),
            dy: dy.address(),
            dgamma: dgamma.address_mut()?,
            dbeta: dbeta.address_mut()?,
            ..Gradients::default()
        };
        match (&mut apart, saved.tensors.get(5)) {
            (Some(dresidual), Some(y)) => {
                gradients.y = y.address();
                gradients.dresidual = dresidual.address_mut()?;
                gradients.dx = dy.address_mut()?;
            }
            (Some(dx), None) => gradients.dx = dx.address_mut()?,
            (None, y) => {
                gradients.y = y.map(Tensor::address).unwrap_or_default();
                gradients.dx = dy.address_mut()?;
            }
        }
        let to = scratch.address_mut()?;
        let launches = plan.backward(self.settings(), gradients, at.channels(), to)?;
        device.launch_all(&launches)?;
        let dtype = |i: usize| saved.dtypes.get(i).copied().unwrap_or(DType::F32);
        Ok(([dgamma.cast(dtype(1))?, dbeta.cast(dtype(2))?], apart))
    }
}

/// Refuses operands that are not all on `device`.
pub(super) fn refuse_scattered(device: Device, inputs: &[&Tensor]) -> Result<()> {
    match inputs.iter().find(|other| other.device() != device) {
        Some(other) => {
            let what = format!("operands on {device} and {}", other.device());
            Err(Error::shape(NAME, what))
        }
        None => Ok(()),
    }
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let expected = self.arity();
        if inputs.len() != expected && inputs.len() != expected + 1 {
            let found = inputs.len();
            let what = format!("expected {expected} inputs and perhaps a residual, found {found}");
            return Err(Error::shape(NAME, what));
        }
        if let Some(residual) = inputs.get(expected)
            && *residual != inputs[0]
        {
            let what = format!("a residual of {residual} for values of {}", inputs[0]);
            return Err(Error::shape(NAME, what));
        }
        let (rows, channels) = rows_and_channels(inputs[0]);
        let mut parameters = inputs[1..expected].iter();
        if let Some(other) = parameters.find(|s| s.dims() != [channels]) {
            let what = format!(
                "{channels} channels in {}, but a parameter of {other}",
                inputs[0]
            );
            return Err(Error::shape(NAME, what));
        }
        if rows == 0 || (self.training && rows == 1) {
            return Err(Error::shape(
                NAME,
                format!(
                    "more than one value per channel is needed for batch statistics, found {rows} \
                     in shape {}: use a larger batch or evaluation mode",
                    inputs[0]
                ),
            ));
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        self.forward_measured(inputs, None, saved)
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        if let Some(device) = kernel_device(&[&cotangent]) {
            let residual = !saved.shapes.is_empty();
            let mut dy = match residual && !self.relu {
                true => cotangent,
                false => cotangent.into_unique()?,
            };
            return match self.launch_backward(device, &saved, &mut dy) {
                Ok((parameters, apart)) => {
                    let (dx, residual) = match apart {
                        Some(dx) if !self.relu => (dx, Some(dy)),
                        residual => (dy, residual),
                    };
                    Ok(self.gradients(dx, parameters, residual))
                }
                Err(why) => fallback::vjp(self, saved, dy, wanted, why),
            };
        }
        with_real!(cotangent.dtype(), NAME, T => self.pull_back::<T>(saved, cotangent))
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let residual = (inputs.len() > self.arity()) as usize;
        let reads = if self.training { 2 } else { 1 } + residual;
        let flops = (if self.training { 6 } else { 2 } + residual) * inputs[0].len();
        let moved: Vec<&Shape> = std::iter::repeat_n(inputs[0], reads + 1).collect();
        Cost::new(flops, &moved)
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "batch normalisation 1d/2d, train and eval; residual sum and ReLU in the same pass if asked",
    linear: false,
    cases: || {
        let mut cases = Vec::new();
        let shapes = [vec![3, 4, 5, 7], vec![6, 3], vec![3, 1, 1, 5]];
        let residual = [vec![2, 1, 3, 8], vec![3, 1, 5, 3]];
        for relu in [false, true] {
            let with = residual.iter().map(|x| (x, true));
            for (x, residual) in shapes.iter().map(|x| (x, false)).chain(with) {
                for training in [true, false] {
                    cases.push(case(x, training, relu, residual));
                }
            }
        }
        cases
    },
    fuzz: |draw| {
        // With one row or two, normalised values are constants.
        let (n, h, w) = (draw.between(3, 6), draw.between(1, 4), draw.between(1, 4));
        let channels = draw.channels();
        let op = BatchNorm {
            training: !draw.flag(),
            epsilon: draw.pick(&[1e-5, 1e-3]),
            relu: draw.flag(),
        };
        let x = match draw.flag() {
            true => vec![n, channels],
            false => vec![n, h, w, channels],
        };
        let mut inputs = vec![Input::normal(x.clone())];
        inputs.extend([Input::normal([channels]), Input::normal([channels])]);
        if !op.training {
            inputs.extend([(); 2].map(|()| Input::Constant([channels].into())));
        }
        inputs.extend(draw.flag().then(|| Input::normal(x)));
        Case::new(op, inputs)
    },
};

fn case(x: &[usize], training: bool, relu: bool, residual: bool) -> Case {
    let channels = [*x.last().unwrap_or(&1)];
    let op = BatchNorm {
        training,
        epsilon: 1e-5,
        relu,
    };
    let mut inputs = vec![
        Input::normal(x),
        Input::normal(channels),
        Input::normal(channels),
    ];
    if !training {
        inputs.extend([(); 2].map(|_| Input::Constant(channels.into())));
    }
    if residual {
        inputs.push(Input::normal(x));
    }
    Case::new(op, inputs)
}
