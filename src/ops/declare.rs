//! The list of operations and their cases, from which tests, checks, benchmarks and tables derive.

use super::{Draw, Operation};
use crate::rng::Stream;
use crate::tensor::{DType, Shape, Tensor};
use crate::{Result, device::Device};

/// One operation, declared.
pub struct Declaration {
    /// The operation's one name.
    pub name: &'static str,
    /// One sentence: what it computes, with the source where there is one.
    pub summary: &'static str,
    /// Whether it is linear in its differentiable inputs taken one at a time, so that the adjoint
    /// identity ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ holds exactly.
    pub linear: bool,
    /// The cases every check runs.
    pub cases: fn() -> Vec<Case>,
    /// A small random case: settings and shapes that fit together, whatever the choices.
    pub fuzz: fn(&mut Draw) -> Case,
}

/// An operation with settings, and inputs to run it on.
pub struct Case {
    /// Settings and shapes in words, unique within the operation.
    pub label: String,
    /// The operation with its settings.
    pub op: Box<dyn Operation>,
    /// Its inputs, in order.
    pub inputs: Vec<Input>,
}

/// An input of a case, to be filled from a seed.
#[derive(Clone, Debug)]
pub enum Input {
    /// Normal numbers; the operation is differentiated with respect to them.
    Normal(Shape),
    /// Numbers at pairwise distances of at least 0.02 and at least 0.01 away from zero, in random
    /// order: no maximum is near a tie, and no rectifier near its kink.
    Spread(Shape),
    /// Numbers in [0.5, 1.5) that the operation has no gradient for (running statistics, weights).
    Constant(Shape),
    /// Labels in `0..classes` as i32, some of them `ignore` (no gradient).
    Labels {
        /// Shape of the label map.
        shape: Shape,
        /// Number of classes.
        classes: usize,
        /// The ignored label value; its share is about one in five, and never all.
        ignore: Option<i32>,
    },
    /// These numbers, at every draw; the operation is differentiated with respect to them.
    Given(Tensor),
}

impl Case {
    /// A case of `op`, labelled with its settings, on these inputs.
    pub fn new(op: impl Operation, inputs: impl Into<Vec<Input>>) -> Self {
        let inputs = inputs.into();
        let shapes: Vec<String> = inputs.iter().map(|i| i.shape().to_string()).collect();
        Case {
            label: format!("{op:?} on {}", shapes.join(" ")),
            op: Box::new(op),
            inputs,
        }
    }
}

impl Input {
    /// A [`Input::Normal`] of this shape.
    pub fn normal(shape: impl Into<Shape>) -> Self {
        Input::Normal(shape.into())
    }

    /// A [`Input::Spread`] of this shape.
    pub fn spread(shape: impl Into<Shape>) -> Self {
        Input::Spread(shape.into())
    }

    /// The input's shape.
    pub fn shape(&self) -> &Shape {
        match self {
            Input::Normal(shape)
            | Input::Spread(shape)
            | Input::Constant(shape)
            | Input::Labels { shape, .. } => shape,
            Input::Given(values) => values.shape(),
        }
    }

    /// Whether the operation has a gradient with respect to this input.
    pub fn is_differentiable(&self) -> bool {
        !matches!(self, Input::Labels { .. } | Input::Constant(_))
    }

    /// Small integers in place of the input's numbers, -3 to 3 (1 to 3 where the operation has no
    /// gradient, such as variances): sums and products of a few thousand are exact, in any order.
    /// Labels as in [`Input::draw`].
    pub fn draw_integers(
        &self,
        stream: &mut Stream,
        dtype: DType,
        device: Device,
    ) -> Result<Tensor> {
        let least = match self {
            Input::Labels { .. } => return self.draw(stream, dtype, device),
            Input::Constant(_) => 1,
            Input::Normal(_) | Input::Spread(_) | Input::Given(_) => -3,
        };
        let values: Vec<f64> = (0..self.shape().len())
            .map(|_| (least + stream.below((4 - least) as u32) as i32) as f64)
            .collect();
        Tensor::from_slice(self.shape(), &values, Device::Cpu)?
            .cast(dtype)?
            .to_device(device)
    }

    /// The input's values, drawn from `stream`, as `dtype` (labels are always i32).
    pub fn draw(&self, stream: &mut Stream, dtype: DType, device: Device) -> Result<Tensor> {
        let shape = self.shape();
        match self {
            Input::Normal(_) => {
                let values: Vec<f64> = (0..shape.len()).map(|_| stream.normal()).collect();
                Tensor::from_slice(shape, &values, device)?.cast(dtype)
            }
            Input::Spread(_) => {
                let half = shape.len() as f64 / 2.0;
                let values: Vec<f64> = stream
                    .permutation(shape.len())
                    .into_iter()
                    .map(|rank| 0.02 * (rank as f64 - half.floor()) + 0.01)
                    .collect();
                Tensor::from_slice(shape, &values, device)?.cast(dtype)
            }
            Input::Given(values) => values.cast(dtype)?.to_device(device),
            Input::Constant(_) => {
                let values: Vec<f64> = (0..shape.len()).map(|_| 0.5 + stream.uniform()).collect();
                Tensor::from_slice(shape, &values, device)?.cast(dtype)
            }
            Input::Labels {
                classes, ignore, ..
            } => {
                let labels: Vec<i32> = (0..shape.len())
                    .map(|i| match ignore {
                        Some(ignored) if i > 0 && stream.below(5) == 0 => *ignored,
                        _ => stream.below(*classes as u32) as i32,
                    })
                    .collect();
                Tensor::from_slice(shape, &labels, device)
            }
        }
    }
}

/// Every operation of the crate, in the order of the documentation.
pub fn declarations() -> Vec<Declaration> {
    vec![
        super::conv2d::DECLARATION,
        super::linear::DECLARATION,
        super::batch_norm::DECLARATION,
        super::batch_norm_shuffle::DECLARATION,
        super::conv_batch_norm::DECLARATION,
        super::relu::DECLARATION,
        super::rectified::DECLARATION,
        super::add::DECLARATION,
        super::max_pool2d::DECLARATION,
        super::avg_pool2d::DECLARATION,
        super::adaptive_avg_pool2d::DECLARATION,
        super::global_avg_pool::DECLARATION,
        super::gap_linear::DECLARATION,
        super::bilinear_resize::DECLARATION,
        super::pad2d::DECLARATION,
        super::concat::DECLARATION,
        super::dropout::DECLARATION,
        super::cast::DECLARATION,
        super::softmax_cross_entropy::DECLARATION,
        super::masked_bce::DECLARATION,
        super::sb_projection::DECLARATION,
        super::spatial_shuffle::DECLARATION,
    ]
}
