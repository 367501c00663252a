//! The vjp against central differences: vᵀJu in random directions, entry by entry where that disagrees.

use super::difference::{Numeric, derivative};
use super::subject::{Check, Target, direction, inner, largest, moved, wide};
use super::verdict::{Entry, Finding, Method, Verdict};
use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result};

/// How often inputs are drawn again before a quantity counts as unchecked.
pub(super) const DRAWS: u32 = 16;

/// A bound of more than this share of the gradient decides nothing: a kink lies within the step.
pub(super) fn decisive(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-3,
        _ => 0.05,
    }
}

/// vᵀJu = d/dt ⟨v, f(x + t·u)⟩ for a random cotangent v and a random direction u of each input.
pub(super) fn central_differences(subject: &Check, target: Target) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for input in subject.differentiable() {
        let mut verdict = Verdict::Unchecked("not tried".into());
        for draw in 0..DRAWS {
            verdict = Point::draw(subject, target, input, draw)?.verdict()?;
            if !verdict.is_unchecked() {
                break;
            }
        }
        let method = Method::CentralDifferences;
        findings.push(Finding::of_gradient(method, input, verdict));
    }
    Ok(findings)
}

/// Where the derivative with respect to one input is taken.
pub(super) struct Point<'a> {
    subject: &'a Check<'a>,
    target: Target,
    input: usize,
    inputs: Vec<Tensor>,
    cotangent: Tensor,
    direction: Tensor,
    /// What the vjp says; not there where it does not matter.
    gradient: Option<Tensor>,
    step: f64,
    rounding: f64,
}

impl<'a> Point<'a> {
    fn draw(subject: &'a Check<'a>, target: Target, input: usize, draw: u32) -> Result<Self> {
        // Numbers that the target's dtype holds.
        let inputs = subject.inputs(10 + draw, target.dtype)?;
        let inputs: Vec<Tensor> = inputs.iter().map(wide).collect::<Result<_>>()?;
        let mut stream = subject.stream(100 + draw);
        let shape = subject.value_at(&inputs, target)?.shape().clone();
        let cotangent = direction(&shape, &mut stream)?.cast(target.dtype)?;
        let cotangent = wide(&cotangent)?;
        let run = subject.evaluate_at(&inputs, &cotangent, target)?;
        // The terms that ⟨v, f⟩ is added up from: as they come out, and as they go in.
        let (_, mut terms) = inner(&run.value, &cotangent)?;
        for i in subject.differentiable() {
            terms += inner(&inputs[i], run.gradient(i)?)?.1;
        }
        let direction = direction(inputs[input].shape(), &mut stream)?;
        let gradient = Some(run.gradient(input)?.clone());
        Ok(Point {
            step: step(subject, target, &inputs[input])?,
            rounding: subject.rounding(cotangent.shape(), target.dtype, terms),
            subject,
            target,
            input,
            inputs,
            cotangent,
            direction,
            gradient,
        })
    }

    /// A given point, in f64 on the CPU, for which the vjp is not asked.
    pub fn at(
        subject: &'a Check<'a>,
        inputs: Vec<Tensor>,
        cotangent: Tensor,
        input: usize,
    ) -> Result<Self> {
        let target = Target::CPU_F64;
        let value = subject.value(&inputs)?;
        if value.shape() != cotangent.shape() {
            let (value, cotangent) = (value.shape(), cotangent.shape());
            let what = format!("a cotangent of {cotangent} for a value of {value}");
            return Err(Error::shape("check", what));
        }
        let terms = inner(&value, &cotangent)?.1;
        Ok(Point {
            step: step(subject, target, &inputs[input])?,
            // The vjp's share of the terms is not known: as many again for each input.
            rounding: subject.rounding(
                value.shape(),
                DType::F64,
                terms * (1 + inputs.len()) as f64,
            ),
            direction: unit(inputs[input].shape(), 0)?,
            subject,
            target,
            input,
            inputs,
            cotangent,
            gradient: None,
        })
    }

