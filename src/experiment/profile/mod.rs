//! How much each layer of a trained network depends on where things are, measured without training.
//!
//! In test alone, the input of one layer (or of all from it on, or of all up to it) is shuffled, with
//! many draws of the permutations, and the accuracy is taken again. A network that was never shuffled
//! in training also loses accuracy because its normalisations expect the statistics of unshuffled maps
//! (what a 3×3 filter sums over neighbours that no longer resemble each other varies less); estimating
//! these statistics anew under the shuffle tells that loss from the loss of information.

mod found;
mod page;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

pub use found::{Profile, Regime, Request, Row, Skipped};
use found::{csv, t95};

use super::environment;
use super::run::{Run, read_json, write_json};
use super::settings::Settings;
use crate::autograd::{Tape, Var};
use crate::data::{Batch, Loader};
use crate::models::{Architecture, Network, TreatedPool};
use crate::nn::{Mode as Pass, Moment};
use crate::ops::spatial_shuffle::{Map, Mode};
use crate::spatial::{Layers, Plan, Removal, When};
use crate::train::{TestDraw, evaluate, hex, mean_and_std, right_answers, write_atomically};
use crate::{Error, Result};

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
    let page = page::html(&found)?;
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
