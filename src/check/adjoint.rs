//! The adjoint identity of linear functions, which needs no step size.

use super::subject::{Check, direction, inner};
use super::verdict::{Finding, Method, Verdict};
use crate::Result;
use crate::tensor::{DType, Tensor};

/// ⟨A x, v⟩ = ⟨x, Aᵀ v⟩ for each input alone, with A x = f(x) − f(0) in case of a constant part.
pub(super) fn check(subject: &Check) -> Result<Vec<Finding>> {
    let inputs = subject.inputs(2, DType::F64)?;
    let value = subject.value(&inputs)?;
    let cotangent = direction(value.shape(), &mut subject.stream(3))?;
    let run = subject.evaluate(&inputs, &cotangent)?;
    let gamma = subject.gamma(value.shape(), DType::F64);
    let mut findings = Vec::new();
    for input in subject.differentiable() {
        let mut without = inputs.clone();
        without[input] = Tensor::zeros(inputs[input].shape(), DType::F64, inputs[input].device())?;
        let (constant, constant_size) = inner(&subject.value(&without)?, &cotangent)?;
        let (forward, forward_size) = inner(&value, &cotangent)?;
        let (backward, backward_size) = inner(&inputs[input], run.gradient(input)?)?;
        let left = forward - constant;
        let error = (left - backward).abs();
        let bound = gamma * (constant_size + forward_size + backward_size);
        let verdict = if forward_size == 0.0 && backward_size == 0.0 {
            Verdict::Unchecked("both sides are zero".into())
        } else if error <= bound {
            Verdict::Pass(error / bound)
        } else {
            let what = format!("⟨Ax, v⟩ = {left:e}, ⟨x, Aᵀv⟩ = {backward:e} ± {bound:e}");
            Verdict::Mismatch { what, worst: None }
        };
        findings.push(Finding::of_gradient(
            Method::AdjointIdentity,
            input,
            verdict,
        ));
    }
    Ok(findings)
}
