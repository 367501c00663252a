//! Convolution and batch normalisation as one: statistics from the convolution's epilogue in training, all
//! of the normalisation in the epilogue in evaluation.

use super::batch_norm::{BatchNorm, Normalisation};
use super::batch_norm_shuffle::BatchNormShuffle;
use super::conv2d::Conv2d;
use super::fallback::{self, kernel_device};
use super::normalise::{Coefficients, rows_and_channels};
use super::product::{self, Epilogue};
use super::spatial_shuffle::{Mode, SpatialShuffle};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, same_kind, shapes};
use crate::cpu::batch_norm::apply_in_place;
use crate::device::Device;
use crate::kernels::batch_norm::Plan;
use crate::rng::{Key, Purpose};
use crate::tensor::{Real, Shape, Tensor};
use crate::{Error, Result, with_real};

const NAME: &str = "conv_batch_norm";

/// [`Conv2d`], then [`BatchNorm`] or, with a shuffle, [`BatchNormShuffle`].
///
/// Inputs: x and filters, a bias if `bias` says so; then what follows x among the inputs of the normalisation:
/// γ, β, in evaluation μ and σ², and perhaps a residual (not with a shuffle). Side results are the
/// normalisation's.
///
/// Where kernels run it, training takes the statistics of the convolution's result while its tiles are
/// on chip, which saves one read of it. In evaluation without a shuffle that result is never written:
/// scale, shift, residual and ReLU happen before y is; one write in place of a write, a read and a write.
/// The vjp of evaluation computes it again.
#[derive(Clone, Debug)]
pub struct ConvBatchNorm {
    /// The convolution.
    pub conv: Conv2d,
    /// Whether it has a bias.
    pub bias: bool,
    /// The normalisation; with a shuffle its ReLU is on.
    pub norm: BatchNorm,
    /// A shuffle that follows the ReLU and keeps channels.
    pub shuffle: Option<SpatialShuffle>,
}

impl ConvBatchNorm {
    /// Inputs of the convolution.
    fn arity(&self) -> usize {
        2 + self.bias as usize
    }

    /// Whether the convolution's result stays on chip.
    fn evaluates(&self) -> bool {
        !self.norm.training && self.shuffle.is_none()
    }

    fn shuffled(&self) -> Option<BatchNormShuffle> {
        self.shuffle.clone().map(|shuffle| BatchNormShuffle {
            training: self.norm.training,
            epsilon: self.norm.epsilon,
            shuffle,
        })
    }

    /// The convolution's result, and its mean and biased variance where they cost next to nothing.
    fn convolved(&self, inputs: &[&Tensor]) -> Result<(Tensor, Option<[Tensor; 2]>)> {
        if self.norm.training && kernel_device(inputs).is_some() {
            let (x, w) = (inputs[0], inputs[1]);
            let g = self.conv.extents(x.shape(), w.shape())?;
            let with = Epilogue {
                bias: inputs.get(2).copied(),
                statistics: true,
                ..Epilogue::default()
            };
            let shape = self.conv.output_shape(&shapes(inputs))?;
            let mut z = Tensor::empty(shape, x.dtype(), x.device())?;
            if product::stays_whole(NAME, &g, &z) {
                match product::forward(NAME, &g, [x, w], with, &mut z) {
                    Ok(statistics) => return Ok((z, statistics)),
                    // What this cannot do, the convolution by itself does or says why not.
                    Err(Error::Shape { .. } | Error::DType { .. }) => {}
                    Err(failure) => return Err(failure),
                }
            }
        }
        let z = self.conv.forward(inputs, &mut Saved::default())?;
        Ok((z.value, None))
    }

    /// One after the other. Kept: what the normalisation keeps, then x and the filters.
    fn compose(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let (product, rest) = inputs.split_at(self.arity());
        let (z, statistics) = self.convolved(product)?;
        let operands: Vec<&Tensor> = std::iter::once(&z).chain(rest.iter().copied()).collect();
        let output = match self.shuffled() {
            Some(norm) => norm.forward_measured(&operands, statistics, saved)?,
            None => self.norm.forward_measured(&operands, statistics, saved)?,
        };
        saved.keep([product[0], product[1]]);
        Ok(output)
    }

    /// The rest of evaluation, when y is there: keeps x, filters, coefficients, y with a ReLU, the bias
    /// with one, and the shape of y with a residual.
    fn evaluated(
        &self,
        at: Coefficients,
        inputs: &[&Tensor],
        y: Tensor,
        saved: &mut Saved,
    ) -> Output {
        saved.keep([inputs[0], inputs[1]]);
        saved.keep([&at.mean, &at.inverse_std, &at.scale, &at.shift]);
        if self.norm.relu {
            saved.keep([&y]);
        }
        if self.bias {
            saved.keep([inputs[2]]);
        }
        if inputs.len() > self.arity() + self.norm.arity() - 1 {
            saved.keep_shapes(&[y.shape()]);
        }
        y.into()
    }

