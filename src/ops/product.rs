//! The matrix products of convolution and linear layers on devices that run kernels.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::conv2d::ConvShape;
use crate::device::Device;
use crate::kernels::Address;
use crate::kernels::conv2d::{self, BiasGradient, Direction, Fprop, Math, Plan, Target};
use crate::tensor::{DType, Shape, Tensor};
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

pub(super) fn math(op: &'static str, dtype: DType) -> Result<Math> {
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

fn target(device: Device) -> Result<Target> {
    Ok(Target {
        capability: device.capability()?,
        multiprocessors: device.multiprocessors()?,
    })
}

/// What happens to the product x · w before it is y = f(scale · (x · w + bias) + shift + residual).
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    /// \[k\], of y's type.
    pub bias: Option<&'a Tensor>,
    /// Scale and shift, \[k\] each, f32: batch normalisation by known statistics.
    pub affine: Option<[&'a Tensor; 2]>,
    /// Like y.
    pub residual: Option<&'a Tensor>,
    /// Whether f(v) is max(v, 0), not v.
    pub relu: bool,
    /// Whether the statistics of y are wanted, which then has no affine part, no residual and no ReLU.
    pub statistics: bool,
}

impl Epilogue<'_> {
    /// Refuses what does not lie where y does, or has not the size and type that kernels read.
    fn check(&self, op: &'static str, k: usize, y: &Tensor) -> Result<()> {
        let channels = Shape::from([k]);
        let vectors = self.bias.into_iter().map(|b| (b, &channels, y.dtype()));
        let floats = self.affine.into_iter().flatten();
        let all = vectors
            .chain(floats.map(|v| (v, &channels, DType::F32)))
            .chain(self.residual.map(|r| (r, y.shape(), y.dtype())));
        for (tensor, shape, dtype) in all {
            if tensor.shape() != shape || tensor.dtype() != dtype || tensor.device() != y.device() {
                let what = format!(
                    "{} of shape {} on {} beside a result of shape {} on {}",
                    tensor.dtype(),
                    tensor.shape(),
                    tensor.device(),
                    y.shape(),
                    y.device()
                );
                return Err(Error::shape(op, what));
            }
        }
        Ok(())
    }
}

/// Writes `y` from maps `x` and filters `w`. Returns the statistics that `with` asks for: mean and biased
/// variance of each channel of y as it is stored, \[k\] each, f32.
///
/// # Errors
/// [`Error::DType`] and [`Error::Shape`] for what the kernels do not do.
pub(crate) fn forward(
    op: &'static str,
    g: &ConvShape,
    [x, w]: [&Tensor; 2],
    with: Epilogue,
    y: &mut Tensor,
) -> Result<Option<[Tensor; 2]>> {
    let device = y.device();
    let math = math(op, y.dtype())?;
    with.check(op, g.k, y)?;
    let plan = Plan::new(g, math, Direction::Fprop, with.statistics, target(device)?)?;
    let mut scratch = Scratch::new(plan.scratch_bytes(), device)?;
    let bytes = if with.statistics {
        4 * plan.statistics_len()
    } else {
        0
    };
    let mut tiles = Scratch::new(bytes, device)?;
    let address = |tensor: Option<&Tensor>| tensor.map(Tensor::address).unwrap_or_default();
    let with_addresses = Fprop {
        x: x.address(),
        w: w.address(),
        y: y.address_mut()?,
        epilogue: conv2d::Epilogue {
            bias: address(with.bias),
            scale: address(with.affine.map(|[scale, _]| scale)),
            shift: address(with.affine.map(|[_, shift]| shift)),
            residual: address(with.residual),
            relu: with.relu,
            statistics: tiles.address()?,
        },
    };
    device.launch_all(&plan.fprop(with_addresses, scratch.address()?)?)?;
    if !with.statistics {
        return Ok(None);
    }
    let channels = || Tensor::empty([g.k], DType::F32, device);
    let (mut mean, mut variance) = (channels()?, channels()?);
    let join = plan.statistics(
        tiles.address()?,
        mean.address_mut()?,
        variance.address_mut()?,
    );
    device.launch(&join)?;
    Ok(Some([mean, variance]))
}

