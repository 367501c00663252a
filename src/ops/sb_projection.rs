//! The projection of a semantic bottleneck: many channels to a few concepts, and the concepts' loss.

use super::fallback::{self, kernel_device, no_kernel};
use super::{Case, Cost, Declaration, Input, Operation, Output, Saved, product, same_kind};
use crate::cpu::linear::{self, LinearShape};
use crate::cpu::masked_bce::{self, Operands};
use crate::cpu::sb_projection as cpu;
use crate::device::Device;
use crate::kernels::Address;
use crate::kernels::sb_projection::{self as kernels, Backward, Forward, Labels, Projection};
use crate::tensor::{DType, Real, Shape, Tensor};
use crate::{Error, Result, with_real};

const NAME: &str = "sb_projection";

/// What a concept's map holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// The logit z.
    None,
    /// σ(z): how sure it is that the concept is there.
    #[default]
    Sigmoid,
}

/// Concept maps p = f(x·Wᵀ + b), and on request the loss that teaches them (Losch, Fritz, Schiele 2019):
/// a 1×1 convolution with many channels and few filters, its activation, and [`MaskedBce`].
///
/// x is [..., C], NHWC maps or rows; W is [K, C], b \[K\]. The number of inputs decides the result:
///
/// - x, W, b: the maps p, [..., K], which all that comes after works on;
/// - x, W, b, t, m and, if wanted, w, the last three shaped as the maps: the scalar
///   Σ m w (−t ln σ(z) − (1 − t) ln(1 − σ(z))) / Σ m, whatever the activation is. The maps are a side
///   result and carry no gradient; t, m and w have none.
///
/// Where m is 0 a concept is not known: whatever stands there, even NaN, adds nothing. Where kernels run
/// it, a mask without an element gives NaN and not an error.
///
/// # Errors
/// [`Error::Shape`] for another number of inputs, inputs that do not fit each other or have no element,
/// and a mask whose sum is not positive.
///
/// [`MaskedBce`]: super::masked_bce::MaskedBce
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SbProjection {
    /// What the maps hold.
    pub activation: Activation,
}

impl SbProjection {
    /// The extents, and the shape of the maps.
    fn sizes(inputs: &[&Shape]) -> Result<(Projection, Shape)> {
        let [x, w, b, labels @ ..] = inputs else {
            let what = format!(
                "expected x, weights and bias, found {} inputs",
                inputs.len()
            );
            return Err(Error::shape(NAME, what));
        };
        if !matches!(labels.len(), 0 | 2 | 3) {
            let what = format!(
                "expected 3 inputs, or 5 or 6 for the loss, found {}",
                inputs.len()
            );
            return Err(Error::shape(NAME, what));
        }
        let [concepts, channels] = w.matrix(NAME)?;
        if x.channels() != channels || x.len() * concepts == 0 {
            let what = format!("x of shape {x} does not fit weights of shape {w}");
            return Err(Error::shape(NAME, what));
        }
        if b.dims() != [concepts] {
            let what = format!("weights of shape {w} take no bias of shape {b}");
            return Err(Error::shape(NAME, what));
        }
        let mut maps = x.dims().to_vec();
        maps.pop();
        maps.push(concepts);
        let maps = Shape::from(&maps[..]);
        if let Some(other) = labels.iter().find(|shape| ***shape != maps) {
            let what = format!("concepts of shape {maps} take no labels of shape {other}");
            return Err(Error::shape(NAME, what));
        }
        let sizes = Projection {
            rows: x.len() / channels,
            channels,
            concepts,
        };
        Ok((sizes, maps))
    }

    fn activated(&self) -> bool {
        self.activation == Activation::Sigmoid
    }

