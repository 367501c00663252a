//! AUiC, the area under the inspectability curve (Losch, Fritz, Schiele 2021), with the choices the
//! publication leaves open taken as follows.
//!
//! Each channel is cut at the threshold, and given the concept, for which their IoU on training scenes
//! is largest. Its quality q is their IoU on *other* scenes. The inspectability curve I(x) is the share
//! of channels with q ≥ x; its area over x from 0 to 1 is the mean of q. Only pixels somebody judged
//! count.

use crate::data::segmentation::{LabelMap, NOTHING, UNLABELLED};
use crate::{Error, Result};

/// How a mask and a concept overlap, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Of both.
    pub both: u64,
    /// Of the mask.
    pub mask: u64,
    /// Of the concept.
    pub concept: u64,
    /// Of all that was judged.
    pub all: u64,
}

impl Overlap {
    /// Intersection over union; 0 where both are empty.
    pub fn iou(&self) -> f64 {
        let either = self.mask + self.concept - self.both;
        if either == 0 {
            0.0
        } else {
            self.both as f64 / either as f64
        }
    }

    /// The mean of the IoU of the concept and that of its complement, less what a mask of the same
    /// size reaches by chance: 0 for a mask that knows nothing, whatever the concept's size.
    pub fn balanced_iou(&self) -> f64 {
        let iou = |both: f64, mask: f64, concept: f64| {
            let either = mask + concept - both;
            if either == 0.0 { 0.0 } else { both / either }
        };
        let [both, mask, concept, all] =
            [self.both, self.mask, self.concept, self.all].map(|count| count as f64);
        if all == 0.0 {
            return 0.0;
        }
        let pair = |both: f64| {
            let neither = all - mask - concept + both;
            (iou(both, mask, concept) + iou(neither, all - mask, all - concept)) / 2.0
        };
        pair(both) - pair(mask * concept / all)
    }
}

/// Counts, for every channel and concept of one category, at all thresholds at once.
#[derive(Clone, PartialEq)]
pub struct ThresholdScan {
    /// Thresholds of each channel, ascending.
    cuts: Vec<Vec<f32>>,
    concepts: usize,
    /// Of each channel: judged pixels by the number of thresholds they exceed.
    all: Vec<Vec<u64>>,
    /// The same of each channel and concept.
    inside: Vec<Vec<u64>>,
}

impl ThresholdScan {
    /// Channels with these thresholds (say [`Quantiles::cuts`](super::Quantiles::cuts)), ascending.
    ///
    /// # Errors
    /// Thresholds that do not rise.
    pub fn new(cuts: Vec<Vec<f32>>, concepts: usize) -> Result<Self> {
        for (channel, cuts) in cuts.iter().enumerate() {
            // Written so that NaN fails too.
            if !cuts.windows(2).all(|pair| pair[0] < pair[1]) {
                let what = format!("the thresholds of channel {channel} do not rise");
                return Err(Error::shape("inspectability", what));
            }
        }
        let all: Vec<Vec<u64>> = cuts.iter().map(|cuts| vec![0; cuts.len() + 1]).collect();
        let inside = all
            .iter()
            .flat_map(|bins| vec![bins.clone(); concepts])
            .collect();
        Ok(ThresholdScan {
            cuts,
            concepts,
            all,
            inside,
        })
    }

    /// Counts the judged pixels of an image: its activations (height × width × channels) at the size of
    /// its label maps, and the layers of the category.
    ///
    /// # Errors
    /// Sizes that do not fit, a concept that does not exist, an activation that is not a number.
    pub fn add(
        &mut self,
        extent: [usize; 2],
        activations: &[f32],
        layers: &[LabelMap],
    ) -> Result<()> {
        let (channels, pixels) = (self.cuts.len(), extent[0] * extent[1]);
        let refuse = |what: String| Err(Error::shape("inspectability", what));
        if activations.len() != pixels * channels || layers.iter().any(|l| l.extent() != extent) {
            let what = format!("{} activations", activations.len());
            return refuse(format!(
                "{what} and maps for {}×{}×{channels}",
                extent[0], extent[1]
            ));
        }
        if let Some(at) = activations.iter().position(|a| a.is_nan()) {
            return refuse(format!(
                "an activation of channel {} is not a number",
                at % channels
            ));
        }
        let known = |id: &u16| *id >= NOTHING || usize::from(*id) < self.concepts;
        if let Some(id) = layers.iter().flat_map(LabelMap::ids).find(|id| !known(id)) {
            return refuse(format!("concept {id}, but there are {}", self.concepts));
        }
        let mut here: Vec<usize> = Vec::new();
        for pixel in 0..pixels {
            let ids = || layers.iter().map(|layer| layer.ids()[pixel]);
            if ids().all(|id| id == UNLABELLED) {
                continue;
            }
            here.clear();
            for id in ids().filter(|id| *id < NOTHING).map(usize::from) {
                if !here.contains(&id) {
                    here.push(id);
                }
            }
            for channel in 0..channels {
                let value = activations[pixel * channels + channel];
                let bin = self.cuts[channel].partition_point(|cut| *cut < value);
                self.all[channel][bin] += 1;
                for &concept in &here {
                    self.inside[channel * self.concepts + concept][bin] += 1;
                }
            }
        }
        Ok(())
    }

