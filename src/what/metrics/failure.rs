//! Telling right predictions from wrong ones by a confidence.
//!
//! Pixels are kept in falling order of confidence: the first k of them are what is kept at coverage
//! k / N. Pixels of equal confidence cannot be told apart, so they come and go together: every figure
//! here is a function of how many right and wrong ones there are at each distinct value.

use super::expect_pairs;
use super::order;
use crate::{Error, Result};

/// One judged pixel.
#[derive(Clone, Copy)]
struct Judged {
    /// Orders as the confidence does, highest first.
    rank: u32,
    image: u32,
    right: bool,
}

/// The confidence and the outcome of every pixel of a set.
#[derive(Clone, Default)]
pub struct Failures {
    judged: Vec<Judged>,
    images: u32,
    sorted: bool,
}

/// The measures of one set. `None` where a measure means nothing: those that compare right with wrong
/// pixels need some of each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FailureMeasures {
    /// Share of pixels that are right.
    pub accuracy: Option<f64>,
    /// Probability that a right pixel has a higher confidence than a wrong one; a tie counts one half.
    pub auroc: Option<f64>,
    /// Average precision of finding the wrong pixels by low confidence: the sum over distinct values of
    /// (gain in recall) × precision, as scikit-learn's `average_precision_score`.
    pub aupr_error: Option<f64>,
    /// Share of the wrong pixels that are kept when at least 95 % of the right ones are.
    pub fpr95: Option<f64>,
    /// Area under the selective risk (wrong among kept) over coverage.
    pub aurc: Option<f64>,
    /// What of it the best possible order would not have.
    pub excess_aurc: Option<f64>,
    /// Area under the generalized risk (wrong among kept, over all) over coverage.
    pub augrc: Option<f64>,
}

/// Right and wrong pixels of one value of the confidence.
struct Tie {
    rank: u32,
    right: u64,
    wrong: u64,
}

/// Orders as the confidence does, highest first.
fn rank(confidence: f32) -> u32 {
    !order::ascending(confidence)
}

fn confidence(rank: u32) -> f32 {
    order::value(!rank)
}

impl Failures {
    /// No pixel yet.
    pub fn new() -> Self {
        Failures::default()
    }

    /// Adds an image: the confidence of every judged pixel and whether it was right. Any numbers that
    /// grow with confidence will do, infinite ones too. An image without pixels counts as an image.
    ///
    /// # Errors
    /// Unlike lengths; a confidence that is not a number. Nothing is added then.
    pub fn add(&mut self, confidences: &[f32], right: &[bool]) -> Result<()> {
        expect_pairs("failures", confidences, right)?;
        if let Some(at) = confidences.iter().position(|c| c.is_nan()) {
            let what = format!(
                "image {}: the confidence of pixel {at} is not a number",
                self.images
            );
            return Err(Error::shape("failures", what));
        }
        let image = self.images;
        let judged = confidences.iter().zip(right);
        self.judged
            .extend(judged.map(|(&confidence, &right)| Judged {
                rank: rank(confidence),
                image,
                right,
            }));
        self.images += 1;
        self.sorted = false;
        Ok(())
    }

    /// Number of images added.
    pub fn images(&self) -> usize {
        self.images as usize
    }

    /// Number of pixels added.
    pub fn pixels(&self) -> usize {
        self.judged.len()
    }

    /// Brings the pixels into order; everything else does it where it must, and wants it done once.
    pub fn sort(&mut self) {
        if !self.sorted {
            self.judged.sort_unstable_by_key(|pixel| pixel.rank);
            self.sorted = true;
        }
    }

    /// Calls `visit` for every distinct confidence, highest first, each image taken `weights[image]`
    /// times (once, without weights).
    fn ties(&self, weights: Option<&[u32]>, mut visit: impl FnMut(&Tie)) {
        assert!(self.sorted || self.judged.is_empty(), "sort() comes first");
        let mut pixels = self.judged.iter().peekable();
        while let Some(first) = pixels.peek().map(|pixel| pixel.rank) {
            let mut tie = Tie {
                rank: first,
                right: 0,
                wrong: 0,
            };
            while let Some(pixel) = pixels.next_if(|pixel| pixel.rank == first) {
                let weight = weights.map_or(1, |weights| u64::from(weights[pixel.image as usize]));
                match pixel.right {
                    true => tie.right += weight,
                    false => tie.wrong += weight,
                }
            }
            if tie.right + tie.wrong > 0 {
                visit(&tie);
            }
        }
    }

