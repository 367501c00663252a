//! Which class was taken for which.

use serde_json::{Map, Value, json};

use crate::data::segmentation::UNLABELLED;
use crate::data::segmentation::cityscapes::Label;
use crate::{Error, Result};

/// What a class counts that is neither in the labels nor in the predictions of a whole set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    /// Nothing: the mean is over the other classes (cityscapesScripts).
    #[default]
    Skip,
    /// As 0 (hszhao/semseg).
    Zero,
}

/// Counts of pixels by true and predicted class, over a whole set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// Row: the true class. Column: the predicted one; the last is for pixels without a prediction.
    counts: Vec<u64>,
}

impl Confusion {
    /// No pixel yet.
    pub fn new(classes: usize) -> Self {
        Confusion {
            classes,
            counts: vec![0; classes * (classes + 1)],
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Counts the pixels of an image. Those whose truth is [`UNLABELLED`] are left out, whatever was
    /// predicted; a prediction of [`UNLABELLED`] is a miss of the true class and of no other.
    ///
    /// # Errors
    /// Maps of unlike sizes; a label or prediction that is no class. Nothing is counted then.
    pub fn add(&mut self, truth: &[u16], predicted: &[u16]) -> Result<()> {
        if truth.len() != predicted.len() {
            let what = format!("{} predictions for {} pixels", predicted.len(), truth.len());
            return Err(Error::shape("confusion", what));
        }
        let unknown = |id: u16| usize::from(id) >= self.classes && id != UNLABELLED;
        let pairs = || truth.iter().zip(predicted);
        if let Some(at) = pairs().position(|(&t, &p)| unknown(t) || unknown(p)) {
            let what = format!(
                "pixel {at}: true class {}, predicted {}, but there are {}",
                truth[at], predicted[at], self.classes
            );
            return Err(Error::shape("confusion", what));
        }
        for (&t, &p) in pairs() {
            if t != UNLABELLED {
                let column = usize::from(p).min(self.classes);
                self.counts[usize::from(t) * (self.classes + 1) + column] += 1;
            }
        }
        Ok(())
    }

    /// Adds what another has counted.
    ///
    /// # Errors
    /// Another number of classes.
    pub fn merge(&mut self, other: &Confusion) -> Result<()> {
        if self.classes != other.classes {
            let what = format!("{} and {} classes", self.classes, other.classes);
            return Err(Error::shape("confusion", what));
        }
        let pairs = self.counts.iter_mut().zip(&other.counts);
        pairs.for_each(|(mine, theirs)| *mine += theirs);
        Ok(())
    }

    /// Pixels of class `truth` that were taken for class `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * (self.classes + 1) + predicted]
    }

    /// Pixels of a class, whatever they were taken for.
    pub fn truth(&self, class: usize) -> u64 {
        self.counts[class * (self.classes + 1)..][..self.classes + 1]
            .iter()
            .sum()
    }

    /// Pixels taken for a class.
    pub fn predicted(&self, class: usize) -> u64 {
        (0..self.classes)
            .map(|truth| self.count(truth, class))
            .sum()
    }

    /// All pixels counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Intersection over union of a class; `None` for one that is nowhere.
    pub fn iou(&self, class: usize) -> Option<f64> {
        self.iou_of(&[class])
    }

    /// The same for several classes taken as one.
    pub fn iou_of(&self, classes: &[usize]) -> Option<f64> {
        let pairs = classes
            .iter()
            .flat_map(|&t| classes.iter().map(move |&p| (t, p)));
        let both: u64 = pairs.map(|(t, p)| self.count(t, p)).sum();
        let truth: u64 = classes.iter().map(|&class| self.truth(class)).sum();
        let predicted: u64 = classes.iter().map(|&class| self.predicted(class)).sum();
        ratio(both, truth + predicted - both)
    }

    /// Mean IoU over the classes. `None` if there is none to take the mean over.
    pub fn mean_iou(&self, absent: Absent) -> Option<f64> {
        mean((0..self.classes).map(|class| self.iou(class)), absent)
    }

    /// The share of pixels of a class that were found; `None` if it has no pixels.
    pub fn recall(&self, class: usize) -> Option<f64> {
        ratio(self.count(class, class), self.truth(class))
    }

    /// Mean share found over the classes ("mean accuracy").
    pub fn mean_accuracy(&self, absent: Absent) -> Option<f64> {
        mean((0..self.classes).map(|class| self.recall(class)), absent)
    }

    /// The share of all pixels that were got right.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let right = (0..self.classes)
            .map(|class| self.count(class, class))
            .sum();
        ratio(right, self.total())
    }

