//! How much each layer of a trained network depends on where things are, measured without training.
//!
//! In test alone, the input of one layer (or of all from it on, or of all up to it) is shuffled, with
//! many draws of the permutations, and the accuracy is taken again. A network that was never shuffled
//! in training also loses accuracy because its normalisations expect the statistics of unshuffled maps
//! (what a 3×3 filter sums over neighbours that no longer resemble each other varies less); estimating
//! these statistics anew under the shuffle tells that loss from the loss of information.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::run::{Run, read_json, write_json};
use super::settings::Settings;
use super::{environment, profile_page};
use crate::autograd::{Tape, Var};
use crate::data::{Batch, Loader};
use crate::models::{Architecture, Network, TreatedPool};
use crate::nn::{Mode as Pass, Moment};
use crate::ops::spatial_shuffle::{Map, Mode};
use crate::spatial::{Layers, Plan, Removal, When};
use crate::train::{TestDraw, evaluate, hex, mean_and_std, right_answers, write_atomically};
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

/// Told after every finished layer.
pub type Watch<'a> = &'a mut dyn FnMut(&Profile, u32);

/// Measures the network of `run` with the weights in `weights`, into `folder`: `profile.json`,
/// `profile.csv` and `profile.html`. Layers that are finished there are not measured again. `None` when
/// asked to stop before the end.
///
/// # Errors
/// [`Error::Setting`] names what cannot be measured; [`Error::File`] for weights that do not fit the
/// network, and for a folder with another profile in it.
pub fn profile(
    run: Run,
    weights: &Path,
    request: Request,
    folder: &Path,
    stop: &AtomicBool,
    watch: Watch,
) -> Result<Option<Profile>> {
    let base = intact(&run)?;
    check(&request)?;
    let architecture = run.architecture().clone();
    let cuts = match request.cuts.as_slice() {
        [] => architecture.cuts(),
        given => given.to_vec(),
    };
    for &cut in &cuts {
        variant_plan(&base, &architecture, cut, Regime::Only, Mode::Shuffle)
            .apply(&architecture)?;
    }
    if request.recalibrate > 0 && !architecture.batch_norm {
        let why = format!("{} has no normalisations", architecture.name);
        return Err(Error::setting("recalibrate", request.recalibrate, why));
    }
    let settings = run.settings().clone();
    let recipe = settings.recipe()?;
    let bytes = std::fs::read(weights).map_err(Error::io(weights, "read"))?;
    let weights_sha256 = hex(&Sha256::digest(&bytes));
    drop(bytes);
    let fingerprint = fingerprint(&settings, &request, &weights_sha256)?;
    let [train, test] = run.loaders()?;
    let mut network = run.into_network(Some(weights))?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let path = folder.join("profile.json");
    let mut found = match path.exists() {
        true => continued(&path, &fingerprint)?,
        false => {
            let draw = draw(recipe.seed, 0);
            let whole = evaluate(&mut network, &test, draw, recipe.limit_batches)?;
            Profile {
                fingerprint,
                command: environment::command_line(),
                weights_sha256,
                images: whole.seen,
                baseline: whole.accuracy,
                chance: 1.0 / network.classes as f64,
                settings,
                request,
                done: Vec::new(),
                rows: Vec::new(),
                skipped: Vec::new(),
            }
        }
    };
    let measure = Measure {
        architecture,
        base,
        train,
        test,
        seed: recipe.seed,
        limit: recipe.limit_batches.unwrap_or(usize::MAX),
        request: found.request.clone(),
        baseline: found.baseline,
    };
    for cut in cuts {
        if found.done.contains(&cut) {
            continue;
        }
        let Some((rows, skipped)) = measure.layer(&mut network, cut, stop)? else {
            return Ok(None);
        };
        found.rows.extend(rows);
        found.skipped.extend(skipped);
        found.done.push(cut);
        write_json(&path, &found)?;
        watch(&found, cut);
    }
    write_atomically(&folder.join("profile.csv"), csv(&found).as_bytes())?;
    let page = profile_page::html(&found)?;
    write_atomically(&folder.join("profile.html"), page.as_bytes())?;
    Ok(Some(found))
}

