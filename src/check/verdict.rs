//! Outcomes: of one check of one quantity, and of all checks of a case.

use std::fmt;

use crate::tensor::Shape;

/// What a check compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Whether the inputs are a point at which anything can be checked.
    Point,
    /// Shapes, dtypes and the number of gradients.
    Shapes,
    /// Every element of results and gradients is written, none from unwritten memory, all finite.
    Written,
    /// Nothing outside the results is written.
    Guards,
    /// The same bits in every run, on any number of threads, whatever else is wanted.
    Determinism,
    /// Inputs, and the results of earlier calls, stay as they are; calls do not depend on each other.
    Reuse,
    /// vᵀJu against central differences.
    CentralDifferences,
    /// Every entry of the Jacobian against central differences.
    Jacobian,
    /// ⟨A x, v⟩ = ⟨x, Aᵀ v⟩ in f64.
    AdjointIdentity,
    /// The vjp is linear in its cotangent.
    Linearity,
    /// The derivative of the vjp is symmetric, and that of the second differences of the value.
    SecondOrder,
    /// f32 against f64.
    Precision,
    /// Another device, another dtype, against f64 on the CPU.
    Device,
    /// Small integers, bit for bit.
    Integers,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Point => "point",
            Method::Shapes => "shapes",
            Method::Written => "every element written",
            Method::Guards => "guard zones",
            Method::Determinism => "determinism",
            Method::Reuse => "reuse",
            Method::CentralDifferences => "central differences",
            Method::Jacobian => "Jacobian",
            Method::AdjointIdentity => "adjoint identity",
            Method::Linearity => "linearity of the vjp",
            Method::SecondOrder => "second order",
            Method::Precision => "f32 against f64",
            Method::Device => "device against f64",
            Method::Integers => "exact integers",
        })
    }
}

/// An element that is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it is.
    pub index: Vec<usize>,
    /// What the function under test gave.
    pub analytic: f64,
    /// What it was compared with: a difference quotient, or f64 on the CPU.
    pub numeric: f64,
    /// How far they are apart.
    pub error: f64,
    /// How far apart they may be.
    pub bound: f64,
}

impl Entry {
    pub(super) fn new(shape: &Shape, flat: usize, [analytic, numeric, bound]: [f64; 3]) -> Self {
        Entry {
            index: index_of(shape, flat),
            error: (analytic - numeric).abs(),
            analytic,
            numeric,
            bound,
        }
    }

    /// The error as a share of its bound; NaN where anything is.
    pub fn share(&self) -> f64 {
        match self.error == 0.0 {
            true => 0.0,
            false => self.error / self.bound,
        }
    }

    /// Whether the error exceeds its bound, or is no number.
    pub fn is_wrong(&self) -> bool {
        !matches!(
            self.error.partial_cmp(&self.bound),
            Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
        )
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry {
            index,
            analytic,
            numeric,
            error,
            bound,
        } = self;
        write!(
            f,
            "entry {index:?} is {analytic:e}, expected {numeric:e}, error {error:.1e}, bound {bound:.1e}"
        )
    }
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Agreement; the largest error as a share of its bound.
    Pass(f64),
    /// Disagreement.
    Mismatch {
        /// In words.
        what: String,
        /// The worst element, where elements were compared.
        worst: Option<Entry>,
    },
    /// The check could not see the quantity, and why.
    Unchecked(String),
}

impl Verdict {
    /// Exact checks: a fault in words, or none.
    pub(super) fn of(fault: Option<String>) -> Verdict {
        match fault {
            None => Verdict::Pass(0.0),
            Some(what) => Verdict::Mismatch { what, worst: None },
        }
    }

    /// The worst of compared elements: a mismatch if it exceeds its bound.
    pub(super) fn of_entries(entries: impl IntoIterator<Item = Entry>) -> Verdict {
        let mut worst: Option<Entry> = None;
        for entry in entries {
            let further = worst.as_ref().is_none_or(|w| {
                let (a, b) = (entry.share(), w.share());
                a > b || (a.is_nan() && !b.is_nan())
            });
            if further {
                worst = Some(entry);
            }
        }
        match worst {
            None => Verdict::Unchecked("there is no element".into()),
            Some(entry) if entry.is_wrong() => Verdict::Mismatch {
                what: String::new(),
                worst: Some(entry),
            },
            Some(entry) => Verdict::Pass(entry.share()),
        }
    }

    /// Whether it is a mismatch.
    pub fn is_mismatch(&self) -> bool {
        matches!(self, Verdict::Mismatch { .. })
    }

    /// Whether nothing was seen.
    pub fn is_unchecked(&self) -> bool {
        matches!(self, Verdict::Unchecked(_))
    }

    /// Whether the check passed.
    pub fn is_pass(&self) -> bool {
        matches!(self, Verdict::Pass(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Pass(share) => write!(f, "pass, error/bound {share:.1e}"),
            Verdict::Unchecked(why) => write!(f, "unchecked: {why}"),
            Verdict::Mismatch { what, worst } => {
                write!(f, "MISMATCH: {what}")?;
                let Some(entry) = worst else { return Ok(()) };
                let comma = if what.is_empty() { "" } else { "; " };
                write!(f, "{comma}{entry}")
            }
        }
    }
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

impl Finding {
    pub(super) fn new(method: Method, subject: impl Into<String>, verdict: Verdict) -> Self {
        Finding {
            method,
            subject: subject.into(),
            verdict,
        }
    }

    pub(super) fn of_gradient(method: Method, input: usize, verdict: Verdict) -> Self {
        Finding::new(method, format!("the gradient of input {input}"), verdict)
    }
}

/// All checks of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The function's name.
    pub op: String,
    /// The case's label.
    pub label: String,
    /// The seed that inputs, cotangents and directions were drawn from.
    pub seed: u64,
    /// Outcomes, in the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The report of a case that gave an error.
    pub(super) fn of_error(op: &str, what: String) -> Self {
        let verdict = Verdict::Mismatch { what, worst: None };
        Report {
            op: op.to_owned(),
            label: "a case".to_owned(),
            seed: 0,
            findings: vec![Finding::new(Method::Point, "the inputs", verdict)],
        }
    }

    /// Whether every check passed; an unchecked quantity has not.
    pub fn passed(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(|f| f.verdict.is_pass())
    }

    /// Whether some check found a disagreement.
    pub fn mismatched(&self) -> bool {
        self.findings.iter().any(|f| f.verdict.is_mismatch())
    }

    /// Whether this method found a disagreement.
    pub fn caught_by(&self, method: Method) -> bool {
        let mut of_method = self.findings.iter().filter(|f| f.method == method);
        of_method.any(|f| f.verdict.is_mismatch())
    }

    /// The largest error of the checks that passed, as a share of its bound.
    pub fn worst_share(&self) -> f64 {
        let share = |f: &Finding| match f.verdict {
            Verdict::Pass(share) => share,
            _ => 0.0,
        };
        self.findings.iter().map(share).fold(0.0, f64::max)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (seed {})", self.op, self.label, self.seed)?;
        for finding in &self.findings {
            let Finding {
                method,
                subject,
                verdict,
            } = finding;
            write!(f, "\n  {method} of {subject}: {verdict}")?;
        }
        Ok(())
    }
}

/// The multi-index of a flat one.
pub(super) fn index_of(shape: &Shape, flat: usize) -> Vec<usize> {
    let mut rest = flat;
    let mut index: Vec<usize> = shape
        .dims()
        .iter()
        .rev()
        .map(|&extent| {
            let i = rest % extent.max(1);
            rest /= extent.max(1);
            i
        })
        .collect();
    index.reverse();
    index
}