/// Whether this product is made in one part anyway, so that the statistics of `y` cost next to nothing.
pub(super) fn stays_whole(op: &'static str, g: &ConvShape, y: &Tensor) -> bool {
    let plan = || -> Result<Plan> {
        let (math, target) = (math(op, y.dtype())?, target(y.device())?);
        Plan::new(g, math, Direction::Fprop, false, target)
    };
    plan().is_ok_and(|plan| plan.parts() == 1)
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
    let target = target(device)?;
    let mut gradients: Vec<Option<Tensor>> = wanted.iter().map(|_| None).collect();
    for (direction, like, slot) in [(Direction::Dgrad, x, 0), (Direction::Wgrad, w, 1)] {
        if !wanted[slot] {
            continue;
        }
        let plan = Plan::new(g, math, direction, false, target)?;
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
        let plan = BiasGradient::new(dy.len() / g.k, g.k, dy.dtype(), target.multiprocessors)?;
        let mut scratch = Scratch::new(plan.scratch_bytes(), device)?;
        let mut db = Tensor::empty([g.k], dy.dtype(), device)?;
        let (to, between) = (db.address_mut()?, scratch.address()?);
        device.launch_all(&plan.launches(dy.address(), to, between)?)?;
        gradients[2] = Some(db);
    }
    Ok(gradients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::linear::LinearShape;
    use crate::kernels::emulator;
    use crate::kernels::linear::as_convolution;

    const ROWS: usize = 5;
    const WIDTH: usize = 8;

    /// Small integers, different for each lane.
    fn tensor(dims: &[usize], lane: usize, dtype: DType) -> Tensor {
        let values: Vec<f32> = (0..dims.iter().product())
            .map(|i: usize| ((i * (lane + 3) + lane) % 7) as f32 - 3.0)
            .collect();
        let tensor = Tensor::from_slice(dims, &values, Device::Emulator).unwrap();
        tensor.cast(dtype).unwrap()
    }

    fn product(x: &[f64], w: &[f64], i: usize) -> f64 {
        let (row, k) = (i / WIDTH, i % WIDTH);
        (0..WIDTH)
            .map(|c| x[row * WIDTH + c] * w[k * WIDTH + c])
            .sum()
    }

    fn run(x: &Tensor, w: &Tensor, with: Epilogue) -> Result<(Vec<f64>, Option<[Tensor; 2]>)> {
        let g = as_convolution(LinearShape {
            rows: ROWS,
            inputs: WIDTH,
            outputs: WIDTH,
        });
        let mut y = Tensor::empty([ROWS, WIDTH], x.dtype(), Device::Emulator)?;
        let statistics = forward("linear", &g, [x, w], with, &mut y)?;
        Ok((y.to_f64_vec()?, statistics))
    }

    #[test]
    fn epilogues_do_what_they_say() {
        if !emulator::is_available() {
            return;
        }
        for dtype in [DType::F32, DType::BF16] {
            let (x, w) = (
                tensor(&[ROWS, WIDTH], 0, dtype),
                tensor(&[WIDTH; 2], 1, dtype),
            );
            let (bias, residual) = (tensor(&[WIDTH], 2, dtype), tensor(&[ROWS, WIDTH], 3, dtype));
            let [scale, shift] = [4, 5].map(|lane| tensor(&[WIDTH], lane, DType::F32));
            let [xs, ws, b, r, s, t] = [&x, &w, &bias, &residual, &scale, &shift]
                .map(|tensor| tensor.to_f64_vec().unwrap());
            let with = Epilogue {
                bias: Some(&bias),
                affine: Some([&scale, &shift]),
                residual: Some(&residual),
                relu: true,
                statistics: false,
            };
            let (y, none) = run(&x, &w, with).unwrap();
            assert!(none.is_none());
            for (i, y) in y.into_iter().enumerate() {
                let k = i % WIDTH;
                let want = s[k] * (product(&xs, &ws, i) + b[k]) + t[k] + r[i];
                assert_eq!(y, want.max(0.0), "{dtype} {i}");
            }
            let with = Epilogue {
                bias: Some(&bias),
                statistics: true,
                ..Epilogue::default()
            };
            let (y, statistics) = run(&x, &w, with).unwrap();
            let [mean, variance] = statistics.unwrap().map(|t| t.to_f64_vec().unwrap());
            for k in 0..WIDTH {
                let column = || y.iter().skip(k).step_by(WIDTH);
                let exact = column().sum::<f64>() / ROWS as f64;
                let spread = column().map(|v| (v - exact).powi(2)).sum::<f64>() / ROWS as f64;
                let bound = 32.0 * DType::F32.unit_roundoff() * (exact.abs() + spread + 1.0);
                assert!((mean[k] - exact).abs() <= bound, "{dtype} mean of {k}");
                assert!(
                    (variance[k] - spread).abs() <= bound,
                    "{dtype} variance of {k}"
                );
            }
            let wrong = [
                Epilogue {
                    bias: Some(&residual),
                    ..Epilogue::default()
                },
                Epilogue {
                    affine: Some([&scale, &residual]),
                    ..Epilogue::default()
                },
                Epilogue {
                    relu: true,
                    statistics: true,
                    ..Epilogue::default()
                },
            ];
            for with in wrong {
                let refused = run(&x, &w, with).err().unwrap();
                assert!(matches!(refused, Error::Shape { .. }), "{refused}");
            }
        }
    }
}
