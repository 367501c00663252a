//! Global average pooling and the fully connected layer behind it: the head of a classifier.

use super::fallback::{self, kernel_device};
use super::global_avg_pool::GlobalAvgPool;
use super::linear::Linear;
use super::product::{self, Epilogue};
use super::relu;
use super::{
    Case, Cost, Declaration, Input, Operation, Output, Saved, result_of, same_kind, shapes,
};
use crate::device::Device;
use crate::kernels::gap_linear::{Operands, Plan};
use crate::kernels::linear::as_convolution;
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result, cpu, kernels, with_real};

const NAME: &str = "gap_linear";

/// y = m · wᵀ (+ b), m\[n, c\] = 1/(H·W) Σ x\[n, h, w, c\], then ReLU if asked: the inputs are x (N, H, W, C),
/// w (O, C), and optionally a bias (O). [`GlobalAvgPool`], then [`Linear`].
#[derive(Clone, Copy, Debug)]
pub struct GapLinear {
    /// Whether max(·, 0) follows.
    pub relu: bool,
}

/// The shape of the pooled maps, and the inputs of the fully connected layer.
fn pooled<'a>(inputs: &[&'a Shape]) -> Result<(Shape, Vec<&'a Shape>)> {
    match inputs {
        [x, rest @ ..] => Ok((GlobalAvgPool.output_shape(&[x])?, rest.to_vec())),
        [] => Err(Error::shape(NAME, "no inputs")),
    }
}

impl GapLinear {
    /// Means and y, by one kernel where that pays, else by two.
    fn launch(&self, device: Device, inputs: &[&Tensor]) -> Result<[Tensor; 2]> {
        let (x, w) = (inputs[0], inputs[1]);
        let mut y = result_of(self, inputs)?;
        let (shape, _) = pooled(&shapes(inputs))?;
        let mut means = Tensor::empty(shape, x.dtype(), device)?;
        let map = x.shape().nhwc(NAME)?;
        let (outputs, processors) = (w.dims()[0], device.multiprocessors()?);
        let plan = Plan::new(
            x.dtype(),
            map.into(),
            outputs,
            processors,
            device.shared_limit()?,
        );
        if let Ok(plan) = plan
            && plan.pays()
        {
            let at = Operands {
                x: x.address(),
                w: w.address(),
                bias: inputs.get(2).map(|b| b.address()).unwrap_or_default(),
                pooled: means.address_mut()?,
                y: y.address_mut()?,
            };
            device.launch(&plan.forward(self.relu, at)?)?;
        } else {
            let (from, to) = (x.address(), means.address_mut()?);
            let pool = kernels::global_avg_pool::forward(x.dtype(), map.into(), from, to)?;
            device.launch(&pool)?;
            let with = Epilogue {
                bias: inputs.get(2).copied(),
                relu: self.relu,
                ..Epilogue::default()
            };
            let g = as_convolution(Linear::extents(means.shape(), w.shape())?);
            product::forward(NAME, &g, [&means, w], with, &mut y)?;
        }
        Ok([means, y])
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<[Tensor; 2]> {
        let means = GlobalAvgPool
            .forward(&inputs[..1], &mut Saved::default())?
            .value;
        let mut operands = inputs.to_vec();
        operands[0] = &means;
        let mut y = Linear.forward(&operands, &mut Saved::default())?.value;
        if self.relu {
            with_real!(y.dtype(), NAME, T => cpu::relu::forward_in_place::<T>(y.data_mut()?));
        }
        Ok([means, y])
    }
}

impl Operation for GapLinear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (means, rest) = pooled(inputs)?;
        let operands: Vec<&Shape> = std::iter::once(&means).chain(rest).collect();
        Linear.output_shape(&operands)
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        self.output_shape(&shapes(inputs))?;
        for other in &inputs[1..] {
            same_kind(NAME, inputs[0], other)?;
        }
        let [means, y] = match kernel_device(inputs) {
            None => self.run(inputs)?,
            Some(device) => match self.launch(device, inputs) {
                Ok(found) => found,
                Err(why) => return fallback::forward(self, inputs, saved, why),
            },
        };
        saved.keep([&means, inputs[1]]);
        if self.relu {
            saved.keep([&y]);
        }
        saved.keep_shapes(&[inputs[0].shape()]);
        Ok(y.into())
    }

    fn vjp(
        &self,
        mut saved: Saved,
        cotangent: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let mut dy = cotangent;
        if self.relu {
            dy = dy.into_unique()?;
            match relu::gate(&saved.tensors[2], &mut dy) {
                Err(why) if kernel_device(&[&dy]).is_some() => {
                    return fallback::vjp(self, saved, dy, wanted, why);
                }
                done => done?,
            }
            saved.tensors.truncate(2);
        }
        let maps = Saved {
            shapes: std::mem::take(&mut saved.shapes),
            ..Saved::default()
        };
        saved.dtypes.clear();
        let mut gradients = Linear.vjp(saved, dy, wanted)?;
        if let Some(means) = gradients[0].take() {
            gradients[0] = GlobalAvgPool.vjp(maps, means, &[true])?.remove(0);
        }
        Ok(gradients)
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let means = pooled(inputs).map_or(Shape::default(), |(means, _)| means);
        let y = self.output_shape(inputs).unwrap_or_default();
        let flops = inputs[0].len() + 2 * y.len() * inputs[0].channels();
        Cost::new(flops, &[inputs[0], inputs[1], &means, &y])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "global average pooling and the fully connected layer behind it, ReLU if asked",
    linear: false,
    cases: || {
        let case = |relu, x: [usize; 4], outputs: usize, bias: bool| {
            let mut inputs = vec![Input::normal(x), Input::normal([outputs, x[3]])];
            inputs.extend(bias.then(|| Input::normal([outputs])));
            Case::new(GapLinear { relu }, inputs)
        };
        vec![
            case(false, [3, 4, 5, 7], 11, true),
            case(false, [5, 2, 3, 16], 9, false),
            case(true, [2, 3, 1, 8], 5, true),
            // More outputs than one kernel pays for.
            case(false, [2, 1, 1, 8], 37, true),
        ]
    },
    fuzz: |draw| {
        let x = draw.map(5);
        let outputs = draw.between(1, 40);
        let mut inputs = vec![Input::normal(x), Input::normal([outputs, x[3]])];
        inputs.extend(draw.flag().then(|| Input::normal([outputs])));
        Case::new(GapLinear { relu: draw.flag() }, inputs)
    },
};
