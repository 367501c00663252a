//! Casts, layout changes at the edges of the crate, and `ndarray`.

use half::{bf16, f16};
use ndarray::{ArrayD, ArrayViewD, IxDyn};

use super::{DType, Element, Tensor};
use crate::device::Device;
use crate::{Error, Result, kernels};

impl Tensor {
    /// All elements as `f64`, whatever the dtype.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        let host = self.on_host()?;
        Ok(match self.dtype {
            DType::F64 => host.to_vec::<f64>()?,
            DType::F32 => host.data::<f32>()?.iter().map(|&v| v as f64).collect(),
            DType::F16 => host.data::<f16>()?.iter().map(|v| v.to_f64()).collect(),
            DType::BF16 => host.data::<bf16>()?.iter().map(|v| v.to_f64()).collect(),
            DType::I32 => host.data::<i32>()?.iter().map(|&v| v as f64).collect(),
            DType::U8 => host.data::<u8>()?.iter().map(|&v| v as f64).collect(),
        })
    }

    /// A copy in another dtype, rounded to nearest even; the tensor itself when nothing changes.
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        if self.device != Device::Cpu {
            let mut cast = Tensor::empty(&self.shape, dtype, self.device)?;
            let (from, to) = (self.address(), cast.address_mut()?);
            let plan = kernels::cast::forward(self.dtype, dtype, self.len(), from, to);
            if let Ok(launch) = plan {
                self.device.launch(&launch)?;
                return Ok(cast);
            }
        }
        let values = self.to_f64_vec()?;
        let (shape, device) = (&self.shape, self.device);
        fn collect<T: Element>(
            values: &[f64],
            shape: &super::Shape,
            device: Device,
            of: impl Fn(f64) -> T,
        ) -> Result<Tensor> {
            let cast: Vec<T> = values.iter().map(|&v| of(v)).collect();
            Tensor::from_slice(shape, &cast, device)
        }
        match dtype {
            DType::F64 => collect(&values, shape, device, |v| v),
            DType::F32 => collect(&values, shape, device, |v| v as f32),
            DType::F16 => collect(&values, shape, device, |v| f16::from_f32(to_odd(v))),
            DType::BF16 => collect(&values, shape, device, |v| bf16::from_f32(to_odd(v))),
            DType::I32 => collect(&values, shape, device, |v| v as i32),
            DType::U8 => collect(&values, shape, device, |v| v as u8),
        }
    }

    /// A copy with the four dimensions reordered: output dimension `i` is input dimension `order[i]`.
    ///
    /// Used at the edges only: NCHW images and OIHW filters of other frameworks become NHWC and
    /// OHWI with `[0, 2, 3, 1]`, and go back with `[0, 3, 1, 2]`.
    pub fn permute4(&self, order: [usize; 4]) -> Result<Tensor> {
        let dims = self.shape.nhwc("permute4")?;
        let mut sorted = order;
        sorted.sort_unstable();
        if sorted != [0, 1, 2, 3] {
            return Err(Error::shape(
                "permute4",
                format!("{order:?} is no order of 0..4"),
            ));
        }
        let strides = [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1];
        let out_dims = order.map(|d| dims[d]);
        let step = order.map(|d| strides[d]);
        let size = self.dtype.size();
        let host = self.on_host()?;
        let (from, mut to) = (host.as_bytes()?, vec![0; self.bytes()]);
        let mut at = 0;
        for a in 0..out_dims[0] {
            for b in 0..out_dims[1] {
                for c in 0..out_dims[2] {
                    for d in 0..out_dims[3] {
                        let source = (a * step[0] + b * step[1] + c * step[2] + d * step[3]) * size;
                        to[at..at + size].copy_from_slice(&from[source..source + size]);
                        at += size;
                    }
                }
            }
        }
        Tensor::from_bytes(out_dims, self.dtype, &to, self.device)
    }

    /// A view as an `ndarray` array.
    pub fn to_ndarray<T: Element>(&self) -> Result<ArrayViewD<'_, T>> {
        ArrayViewD::from_shape(IxDyn(self.dims()), self.data::<T>()?)
            .map_err(|e| Error::shape("to_ndarray", e.to_string()))
    }

    /// A CPU tensor with the elements of an `ndarray` array (any memory order).
    pub fn from_ndarray<T: Element>(array: &ArrayD<T>) -> Result<Tensor> {
        let values: Vec<T> = array.iter().copied().collect();
        Tensor::from_slice(array.shape(), &values, Device::Cpu)
    }
}

/// The nearest f32 if it is equal, else the one with an odd last bit of the two around `x`: rounding
/// that to half precision is rounding `x` itself. (`half` drops the low word of an f64, and with it ties
/// that are none.)
fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    if near as f64 == x || !near.is_finite() {
        return near;
    }
    let beyond = near.abs() as f64 > x.abs();
    f32::from_bits((near.to_bits() - beyond as u32) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Just above the middle of two neighbours, by less than the high word of an f64 can tell.
    #[test]
    fn half_precision_rounds_to_nearest() {
        let x = [
            1.0 + 2f64.powi(-9) + 2f64.powi(-22),
            1.0 + 2f64.powi(-9),
            3.0e-46,
            -1e300,
        ];
        let x = Tensor::from_slice([4], &x, Device::Cpu).unwrap();
        let bits = |dtype| x.cast(dtype).unwrap().to_f64_vec().unwrap();
        let above = 1.0 + 2f64.powi(-7);
        assert_eq!(bits(DType::BF16), [1.0, 1.0, 0.0, f64::NEG_INFINITY]);
        let x = Tensor::from_slice(
            [2],
            &[1.0 + 2f64.powi(-8) + 2f64.powi(-22), 1.0 + 2f64.powi(-8)],
            Device::Cpu,
        );
        let found = x.unwrap().cast(DType::BF16).unwrap().to_f64_vec().unwrap();
        assert_eq!(found, [above, 1.0]);
    }
}