    /// All measures; with `weights`, of the set in which image i is there `weights[i]` times.
    ///
    /// # Panics
    /// Where [`sort`](Failures::sort) was not called since the last image, or a weight is missing.
    pub fn measures(&self, weights: Option<&[u32]>) -> FailureMeasures {
        let (mut right, mut wrong) = (0u64, 0u64);
        self.ties(weights, |tie| {
            right += tie.right;
            wrong += tie.wrong;
        });
        let all = right + wrong;
        if all == 0 {
            return FailureMeasures::default();
        }
        let (total_right, total_wrong, n) = (right, wrong, all as f64);
        // Of a pair of a right and a wrong pixel, twice the number won: whole, so exact.
        let mut twice_won = 0u128;
        let mut precision_sum = 0.0;
        let mut fpr95 = None;
        let (mut aurc, mut augrc) = (0.0, 0.0);
        let (mut kept_right, mut kept_wrong) = (0u64, 0u64);
        let mut last: Option<(f64, f64, f64)> = None;
        self.ties(weights, |tie| {
            let wrong_left = total_wrong - kept_wrong;
            twice_won +=
                u128::from(tie.right) * u128::from(2 * (wrong_left - tie.wrong) + tie.wrong);
            // Seen from the low end, this value and all below it are flagged as wrong.
            let flagged = all - kept_right - kept_wrong;
            precision_sum += tie.wrong as f64 * (wrong_left as f64 / flagged as f64);
            kept_right += tie.right;
            kept_wrong += tie.wrong;
            if fpr95.is_none() && 20 * u128::from(kept_right) >= 19 * u128::from(total_right) {
                fpr95 = Some(kept_wrong);
            }
            let kept = (kept_right + kept_wrong) as f64;
            let point = (kept / n, kept_wrong as f64 / kept, kept_wrong as f64 / n);
            // Before the first value the selective risk is held, and the generalized one is 0.
            let (coverage, selective, generalized) = last.unwrap_or((0.0, point.1, 0.0));
            aurc += (point.0 - coverage) * (point.1 + selective) / 2.0;
            augrc += (point.0 - coverage) * (point.2 + generalized) / 2.0;
            last = Some(point);
        });
        let both = total_right > 0 && total_wrong > 0;
        let e = total_wrong as f64 / n;
        let optimal = if total_right > 0 {
            e + (1.0 - e) * (1.0 - e).ln()
        } else {
            1.0
        };
        let pairs = 2.0 * total_right as f64 * total_wrong as f64;
        FailureMeasures {
            accuracy: Some(total_right as f64 / n),
            auroc: both.then(|| twice_won as f64 / pairs),
            aupr_error: (total_wrong > 0).then(|| precision_sum / total_wrong as f64),
            fpr95: fpr95
                .filter(|_| both)
                .map(|kept| kept as f64 / total_wrong as f64),
            aurc: Some(aurc),
            excess_aurc: Some(aurc - optimal),
            augrc: Some(augrc),
        }
    }

    /// The largest share of pixels that can be kept, highest confidence first, with at least this
    /// accuracy among them; and the lowest confidence kept. (0, `None`) where none can.
    ///
    /// # Panics
    /// As [`measures`](Failures::measures).
    pub fn coverage_at(&self, accuracy: f64, weights: Option<&[u32]>) -> (f64, Option<f32>) {
        let (mut kept_right, mut kept) = (0u64, 0u64);
        let mut best = None;
        self.ties(weights, |tie| {
            kept_right += tie.right;
            kept += tie.right + tie.wrong;
            if kept_right as f64 >= accuracy * kept as f64 {
                best = Some((kept, tie.rank));
            }
        });
        match best {
            Some((count, rank)) => (count as f64 / kept as f64, Some(confidence(rank))),
            None => (0.0, None),
        }
    }

