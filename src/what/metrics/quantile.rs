//! Quantiles of the channels of activation maps, without keeping the maps.
//!
//! One pass counts the upper 16 bits of every value (ordered as the floats are), which brackets any
//! quantile between two floats 2⁻⁷ apart at most, relatively. A second pass over the same maps counts
//! the lower 16 bits inside the bracket, which gives the quantile exactly.

use super::order;
use crate::{Error, Result};

const BUCKETS: usize = 1 << 16;

/// Counts of the values of each channel.
#[derive(Clone)]
pub struct Quantiles {
    /// Per channel. Pages nothing falls into are never touched.
    counts: Vec<Vec<u64>>,
    values: u64,
}

/// The second pass: the bracket of one quantile of each channel, and what fell into it.
#[derive(Clone)]
pub struct Narrowed {
    channels: Vec<Channel>,
}

#[derive(Clone)]
struct Channel {
    bucket: u32,
    /// How many values of the bracket lie below the quantile.
    below: u64,
    expected: u64,
    counts: Vec<u64>,
}

fn no_number(channel: usize) -> Error {
    Error::shape(
        "quantiles",
        format!("an activation of channel {channel} is not a number"),
    )
}

fn check(values: &[f32], channels: usize) -> Result<()> {
    if channels == 0 || !values.len().is_multiple_of(channels) {
        let what = format!("{} activations for {channels} channels", values.len());
        return Err(Error::shape("quantiles", what));
    }
    match values.iter().position(|v| v.is_nan()) {
        Some(at) => Err(no_number(at % channels)),
        None => Ok(()),
    }
}

impl Quantiles {
    /// For this many channels.
    pub fn new(channels: usize) -> Self {
        Quantiles {
            counts: vec![vec![0; BUCKETS]; channels],
            values: 0,
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.counts.len()
    }

    /// Counts maps in NHWC, channels innermost.
    ///
    /// # Errors
    /// A length that is no multiple of the channels; a value that is not a number (the channel is
    /// named). Nothing is counted then.
    pub fn add(&mut self, values: &[f32]) -> Result<()> {
        check(values, self.channels())?;
        for pixel in values.chunks_exact(self.channels()) {
            for (counts, &value) in self.counts.iter_mut().zip(pixel) {
                counts[(order::ascending(value) >> 16) as usize] += 1;
            }
        }
        self.values += (values.len() / self.channels()) as u64;
        Ok(())
    }

    /// The place of the quantile in the sorted values, from 0: at most a share of 1 − level is greater.
    fn place(&self, level: f64) -> u64 {
        ((level * self.values as f64).ceil() as u64).clamp(1, self.values.max(1)) - 1
    }

    /// The bucket that holds the quantile, and how many of its values lie below it.
    fn find(&self, channel: usize, level: f64) -> (u32, u64) {
        let mut left = self.place(level);
        for (bucket, &count) in self.counts[channel].iter().enumerate() {
            if left < count {
                return (bucket as u32, left);
            }
            left -= count;
        }
        (0, 0)
    }

    /// Floats the quantile at `level` (0 to 1) of a channel lies between, both included; `None` before
    /// the first value.
    pub fn bracket(&self, channel: usize, level: f64) -> Option<[f32; 2]> {
        let (bucket, _) = self.find(channel, level);
        let ends = [bucket << 16, bucket << 16 | 0xffff];
        (self.values > 0).then(|| ends.map(order::value))
    }

    /// At most `count` different values that cut a channel into parts of about equal size, ascending.
    pub fn cuts(&self, channel: usize, count: usize) -> Vec<f32> {
        let level = |i: usize| (i + 1) as f64 / (count + 1) as f64;
        let brackets = (0..count).filter_map(|i| self.bracket(channel, level(i)));
        let mut cuts: Vec<f32> = brackets.map(|[low, _]| low).collect();
        cuts.dedup();
        cuts
    }

    /// Starts the second pass for one level: the same maps are to be added to what it returns.
    pub fn narrow(&self, level: f64) -> Narrowed {
        let channel = |channel: usize| {
            let (bucket, below) = self.find(channel, level);
            Channel {
                bucket,
                below,
                expected: self.counts[channel][bucket as usize],
                counts: vec![0; BUCKETS],
            }
        };
        Narrowed {
            channels: (0..self.channels()).map(channel).collect(),
        }
    }
}

impl Narrowed {
    /// Counts a map of the second pass.
    ///
    /// # Errors
    /// As [`Quantiles::add`].
    pub fn add(&mut self, values: &[f32]) -> Result<()> {
        check(values, self.channels.len())?;
        for pixel in values.chunks_exact(self.channels.len()) {
            for (channel, &value) in self.channels.iter_mut().zip(pixel) {
                let ordered = order::ascending(value);
                if ordered >> 16 == channel.bucket {
                    channel.counts[(ordered & 0xffff) as usize] += 1;
                }
            }
        }
        Ok(())
    }

