//! NetDissect (Bau, Zhou, Khosla, Oliva, Torralba 2017): what a channel's strongest activations cover.
//!
//! A channel is on where its activation exceeds a threshold, its 99.5 % quantile over all images. For a
//! label c of a category, over the images that show some label of that category,
//!
//! IoU = |on ∧ c| / (|on| + |c| − |on ∧ c|).
//!
//! Pixels of such an image nobody labelled count as "not c", as in the authors' code.

use crate::data::segmentation::{LabelMap, NOTHING};
use crate::{Error, Result};

/// Pixels of one category.
#[derive(Clone)]
struct Tally {
    /// Of each label.
    truth: Vec<u64>,
    /// Of each channel, where it is on.
    on: Vec<u64>,
    /// Of each channel and label.
    both: Vec<u64>,
}

/// What the channels of a layer show.
#[derive(Clone)]
pub struct Dissection {
    thresholds: Vec<f32>,
    categories: Vec<Tally>,
}

/// A channel with the label it covers best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detector {
    /// The channel.
    pub channel: usize,
    /// Category of the label.
    pub category: usize,
    /// The label.
    pub label: usize,
    /// How well it is covered.
    pub iou: f64,
}

impl Dissection {
    /// Channels with these thresholds; `labels` says how many each category has.
    pub fn new(thresholds: Vec<f32>, labels: &[usize]) -> Self {
        let channels = thresholds.len();
        let tally = |&count: &usize| Tally {
            truth: vec![0; count],
            on: vec![0; channels],
            both: vec![0; channels * count],
        };
        Dissection {
            thresholds,
            categories: labels.iter().map(tally).collect(),
        }
    }

    /// Counts an image: its activations (height × width × channels) at the size of its label maps, and
    /// the layers of every category (none where it is not labelled).
    ///
    /// # Errors
    /// Another number of categories, maps of another size, a label that does not exist, an activation
    /// that is not a number. Nothing is counted then.
    pub fn add(
        &mut self,
        extent: [usize; 2],
        activations: &[f32],
        layers: &[&[LabelMap]],
    ) -> Result<()> {
        let (channels, pixels) = (self.thresholds.len(), extent[0] * extent[1]);
        let refuse = |what: String| Err(Error::shape("dissect", what));
        if layers.len() != self.categories.len() || activations.len() != pixels * channels {
            return refuse(format!(
                "{} categories and {} activations; expected {} and {}×{}×{channels}",
                layers.len(),
                activations.len(),
                self.categories.len(),
                extent[0],
                extent[1]
            ));
        }
        if let Some(at) = activations.iter().position(|a| a.is_nan()) {
            return refuse(format!(
                "an activation of channel {} is not a number",
                at % channels
            ));
        }
        for (number, (tally, layers)) in self.categories.iter().zip(layers).enumerate() {
            for layer in *layers {
                if layer.extent() != extent {
                    let [h, w] = layer.extent();
                    return refuse(format!("a map of {h}×{w} for {}×{}", extent[0], extent[1]));
                }
                let known = tally.truth.len();
                let unknown = |id: &&u16| **id < NOTHING && usize::from(**id) >= known;
                if let Some(id) = layer.ids().iter().find(unknown) {
                    return refuse(format!(
                        "label {id} of category {number}, which has {known}"
                    ));
                }
            }
        }
        let mut on = Vec::new();
        let mut here: Vec<usize> = Vec::new();
        let shows = |layers: &[LabelMap]| {
            layers
                .iter()
                .any(|l| l.ids().iter().any(|&id| id < NOTHING))
        };
        let shown: Vec<bool> = layers.iter().map(|layers| shows(layers)).collect();
        for (pixel, activations) in activations.chunks_exact(channels.max(1)).enumerate() {
            on.clear();
            let pairs = activations.iter().zip(&self.thresholds).enumerate();
            on.extend(
                pairs
                    .filter(|(_, (a, t))| a > t)
                    .map(|(channel, _)| channel),
            );
            let tallies = self.categories.iter_mut().zip(layers).zip(&shown);
            for ((tally, layers), _) in tallies.filter(|(_, shown)| **shown) {
                here.clear();
                for layer in *layers {
                    let id = layer.ids()[pixel];
                    // A label that several layers repeat counts once.
                    if id < NOTHING && !here.contains(&usize::from(id)) {
                        here.push(usize::from(id));
                    }
                }
                here.iter().for_each(|&label| tally.truth[label] += 1);
                for &channel in &on {
                    tally.on[channel] += 1;
                    let row = channel * tally.truth.len();
                    here.iter().for_each(|&label| tally.both[row + label] += 1);
                }
            }
        }
        Ok(())
    }

    /// How well a channel covers a label; `None` where neither is anywhere.
    pub fn iou(&self, channel: usize, category: usize, label: usize) -> Option<f64> {
        let tally = &self.categories[category];
        let both = tally.both[channel * tally.truth.len() + label];
        let either = tally.on[channel] + tally.truth[label] - both;
        (either > 0).then(|| both as f64 / either as f64)
    }

