//! Every operation, by its declaration: contract, gradients, adjoints, precision; and wrong
//! operations, each of which must be caught.

use std::sync::atomic::{AtomicU32, Ordering};

use whatwhere::Result;
use whatwhere::check::{self, Method, Report, Verdict};
use whatwhere::device::Device;
use whatwhere::ops::{self, Case, Cost, Draw, Input, Operation, Output, Saved};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::{DType, Shape, Tensor};

#[test]
fn every_declared_operation_passes() {
    for declaration in ops::declarations() {
        for seed in 0..3 {
            for report in check::declaration(&declaration, seed).unwrap() {
                assert!(report.passed(), "{report}");
            }
        }
    }
}

/// Random cases fit together and are named by their choices; no choices at all are a case too.
#[test]
fn random_cases_are_valid_and_can_be_played_back() {
    for declaration in ops::declarations() {
        for index in 0..300 {
            let key = Key::new(8, Purpose::Check, index, 0);
            let mut draw = Draw::random(key.stream(0));
            let case = (declaration.fuzz)(&mut draw);
            let shapes: Vec<&Shape> = case.inputs.iter().map(|i| i.shape()).collect();
            case.op.output_shape(&shapes).unwrap();
            let again = (declaration.fuzz)(&mut Draw::replay(draw.choices()));
            assert_eq!(again.label, case.label);
        }
        let simplest = (declaration.fuzz)(&mut Draw::replay(&[]));
        let shapes: Vec<&Shape> = simplest.inputs.iter().map(|i| i.shape()).collect();
        simplest.op.output_shape(&shapes).unwrap();
    }
}

/// The table in the documentation is the declarations'. UPDATE=1 writes it anew.
#[test]
fn documented_table_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- table -->\n", "<!-- end of table -->");
    let (head, rest) = text.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let mut table =
        String::from("| Operation | What it computes | Linear | Cases |\n|---|---|---|---|\n");
    for d in ops::declarations() {
        let linear = if d.linear { "yes" } else { "no" };
        let cases = (d.cases)().len();
        table += &format!("| `{}` | {} | {linear} | {cases} |\n", d.name, d.summary);
    }
    let current = format!("{head}{begin}{table}{end}{tail}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &current).unwrap();
    } else {
        assert!(
            text == current,
            "{path} is stale: run this test with UPDATE=1"
        );
    }
}

/// An operation with its result or its gradients spoilt.
struct Mutant {
    inner: Box<dyn Operation>,
    value: fn(Tensor) -> Tensor,
    gradients: fn(Vec<Option<Tensor>>) -> Vec<Option<Tensor>>,
}

impl std::fmt::Debug for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "wrong {:?}", self.inner)
    }
}

impl Operation for Mutant {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        self.inner.output_shape(inputs)
    }
    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let Output { value, aux } = self.inner.forward(inputs, saved)?;
        let value = (self.value)(value);
        Ok(Output { value, aux })
    }
    fn vjp(&self, saved: Saved, dy: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok((self.gradients)(self.inner.vjp(saved, dy, wanted)?))
    }
    fn cost(&self, inputs: &[&Shape]) -> Cost {
        self.inner.cost(inputs)
    }
}

/// Every element changed by `f`, which sees its flat index.
fn mapped(t: Tensor, f: impl Fn(usize, f64) -> f64) -> Tensor {
    let values = t.to_f64_vec().unwrap().into_iter().enumerate();
    let values: Vec<f64> = values.map(|(i, v)| f(i, v)).collect();
    let wide = Tensor::from_slice(t.shape(), &values, Device::cpu()).unwrap();
    wide.cast(t.dtype()).unwrap()
}

fn first(gradients: Vec<Option<Tensor>>, f: impl Fn(Tensor) -> Tensor) -> Vec<Option<Tensor>> {
    let mut gradients = gradients.into_iter();
    let spoilt = gradients.next().flatten().map(f);
    std::iter::once(spoilt).chain(gradients).collect()
}

/// Reports of an operation on these inputs, spoilt, on twenty seeds.
fn reports(
    inner: impl Operation,
    inputs: &[Input],
    value: fn(Tensor) -> Tensor,
    gradients: fn(Vec<Option<Tensor>>) -> Vec<Option<Tensor>>,
) -> Vec<Report> {
    let mutant = Mutant {
        inner: Box::new(inner),
        value,
        gradients,
    };
    let case = Case::new(mutant, inputs);
    let seeds = 0..20;
    seeds
        .map(|seed| check::case(&case, false, seed).unwrap())
        .collect()
}

fn assert_caught_by(method: Method, reports: Vec<Report>) {
    for report in reports {
        let mut findings = report.findings.iter().filter(|f| f.method == method);
        let caught = findings.any(|f| matches!(f.verdict, Verdict::Mismatch(_)));
        assert!(caught, "{method:?} did not catch {report}");
    }
}

fn normal(shape: impl Into<Shape>) -> Input {
    Input::normal(shape)
}

fn same<T>(x: T) -> T {
    x
}

