//! Calls leave their inputs and earlier results alone, and do not depend on each other.

use super::subject::{Check, Target, direction};
use super::verdict::{Finding, Method, Verdict};
use crate::Result;
use crate::tensor::Tensor;

/// f(a), f(b), f(a): the first result stays what it is, the third equals it, and inputs and cotangents are
/// not touched. A function that hands out one buffer again and again fails the first, one that returns what
/// an earlier call left behind the second. (New memory is NaN meanwhile, so a kernel that writes nothing
/// does not find the right answer in a buffer used before.)
pub(super) fn check(subject: &Check, target: Target) -> Result<Vec<Finding>> {
    let [a, b] = [0, 20].map(|draw| subject.inputs_on(draw, target));
    let (a, b) = (a?, b?);
    let shape = subject.value_shape(&a)?;
    let [v, w] = [1, 21].map(|draw| target.place(&direction(&shape, &mut subject.stream(draw))?));
    let (v, w) = (v?, w?);
    let before = [
        contents(&a)?,
        contents(&b)?,
        contents(&[v.clone(), w.clone()])?,
    ];

    let first = subject.evaluate(&a, &v)?;
    let bytes = first.bytes()?;
    subject.evaluate(&b, &w)?;
    let overwritten = first.changed(&bytes)?;
    let third = subject.evaluate(&a, &v)?;
    let depends = third.changed(&bytes)?;
    let after = [contents(&a)?, contents(&b)?, contents(&[v, w])?];

    let fault = match (overwritten, depends) {
        (Some(what), _) => Some(format!("the {what} of a call was changed by the next one")),
        (_, Some(what)) => Some(format!("the {what} depends on the call before")),
        _ if before[..2] != after[..2] => Some("an input was changed".into()),
        _ if before != after => Some("the cotangent was changed".into()),
        _ => None,
    };
    Ok(vec![Finding::new(
        Method::Reuse,
        "three calls",
        Verdict::of(fault),
    )])
}

fn contents(tensors: &[Tensor]) -> Result<Vec<Vec<u8>>> {
    let bytes = |t: &Tensor| Ok(t.on_host()?.as_bytes()?.to_vec());
    tensors.iter().map(bytes).collect()
}