    /// The label each channel covers best, the first of equals; `None` for one that covers nothing.
    pub fn best(&self) -> Vec<Option<Detector>> {
        let best = |channel: usize| {
            let mut best: Option<Detector> = None;
            for (category, tally) in self.categories.iter().enumerate() {
                for label in 0..tally.truth.len() {
                    let iou = self.iou(channel, category, label).unwrap_or(0.0);
                    if iou > best.map_or(0.0, |best| best.iou) {
                        best = Some(Detector {
                            channel,
                            category,
                            label,
                            iou,
                        });
                    }
                }
            }
            best
        };
        (0..self.thresholds.len()).map(best).collect()
    }

    /// The channels that cover some label better than `least` (the authors': 0.04), and how many
    /// different labels they cover: NetDissect's number of unique detectors.
    pub fn detectors(&self, least: f64) -> (Vec<Detector>, usize) {
        let found: Vec<Detector> = self
            .best()
            .into_iter()
            .flatten()
            .filter(|d| d.iou > least)
            .collect();
        let mut labels: Vec<(usize, usize)> = found.iter().map(|d| (d.category, d.label)).collect();
        labels.sort_unstable();
        labels.dedup();
        let unique = labels.len();
        (found, unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::segmentation::UNLABELLED;
    use crate::rng::{Key, Purpose};

    #[test]
    fn counts_agree_with_the_definition() {
        let mut stream = Key::new(4, Purpose::Check, 0, 0).stream(0);
        let (channels, labels) = (3, [4usize, 2]);
        let thresholds = vec![0.5, 0.8, 2.0];
        let mut dissection = Dissection::new(thresholds.clone(), &labels);
        let mut images = Vec::new();
        for image in 0..5 {
            let extent = [4 + image, 5];
            let pixels = extent[0] * extent[1];
            let activations: Vec<f32> = (0..pixels * channels)
                .map(|_| stream.uniform() as f32)
                .collect();
            let mut layer = |labels: usize, empty: bool| {
                let mut id = || match stream.below(labels as u32 + 2) {
                    id if (id as usize) < labels && !empty => id as u16,
                    id if id % 2 == 0 => NOTHING,
                    _ => UNLABELLED,
                };
                LabelMap::new(extent, (0..pixels).map(|_| id()).collect()).unwrap()
            };
            // Two layers of the first category; the second is missing once and blank once.
            let first = vec![layer(4, false), layer(4, false)];
            let second = if image == 1 {
                Vec::new()
            } else {
                vec![layer(2, image == 2)]
            };
            dissection
                .add(extent, &activations, &[&first, &second])
                .unwrap();
            images.push((activations, [first, second]));
        }
        for channel in 0..channels {
            for category in 0..2 {
                for label in 0..labels[category] {
                    let (mut both, mut either) = (0, 0);
                    for (activations, layers) in &images {
                        let layers = &layers[category];
                        let counts = layers
                            .iter()
                            .any(|l| l.ids().iter().any(|&id| id < NOTHING));
                        for pixel in (0..activations.len() / channels).filter(|_| counts) {
                            let on = activations[pixel * channels + channel] > thresholds[channel];
                            let is = layers.iter().any(|l| usize::from(l.ids()[pixel]) == label);
                            both += u32::from(on && is);
                            either += u32::from(on || is);
                        }
                    }
                    let expected = (either > 0).then(|| f64::from(both) / f64::from(either));
                    assert_eq!(dissection.iou(channel, category, label), expected);
                }
            }
        }
        assert_eq!(dissection.best()[2], None, "nothing exceeds 2");
    }

    /// A channel that is a concept's own mask has IoU 1 with it, and is the one unique detector.
    #[test]
    fn a_perfect_channel_is_found() {
        let map = LabelMap::new([2, 3], vec![0, 1, 1, NOTHING, 0, 1]).unwrap();
        let activations: Vec<f32> = map
            .ids()
            .iter()
            .flat_map(|&id| [f32::from(id == 1), 0.0])
            .collect();
        let mut dissection = Dissection::new(vec![0.5, 0.5], &[2]);
        dissection.add([2, 3], &activations, &[&[map]]).unwrap();
        let found = Detector {
            channel: 0,
            category: 0,
            label: 1,
            iou: 1.0,
        };
        assert_eq!(dissection.detectors(0.04), (vec![found], 1));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let map = LabelMap::filled([2, 2], 0);
        let mut dissection = Dissection::new(vec![0.0], &[1]);
        let mut refused = |activations: &[f32], map: LabelMap| {
            dissection
                .add([2, 2], activations, &[&[map]])
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&[0.0; 3], map.clone()).contains("3 activations"));
        assert!(refused(&[0.0, 1.0, f32::NAN, 0.0], map).contains("channel 0"));
        assert!(refused(&[0.0; 4], LabelMap::filled([2, 3], 0)).contains("a map of 2×3"));
        assert!(refused(&[0.0; 4], LabelMap::filled([2, 2], 1)).contains("label 1 of category 0"));
        assert!(dissection.add([2, 2], &[0.0; 4], &[]).is_err());
    }
}
