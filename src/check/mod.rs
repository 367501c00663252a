//! Checks of an operation against what its declaration promises.
//!
//! [`case`] runs every check that fits on one declared [`Case`]:
//!
//! * the contract: shapes, one gradient per input, the same bits twice and on 1, 2 and 3 threads,
//!   every element written;
//! * the vjp against central differences in f64, along random directions and, where these disagree,
//!   entry by entry to name the worst;
//! * the adjoint identity ⟨A x, v⟩ = ⟨x, Aᵀ v⟩ for linear operations, which needs no step size;
//! * f32 against f64.
//!
//! [`on_device`] compares a case on any device, in any dtype, with the CPU in f64.
//!
//! Cotangents and directions are random with no element near zero, since a plain sum is blind to a
//! wrong permutation. Bounds come from the error model γ_K = K·u/(1 − K·u), u the unit roundoff and
//! K the number of elements involved, which no reduction exceeds, and a few for what is done to each.

mod contract;
mod device;
mod gradient;
mod poison;
mod precision;

use std::fmt;

use crate::device::Device;
use crate::ops::{Case, Declaration, Operation, Saved};
use crate::rng::{Key, Purpose, Stream, name_hash};
use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result};

pub use poison::Poisoned;

/// How often inputs are drawn again before a quantity counts as unchecked.
const DRAWS: u32 = 5;

/// Roundings on an element's way besides those of reductions: products, quotients, exponentials.
const ROUNDINGS: usize = 16;

/// How often a half-precision number is rounded on its way through an operation and its vjp: a saved
/// result, a result.
const STORES: f64 = 2.0;

/// What a check compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Shapes, dtypes and the number of gradients.
    Shapes,
    /// Every element of results and gradients is written, none from unwritten memory.
    Written,
    /// The same bits in every run, on any number of threads, whatever else is wanted.
    Determinism,
    /// vᵀJu against central differences in f64.
    CentralDifferences,
    /// ⟨A x, v⟩ = ⟨x, Aᵀ v⟩ in f64.
    AdjointIdentity,
    /// f32 against f64.
    Precision,
    /// Another device, another dtype, against f64 on the CPU.
    Device,
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Agreement; the largest error as a share of its bound.
    Pass(f64),
    /// Disagreement, in words: where, what was expected, what was found, the bound.
    Mismatch(String),
    /// The check could not see the quantity, and why.
    Unchecked(String),
}

/// One check of one result or gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What was compared.
    pub method: Method,
    /// Of what: "the value", "the gradient of input 0".
    pub subject: String,
    /// The outcome.
    pub verdict: Verdict,
}

/// All checks of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The operation's name.
    pub op: &'static str,
    /// The case's label.
    pub label: String,
    /// The seed that inputs, cotangents and directions were drawn from.
    pub seed: u64,
    /// Outcomes, in the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether every check passed; an unchecked quantity has not.
    pub fn passed(&self) -> bool {
        let pass = |f: &Finding| matches!(f.verdict, Verdict::Pass(_));
        self.findings.iter().all(pass)
    }

    /// Whether some check found a disagreement.
    pub fn mismatched(&self) -> bool {
        let wrong = |f: &Finding| matches!(f.verdict, Verdict::Mismatch(_));
        self.findings.iter().any(wrong)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (seed {})", self.op, self.label, self.seed)?;
        for finding in &self.findings {
            write!(f, "\n  {:?} of {}: ", finding.method, finding.subject)?;
            match &finding.verdict {
                Verdict::Pass(share) => write!(f, "pass, error/bound {share:.1e}")?,
                Verdict::Mismatch(what) => write!(f, "MISMATCH: {what}")?,
                Verdict::Unchecked(why) => write!(f, "unchecked: {why}")?,
            }
        }
        Ok(())
    }
}

/// Runs every check on every case of a declaration; see [`case`].
///
/// # Errors
/// As [`case`].
pub fn declaration(declaration: &Declaration, seed: u64) -> Result<Vec<Report>> {
    let cases = (declaration.cases)();
    cases
        .iter()
        .map(|c| case(c, declaration.linear, seed))
        .collect()
}

/// Runs every check on a case, with inputs drawn from `seed`; the adjoint identity only if the
/// operation is `linear` in each of its inputs (a constant part may be added).
///
/// # Errors
/// What the operation's forward pass or vjp returns on the declared inputs. A wrong result is no
/// error but a [`Verdict`].
pub fn case(case: &Case, linear: bool, seed: u64) -> Result<Report> {
    let _poisoned = Poisoned::new();
    let subject = Subject { case, seed };
    let mut findings = contract::check(&subject)?;
    let sound = |f: &Finding| f.method != Method::Shapes || matches!(f.verdict, Verdict::Pass(_));
    if findings.iter().all(sound) {
        findings.extend(gradient::central_differences(&subject)?);
        if linear {
            findings.extend(gradient::adjoint_identity(&subject)?);
        }
        findings.extend(precision::check(&subject, Target::CPU_F32)?);
    }
    Ok(subject.report(findings))
}

/// Checks a case on `device` in `dtype` (f32, f16 or bf16): results are there and of their shapes,
/// written everywhere, the same bits twice, and within the error bound of f64 on the CPU.
///
/// # Errors
/// As [`case`]; [`Error::Device`] where the device is not there.
pub fn on_device(case: &Case, device: Device, dtype: DType, seed: u64) -> Result<Report> {
    device.check()?;
    let _poisoned = Poisoned::new();
    let subject = Subject { case, seed };
    let findings = device::check(&subject, Target { device, dtype })?;
    Ok(subject.report(findings))
}