    /// A channel above its threshold number `cut`, and a concept.
    pub fn overlap(&self, channel: usize, concept: usize, cut: usize) -> Overlap {
        let (all, inside) = (
            &self.all[channel],
            &self.inside[channel * self.concepts + concept],
        );
        Overlap {
            both: inside[cut + 1..].iter().sum(),
            mask: all[cut + 1..].iter().sum(),
            concept: inside.iter().sum(),
            all: all.iter().sum(),
        }
    }
}

/// A channel with the concept and the threshold it was given on training scenes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assignment {
    /// Category of the concept.
    pub category: usize,
    /// The concept.
    pub concept: usize,
    /// On above this activation.
    pub threshold: f32,
    /// On the scenes it was chosen on.
    pub chosen_on: Overlap,
    /// On other scenes.
    pub tested_on: Overlap,
}

/// How inspectable the channels of a layer are.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspectability {
    /// Of each channel; `None` for one that overlaps no concept.
    pub channels: Vec<Option<Assignment>>,
}

impl Inspectability {
    /// Chooses on the first of each pair and tests on the second; one pair a category.
    ///
    /// # Errors
    /// Scans of other channels, thresholds or concepts than their partners or each other.
    pub fn new(pairs: &[(&ThresholdScan, &ThresholdScan)]) -> Result<Self> {
        let channels = pairs.first().map_or(0, |(first, _)| first.cuts.len());
        let alike = |(a, b): &(&ThresholdScan, &ThresholdScan)| {
            a.cuts == b.cuts && a.concepts == b.concepts && a.cuts.len() == channels
        };
        if !pairs.iter().all(alike) {
            return Err(Error::shape(
                "inspectability",
                "scans of unlike channels or thresholds",
            ));
        }
        let assign = |channel: usize| {
            let mut best: Option<Assignment> = None;
            for (category, (train, test)) in pairs.iter().enumerate() {
                for concept in 0..train.concepts {
                    for (cut, &threshold) in train.cuts[channel].iter().enumerate() {
                        let chosen_on = train.overlap(channel, concept, cut);
                        if chosen_on.iou() > best.map_or(0.0, |best| best.chosen_on.iou()) {
                            let tested_on = test.overlap(channel, concept, cut);
                            best = Some(Assignment {
                                category,
                                concept,
                                threshold,
                                chosen_on,
                                tested_on,
                            });
                        }
                    }
                }
            }
            best
        };
        Ok(Inspectability {
            channels: (0..channels).map(assign).collect(),
        })
    }

    /// The quality of every channel: its IoU on the scenes it was not chosen on.
    pub fn qualities(&self) -> Vec<f64> {
        let of = |channel: &Option<Assignment>| channel.map_or(0.0, |a| a.tested_on.iou());
        self.channels.iter().map(of).collect()
    }

    /// I(x): the share of channels of quality `x` or better.
    pub fn share_above(&self, x: f64) -> f64 {
        let good = self.qualities().iter().filter(|q| **q >= x).count();
        good as f64 / self.channels.len().max(1) as f64
    }

    /// The area under I from 0 to 1, which is the mean quality.
    pub fn area(&self) -> f64 {
        self.qualities().iter().sum::<f64>() / self.channels.len().max(1) as f64
    }

    /// The same of the balanced IoU, not below 0 for any channel.
    pub fn balanced_area(&self) -> f64 {
        let of = |channel: &Option<Assignment>| {
            channel.map_or(0.0, |a| a.tested_on.balanced_iou().max(0.0))
        };
        self.channels.iter().map(of).sum::<f64>() / self.channels.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Key, Purpose};

