//! The vjp against central differences, and the adjoint identity.

use super::{DRAWS, Finding, Method, Subject, Verdict, direction, gradient_of, index_of, inner};
use crate::Result;
use crate::tensor::{DType, Shape, Tensor};

/// Step of the differences over the size of the input: near ∛u for f64, where the truncation h² and
/// the rounding u/h of a central difference meet.
const STEP: f64 = 1.0 / (1 << 16) as f64;

/// A bound of more than this share of the gradient decides nothing: a kink lies within the step.
const DECISIVE: f64 = 1e-3;

/// vᵀJu = d/dt ⟨v, f(x + t·u)⟩ for a random cotangent v and a random direction u of each input.
pub(super) fn central_differences(subject: &Subject) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for input in subject.differentiable() {
        let mut verdict = Verdict::Unchecked("not tried".into());
        for draw in 0..DRAWS {
            verdict = Point::draw(subject, input, draw)?.verdict()?;
            if !matches!(verdict, Verdict::Unchecked(_)) {
                break;
            }
        }
        findings.push(Finding {
            method: Method::CentralDifferences,
            subject: format!("the gradient of input {input}"),
            verdict,
        });
    }
    Ok(findings)
}

/// Where the derivative with respect to one input is taken.
struct Point<'a> {
    subject: &'a Subject<'a>,
    input: usize,
    inputs: Vec<Tensor>,
    cotangent: Tensor,
    direction: Tensor,
    gradient: Tensor,
    step: f64,
    rounding: f64,
}

/// A numeric derivative and a bound of its error.
struct Numeric {
    derivative: f64,
    bound: f64,
}

impl<'a> Point<'a> {
    fn draw(subject: &'a Subject<'a>, input: usize, draw: u32) -> Result<Self> {
        let inputs = subject.inputs(10 + draw, DType::F64)?;
        let mut stream = subject.stream(100 + draw);
        let cotangent = direction(subject.value(&inputs)?.shape(), &mut stream)?;
        let run = subject.run(&inputs, &cotangent, &subject.wanted())?;
        // The terms that ⟨v, f⟩ is added up from: as they come out, and as they go in.
        let (_, mut terms) = inner(&run.value, &cotangent)?;
        for i in subject.differentiable() {
            terms += inner(&inputs[i], gradient_of(&run, i)?)?.1;
        }
        let size = largest(&inputs[input])?;
        Ok(Point {
            subject,
            input,
            direction: direction(inputs[input].shape(), &mut stream)?,
            gradient: gradient_of(&run, input)?.clone(),
            step: STEP * if size > 0.0 { size } else { 1.0 },
            rounding: subject.gamma(cotangent.shape(), DType::F64) * terms,
            inputs,
            cotangent,
        })
    }

    fn verdict(&self) -> Result<Verdict> {
        let numeric = self.derivative(&self.direction)?;
        let (analytic, size) = inner(&self.gradient, &self.direction)?;
        let error = (analytic - numeric.derivative).abs();
        if numeric.bound > DECISIVE * size.max(numeric.derivative.abs()) {
            let (found, bound) = (numeric.derivative, numeric.bound);
            return Ok(Verdict::Unchecked(format!(
                "the derivative {found:e} is known to ±{bound:e} only, against terms of size {size:e}"
            )));
        }
        if size == 0.0 && error <= numeric.bound {
            return Ok(Verdict::Unchecked("the gradient is zero everywhere".into()));
        }
        if error <= numeric.bound {
            return Ok(Verdict::Pass(error / numeric.bound));
        }
        self.worst_entry(analytic, numeric)
    }

    /// Central difference D(h) along `direction`. Its bound has three parts: the change when the step
    /// is doubled, for truncation; the second difference that no smooth function has,
    /// |2δ(h) − δ(2h)| with δ = D₊ − D₋, which with the first covers a kink anywhere within the
    /// step; and γ_K over the step, for rounding.
    fn derivative(&self, direction: &Tensor) -> Result<Numeric> {
        let at = |t: f64| -> Result<f64> {
            let mut inputs = self.inputs.clone();
            inputs[self.input] = moved(&inputs[self.input], t, direction)?;
            Ok(inner(&self.subject.value(&inputs)?, &self.cotangent)?.0)
        };
        let (h, here) = (self.step, at(0.0)?);
        let differences = |h: f64| -> Result<(f64, f64)> {
            let (ahead, behind) = (at(h)?, at(-h)?);
            let central = (ahead - behind) / (2.0 * h);
            Ok((central, (ahead - 2.0 * here + behind) / h))
        };
        let ((fine, bend), (coarse, wide_bend)) = (differences(h)?, differences(2.0 * h)?);
        let uneven = (fine - coarse).abs() + (2.0 * bend - wide_bend).abs();
        Ok(Numeric {
            derivative: fine,
            bound: uneven + self.rounding / h,
        })
    }