    /// The derivative with respect to one element, and its bound.
    pub fn entry(&self, flat: usize) -> Result<(f64, f64)> {
        let along = unit(self.inputs[self.input].shape(), flat)?;
        let Numeric { derivative, bound } = self.derivative(&along, 0.0)?;
        Ok((derivative, bound))
    }

    fn verdict(&self) -> Result<Verdict> {
        if let Some(why) = self.lost_step()? {
            return Ok(Verdict::Unchecked(why));
        }
        let Some(gradient) = &self.gradient else {
            return Ok(Verdict::Unchecked("there is no gradient".into()));
        };
        let (analytic, size) = inner(gradient, &self.direction)?;
        let decisive = decisive(self.target.dtype);
        let numeric = self.derivative(&self.direction, decisive * size)?;
        let (found, bound) = (numeric.derivative, numeric.bound);
        let error = (analytic - found).abs();
        // Written so that a bound that is no number decides nothing.
        let decided = bound <= decisive * size.max(found.abs());
        if !decided {
            return Ok(Verdict::Unchecked(format!(
                "the derivative {found:e} is known to ±{bound:e} only, against terms of size {size:e}"
            )));
        }
        if size == 0.0 && error <= bound {
            return Ok(Verdict::Unchecked("the gradient is zero everywhere".into()));
        }
        if error <= bound {
            return Ok(Verdict::Pass(error / bound));
        }
        self.worst_entry(gradient, analytic, numeric)
    }

    /// Why the step is none: too small to move the input.
    fn lost_step(&self) -> Result<Option<String>> {
        let (x, h) = (&self.inputs[self.input], self.step);
        for sign in [1.0, -1.0] {
            let there = self.target.place(&moved(x, sign * h, &self.direction)?)?;
            let there = wide(&there)?;
            let pairs = there.data::<f64>()?.iter().zip(x.data::<f64>()?);
            if pairs.into_iter().any(|(there, here)| there == here) {
                return Ok(Some(format!(
                    "a step of {h:e} is lost in the rounding of an input of size {:e}",
                    largest(x)?
                )));
            }
        }
        Ok(None)
    }

    /// d/dt ⟨v, f(x + t·`along`)⟩.
    fn derivative(&self, along: &Tensor, enough: f64) -> Result<Numeric> {
        let at = |t: f64| -> Result<f64> {
            let mut inputs = self.inputs.clone();
            inputs[self.input] = moved(&inputs[self.input], t, along)?;
            let value = self.subject.value_at(&inputs, self.target)?;
            Ok(inner(&value, &self.cotangent)?.0)
        };
        derivative(at, self.step, self.rounding, enough)
    }

    /// The whole gradient, to say which entry is wrong. Where none is, the disagreement along the
    /// direction came from kinks, and another point will tell.
    fn worst_entry(&self, gradient: &Tensor, along: f64, numeric: Numeric) -> Result<Verdict> {
        let shape = gradient.shape();
        let mut entries = Vec::new();
        for (flat, &analytic) in gradient.data::<f64>()?.iter().enumerate() {
            let Numeric { derivative, bound } = self.derivative(
                &unit(shape, flat)?,
                decisive(self.target.dtype) * analytic.abs(),
            )?;
            entries.push(Entry::new(shape, flat, [analytic, derivative, bound]));
        }
        let Numeric { derivative, bound } = numeric;
        let seen = format!(
            "along a random direction the vjp gives {along:e}, differences {derivative:e} ± {bound:e}"
        );
        Ok(match Verdict::of_entries(entries) {
            Verdict::Mismatch { worst, .. } => Verdict::Mismatch { what: seen, worst },
            _ => Verdict::Unchecked(format!("{seen}, but every entry agrees")),
        })
    }
}

/// The step for an input: a share of its largest element.
fn step(subject: &Check, target: Target, x: &Tensor) -> Result<f64> {
    let size = largest(x)?;
    Ok(subject.step_for(target.dtype) * if size > 0.0 { size } else { 1.0 })
}

pub(super) fn unit(shape: &Shape, flat: usize) -> Result<Tensor> {
    let mut unit = Tensor::zeros(shape, DType::F64, Default::default())?;
    unit.data_mut::<f64>()?[flat] = 1.0;
    Ok(unit)
}