    fn on_cpu<T: Real>(&self, inputs: &[&Tensor], maps: &Shape) -> Result<(Output, Vec<Tensor>)> {
        let (x, w, b) = (inputs[0], inputs[1], inputs[2]);
        let mut z = Tensor::empty(maps, x.dtype(), x.device())?;
        let g = extents(x, w);
        linear::forward::<T>(g, x.data()?, w.data()?, Some(b.data()?), z.data_mut()?);
        let mut p = z.clone();
        if self.activated() {
            p = z.empty_like()?;
            cpu::activate::<T>(z.data()?, p.data_mut()?);
        }
        if inputs.len() == 3 {
            return Ok((p.into(), vec![z]));
        }
        let [sum, total] = masked_bce::loss_sum(labelled::<T>(&z, &inputs[3..])?);
        // A mask with a NaN is refused too.
        if total.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            let what = format!("a mean over nothing: the mask's sum is {total}");
            return Err(Error::shape(NAME, what));
        }
        let loss = Tensor::scalar(sum / total, x.device())?.cast(x.dtype())?;
        let (value, aux) = (loss, vec![p]);
        let total = Tensor::scalar(total, x.device())?;
        Ok((Output { value, aux }, vec![z, total]))
    }

    fn vjp_on_cpu<T: Real>(
        &self,
        kept: &Kept,
        cotangent: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Kept { x, w, z, labels } = kept;
        let dz = match labels {
            None => {
                let mut dz = cotangent;
                if self.activated() {
                    dz = dz.deep_clone()?;
                    cpu::activation_gradient::<T>(z.data()?, dz.data_mut()?);
                }
                dz
            }
            Some((labels, total)) => {
                let mut dz = z.empty_like()?;
                let scale = cotangent.item()? / total.item()?;
                let labels: Vec<&Tensor> = labels.iter().collect();
                masked_bce::backward(labelled::<T>(z, &labels)?, scale, dz.data_mut()?);
                dz
            }
        };
        let (g, dz) = (extents(x, w), dz.data::<T>()?);
        let mut gradients = vec![None; wanted.len()];
        if wanted[0] {
            let mut dx = x.empty_like()?;
            linear::input_gradient(g, dz, w.data()?, dx.data_mut()?);
            gradients[0] = Some(dx);
        }
        if wanted[1] {
            let mut dw = w.empty_like()?;
            linear::weight_gradient(g, x.data()?, dz, dw.data_mut()?);
            gradients[1] = Some(dw);
        }
        if wanted[2] {
            let mut db = Tensor::empty([g.outputs], x.dtype(), x.device())?;
            linear::column_sums(dz, db.data_mut()?);
            gradients[2] = Some(db);
        }
        Ok(gradients)
    }

    /// By kernels. Where the CPU keeps Σ m these keep the loss and Σ m, as f32.
    fn launch(
        &self,
        device: Device,
        inputs: &[&Tensor],
        sizes: Projection,
        maps: &Shape,
    ) -> Result<(Output, Vec<Tensor>)> {
        let (x, dtype) = (inputs[0], inputs[0].dtype());
        let math = product::math(NAME, dtype)?;
        let mut z = Tensor::empty(maps, dtype, device)?;
        let logits = z.address_mut()?;
        let (mut p, mut concepts) = (None, Address::default());
        if self.activated() {
            let mut maps = z.empty_like()?;
            concepts = maps.address_mut()?;
            p = Some(maps);
        }
        let mut result = Tensor::empty([2], DType::F32, device)?;
        let mut loss = Tensor::empty([], dtype, device)?;
        let mut scratch = Tensor::empty([sizes.forward_scratch()], DType::F32, device)?;
        let with = Forward {
            x: x.address(),
            weight: inputs[1].address(),
            bias: inputs[2].address(),
            labels: addresses(&inputs[3..]),
            logits,
            concepts,
            result: result.address_mut()?,
            loss: loss.address_mut()?,
            scratch: scratch.address_mut()?,
        };
        device.launch_all(&kernels::forward(math, sizes, with)?)?;
        let p = p.unwrap_or_else(|| z.clone());
        Ok(match inputs.len() {
            3 => (p.into(), vec![z]),
            _ => {
                let (value, aux) = (loss, vec![p]);
                (Output { value, aux }, vec![z, result])
            }
        })
    }

    fn launch_vjp(
        &self,
        device: Device,
        kept: &Kept,
        cotangent: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Kept { x, w, z, labels } = kept;
        let (sizes, _) = Self::sizes(&[x.shape(), w.shape(), &[w.dims()[0]].into()])?;
        let mut with = Backward {
            x: x.address(),
            weight: w.address(),
            logits: z.address(),
            activated: self.activated(),
            ..Backward::default()
        };
        match labels {
            None => with.concept_cotangent = cotangent.address(),
            Some((labels, result)) => {
                with.labels = addresses(&labels.iter().collect::<Vec<_>>());
                with.result = result.address();
                with.loss_cotangent = cotangent.address();
            }
        }
        let math = product::math(NAME, x.dtype())?;
        let mut dz = Tensor::empty([sizes.rows, sizes.pitch(math)], x.dtype(), device)?;
        with.dz = dz.address_mut()?;
        let mut gradients = vec![None; wanted.len()];
        if wanted[0] {
            let mut dx = x.empty_like()?;
            with.dx = dx.address_mut()?;
            gradients[0] = Some(dx);
        }
        // The sums for W and b are made together.
        let of_weights = wanted[1] || wanted[2];
        let scratch = if of_weights {
            sizes.backward_scratch()
        } else {
            0
        };
        let mut scratch = Tensor::empty([scratch], DType::F32, device)?;
        if of_weights {
            let mut dw = w.empty_like()?;
            let mut db = Tensor::empty([sizes.concepts], x.dtype(), device)?;
            (with.dw, with.db) = (dw.address_mut()?, db.address_mut()?);
            with.scratch = scratch.address_mut()?;
            gradients[1] = wanted[1].then_some(dw);
            gradients[2] = wanted[2].then_some(db);
        }
        device.launch_all(&kernels::backward(math, sizes, with)?)?;
        Ok(gradients)
    }
}

