//! A function at its inputs, and what one evaluation of it gives.

use super::function::Function;
use super::verdict::{Finding, Method, Report, Verdict, index_of};
use super::{adjoint, guards, reuse};
use super::{bounds, contract, gradient, integers, jacobian, precision, second};
use crate::check::Poisoned;
use crate::device::Device;
use crate::ops::{Case, Input};
use crate::rng::{Key, Purpose, Stream, name_hash};
use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result};

/// A function and the inputs to check it at: see [`crate::check`].
pub struct Check<'a> {
    function: &'a dyn Function,
    pub(super) inputs: &'a [Input],
    label: String,
    linear: bool,
    seed: u64,
    step: Option<f64>,
}

/// Where, and in which numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    pub device: Device,
    pub dtype: DType,
}

impl Target {
    /// The oracle.
    pub const CPU_F64: Target = Target {
        device: Device::Cpu,
        dtype: DType::F64,
    };
    pub const CPU_F32: Target = Target {
        device: Device::Cpu,
        dtype: DType::F32,
    };

    /// The values of `tensor` here; labels stay integers.
    pub fn place(self, tensor: &Tensor) -> Result<Tensor> {
        let cast = match tensor.dtype() {
            DType::I32 => tensor.clone(),
            _ => tensor.cast(self.dtype)?,
        };
        cast.to_device(self.device)
    }
}

/// Values and gradients of one run.
pub(super) struct Run {
    pub value: Tensor,
    pub aux: Vec<Tensor>,
    pub gradients: Vec<Option<Tensor>>,
}

impl<'a> Check<'a> {
    /// A check of `function` at inputs drawn as these say.
    pub fn new(function: &'a dyn Function, inputs: &'a [Input]) -> Self {
        let shapes: Vec<String> = inputs.iter().map(|i| i.shape().to_string()).collect();
        Check {
            label: format!("{} on {}", function.name(), shapes.join(" ")),
            function,
            inputs,
            linear: false,
            seed: 0,
            step: None,
        }
    }

    /// A check of an operation's case.
    pub fn of(case: &'a Case) -> Self {
        Check {
            label: case.label.clone(),
            ..Check::new(&case.op, &case.inputs)
        }
    }

    /// Whether the function is linear in each differentiable input (a constant part may be added): the
    /// adjoint identity is then checked too.
    pub fn linear(self, linear: bool) -> Self {
        Check { linear, ..self }
    }

    /// The seed of inputs, cotangents and directions; 0 without.
    pub fn seed(self, seed: u64) -> Self {
        Check { seed, ..self }
    }

    /// The step of difference quotients, as a share of the largest element of the input; without, near
    /// the cube root of the unit roundoff.
    pub fn step(self, step: f64) -> Self {
        Check {
            step: Some(step),
            ..self
        }
    }

    /// Every check, on the CPU in f64, and f32 against it.
    ///
    /// # Errors
    /// What the function itself returns at these inputs. A wrong result is no error but a [`Verdict`].
    pub fn run(&self) -> Result<Report> {
        let _poisoned = Poisoned::new();
        let oracle = Target::CPU_F64;
        let mut findings = match self.contract(oracle)? {
            (findings, true) => findings,
            (findings, false) => return Ok(self.report(findings)),
        };
        findings.extend(contract::threads(self)?);
        findings.extend(gradient::central_differences(self, oracle)?);
        findings.extend(jacobian::check(self)?);
        if self.linear {
            findings.extend(adjoint::check(self)?);
        }
        findings.extend(second::linearity(self, oracle)?);
        findings.extend(second::symmetry(self)?);
        findings.extend(precision::check(self, Target::CPU_F32)?);
        Ok(self.report(findings))
    }

    /// On `device` in `dtype`: the contract there, small integers bit for bit where the arithmetic is
    /// exact, and values and gradients within the error bound of f64 on the CPU.
    ///
    /// # Errors
    /// As [`Check::run`]; [`Error::Device`] where the device is not there.
    pub fn run_on(&self, device: Device, dtype: DType) -> Result<Report> {
        let target = checked_target(device, dtype)?;
        let _poisoned = Poisoned::new();
        let (mut findings, sound) = self.contract(target)?;
        if sound {
            let exact = integers::check(self, target)?;
            // Ties of half-precision numbers may leave a bound that decides nothing; what came out bit for
            // bit on integers has been seen.
            let seen = |f: &Finding| {
                let same = |e: &Finding| e.subject == f.subject && e.verdict.is_pass();
                f.verdict.is_unchecked() && exact.iter().any(same)
            };
            let mut bounded = precision::check(self, target)?;
            bounded.retain(|f| !seen(f));
            findings.extend(exact.iter().cloned().chain(bounded));
        }
        Ok(self.report(findings))
    }

