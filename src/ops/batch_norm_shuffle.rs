//! Batch normalisation, ReLU and spatial shuffle in one pass over the maps.

use super::batch_norm::{BatchNorm, Normalisation, refuse_scattered};
use super::fallback::{self, kernel_device};
use super::normalise::{Coefficients, Slopes, rows_and_channels, vector};
use super::spatial_shuffle::{Map, Mode, SpatialShuffle};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, result_of};
use crate::cpu::batch_norm::{apply, backward_in_place, gradient_sums};
use crate::cpu::batch_norm_shuffle as fused;
use crate::device::Device;
use crate::kernels::batch_norm::{Gradients, Plan};
use crate::kernels::batch_norm_shuffle::Shuffle;
use crate::rng::{Key, Purpose};
use crate::tensor::{DType, Real, Shape, Tensor};
use crate::{Error, Result, with_real};

const NAME: &str = "batch_norm_shuffle";

/// y\[n, i, c\] = max(v\[n, π_c(i), c\], 0) with v the normalised x: [`BatchNorm`] with its ReLU, then
/// [`SpatialShuffle`], whose inputs, side results and permutations these are.
///
/// The shuffle must leave values in their channels ([`Mode::keeps_channels`]), since the coefficients of
/// an output are those of its channel.
#[derive(Clone, Debug)]
pub struct BatchNormShuffle {
    /// Whether batch statistics are used.
    pub training: bool,
    /// ε, 1e-5 in PyTorch.
    pub epsilon: f64,
    /// What is shuffled, and how.
    pub shuffle: SpatialShuffle,
}

impl BatchNormShuffle {
    pub(super) fn norm(&self) -> BatchNorm {
        BatchNorm {
            training: self.training,
            epsilon: self.epsilon,
            relu: true,
        }
    }

    /// The table that all samples share, or its inverse; none where each has its own.
    fn table(&self, x: &Tensor, invert: bool) -> Result<Option<Vec<u32>>> {
        let [_, h, w, c] = x.shape().nhwc(NAME)?;
        let shared = !self.shuffle.per_sample;
        Ok(shared.then(|| self.shuffle.table_of(0, Map { h, w, c }, invert)))
    }

    fn pull_back<T: Real>(&self, saved: Saved, dy: Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, at) = Coefficients::kept(&saved);
        drop(saved);
        let (rows, _) = rows_and_channels(x.shape());
        let (mean, affine) = (at.mean.data::<T>()?, at.affine::<T>(true)?);
        let mut dx = x.empty_like()?;
        let (sums, products) = match self.table(&x, true)? {
            Some(inverse) => {
                let (x, dy) = (x.data()?, dy.data()?);
                fused::backward(x, dy, &inverse, mean, &affine, dx.data_mut()?)
            }
            None => {
                self.shuffle.gather(&dy, &mut dx, true)?;
                gradient_sums(x.data()?, dx.data()?, mean, &affine)
            }
        };
        drop(dy);
        let Slopes { dgamma, b, d } = Slopes::new(self.training, rows, &at, &sums, &products)?;
        let abd = [affine.scale, &b, &d];
        backward_in_place(x.data()?, dx.data_mut()?, &affine, abd);
        Ok(self
            .norm()
            .gradients(dx, [vector(&dgamma)?, vector(&sums)?], None))
    }

    fn launch_backward(
        &self,
        device: Device,
        saved: &Saved,
        dy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (x, at) = Coefficients::kept(saved);
        if x.dtype() != dy.dtype() {
            let what = format!("values of {} and a cotangent of {}", x.dtype(), dy.dtype());
            return Err(Error::shape(NAME, what));
        }
        let shuffle = Shuffle::new(x.dtype(), self.shuffle.maps(&x)?, device.shared_limit()?)?;
        let inverse = self.shuffle.draw(device, &x, true)?;
        let new = |elements: usize| Tensor::empty([elements], DType::F32, device);
        let channels = x.shape().channels();
        let (mut dgamma, mut dbeta) = (new(channels)?, new(channels)?);
        let mut scratch = new(shuffle.scratch())?;
        let mut dx = x.empty_like()?;
        let gradients = Gradients {
            x: x.address(),
            dy: dy.address(),
            dx: dx.address_mut()?,
            dgamma: dgamma.address_mut()?,
            dbeta: dbeta.address_mut()?,
            ..Gradients::default()
        };
        let to = scratch.address_mut()?;
        let launches = shuffle.backward(
            self.training,
            gradients,
            inverse.address(),
            at.channels(),
            to,
        )?;
        device.launch_all(&launches)?;
        let dtype = |i: usize| saved.dtypes.get(i).copied().unwrap_or(DType::F32);
        let parameters = [dgamma.cast(dtype(1))?, dbeta.cast(dtype(2))?];
        Ok(self.norm().gradients(dx, parameters, None))
    }
}