/// Runs a case with small-integer inputs and cotangent on two devices; the first result whose bits
/// differ, if any. Kernels do the same operations in the same order wherever they run, so only
/// functions that C and CUDA round differently (exponentials, logarithms) may differ between emulator
/// and GPU; where the arithmetic is exact, any two devices agree.
///
/// # Errors
/// As [`on_device`].
pub fn difference(
    case: &Case,
    devices: [Device; 2],
    dtype: DType,
    seed: u64,
) -> Result<Option<String>> {
    let subject = Subject { case, seed };
    let [a, b] = devices.map(|device| device::run_on_integers(&subject, Target { device, dtype }));
    a?.first_difference(&b?)
}

/// Where, and in which numbers, a case is compared with f64 on the CPU.
#[derive(Clone, Copy, Debug)]
struct Target {
    device: Device,
    dtype: DType,
}

impl Target {
    const CPU_F32: Target = Target {
        device: Device::Cpu,
        dtype: DType::F32,
    };
}

/// A case and the seed of its numbers.
struct Subject<'a> {
    case: &'a Case,
    seed: u64,
}

/// Values and gradients of one run.
struct Run {
    value: Tensor,
    aux: Vec<Tensor>,
    gradients: Vec<Option<Tensor>>,
}

impl Subject<'_> {
    fn op(&self) -> &dyn Operation {
        &*self.case.op
    }

    fn report(&self, findings: Vec<Finding>) -> Report {
        Report {
            op: self.case.op.name(),
            label: self.case.label.clone(),
            seed: self.seed,
            findings,
        }
    }

    /// Random numbers of this case; different `draw`s share none.
    fn stream(&self, draw: u32) -> Stream {
        Key::new(self.seed, Purpose::Check, name_hash(&self.case.label), draw).stream(0)
    }

    /// The declared inputs, drawn the `draw`-th time.
    fn inputs(&self, draw: u32, dtype: DType) -> Result<Vec<Tensor>> {
        let mut stream = self.stream(draw);
        let inputs = self.case.inputs.iter();
        inputs
            .map(|input| input.draw(&mut stream, dtype, Device::cpu()))
            .collect()
    }

    fn wanted(&self) -> Vec<bool> {
        let inputs = self.case.inputs.iter();
        inputs.map(|input| input.is_differentiable()).collect()
    }

    /// Indices of the inputs that have a gradient.
    fn differentiable(&self) -> impl Iterator<Item = usize> {
        let wanted = self.wanted();
        (0..wanted.len()).filter(move |&i| wanted[i])
    }

    fn value(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        Ok(self.op().forward(&inputs, &mut Saved::default())?.value)
    }

    fn run(&self, inputs: &[Tensor], cotangent: &Tensor, wanted: &[bool]) -> Result<Run> {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let mut saved = Saved::default();
        let output = self.op().forward(&inputs, &mut saved)?;
        // Casts return another dtype than they are given. A copy: operations may overwrite a cotangent
        // nobody else holds.
        let cotangent = cotangent.cast(output.value.dtype())?.deep_clone()?;
        let gradients = self.op().vjp(saved, cotangent, wanted)?;
        Ok(Run {
            value: output.value,
            aux: output.aux,
            gradients,
        })
    }

    /// γ_K for K the number of all elements of inputs and output, and [`ROUNDINGS`]. In half precision
    /// numbers are added up in f32, and rounded to it where they are stored: [`STORES`] times.
    fn gamma(&self, output: &Shape, dtype: DType) -> f64 {
        let inputs: usize = self.case.inputs.iter().map(|i| i.shape().len()).sum();
        let sum = (inputs + output.len() + ROUNDINGS) as f64;
        let roundoffs = match dtype {
            DType::F16 | DType::BF16 => {
                sum * DType::F32.unit_roundoff() + STORES * dtype.unit_roundoff()
            }
            _ => sum * dtype.unit_roundoff(),
        };
        roundoffs / (1.0 - roundoffs)
    }
}

/// Random numbers of both signs with magnitudes in [0.5, 1.5): none is too small to matter.
fn direction(shape: &Shape, stream: &mut Stream) -> Result<Tensor> {
    let values: Vec<f64> = (0..shape.len())
        .map(|_| (0.5 + stream.uniform()) * if stream.below(2) == 0 { 1.0 } else { -1.0 })
        .collect();
    Tensor::from_slice(shape, &values, Device::cpu())
}

/// Σ aᵢ bᵢ and Σ |aᵢ bᵢ| of two f64 tensors.
fn inner(a: &Tensor, b: &Tensor) -> Result<(f64, f64)> {
    let products = a.data::<f64>()?.iter().zip(b.data::<f64>()?);
    Ok(products.fold((0.0, 0.0), |(sum, size), (a, b)| {
        (sum + a * b, size + (a * b).abs())
    }))
}

/// The gradient a sound run must have returned.
fn gradient_of(run: &Run, input: usize) -> Result<&Tensor> {
    run.gradients[input]
        .as_ref()
        .ok_or_else(|| Error::shape("check", format!("no gradient of input {input}")))
}

/// The multi-index of a flat one, for messages.
fn index_of(shape: &Shape, flat: usize) -> Vec<usize> {
    let mut rest = flat;
    let mut index: Vec<usize> = shape
        .dims()
        .iter()
        .rev()
        .map(|&extent| {
            let i = rest % extent;
            rest /= extent;
            i
        })
        .collect();
    index.reverse();
    index
}