    fn scene(seed: u64) -> (Vec<f32>, LabelMap) {
        let mut stream = Key::new(seed, Purpose::Check, 0, 0).stream(0);
        let ids: Vec<u16> = (0..400)
            .map(|_| match stream.below(10) {
                0..3 => 0,
                3..5 => 1,
                9 => UNLABELLED,
                _ => NOTHING,
            })
            .collect();
        // Channel 0 shows concept 1 with some noise; channel 1 is noise.
        let activations = ids
            .iter()
            .flat_map(|&id| {
                let noise = stream.uniform() as f32;
                [
                    f32::from(id == 1) + 1.2 * noise - 0.6,
                    stream.uniform() as f32,
                ]
            })
            .collect();
        (activations, LabelMap::new([20, 20], ids).unwrap())
    }

    fn scan(seeds: std::ops::Range<u64>) -> ThresholdScan {
        let cuts: Vec<f32> = (-10..20).map(|i| i as f32 / 15.0).collect();
        let mut scan = ThresholdScan::new(vec![cuts.clone(), cuts], 2).unwrap();
        for seed in seeds {
            let (activations, map) = scene(seed);
            scan.add([20, 20], &activations, &[map]).unwrap();
        }
        scan
    }

    #[test]
    fn counts_and_choice_agree_with_brute_force() {
        let (train, test) = (scan(0..3), scan(3..6));
        let result = Inspectability::new(&[(&train, &test)]).unwrap();
        let count = |seeds: std::ops::Range<u64>, channel: usize, concept: u16, threshold: f32| {
            let mut overlap = Overlap {
                both: 0,
                mask: 0,
                concept: 0,
                all: 0,
            };
            for seed in seeds {
                let (activations, map) = scene(seed);
                for (pixel, &id) in map
                    .ids()
                    .iter()
                    .enumerate()
                    .filter(|(_, id)| **id != UNLABELLED)
                {
                    let on = activations[2 * pixel + channel] > threshold;
                    overlap.both += u64::from(on && id == concept);
                    overlap.mask += u64::from(on);
                    overlap.concept += u64::from(id == concept);
                    overlap.all += 1;
                }
            }
            overlap
        };
        for (channel, assigned) in result.channels.iter().enumerate() {
            let assigned = assigned.unwrap();
            let best = (0..2)
                .flat_map(|concept| train.cuts[channel].iter().map(move |&cut| (concept, cut)))
                .map(|(concept, cut)| count(0..3, channel, concept, cut).iou())
                .fold(0.0, f64::max);
            assert_eq!(assigned.chosen_on.iou(), best);
            let again = count(3..6, channel, assigned.concept as u16, assigned.threshold);
            assert_eq!(assigned.tested_on, again);
        }
        assert_eq!(result.channels[0].unwrap().concept, 1);
        let qualities = result.qualities();
        assert!(qualities[0] > 0.6 && qualities[1] < 0.45, "{qualities:?}");
        // The area is the integral of the curve.
        let steps = 100_000;
        let integral: f64 = (0..steps)
            .map(|i| result.share_above((i as f64 + 0.5) / steps as f64))
            .sum();
        assert!((integral / steps as f64 - result.area()).abs() < 1.0 / steps as f64);
        let noise = result.channels[1].unwrap().tested_on.balanced_iou();
        assert!(noise.abs() < 0.05 && result.channels[0].unwrap().tested_on.balanced_iou() > 0.4);
        assert!(result.balanced_area() < result.area());
    }

    #[test]
    fn overlaps_by_hand() {
        let half = Overlap {
            both: 2,
            mask: 4,
            concept: 4,
            all: 8,
        };
        // Independent: 2 of 4 of 8.
        assert_eq!((half.iou(), half.balanced_iou()), (1.0 / 3.0, 0.0));
        let same = Overlap {
            both: 4,
            mask: 4,
            concept: 4,
            all: 8,
        };
        assert_eq!((same.iou(), same.balanced_iou()), (1.0, 1.0 - 1.0 / 3.0));
        let nothing = Overlap {
            both: 0,
            mask: 0,
            concept: 0,
            all: 0,
        };
        assert_eq!((nothing.iou(), nothing.balanced_iou()), (0.0, 0.0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(ThresholdScan::new(vec![vec![1.0, 1.0]], 2).is_err());
        assert!(ThresholdScan::new(vec![vec![f32::NAN, 1.0]], 2).is_err());
        let mut one = ThresholdScan::new(vec![vec![0.0]], 1).unwrap();
        assert!(one.add([1, 2], &[0.0], &[]).is_err());
        assert!(one.add([1, 1], &[f32::NAN], &[]).is_err());
        assert!(
            one.add([1, 1], &[0.0], &[LabelMap::filled([1, 1], 1)])
                .is_err()
        );
        let two = ThresholdScan::new(vec![vec![0.5]], 1).unwrap();
        assert!(Inspectability::new(&[(&one, &two)]).is_err());
    }
}
