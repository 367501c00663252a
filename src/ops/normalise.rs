//! What normalisations have in common, alone or fused with their neighbours: coefficients of the channels
//! from statistics, and what the backward pass makes of the sums of gradients.

use super::Saved;
use crate::Result;
use crate::cpu::batch_norm::{Affine, statistics};
use crate::device::Device;
use crate::kernels::Address;
use crate::kernels::batch_norm::{Channels, Plan, Running, Settings};
use crate::tensor::{DType, Real, Shape, Tensor};

/// What belongs to the channels: of the dtype of the values on the CPU, of f32 where kernels run.
pub(super) struct Coefficients {
    pub mean: Tensor,
    /// In training the unbiased one.
    pub variance: Tensor,
    /// 1/√(σ² + ε).
    pub inverse_std: Tensor,
    /// γ/√(σ² + ε).
    pub scale: Tensor,
    /// β − μ·scale.
    pub shift: Tensor,
}

/// Rows and channels of values with channels innermost.
pub(super) fn rows_and_channels(x: &Shape) -> (usize, usize) {
    let channels = x.channels();
    (x.len().checked_div(channels).unwrap_or(0), channels)
}

/// Values of the channels as a tensor.
pub(super) fn vector<T: Real>(values: &[T]) -> Result<Tensor> {
    Tensor::from_slice([values.len()], values, Device::Cpu)
}

impl Coefficients {
    /// On the CPU, with `parameters`: γ, β, in evaluation also μ and σ².
    pub fn on_cpu<T: Real>(settings: Settings, x: &Tensor, parameters: &[&Tensor]) -> Result<Self> {
        let (gamma, beta) = (parameters[0], parameters[1]);
        let (rows, channels) = rows_and_channels(x.shape());
        let (mean, variance) = match settings.training {
            true => {
                let found = statistics::<T>(x.data()?, channels);
                (found.mean, found.variance)
            }
            false => (parameters[2].to_vec::<T>()?, parameters[3].to_vec::<T>()?),
        };
        let inverse_std: Vec<T> = variance
            .iter()
            .map(|v| T::of(1.0 / (v.f64() + settings.epsilon).sqrt()))
            .collect();
        let scale: Vec<T> = inverse_std
            .iter()
            .zip(gamma.data::<T>()?)
            .map(|(&i, &g)| i * g)
            .collect();
        let shift: Vec<T> = (beta.data::<T>()?.iter().zip(&mean).zip(&scale))
            .map(|((&b, &m), &s)| b - m * s)
            .collect();
        let factor = match settings.training {
            true => rows as f64 / (rows as f64 - 1.0),
            false => 1.0,
        };
        let variance: Vec<T> = variance.iter().map(|v| T::of(v.f64() * factor)).collect();
        Ok(Coefficients {
            mean: vector(&mean)?,
            variance: vector(&variance)?,
            inverse_std: vector(&inverse_std)?,
            scale: vector(&scale)?,
            shift: vector(&shift)?,
        })
    }

