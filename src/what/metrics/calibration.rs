//! Whether confidences are probabilities.

use super::expect_pairs;
use crate::{Error, Result};

/// Confidences and outcomes in bins of equal width over 0 to 1: bin k of K holds confidences in
/// (k/K, (k + 1)/K], the first also 0 (Guo, Pleiss, Sun, Weinberger 2017; 15 bins).
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    bins: Vec<Bin>,
    squares: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    count: u64,
    right: u64,
    confidence: f64,
}

impl Calibration {
    /// `bins` empty bins.
    ///
    /// # Errors
    /// No bin.
    pub fn new(bins: usize) -> Result<Self> {
        if bins == 0 {
            return Err(Error::setting("bins", bins, "at least one is needed"));
        }
        Ok(Calibration {
            bins: vec![Bin::default(); bins],
            squares: 0.0,
        })
    }

    /// Adds pixels: the confidence that each is right, and whether it is.
    ///
    /// # Errors
    /// Unlike lengths; a confidence outside 0 to 1, or not a number. Nothing is added then.
    pub fn add(&mut self, confidences: &[f32], right: &[bool]) -> Result<()> {
        expect_pairs("calibration", confidences, right)?;
        if let Some(at) = confidences.iter().position(|c| !(0.0..=1.0).contains(c)) {
            let what = format!(
                "pixel {at}: confidence {} is no probability",
                confidences[at]
            );
            return Err(Error::shape("calibration", what));
        }
        let number = self.bins.len();
        for (&confidence, &right) in confidences.iter().zip(right) {
            let confidence = f64::from(confidence);
            let bin = ((confidence * number as f64).ceil() as usize).max(1) - 1;
            let bin = &mut self.bins[bin.min(number - 1)];
            bin.count += 1;
            bin.right += u64::from(right);
            bin.confidence += confidence;
            let miss = confidence - f64::from(u8::from(right));
            self.squares += miss * miss;
        }
        Ok(())
    }

    fn count(&self) -> u64 {
        self.bins.iter().map(|bin| bin.count).sum()
    }

    /// Expected calibration error: the mean over pixels of |accuracy − mean confidence| of their bin.
    pub fn ece(&self) -> Option<f64> {
        let gap = |bin: &Bin| (bin.right as f64 - bin.confidence).abs();
        let sum: f64 = self.bins.iter().map(gap).sum();
        (self.count() > 0).then(|| sum / self.count() as f64)
    }

    /// Mean square of confidence − outcome: the Brier score of "this prediction is right".
    pub fn brier(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.squares / self.count() as f64)
    }

    /// For each bin that is not empty: mean confidence, accuracy and number of pixels (a reliability
    /// diagram).
    pub fn bins(&self) -> Vec<(f64, f64, u64)> {
        let filled = self.bins.iter().filter(|bin| bin.count > 0);
        let row = |bin: &Bin| {
            let n = bin.count as f64;
            (bin.confidence / n, bin.right as f64 / n, bin.count)
        };
        filled.map(row).collect()
    }
}

/// The Brier score over classes: the mean over pixels of Σ (probability − truth)², 0 to 2.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BrierScore {
    squares: f64,
    count: u64,
}

impl BrierScore {
    /// Adds a pixel of class `truth` with the probability of every class.
    ///
    /// # Errors
    /// A class that has no probability, or a probability that is not a number.
    pub fn add(&mut self, probabilities: &[f32], truth: usize) -> Result<()> {
        if truth >= probabilities.len() {
            let what = format!("class {truth}, but {} probabilities", probabilities.len());
            return Err(Error::shape("brier", what));
        }
        let mut sum = 0.0;
        for (class, &p) in probabilities.iter().enumerate() {
            let miss = f64::from(p) - f64::from(u8::from(class == truth));
            sum += miss * miss;
        }
        if sum.is_nan() {
            return Err(Error::shape("brier", "a probability is not a number"));
        }
        self.squares += sum;
        self.count += 1;
        Ok(())
    }

    /// The score; `None` without pixels.
    pub fn score(&self) -> Option<f64> {
        (self.count > 0).then(|| self.squares / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut two = Calibration::new(2).unwrap();
        // Below or at 1/2: confidences 0, 1/4 and 1/2, one right of three. Above: 3/4 and 1, both right.
        two.add(
            &[0.0, 0.25, 0.5, 0.75, 1.0],
            &[false, true, false, true, true],
        )
        .unwrap();
        assert_eq!(two.bins(), [(0.25, 1.0 / 3.0, 3), (0.875, 1.0, 2)]);
        assert_eq!(two.ece(), Some((0.25 + 0.25) / 5.0));
        assert_eq!(two.brier(), Some((0.5625 + 0.25 + 0.0625) / 5.0));
        assert_eq!(Calibration::new(15).unwrap().ece(), None);
    }

    /// A confidence that is right as often as it says has no error; one that is sure and never right
    /// has the largest there is.
    #[test]
    fn closed_forms() {
        let mut fair = Calibration::new(15).unwrap();
        for tenth in 1..10u32 {
            let right: Vec<bool> = (0..10).map(|i| i < tenth).collect();
            fair.add(&[tenth as f32 / 10.0; 10], &right).unwrap();
        }
        // A tenth is not a float: the error is that of rounding one.
        assert!(
            fair.ece().unwrap() < f64::from(f32::EPSILON),
            "{:?}",
            fair.ece()
        );
        // Binomial variance: mean of p (1 - p).
        let brier: f64 = (1..10)
            .map(|t| t as f64 * (10 - t) as f64 / 100.0)
            .sum::<f64>()
            / 9.0;
        assert!((fair.brier().unwrap() - brier).abs() < f64::from(f32::EPSILON));
        let mut wrong = Calibration::new(15).unwrap();
        wrong.add(&[1.0; 4], &[false; 4]).unwrap();
        assert_eq!((wrong.ece(), wrong.brier()), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn over_classes() {
        let mut score = BrierScore::default();
        score.add(&[0.5, 0.25, 0.25], 0).unwrap();
        score.add(&[0.0, 1.0, 0.0], 2).unwrap();
        assert_eq!(score.score(), Some((0.375 + 2.0) / 2.0));
        assert!(score.add(&[1.0], 1).is_err());
        assert!(score.add(&[f32::NAN, 1.0], 1).is_err());
        assert_eq!(score.score(), Some((0.375 + 2.0) / 2.0));
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        let mut calibration = Calibration::new(15).unwrap();
        for bad in [1.5, -0.1, f32::NAN] {
            let message = calibration
                .add(&[0.5, bad], &[true; 2])
                .unwrap_err()
                .to_string();
            assert!(message.contains("pixel 1"), "{message}");
        }
        assert!(calibration.add(&[0.5], &[]).is_err());
        assert!(Calibration::new(0).is_err());
        assert_eq!(calibration.brier(), None);
    }
}
