//! A derivative by differences, with a bound of its error.

use crate::Result;

/// A numeric derivative and a bound of its error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numeric {
    pub derivative: f64,
    pub bound: f64,
}

/// How much smaller the step becomes to step around a kink, and how often.
const SHRINK: f64 = 1.0 / 32.0;
const ATTEMPTS: usize = 3;

/// φ′(0) of `at` = φ, by central differences of `step`; where their bound exceeds `enough`, of smaller
/// steps too, in case a kink lies within the first. The one with the smallest bound.
///
/// # Errors
/// The first one of `at`.
pub(super) fn derivative(
    at: impl Fn(f64) -> Result<f64>,
    step: f64,
    rounding: f64,
    enough: f64,
) -> Result<Numeric> {
    let here = at(0.0)?;
    let mut best = central(&at, here, step, rounding)?;
    let mut h = step;
    for _ in 1..ATTEMPTS {
        if best.bound <= enough {
            break;
        }
        h *= SHRINK;
        let other = central(&at, here, h, rounding)?;
        // A bound that is no number is no bound.
        if other.bound < best.bound || best.bound.is_nan() {
            best = other;
        }
    }
    Ok(best)
}

/// Central difference D(h). Its bound has three parts: the change when the step is doubled, for truncation;
/// the second difference that no smooth function has, |2δ(h) − δ(2h)| with δ = D₊ − D₋, which with the
/// first covers a kink anywhere within the step; and the rounding of φ over the step.
fn central(at: &impl Fn(f64) -> Result<f64>, here: f64, h: f64, rounding: f64) -> Result<Numeric> {
    let differences = |h: f64| -> Result<(f64, f64)> {
        let (ahead, behind) = (at(h)?, at(-h)?);
        let central = (ahead - behind) / (2.0 * h);
        Ok((central, (ahead - 2.0 * here + behind) / h))
    };
    let ((fine, bend), (coarse, wide_bend)) = (differences(h)?, differences(2.0 * h)?);
    let uneven = (fine - coarse).abs() + (2.0 * bend - wide_bend).abs();
    Ok(Numeric {
        derivative: fine,
        bound: uneven + rounding / h,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: f64 = f64::EPSILON / 2.0;

    /// Functions whose derivative is known: the bound holds, and it is not idle.
    #[test]
    fn known_derivatives_lie_within_the_bound() {
        type Known = (fn(f64) -> f64, fn(f64) -> f64);
        let known: [Known; 5] = [
            (f64::sin, f64::cos),
            (f64::exp, f64::exp),
            (|x| x * x * x, |x| 3.0 * x * x),
            (|x| (1.0 + x.exp()).ln(), |x| 1.0 / (1.0 + (-x).exp())),
            (
                |x| 1.0 / (2.0 + x * x),
                |x| -2.0 * x / (2.0 + x * x).powi(2),
            ),
        ];
        for (f, derivative_of) in known {
            for x in [-1.3, -0.2, 0.1, 0.7, 1.9] {
                let rounding = 8.0 * U * (f(x).abs() + x.abs() * derivative_of(x).abs());
                let at = |t: f64| Ok(f(x + t));
                let found = derivative(at, 1.0 / 65536.0, rounding, 0.0).unwrap();
                let error = (found.derivative - derivative_of(x)).abs();
                assert!(error <= found.bound, "{x}: {error} > {}", found.bound);
                assert!(found.bound < 1e-8, "{x}: {}", found.bound);
            }
        }
    }

    /// |t − d| has slope −1 at 0. Wherever the kink is within two steps, the bound covers the error, and
    /// a smaller step gets around it.
    #[test]
    fn kinks_are_covered_and_stepped_around() {
        let h = 1.0 / 65536.0;
        for tenths in 1..25 {
            let d = h * tenths as f64 / 10.0;
            let at = |t: f64| Ok((t - d).abs());
            let wide = central(&at, d, h, U).unwrap();
            assert!((wide.derivative + 1.0).abs() <= wide.bound, "{tenths}");
            let found = derivative(at, h, 1e-3 * U, 1e-6).unwrap();
            assert!(
                (found.derivative + 1.0).abs() <= 1e-6,
                "{tenths}: {found:?}"
            );
        }
        let kink = |t: f64| Ok(t.abs());
        assert!(derivative(kink, h, U, 1e-6).unwrap().bound > 0.5);
    }
}
