//! Element types.

use std::fmt;

use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum DType {
    F64,
    #[default]
    F32,
    F16,
    BF16,
    I32,
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::U8 => 1,
        }
    }

    /// Unit roundoff u of a floating type (half the distance from 1 to the next number); 0 for integers.
    pub fn unit_roundoff(self) -> f64 {
        match self {
            DType::F64 => f64::EPSILON / 2.0,
            DType::F32 => f32::EPSILON as f64 / 2.0,
            DType::F16 => f16::EPSILON.to_f64() / 2.0,
            DType::BF16 => bf16::EPSILON.to_f64() / 2.0,
            DType::I32 | DType::U8 => 0.0,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I32 => "i32",
            DType::U8 => "u8",
        })
    }
}

/// A Rust type that can be the element of a tensor.
///
/// # Safety
/// Implementors are plain data: every bit pattern is a value, there is no padding, and
/// `size_of::<Self>() == Self::DTYPE.size()`.
pub unsafe trait Element: Copy + Send + Sync + fmt::Debug + PartialEq + 'static {
    /// The dtype this Rust type is the element of.
    const DTYPE: DType;
}

macro_rules! element {
    ($($rust:ty => $dtype:ident),*) => {
        // SAFETY: primitive numbers (or transparent wrappers of them) of the stated size.
        $(unsafe impl Element for $rust { const DTYPE: DType = DType::$dtype; })*
    };
}
element!(f64 => F64, f32 => F32, f16 => F16, bf16 => BF16, i32 => I32, u8 => U8);

/// The types the CPU computes in: `f32`, and `f64` for gradient checks.
pub trait Real:
    Element + num_traits::Float + num_traits::NumAssign + std::iter::Sum + Default + fmt::Display
{
    /// Nearest value of this type.
    fn of(x: f64) -> Self;
    /// The value as `f64`.
    fn f64(self) -> f64;
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn f64(self) -> f64 {
        self as f64
    }
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn f64(self) -> f64 {
        self
    }
}

/// Runs a generic expression with `$t` bound to the Rust type of a real dtype, or returns a
/// [`crate::Error::DType`] that names the operation.
///
/// ```ignore
/// with_real!(x.dtype(), "relu", T => cpu::relu(x.data::<T>()?, y.data_mut::<T>()?))
/// ```
#[macro_export]
macro_rules! with_real {
    ($dtype:expr, $op:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::tensor::DType::F64 => {
                type $t = f64;
                $body
            }
            found => {
                return Err($crate::Error::DType {
                    op: $op,
                    expected: "f32 or f64",
                    found,
                });
            }
        }
    };
}
