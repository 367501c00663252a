//! What the tests of arithmetic kernels share: storage types, inputs, and rounding errors.

use half::{bf16, f16};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::Element;

/// A floating-point type that kernels store.
pub trait Number: Element {
    /// The nearest value of this type, ties to even.
    fn of(x: f64) -> Self;
    /// The value.
    fn f64(self) -> f64;
    /// The value as the kernels compute with it: exact.
    fn f32(self) -> f32 {
        self.f64() as f32
    }
    /// The value of this type that a kernel stores for an f32.
    fn store(x: f32) -> Self {
        Self::of(x as f64)
    }
    /// Bound of |of(x) − x| for a value around `size`: half a unit in the last place, or half the
    /// smallest subnormal.
    fn rounding(size: f64) -> f64 {
        let smallest = match Self::DTYPE {
            whatwhere::tensor::DType::F16 => 2f64.powi(-25),
            whatwhere::tensor::DType::BF16 => 2f64.powi(-134),
            _ => 2f64.powi(-150),
        };
        (size.abs() * Self::DTYPE.unit_roundoff()).max(smallest)
    }
}

impl Number for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn f64(self) -> f64 {
        self as f64
    }
}

impl Number for f16 {
    fn of(x: f64) -> Self {
        f16::from_f64(x)
    }
    fn f64(self) -> f64 {
        self.to_f64()
    }
}

impl Number for bf16 {
    fn of(x: f64) -> Self {
        bf16::from_f64(x)
    }
    fn f64(self) -> f64 {
        self.to_f64()
    }
}

/// γ_k = k·u/(1 − k·u) for f32: the relative error of k roundings one after another (Higham, 2002).
pub fn gamma(k: usize) -> f64 {
    let ku = k as f64 * f32::EPSILON as f64 / 2.0;
    ku / (1.0 - ku)
}

/// `elements` standard normal numbers, rounded to `T`; the same for the same `which`.
pub fn drawn<T: Number>(elements: usize, which: u32) -> Vec<T> {
    let mut stream = Key::new(11, Purpose::Check, elements as u64, which).stream(0);
    (0..elements).map(|_| T::of(stream.normal())).collect()
}

/// Lengths of flat arrays: single elements, part of a vector, a vector and a rest, several warps, and
/// one whole block of every type with a ragged one after it.
pub const LENGTHS: [usize; 6] = [1, 3, 8, 61, 1021, 8192 + 13];
