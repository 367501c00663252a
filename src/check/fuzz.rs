//! Random cases, and the simplest one that fails.

use super::verdict::{Method, Report};
use crate::Result;
use crate::ops::{Case, Declaration, Draw};
use crate::rng::{Key, Purpose, name_hash};

/// Most simpler cases that are tried.
const ATTEMPTS: usize = 400;

/// The choices of the `index`-th random case of an operation.
pub fn choices(declaration: &Declaration, seed: u64, index: u32) -> Vec<u32> {
    let key = Key::new(seed, Purpose::Check, name_hash(declaration.name), index);
    let mut draw = Draw::random(key.stream(1));
    (declaration.fuzz)(&mut draw);
    draw.choices().to_vec()
}

/// The case that these choices lead to.
pub fn case_of(declaration: &Declaration, choices: &[u32]) -> Case {
    (declaration.fuzz)(&mut Draw::replay(choices))
}

/// A case that fails, as simple as it could be made.
pub struct Failure {
    /// The choices that lead to it.
    pub choices: Vec<u32>,
    /// What was found.
    pub report: Report,
}

/// Makes a failing case simpler, choice by choice, as long as it fails by the same method.
///
/// # Errors
/// What `check` says of the case itself; a simpler case that is an error is no simplification.
pub fn shrink(
    declaration: &Declaration,
    choices: Vec<u32>,
    check: &dyn Fn(&Case) -> Result<Report>,
) -> Result<Failure> {
    let report = check(&case_of(declaration, &choices))?;
    let mut best = Failure { choices, report };
    let Some(method) = first_mismatch(&best.report) else {
        return Ok(best);
    };
    let mut left = ATTEMPTS;
    let mut again = true;
    while again && left > 0 {
        again = false;
        for at in 0..best.choices.len() {
            for simpler in candidates(best.choices[at]) {
                let mut choices = best.choices.clone();
                choices[at] = simpler;
                if left == 0 || simpler >= best.choices[at] {
                    continue;
                }
                left -= 1;
                if let Ok(report) = check(&case_of(declaration, &choices))
                    && report.caught_by(method)
                {
                    best = Failure { choices, report };
                    again = true;
                    break;
                }
            }
        }
    }
    // Zeros at the end go without saying.
    while best.choices.last() == Some(&0) {
        best.choices.pop();
    }
    Ok(best)
}

fn first_mismatch(report: &Report) -> Option<Method> {
    let mut findings = report.findings.iter();
    let wrong = findings.find(|f| f.verdict.is_mismatch())?;
    Some(wrong.method)
}

fn candidates(choice: u32) -> [u32; 3] {
    [0, choice / 2, choice.saturating_sub(1)]
}
