//! What holds for every function everywhere: shapes, complete and finite results, bit-equal runs.

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::subject::{Check, Run, Target, direction, no_point, not_finite};
use super::verdict::{Finding, Method, Verdict, index_of};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// How often a function runs on the same inputs.
const RUNS: usize = 3;

const ALL: &str = "value and gradients";

/// Shapes first; the rest only where these are right.
pub(super) fn check(subject: &Check, target: Target) -> Result<Vec<Finding>> {
    let inputs = subject.inputs_on(0, target)?;
    if let Some(why) = unusable(subject, &inputs)? {
        return Ok(no_point(why));
    }
    let shape = subject.value_shape(&inputs)?;
    if shape.is_empty() {
        return Ok(no_point(format!(
            "the value of shape {shape} has no element"
        )));
    }
    let cotangent = target.place(&direction(&shape, &mut subject.stream(1))?)?;
    let run = subject.evaluate(&inputs, &cotangent)?;
    let fault = match elsewhere(&run, target) {
        None => wrong_shape(subject, &inputs, &run)?,
        fault => fault,
    };
    let sound = fault.is_none();
    let mut findings = vec![Finding::new(Method::Shapes, ALL, Verdict::of(fault))];
    if sound {
        let written = Verdict::of(unwritten(&run)?);
        findings.push(Finding::new(Method::Written, ALL, written));
        let mut varies = None;
        for _ in 1..RUNS {
            let again = subject.evaluate(&inputs, &cotangent)?;
            varies = varies.or(run.first_difference(&again)?);
        }
        let varies = varies.map(|what| format!("{what} differs between two runs"));
        findings.push(Finding::new(Method::Determinism, ALL, Verdict::of(varies)));
    }
    Ok(findings)
}

/// Why nothing can be checked at these inputs.
fn unusable(subject: &Check, inputs: &[Tensor]) -> Result<Option<String>> {
    if subject.differentiable().next().is_none() {
        return Ok(Some("no input is differentiable".into()));
    }
    for (i, input) in inputs.iter().enumerate() {
        if input.is_empty() {
            let shape = input.shape();
            return Ok(Some(format!("input {i} of shape {shape} has no element")));
        }
        if let Some(what) = not_finite(&format!("input {i}"), input)? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn wrong_shape(subject: &Check, inputs: &[Tensor], run: &Run) -> Result<Option<String>> {
    if let Some(promised) = subject.promised(inputs)?
        && run.value.shape() != &promised
    {
        let found = run.value.shape();
        return Ok(Some(format!("promised shape {promised}, returned {found}")));
    }
    if run.gradients.len() != inputs.len() {
        let found = run.gradients.len();
        return Ok(Some(format!("{} inputs, {found} gradients", inputs.len())));
    }
    for (i, wanted) in subject.wanted().into_iter().enumerate() {
        let fault = match &run.gradients[i] {
            Some(g) if g.shape() != inputs[i].shape() || g.dtype() != inputs[i].dtype() => {
                format!("is {} {}", g.shape(), g.dtype())
            }
            None if wanted => "is missing".to_owned(),
            Some(_) if !wanted => "exists, though it has none".to_owned(),
            _ => continue,
        };
        let (shape, dtype) = (inputs[i].shape(), inputs[i].dtype());
        return Ok(Some(format!(
            "the gradient of input {i} ({shape} {dtype}) {fault}"
        )));
    }
    Ok(None)
}

/// The first result that is not on the target's device.
fn elsewhere(run: &Run, target: Target) -> Option<String> {
    let mut parts = run.parts().into_iter();
    let (name, tensor) = parts.find(|(_, tensor)| tensor.device() != target.device)?;
    let (found, wanted) = (tensor.device(), target.device);
    Some(format!("{name} is on {found}, not on {wanted}"))
}

/// The first element that is NaN, as new memory is, or infinite.
fn unwritten(run: &Run) -> Result<Option<String>> {
    for (name, tensor) in run.parts() {
        if tensor.dtype() == DType::I32 {
            continue;
        }
        let values = tensor.to_f64_vec()?;
        let Some(flat) = values.iter().position(|v| !v.is_finite()) else {
            continue;
        };
        let index = index_of(tensor.shape(), flat);
        let what = match values[flat].is_nan() {
            true => "unwritten memory or NaN",
            false => "infinite",
        };
        return Ok(Some(format!("{name}{index:?} is {what}")));
    }
    Ok(None)
}

/// The same bits on any number of threads, and for each gradient wanted alone.
pub(super) fn threads(subject: &Check) -> Result<Vec<Finding>> {
    let inputs = subject.inputs(0, DType::F32)?;
    let shape = subject.value_shape(&inputs)?;
    let cotangent = direction(&shape, &mut subject.stream(1))?.cast(DType::F32)?;
    let run = subject.evaluate(&inputs, &cotangent)?;
    let fault = varying(subject, &inputs, &cotangent, &run)?;
    let subject = "value and gradients on 1, 2 and 3 threads";
    Ok(vec![Finding::new(
        Method::Determinism,
        subject,
        Verdict::of(fault),
    )])
}

fn varying(
    subject: &Check,
    inputs: &[Tensor],
    cotangent: &Tensor,
    run: &Run,
) -> Result<Option<String>> {
    for threads in 1..=3 {
        let other = pool(threads)?.install(|| subject.evaluate(inputs, cotangent))?;
        if let Some(what) = run.first_difference(&other)? {
            return Ok(Some(format!("{what} differs on {threads} threads")));
        }
    }
    for input in subject.differentiable() {
        let mut wanted = vec![false; inputs.len()];
        wanted[input] = true;
        let alone = subject.evaluate_wanted(inputs, cotangent, &wanted)?;
        let of = |run: &Run| Ok::<_, Error>(run.gradient(input)?.on_host()?.as_bytes()?.to_vec());
        if of(&alone)? != of(run)? {
            let what = format!("the gradient of input {input} differs when wanted alone");
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn pool(threads: usize) -> Result<&'static ThreadPool> {
    static POOLS: [std::sync::OnceLock<ThreadPool>; 3] = [const { std::sync::OnceLock::new() }; 3];
    let place = &POOLS[threads - 1];
    if place.get().is_none() {
        let built = ThreadPoolBuilder::new().num_threads(threads).build();
        let built = built.map_err(|e| Error::setting("threads", threads, e.to_string()))?;
        // Another thread may have been faster; its pool serves as well.
        let _ = place.set(built);
    }
    place
        .get()
        .ok_or_else(|| Error::setting("threads", threads, "no pool"))
}