/// What was saved, in this order.
struct Kept {
    x: Tensor,
    w: Tensor,
    z: Tensor,
    /// Targets, mask, perhaps weights; and what the mean was divided by.
    labels: Option<(Vec<Tensor>, Tensor)>,
}

impl Kept {
    fn of(saved: Saved) -> Result<Self> {
        let mut kept = saved.tensors.into_iter();
        let mut next = || {
            let missing = || Error::shape(NAME, "nothing was saved");
            kept.next().ok_or_else(missing)
        };
        let (x, w, z) = (next()?, next()?, next()?);
        let total = next().ok();
        let labels = total.map(|total| (kept.collect(), total));
        Ok(Kept { x, w, z, labels })
    }
}

fn extents(x: &Tensor, w: &Tensor) -> LinearShape {
    LinearShape {
        rows: x.len() / x.shape().channels(),
        inputs: x.shape().channels(),
        outputs: w.dims()[0],
    }
}

fn labelled<'a, T: Real>(z: &'a Tensor, labels: &[&'a Tensor]) -> Result<Operands<'a, T>> {
    Ok(Operands {
        logits: z.data()?,
        targets: labels[0].data()?,
        mask: labels[1].data()?,
        weights: labels.get(2).map(|w| w.data()).transpose()?,
    })
}

fn addresses(labels: &[&Tensor]) -> Option<Labels> {
    let address = |i: usize| labels.get(i).map(|t| t.address()).unwrap_or_default();
    (!labels.is_empty()).then(|| Labels {
        targets: address(0),
        mask: address(1),
        weights: address(2),
    })
}

impl Operation for SbProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (_, maps) = Self::sizes(inputs)?;
        Ok(if inputs.len() == 3 { maps } else { [].into() })
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let (sizes, maps) = Self::sizes(&super::shapes(inputs))?;
        for other in &inputs[1..] {
            same_kind(NAME, inputs[0], other)?;
        }
        let done = match kernel_device(inputs) {
            Some(device) => self.launch(device, inputs, sizes, &maps),
            None => with_real!(inputs[0].dtype(), NAME, T => self.on_cpu::<T>(inputs, &maps)),
        };
        match done {
            Ok((output, kept)) => {
                saved.keep([inputs[0], inputs[1]]);
                saved.tensors.extend(kept);
                saved.tensors.extend(inputs[3..].iter().copied().cloned());
                Ok(output)
            }
            Err(why) if kernel_device(inputs).is_some() => {
                fallback::forward(self, inputs, saved, why)
            }
            Err(why) => Err(why),
        }
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        if let Some(device) = kernel_device(&[&cotangent]) {
            // Kernels go on where kernels began: what they kept has their own meaning.
            if !saved.dtypes.is_empty() {
                return fallback::vjp(self, saved, cotangent, wanted, no_kernel(self));
            }
            return self.launch_vjp(device, &Kept::of(saved)?, &cotangent, wanted);
        }
        let kept = Kept::of(saved)?;
        with_real!(kept.x.dtype(), NAME, T => self.vjp_on_cpu::<T>(&kept, cotangent, wanted))
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        let maps = Self::sizes(inputs).map_or(Shape::default(), |(_, maps)| maps);
        // As many for an activation, and for a label, as `masked_bce` counts.
        let flops = 2 * maps.len() * inputs[0].channels() + 20 * maps.len();
        let mut moved = inputs.to_vec();
        moved.push(&maps);
        Cost::new(flops, &moved)
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "channels to a few concepts with their activation, or their masked loss (Losch et al. 2019)",
    linear: false,
    cases: || {
        let (logits, sigmoid) = (Activation::None, Activation::Sigmoid);
        vec![
            case(logits, &[5, 40], 7, 0),
            case(logits, &[1, 2, 3, 9], 71, 0),
            case(sigmoid, &[2, 3, 5, 24], 7, 0),
            case(sigmoid, &[1, 1], 1, 0),
            case(sigmoid, &[2, 3, 2, 16], 5, 2),
            case(logits, &[7, 11], 3, 3),
        ]
    },
    fuzz: |draw| {
        let activation = match draw.flag() {
            true => Activation::Sigmoid,
            false => Activation::None,
        };
        let x = [2, 4, 4, 40].map(|most| draw.between(1, most));
        let labels = draw.pick(&[0, 2, 3]);
        case(activation, &x, draw.between(1, 20), labels)
    },
};

/// Concepts of maps of this shape, with so many arrays of labels.
fn case(activation: Activation, x: &[usize], concepts: usize, labels: usize) -> Case {
    let channels = x[x.len() - 1];
    let maps = [&x[..x.len() - 1], &[concepts]].concat();
    let mut inputs = vec![
        Input::normal(x),
        Input::normal([concepts, channels]),
        Input::normal([concepts]),
    ];
    inputs.extend((0..labels).map(|_| Input::Constant(Shape::from(&maps[..]))));
    Case::new(SbProjection { activation }, inputs)
}