    /// On `device` in `dtype`, for a function that does not run on the CPU in f64 and so has nothing to be
    /// compared with: the contract, and the vjp against differences of the value in that dtype, whose
    /// bounds are as wide as its roundings are. f32 sees about three digits; half precision sees nothing.
    ///
    /// # Errors
    /// As [`Check::run_on`].
    pub fn run_alone_on(&self, device: Device, dtype: DType) -> Result<Report> {
        let target = checked_target(device, dtype)?;
        let _poisoned = Poisoned::new();
        let (mut findings, sound) = self.contract(target)?;
        if sound {
            findings.extend(gradient::central_differences(self, target)?);
            findings.extend(second::linearity(self, target)?);
        }
        Ok(self.report(findings))
    }

    /// Runs with small-integer inputs and cotangent on two devices; the first result whose bits differ,
    /// if any. Kernels do the same operations in the same order wherever they run, so only functions that
    /// C and CUDA round differently (exponentials, logarithms) may differ between emulator and GPU; where
    /// the arithmetic is exact, any two devices agree.
    ///
    /// # Errors
    /// As [`Check::run_on`].
    pub fn difference(&self, devices: [Device; 2], dtype: DType) -> Result<Option<String>> {
        let [a, b] = devices.map(|device| {
            let target = checked_target(device, dtype)?;
            let (inputs, cotangent) = integers::draw(self, 0, target)?;
            self.evaluate(&inputs, &cotangent)
        });
        a?.first_difference(&b?)
    }

    /// The gradient of ⟨f(`inputs`), `cotangent`⟩ with respect to input `input` by central differences in
    /// f64 on the CPU: for each element the quotient, and a bound of its error. What the vjp says plays no
    /// part.
    ///
    /// # Errors
    /// As [`Check::run`]; [`Error::Shape`] for an input that is not there.
    pub fn numeric_gradient(
        &self,
        inputs: &[Tensor],
        cotangent: &Tensor,
        input: usize,
    ) -> Result<Vec<(f64, f64)>> {
        let Some(x) = inputs.get(input) else {
            let what = format!("there is no input {input} among {}", inputs.len());
            return Err(Error::shape("check", what));
        };
        let point = gradient::Point::at(self, inputs.to_vec(), cotangent.clone(), input)?;
        (0..x.len()).map(|flat| point.entry(flat)).collect()
    }

    /// The checks that hold for every function everywhere, and whether more can be built on them.
    fn contract(&self, target: Target) -> Result<(Vec<Finding>, bool)> {
        let mut findings = contract::check(self, target)?;
        if findings.iter().any(|f| !f.verdict.is_pass()) {
            return Ok((findings, false));
        }
        findings.extend(guards::check(self, target)?);
        findings.extend(reuse::check(self, target)?);
        Ok((findings, true))
    }

    fn report(&self, findings: Vec<Finding>) -> Report {
        Report {
            op: self.function.name().to_owned(),
            label: self.label.clone(),
            seed: self.seed,
            findings,
        }
    }
}

fn checked_target(device: Device, dtype: DType) -> Result<Target> {
    device.check()?;
    match dtype {
        DType::I32 | DType::U8 => Err(Error::DType {
            op: "check",
            expected: "f64, f32, f16 or bf16",
            found: dtype,
        }),
        _ => Ok(Target { device, dtype }),
    }
}