    fn run<T: Real>(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let (product, rest) = inputs.split_at(self.arity());
        let mut y = self.conv.forward(product, &mut Saved::default())?.value;
        let found = Coefficients::on_cpu::<T>(self.norm.settings(), &y, rest)?;
        let residual = rest.get(self.norm.arity() - 1);
        let residual = residual.map(|r| r.data::<T>()).transpose()?;
        apply_in_place(&found.affine(self.norm.relu)?, residual, y.data_mut()?);
        Ok(self.evaluated(found, inputs, y, saved))
    }

    fn launch(&self, device: Device, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let (product, rest) = inputs.split_at(self.arity());
        let (x, w) = (product[0], product[1]);
        same_kind(NAME, x, w)?;
        let g = self.conv.extents(x.shape(), w.shape())?;
        let shape = self.output_shape(&shapes(inputs))?;
        let mut y = Tensor::empty(shape, x.dtype(), device)?;
        let (rows, channels) = rows_and_channels(y.shape());
        let plan = Plan::new(y.dtype(), rows, channels)?;
        let found = Coefficients::by_kernels(device, &plan, self.norm.settings(), &y, rest, None)?;
        let with = Epilogue {
            bias: product.get(2).copied(),
            affine: Some([&found.scale, &found.shift]),
            residual: rest.get(self.norm.arity() - 1).copied(),
            relu: self.norm.relu,
            statistics: false,
        };
        product::forward(NAME, &g, [x, w], with, &mut y)?;
        saved.dtypes = inputs.iter().map(|t| t.dtype()).collect();
        Ok(self.evaluated(found, inputs, y, saved))
    }

    /// What the normalisation and the convolution would have kept apart.
    fn parted(&self, mut saved: Saved) -> Result<(Saved, Saved)> {
        let mut product = Saved::default();
        if !self.evaluates() {
            product.tensors = saved.tensors.split_off(saved.tensors.len() - 2);
            return Ok((saved, product));
        }
        let mut rest = saved.tensors.split_off(2);
        product.tensors = saved.tensors;
        let bias = if self.bias { rest.pop() } else { None };
        let operands: Vec<&Tensor> = product.tensors.iter().chain(&bias).collect();
        let z = self.conv.forward(&operands, &mut Saved::default())?.value;
        rest.insert(0, z);
        // Of the inputs of the normalisation: z is like x.
        let mut dtypes = saved.dtypes;
        if dtypes.len() > self.arity() {
            dtypes.drain(1..self.arity());
        }
        let norm = Saved {
            tensors: rest,
            shapes: saved.shapes,
            dtypes,
        };
        Ok((norm, product))
    }
}

