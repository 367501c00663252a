//! Batch normalisation (Ioffe, Szegedy 2015) over the innermost axis, with an optional fused ReLU.

use super::fallback::{self, kernel_device};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, operands, result_of};
use crate::cpu::batch_norm::{Affine, apply, backward_in_place, gradient_sums, statistics};
use crate::device::Device;
use crate::kernels::batch_norm::{Channels, Gradients, Plan, Running, Settings, Values};
use crate::tensor::{DType, Real, Shape, Tensor};
use crate::{Error, Result, with_real};

/// y = γ·(x − μ)/√(σ² + ε) + β, then ReLU if asked; channels innermost, all other axes are rows.
///
/// In training the inputs are x, γ, β, and μ, σ² are those of the batch (σ² biased); the side results
/// are μ and the *unbiased* variance, for PyTorch's running averages. In evaluation the inputs are
/// x, γ, β, running mean, running variance; the last two have no gradient.
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

impl BatchNorm {
    fn rows_and_channels(x: &Shape) -> (usize, usize) {
        let channels = x.channels();
        (x.len().checked_div(channels).unwrap_or(0), channels)
    }

    fn run<T: Real>(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let (x, gamma, beta) = (inputs[0], inputs[1], inputs[2]);
        let (rows, channels) = Self::rows_and_channels(x.shape());
        let (mean, variance) = match self.training {
            true => {
                let found = statistics::<T>(x.data()?, channels);
                (found.mean, found.variance)
            }
            false => (inputs[3].to_vec::<T>()?, inputs[4].to_vec::<T>()?),
        };
        let inverse_std: Vec<T> = variance
            .iter()
            .map(|v| T::of(1.0 / (v.f64() + self.epsilon).sqrt()))
            .collect();
        let scale: Vec<T> = inverse_std
            .iter()
            .zip(gamma.data::<T>()?)
            .map(|(&i, &g)| i * g)
            .collect();
        let shift: Vec<T> = (beta.data::<T>()?.iter().zip(&mean).zip(&scale))
            .map(|((&b, &m), &s)| b - m * s)
            .collect();
        let mut y = result_of(self, inputs)?;
        let affine = Affine {
            scale: &scale,
            shift: &shift,
            relu: self.relu,
        };
        apply(x.data()?, &affine, y.data_mut()?);
        let vector = |values: &[T]| Tensor::from_slice([channels], values, x.device());
        let mean = vector(&mean)?;
        saved.keep([
            x,
            &mean,
            &vector(&inverse_std)?,
            &vector(&scale)?,
            &vector(&shift)?,
        ]);
        let unbiased = rows as f64 / (rows as f64 - 1.0);
        let aux = match self.training {
            true => {
                let v: Vec<T> = variance.iter().map(|v| T::of(v.f64() * unbiased)).collect();
                vec![mean, vector(&v)?]
            }
            false => Vec::new(),
        };
        Ok(Output { value: y, aux })
    }

    fn pull_back<T: Real>(&self, saved: Saved, cotangent: Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, mean, inverse_std, scale, shift] = saved.take();
        let (rows, channels) = Self::rows_and_channels(x.shape());
        let (mean, inverse_std) = (mean.data::<T>()?, inverse_std.data::<T>()?);
        let scale = scale.data::<T>()?;
        let affine = Affine {
            scale,
            shift: shift.data()?,
            relu: self.relu,
        };
        let mut dx = cotangent.into_unique()?;
        let (sums, products) = gradient_sums(x.data()?, dx.data()?, mean, &affine);
        let dgamma: Vec<T> = products
            .iter()
            .zip(inverse_std)
            .map(|(&p, &i)| p * i)
            .collect();
        let (mut b, mut d) = (vec![T::zero(); channels], vec![T::zero(); channels]);
        if self.training {
            let share = T::of(1.0 / rows as f64);
            for ch in 0..channels {
                b[ch] = -scale[ch] * inverse_std[ch] * inverse_std[ch] * products[ch] * share;
                d[ch] = -scale[ch] * sums[ch] * share - b[ch] * mean[ch];
            }
        }
        backward_in_place(x.data()?, dx.data_mut()?, &affine, [scale, &b, &d]);
        let vector = |values: &[T]| Tensor::from_slice([channels], values, x.device());
        let mut gradients = vec![Some(vector(&dgamma)?), Some(vector(&sums)?)];
        gradients.insert(0, Some(dx));
        if !self.training {
            gradients.extend([None, None]);
        }
        Ok(gradients)
    }
}