impl Check<'_> {
    pub(super) fn step_for(&self, dtype: DType) -> f64 {
        // Near ∛u, where the truncation h² and the rounding u/h of a central difference meet.
        self.step.unwrap_or(match dtype {
            DType::F64 => 1.0 / (1 << 16) as f64,
            DType::F32 => 1.0 / (1 << 7) as f64,
            _ => 1.0 / (1 << 3) as f64,
        })
    }

    /// Random numbers of this case; different `draw`s share none.
    pub(super) fn stream(&self, draw: u32) -> Stream {
        Key::new(self.seed, Purpose::Check, name_hash(&self.label), draw).stream(0)
    }

    /// The inputs, drawn the `draw`-th time, on the CPU.
    pub(super) fn inputs(&self, draw: u32, dtype: DType) -> Result<Vec<Tensor>> {
        let mut stream = self.stream(draw);
        let inputs = self.inputs.iter();
        inputs
            .map(|input| input.draw(&mut stream, dtype, Device::Cpu))
            .collect()
    }

    /// The inputs of the `draw`-th time on a device.
    pub(super) fn inputs_on(&self, draw: u32, target: Target) -> Result<Vec<Tensor>> {
        let inputs = self.inputs(draw, target.dtype)?;
        inputs.iter().map(|x| target.place(x)).collect()
    }

    pub(super) fn wanted(&self) -> Vec<bool> {
        let inputs = self.inputs.iter();
        inputs.map(|input| input.is_differentiable()).collect()
    }

    /// Indices of the inputs that have a gradient.
    pub(super) fn differentiable(&self) -> impl Iterator<Item = usize> {
        let wanted = self.wanted();
        (0..wanted.len()).filter(move |&i| wanted[i])
    }

    pub(super) fn promised(&self, inputs: &[Tensor]) -> Result<Option<Shape>> {
        let shapes: Vec<&Shape> = inputs.iter().map(Tensor::shape).collect();
        self.function.promised(&shapes)
    }

    /// The value's shape: promised, or found by trying.
    pub(super) fn value_shape(&self, inputs: &[Tensor]) -> Result<Shape> {
        match self.promised(inputs)? {
            Some(shape) => Ok(shape),
            None => Ok(self.value(inputs)?.shape().clone()),
        }
    }

    pub(super) fn value(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        Ok(self.function.forward(&inputs)?.value)
    }

    /// The value at wide inputs, computed at `target`, as wide numbers.
    pub(super) fn value_at(&self, inputs: &[Tensor], target: Target) -> Result<Tensor> {
        if target == Target::CPU_F64 {
            return self.value(inputs);
        }
        let there = inputs.iter().map(|x| target.place(x));
        wide(&self.value(&there.collect::<Result<Vec<_>>>()?)?)
    }

    /// Value and all gradients.
    pub(super) fn evaluate(&self, inputs: &[Tensor], cotangent: &Tensor) -> Result<Run> {
        self.evaluate_wanted(inputs, cotangent, &self.wanted())
    }

    pub(super) fn evaluate_wanted(
        &self,
        inputs: &[Tensor],
        cotangent: &Tensor,
        wanted: &[bool],
    ) -> Result<Run> {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let (output, gradients) = self.function.run(&inputs, cotangent, wanted)?;
        Ok(Run {
            value: output.value,
            aux: output.aux,
            gradients,
        })
    }

    /// As [`Check::evaluate`], at `target`, with wide numbers in and out.
    pub(super) fn evaluate_at(
        &self,
        inputs: &[Tensor],
        cotangent: &Tensor,
        target: Target,
    ) -> Result<Run> {
        let there = inputs.iter().map(|x| target.place(x));
        let there: Vec<Tensor> = there.collect::<Result<_>>()?;
        let run = self.evaluate(&there, &target.place(cotangent)?)?;
        let gradients = run.gradients.iter();
        Ok(Run {
            value: wide(&run.value)?,
            aux: Vec::new(),
            gradients: gradients
                .map(|g| g.as_ref().map(wide).transpose())
                .collect::<Result<_>>()?,
        })
    }

    /// The number of all elements of inputs and output, which no reduction exceeds.
    fn elements(&self, output: &Shape) -> usize {
        let inputs: usize = self.inputs.iter().map(|i| i.shape().len()).sum();
        inputs + output.len()
    }

    /// γ_K for K the number of all elements.
    pub(super) fn gamma(&self, output: &Shape, dtype: DType) -> f64 {
        bounds::gamma(self.elements(output), dtype)
    }

    /// What rounding may do to a sum over an output whose terms have this size together.
    pub(super) fn rounding(&self, output: &Shape, dtype: DType, terms: f64) -> f64 {
        self.gamma(output, dtype) * terms + bounds::underflow(self.elements(output), dtype)
    }
}

