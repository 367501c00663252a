//! The table of wrong operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use whatwhere::Result;
use whatwhere::check::{self, Method};
use whatwhere::device::Device;
use whatwhere::ops::add::Add;
use whatwhere::ops::avg_pool2d::AvgPool2d;
use whatwhere::ops::batch_norm::BatchNorm;
use whatwhere::ops::bilinear_resize::BilinearResize;
use whatwhere::ops::concat::Concat;
use whatwhere::ops::conv2d::Conv2d;
use whatwhere::ops::dropout::Dropout;
use whatwhere::ops::global_avg_pool::GlobalAvgPool;
use whatwhere::ops::linear::Linear;
use whatwhere::ops::masked_bce::MaskedBce;
use whatwhere::ops::max_pool2d::MaxPool2d;
use whatwhere::ops::pad2d::{Pad2d, PadMode};
use whatwhere::ops::relu::Relu;
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::ops::spatial_shuffle::{Mode, SpatialShuffle};
use whatwhere::ops::{Input, Operation, Output, Saved};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::{DType, Shape, Tensor};

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

/// Convolution, pooling, shuffles and their like.
pub fn maps() -> Vec<Wrong> {
    use Method::{AdjointIdentity, CentralDifferences, Jacobian, Linearity};
    let conv = || Conv2d::new().padding(1);
    let filters = || [normal([2, 5, 4, 3]), normal([4, 3, 3, 3])];
    let map = || [normal([2, 3, 4, 5])];
    let spread = |dims: [usize; 4]| [Input::spread(dims)];
    vec![
        wrong(
            "shuffle: π used backward for π⁻¹",
            AdjointIdentity,
            SHUFFLE(),
            map(),
            |b| {
                let op = SHUFFLE();
                let forward = op.forward(&[b.dy], &mut Saved::default()).unwrap();
                b.gradients[0] = Some(forward.value);
            },
        ),
        wrong(
            "shuffle: another step's permutation",
            CentralDifferences,
            SHUFFLE(),
            map(),
            |b| {
                b.of(SpatialShuffle::new(Mode::Shuffle, key(2)));
            },
        ),
        wrong(
            "conv2d: dw with rows and columns exchanged",
            CentralDifferences,
            conv(),
            filters(),
            |b| {
                let dw = b.gradients[1].take();
                b.gradients[1] = dw.map(|dw| dw.permute4([0, 2, 1, 3]).unwrap());
            },
        ),
        wrong(
            "conv2d: dx with the filter not turned",
            AdjointIdentity,
            conv(),
            filters(),
            |b| {
                let w = b.inputs[1].to_f64_vec().unwrap();
                // Tap (r, s) for (2 − r, 2 − s).
                let turned = mapped(b.inputs[1], |i, _| {
                    w[i / 27 * 27 + (8 - i / 3 % 9) * 3 + i % 3]
                });
                b.gradients[0] = vjp(
                    &Conv2d::new().padding(1),
                    &[b.inputs[0], &turned],
                    b.dy,
                    &[true, false],
                )
                .swap_remove(0);
            },
        ),
        wrong(
            "conv2d: dx with padding off by one",
            CentralDifferences,
            conv(),
            filters(),
            |b| {
                b.moved(0, |i| i + 3);
            },
        ),
        wrong(
            "conv2d: dw with padding off by one",
            AdjointIdentity,
            conv(),
            filters(),
            |b| {
                let x = b.inputs[0].to_f64_vec().unwrap();
                let moved = mapped(b.inputs[0], |i, _| x[(i + 3) % x.len()]);
                b.gradients[1] = vjp(
                    &Conv2d::new().padding(1),
                    &[&moved, b.inputs[1]],
                    b.dy,
                    &[false, true],
                )
                .swap_remove(1);
            },
        ),
        Wrong {
            spoil: None,
            spoil_value: Some(|inputs, _| {
                let x = mapped(inputs[0], |i, v| if i % 3 == 2 { 0.0 } else { v });
                let op = Conv2d::new().padding(1);
                op.forward(&[&x, inputs[1]], &mut Saved::default())
                    .unwrap()
                    .value
            }),
            ..wrong(
                "conv2d: the last tile of the depth dropped forward",
                CentralDifferences,
                conv(),
                filters(),
                |_| (),
            )
        },
        wrong(
            "conv2d: the last image dropped from dw",
            AdjointIdentity,
            conv(),
            filters(),
            |b| {
                let half = b.dy.len() / 2;
                let dy = mapped(b.dy, |i, v| if i < half { v } else { 0.0 });
                b.gradients[1] =
                    vjp(&Conv2d::new().padding(1), b.inputs, &dy, &[false, true]).swap_remove(1);
            },
        ),
        wrong(
            "linear: w for its transpose",
            CentralDifferences,
            Linear,
            [normal([3, 5]), normal([5, 5])],
            |b| {
                let dx = Linear
                    .forward(&[b.dy, b.inputs[1]], &mut Saved::default())
                    .unwrap();
                b.gradients[0] = Some(dx.value);
            },
        ),
        wrong(
            "global_avg_pool: 1/HW missing",
            CentralDifferences,
            GlobalAvgPool,
            map(),
            |b| {
                b.map(0, |_, v| 12.0 * v);
            },
        ),
        wrong(
            "global_avg_pool: 1/(HW − 1)",
            AdjointIdentity,
            GlobalAvgPool,
            map(),
            |b| {
                b.map(0, |_, v| v * 12.0 / 11.0);
            },
        ),
        wrong(
            "global_avg_pool: off by one part in ten thousand",
            CentralDifferences,
            GlobalAvgPool,
            map(),
            |b| {
                b.map(0, |_, v| 1.0001 * v);
            },
        ),
        wrong(
            "max_pool2d: += for = in one channel",
            CentralDifferences,
            MaxPool2d::new(2),
            spread([2, 4, 6, 5]),
            |b| {
                b.map(0, |i, v| if i % 5 == 2 { 2.0 * v } else { v });
            },
        ),
        wrong(
            "max_pool2d: the gradient to the first cell of a window",
            CentralDifferences,
            MaxPool2d::new(2),
            spread([1, 4, 6, 1]),
            |b| {
                let dy = b.dy.to_f64_vec().unwrap();
                b.map(0, |i, _| match (i / 6 % 2, i % 2) {
                    (0, 0) => dy[i / 12 * 3 + i % 6 / 2],
                    _ => 0.0,
                });
            },
        ),
        wrong(
            "avg_pool2d: padding counted backward only",
            AdjointIdentity,
            AvgPool2d::new(3).padding(1, false),
            map(),
            |b| {
                b.of(AvgPool2d::new(3).padding(1, true));
            },
        ),
        wrong(
            "bilinear_resize: corners aligned backward only",
            AdjointIdentity,
            resize(false),
            map(),
            |b| b.of(resize(true)),
        ),
        wrong(
            "pad2d: reflected cells get nothing back",
            AdjointIdentity,
            Pad2d::new(PadMode::Reflect, 1),
            map(),
            |b| {
                b.of(Pad2d::new(PadMode::Zero, 1));
            },
        ),
        wrong(
            "concat: columns off by one",
            CentralDifferences,
            Concat,
            [normal([3, 4]), normal([3, 2])],
            |b| {
                b.moved(0, |i| i + 1);
            },
        ),
        wrong(
            "dropout: another mask backward",
            AdjointIdentity,
            dropout(4),
            map(),
            |b| b.of(dropout(5)),
        ),
        wrong(
            "dropout: 1/(1 − p) missing backward",
            CentralDifferences,
            dropout(4),
            map(),
            |b| {
                b.map(0, |_, v| 0.5 * v);
            },
        ),
        wrong(
            "relu: the gradient passes where x < 0",
            CentralDifferences,
            Relu,
            spread([1, 3, 5, 2]),
            |b| {
                b.gradients[0] = Some(b.dy.clone());
            },
        ),
        wrong(
            "relu: one entry of the gradient negated",
            Jacobian,
            Relu,
            spread([1, 3, 2, 2]),
            |b| {
                let x = b.inputs[0].to_f64_vec().unwrap();
                let first = x.iter().position(|&v| v > 0.0).unwrap_or(0);
                b.map(0, |i, v| if i == first { -v } else { v });
            },
        ),
        wrong(
            "add: nothing for the second branch",
            CentralDifferences,
            Add,
            [normal([7]), normal([7])],
            |b| {
                b.map(1, |_, _| 0.0);
            },
        ),
        wrong(
            "relu: the gradient clipped",
            Linearity,
            Relu,
            spread([1, 3, 5, 2]),
            |b| {
                b.map(0, |_, v| v.clamp(-2.0, 2.0));
            },
        ),
    ]
}

