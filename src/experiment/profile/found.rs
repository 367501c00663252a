//! What is asked of a profile, and what it finds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::experiment::Settings;
use crate::ops::spatial_shuffle::Mode;
use crate::{Error, Result};

/// Which layers are shuffled, given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Regime {
    /// That layer alone.
    Only,
    /// It and every later one.
    Last,
    /// It and every earlier one.
    First,
}

impl Regime {
    /// All of them.
    pub const ALL: [Regime; 3] = [Regime::Only, Regime::Last, Regime::First];
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Regime::Only => "only",
            Regime::Last => "last",
            Regime::First => "first",
        })
    }
}

impl FromStr for Regime {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Regime::ALL.into_iter().find(|r| r.to_string() == name);
        known.ok_or_else(|| Error::setting("regimes", name, "expected some of only last first"))
    }
}

/// What is to be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Layers; none means every one that can be treated.
    pub cuts: Vec<u32>,
    /// Which layers are shuffled with each of them.
    pub regimes: Vec<Regime>,
    /// What is moved.
    pub modes: Vec<Mode>,
    /// Passes over the test set, each with permutations of its own.
    pub draws: u32,
    /// Training batches from which the normalisations' statistics are estimated anew, in a second
    /// measurement of everything; 0 for none.
    pub recalibrate: usize,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            cuts: Vec::new(),
            regimes: vec![Regime::Only, Regime::Last],
            modes: vec![
                Mode::Shuffle,
                Mode::Rand,
                Mode::Local(2),
                Mode::Local(4),
                Mode::Local(8),
                Mode::Local(16),
                Mode::Horizontal,
                Mode::Vertical,
                Mode::ChannelRand,
            ],
            draws: 10,
            recalibrate: 0,
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The layer.
    pub cut: u32,
    /// Which layers are shuffled with it.
    pub regime: Regime,
    /// What is moved.
    pub mode: Mode,
    /// Whether the normalisations' statistics were estimated anew.
    pub recalibrated: bool,
    /// Extents (H, W, C) of the map that is shuffled at the layer.
    pub map: [usize; 3],
    /// log₂ of the number of arrangements made equal, summed over the shuffled layers.
    pub bits: f64,
    /// Accuracy of each draw, 0 to 1.
    pub accuracies: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Half the width of the mean's 95 % confidence interval over draws (Student's t).
    pub ci95: f64,
    /// Mean less the accuracy of the untouched network.
    pub change: f64,
}

/// A combination that cannot be measured, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// The layer.
    pub cut: u32,
    /// Which layers.
    pub regime: Regime,
    /// What would be moved.
    pub mode: Mode,
    /// Why not.
    pub why: String,
}

/// What was measured; `profile.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Identifies weights, data and request.
    pub fingerprint: String,
    /// The command.
    pub command: String,
    /// Settings of data and network.
    pub settings: Settings,
    /// What was asked for.
    pub request: Request,
    /// SHA-256 of the weights' file.
    pub weights_sha256: String,
    /// Test images.
    pub images: u64,
    /// Accuracy of the untouched network, 0 to 1.
    pub baseline: f64,
    /// Accuracy of guessing.
    pub chance: f64,
    /// Layers that are finished.
    pub done: Vec<u32>,
    /// Measurements.
    pub rows: Vec<Row>,
    /// What could not be measured.
    pub skipped: Vec<Skipped>,
}

/// The 97.5 % quantile of Student's t.
pub(super) fn t95(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    match freedom {
        0 => 0.0,
        _ => TABLE.get(freedom - 1).copied().unwrap_or(1.96),
    }
}

/// The measurements as a table, a draw a column.
pub(super) fn csv(profile: &Profile) -> String {
    let draws: Vec<String> = (1..=profile.request.draws)
        .map(|d| format!("draw{d}"))
        .collect();
    let mut text = format!(
        "layer,regime,mode,recalibrated,height,width,channels,bits,accuracy,ci95,change,{}\n",
        draws.join(",")
    );
    for row in &profile.rows {
        let [h, w, c] = row.map;
        let draws: Vec<String> = row.accuracies.iter().map(f64::to_string).collect();
        text += &format!(
            "{},{},{},{},{h},{w},{c},{:.1},{:.6},{:.6},{:.6},{}\n",
            row.cut,
            row.regime,
            row.mode,
            row.recalibrated,
            row.bits,
            row.mean,
            row.ci95,
            row.change,
            draws.join(",")
        );
    }
    text
}