    /// By kernels, with `parameters` in any dtype: γ, β, in evaluation also μ and σ². In training
    /// statistics are those of x, unless they were `measured` already, mean and biased variance.
    ///
    /// # Errors
    /// What the planner refuses.
    pub fn by_kernels(
        device: Device,
        plan: &Plan,
        settings: Settings,
        x: &Tensor,
        parameters: &[&Tensor],
        measured: Option<[Tensor; 2]>,
    ) -> Result<Self> {
        let channels = x.shape().channels();
        let new = || Tensor::empty([channels], DType::F32, device);
        let given = |i: usize| parameters[i].cast(DType::F32);
        let (gamma, beta) = (given(0)?, given(1)?);
        let mut found = Coefficients {
            mean: if settings.training { new()? } else { given(2)? },
            variance: if settings.training { new()? } else { given(3)? },
            inverse_std: new()?,
            scale: new()?,
            shift: new()?,
        };
        let mut at = Channels {
            gamma: gamma.address(),
            beta: beta.address(),
            inverse_std: found.inverse_std.address_mut()?,
            scale: found.scale.address_mut()?,
            shift: found.shift.address_mut()?,
            ..found.channels()
        };
        match measured {
            _ if !settings.training => {
                device.launch(&plan.coefficients(settings, at, Address::default()))?;
            }
            Some([mean, variance]) => {
                (at.mean, at.variance) = (mean.address(), variance.address());
                let unbiased = found.variance.address_mut()?;
                device.launch(&plan.coefficients(settings, at, unbiased))?;
                found.mean = mean;
            }
            None => {
                (at.mean, at.variance) = (found.mean.address_mut()?, found.variance.address_mut()?);
                let mut scratch = Tensor::empty([plan.scratch()], DType::F32, device)?;
                let (x, to) = (x.address(), scratch.address_mut()?);
                device.launch_all(&plan.measure(settings, x, at, Running::default(), to)?)?;
            }
        }
        Ok(found)
    }

    /// Where they are, to be read.
    pub fn channels(&self) -> Channels {
        Channels {
            mean: self.mean.address(),
            variance: self.variance.address(),
            inverse_std: self.inverse_std.address(),
            scale: self.scale.address(),
            shift: self.shift.address(),
            ..Channels::default()
        }
    }

    /// The affine map of the channels, on the CPU.
    pub fn affine<T: Real>(&self, relu: bool) -> Result<Affine<'_, T>> {
        Ok(Affine {
            scale: self.scale.data()?,
            shift: self.shift.data()?,
            relu,
        })
    }

    /// Keeps the values and what the backward pass reads of the coefficients.
    pub fn keep(&self, x: &Tensor, saved: &mut Saved) {
        saved.keep([x, &self.mean, &self.inverse_std, &self.scale, &self.shift]);
    }

    /// What [`Coefficients::keep`] kept: the values and the coefficients, but for the variance.
    pub fn kept(saved: &Saved) -> (Tensor, Self) {
        let [x, mean, inverse_std, scale, shift] = saved.tensors().map(Tensor::clone);
        let variance = mean.clone();
        let found = Coefficients {
            mean,
            variance,
            inverse_std,
            scale,
            shift,
        };
        (x, found)
    }

    /// The side results of a pass: in training mean and unbiased variance.
    pub fn aux(self, training: bool) -> Vec<Tensor> {
        match training {
            true => vec![self.mean, self.variance],
            false => Vec::new(),
        }
    }
}

/// What follows from Σ g and Σ g·(x − μ), g being the gradient of what was normalised and scaled.
pub(super) struct Slopes<T> {
    pub dgamma: Vec<T>,
    /// dx = scale·g + b·x + d.
    pub b: Vec<T>,
    /// See [`Slopes::b`].
    pub d: Vec<T>,
}

impl<T: Real> Slopes<T> {
    pub fn new(
        training: bool,
        rows: usize,
        at: &Coefficients,
        sums: &[T],
        products: &[T],
    ) -> Result<Self> {
        let (mean, inverse_std) = (at.mean.data::<T>()?, at.inverse_std.data::<T>()?);
        let scale = at.scale.data::<T>()?;
        let dgamma = products.iter().zip(inverse_std).map(|(&p, &i)| p * i);
        let zeros = || vec![T::zero(); sums.len()];
        let (mut b, mut d) = (zeros(), zeros());
        if training {
            let share = T::of(1.0 / rows as f64);
            for ch in 0..sums.len() {
                b[ch] = -scale[ch] * inverse_std[ch] * inverse_std[ch] * products[ch] * share;
                d[ch] = -scale[ch] * sums[ch] * share - b[ch] * mean[ch];
            }
        }
        Ok(Slopes {
            dgamma: dgamma.collect(),
            b,
            d,
        })
    }
}
