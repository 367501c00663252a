//! Guard zones: a run whose every buffer has margins that must stay as they are.

use super::subject::{Check, Target, direction};
use super::verdict::{Finding, Method, Verdict};
use crate::Result;
use crate::device::Guarded;

/// One run under watch. Inputs, results and everything in between lie between margins, as long as the
/// thread of the check makes them. Under a checked schedule the emulator itself stops a stray access.
pub(super) fn check(subject: &Check, target: Target) -> Result<Vec<Finding>> {
    let guarded = Guarded::new();
    {
        let inputs = subject.inputs(0, target.dtype)?;
        let there = inputs.iter().map(|x| target.place(x)?.deep_clone());
        let there: Vec<_> = there.collect::<Result<_>>()?;
        let shape = subject.value_shape(&there)?;
        let cotangent = target.place(&direction(&shape, &mut subject.stream(1))?)?;
        subject.evaluate(&there, &cotangent)?;
    }
    let damage = guarded.damage().into_iter().next();
    Ok(vec![Finding::new(
        Method::Guards,
        "all buffers",
        Verdict::of(damage),
    )])
}