fn resize(align_corners: bool) -> BilinearResize {
    BilinearResize {
        output: [5, 7],
        align_corners,
    }
}

fn dropout(a: u64) -> Dropout {
    Dropout {
        p: 0.5,
        key: key(a).into(),
        by_channel: false,
    }
}

/// Normalisation and losses.
pub fn losses() -> Vec<Wrong> {
    use Method::{CentralDifferences, SecondOrder};
    const TRAIN: BatchNorm = BatchNorm {
        training: true,
        epsilon: 1e-5,
        relu: false,
    };
    const IGNORING: SoftmaxCrossEntropy = SoftmaxCrossEntropy {
        ignore_index: Some(255),
        label_smoothing: 0.0,
        class_weights: None,
    };
    let rows = || [normal([6, 3]), normal([3]), normal([3])];
    let logits = || {
        let labels = Input::Labels {
            shape: [12].into(),
            classes: 5,
            ignore: Some(255),
        };
        [normal([12, 5]), labels]
    };
    let smoothed = SoftmaxCrossEntropy {
        label_smoothing: 0.2,
        ..IGNORING
    };
    /// Gradients with mean and variance for constants.
    fn as_in_evaluation(b: &mut Backward) {
        let eval = BatchNorm {
            training: false,
            ..TRAIN
        };
        let output = TRAIN.forward(b.inputs, &mut Saved::default()).unwrap();
        let biased = mapped(&output.aux[1], |_, v| v * 5.0 / 6.0);
        let inputs = [b.inputs, &[&output.aux[0], &biased]].concat();
        let mut gradients = vjp(&eval, &inputs, b.dy, &[true, true, true, false, false]);
        gradients.truncate(3);
        b.gradients = gradients;
    }
    vec![
        wrong(
            "batch_norm: the unbiased variance backward",
            CentralDifferences,
            TRAIN,
            rows(),
            |b| {
                b.map(0, |_, v| v * (5.0f64 / 6.0).sqrt());
            },
        ),
        wrong(
            "batch_norm: statistics taken for constants",
            CentralDifferences,
            TRAIN,
            rows(),
            as_in_evaluation,
        ),
        wrong(
            "batch_norm: the same, by its derivative",
            SecondOrder,
            TRAIN,
            rows(),
            as_in_evaluation,
        ),
        wrong(
            "batch_norm: dγ of x and not of the normalised x",
            CentralDifferences,
            TRAIN,
            rows(),
            |b| {
                let (x, dy) = (
                    b.inputs[0].to_f64_vec().unwrap(),
                    b.dy.to_f64_vec().unwrap(),
                );
                b.map(1, |c, _| (0..6).map(|n| x[3 * n + c] * dy[3 * n + c]).sum());
            },
        ),
        wrong(
            "cross-entropy: ignored rows counted",
            CentralDifferences,
            IGNORING,
            logits(),
            |b| {
                let labels = b.inputs[1].to_vec::<i32>().unwrap();
                let counted = labels.iter().filter(|&&l| l != 255).count();
                // Where no row happens to be ignored, one is counted twice.
                let share = if counted < 12 {
                    counted as f64 / 12.0
                } else {
                    12.0 / 13.0
                };
                b.map(0, |_, v| share * v);
            },
        ),
        wrong(
            "cross-entropy: no smoothing backward",
            CentralDifferences,
            smoothed,
            logits(),
            |b| b.of(IGNORING),
        ),
        wrong(
            "cross-entropy: softmax without the label's one",
            CentralDifferences,
            IGNORING,
            logits(),
            |b| {
                let (labels, dy) = (b.inputs[1].to_vec::<i32>().unwrap(), b.dy.item().unwrap());
                let counted = labels.iter().filter(|&&l| l != 255).count() as f64;
                b.map(0, |i, v| {
                    if labels[i / 5] == (i % 5) as i32 {
                        v + dy / counted
                    } else {
                        v
                    }
                });
            },
        ),
        wrong(
            "cross-entropy: no gradient",
            CentralDifferences,
            IGNORING,
            logits(),
            |b| b.map(0, |_, _| 0.0),
        ),
        wrong(
            "masked_bce: mean over all elements, not the mask",
            CentralDifferences,
            MaskedBce,
            bce(),
            |b| {
                let mask: f64 = b.inputs[2].to_f64_vec().unwrap().iter().sum();
                b.map(0, |_, v| v * mask / 12.0);
            },
        ),
        wrong(
            "masked_bce: the cotangent forgotten",
            CentralDifferences,
            MaskedBce,
            bce(),
            |b| {
                let dy = b.dy.item().unwrap();
                b.map(0, |_, v| v / dy);
            },
        ),
    ]
}

