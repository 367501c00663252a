//! A fused CUDA kernel of one's own: declared, checked in the emulator and on a GPU, and timed. The kernel
//! is in gate.cu; docs/your_own_kernel.md goes through both files.
//!
//! ```text
//! cargo run --example your_own_kernel
//! ```

use whatwhere::check::{self, Suite};
use whatwhere::device::{Device, set_emulator_schedule};
use whatwhere::kernels::emulator::Schedule;
use whatwhere::kernels::{Launch, Params};
use whatwhere::ops::{Case, Cost, Declaration, Input, Operation, Output, Saved};
use whatwhere::tensor::{DType, Shape, Tensor};
use whatwhere::{Error, Result};

/// y = x · σ(g).
#[derive(Debug)]
struct Gate;

/// The kernels' first parameter.
#[derive(Clone, Copy)]
#[repr(C)]
struct Length(u32);
// SAFETY: one word, as `unsigned` is.
unsafe impl Params for Length {}

fn sigmoid(g: f64) -> f64 {
    1.0 / (1.0 + (-g).exp())
}

/// The reference: any function of elements on the CPU, in f64.
fn on_cpu<const N: usize>(read: [&Tensor; N], f: impl Fn([f64; N]) -> f64) -> Result<Tensor> {
    let columns: Vec<Vec<f64>> = (read.iter().map(|t| t.to_f64_vec())).collect::<Result<_>>()?;
    let element = |i: usize| f(std::array::from_fn(|k| columns[k][i]));
    let values: Vec<f64> = (0..read[0].len()).map(element).collect();
    Tensor::from_slice(read[0].shape(), &values, Device::Cpu)?.cast(read[0].dtype())
}

/// Runs one of the two kernels over tensors of one shape.
fn launch(kernel: &'static str, read: &[&Tensor], write: &mut [&mut Tensor]) -> Result<()> {
    let x = read[0];
    if x.dtype() != DType::F32 || u32::try_from(x.len()).is_err() {
        return Err(Error::shape(
            "gate",
            "the kernels take f32, below 2^32 elements",
        ));
    }
    let n = x.len() as u32;
    let mut launch = Launch::new(kernel, [n.div_ceil(256).max(1), 1, 1], 256).params(Length(n));
    for tensor in read {
        launch = launch.pointer(tensor.address());
    }
    for tensor in write {
        launch = launch.pointer(tensor.address_mut()?);
    }
    // SAFETY: the kernel's parameters in its order, and `output_shape` saw to the sizes.
    unsafe { x.device().launch_kernel(&launch) }
}

impl Operation for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        match inputs {
            [x, g] if x == g => Ok((*x).clone()),
            _ => Err(Error::shape("gate", "expected two inputs of one shape")),
        }
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        self.output_shape(&inputs.iter().map(|t| t.shape()).collect::<Vec<_>>())?;
        let (x, g) = (inputs[0], inputs[1]);
        saved.keep([x, g]);
        if x.device() == Device::Cpu {
            return Ok(on_cpu([x, g], |[x, g]| x * sigmoid(g))?.into());
        }
        let mut y = x.empty_like()?;
        launch("gate_forward", &[x, g], &mut [&mut y])?;
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [x, g] = saved.take();
        if x.device() == Device::Cpu {
            let dx = on_cpu([&g, &dy], |[g, dy]| dy * sigmoid(g))?;
            let slope = |g| sigmoid(g) * (1.0 - sigmoid(g));
            let dg = on_cpu([&x, &g, &dy], |[x, g, dy]| dy * x * slope(g))?;
            return Ok(vec![Some(dx), Some(dg)]);
        }
        let (mut dx, mut dg) = (x.empty_like()?, x.empty_like()?);
        launch("gate_backward", &[&x, &g, &dy], &mut [&mut dx, &mut dg])?;
        Ok(vec![Some(dx), Some(dg)])
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        Cost::new(4 * inputs[0].len(), &[inputs[0], inputs[0], inputs[0]])
    }
}

fn case(shape: impl Into<Shape>) -> Case {
    let shape = shape.into();
    Case::new(Gate, [Input::Normal(shape.clone()), Input::Normal(shape)])
}

const GATE: Declaration = Declaration {
    name: "gate",
    summary: "x · σ(g), fused",
    linear: false,
    cases: || vec![case([1]), case([257]), case([2, 3, 5, 7])],
    fuzz: |draw| case(draw.map(8)),
};

fn main() -> Result<()> {
    let mut rows = Vec::new();
    for device in [Device::Cpu, Device::Emulator, Device::Cuda(0)] {
        if let Err(why) = device.check() {
            println!("{why}");
            continue;
        }
        // In the emulator: every access watched, threads in a random order.
        set_emulator_schedule(Schedule::all().last());
        let suite = Suite {
            devices: vec![device],
            dtypes: vec![DType::F64, DType::F32],
            cases: Some(20),
            ..Suite::default()
        };
        rows.extend(suite.run_on(vec![GATE], &mut |_, _| ())?);
        set_emulator_schedule(None);
        time(device)?;
    }
    print!("{}", check::text(&rows));
    if rows.iter().any(|row| row.verdict() != "pass") {
        return Err(Error::shape("gate", "not every check passed"));
    }
    Ok(())
}

/// How long the forward pass takes, and what that is in bytes a second.
fn time(device: Device) -> Result<()> {
    let n = if let Device::Cuda(_) = device {
        1 << 26
    } else {
        1 << 16
    };
    let x = Tensor::full([n], 0.5f32, device)?;
    let run = || Gate.forward(&[&x, &x], &mut Saved::default()).map(drop);
    run()?; // the first call loads the kernel
    let (_, took) = device.timed(|| (0..10).try_for_each(|_| run()))?;
    let cost = Gate.cost(&[x.shape(), x.shape()]);
    let (seconds, gigabytes) = (took.as_secs_f64() / 10.0, cost.bytes / 1e9);
    println!(
        "{device}: {n} elements in {:.3} ms, {:.1} GB/s",
        1e3 * seconds,
        gigabytes / seconds
    );
    Ok(())
}
