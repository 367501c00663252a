//! The kinds of layers.

use super::{Init, Mode, Pass, Slot, Store};
use crate::autograd::Var;
use crate::device::Device;
use crate::ops::spatial_shuffle::{Mode as ShuffleMode, SpatialShuffle};
use crate::ops::{self, Operation, RandomKey};
use crate::rng::{Key, Purpose};
use crate::tensor::{DType, Shape, Tensor, update_on_host};
use crate::{Error, Result, cpu, kernels, with_real};

/// A layer of a network: what it computes and where its parameters are.
#[derive(Clone, Debug)]
pub enum Layer {
    /// Convolution.
    Conv2d(Conv2d),
    /// Batch normalisation, with a ReLU or without.
    BatchNorm(BatchNorm),
    /// Rectifier.
    Relu,
    /// Local pooling.
    Pool(Pool),
    /// Average pooling to a map of that many rows and columns, whatever the input's.
    AdaptiveAvgPool(usize),
    /// Global average pooling: the map becomes a vector.
    Gap,
    /// Fully connected layer.
    Linear(Linear),
    /// Dropout, in training only.
    Dropout(Dropout),
    /// Spatial shuffle.
    Shuffle(Shuffle),
    /// Two branches added, then a ReLU.
    Residual(Residual),
}

/// Convolution with its filters (K, R, S, C) and an optional bias.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Stride, padding, dilation.
    pub op: ops::conv2d::Conv2d,
    /// Filter extents (K, R, S, C).
    pub filter: [usize; 4],
    weight: Slot,
    bias: Option<Slot>,
}

impl Conv2d {
    /// Declares the filters `NAME.weight` (Kaiming normal, fan-out) and, if asked, `NAME.bias` (zero).
    pub fn new(
        store: &mut Store,
        name: &str,
        filter: [usize; 4],
        op: ops::conv2d::Conv2d,
        bias: bool,
    ) -> Self {
        let [k, r, s, _] = filter;
        let std = (2.0 / (k * r * s) as f64).sqrt();
        let weight = store.parameter(format!("{name}.weight"), filter, Init::Normal(std));
        let zero = Init::Constant(0.0);
        let bias = bias.then(|| store.parameter(format!("{name}.bias"), [k], zero));
        Conv2d {
            op,
            filter,
            weight,
            bias,
        }
    }

    /// Filters, and bias if there is one.
    pub(super) fn parameters(&self, pass: &mut Pass) -> Result<Vec<Var>> {
        parameters(pass, self.weight, self.bias)
    }

    /// Runs `op`, whose inputs are x and these parameters.
    pub(super) fn run(&self, pass: &mut Pass, op: impl Operation, x: Var) -> Result<Var> {
        let parameters = self.parameters(pass)?;
        apply(pass, op, x, &parameters)
    }
}

/// A weight, and a bias if there is one, as leaves of the tape.
fn parameters(pass: &mut Pass, weight: Slot, bias: Option<Slot>) -> Result<Vec<Var>> {
    let slots = std::iter::once(weight).chain(bias);
    slots.map(|slot| pass.parameter(slot)).collect()
}

/// Runs `op` on x and parameters.
fn apply(pass: &mut Pass, op: impl Operation, x: Var, parameters: &[Var]) -> Result<Var> {
    let inputs: Vec<&Var> = std::iter::once(&x).chain(parameters).collect();
    pass.tape.apply(op, &inputs)
}

/// Batch normalisation over the innermost axis; 1d and 2d alike.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Normalised channels.
    pub channels: usize,
    /// Whether a ReLU follows in the same pass.
    pub relu: bool,
    weight: Slot,
    bias: Slot,
    running_mean: Slot,
    running_var: Slot,
}

impl BatchNorm {
    /// PyTorch's defaults: new running value = 0.9 · old + 0.1 · batch.
    pub const MOMENTUM: f64 = 0.1;
    /// PyTorch's default ε.
    pub const EPSILON: f64 = 1e-5;

    /// Declares γ = 1, β = 0, running mean 0 and running variance 1 under `name`.
    pub fn new(store: &mut Store, name: &str, channels: usize, relu: bool) -> Self {
        let shape = [channels];
        let (zero, one) = (Init::Constant(0.0), Init::Constant(1.0));
        BatchNorm {
            channels,
            relu,
            weight: store.wide_parameter(format!("{name}.weight"), shape, one),
            bias: store.wide_parameter(format!("{name}.bias"), shape, zero),
            running_mean: store.buffer(format!("{name}.running_mean"), shape, zero),
            running_var: store.buffer(format!("{name}.running_var"), shape, one),
        }
    }