fn bce() -> [Input; 3] {
    let constant = || Input::Constant([3, 4].into());
    [normal([3, 4]), constant(), constant()]
}

/// Faults that f32 has and f64 does not: those of a kernel.
pub fn kernels() -> Vec<Wrong> {
    use Method::{Determinism, Guards, Integers, Precision, Reuse, Written};
    let conv = || Conv2d::new().padding(1);
    let filters = || [normal([2, 5, 4, 3]), normal([4, 3, 3, 3])];
    fn in_f32(y: Tensor, spoil: impl Fn(Tensor) -> Tensor) -> Tensor {
        match y.dtype() {
            DType::F32 => spoil(y),
            _ => y,
        }
    }
    let kernel =
        |what, caught_by, inner: Arc<dyn Operation>, inputs: &[Input], spoil: SpoilValue| Wrong {
            what,
            caught_by,
            linear: false,
            inner,
            inputs: inputs.to_vec(),
            spoil: None,
            spoil_value: Some(spoil),
        };
    let (conv, relu): (Arc<dyn Operation>, Arc<dyn Operation>) = (Arc::new(conv()), Arc::new(Relu));
    let filters = filters();
    let x = [Input::spread([1, 3, 5, 2])];
    vec![
        kernel(
            "conv2d: the last tile of the depth dropped",
            Precision,
            conv.clone(),
            &filters,
            |inputs, y| {
                in_f32(y, |_| {
                    let x = mapped(inputs[0], |i, v| if i % 3 == 2 { 0.0 } else { v });
                    let op = Conv2d::new().padding(1);
                    op.forward(&[&x, inputs[1]], &mut Saved::default())
                        .unwrap()
                        .value
                })
            },
        ),
        kernel(
            "conv2d: sums kept in half precision",
            Integers,
            conv,
            &filters,
            |_, y| {
                // 15 bits are more than a bound for sums of hundreds of terms asks for.
                in_f32(y, |y| mapped(&y, |_, v| v * (1.0 + f64::exp2(-17.0))))
            },
        ),
        kernel(
            "relu: the digits of half precision",
            Precision,
            relu.clone(),
            &x,
            |_, y| {
                in_f32(y, |y| {
                    y.cast(DType::BF16).unwrap().cast(DType::F32).unwrap()
                })
            },
        ),
        kernel(
            "relu: an element nobody writes",
            Written,
            relu.clone(),
            &x,
            |_, y| {
                in_f32(y, |y| {
                    let fresh = y.empty_like().unwrap().to_f64_vec().unwrap();
                    mapped(&y, |i, v| if i == 17 { fresh[i] } else { v })
                })
            },
        ),
        kernel(
            "relu: nothing written at all",
            Written,
            relu.clone(),
            &x,
            |_, y| {
                // The allocator hands out what was freed last: the right result, but for the poison.
                in_f32(y, |y| {
                    let (shape, dtype, device) = (y.shape().clone(), y.dtype(), y.device());
                    drop(y);
                    Tensor::empty(shape, dtype, device).unwrap()
                })
            },
        ),
        kernel(
            "relu: another result at every call",
            Determinism,
            relu.clone(),
            &x,
            |_, y| {
                static CALLS: AtomicU32 = AtomicU32::new(0);
                let call = CALLS.fetch_add(1, Ordering::Relaxed);
                in_f32(y, |y| {
                    mapped(&y, |i, v| if i == 3 { v + 1e-3 * call as f64 } else { v })
                })
            },
        ),
        kernel(
            "relu: an element written behind the end",
            Guards,
            relu.clone(),
            &x,
            |_, y| {
                in_f32(y, |mut y| {
                    // 120 bytes of 128: nobody else's memory even without margins.
                    let behind = (y.address_mut().unwrap().0 + y.bytes() as u64) as *mut f32;
                    // SAFETY: see above.
                    unsafe { behind.write(0.0) };
                    y
                })
            },
        ),
        kernel(
            "relu: the input changed in place",
            Reuse,
            relu.clone(),
            &x,
            |inputs, y| {
                in_f32(y, |y| {
                    // A negative element, on which the value does not depend.
                    let at = inputs[0].to_f64_vec().unwrap();
                    let at = at.iter().position(|&v| v < 0.0).unwrap();
                    let start = inputs[0].address().0 as *mut f32;
                    // SAFETY: as a kernel would, on memory that is there.
                    unsafe { start.add(at).write(-9.0) };
                    y
                })
            },
        ),
        kernel(
            "relu: one buffer for all results",
            Reuse,
            relu,
            &x,
            |_, y| {
                thread_local! {
                    static BUFFER: std::cell::RefCell<Option<Tensor>> = const { std::cell::RefCell::new(None) };
                }
                in_f32(y, |y| {
                    BUFFER.with_borrow_mut(|buffer| {
                        let kept = buffer.get_or_insert_with(|| y.deep_clone().unwrap());
                        let from = y.to_vec::<f32>().unwrap();
                        let to = kept.address().0 as *mut f32;
                        // SAFETY: as a kernel would, on memory of the same size.
                        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
                        kept.clone()
                    })
                })
            },
        ),
    ]
}
