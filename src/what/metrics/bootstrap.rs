//! How sure a figure is: the set drawn again from its own images.

use rayon::prelude::*;

use crate::rng::{Key, Purpose};

/// A 95 % interval of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// 2.5 % of the draws lie below.
    pub low: f64,
    /// 2.5 % of the draws lie above.
    pub high: f64,
    /// Draws in which the figure means something; the others are left out.
    pub draws: usize,
}

/// The percentile bootstrap by image (Efron 1979): `draws` times, as many images as there are are drawn
/// with replacement, and `figures` is given how often each was. Pixels of an image are drawn together,
/// since they are not independent.
///
/// Returns an interval for each figure; `None` for one that never means anything (is not a number). The
/// draws are a function of `seed` alone, and are made on all cores.
///
/// ```
/// use whatwhere::what::metrics::bootstrap;
///
/// let accuracy = [0.9, 0.8, 0.95, 0.7];
/// let mean = |weights: &[u32]| {
///     let sum: f64 = weights.iter().zip(accuracy).map(|(&w, a)| f64::from(w) * a).sum();
///     [sum / 4.0]
/// };
/// let [interval] = bootstrap(4, 1000, 0, mean);
/// let interval = interval.unwrap();
/// assert!(0.7 < interval.low && interval.low < 0.8375 && 0.8375 < interval.high);
/// ```
pub fn bootstrap<const N: usize>(
    images: usize,
    draws: u32,
    seed: u64,
    figures: impl Fn(&[u32]) -> [f64; N] + Sync,
) -> [Option<Interval>; N] {
    if images == 0 {
        return [None; N];
    }
    let key = Key::new(seed, Purpose::Bootstrap, 0, 0);
    let draw = |number: u32| {
        let mut stream = key.stream(number);
        let mut weights = vec![0; images];
        (0..images).for_each(|_| weights[stream.below(images as u32) as usize] += 1);
        figures(&weights)
    };
    let drawn: Vec<[f64; N]> = (0..draws).into_par_iter().map(draw).collect();
    std::array::from_fn(|i| {
        let mut values: Vec<f64> = drawn
            .iter()
            .map(|row| row[i])
            .filter(|v| !v.is_nan())
            .collect();
        values.sort_unstable_by(f64::total_cmp);
        (!values.is_empty()).then(|| Interval {
            low: quantile(&values, 0.025),
            high: quantile(&values, 0.975),
            draws: values.len(),
        })
    })
}

/// Linear between the two order statistics around it (R's type 7, NumPy's default).
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let (low, within) = (place.floor() as usize, place.fract());
    match sorted.get(low + 1) {
        Some(next) => sorted[low] + (next - sorted[low]) * within,
        None => sorted[low],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of n draws has standard error s / √n: the interval is ±1.96 of them.
    #[test]
    fn the_interval_of_a_mean_is_that_of_the_central_limit() {
        let mut stream = Key::new(1, Purpose::Check, 0, 0).stream(0);
        let values: Vec<f64> = (0..400).map(|_| stream.normal()).collect();
        let mean = values.iter().sum::<f64>() / 400.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 400.0;
        let figure = |weights: &[u32]| {
            assert_eq!(weights.iter().sum::<u32>(), 400);
            let sum: f64 = weights
                .iter()
                .zip(&values)
                .map(|(&w, v)| f64::from(w) * v)
                .sum();
            [sum / 400.0, f64::NAN]
        };
        let [interval, nothing] = bootstrap(400, 4000, 7, figure);
        let interval = interval.unwrap();
        assert_eq!((nothing, interval.draws), (None, 4000));
        let half = 1.96 * (variance / 400.0).sqrt();
        // The 2.5 % quantile of 4000 normal draws has standard error 0.0423 s; five of them.
        let slack = 5.0 * 0.0423 * (variance / 400.0).sqrt();
        assert!((interval.low - (mean - half)).abs() < slack, "{interval:?}");
        assert!(
            (interval.high - (mean + half)).abs() < slack,
            "{interval:?}"
        );
        assert_eq!(bootstrap(400, 4000, 7, figure)[0], Some(interval));
        assert_ne!(bootstrap(400, 4000, 8, figure)[0], Some(interval));
    }

    #[test]
    fn quantiles_by_hand() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[5.0], 0.975), 5.0);
        assert_eq!(bootstrap(0, 10, 0, |_| [1.0]), [None]);
    }
}