/// Wrong gradients, each of a kind that was seen in the wild.
#[test]
fn wrong_gradients_are_caught() {
    use whatwhere::ops::conv2d::Conv2d;
    use whatwhere::ops::global_avg_pool::GlobalAvgPool;
    use whatwhere::ops::max_pool2d::MaxPool2d;
    use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
    let caught = |reports| assert_caught_by(Method::CentralDifferences, reports);

    // The mean without its 1/(H·W).
    let map = [normal([2, 3, 4, 5])];
    caught(reports(GlobalAvgPool, &map, same, |g| {
        first(g, |dx| mapped(dx, |_, v| 12.0 * v))
    }));
    // The filter's gradient with rows and columns exchanged.
    let conv = [normal([2, 5, 5, 3]), normal([4, 3, 3, 3])];
    caught(reports(Conv2d::new().padding(1), &conv, same, |mut g| {
        let dw = g[1].take();
        g[1] = dw.map(|dw| dw.permute4([0, 2, 1, 3]).unwrap());
        g
    }));
    // Padding off by one: the map's gradient moved by a pixel.
    caught(reports(Conv2d::new().padding(1), &conv, same, |g| {
        first(g, |dx| {
            let values = dx.to_f64_vec().unwrap();
            let moved = |i: usize| values[(i + 3) % values.len()];
            mapped(dx, |i, _| moved(i))
        })
    }));
    // += for =: the gradient counted twice in one channel.
    let spread = [Input::spread([2, 4, 6, 5])];
    caught(reports(MaxPool2d::new(2), &spread, same, |g| {
        first(g, |dx| {
            mapped(dx, |i, v| if i % 5 == 2 { 2.0 * v } else { v })
        })
    }));
    // One part in ten thousand.
    caught(reports(GlobalAvgPool, &map, same, |g| {
        first(g, |dx| mapped(dx, |_, v| 1.0001 * v))
    }));
    // The gradient left out.
    let labels = Input::Labels {
        shape: [7].into(),
        classes: 5,
        ignore: Some(255),
    };
    let loss = SoftmaxCrossEntropy {
        ignore_index: Some(255),
        ..Default::default()
    };
    let logits = [normal([7, 5]), labels];
    caught(reports(loss.clone(), &logits, same, |g| {
        first(g, |dz| mapped(dz, |_, _| 0.0))
    }));
    // Ignored rows counted in the mean.
    caught(reports(loss, &logits, same, |g| {
        first(g, |dz| {
            let counted = dz.to_f64_vec().unwrap();
            let counted = counted
                .chunks(5)
                .filter(|row| row.iter().any(|v| *v != 0.0));
            let share = counted.count() as f64 / 7.0;
            mapped(dz, |i, v| {
                if share < 1.0 {
                    share * v
                } else {
                    v + (i == 0) as u8 as f64
                }
            })
        })
    }));
}

/// The forward permutation used backward is invisible to a sum, and caught by both methods here.
#[test]
fn forward_permutation_in_the_backward_pass_is_caught() {
    use whatwhere::ops::spatial_shuffle::{Mode, SpatialShuffle};
    let shuffle = || SpatialShuffle::new(Mode::Shuffle, Key::new(3, Purpose::Check, 1, 2));
    let spoil = |gradients: Vec<Option<Tensor>>| {
        first(gradients, |dx| {
            // Two more forward shuffles turn π⁻¹ into π.
            let key = Key::new(3, Purpose::Check, 1, 2);
            let op = SpatialShuffle::new(Mode::Shuffle, key);
            let forward = |x: &Tensor| op.forward(&[x], &mut Saved::default()).unwrap().value;
            forward(&forward(&dx))
        })
    };
    let map = [normal([2, 3, 4, 5])];
    assert_caught_by(
        Method::CentralDifferences,
        reports(shuffle(), &map, same, spoil),
    );
    let mutant = Mutant {
        inner: Box::new(shuffle()),
        value: same,
        gradients: spoil,
    };
    let report = check::case(&Case::new(mutant, map), true, 1).unwrap();
    assert_caught_by(Method::AdjointIdentity, vec![report]);
}

#[test]
fn broken_contracts_are_caught() {
    use whatwhere::ops::add::Add;
    use whatwhere::ops::relu::Relu;
    let x = [Input::spread([2, 3, 5])];
    let caught = assert_caught_by;
    // A gradient of the wrong shape, a missing one, one too many.
    caught(
        Method::Shapes,
        reports(Relu, &x, same, |g| first(g, |dx| dx.reshape([30]).unwrap())),
    );
    caught(Method::Shapes, reports(Relu, &x, same, |_| vec![None]));
    caught(
        Method::Shapes,
        reports(Relu, &x, same, |mut g| {
            g.push(None);
            g
        }),
    );
    // A value of another shape than promised.
    caught(
        Method::Shapes,
        reports(Relu, &x, |y| y.reshape([30]).unwrap(), same),
    );
    // An element nobody writes.
    caught(
        Method::Written,
        reports(
            Relu,
            &x,
            |y| {
                let fresh = y.empty_like().unwrap().to_f64_vec().unwrap();
                mapped(y, |i, v| if i == 17 { fresh[i] } else { v })
            },
            same,
        ),
    );
    // Another result at every call.
    caught(
        Method::Determinism,
        reports(
            Relu,
            &x,
            |y| {
                static CALLS: AtomicU32 = AtomicU32::new(0);
                let call = CALLS.fetch_add(1, Ordering::Relaxed);
                mapped(y, |i, v| if i == 3 { v + 1e-3 * call as f64 } else { v })
            },
            same,
        ),
    );
    // Single precision with the digits of half precision.
    let pair = [normal([2, 3, 5]), normal([2, 3, 5])];
    caught(
        Method::Precision,
        reports(
            Add,
            &pair,
            |y| match y.dtype() {
                DType::F32 => y.cast(DType::BF16).unwrap().cast(DType::F32).unwrap(),
                _ => y,
            },
            same,
        ),
    );
}

/// What a check cannot see is no pass: a gradient that vanishes for every input.
#[test]
fn an_invisible_gradient_is_unchecked() {
    use whatwhere::ops::relu::Relu;
    let reports = reports(
        Relu,
        &[Input::spread([6])],
        |y| mapped(y, |_, _| 0.0),
        |g| first(g, |dx| mapped(dx, |_, _| 0.0)),
    );
    for report in reports {
        assert!(!report.passed() && !report.mismatched(), "{report}");
    }
}
