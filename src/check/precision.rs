//! A device and a dtype against the CPU in f64, on the same numbers; f32 on the CPU first of all.

use super::gradient::DRAWS;
use super::subject::{Check, Run, Target, direction, largest, wide};
use super::verdict::{Entry, Finding, Method, Verdict};
use crate::Result;
use crate::device::Device;
use crate::rng::Stream;
use crate::tensor::{DType, Tensor};

/// How many neighbours of the inputs are visited to see how much a rounding of them matters. A single one
/// can miss that terms cancel, where it moves all of them the same way.
const NEIGHBOURS: u32 = 8;

/// A bound of more than this share of the largest element decides nothing: the inputs are
/// ill-conditioned, or a kink lies among the neighbours. In half precision, whose roundings alone may
/// be more, it is [`AMPLIFIED`] times γ_K.
const DECISIVE: f64 = 0.01;

/// See [`DECISIVE`].
const AMPLIFIED: f64 = 8.0;

/// The value and each gradient on the target within a bound of those in f64.
///
/// The bound is that of an algorithm that is stable in the usual mixed sense, right up to relative
/// errors of γ_K in its result and in its inputs: γ_K times the largest element, plus how far
/// results move when every input and the cotangent move by γ_K of themselves, up or down at random.
/// Inputs for which that decides nothing are drawn again.
pub(super) fn check(subject: &Check, target: Target) -> Result<Vec<Finding>> {
    let mut findings = attempt(subject, target, 0)?;
    for draw in 1..DRAWS {
        if !findings.iter().any(|f| f.verdict.is_unchecked()) {
            break;
        }
        findings = attempt(subject, target, draw)?;
    }
    Ok(findings)
}

fn attempt(subject: &Check, target: Target, draw: u32) -> Result<Vec<Finding>> {
    let inputs = subject.inputs(200 + draw, target.dtype)?;
    let there: Vec<Tensor> = (inputs.iter().map(|x| target.place(x))).collect::<Result<_>>()?;
    let shape = subject.value_shape(&there)?;
    let gamma = subject.gamma(&shape, target.dtype);
    let mut stream = subject.stream(300 + draw);
    let cotangent = direction(&shape, &mut stream)?.cast(target.dtype)?;

    let found = subject.evaluate(&there, &target.place(&cotangent)?)?;
    let exact: Vec<Tensor> = inputs.iter().map(wide).collect::<Result<_>>()?;
    let cotangent = wide(&cotangent)?;
    let double = subject.evaluate(&exact, &cotangent)?;
    let mut neighbours = Vec::new();
    for _ in 0..NEIGHBOURS {
        let moved = exact.iter().map(|x| nudged(x, gamma, &mut stream));
        let moved = moved.collect::<Result<Vec<_>>>()?;
        let cotangent = nudged(&cotangent, gamma, &mut stream)?;
        neighbours.push(subject.evaluate(&moved, &cotangent)?);
    }

    let compare = |name: String, of: &dyn Fn(&Run) -> Option<Tensor>| -> Result<Option<Finding>> {
        let (Some(found), Some(expected)) = (of(&found), of(&double)) else {
            return Ok(None);
        };
        let size = largest(&expected)?;
        let mut bound = gamma * size;
        for other in neighbours.iter().filter_map(of) {
            bound = bound.max(gamma * size + distance(&other, &expected)?);
        }
        let method = match target.device {
            Device::Cpu => Method::Precision,
            _ => Method::Device,
        };
        let verdict = verdict(&found, &expected, [size, bound, gamma])?;
        Ok(Some(Finding::new(method, name, verdict)))
    };
    let mut findings = vec![compare("the value".into(), &|run| Some(run.value.clone()))?];
    for input in subject.differentiable() {
        let name = format!("the gradient of input {input}");
        findings.push(compare(name, &|run| run.gradients[input].clone())?);
    }
    Ok(findings.into_iter().flatten().collect())
}

fn verdict(found: &Tensor, expected: &Tensor, [size, bound, gamma]: [f64; 3]) -> Result<Verdict> {
    if size == 0.0 && largest(found)? == 0.0 {
        return Ok(Verdict::Unchecked("all elements are zero".into()));
    }
    let (dtype, device) = (found.dtype(), found.device());
    let decided = bound <= DECISIVE.max(AMPLIFIED * gamma) * size;
    if !decided {
        return Ok(Verdict::Unchecked(format!(
            "{dtype} may be off by {bound:e}, elements are at most {size:e}"
        )));
    }
    let pairs = found.to_f64_vec()?.into_iter().zip(expected.to_f64_vec()?);
    let shape = expected.shape();
    let entries = (pairs.enumerate()).map(|(flat, (f, e))| Entry::new(shape, flat, [f, e, bound]));
    Ok(match Verdict::of_entries(entries) {
        Verdict::Mismatch { worst, .. } => Verdict::Mismatch {
            what: format!("{dtype} on {device} is not f64 on the CPU"),
            worst,
        },
        other => other,
    })
}

/// Every element x as x·(1 ± `share`), the sign at random; labels as they are.
fn nudged(x: &Tensor, share: f64, stream: &mut Stream) -> Result<Tensor> {
    if x.dtype() != DType::F64 {
        return Ok(x.clone());
    }
    let factors = [1.0 - share, 1.0 + share];
    let values = x.data::<f64>()?.iter();
    let values: Vec<f64> = values
        .map(|v| v * factors[stream.below(2) as usize])
        .collect();
    Tensor::from_slice(x.shape(), &values, x.device())
}

fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let pairs = a.to_f64_vec()?.into_iter().zip(b.to_f64_vec()?);
    Ok(pairs.fold(0.0, |max, (a, b)| max.max((a - b).abs())))
}
