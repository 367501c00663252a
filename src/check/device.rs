//! A case on another device: where its results are, that they are whole, and what they are.

use super::contract::{finding, unwritten, verdict, wrong_shape};
use super::{Finding, Method, Run, Subject, Target, Verdict, direction, precision};
use crate::Result;
use crate::ops::{Input, shapes};
use crate::tensor::Tensor;

pub(super) fn check(subject: &Subject, target: Target) -> Result<Vec<Finding>> {
    let inputs = target.moved(&subject.inputs(0, target.dtype)?)?;
    let shape = subject
        .op()
        .output_shape(&shapes(&inputs.iter().collect::<Vec<_>>()))?;
    let cotangent = direction(&shape, &mut subject.stream(1))?.cast(target.dtype)?;
    let cotangent = cotangent.to_device(target.device)?;
    let run = || subject.run(&inputs, &cotangent, &subject.wanted());
    let first = run()?;
    let fault = match elsewhere(&first, target) {
        None => wrong_shape(subject, &inputs, &first)?,
        fault => fault,
    };
    let all = "value and gradients";
    let mut findings = vec![finding(Method::Shapes, all, verdict(fault))];
    if findings[0].verdict != Verdict::Pass(0.0) {
        return Ok(findings);
    }
    let written = verdict(unwritten(&first)?);
    findings.push(finding(Method::Written, all, written));
    let differs = first.first_difference(&run()?)?;
    let differs = differs.map(|what| format!("{what} differs between two runs"));
    findings.push(finding(Method::Determinism, all, verdict(differs)));
    findings.extend(precision::check(subject, target)?);
    Ok(findings)
}

/// One run on small integers.
pub(super) fn run_on_integers(subject: &Subject, target: Target) -> Result<Run> {
    let mut stream = subject.stream(400);
    let inputs: Vec<Tensor> = (subject.case.inputs.iter())
        .map(|input| input.draw_integers(&mut stream, target.dtype, target.device))
        .collect::<Result<_>>()?;
    let op = subject.op();
    let shape = op.output_shape(&shapes(&inputs.iter().collect::<Vec<_>>()))?;
    let cotangent = Input::Normal(shape).draw_integers(&mut stream, target.dtype, target.device)?;
    subject.run(&inputs, &cotangent, &subject.wanted())
}

/// The first result that is not on the target's device.
fn elsewhere(run: &Run, target: Target) -> Option<String> {
    let mut parts = run.parts().into_iter();
    let away = |t: &Tensor| t.device() != target.device;
    let (name, tensor) = parts.find(|(_, tensor)| away(tensor))?;
    Some(format!(
        "{name} is on {}, not on {}",
        tensor.device(),
        target.device
    ))
}
