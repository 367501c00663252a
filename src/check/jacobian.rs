//! Every entry of the Jacobian, for functions small enough.

use super::gradient::{DRAWS, decisive, unit};
use super::subject::{Check, Target, inner, largest, moved};
use super::verdict::{Entry, Finding, Method, Verdict};
use crate::Result;
use crate::tensor::{DType, Tensor};

/// Most elements of an input and of a value, and most entries of a Jacobian, that are looked at one by
/// one; larger functions have their directions.
const ELEMENTS: usize = 48;
const ENTRIES: usize = 1024;

/// J by the vjp, a row for each element of the value, against J by differences, a column for each element
/// of the input. No single cotangent or direction can hide an entry here.
pub(super) fn check(subject: &Check) -> Result<Vec<Finding>> {
    let inputs = subject.inputs(30, DType::F64)?;
    let outputs = subject.value_shape(&inputs)?.len();
    let mut findings = Vec::new();
    for input in subject.differentiable() {
        let elements = inputs[input].len();
        if elements > ELEMENTS || outputs > ELEMENTS || elements * outputs > ENTRIES {
            continue;
        }
        let mut verdict = Verdict::Unchecked("not tried".into());
        for draw in 0..DRAWS {
            verdict = compare(subject, input, &subject.inputs(30 + draw, DType::F64)?)?;
            if !verdict.is_unchecked() {
                break;
            }
        }
        findings.push(Finding::of_gradient(Method::Jacobian, input, verdict));
    }
    Ok(findings)
}

fn compare(subject: &Check, input: usize, inputs: &[Tensor]) -> Result<Verdict> {
    let x = &inputs[input];
    let value = subject.value(inputs)?;
    let mut rows = Vec::new();
    // What each element of the value is added up from, as it comes out and as it goes in.
    let mut terms = Vec::new();
    for (o, y) in value.data::<f64>()?.iter().enumerate() {
        let run = subject.evaluate(inputs, &unit(value.shape(), o)?)?;
        let mut size = y.abs();
        for i in subject.differentiable() {
            size += inner(&inputs[i], run.gradient(i)?)?.1;
        }
        terms.push(size);
        rows.push(run.gradient(input)?.to_f64_vec()?);
    }
    let size = largest(x)?;
    let step = subject.step_for(DType::F64) * if size > 0.0 { size } else { 1.0 };
    let largest = rows.iter().flatten().fold(0.0, |m: f64, v| m.max(v.abs()));
    let mut entries = Vec::new();
    for i in 0..x.len() {
        let column = column(subject, inputs, input, i, step)?;
        for (o, (row, &(quotient, uneven))) in rows.iter().zip(&column).enumerate() {
            let rounding = subject.rounding(value.shape(), DType::F64, terms[o]);
            let bound = uneven + rounding / step;
            let decided = bound <= decisive(DType::F64) * largest;
            if !decided {
                return Ok(Verdict::Unchecked(format!(
                    "∂y[{o}]/∂x[{i}] = {quotient:e} is known to ±{bound:e} only: a kink is near"
                )));
            }
            entries.push(Entry::new(x.shape(), i, [row[i], quotient, bound]));
        }
    }
    Ok(match largest {
        0.0 => Verdict::Unchecked("the Jacobian is zero".into()),
        _ => Verdict::of_entries(entries),
    })
}

/// The derivatives of all elements of the value with respect to one element of the input, and how uneven
/// their differences are: as [`super::difference`], for all at once.
fn column(
    subject: &Check,
    inputs: &[Tensor],
    input: usize,
    flat: usize,
    h: f64,
) -> Result<Vec<(f64, f64)>> {
    let along = unit(inputs[input].shape(), flat)?;
    let at = |t: f64| -> Result<Vec<f64>> {
        let mut inputs = inputs.to_vec();
        inputs[input] = moved(&inputs[input], t, &along)?;
        subject.value_at(&inputs, Target::CPU_F64)?.to_f64_vec()
    };
    let [f0, f1, b1, f2, b2] = [0.0, h, -h, 2.0 * h, -2.0 * h].map(at);
    let (f0, f1, b1, f2, b2) = (f0?, f1?, b1?, f2?, b2?);
    let of = |o: usize| {
        let (fine, coarse) = ((f1[o] - b1[o]) / (2.0 * h), (f2[o] - b2[o]) / (4.0 * h));
        let bend = (f1[o] - 2.0 * f0[o] + b1[o]) / h;
        let wide_bend = (f2[o] - 2.0 * f0[o] + b2[o]) / (2.0 * h);
        let uneven = (fine - coarse).abs() + (2.0 * bend - wide_bend).abs();
        (fine, uneven)
    };
    Ok((0..f0.len()).map(of).collect())
}
