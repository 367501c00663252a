//! Dropout (Srivastava et al. 2014), by element or by channel.

use super::fallback::{self, kernel_device};
use super::{
    Case, Cost, Declaration, Input, Operation, Output, RandomKey, Saved, arity, operands, result_of,
};
use crate::cpu::dropout::{self as cpu, Mask};
use crate::device::Device;
use crate::kernels::dropout::{self as kernels, Draw};
use crate::rng::{Key, Purpose};
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result, with_real};

/// y = x · m with m = 0 with probability p, else 1/(1 − p).
///
/// By element on any shape (`torch.nn.Dropout`), or by channel on NHWC maps, where a mask value
/// serves all pixels of one channel of one image (`torch.nn.Dropout2d`). The mask is a pure function of the
/// key: element i is decided by word i mod 4 of Philox block ⌊i/4⌋ (by channel, i = n·C + c). So nothing
/// is saved, and the vjp draws the same mask. Evaluation is not applying the operation.
///
/// # Errors
/// [`Error::Setting`] for p outside [0, 1); [`Error::Shape`] by channel on anything but an NHWC map.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Probability of a zero, in [0, 1).
    pub p: f64,
    /// The key the mask is drawn from: of (seed, step, layer).
    pub key: RandomKey,
    /// Whether whole channels are dropped.
    pub by_channel: bool,
}

impl Dropout {
    fn mask(&self) -> Mask {
        Mask {
            key: self.key.now(),
            p: self.p,
        }
    }

    fn launch(&self, device: Device, x: &Tensor, y: &mut Tensor) -> Result<()> {
        let dtype = x.dtype();
        let draw = Draw {
            key: self.key.source(),
            ..self.mask().into()
        };
        let (from, to) = (x.address(), y.address_mut()?);
        let launch = if self.by_channel {
            let [batch, height, width, channels] = x.shape().nhwc(self.name())?;
            let maps = [batch, height * width, channels];
            kernels::channels(dtype, draw, maps, from, to)?
        } else {
            kernels::elements(dtype, draw, x.len(), from, to)?
        };
        device.launch(&launch)
    }

    fn run(&self, x: &Tensor, y: &mut Tensor) -> Result<()> {
        let mask = self.mask();
        with_real!(x.dtype(), self.name(), T => {
            let (from, to) = (x.data::<T>()?, y.data_mut::<T>()?);
            if self.by_channel {
                let [_, height, width, channels] = x.shape().nhwc(self.name())?;
                cpu::channels(mask, height * width, channels, from, to)
            } else {
                cpu::elements(mask, from, to)
            }
        });
        Ok(())
    }
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x] = arity(self.name(), inputs)?;
        if !(0.0..1.0).contains(&self.p) {
            return Err(Error::setting("dropout p", self.p, "must be in [0, 1)"));
        }
        if self.by_channel {
            x.nhwc(self.name())?;
        }
        Ok(x.clone())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let [x] = operands(self.name(), inputs)?;
        let mut y = result_of(self, inputs)?;
        match kernel_device(inputs) {
            None => self.run(x, &mut y)?,
            Some(device) => {
                if let Err(why) = self.launch(device, x, &mut y) {
                    return fallback::forward(self, inputs, saved, why);
                }
            }
        }
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, cotangent: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = cotangent.empty_like()?;
        match kernel_device(&[&cotangent]) {
            None => self.run(&cotangent, &mut dx)?,
            Some(device) => {
                if let Err(why) = self.launch(device, &cotangent, &mut dx) {
                    return fallback::vjp(self, saved, cotangent, wanted, why);
                }
            }
        }
        Ok(vec![Some(dx)])
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        Cost::new(inputs[0].len(), &[inputs[0], inputs[0]])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "dropout",
    summary: "random zeros by element or by channel, the rest scaled by 1/(1 − p)",
    linear: true,
    cases: || {
        let case = |p, by_channel, x: [usize; 4]| {
            let key = Key::new(5, Purpose::Check, 1, 2).into();
            let op = Dropout { p, key, by_channel };
            Case::new(op, [Input::normal(x)])
        };
        vec![
            case(0.5, false, [2, 3, 5, 7]),
            case(0.1, true, [3, 4, 2, 11]),
            case(0.0, false, [1, 2, 2, 3]),
        ]
    },
    fuzz: |draw| {
        let mut op = Dropout {
            p: draw.pick(&[0.5, 0.1, 0.9, 0.0]),
            key: draw.key().into(),
            by_channel: draw.flag(),
        };
        let x = draw.map(6);
        // Where everything is dropped there is nothing to see.
        let ones = Tensor::full(x, 1.0f32, Device::Cpu);
        let kept = ones.and_then(|x| op.forward(&[&x], &mut Saved::default())?.value.to_f64_vec());
        if kept.is_ok_and(|kept| kept.iter().all(|&v| v == 0.0)) {
            op.p = 0.0;
        }
        Case::new(op, [Input::normal(x)])
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    fn ones_dropped(op: Dropout, shape: [usize; 4]) -> Vec<f32> {
        let x = Tensor::full(shape, 1.0f32, Device::cpu()).unwrap();
        let y = op.forward(&[&x], &mut Saved::default()).unwrap();
        y.value.to_vec().unwrap()
    }

    /// The mask is what the documentation says, word for word, so that a kernel elsewhere can match it.
    #[test]
    fn mask_is_the_documented_function_of_the_key() {
        let key = Key::new(9, Purpose::Dropout, 3, 1);
        let mut op = Dropout {
            p: 0.25,
            key: key.into(),
            by_channel: false,
        };
        let expected = |i: u32| match key.block(i / 4, 0)[i as usize % 4] < 1 << 30 {
            true => 0.0,
            false => 4.0 / 3.0,
        };
        let y = ones_dropped(op.clone(), [2, 5, 3, 7]);
        assert!((0..210).all(|i| y[i] == expected(i as u32)));
        op.by_channel = true;
        let y = ones_dropped(op, [2, 5, 3, 7]);
        assert!((0..210).all(|i| y[i] == expected((i / 105 * 7 + i % 7) as u32)));
    }

    /// The share of zeros lies within five standard deviations of p.
    #[test]
    fn share_of_zeros_is_p() {
        for p in [0.1, 0.5, 0.9] {
            let key = Key::new(1, Purpose::Dropout, 0, 0).into();
            let op = Dropout {
                p,
                key,
                by_channel: false,
            };
            let y = ones_dropped(op, [1, 100, 100, 10]);
            let zeros = y.iter().filter(|&&v| v == 0.0).count() as f64;
            assert!((zeros - 1e5 * p).abs() < 5.0 * (1e5 * p * (1.0 - p)).sqrt());
        }
    }
}