/// The plan of a run, which must not treat anything itself.
fn intact(run: &Run) -> Result<Plan> {
    let plan = run.settings().plan()?;
    if plan.remove != Removal::None && !crate::spatial::is_baseline(plan.cut) {
        let why =
            "a profile is of a network to which nothing was done: leave --remove and --cut away";
        return Err(Error::setting("remove", plan.remove, why));
    }
    Ok(plan)
}

fn check(request: &Request) -> Result<()> {
    if request.draws == 0 || request.draws > 256 {
        return Err(Error::setting("draws", request.draws, "expected 1 to 256"));
    }
    for (name, count) in [
        ("modes", request.modes.len()),
        ("regimes", request.regimes.len()),
    ] {
        if count == 0 {
            return Err(Error::setting(name, "", "expected at least one"));
        }
    }
    Ok(())
}

fn fingerprint(settings: &Settings, request: &Request, weights: &str) -> Result<String> {
    let request = serde_json::to_string(request)
        .map_err(|e| Error::setting("profile", "request", e.to_string()))?;
    let settings = Settings {
        pretrained: None,
        ..settings.clone()
    };
    let all = [&settings.fingerprint()?, &request, weights].concat();
    Ok(hex(&Sha256::digest(all)))
}

fn continued(path: &PathBuf, fingerprint: &str) -> Result<Profile> {
    let found: Profile = read_json(path)?;
    if found.fingerprint != fingerprint {
        let what = "this folder holds the profile of other weights or with other settings: choose \
                    another --out";
        return Err(Error::file(path, what));
    }
    Ok(found)
}

fn draw(seed: u64, pass: u32) -> TestDraw {
    let epoch = TestDraw::FINAL;
    TestDraw { seed, epoch, pass }
}

/// The plan that shuffles in test. Poolings stay, so that the weights fit.
fn variant_plan(
    base: &Plan,
    architecture: &Architecture,
    cut: u32,
    regime: Regime,
    mode: Mode,
) -> Plan {
    let first = architecture.cuts().first().copied().unwrap_or(cut);
    let (layers, cut, last) = match regime {
        Regime::Only => (Layers::Only, cut, None),
        Regime::Last => (Layers::From, cut, None),
        Regime::First => (Layers::Band, first, Some(cut)),
    };
    Plan {
        remove: Removal::Shuffle,
        cut,
        last,
        layers,
        mode,
        when: When::Test,
        pool: Some(TreatedPool::Max),
        ..base.clone()
    }
}

/// Everything that stays the same from layer to layer.
struct Measure {
    architecture: Architecture,
    base: Plan,
    train: Loader,
    test: Loader,
    seed: u64,
    limit: usize,
    request: Request,
    baseline: f64,
}

/// A network to be measured, and what it found so far.
struct Variant {
    row: Row,
    network: Network,
    right: Vec<u64>,
}