    /// The curve of accuracy over coverage, from high confidence to all pixels, at no more than
    /// `points` places, which are spread evenly over coverage; the last point is at coverage 1.
    ///
    /// # Panics
    /// As [`measures`](Failures::measures).
    pub fn curve(&self, points: usize) -> Vec<(f64, f64)> {
        let all = self.judged.len() as f64;
        let (mut kept_right, mut kept) = (0u64, 0u64);
        let mut out = Vec::new();
        self.ties(None, |tie| {
            kept_right += tie.right;
            kept += tie.right + tie.wrong;
            let coverage = kept as f64 / all;
            let due = (out.len() + 1) as f64 <= coverage * points as f64;
            if due || kept == self.judged.len() as u64 {
                out.push((coverage, kept_right as f64 / kept as f64));
            }
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Key, Purpose};

    fn filled(images: &[(&[f32], &[bool])]) -> Failures {
        let mut failures = Failures::new();
        images.iter().for_each(|(c, r)| failures.add(c, r).unwrap());
        failures.sort();
        failures
    }

    fn close(a: Option<f64>, b: f64) {
        let a = a.unwrap();
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{a} and {b}");
    }

    /// Straight from the definitions, every threshold tried on all pixels.
    fn slow(pixels: &[(f32, bool)]) -> FailureMeasures {
        let n = pixels.len() as f64;
        let of = |want: bool| pixels.iter().filter(move |p| p.1 == want);
        let (right, wrong) = (of(true).count() as f64, of(false).count() as f64);
        let mut won = 0.0;
        for a in of(true) {
            for b in of(false) {
                won += if a.0 > b.0 {
                    1.0
                } else if a.0 == b.0 {
                    0.5
                } else {
                    0.0
                };
            }
        }
        let mut values: Vec<f32> = pixels.iter().map(|p| p.0).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values.dedup();
        let (mut fpr95, mut aurc, mut augrc, mut aupr) = (None, 0.0, 0.0, 0.0);
        let mut before = None;
        for &value in &values {
            let kept = |want| of(want).filter(|p| p.0 >= value).count() as f64;
            let (r, w) = (kept(true), kept(false));
            if r / right >= 0.95 {
                fpr95 = fpr95.or(Some(w / wrong));
            }
            let here = ((r + w) / n, w / (r + w), w / n);
            let (c, s, g) = before.unwrap_or((0.0, here.1, 0.0));
            aurc += (here.0 - c) * (here.1 + s) / 2.0;
            augrc += (here.0 - c) * (here.2 + g) / 2.0;
            before = Some(here);
        }
        let mut recall = 0.0;
        for &value in values.iter().rev() {
            let flagged = |want| of(want).filter(|p| p.0 <= value).count() as f64;
            let (r, w) = (flagged(true), flagged(false));
            aupr += (w / wrong - recall) * (w / (w + r));
            recall = w / wrong;
        }
        let e = wrong / n;
        FailureMeasures {
            accuracy: Some(right / n),
            auroc: Some(won / right / wrong),
            aupr_error: Some(aupr),
            fpr95,
            aurc: Some(aurc),
            excess_aurc: Some(aurc - e - (1.0 - e) * (1.0 - e).ln()),
            augrc: Some(augrc),
        }
    }

    fn same(a: FailureMeasures, b: FailureMeasures) {
        close(a.accuracy, b.accuracy.unwrap());
        close(a.auroc, b.auroc.unwrap());
        close(a.aupr_error, b.aupr_error.unwrap());
        close(a.fpr95, b.fpr95.unwrap());
        close(a.aurc, b.aurc.unwrap());
        close(a.excess_aurc, b.excess_aurc.unwrap());
        close(a.augrc, b.augrc.unwrap());
    }

    /// Random pixels, with few distinct values (ties everywhere) and with many, negative ones too;
    /// weighted sets against sets in which the images really are repeated.
    #[test]
    fn measures_agree_with_the_definitions() {
        let mut stream = Key::new(5, Purpose::Check, 0, 0).stream(0);
        for levels in [2, 5, 40, 100_000] {
            let mut failures = Failures::new();
            let mut images = Vec::new();
            for _ in 0..4 {
                let image: Vec<(f32, bool)> = (0..70)
                    .map(|_| {
                        let level = stream.below(levels);
                        let confidence = level as f32 / levels as f32 - 0.5;
                        (confidence, stream.below(levels) <= level)
                    })
                    .collect();
                let (c, r): (Vec<f32>, Vec<bool>) = image.iter().copied().unzip();
                failures.add(&c, &r).unwrap();
                images.push(image);
            }
            failures.sort();
            same(failures.measures(None), slow(&images.concat()));
            let weights = [0, 3, 1, 2];
            let repeated = weights
                .iter()
                .zip(&images)
                .flat_map(|(&w, image)| image.repeat(w as usize));
            same(
                failures.measures(Some(&weights)),
                slow(&repeated.collect::<Vec<_>>()),
            );
        }
    }

    /// A perfect order reaches the closed forms: AUROC 1, AUGRC e²/2 exactly, AURC within 1/N of
    /// e + (1 - e) ln(1 - e). One value for all: AUROC 1/2, both areas those of a constant risk.
    #[test]
    fn closed_forms() {
        let n = 20_000;
        let confidences: Vec<f32> = (0..n).map(|i| (n - i) as f32).collect();
        let right: Vec<bool> = (0..n).map(|i| i < n * 9 / 10).collect();
        let perfect = filled(&[(&confidences, &right)]).measures(None);
        assert_eq!((perfect.auroc, perfect.fpr95), (Some(1.0), Some(0.0)));
        close(perfect.aupr_error, 1.0);
        close(perfect.augrc, 0.1 * 0.1 / 2.0);
        assert!(
            perfect.excess_aurc.unwrap().abs() < 1.0 / n as f64,
            "{perfect:?}"
        );
        let blind = filled(&[(&vec![0.3; n], &right)]).measures(None);
        assert_eq!((blind.auroc, blind.fpr95), (Some(0.5), Some(1.0)));
        close(blind.aupr_error, 0.1);
        close(blind.aurc, 0.1);
        close(blind.augrc, 0.05);
    }

    #[test]
    fn coverage_stands_where_the_accuracy_last_holds() {
        // Accuracy along the way: 1, 1, 1, 3/4, 4/5, 4/6; the last two pixels tie.
        let failures = filled(&[
            (&[0.9, 0.7, 0.6], &[true, true, false]),
            (&[0.8, 0.5, 0.5], &[true, true, false]),
        ]);
        assert_eq!(failures.coverage_at(1.0, None), (0.5, Some(0.7)));
        assert_eq!(failures.coverage_at(0.75, None), (4.0 / 6.0, Some(0.6)));
        // Not 5/6: the tie is kept whole or not at all.
        assert_eq!(failures.coverage_at(0.7, None), (4.0 / 6.0, Some(0.6)));
        assert_eq!(failures.coverage_at(0.6, None), (1.0, Some(0.5)));
        assert_eq!(
            filled(&[(&[0.5], &[false])]).coverage_at(0.99, None),
            (0.0, None)
        );
        assert_eq!(failures.curve(6).last(), Some(&(1.0, 4.0 / 6.0)));
        assert_eq!(failures.curve(6).len(), 5);
        assert_eq!(failures.curve(2), [(0.5, 1.0), (1.0, 4.0 / 6.0)]);
    }

    #[test]
    fn oddities() {
        let mut failures = Failures::new();
        let message = failures
            .add(&[0.5, f32::NAN], &[true, true])
            .unwrap_err()
            .to_string();
        assert!(message.contains("pixel 1"), "{message}");
        assert!(failures.add(&[0.5], &[]).is_err());
        assert_eq!((failures.pixels(), failures.images()), (0, 0));
        assert_eq!(failures.measures(None), FailureMeasures::default());
        // Minus zero and zero are one value; infinities are the ends.
        let signs = filled(&[(
            &[0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY],
            &[true, false, true, false],
        )]);
        close(signs.measures(None).auroc, 3.5 / 4.0);
        // All right: nothing to tell apart.
        let right = filled(&[(&[0.1, 0.2], &[true, true])]).measures(None);
        assert_eq!(
            (right.auroc, right.fpr95, right.aurc),
            (None, None, Some(0.0))
        );
        for value in [-1.5, 0.0, 0.25, f32::INFINITY] {
            assert_eq!(confidence(rank(value)), value);
        }
    }
}