    /// The result in the shape cityscapesScripts writes, for `labels` (those of Cityscapes are
    /// [`LABELS`](crate::data::segmentation::cityscapes::LABELS)): `confMatrix` over all of them in their
    /// order, `priors`, `labels`, `classScores`, `categoryScores` and their averages over what is
    /// there. Where it writes `NaN`, which only Python reads, this has `null`: labels that are not
    /// evaluated, classes that are nowhere, and all instance scores (no instances are read here).
    /// Pixels of labels that are not evaluated were not counted: their rows are 0.
    pub fn cityscapes_json(&self, labels: &[Label]) -> Value {
        let cell = |truth: &Label, predicted: &Label| match (truth.class, predicted.class) {
            (Some(t), Some(p)) => self.count(t, p),
            _ => 0,
        };
        let matrix: Vec<Vec<u64>> = labels
            .iter()
            .map(|truth| {
                labels
                    .iter()
                    .map(|predicted| cell(truth, predicted))
                    .collect()
            })
            .collect();
        let by_name = |value: &dyn Fn(usize, &Label) -> Value| -> Map<String, Value> {
            let pairs = labels.iter().enumerate();
            pairs
                .map(|(id, label)| (label.name.to_owned(), value(id, label)))
                .collect()
        };
        let prior = |_: usize, label: &Label| {
            json!(
                label
                    .class
                    .and_then(|class| ratio(self.truth(class), self.total()))
            )
        };
        let score = |_: usize, label: &Label| json!(label.class.and_then(|class| self.iou(class)));
        let mut categories: Vec<(&str, Vec<usize>)> = Vec::new();
        for label in labels {
            let classes = match categories
                .iter_mut()
                .find(|(name, _)| *name == label.category)
            {
                Some((_, classes)) => classes,
                None => {
                    categories.push((label.category, Vec::new()));
                    &mut categories.last_mut().expect("one was pushed").1
                }
            };
            classes.extend(label.class);
        }
        let category = |classes: &[usize]| match classes.is_empty() {
            true => None,
            false => self.iou_of(classes),
        };
        let names = categories
            .iter()
            .map(|(name, classes)| (name.to_string(), json!(category(classes))));
        let category_scores: Map<String, Value> = names.collect();
        let empty = |scores: &Map<String, Value>| -> Map<String, Value> {
            scores
                .keys()
                .map(|name| (name.clone(), Value::Null))
                .collect()
        };
        let class_scores = by_name(&score);
        let categories = categories.iter().map(|(_, classes)| category(classes));
        json!({
            "confMatrix": matrix,
            "priors": by_name(&prior),
            "labels": by_name(&|id, _| json!(id)),
            "classInstScores": empty(&class_scores),
            "classScores": class_scores,
            "categoryInstScores": empty(&category_scores),
            "categoryScores": category_scores,
            "averageScoreClasses": self.mean_iou(Absent::Skip),
            "averageScoreInstClasses": Value::Null,
            "averageScoreCategories": mean(categories, Absent::Skip),
            "averageScoreInstCategories": Value::Null,
        })
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(scores: impl Iterator<Item = Option<f64>>, absent: Absent) -> Option<f64> {
    let scores: Vec<f64> = match absent {
        Absent::Skip => scores.flatten().collect(),
        Absent::Zero => scores.map(|score| score.unwrap_or(0.0)).collect(),
    };
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Key, Purpose};

    /// By hand: 2 classes, 8 pixels, one unlabelled, one without a prediction; a third class nowhere.
    #[test]
    fn counts_by_hand() {
        let mut confusion = Confusion::new(3);
        let none = UNLABELLED;
        confusion
            .add(&[0, 0, 0, 1, 1, 1, none, 1], &[0, 0, 1, 1, 1, 0, 0, none])
            .unwrap();
        assert_eq!(confusion.total(), 7);
        // Class 0: 2 of both, 3 true, 3 predicted. Class 1: 2 of both, 4 true, 3 predicted.
        assert_eq!(confusion.iou(0), Some(2.0 / 4.0));
        assert_eq!(confusion.iou(1), Some(2.0 / 5.0));
        assert_eq!(confusion.iou(2), None);
        assert_eq!(confusion.mean_iou(Absent::Skip), Some((0.5 + 0.4) / 2.0));
        assert_eq!(confusion.mean_iou(Absent::Zero), Some((0.5 + 0.4) / 3.0));
        assert_eq!(confusion.recall(1), Some(0.5));
        assert_eq!(
            confusion.mean_accuracy(Absent::Skip),
            Some((2.0 / 3.0 + 0.5) / 2.0)
        );
        assert_eq!(confusion.pixel_accuracy(), Some(4.0 / 7.0));
        assert_eq!(confusion.iou_of(&[0, 1]), Some(6.0 / 7.0));
        assert_eq!(Confusion::new(2).mean_iou(Absent::Skip), None);
    }

    /// Over the whole set, not a mean over images; against sets of pixels counted one class at a time.
    #[test]
    fn a_whole_set_against_brute_force() {
        let mut stream = Key::new(3, Purpose::Check, 0, 0).stream(0);
        let (mut confusion, mut halves) = (Confusion::new(5), Confusion::new(5));
        let (mut truths, mut guesses) = (Vec::new(), Vec::new());
        for image in 0..6 {
            let mut draw = |n| match stream.below(n) {
                5 => UNLABELLED,
                class => class as u16,
            };
            let truth: Vec<u16> = (0..100 + 30 * image).map(|_| draw(6)).collect();
            let guess: Vec<u16> = truth.iter().map(|_| draw(6)).collect();
            match image % 2 {
                0 => confusion.add(&truth, &guess).unwrap(),
                _ => halves.add(&truth, &guess).unwrap(),
            }
            truths.extend(truth);
            guesses.extend(guess);
        }
        confusion.merge(&halves).unwrap();
        let pairs = || {
            truths
                .iter()
                .zip(&guesses)
                .filter(|(t, _)| **t != UNLABELLED)
        };
        for class in 0..5u16 {
            let both = pairs()
                .filter(|(t, p)| **t == class && **p == class)
                .count();
            let either = pairs()
                .filter(|(t, p)| **t == class || **p == class)
                .count();
            assert_eq!(
                confusion.iou(usize::from(class)),
                Some(both as f64 / either as f64)
            );
        }
    }

    #[test]
    fn what_is_no_class_is_refused_and_nothing_counted() {
        let mut confusion = Confusion::new(2);
        let message = confusion.add(&[0, 2], &[0, 0]).unwrap_err().to_string();
        assert!(message.contains("pixel 1: true class 2"), "{message}");
        assert!(confusion.add(&[0, 1], &[0, 7]).is_err());
        assert!(confusion.add(&[0, 1], &[0]).is_err());
        assert!(confusion.merge(&Confusion::new(3)).is_err());
        assert_eq!(confusion.total(), 0);
    }

    #[test]
    fn json_has_the_shape_of_cityscapes_scripts() {
        let label = |name, class, category| Label {
            name,
            class,
            category,
            colour: [0; 3],
        };
        let labels = [
            label("unlabeled", None, "void"),
            label("road", Some(0), "flat"),
            label("car", Some(1), "vehicle"),
            label("train", Some(2), "vehicle"),
        ];
        let mut confusion = Confusion::new(3);
        confusion.add(&[0, 0, 1, 1], &[0, 1, 1, 2]).unwrap();
        let json = confusion.cityscapes_json(&labels);
        assert_eq!(
            json["confMatrix"],
            json!([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
        );
        assert_eq!(json["labels"]["train"], 3);
        assert_eq!(json["priors"]["car"], 0.5);
        assert_eq!(json["classScores"]["car"], 1.0 / 3.0);
        assert_eq!(json["classScores"]["train"], 0.0);
        assert_eq!(json["classScores"]["unlabeled"], Value::Null);
        // Vehicles: car taken for train is right as a vehicle; road taken for car is not.
        assert_eq!(json["categoryScores"]["vehicle"], 2.0 / 3.0);
        assert_eq!(json["averageScoreCategories"], (0.5 + 2.0 / 3.0) / 2.0);
        assert_eq!(json["classInstScores"]["car"], Value::Null);
        assert_eq!(json.as_object().unwrap().len(), 11);
    }
}
