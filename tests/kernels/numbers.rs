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
    /// What a kernel stores for an f32.
    fn store(x: f32) -> Self;
}

impl Number for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn store(x: f32) -> Self {
        x
    }
    fn f64(self) -> f64 {
        self as f64
    }
}

impl Number for f16 {
    fn of(x: f64) -> Self {
        Self::store(to_odd(x))
    }
    fn store(x: f32) -> Self {
        f16::from_f32(x)
    }
    fn f64(self) -> f64 {
        self.to_f64()
    }
}

impl Number for bf16 {
    fn of(x: f64) -> Self {
        Self::store(to_odd(x))
    }
    fn store(x: f32) -> Self {
        bf16::from_f32(x)
    }
    fn f64(self) -> f64 {
        self.to_f64()
    }
}

/// The f32 with an odd last bit beside an x that is between two: rounding it further gives what rounding
/// x at once does, which `half`'s conversions from f64 do not (they drop the low word).
fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    if near as f64 == x || !near.is_finite() {
        return near;
    }
    let beyond = near.abs() as f64 > x.abs();
    f32::from_bits((near.to_bits() - beyond as u32) | 1)
}

/// Compares element by element, and shows the first that differs.
pub fn assert_equal<T: Element>(found: &[T], want: &[T], case: impl std::fmt::Display) {
    assert_eq!(found.len(), want.len(), "{case}");
    let differs = (0..want.len()).find(|&i| found[i] != want[i]);
    if let Some(i) = differs {
        panic!("{case}: element {i} is {:?}, not {:?}", found[i], want[i]);
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
