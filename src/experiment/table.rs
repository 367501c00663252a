//! Finished runs, gathered into curves over the cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::run::{RunSummary, read_history, read_settings, read_summary};
use super::settings::Settings;
use crate::data;
use crate::train::{EpochRecord, mean_and_std};
use crate::{Error, Result};

/// A finished run, read back from its folder.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its folder.
    pub folder: PathBuf,
    /// Its complete settings.
    pub settings: Settings,
    /// What it found.
    pub summary: RunSummary,
    /// Its epochs.
    pub history: Vec<EpochRecord>,
}

impl Finished {
    /// The run in `folder`, or `None` if there is none that is finished.
    ///
    /// # Errors
    /// [`Error::File`] names the file of the folder that cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let Some(summary) = read_summary(folder)? else {
            return Ok(None);
        };
        Ok(Some(Finished {
            folder: folder.to_owned(),
            settings: read_settings(&folder.join("config.toml"))?,
            summary,
            history: read_history(folder)?,
        }))
    }

    /// Every finished run in `folder` and the folders below it, in the order of their names.
    ///
    /// # Errors
    /// [`Error::File`] when there is none; and what [`Finished::read`] says.
    pub fn below(folder: &Path) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        gather(folder, &mut found)?;
        if found.is_empty() {
            let what = "no finished run here (a run folder holds summary.json)";
            return Err(Error::file(folder, what));
        }
        Ok(found)
    }
}

fn gather(folder: &Path, found: &mut Vec<Finished>) -> Result<()> {
    if let Some(run) = Finished::read(folder)? {
        found.push(run);
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder, "list"))?;
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    folders.iter().try_for_each(|f| gather(f, found))
}

/// Runs that differ in the cut and the seed alone: one curve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// Network.
    pub model: String,
    /// Data set.
    pub data: String,
    /// What was taken away: none, shuffle, gap-fc, truncate, conv1x1.
    pub remove: String,
    /// What was done, in words: `shuffle`, `rand shuffle, in training only`, `gap-fc`.
    pub treatment: String,
    /// The best a bag of features can do on this data set, where that is known.
    pub ceiling: Option<f64>,
    /// Accuracy of guessing.
    pub chance: f64,
    /// From the untouched network to the most treated one.
    pub points: Vec<Point>,
}

/// One cut, over its seeds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// First treated layer.
    pub cut: u32,
    /// Treated share of the layers.
    pub replaced_share: f64,
    /// log₂ of the number of arrangements made equal, summed over the treated layers.
    pub bits_destroyed: f64,
    /// Trained numbers.
    pub parameters: u64,
    /// Multiply-adds of one image.
    pub macs: u64,
    /// Mean over the seeds of the test accuracy: ten passes of the best epoch's weights, as the paper
    /// tests.
    pub mean: f64,
    /// Sample standard deviation over the seeds; 0 for one seed.
    pub std: f64,
    /// Mean over the seeds of the accuracy after the last epoch, which nothing was selected on.
    pub mean_last: f64,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// The runs.
    pub runs: Vec<RunSummary>,
}

/// What the runs of a curve have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    data: String,
    model: String,
    /// Hash of the settings that are about training and not about what is taken away.
    recipe: String,
    remove: String,
    treatment: String,
}

impl Identity {
    fn of(run: &Finished) -> Result<Self> {
        let (summary, settings) = (&run.summary, &run.settings);
        // GAP+FC networks have biases, so their untouched form is a network of its own.
        let untouched = summary.replaced_share == 0.0 && summary.remove != "gap-fc";
        let recipe = Settings {
            device: None,
            remove: None,
            cut: None,
            last: None,
            layers: None,
            mode: None,
            test_mode: None,
            when: None,
            scope: None,
            derange: None,
            pool: None,
            seed: None,
            ..settings.clone()
        };
        Ok(Identity {
            data: summary.data.clone(),
            model: summary.model.clone(),
            recipe: recipe.fingerprint()?,
            remove: if untouched {
                "none".into()
            } else {
                summary.remove.clone()
            },
            treatment: if untouched {
                "untouched".into()
            } else {
                treatment(settings)
            },
        })
    }

    /// Whether a network of this kind, treated from no layer on, is the untouched network `other`.
    fn starts_at(&self, other: &Identity) -> bool {
        let same = self.data == other.data && self.model == other.model;
        same && self.recipe == other.recipe && !["none", "gap-fc"].contains(&self.remove.as_str())
    }
}

/// What is done to a network, in words; what is usual goes without saying.
fn treatment(settings: &Settings) -> String {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let (remove, mode) = (of(&settings.remove), of(&settings.mode));
    let mut words = match (remove.as_str(), mode.as_str()) {
        ("shuffle", "shuffle") => vec!["shuffle".to_owned()],
        ("shuffle", mode) => vec![format!("{mode} shuffle")],
        _ => vec![remove.clone()],
    };
    match of(&settings.layers).as_str() {
        "only" => words.push("one layer".into()),
        "band" => words.push("band".into()),
        _ => {}
    }
    if remove == "shuffle" {
        match of(&settings.when).as_str() {
            "train" => words.push("in training only".into()),
            "test" => words.push("in test only".into()),
            "neither" => words.push("switched off".into()),
            _ => {}
        }
        if let Some(mode) = &settings.test_mode {
            words.push(format!("{mode} in test"));
        }
        if let Some(scope) = settings.scope.as_ref().filter(|s| *s != "per-batch") {
            words.push(scope.clone());
        }
        if settings.derange == Some(true) {
            words.push("deranged".into());
        }
    }
    if let Some(pool) = &settings.pool {
        words.push(format!("pool {pool}"));
    }
    if let Some(dtype) = settings.dtype.as_ref().filter(|dtype| *dtype != "f32") {
        words.push(format!("in {dtype}"));
    }
    words.join(", ")
}