impl Measure {
    /// All measurements of one layer: each batch runs up to the layer once, and from there once for
    /// every mode and draw.
    fn layer(
        &self,
        network: &mut Network,
        cut: u32,
        stop: &AtomicBool,
    ) -> Result<Option<(Vec<Row>, Vec<Skipped>)>> {
        let (mut variants, skipped) = self.variants(network, cut)?;
        let name = cut.to_string();
        let start = network
            .stages
            .iter()
            .position(|s| s.name == name)
            .unwrap_or(0);
        let mut seen = 0u64;
        for (index, batch) in self.test.epoch(0, 0).take(self.limit).enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let Batch { images, labels, .. } = batch?;
            let images = images.cast(network.store.dtype())?;
            let images = Var::constant(images.to_device(network.store.device())?);
            let moment = draw(self.seed, 0).moment(index);
            let before = network
                .forward_stages(
                    &mut Tape::no_grad(),
                    Pass::Test,
                    moment,
                    0..start,
                    images.clone(),
                )?
                .logits;
            for variant in &mut variants {
                let (start, x) = match variant.row.regime {
                    Regime::First => (0, &images),
                    _ => (start, &before),
                };
                let end = variant.network.stages.len();
                for (pass, right) in (0..).zip(&mut variant.right) {
                    let moment = draw(self.seed, pass).moment(index);
                    let found = variant.network.forward_stages(
                        &mut Tape::no_grad(),
                        Pass::Test,
                        moment,
                        start..end,
                        x.clone(),
                    )?;
                    *right += right_answers(found.logits.value(), &labels)?;
                }
            }
            seen += labels.len() as u64;
        }
        let finish = |variant: Variant| {
            let accuracies: Vec<f64> = variant
                .right
                .iter()
                .map(|&right| right as f64 / seen as f64)
                .collect();
            let (mean, std) = mean_and_std(&accuracies);
            let count = accuracies.len();
            Row {
                mean,
                ci95: t95(count.saturating_sub(1)) * std / (count as f64).sqrt(),
                change: mean - self.baseline,
                accuracies,
                ..variant.row
            }
        };
        Ok(Some((variants.into_iter().map(finish).collect(), skipped)))
    }

    fn variants(&self, network: &Network, cut: u32) -> Result<(Vec<Variant>, Vec<Skipped>)> {
        let (mut variants, mut skipped) = (Vec::new(), Vec::new());
        let map = map_at(network, cut)?;
        for &regime in &self.request.regimes {
            for &mode in &self.request.modes {
                let mut skip = |why: String| {
                    skipped.push(Skipped {
                        cut,
                        regime,
                        mode,
                        why,
                    });
                };
                if let Some(why) = no_use(regime, mode, map) {
                    skip(why.to_owned());
                    continue;
                }
                let plan = variant_plan(&self.base, &self.architecture, cut, regime, mode);
                let shuffled = match plan.apply(&self.architecture) {
                    Err(Error::Setting { name, why, .. }) if name == "mode" => {
                        skip(why);
                        continue;
                    }
                    other => other?,
                };
                let row = Row {
                    cut,
                    regime,
                    mode,
                    recalibrated: false,
                    map,
                    bits: shuffled.summary()?.bits(),
                    accuracies: Vec::new(),
                    mean: 0.0,
                    ci95: 0.0,
                    change: 0.0,
                };
                let with_weights = |mut shuffled: Network| -> Result<Network> {
                    shuffled.store.share(&network.store)?;
                    Ok(shuffled)
                };
                let right = vec![0; self.request.draws as usize];
                if self.request.recalibrate > 0 {
                    let both = Plan {
                        when: When::Both,
                        ..plan
                    };
                    let network = with_weights(both.apply(&self.architecture)?)?;
                    variants.push(Variant {
                        row: Row {
                            recalibrated: true,
                            ..row.clone()
                        },
                        network: self.recalibrated(network)?,
                        right: right.clone(),
                    });
                }
                variants.push(Variant {
                    row,
                    network: with_weights(shuffled)?,
                    right,
                });
            }
        }
        Ok((variants, skipped))
    }

    /// The network with the statistics of training batches under its shuffles: after B batches the old
    /// ones have a weight of 0.9 to the power B.
    fn recalibrated(&self, mut network: Network) -> Result<Network> {
        network.store.unshare_buffers()?;
        let batches = self.train.epoch(0, 0).take(self.request.recalibrate);
        for (index, batch) in batches.enumerate() {
            let moment = Moment::new(self.seed, draw(self.seed, 255).moment(index).at);
            network.forward(&mut Tape::no_grad(), Pass::Train, moment, batch?.images)?;
        }
        Ok(network)
    }
}

/// Extents of the map that a shuffle at the layer meets, which in a residual block is its input.
fn map_at(network: &Network, cut: u32) -> Result<[usize; 3]> {
    let rows = network.summary()?.rows;
    let row = rows.iter().find(|row| row.name == cut.to_string());
    match row.map(|row| row.input.dims()) {
        Some(&[h, w, c]) => Ok([h, w, c]),
        _ => Err(Error::setting("cuts", cut, "the layer sees no map")),
    }
}

/// Why shuffling one map in that way would say nothing.
fn no_use(regime: Regime, mode: Mode, [h, w, c]: [usize; 3]) -> Option<&'static str> {
    if mode.log2_permutations(Map { h, w, c }) == 0.0 {
        return Some("there is only one arrangement");
    }
    match mode {
        Mode::Local(tile) if tile >= h.max(w) && regime == Regime::Only => {
            Some("one tile covers the map: the same as shuffle")
        }
        _ => None,
    }
}

/// The 97.5 % quantile of Student's t.
fn t95(freedom: usize) -> f64 {
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
fn csv(profile: &Profile) -> String {
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