    /// The full Jacobian, to say which entry is wrong.
    fn worst_entry(&self, analytic: f64, along: Numeric) -> Result<Verdict> {
        let shape = self.gradient.shape();
        let mut worst = (1.0, String::new());
        for (flat, &entry) in self.gradient.data::<f64>()?.iter().enumerate() {
            let numeric = self.derivative(&unit(shape, flat)?)?;
            let share = (entry - numeric.derivative).abs() / numeric.bound;
            if share > worst.0 || share.is_nan() {
                let index = index_of(shape, flat);
                let Numeric { derivative, bound } = numeric;
                let what =
                    format!("entry {index:?}: vjp {entry:e}, numeric {derivative:e} ± {bound:e}");
                worst = (share, what);
            }
        }
        let Numeric { derivative, bound } = along;
        Ok(Verdict::Mismatch(format!(
            "along a random direction vjp {analytic:e}, numeric {derivative:e} ± {bound:e}; {}",
            if worst.1.is_empty() {
                "no single entry stands out"
            } else {
                &worst.1
            }
        )))
    }
}

/// ⟨A x, v⟩ = ⟨x, Aᵀ v⟩ for each input alone, with A x = f(x) − f(0) in case of a constant part.
pub(super) fn adjoint_identity(subject: &Subject) -> Result<Vec<Finding>> {
    let inputs = subject.inputs(2, DType::F64)?;
    let value = subject.value(&inputs)?;
    let cotangent = direction(value.shape(), &mut subject.stream(3))?;
    let run = subject.run(&inputs, &cotangent, &subject.wanted())?;
    let gamma = subject.gamma(value.shape(), DType::F64);
    let mut findings = Vec::new();
    for input in subject.differentiable() {
        let mut without = inputs.clone();
        without[input] = Tensor::zeros(inputs[input].shape(), DType::F64, inputs[input].device())?;
        let (constant, constant_size) = inner(&subject.value(&without)?, &cotangent)?;
        let (forward, forward_size) = inner(&value, &cotangent)?;
        let (backward, backward_size) = inner(&inputs[input], gradient_of(&run, input)?)?;
        let error = (forward - constant - backward).abs();
        let bound = gamma * (constant_size + forward_size + backward_size);
        let verdict = if forward_size == 0.0 && backward_size == 0.0 {
            Verdict::Unchecked("both sides are zero".into())
        } else if error <= bound {
            Verdict::Pass(error / bound)
        } else {
            let left = forward - constant;
            Verdict::Mismatch(format!(
                "⟨Ax, v⟩ = {left:e}, ⟨x, Aᵀv⟩ = {backward:e} ± {bound:e}"
            ))
        };
        findings.push(Finding {
            method: Method::AdjointIdentity,
            subject: format!("the gradient of input {input}"),
            verdict,
        });
    }
    Ok(findings)
}

/// x + t·u.
fn moved(x: &Tensor, t: f64, u: &Tensor) -> Result<Tensor> {
    let cells = x.data::<f64>()?.iter().zip(u.data::<f64>()?);
    let values: Vec<f64> = cells.map(|(x, u)| x + t * u).collect();
    Tensor::from_slice(x.shape(), &values, x.device())
}

fn unit(shape: &Shape, flat: usize) -> Result<Tensor> {
    let mut unit = Tensor::zeros(shape, DType::F64, Default::default())?;
    unit.data_mut::<f64>()?[flat] = 1.0;
    Ok(unit)
}

fn largest(x: &Tensor) -> Result<f64> {
    Ok(x.data::<f64>()?.iter().fold(0.0, |max, v| max.max(v.abs())))
}
