//! A device and a dtype against the CPU in f64, on the same numbers; f32 on the CPU first of all.

use super::{DRAWS, Finding, Method, Run, Subject, Target, Verdict, direction, index_of};
use crate::Result;
use crate::device::Device;
use crate::ops::shapes;
use crate::tensor::{DType, Tensor};

/// How many neighbours of the inputs are visited to see how much a rounding of them matters.
const NEIGHBOURS: u32 = 4;

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
/// results move when every input moves by γ_K of itself, up or down at random. Inputs for which
/// that decides nothing are drawn again.
pub(super) fn check(subject: &Subject, target: Target) -> Result<Vec<Finding>> {
    let mut findings = attempt(subject, target, 0)?;
    for draw in 1..DRAWS {
        let open = |f: &Finding| matches!(f.verdict, Verdict::Unchecked(_));
        if !findings.iter().any(open) {
            break;
        }
        findings = attempt(subject, target, draw)?;
    }
    Ok(findings)
}

fn attempt(subject: &Subject, target: Target, draw: u32) -> Result<Vec<Finding>> {
    let inputs = subject.inputs(200 + draw, target.dtype)?;
    let shape = subject
        .op()
        .output_shape(&shapes(&inputs.iter().collect::<Vec<_>>()))?;
    let gamma = subject.gamma(&shape, target.dtype);
    let mut stream = subject.stream(300 + draw);
    let cotangent = direction(&shape, &mut stream)?.cast(target.dtype)?;
    let run = |inputs: &[Tensor], cotangent| subject.run(inputs, cotangent, &subject.wanted());

    let there = target.moved(&inputs)?;
    let cotangent_there = cotangent.to_device(target.device)?;
    let found = run(&there, &cotangent_there)?;
    let exact: Vec<Tensor> = inputs.iter().map(widened).collect::<Result<_>>()?;
    let wide_cotangent = widened(&cotangent)?;
    let double = run(&exact, &wide_cotangent)?;
    let mut neighbours = Vec::new();
    for _ in 0..NEIGHBOURS {
        let moved = exact.iter().map(|x| moved(x, gamma, &mut stream));
        neighbours.push(run(&moved.collect::<Result<Vec<_>>>()?, &wide_cotangent)?);
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
        Ok(Some(Finding {
            method: match target.device {
                Device::Cpu => Method::Precision,
                _ => Method::Device,
            },
            subject: name,
            verdict: verdict(&found, &expected, [size, bound, gamma])?,
        }))
    };
    let mut findings = vec![compare("the value".into(), &|run| Some(run.value.clone()))?];
    for input in subject.differentiable() {
        let name = format!("the gradient of input {input}");
        findings.push(compare(name, &|run| run.gradients[input].clone())?);
    }
    Ok(findings.into_iter().flatten().collect())
}

fn verdict(found: &Tensor, expected: &Tensor, [size, bound, gamma]: [f64; 3]) -> Result<Verdict> {
    let (dtype, device) = (found.dtype(), found.device());
    if bound > DECISIVE.max(AMPLIFIED * gamma) * size {
        return Ok(Verdict::Unchecked(format!(
            "{dtype} may be off by {bound:e}, elements are at most {size:e}"
        )));
    }
    let mut worst = 0.0;
    let pairs = found.to_f64_vec()?.into_iter().zip(expected.to_f64_vec()?);
    for (flat, (f, e)) in pairs.enumerate() {
        let error = (f - e).abs();
        if error > bound || error.is_nan() {
            let index = index_of(expected.shape(), flat);
            return Ok(Verdict::Mismatch(format!(
                "entry {index:?}: {dtype} on {device} {f:e}, f64 {e:e} ± {bound:e}"
            )));
        }
        worst = f64::max(worst, error);
    }
    Ok(Verdict::Pass(if worst > 0.0 { worst / bound } else { 0.0 }))
}

impl Target {
    /// Copies of `tensors` on the device.
    pub(super) fn moved(self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        tensors.iter().map(|t| t.to_device(self.device)).collect()
    }
}

/// Real tensors as f64, labels as they are.
fn widened(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::I32 => Ok(tensor.clone()),
        _ => tensor.cast(DType::F64),
    }
}

/// Every element x as x·(1 ± `share`), the sign at random; labels as they are.
fn moved(x: &Tensor, share: f64, stream: &mut crate::rng::Stream) -> Result<Tensor> {
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

fn largest(tensor: &Tensor) -> Result<f64> {
    let values = tensor.to_f64_vec()?;
    Ok(values.iter().fold(0.0, |max, v| max.max(v.abs())))
}

fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let pairs = a.to_f64_vec()?.into_iter().zip(b.to_f64_vec()?);
    Ok(pairs.fold(0.0, |max, (a, b)| max.max((a - b).abs())))
}
