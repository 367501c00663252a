//! The matrix products of convolution and linear layers on devices that run kernels.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::conv2d::ConvShape;
use crate::device::Device;
use crate::kernels::Address;
use crate::kernels::conv2d::{BiasGradient, Direction, Fprop, Math, Plan};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

static TF32: AtomicBool = AtomicBool::new(false);

/// Lets convolutions and linear layers of f32 tensors round their operands to tf32 (10 bits of
/// significand) and multiply on tensor cores, on devices that have them. Off at first; for the whole
/// process.
pub fn set_tf32(on: bool) {
    TF32.store(on, Ordering::Relaxed);
}

/// Whether f32 products may be made in tf32.
pub fn tf32() -> bool {
    TF32.load(Ordering::Relaxed)
}

fn math(op: &'static str, dtype: DType) -> Result<Math> {
    match dtype {
        DType::F32 if tf32() => Ok(Math::Tf32),
        DType::F32 => Ok(Math::F32),
        DType::F16 => Ok(Math::F16),
        DType::BF16 => Ok(Math::Bf16),
        found => Err(Error::DType {
            op,
            expected: "f32, f16 or bf16",
            found,
        }),
    }
}

/// Memory that launches need in between.
struct Scratch(Option<Tensor>);

impl Scratch {
    fn new(bytes: usize, device: Device) -> Result<Self> {
        let tensor = || Tensor::empty([bytes], DType::U8, device);
        Ok(Scratch((bytes > 0).then(tensor).transpose()?))
    }

    fn address(&mut self) -> Result<Address> {
        let tensor = self.0.as_mut();
        Ok(tensor
            .map(Tensor::address_mut)
            .transpose()?
            .unwrap_or_default())
    }
}

/// Writes `y` from maps, filters and perhaps a bias.
///
/// # Errors
/// [`Error::DType`] and [`Error::Shape`] for what the kernels do not do.
pub(super) fn forward(
    op: &'static str,
    g: &ConvShape,
    inputs: &[&Tensor],
    y: &mut Tensor,
) -> Result<()> {
    let device = y.device();
    let math = math(op, y.dtype())?;
    let plan = Plan::new(g, math, Direction::Fprop, false, device.multiprocessors()?)?;
    let mut scratch = Scratch::new(plan.scratch_bytes(), device)?;
    let with = Fprop {
        x: inputs[0].address(),
        w: inputs[1].address(),
        bias: inputs.get(2).map(|b| b.address()).unwrap_or_default(),
        y: y.address_mut()?,
        ..Fprop::default()
    };
    device.launch_all(&plan.fprop(with, scratch.address()?)?)
}

/// The wanted gradients of maps, filters and bias.
///
/// # Errors
/// As [`forward`].
pub(super) fn vjp(
    op: &'static str,
    g: &ConvShape,
    [x, w]: [&Tensor; 2],
    dy: &Tensor,
    wanted: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    let device = dy.device();
    let math = math(op, dy.dtype())?;
    let multiprocessors = device.multiprocessors()?;
    let mut gradients: Vec<Option<Tensor>> = wanted.iter().map(|_| None).collect();
    for (direction, like, slot) in [(Direction::Dgrad, x, 0), (Direction::Wgrad, w, 1)] {
        if !wanted[slot] {
            continue;
        }
        let plan = Plan::new(g, math, direction, false, multiprocessors)?;
        let mut scratch = Scratch::new(plan.scratch_bytes(), device)?;
        let mut gradient = like.empty_like()?;
        let (to, between) = (gradient.address_mut()?, scratch.address()?);
        let launches = match direction {
            Direction::Wgrad => plan.wgrad(x.address(), dy.address(), to, between)?,
            _ => plan.dgrad(dy.address(), w.address(), to, between)?,
        };
        device.launch_all(&launches)?;
        gradients[slot] = Some(gradient);
    }
    if let Some(true) = wanted.get(2) {
        let plan = BiasGradient::new(dy.len() / g.k, g.k, dy.dtype(), multiprocessors)?;
        let mut scratch = Scratch::new(plan.scratch_bytes(), device)?;
        let mut db = Tensor::empty([g.k], dy.dtype(), device)?;
        let (to, between) = (db.address_mut()?, scratch.address()?);
        device.launch_all(&plan.launches(dy.address(), to, between)?)?;
        gradients[2] = Some(db);
    }
    Ok(gradients)
}