impl Operation for ConvBatchNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        if inputs.len() < self.arity() {
            let what = format!("{} inputs are too few", inputs.len());
            return Err(Error::shape(NAME, what));
        }
        let (product, rest) = inputs.split_at(self.arity());
        let z = self.conv.output_shape(product)?;
        let operands: Vec<&Shape> = std::iter::once(&z).chain(rest.iter().copied()).collect();
        match self.shuffled() {
            Some(norm) => norm.output_shape(&operands),
            None => self.norm.output_shape(&operands),
        }
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        self.output_shape(&shapes(inputs))?;
        if !self.evaluates() {
            return self.compose(inputs, saved);
        }
        if let Some(device) = kernel_device(inputs) {
            return match self.launch(device, inputs, saved) {
                Ok(output) => Ok(output),
                Err(why) => fallback::forward(self, inputs, saved, why),
            };
        }
        let x = inputs[0];
        for other in inputs {
            same_kind(NAME, x, other)?;
        }
        with_real!(x.dtype(), NAME, T => self.run::<T>(inputs, saved))
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (of_product, of_norm) = wanted.split_at(self.arity());
        let (norm, product) = self.parted(saved)?;
        let through = of_product.contains(&true);
        let inner: Vec<bool> = std::iter::once(through)
            .chain(of_norm.iter().copied())
            .collect();
        let mut rest = match self.shuffled() {
            Some(shuffled) => shuffled.vjp(norm, cotangent, &inner)?,
            None => self.norm.vjp(norm, cotangent, &inner)?,
        };
        let mut gradients = match rest.remove(0) {
            Some(dz) if through => self.conv.vjp(product, dz, of_product)?,
            _ => of_product.iter().map(|_| None).collect(),
        };
        gradients.extend(rest);
        Ok(gradients)
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let (product, rest) = inputs.split_at(self.arity().min(inputs.len()));
        let z = self.conv.output_shape(product).unwrap_or_default();
        let mut cost = self.conv.cost(product);
        let residual = rest.len() >= self.norm.arity();
        // The epilogue's share: in training z is read once more and y written, its statistics are free.
        let more = 2 * (!self.evaluates()) as usize + residual as usize;
        let passes: Vec<&Shape> = std::iter::repeat_n(&z, more).collect();
        let norm = Cost::new(if self.norm.training { 6 } else { 2 } * z.len(), &passes);
        cost.flops += norm.flops;
        cost.bytes += norm.bytes;
        cost
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "convolution with its batch normalisation; residual sum and ReLU, or ReLU and shuffle",
    linear: false,
    cases: || {
        let key = Key::new(5, Purpose::Check, 1, 4);
        let shuffle = SpatialShuffle::new(Mode::Shuffle, key);
        let conv = Conv2d::new();
        let mut cases = Vec::new();
        for training in [true, false] {
            for (conv, x, w, more) in [
                (conv.padding(1), [2, 3, 2, 3], [4, 3, 3, 3], More::NOTHING),
                (conv.padding(1), [2, 3, 2, 3], [3, 3, 3, 3], More::BIAS),
                (conv, [3, 2, 2, 8], [8, 1, 1, 8], More::RESIDUAL),
                (
                    conv.padding(1).stride(2),
                    [2, 5, 3, 4],
                    [5, 3, 3, 4],
                    More::RELU_RESIDUAL,
                ),
                (conv.padding(1), [2, 2, 3, 4], [4, 3, 3, 4], More::SHUFFLE),
            ] {
                cases.push(more.case(conv, training, shuffle.clone(), x, w));
            }
        }
        cases
    },
    fuzz: |draw| {
        let side = draw.pick(&[1, 3]);
        let conv = Conv2d::new().padding(side / 2).stride(draw.between(1, 2));
        let x = [
            draw.between(3, 5),
            draw.between(1, 4),
            draw.between(1, 4),
            // Of a filter of one tap nothing is left by the normalisation but its sign.
            draw.between(3, 9),
        ];
        let w = [draw.channels(), side, side, x[3]];
        let shuffle = SpatialShuffle {
            per_sample: draw.flag(),
            ..SpatialShuffle::new(Mode::Shuffle, draw.key())
        };
        let more = More {
            bias: draw.flag(),
            relu: draw.flag(),
            residual: draw.flag(),
            shuffle: draw.flag(),
        };
        more.case(conv, !draw.flag(), shuffle, x, w)
    },
};

/// What a case has besides the convolution and the normalisation.
#[derive(Clone, Copy, Default)]
struct More {
    bias: bool,
    relu: bool,
    residual: bool,
    shuffle: bool,
}

impl More {
    const NOTHING: More = More {
        bias: false,
        relu: false,
        residual: false,
        shuffle: false,
    };
    const BIAS: More = More {
        bias: true,
        relu: true,
        ..More::NOTHING
    };
    const RESIDUAL: More = More {
        residual: true,
        ..More::NOTHING
    };
    const RELU_RESIDUAL: More = More {
        relu: true,
        ..More::RESIDUAL
    };
    const SHUFFLE: More = More {
        bias: true,
        shuffle: true,
        ..More::NOTHING
    };

    fn case(
        self,
        conv: Conv2d,
        training: bool,
        shuffle: SpatialShuffle,
        x: [usize; 4],
        w: [usize; 4],
    ) -> Case {
        // In training the mean takes a bias away again: its gradient is 0, which no check can see.
        let bias = self.bias && !training;
        let op = ConvBatchNorm {
            conv,
            bias,
            norm: BatchNorm {
                training,
                epsilon: 1e-5,
                relu: self.relu || self.shuffle,
            },
            shuffle: self.shuffle.then_some(shuffle),
        };
        let vector = || Input::normal([w[0]]);
        let mut inputs = vec![Input::normal(x), Input::normal(w)];
        inputs.extend(bias.then(vector));
        inputs.extend([vector(), vector()]);
        if !training {
            inputs.extend([(); 2].map(|()| Input::Constant([w[0]].into())));
        }
        if self.residual && !self.shuffle {
            let z = conv.output_shape(&[&x.into(), &w.into()]);
            inputs.push(Input::normal(z.unwrap_or_default()));
        }
        Case::new(op, inputs)
    }
}
