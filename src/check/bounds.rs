//! Error bounds from the length of the reductions and the dtype.

use crate::tensor::DType;

/// Roundings on an element's way besides those of reductions: products, quotients, exponentials.
const ROUNDINGS: usize = 16;

/// How often a half-precision number is rounded on its way through an operation and its vjp: a saved
/// result, a result.
const STORES: f64 = 2.0;

/// γ_K = K·u/(1 − K·u) for sums of at most `terms` terms, with u the unit roundoff of `dtype` and K the terms
/// and a few more for what is done to each (Higham 2002, lemma 3.1). Infinite where K·u reaches 1.
///
/// In half precision numbers are added up in f32 and rounded to half where they are stored.
///
/// ```
/// use whatwhere::{check::gamma, tensor::DType};
/// assert!(gamma(1000, DType::F64) < 1.2e-13);
/// assert_eq!(gamma(usize::MAX / 2, DType::F32), f64::INFINITY);
/// ```
pub fn gamma(terms: usize, dtype: DType) -> f64 {
    let sum = (terms + ROUNDINGS) as f64;
    let roundoffs = match dtype {
        DType::F16 | DType::BF16 => {
            sum * DType::F32.unit_roundoff() + STORES * dtype.unit_roundoff()
        }
        _ => sum * dtype.unit_roundoff(),
    };
    match roundoffs < 1.0 {
        true => roundoffs / (1.0 - roundoffs),
        false => f64::INFINITY,
    }
}

/// What rounding may add to each of `terms` terms where results are too small to keep their digits: half the
/// smallest number of `dtype`, which γ knows nothing of.
pub(super) fn underflow(terms: usize, dtype: DType) -> f64 {
    let smallest = match dtype {
        DType::F64 => f64::from_bits(1),
        DType::F16 => f64::exp2(-24.0),
        DType::BF16 => f64::exp2(-133.0),
        _ => f64::exp2(-149.0),
    };
    (terms + ROUNDINGS) as f64 * smallest
}