    /// Runs `op`, which normalises with these parameters: its inputs are those `before` γ and β, these and
    /// in test the running statistics, and one `after` them. In training its side results become part of
    /// the running statistics.
    pub(super) fn run(
        &self,
        pass: &mut Pass,
        op: impl Operation,
        before: &[Var],
        after: Option<Var>,
    ) -> Result<Var> {
        let mut inputs = before.to_vec();
        inputs.extend([pass.parameter(self.weight)?, pass.parameter(self.bias)?]);
        if pass.mode == Mode::Test {
            inputs.extend([
                pass.constant(self.running_mean)?,
                pass.constant(self.running_var)?,
            ]);
        }
        inputs.extend(after);
        let inputs: Vec<&Var> = inputs.iter().collect();
        let (y, batch) = pass.tape.apply_with_aux(op, &inputs)?;
        for (slot, batch) in [self.running_mean, self.running_var]
            .into_iter()
            .zip(&batch)
        {
            blend(pass.store.value_mut(slot)?.0, batch, Self::MOMENTUM)?;
        }
        Ok(y)
    }
}

/// running = (1 − momentum)·running + momentum·batch.
fn blend(running: &mut Tensor, batch: &Tensor, momentum: f64) -> Result<()> {
    const NAME: &str = "running statistics";
    let device = running.device();
    let f32s = running.dtype() == DType::F32 && batch.dtype() == DType::F32;
    if device != Device::Cpu && f32s && device == batch.device() {
        let (from, to) = (batch.address(), running.address_mut()?);
        let plan = kernels::batch_norm::blend(batch.len(), momentum, from, to)?;
        return device.launch(&plan);
    }
    update_on_host(NAME, [running], [batch], |[running], [batch]| {
        with_real!(batch.dtype(), NAME, T => {
            cpu::batch_norm::blend::<T>(running.data_mut()?, batch.data()?, momentum)
        });
        Ok(())
    })
}

/// Maximum or average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Maximum.
    Max,
    /// Average.
    Average,
}

/// Local pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Maximum or average.
    pub kind: PoolKind,
    /// Side of the window.
    pub size: usize,
    /// Step between windows.
    pub stride: usize,
    /// Cells added on each side; they never win a maximum, and count as zeros in an average.
    pub padding: usize,
}

impl Pool {
    /// Maxima of windows of `size`, side by side.
    pub const fn max(size: usize) -> Self {
        Pool {
            kind: PoolKind::Max,
            size,
            stride: size,
            padding: 0,
        }
    }

    fn max_op(self) -> ops::max_pool2d::MaxPool2d {
        let op = ops::max_pool2d::MaxPool2d::new(self.size);
        op.stride(self.stride).padding(self.padding)
    }

    fn average_op(self) -> ops::avg_pool2d::AvgPool2d {
        let op = ops::avg_pool2d::AvgPool2d::new(self.size);
        op.stride(self.stride).padding(self.padding, true)
    }

    /// Extents after pooling a batch of maps (N, H, W, C).
    fn output(self, maps: &Shape) -> Result<Shape> {
        match self.kind {
            PoolKind::Max => self.max_op().output_shape(&[maps]),
            PoolKind::Average => self.average_op().output_shape(&[maps]),
        }
    }
}

/// Fully connected layer.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
    weight: Slot,
    bias: Option<Slot>,
}

impl Linear {
    /// Declares `NAME.weight` and `NAME.bias` with PyTorch's default: uniform in ±1/√inputs.
    pub fn new(store: &mut Store, name: &str, inputs: usize, outputs: usize, bias: bool) -> Self {
        let init = Init::Uniform(1.0 / (inputs as f64).sqrt());
        Linear::declare(store, name, [inputs, outputs], init, bias.then_some(init))
    }