    /// The quantile of every channel, exactly.
    ///
    /// # Errors
    /// The second pass did not see the values of the first.
    pub fn exact(&self) -> Result<Vec<f32>> {
        let quantile = |(number, channel): (usize, &Channel)| {
            let found: u64 = channel.counts.iter().sum();
            if found != channel.expected || found == 0 {
                let what = format!(
                    "channel {number}: the second pass has {found} values in the bracket, the first {}",
                    channel.expected
                );
                return Err(Error::shape("quantiles", what));
            }
            let mut left = channel.below;
            let low = channel.counts.iter().position(|&count| {
                let here = left < count;
                left = left.saturating_sub(count);
                here
            });
            let low = low.expect("fewer lie below than there are") as u32;
            Ok(order::value(channel.bucket << 16 | low))
        };
        self.channels.iter().enumerate().map(quantile).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Key, Purpose};

    #[test]
    fn two_passes_find_what_sorting_finds() {
        let mut stream = Key::new(2, Purpose::Check, 0, 0).stream(0);
        // Channel 0 normal, 1 mostly zero (after a ReLU), 2 of very unlike sizes.
        let pixels = 5000;
        let maps: Vec<f32> = (0..pixels)
            .flat_map(|_| {
                let n = stream.normal() as f32;
                [n, (n - 2.5).max(0.0), n * n * n * 1e6]
            })
            .collect();
        let mut quantiles = Quantiles::new(3);
        maps.chunks(300)
            .for_each(|part| quantiles.add(part).unwrap());
        for level in [0.0, 0.005, 0.5, 0.995, 1.0] {
            let mut second = quantiles.narrow(level);
            maps.chunks(900).for_each(|part| second.add(part).unwrap());
            let exact = second.exact().unwrap();
            for (channel, &found) in exact.iter().enumerate() {
                let mut sorted: Vec<f32> = maps.iter().skip(channel).step_by(3).copied().collect();
                sorted.sort_by(f32::total_cmp);
                let place = ((level * pixels as f64).ceil() as usize).max(1) - 1;
                assert_eq!(found, sorted[place], "channel {channel}, level {level}");
                let greater = sorted.iter().filter(|v| **v > found).count() as f64;
                assert!(greater <= (1.0 - level) * pixels as f64 + 1e-9);
                let [low, high] = quantiles.bracket(channel, level).unwrap();
                assert!(low <= found && found <= high);
                assert!(
                    high - low <= found.abs() / 64.0 || found == 0.0,
                    "{low} {found} {high}"
                );
            }
        }
        let cuts = quantiles.cuts(0, 9);
        assert!(cuts.len() == 9 && cuts.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(quantiles.cuts(1, 9).len() < 9, "most values are 0");
    }

    #[test]
    fn bad_values_and_other_second_passes_are_refused() {
        let mut quantiles = Quantiles::new(2);
        assert_eq!(quantiles.bracket(0, 0.5), None);
        let message = quantiles
            .add(&[0.0, 1.0, 2.0, f32::NAN])
            .unwrap_err()
            .to_string();
        assert!(message.contains("channel 1"), "{message}");
        assert!(quantiles.add(&[0.0; 3]).is_err());
        quantiles.add(&[0.0, 1.0, 2.0, 3.0]).unwrap();
        let mut second = quantiles.narrow(0.5);
        assert!(second.exact().is_err());
        second.add(&[7.0, 8.0]).unwrap();
        let message = second.exact().unwrap_err().to_string();
        assert!(
            message.contains("channel 0: the second pass has 0"),
            "{message}"
        );
    }
}
