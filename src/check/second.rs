//! Second order: the vjp as a function of its cotangent, and of the point.
//!
//! The tape records operations, not their vjps, so the vjp of a vjp cannot be asked of it. What can be
//! asked is what a second pass would rest on: that the vjp is linear in the cotangent, and that, as the
//! gradient of φ(x) = ⟨v, f(x)⟩, its own derivative is symmetric and is that of φ's second differences.

use super::gradient::DRAWS;
use super::subject::{Check, Run, Target, direction, inner, largest, moved};
use super::verdict::{Entry, Finding, Method, Verdict};
use crate::Result;
use crate::tensor::{DType, Shape, Tensor};

/// A bound of more than this share of the size of φ over that of the point decides nothing.
const DECISIVE: f64 = 1e-2;

/// Further cotangents, to see how large gradients are.
const OTHERS: usize = 4;

/// vjp(2v − 3w) = 2·vjp(v) − 3·vjp(w), and nothing comes of nothing.
pub(super) fn linearity(subject: &Check, target: Target) -> Result<Vec<Finding>> {
    let mut findings = linear_at(subject, target, 0)?;
    for draw in 1..DRAWS {
        if !findings.iter().any(|f| f.verdict.is_unchecked()) {
            break;
        }
        findings = linear_at(subject, target, draw)?;
    }
    Ok(findings)
}

fn linear_at(subject: &Check, target: Target, draw: u32) -> Result<Vec<Finding>> {
    let inputs = subject.inputs(70 + draw, DType::F64)?;
    let shape = subject.value_shape(&inputs_at(&inputs, target)?)?;
    let mut stream = subject.stream(80 + draw);
    let [v, w] = [
        direction(&shape, &mut stream)?,
        direction(&shape, &mut stream)?,
    ];
    let doubled = moved(&v, 1.0, &v)?;
    let both = moved(&doubled, -3.0, &w)?;
    let zero = Tensor::zeros(&shape, DType::F64, v.device())?;
    let at = |cotangent: &Tensor| subject.evaluate_at(&inputs, cotangent, target);
    let [of_v, of_w, of_both, of_zero] = [at(&v)?, at(&w)?, at(&both)?, at(&zero)?];
    // How large gradients are here: of one cotangent they may nearly cancel.
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.push(at(&direction(&shape, &mut stream)?)?);
    }
    // Where the target rounds the sum of the cotangents, the vjp is of another one.
    let gamma = 2.0 * subject.gamma(&shape, target.dtype);
    let mut findings = Vec::new();
    for input in subject.differentiable() {
        let mut size: f64 = 0.0;
        for run in others.iter().chain([&of_v, &of_w, &of_both]) {
            size = size.max(largest(run.gradient(input)?)?);
        }
        let shape = of_v.gradient(input)?.shape();
        let of = |run: &Run| run.gradient(input)?.to_f64_vec();
        let (a, b, c, d) = (of(&of_v)?, of(&of_w)?, of(&of_both)?, of(&of_zero)?);
        let entries = (0..a.len()).flat_map(|i| {
            let expected = 2.0 * a[i] - 3.0 * b[i];
            let sum = Entry::new(shape, i, [c[i], expected, gamma * 6.0 * size]);
            [sum, Entry::new(shape, i, [d[i], 0.0, 0.0])]
        });
        let verdict = match size == 0.0 {
            true => Verdict::Unchecked("the gradient is zero everywhere".into()),
            false => Verdict::of_entries(entries.collect::<Vec<_>>()),
        };
        findings.push(Finding::of_gradient(Method::Linearity, input, verdict));
    }
    Ok(findings)
}

fn inputs_at(inputs: &[Tensor], target: Target) -> Result<Vec<Tensor>> {
    inputs.iter().map(|x| target.place(x)).collect()
}

/// With g(x) the vjp of v, and a, b directions of all inputs at once: ⟨a, g′b⟩ = ⟨b, g′a⟩ = the mixed second
/// difference of φ.
pub(super) fn symmetry(subject: &Check) -> Result<Vec<Finding>> {
    let mut verdict = Verdict::Unchecked("not tried".into());
    for draw in 0..DRAWS {
        verdict = Hessian::draw(subject, draw)?.verdict()?;
        if !verdict.is_unchecked() {
            break;
        }
    }
    let what = "the gradients of all inputs";
    Ok(vec![Finding::new(Method::SecondOrder, what, verdict)])
}

struct Hessian<'a> {
    subject: &'a Check<'a>,
    inputs: Vec<Tensor>,
    cotangent: Tensor,
    a: Vec<Tensor>,
    b: Vec<Tensor>,
    step: f64,
    /// Of the largest input element.
    size: f64,
    /// Size of the terms of φ.
    terms: f64,
    shape: Shape,
}