    /// A 1×1 convolution of a vector, which is a map of one pixel: it starts as [`Conv2d::new`] does.
    pub fn pointwise(
        store: &mut Store,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Self {
        let init = Init::Normal((2.0 / outputs as f64).sqrt());
        let zero = bias.then_some(Init::Constant(0.0));
        Linear::declare(store, name, [inputs, outputs], init, zero)
    }

    /// Runs `op`, whose inputs are x and these parameters.
    pub(super) fn run(&self, pass: &mut Pass, op: impl Operation, x: Var) -> Result<Var> {
        let parameters = parameters(pass, self.weight, self.bias)?;
        apply(pass, op, x, &parameters)
    }

    fn declare(
        store: &mut Store,
        name: &str,
        [inputs, outputs]: [usize; 2],
        init: Init,
        bias: Option<Init>,
    ) -> Self {
        let weight = store.parameter(format!("{name}.weight"), [outputs, inputs], init);
        let bias = bias.map(|init| store.parameter(format!("{name}.bias"), [outputs], init));
        Linear {
            inputs,
            outputs,
            weight,
            bias,
        }
    }
}

/// Dropout by element.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Probability of a zero, in [0, 1).
    pub p: f64,
    /// Which layer this is: a coordinate of the random key.
    pub layer: u32,
}

impl Dropout {
    fn forward(&self, pass: &mut Pass, x: Var) -> Result<Var> {
        if pass.mode == Mode::Test {
            return Ok(x);
        }
        let op = ops::dropout::Dropout {
            p: self.p,
            key: pass.key(Purpose::Dropout, Purpose::Dropout, self.layer),
            by_channel: false,
        };
        pass.tape.apply(op, &[&x])
    }
}

/// Who shares a permutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The samples of a batch; every forward pass draws anew. The paper's choice.
    PerBatch,
    /// Nobody: every sample has its own.
    PerSample,
    /// The whole run, training and test.
    Fixed,
}

/// A spatial shuffle, in training, in test, or in both.
#[derive(Clone, Copy, Debug)]
pub struct Shuffle {
    /// What is shuffled in training; `None` leaves the map alone.
    pub train: Option<ShuffleMode>,
    /// What is shuffled in test.
    pub test: Option<ShuffleMode>,
    /// Who shares a permutation.
    pub scope: Scope,
    /// Whether permutations without fixed points are drawn.
    pub derange: bool,
    /// Which layer this is: a coordinate of the random key.
    pub layer: u32,
}

impl Shuffle {
    /// What is shuffled in this mode, if anything.
    pub fn mode(&self, mode: Mode) -> Option<ShuffleMode> {
        match mode {
            Mode::Train => self.train,
            Mode::Test => self.test,
        }
    }

    /// The operation of this pass, if there is one.
    pub(super) fn op(&self, pass: &Pass) -> Option<SpatialShuffle> {
        let mode = self.mode(pass.mode)?;
        let key = match self.scope {
            Scope::Fixed => RandomKey::lasting(Key::new(
                pass.moment.seed,
                Purpose::ShuffleFixed,
                0,
                self.layer,
            )),
            _ => pass.key(Purpose::ShuffleTrain, Purpose::ShuffleTest, self.layer),
        };
        Some(SpatialShuffle {
            mode,
            key,
            per_sample: self.scope == Scope::PerSample,
            derange: self.derange,
        })
    }

    fn forward(&self, pass: &mut Pass, x: Var) -> Result<Var> {
        match self.op(pass) {
            Some(op) => pass.tape.apply(op, &[&x]),
            None => Ok(x),
        }
    }
}

/// `relu(body(x) + shortcut(x))`; an empty shortcut is the identity.
#[derive(Clone, Debug)]
pub struct Residual {
    /// The residual branch.
    pub body: Vec<Layer>,
    /// The shortcut.
    pub shortcut: Vec<Layer>,
}

impl Layer {
    /// Runs the layer by itself.
    pub fn forward(&self, pass: &mut Pass, x: Var) -> Result<Var> {
        match self {
            Layer::Conv2d(conv) => conv.run(pass, conv.op, x),
            Layer::BatchNorm(norm) => norm.forward(pass, x),
            Layer::Relu => pass.tape.apply(ops::relu::Relu, &[&x]),
            Layer::Pool(pool) => match pool.kind {
                PoolKind::Max => pass.tape.apply(pool.max_op(), &[&x]),
                PoolKind::Average => pass.tape.apply(pool.average_op(), &[&x]),
            },
            Layer::AdaptiveAvgPool(side) => pass.tape.apply(adaptive(*side), &[&x]),
            Layer::Gap => pass.tape.apply(ops::global_avg_pool::GlobalAvgPool, &[&x]),
            Layer::Linear(linear) => linear.run(pass, ops::linear::Linear, x),
            Layer::Dropout(dropout) => dropout.forward(pass, x),
            Layer::Shuffle(shuffle) => shuffle.forward(pass, x),
            Layer::Residual(branches) => branches.forward(pass, x),
        }
    }

