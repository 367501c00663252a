//! What holds for every operation: shapes, complete writes, bit-equal runs.

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Finding, Method, Run, Subject, Verdict, direction, index_of};
use crate::ops::shapes;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// Shapes first; the rest only where these are right.
pub(super) fn check(subject: &Subject) -> Result<Vec<Finding>> {
    let inputs = subject.inputs(0, DType::F32)?;
    let value = subject.value(&inputs)?;
    let cotangent = direction(value.shape(), &mut subject.stream(1))?.cast(value.dtype())?;
    let wanted = subject.wanted();
    let run = subject.run(&inputs, &cotangent, &wanted)?;
    let shapes = verdict(wrong_shape(subject, &inputs, &run)?);
    let sound = shapes == Verdict::Pass(0.0);
    let mut findings = vec![finding(Method::Shapes, "value and gradients", shapes)];
    if sound {
        findings.push(finding(
            Method::Written,
            "value and gradients",
            verdict(unwritten(&run)?),
        ));
        findings.push(finding(
            Method::Determinism,
            "value and gradients",
            verdict(varying(subject, &inputs, &cotangent, &run)?),
        ));
    }
    Ok(findings)
}

pub(super) fn finding(method: Method, subject: &str, verdict: Verdict) -> Finding {
    Finding {
        method,
        subject: subject.to_owned(),
        verdict,
    }
}

/// These checks are exact: a fault in words, or none.
pub(super) fn verdict(fault: Option<String>) -> Verdict {
    fault.map_or(Verdict::Pass(0.0), Verdict::Mismatch)
}

pub(super) fn wrong_shape(
    subject: &Subject,
    inputs: &[Tensor],
    run: &Run,
) -> Result<Option<String>> {
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let promised = subject.op().output_shape(&shapes(&inputs))?;
    if run.value.shape() != &promised {
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

/// The first element that is NaN, as new memory is.
pub(super) fn unwritten(run: &Run) -> Result<Option<String>> {
    for (name, tensor) in run.parts() {
        let bad = tensor.to_f64_vec()?.iter().position(|v| v.is_nan());
        if let Some(flat) = bad {
            let index = index_of(tensor.shape(), flat);
            return Ok(Some(format!("{name}{index:?} is unwritten memory or NaN")));
        }
    }
    Ok(None)
}

/// The first difference between this run and others that should be bit-equal.
fn varying(
    subject: &Subject,
    inputs: &[Tensor],
    cotangent: &Tensor,
    run: &Run,
) -> Result<Option<String>> {
    let wanted = subject.wanted();
    let again = |wanted: &[bool]| subject.run(inputs, cotangent, wanted);
    if let Some(what) = run.first_difference(&again(&wanted)?)? {
        return Ok(Some(format!("{what} differs between two runs")));
    }
    for threads in 1..=3 {
        let other = pool(threads)?.install(|| again(&wanted))?;
        if let Some(what) = run.first_difference(&other)? {
            return Ok(Some(format!("{what} differs on {threads} threads")));
        }
    }
    for input in subject.differentiable() {
        let mut alone = vec![false; wanted.len()];
        alone[input] = true;
        let other = again(&alone)?;
        let of = |run: &Run| {
            let bytes = |g: &Tensor| Ok(g.on_host()?.as_bytes()?.to_vec());
            run.gradients[input].as_ref().map(bytes).transpose()
        };
        let (alone, together): (Result<_>, Result<_>) = (of(&other), of(run));
        if alone? != together? {
            let what = format!("the gradient of input {input} differs when wanted alone");
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn pool(threads: usize) -> Result<ThreadPool> {
    let built = ThreadPoolBuilder::new().num_threads(threads).build();
    built.map_err(|e| Error::setting("threads", threads, e.to_string()))
}

impl Run {
    /// Everything that was computed, with names.
    pub(super) fn parts(&self) -> Vec<(String, &Tensor)> {
        let mut parts = vec![("value".to_owned(), &self.value)];
        let aux = self.aux.iter().enumerate();
        parts.extend(aux.map(|(i, t)| (format!("side result {i}"), t)));
        let gradients = self.gradients.iter().enumerate();
        parts.extend(gradients.filter_map(|(i, g)| Some((format!("gradient {i}"), g.as_ref()?))));
        parts
    }

    pub(super) fn first_difference(&self, other: &Run) -> Result<Option<String>> {
        let (a, b) = (self.parts(), other.parts());
        if a.len() != b.len() {
            return Ok(Some("the number of results".into()));
        }
        for ((name, a), (_, b)) in a.into_iter().zip(b) {
            let (x, y) = (a.on_host()?, b.on_host()?);
            if a.shape() != b.shape() || x.as_bytes()? != y.as_bytes()? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}