/// By kernels. What belongs to a channel is f32 there, whatever the dtype of the values.
impl BatchNorm {
    fn settings(&self) -> Settings {
        Settings {
            training: self.training,
            epsilon: self.epsilon,
            relu: self.relu,
        }
    }

    fn launch(&self, device: Device, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let x = inputs[0];
        if let Some(other) = inputs.iter().find(|other| other.device() != device) {
            let what = format!("operands on {device} and {}", other.device());
            return Err(Error::shape(NAME, what));
        }
        let (rows, channels) = Self::rows_and_channels(x.shape());
        let plan = Plan::new(x.dtype(), rows, channels)?;
        let new = || Tensor::empty([channels], DType::F32, device);
        let given = |i: usize| inputs[i].cast(DType::F32);
        let (gamma, beta) = (given(1)?, given(2)?);
        let (mut mean, mut variance) = match self.training {
            true => (new()?, new()?),
            false => (given(3)?, given(4)?),
        };
        let (mut inverse_std, mut scale, mut shift) = (new()?, new()?, new()?);
        let mut y = result_of(self, inputs)?;
        let values = Values {
            x: x.address(),
            residual: Default::default(),
            y: y.address_mut()?,
        };
        let mut at = Channels {
            gamma: gamma.address(),
            beta: beta.address(),
            mean: mean.address(),
            variance: variance.address(),
            inverse_std: inverse_std.address_mut()?,
            scale: scale.address_mut()?,
            shift: shift.address_mut()?,
        };
        if self.training {
            (at.mean, at.variance) = (mean.address_mut()?, variance.address_mut()?);
            let mut scratch = Tensor::empty([plan.scratch()], DType::F32, device)?;
            let to = scratch.address_mut()?;
            let launches = plan.train(self.settings(), values, at, Running::default(), to)?;
            device.launch_all(&launches)?;
        } else {
            device.launch_all(&plan.evaluate(self.settings(), values, at)?)?;
        }
        saved.keep([x, &mean, &inverse_std, &scale, &shift]);
        saved.dtypes = inputs.iter().map(|t| t.dtype()).collect();
        let aux = match self.training {
            true => vec![mean, variance],
            false => Vec::new(),
        };
        Ok(Output { value: y, aux })
    }