    /// The extents of one sample after the layer: (H, W, C) of a map, (C) of a vector.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layer cannot work on such a sample.
    pub fn output(&self, input: &Shape) -> Result<Shape> {
        let map = || match *input.dims() {
            [h, w, c] => Ok([h, w, c]),
            _ => Err(Error::shape(
                "layer",
                format!("expected a map, found a vector {input}"),
            )),
        };
        Ok(match self {
            Layer::Conv2d(conv) => {
                let [h, w, c] = map()?;
                let g = conv.op.extents(&[1, h, w, c].into(), &conv.filter.into())?;
                [g.out_h(), g.out_w(), g.k].into()
            }
            Layer::Pool(pool) => {
                let [h, w, c] = map()?;
                pool.output(&[1, h, w, c].into())?.dims()[1..].into()
            }
            Layer::AdaptiveAvgPool(side) => [*side, *side, map()?[2]].into(),
            Layer::Gap => [map()?[2]].into(),
            Layer::Linear(linear) => match *input.dims() {
                [features] if features == linear.inputs => [linear.outputs].into(),
                _ => {
                    let what = format!("{} features expected, found {input}", linear.inputs);
                    return Err(Error::shape("linear", what));
                }
            },
            Layer::Shuffle(_) => map()?.into(),
            Layer::BatchNorm(_) | Layer::Relu | Layer::Dropout(_) => input.clone(),
            Layer::Residual(branches) => {
                let along = |layers: &[Layer]| {
                    let start = input.clone();
                    layers.iter().try_fold(start, |x, layer| layer.output(&x))
                };
                let (body, shortcut) = (along(&branches.body)?, along(&branches.shortcut)?);
                if body != shortcut {
                    let what = format!("the body gives {body}, the shortcut {shortcut}");
                    return Err(Error::shape("residual", what));
                }
                body
            }
        })
    }

    /// Shows `see` every layer, those of the branches included, with the extents of its input.
    ///
    /// # Errors
    /// Those of [`output`](Layer::output).
    pub fn visit(&self, input: &Shape, see: &mut dyn FnMut(&Layer, &Shape)) -> Result<Shape> {
        see(self, input);
        if let Layer::Residual(branches) = self {
            for branch in [&branches.body, &branches.shortcut] {
                let start = input.clone();
                branch
                    .iter()
                    .try_fold(start, |x, layer| layer.visit(&x, see))?;
            }
        }
        self.output(input)
    }

    /// Whether two test passes over it can differ.
    pub fn is_random_in_test(&self) -> bool {
        match self {
            Layer::Shuffle(shuffle) => shuffle.test.is_some() && shuffle.scope != Scope::Fixed,
            Layer::Residual(branches) => {
                let mut both = branches.body.iter().chain(&branches.shortcut);
                both.any(Layer::is_random_in_test)
            }
            _ => false,
        }
    }

    /// Trained numbers.
    pub fn parameters(&self) -> u64 {
        let count = match self {
            Layer::Conv2d(conv) => {
                conv.filter.iter().product::<usize>() + conv.bias.map_or(0, |_| conv.filter[0])
            }
            Layer::BatchNorm(norm) => 2 * norm.channels,
            Layer::Linear(linear) => {
                linear.inputs * linear.outputs + linear.bias.map_or(0, |_| linear.outputs)
            }
            Layer::Residual(branches) => {
                let both = branches.body.iter().chain(&branches.shortcut);
                return both.map(Layer::parameters).sum();
            }
            Layer::Relu
            | Layer::Pool(_)
            | Layer::AdaptiveAvgPool(_)
            | Layer::Gap
            | Layer::Dropout(_)
            | Layer::Shuffle(_) => 0,
        };
        count as u64
    }

    /// Multiply-adds of one sample: convolutions and fully connected layers, as papers count them.
    pub fn macs(&self, input: &Shape) -> Result<u64> {
        let mut total = 0;
        self.visit(input, &mut |layer, input| {
            total += match layer {
                Layer::Conv2d(conv) => {
                    let [_, r, s, c] = conv.filter;
                    layer.output(input).map_or(0, |y| y.len() * r * s * c) as u64
                }
                Layer::Linear(linear) => (linear.inputs * linear.outputs) as u64,
                _ => 0,
            };
        })?;
        Ok(total)
    }
}

fn adaptive(side: usize) -> ops::adaptive_avg_pool2d::AdaptiveAvgPool2d {
    ops::adaptive_avg_pool2d::AdaptiveAvgPool2d { output: [side; 2] }
}