impl<'a> Hessian<'a> {
    fn draw(subject: &'a Check<'a>, draw: u32) -> Result<Self> {
        let inputs = subject.inputs(50 + draw, DType::F64)?;
        let mut stream = subject.stream(60 + draw);
        let shape = subject.value_shape(&inputs)?;
        let cotangent = direction(&shape, &mut stream)?;
        let run = subject.evaluate(&inputs, &cotangent)?;
        let (_, mut terms) = inner(&run.value, &cotangent)?;
        let mut size: f64 = 0.0;
        for i in subject.differentiable() {
            terms += inner(&inputs[i], run.gradient(i)?)?.1;
            size = size.max(largest(&inputs[i])?);
        }
        let mut along = || -> Result<Vec<Tensor>> {
            let each = inputs.iter().map(|x| direction(x.shape(), &mut stream));
            each.collect()
        };
        let (a, b) = (along()?, along()?);
        let size = if size > 0.0 { size } else { 1.0 };
        Ok(Hessian {
            // Near the fourth root of u, where truncation and rounding of a second difference meet.
            step: size / (1 << 13) as f64,
            size,
            shape,
            subject,
            inputs,
            cotangent,
            a,
            b,
            terms,
        })
    }

    fn rounding(&self, terms: f64) -> f64 {
        self.subject.rounding(&self.shape, DType::F64, terms)
    }

    fn moved(&self, s: f64, t: f64) -> Result<Vec<Tensor>> {
        let mut inputs = self.inputs.clone();
        for i in self.subject.differentiable() {
            inputs[i] = moved(&moved(&inputs[i], s, &self.a[i])?, t, &self.b[i])?;
        }
        Ok(inputs)
    }

    fn phi(&self, s: f64, t: f64) -> Result<f64> {
        let value = self.subject.value(&self.moved(s, t)?)?;
        Ok(inner(&value, &self.cotangent)?.0)
    }

    /// ⟨`with`, g⟩ with the inputs moved, and the size of its terms.
    fn slope(&self, [s, t]: [f64; 2], with: &[Tensor]) -> Result<[f64; 2]> {
        let run = self.subject.evaluate(&self.moved(s, t)?, &self.cotangent)?;
        let mut found = [0.0; 2];
        for i in self.subject.differentiable() {
            let (sum, size) = inner(run.gradient(i)?, &with[i])?;
            found = [found[0] + sum, found[1] + size];
        }
        Ok(found)
    }

    /// Derivative of the vjp along s·a + t·b with steps h and 2h: the quotient, and a bound.
    fn of_vjp(&self, h: f64, [s, t]: [f64; 2], with: &[Tensor]) -> Result<[f64; 2]> {
        let mut size: f64 = 0.0;
        let mut quotient = |h: f64| -> Result<f64> {
            let ahead = self.slope([s * h, t * h], with)?;
            let behind = self.slope([-s * h, -t * h], with)?;
            size = size.max(ahead[1]).max(behind[1]);
            Ok((ahead[0] - behind[0]) / (2.0 * h))
        };
        let (fine, coarse) = (quotient(h)?, quotient(2.0 * h)?);
        // The vjp's own terms may cancel: what the point's terms are over its size bounds them.
        let rounding = self.rounding(size + self.terms / self.size);
        Ok([fine, 2.0 * (fine - coarse).abs() + rounding / h])
    }

    /// The mixed second difference of φ with steps h and 2h: the quotient, and a bound.
    fn of_value(&self) -> Result<[f64; 2]> {
        let mixed = |h: f64| -> Result<f64> {
            let same = self.phi(h, h)? + self.phi(-h, -h)?;
            let other = self.phi(h, -h)? + self.phi(-h, h)?;
            Ok((same - other) / (4.0 * h * h))
        };
        let h = self.step;
        let (fine, coarse) = (mixed(h)?, mixed(2.0 * h)?);
        let uneven = 2.0 * (fine - coarse).abs();
        Ok([fine, uneven + self.rounding(self.terms) / (h * h)])
    }

    fn verdict(&self) -> Result<Verdict> {
        if self.terms == 0.0 {
            return Ok(Verdict::Unchecked("value and gradients are zero".into()));
        }
        let scale = self.terms / (self.size * self.size);
        let decides = |bound: f64, size: f64| bound <= DECISIVE * scale.max(size);
        // Smaller steps step around kinks.
        let mut found = [[f64::NAN; 2]; 2];
        for shrink in [1.0, 16.0, 256.0] {
            let h = self.step / shrink;
            found = [
                self.of_vjp(h, [0.0, 1.0], &self.a)?,
                self.of_vjp(h, [1.0, 0.0], &self.b)?,
            ];
            if decides(found[0][1] + found[1][1], found[0][0].abs()) {
                break;
            }
        }
        let [[ab, ab_bound], [ba, ba_bound]] = found;
        let bound = ab_bound + ba_bound;
        if !decides(bound, ab.abs()) {
            return Ok(Verdict::Unchecked(format!(
                "the derivative of the vjp, {ab:e}, is known to ±{bound:e} only: a kink is near"
            )));
        }
        let mismatch = |what| Ok(Verdict::Mismatch { what, worst: None });
        let error = (ab - ba).abs();
        if error > bound {
            return mismatch(format!(
                "the derivative of the vjp is not symmetric: {ab:e} and {ba:e} ± {bound:e}"
            ));
        }
        // The value needs the wide step. Where a kink lies in that, symmetry alone was seen.
        let [phi, phi_bound] = self.of_value()?;
        let wide = ab_bound + phi_bound;
        let apart = (ab - phi).abs();
        if decides(wide, ab.abs()) && apart > wide {
            return mismatch(format!(
                "the derivative of the vjp is {ab:e}, the second difference of the value {phi:e} ± {wide:e}"
            ));
        }
        Ok(Verdict::Pass((error / bound).max(0.0)))
    }
}