impl Normalisation for BatchNormShuffle {
    fn run<T: Real>(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let x = inputs[0];
        let found = Coefficients::on_cpu::<T>(self.norm().settings(), x, &inputs[1..])?;
        let affine = found.affine::<T>(true)?;
        let mut y = result_of(self, inputs)?;
        match self.table(x, false)? {
            Some(table) => fused::forward(x.data()?, &table, &affine, y.data_mut()?),
            None => {
                let mut plain = y.empty_like()?;
                apply(x.data()?, &affine, None, plain.data_mut::<T>()?);
                self.shuffle.gather(&plain, &mut y, false)?;
            }
        }
        found.keep(x, saved);
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
        let (rows, channels) = rows_and_channels(x.shape());
        let plan = Plan::new(x.dtype(), rows, channels)?;
        let shuffle = Shuffle::new(x.dtype(), self.shuffle.maps(x)?, device.shared_limit()?)?;
        let (settings, parameters) = (self.norm().settings(), &inputs[1..]);
        let found = Coefficients::by_kernels(device, &plan, settings, x, parameters, statistics)?;
        let table = self.shuffle.draw(device, x, false)?;
        let mut y = result_of(self, inputs)?;
        let at = found.channels();
        let (from, to) = (x.address(), y.address_mut()?);
        device.launch(&shuffle.forward(from, table.address(), at.scale, at.shift, to)?)?;
        found.keep(x, saved);
        saved.dtypes = inputs.iter().map(|t| t.dtype()).collect();
        Ok(Output {
            value: y,
            aux: found.aux(self.training),
        })
    }
}

impl Operation for BatchNormShuffle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let expected = self.norm().arity();
        if inputs.len() != expected {
            let what = format!("expected {expected} inputs, found {}", inputs.len());
            return Err(Error::shape(NAME, what));
        }
        if !self.shuffle.mode.keeps_channels() {
            let what = format!("mode {} moves values between channels", self.shuffle.mode);
            return Err(Error::shape(NAME, what));
        }
        self.norm().output_shape(inputs)?;
        self.shuffle.output_shape(&inputs[..1])
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        self.forward_measured(inputs, None, saved)
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        if let Some(device) = kernel_device(&[&cotangent]) {
            return match self.launch_backward(device, &saved, &cotangent) {
                Err(why) => fallback::vjp(self, saved, cotangent, wanted, why),
                done => done,
            };
        }
        with_real!(cotangent.dtype(), NAME, T => self.pull_back::<T>(saved, cotangent))
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        self.norm().cost(inputs)
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "batch normalisation, ReLU and a spatial shuffle that keeps channels, in one pass",
    linear: false,
    cases: || {
        let key = Key::new(4, Purpose::Check, 1, 3);
        let plain = SpatialShuffle::new(Mode::Shuffle, key);
        let per_sample = SpatialShuffle {
            per_sample: true,
            ..plain.clone()
        };
        let deranged = SpatialShuffle {
            derange: true,
            ..plain.clone()
        };
        let mut cases = Vec::new();
        for (shuffle, x) in [
            (plain.clone(), [2, 3, 4, 5]),
            (plain.clone(), [2, 2, 3, 8]),
            (plain, [5, 1, 1, 3]),
            (per_sample, [3, 2, 2, 8]),
            (deranged, [2, 4, 3, 3]),
            (SpatialShuffle::new(Mode::Rand, key), [2, 3, 1, 8]),
            (SpatialShuffle::new(Mode::Local(2), key), [2, 2, 4, 5]),
        ] {
            for training in [true, false] {
                let op = BatchNormShuffle {
                    training,
                    epsilon: 1e-5,
                    shuffle: shuffle.clone(),
                };
                let vector = || Input::normal([x[3]]);
                let mut inputs = vec![Input::normal(x), vector(), vector()];
                if !training {
                    inputs.extend([(); 2].map(|_| Input::Constant([x[3]].into())));
                }
                cases.push(Case::new(op, inputs));
            }
        }
        cases
    },
    fuzz: |draw| {
        let shuffle = SpatialShuffle {
            mode: draw.pick(&[
                Mode::Shuffle,
                Mode::Rand,
                Mode::Horizontal,
                Mode::Vertical,
                Mode::Local(2),
            ]),
            key: draw.key().into(),
            per_sample: draw.flag(),
            derange: draw.flag(),
        };
        // Small: among many values one lies at the ReLU's kink, as coarse as bf16 sees it, and
        // nothing can be said of the gradient.
        let mut x = [
            draw.between(3, 4),
            draw.between(1, 3),
            draw.between(1, 3),
            draw.pick(&[1, 2, 3, 5, 8]),
        ];
        if let Mode::Local(side) = shuffle.mode {
            // Tiles cover the map.
            x[1] = x[1].next_multiple_of(side);
            x[2] = x[2].next_multiple_of(side);
        }
        let op = BatchNormShuffle {
            training: !draw.flag(),
            epsilon: draw.pick(&[1e-5, 1e-3]),
            shuffle,
        };
        let vector = || Input::normal([x[3]]);
        let mut inputs = vec![Input::normal(x), vector(), vector()];
        if !op.training {
            inputs.extend([(); 2].map(|()| Input::Constant([x[3]].into())));
        }
        Case::new(op, inputs)
    },
};