    /// dγ and dβ; `dx` comes as the cotangent.
    fn launch_backward(
        &self,
        device: Device,
        saved: &Saved,
        dx: &mut Tensor,
    ) -> Result<[Tensor; 2]> {
        let [x, mean, inverse_std, scale, shift] = &saved.tensors[..] else {
            unreachable!("batch_norm keeps five tensors");
        };
        if x.dtype() != dx.dtype() {
            let what = format!("values of {} and a cotangent of {}", x.dtype(), dx.dtype());
            return Err(Error::shape(NAME, what));
        }
        let (rows, channels) = Self::rows_and_channels(x.shape());
        let plan = Plan::new(x.dtype(), rows, channels)?;
        let new = |elements: usize| Tensor::empty([elements], DType::F32, device);
        let (mut dgamma, mut dbeta) = (new(channels)?, new(channels)?);
        let mut scratch = new(plan.scratch())?;
        let in_place = dx.address_mut()?;
        let gradients = Gradients {
            x: x.address(),
            dy: in_place,
            dx: in_place,
            dgamma: dgamma.address_mut()?,
            dbeta: dbeta.address_mut()?,
            ..Gradients::default()
        };
        let at = Channels {
            mean: mean.address(),
            inverse_std: inverse_std.address(),
            scale: scale.address(),
            shift: shift.address(),
            ..Channels::default()
        };
        let launches = plan.backward(self.settings(), gradients, at, scratch.address_mut()?)?;
        device.launch_all(&launches)?;
        let dtype = |i: usize| saved.dtypes.get(i).copied().unwrap_or(DType::F32);
        Ok([dgamma.cast(dtype(1))?, dbeta.cast(dtype(2))?])
    }
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let expected = if self.training { 3 } else { 5 };
        if inputs.len() != expected {
            let what = format!("expected {expected} inputs, found {}", inputs.len());
            return Err(Error::shape(NAME, what));
        }
        let (rows, channels) = Self::rows_and_channels(inputs[0]);
        if let Some(other) = inputs[1..].iter().find(|s| s.dims() != [channels]) {
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
        self.output_shape(&super::shapes(inputs))?;
        if let Some(device) = kernel_device(inputs) {
            return match self.launch(device, inputs, saved) {
                Ok(output) => Ok(output),
                Err(why) => fallback::forward(self, inputs, saved, why),
            };
        }
        let [x, ..] = match self.training {
            true => operands::<3>(NAME, inputs)?,
            false => {
                let [x, gamma, beta, ..] = operands::<5>(NAME, inputs)?;
                [x, gamma, beta]
            }
        };
        with_real!(x.dtype(), NAME, T => self.run::<T>(inputs, saved))
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        if let Some(device) = kernel_device(&[&cotangent]) {
            let mut dx = cotangent.into_unique()?;
            return match self.launch_backward(device, &saved, &mut dx) {
                Ok([dgamma, dbeta]) => {
                    let none = (!self.training).then_some([None, None]);
                    let gradients = [Some(dx), Some(dgamma), Some(dbeta)];
                    Ok(gradients
                        .into_iter()
                        .chain(none.into_iter().flatten())
                        .collect())
                }
                Err(why) => fallback::vjp(self, saved, dx, wanted, why),
            };
        }
        with_real!(cotangent.dtype(), NAME, T => self.pull_back::<T>(saved, cotangent))
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let reads = if self.training { 2 } else { 1 };
        let flops = if self.training { 6 } else { 2 } * inputs[0].len();
        let moved: Vec<&Shape> = std::iter::repeat_n(inputs[0], reads + 1).collect();
        Cost::new(flops, &moved)
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "batch normalisation 1d/2d, train and eval, with an optional fused ReLU",
    linear: false,
    cases: || {
        let mut cases = Vec::new();
        for relu in [false, true] {
            for x in [vec![3, 4, 5, 7], vec![6, 3], vec![3, 1, 1, 5]] {
                let channels = [*x.last().unwrap_or(&1)];
                let vector = || Input::normal(channels);
                let train = BatchNorm {
                    training: true,
                    epsilon: 1e-5,
                    relu,
                };
                cases.push(Case::new(
                    train,
                    [Input::normal(x.clone()), vector(), vector()],
                ));
                let eval = BatchNorm {
                    training: false,
                    ..train
                };
                let statistics = [
                    Input::Constant(channels.into()),
                    Input::Constant(channels.into()),
                ];
                let [mean, variance] = statistics;
                cases.push(Case::new(
                    eval,
                    [Input::normal(x), vector(), vector(), mean, variance],
                ));
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
        let mut inputs = vec![Input::normal(x)];
        inputs.extend([Input::normal([channels]), Input::normal([channels])]);
        if !op.training {
            inputs.extend([(); 2].map(|()| Input::Constant([channels].into())));
        }
        Case::new(op, inputs)
    },
};
