//! Rounding errors: what a kernel's result may differ by from the exact one (Higham, 2002, chapter 3).

use whatwhere::tensor::DType;

use super::numbers::Number;

/// γ_k = k·u/(1 − k·u) for f32: the relative error of k roundings one after another.
pub fn gamma(k: usize) -> f64 {
    let ku = k as f64 * DType::F32.unit_roundoff();
    ku / (1.0 - ku)
}

/// Most that storing a value of this size as `T` changes: half a unit in the last place, or half the
/// smallest subnormal.
pub fn rounding<T: Number>(size: f64) -> f64 {
    let smallest = match T::DTYPE {
        DType::F16 => -24,
        DType::BF16 => -133,
        _ => -149,
    };
    (size * T::DTYPE.unit_roundoff()).max(2f64.powi(smallest) / 2.0)
}

/// The values as f64.
pub fn f64s<T: Number>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| v.f64()).collect()
}

/// Every number found lies within `bound(i)` of what is wanted, and the rounding to `T` on top of it.
pub fn assert_close<T: Number>(
    found: &[T],
    want: &[f64],
    bound: impl Fn(usize) -> f64,
    context: &str,
) {
    assert_eq!(found.len(), want.len(), "{context}");
    for (i, (found, want)) in found.iter().zip(want).enumerate() {
        let before = bound(i);
        let allowed = before + rounding::<T>(want.abs() + before);
        let error = (found.f64() - want).abs();
        assert!(
            error <= allowed,
            "{context}: element {i} is {found:?} and not {want}: off by {error:e}, allowed {allowed:e}"
        );
    }
}
