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

/// `elements` standard normal numbers, rounded to `T`; the same for the same `which`.
pub fn drawn<T: Number>(elements: usize, which: u32) -> Vec<T> {
    let mut stream = Key::new(11, Purpose::Check, elements as u64, which).stream(0);
    (0..elements).map(|_| T::of(stream.normal())).collect()
}

/// Lengths of flat arrays: single elements, part of a vector, a vector and a rest, several warps, and
/// one whole block of every type with a ragged one after it.
pub const LENGTHS: [usize; 6] = [1, 3, 8, 61, 1021, 8192 + 13];