impl Run {
    /// Everything that was computed, with names.
    pub fn parts(&self) -> Vec<(String, &Tensor)> {
        let mut parts = vec![("value".to_owned(), &self.value)];
        let aux = self.aux.iter().enumerate();
        parts.extend(aux.map(|(i, t)| (format!("side result {i}"), t)));
        let gradients = self.gradients.iter().enumerate();
        parts.extend(gradients.filter_map(|(i, g)| Some((format!("gradient {i}"), g.as_ref()?))));
        parts
    }

    /// The bytes of everything that was computed.
    pub fn bytes(&self) -> Result<Vec<Vec<u8>>> {
        let parts = self.parts().into_iter();
        parts
            .map(|(_, tensor)| Ok(tensor.on_host()?.as_bytes()?.to_vec()))
            .collect()
    }

    /// The first part whose bytes are not these.
    pub fn changed(&self, bytes: &[Vec<u8>]) -> Result<Option<String>> {
        let now = self.bytes()?;
        let at = now.iter().zip(bytes).position(|(now, then)| now != then);
        Ok(at.map(|at| self.parts()[at].0.clone()))
    }

    pub fn first_difference(&self, other: &Run) -> Result<Option<String>> {
        let (a, b) = (self.parts(), other.parts());
        if a.len() != b.len() {
            return Ok(Some("the number of results".into()));
        }
        for ((name, a), (_, b)) in a.into_iter().zip(b) {
            let (x, y) = (a.on_host()?, b.on_host()?);
            if a.shape() != b.shape() || x.as_bytes()? != y.as_bytes()? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The gradient a sound run must have returned.
    pub fn gradient(&self, input: usize) -> Result<&Tensor> {
        let gradient = self.gradients.get(input).and_then(Option::as_ref);
        gradient.ok_or_else(|| Error::shape("check", format!("no gradient of input {input}")))
    }
}

/// Random numbers of both signs with magnitudes in [0.5, 1.5): none is too small to matter.
pub(super) fn direction(shape: &Shape, stream: &mut Stream) -> Result<Tensor> {
    let values: Vec<f64> = (0..shape.len())
        .map(|_| (0.5 + stream.uniform()) * if stream.below(2) == 0 { 1.0 } else { -1.0 })
        .collect();
    Tensor::from_slice(shape, &values, Device::Cpu)
}

/// Real tensors as f64 on the CPU, labels as they are.
pub(super) fn wide(tensor: &Tensor) -> Result<Tensor> {
    let here = tensor.to_device(Device::Cpu)?;
    match tensor.dtype() {
        DType::I32 => Ok(here),
        _ => here.cast(DType::F64),
    }
}

/// Σ aᵢ bᵢ and Σ |aᵢ bᵢ| of two f64 tensors.
pub(super) fn inner(a: &Tensor, b: &Tensor) -> Result<(f64, f64)> {
    let products = a.data::<f64>()?.iter().zip(b.data::<f64>()?);
    Ok(products.fold((0.0, 0.0), |(sum, size), (a, b)| {
        (sum + a * b, size + (a * b).abs())
    }))
}

/// x + t·u.
pub(super) fn moved(x: &Tensor, t: f64, u: &Tensor) -> Result<Tensor> {
    let cells = x.data::<f64>()?.iter().zip(u.data::<f64>()?);
    let values: Vec<f64> = cells.map(|(x, u)| x + t * u).collect();
    Tensor::from_slice(x.shape(), &values, x.device())
}

pub(super) fn largest(tensor: &Tensor) -> Result<f64> {
    let values = tensor.to_f64_vec()?;
    Ok(values.iter().fold(0.0, |max, v| max.max(v.abs())))
}

/// The first element of a real tensor that is not finite, in words.
pub(super) fn not_finite(name: &str, tensor: &Tensor) -> Result<Option<String>> {
    if tensor.dtype() == DType::I32 {
        return Ok(None);
    }
    let values = tensor.to_f64_vec()?;
    let at = values.iter().position(|v| !v.is_finite());
    Ok(at.map(|at| {
        let index = index_of(tensor.shape(), at);
        format!("{name}{index:?} is {}", values[at])
    }))
}

/// No verdict on anything, because of `why`.
pub(super) fn no_point(why: String) -> Vec<Finding> {
    let verdict = Verdict::Unchecked(why);
    vec![Finding::new(Method::Point, "the inputs", verdict)]
}