impl Point {
    /// Mean ± standard deviation over seeds in per cent; without the latter for a single seed.
    pub fn accuracy(&self) -> String {
        let (mean, std) = (100.0 * self.mean, 100.0 * self.std);
        match self.seeds.len() {
            1 => format!("{mean:.2} %"),
            _ => format!("{mean:.2} ± {std:.2} %"),
        }
    }
}

impl Curve {
    /// The curves that `runs` make. An untouched network is the first point of every curve that
    /// starts from it, and a curve of its own where there is none.
    pub fn of(runs: &[Finished]) -> Result<Vec<Curve>> {
        let mut groups: BTreeMap<Identity, Vec<&Finished>> = BTreeMap::new();
        for run in runs {
            groups.entry(Identity::of(run)?).or_default().push(run);
        }
        let untouched = groups.extract_if(.., |identity, _| identity.remove == "none");
        for (baseline, runs) in untouched.collect::<Vec<_>>() {
            let mut starts = groups
                .iter_mut()
                .filter(|(i, _)| i.starts_at(&baseline))
                .peekable();
            if starts.peek().is_some() {
                starts.for_each(|(_, group)| group.extend(&runs));
            } else {
                groups.insert(baseline, runs);
            }
        }
        groups
            .into_iter()
            .map(|(identity, runs)| curve(identity, &runs))
            .collect()
    }

    /// The point of the untouched network, if it was run.
    pub fn baseline(&self) -> Option<&Point> {
        self.points.iter().find(|p| p.replaced_share == 0.0)
    }

    /// What the curve says, in a sentence or two.
    pub fn verdict(&self) -> String {
        let percent = |x: f64| format!("{:.1} %", 100.0 * x);
        let (Some(base), Some(most)) = (self.baseline(), self.points.last()) else {
            return "The untouched network was not run: nothing to compare with.".into();
        };
        if most.replaced_share == 0.0 {
            return format!("The untouched network reaches {}.", percent(base.mean));
        }
        let near = |p: &&Point| p.mean >= base.mean - 0.01;
        let kept = self.points.iter().take_while(near).last();
        let mut text = format!(
            "Untouched {}. Within one point of that up to {} of the layers; {} with {}.",
            percent(base.mean),
            percent(kept.map_or(0.0, |p| p.replaced_share)),
            percent(most.mean),
            percent(most.replaced_share)
        );
        if let Some(ceiling) = self.ceiling {
            text += &format!(" A bag of features reaches at most {}.", percent(ceiling));
        }
        text
    }
}

fn curve(identity: Identity, runs: &[&Finished]) -> Result<Curve> {
    let Identity {
        data,
        model,
        remove,
        treatment,
        ..
    } = identity;
    let options = runs[0].settings.open_options(None);
    let (_, classes) = data::describe(&data, &options)?;
    // The most treated last; between equal shares (single layers), the later cut first.
    let mut order: Vec<&Finished> = runs.to_vec();
    order.sort_by(|a, b| {
        let of = |r: &Finished| (r.summary.replaced_share, r.summary.bits_destroyed);
        of(a)
            .partial_cmp(&of(b))
            .unwrap_or(std::cmp::Ordering::Equal)
            .then(b.summary.cut.cmp(&a.summary.cut))
            .then(a.summary.seed.cmp(&b.summary.seed))
    });
    let mut points: Vec<Point> = Vec::new();
    for same in order.chunk_by(|a, b| a.summary.cut == b.summary.cut) {
        let of = |get: fn(&RunSummary) -> f64| -> Vec<f64> {
            same.iter().map(|r| get(&r.summary)).collect()
        };
        let (mean, std) = mean_and_std(&of(|s| s.test_accuracy_mean10));
        let first = &same[0].summary;
        points.push(Point {
            cut: first.cut,
            replaced_share: first.replaced_share,
            bits_destroyed: first.bits_destroyed,
            parameters: first.parameters,
            macs: first.macs,
            mean,
            std,
            mean_last: mean_and_std(&of(|s| s.test_accuracy_last)).0,
            seeds: same.iter().map(|r| r.summary.seed).collect(),
            runs: same.iter().map(|r| r.summary.clone()).collect(),
        });
    }
    Ok(Curve {
        ceiling: data::ceiling(&data, &options),
        chance: 1.0 / classes as f64,
        model,
        data,
        remove,
        treatment,
        points,
    })
}

/// The curves as a table for a terminal.
pub fn text(curves: &[Curve]) -> String {
    let mut lines = Vec::new();
    for curve in curves {
        lines.push(format!(
            "{} on {}, {}",
            curve.model, curve.data, curve.treatment
        ));
        lines.push(format!(
            "{:>6}  {:>7}  {:>9}  {:>10}  {:>8}  {:>16}  {:>7}  {:>5}",
            "cut", "layers", "bits", "parameters", "MMAC", "test accuracy", "change", "seeds"
        ));
        let base = curve.baseline().map(|p| p.mean);
        for p in &curve.points {
            let change = base.filter(|_| p.replaced_share > 0.0);
            lines.push(format!(
                "{:>6}  {:>5.1} %  {:>9.1}  {:>10}  {:>8.1}  {:>16}  {:>7}  {:>5}",
                p.cut,
                100.0 * p.replaced_share,
                p.bits_destroyed,
                p.parameters,
                p.macs as f64 / 1e6,
                p.accuracy(),
                change.map_or(String::new(), |b| format!("{:+.2}", 100.0 * (p.mean - b))),
                p.seeds.len(),
            ));
        }
        lines.push(format!("{}\n", curve.verdict()));
    }
    lines.join("\n")
}
