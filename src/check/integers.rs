//! Exact mode: small integers, whose sums and products every dtype holds, must come out bit for bit.

use super::gradient::unit;
use super::subject::{Check, Run, Target, wide};
use super::verdict::{Entry, Finding, Method, Verdict};
use crate::Result;
use crate::ops::Input;
use crate::tensor::Tensor;

/// Integers below this in magnitude are exact in f32, whatever the order of a sum.
const EXACT: f64 = 16_777_216.0;

/// How many elements are set to one alone, to see whether the function's weights are integers.
const PROBES: usize = 6;

/// Where f64 on the CPU gives integers for small integers, the target gives the same, rounded once to its
/// dtype. A bound never decides here: a tensor core that drops a tile, or adds the wrong lane, is off by
/// a whole number.
pub(super) fn check(subject: &Check, target: Target) -> Result<Vec<Finding>> {
    let (inputs, cotangent) = draw(subject, 0, target)?;
    let wide_inputs: Vec<Tensor> = inputs.iter().map(wide).collect::<Result<_>>()?;
    let exact = subject.evaluate(&wide_inputs, &wide(&cotangent)?)?;
    if !is_integral(&exact)? || !has_integer_weights(subject, &wide_inputs)? {
        return Ok(Vec::new());
    }
    let found = subject.evaluate(&inputs, &cotangent)?;
    let mut findings = Vec::new();
    for ((name, found), (_, exact)) in found.parts().into_iter().zip(exact.parts()) {
        let rounded = exact.cast(found.dtype())?;
        let pairs = found.to_f64_vec()?.into_iter().zip(rounded.to_f64_vec()?);
        let entries = pairs
            .enumerate()
            .map(|(flat, (f, e))| Entry::new(exact.shape(), flat, [f, e, 0.0]));
        let verdict = Verdict::of_entries(entries);
        findings.push(match name.strip_prefix("gradient ").map(str::parse) {
            Some(Ok(input)) => Finding::of_gradient(Method::Integers, input, verdict),
            _ => Finding::new(Method::Integers, format!("the {name}"), verdict),
        });
    }
    Ok(findings)
}

/// Small-integer inputs and cotangent at `target`.
pub(super) fn draw(subject: &Check, draw: u32, target: Target) -> Result<(Vec<Tensor>, Tensor)> {
    let mut stream = subject.stream(400 + draw);
    let Target { device, dtype } = target;
    let inputs: Vec<Tensor> = (subject.inputs.iter())
        .map(|input| input.draw_integers(&mut stream, dtype, device))
        .collect::<Result<_>>()?;
    let shape = subject.value_shape(&inputs)?;
    let cotangent = Input::Normal(shape).draw_integers(&mut stream, dtype, device)?;
    Ok((inputs, cotangent))
}

fn is_integral(run: &Run) -> Result<bool> {
    for (_, tensor) in run.parts() {
        let values = tensor.to_f64_vec()?;
        if values.iter().any(|v| v.fract() != 0.0 || v.abs() >= EXACT) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Means and interpolations give integers by chance; not for a one among zeros.
fn has_integer_weights(subject: &Check, inputs: &[Tensor]) -> Result<bool> {
    let cotangent = unit(&subject.value_shape(inputs)?, 0)?;
    let mut stream = subject.stream(410);
    for input in subject.differentiable() {
        for _ in 0..PROBES {
            let shape = inputs[input].shape();
            let mut probe = inputs.to_vec();
            probe[input] = unit(shape, stream.below(shape.len() as u32) as usize)?;
            if !is_integral(&subject.evaluate(&probe, &cotangent)?)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
