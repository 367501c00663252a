//! Checks of gradients and kernels: of every operation of the crate by its declaration, of yours by the
//! same calls. For a newcomer: docs/gradcheck.md.
//!
//! What is checked is a [`Function`]: a value and a vjp, on any device. An operation is one; [`closures`]
//! makes one of two closures. [`Check`] is a function with its inputs, and gives a [`Report`]: for each
//! result and gradient, by each [`Method`], a [`Verdict`]: pass, mismatch with the worst element, or
//! unchecked, because the method could not see the quantity. Unchecked is not passed.
//!
//! | File | What it holds |
//! |---|---|
//! | `function.rs` | what is checked |
//! | `subject.rs` | a function at its inputs: [`Check`], and one evaluation of it |
//! | `verdict.rs` | outcomes |
//! | `bounds.rs` | γ_K = K·u/(1 − K·u), from which all bounds come |
//! | `contract.rs` | shapes, every element written and finite, the same bits in every run |
//! | `guards.rs`, `reuse.rs`, `poison.rs` | nothing outside written; calls that do not disturb each other; new memory is NaN |
//! | `difference.rs` | a derivative by differences, its bound, and steps around kinks |
//! | `gradient.rs` | vᵀJu along random directions, and entry by entry where that disagrees |
//! | `jacobian.rs` | every entry of the Jacobian, for small functions |
//! | `adjoint.rs` | ⟨A x, v⟩ = ⟨x, Aᵀ v⟩ for linear functions |
//! | `second.rs` | the vjp is linear in its cotangent, its derivative symmetric |
//! | `precision.rs` | another dtype or device against f64 on the CPU |
//! | `integers.rs` | small integers, bit for bit |
//! | `fuzz.rs` | random cases, and the simplest that fails |
//! | `network.rs` | the loss of whole networks along random directions of their weights |
//! | `suite.rs`, `page.rs` | all operations, devices and dtypes: a table, and a page |
//!
//! Cotangents and directions are random with no element near zero, since a plain sum is blind to a wrong
//! permutation. No bound was tuned: they follow from u, the unit roundoff, and K, the number of elements
//! involved, which no reduction exceeds.

mod adjoint;
mod bounds;
mod contract;
mod difference;
mod function;
mod fuzz;
mod gradient;
mod guards;
mod integers;
mod jacobian;
mod network;
mod page;
mod poison;
mod precision;
mod reuse;
mod second;
mod subject;
mod suite;
mod verdict;

pub use bounds::gamma;
pub use function::{AsOperation, Function, closures};
pub use fuzz::{Failure, case_of, choices, shrink};
pub use network::{NetworkCase, network_cases};
pub use page::{html, text};
pub use poison::Poisoned;
pub use subject::Check;
pub use suite::{CaseName, Row, Sample, Suite};
pub use verdict::{Entry, Finding, Method, Report, Verdict};

use crate::Result;
use crate::device::Device;
use crate::ops::{Case, Declaration};
use crate::tensor::DType;

/// Runs every check on every case of a declaration; see [`Check::run`].
///
/// # Errors
/// As [`Check::run`].
pub fn declaration(declaration: &Declaration, seed: u64) -> Result<Vec<Report>> {
    let cases = (declaration.cases)();
    cases
        .iter()
        .map(|c| case(c, declaration.linear, seed))
        .collect()
}

/// Runs every check on a case; see [`Check::run`].
///
/// # Errors
/// As [`Check::run`].
pub fn case(case: &Case, linear: bool, seed: u64) -> Result<Report> {
    Check::of(case).linear(linear).seed(seed).run()
}

/// Checks a case on `device` in `dtype`; see [`Check::run_on`].
///
/// # Errors
/// As [`Check::run_on`].
pub fn on_device(case: &Case, device: Device, dtype: DType, seed: u64) -> Result<Report> {
    Check::of(case).seed(seed).run_on(device, dtype)
}

/// Runs a case on two devices; see [`Check::difference`].
///
/// # Errors
/// As [`Check::difference`].
pub fn difference(
    case: &Case,
    devices: [Device; 2],
    dtype: DType,
    seed: u64,
) -> Result<Option<String>> {
    Check::of(case).seed(seed).difference(devices, dtype)
}

/// The example of the documentation compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/gradcheck.md")]
struct Documentation;
