//! Sweeps: the same training for many cuts, seeds, shuffles and data sets.
//!
//! A sweep's folder holds one run folder per combination under `runs/`, and `sweep.json`, `sweep.csv`,
//! the two curves as SVG and `report.html` over all of them, written anew after every run. What is finished
//! is not trained again; what was broken off goes on from its checkpoint.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::environment::{command_line, processor};
use super::run::{Lock, Run, RunSummary, write_json};
use super::settings::Settings;
use super::table::{Curve, Finished};
use super::{VERSION, plot, report};
use crate::data;
use crate::models::Architecture;
use crate::spatial::{BASELINE, is_baseline};
use crate::train::{Observer, write_atomically};
use crate::{Error, Result};

/// What a sweep goes over. An empty list means the default.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// Settings of every run.
    pub base: Settings,
    /// Data sets; by default that of `base`, else `texture` and `layout`.
    pub datasets: Vec<String>,
    /// What is taken away; by default that of `base`, else the shuffle.
    pub removals: Vec<String>,
    /// What a shuffle moves; by default that of `base`, else the paper's.
    pub modes: Vec<String>,
    /// First treated layers; by default none and every layer of the network.
    pub cuts: Vec<u32>,
    /// Seeds; by default that of `base`, else 0.
    pub seeds: Vec<u64>,
}

/// One combination of a sweep.
#[derive(Clone, Debug)]
pub struct Combination {
    /// Its folder's name.
    pub name: String,
    /// Its complete settings.
    pub settings: Settings,
}

/// Somebody who is told how a sweep goes.
pub trait SweepObserver: Observer {
    /// Before run `index` of `total`.
    fn run_begins(&mut self, index: usize, total: usize, combination: &Combination);
    /// After it; `trained` is false where it had been finished before.
    fn run_ends(&mut self, combination: &Combination, summary: &RunSummary, trained: bool);
}

/// What a sweep found; `sweep.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SweepResult {
    /// Layout version of this file.
    pub version: u32,
    /// The command that made it.
    pub command: String,
    /// Commit of the program, where known.
    pub commit: String,
    /// Processor of the machine that wrote it.
    pub processor: String,
    /// Runs that are finished.
    pub finished: usize,
    /// Runs in all.
    pub total: usize,
    /// Accuracy over the cut.
    pub curves: Vec<Curve>,
}

impl Grid {
    /// Every combination, checked; those of one data set follow each other, untouched networks first.
    ///
    /// # Errors
    /// [`Error::Setting`] names what cannot be used, before anything is trained.
    pub fn combinations(&self) -> Result<Vec<Combination>> {
        let mut all: Vec<Combination> = Vec::new();
        let base = &self.base;
        let datasets = or_default(&self.datasets, base.data.as_ref(), &["texture", "layout"]);
        let removals = or_default(&self.removals, base.remove.as_ref(), &["shuffle"]);
        let modes = or_default(&self.modes, base.mode.as_ref(), &["shuffle"]);
        let seeds = match self.seeds.is_empty() {
            true => vec![base.seed.unwrap_or(0)],
            false => self.seeds.clone(),
        };
        for name in &datasets {
            let cuts = self.cuts_for(name)?;
            for ((removal, mode), &cut) in removals
                .iter()
                .flat_map(|r| modes.iter().map(move |m| (r, m)))
                .flat_map(|pair| cuts.iter().map(move |cut| (pair, cut)))
            {
                // Where nothing is treated, nothing depends on how it would be.
                let untouched = cut == BASELINE && removal != "gap-fc";
                let shuffles = removal == "shuffle" && !untouched;
                for &seed in &seeds {
                    let own = Settings {
                        data: Some(name.clone()),
                        cut: Some(cut),
                        remove: Some(if untouched { "none" } else { removal }.to_owned()),
                        mode: Some(if shuffles { mode } else { "shuffle" }.to_owned()),
                        test_mode: base.test_mode.clone().filter(|_| shuffles),
                        seed: Some(seed),
                        ..base.clone()
                    };
                    let combination = combination(own.or(quick(name)))?;
                    if !all.iter().any(|c| c.name == combination.name) {
                        all.push(combination);
                    }
                }
            }
        }
        Ok(all)
    }

    fn cuts_for(&self, data: &str) -> Result<Vec<u32>> {
        if !self.cuts.is_empty() {
            let one_name = |&cut: &u32| if is_baseline(cut) { BASELINE } else { cut };
            return Ok(self.cuts.iter().map(one_name).collect());
        }
        let settings = Settings {
            data: Some(data.to_owned()),
            ..self.base.clone()
        };
        let settings = settings.or(quick(data)).complete();
        let (image, classes) = data::describe(data, &settings.open_options(None))?;
        let model = settings.model.unwrap_or_default();
        let width = settings.width.unwrap_or(1.0);
        let architecture = Architecture::by_name(&model, image, classes, width)?;
        let mut cuts = architecture.cuts();
        cuts.push(BASELINE);
        cuts.reverse();
        Ok(cuts)
    }

    /// Trains what is not finished yet. `None` when asked to stop before the end.
    ///
    /// # Errors
    /// A combination that cannot be run, a folder in use, a folder with runs of other settings.
    pub fn run(
        &self,
        folder: &Path,
        observer: &mut dyn SweepObserver,
        stop: &AtomicBool,
    ) -> Result<Option<SweepResult>> {
        let all = self.combinations()?;
        // Data that cannot be used is said before anything is made.
        for same in all.chunk_by(|a, b| a.settings.data == b.settings.data) {
            Run::new(same[0].settings.clone())?.loaders()?;
        }
        let _lock = Lock::take(folder)?;
        let mut finished = Vec::new();
        for (index, combination) in all.iter().enumerate() {
            let place = folder.join("runs").join(&combination.name);
            observer.run_begins(index, all.len(), combination);
            let trained = match Finished::read(&place)? {
                Some(done)
                    if done.settings.fingerprint()? == combination.settings.fingerprint()? =>
                {
                    false
                }
                Some(_) => {
                    let what = "this folder holds a finished run with other settings: choose another \
                                --out, or delete it";
                    return Err(Error::file(&place, what));
                }
                None => {
                    let run = Run::new(combination.settings.clone())?;
                    if run.train(&place, true, &mut *observer, stop)?.is_none() {
                        return Ok(None);
                    }
                    true
                }
            };
            let done = Finished::read(&place)?
                .ok_or_else(|| Error::file(&place, "the run just finished is gone"))?;
            observer.run_ends(combination, &done.summary, trained);
            finished.push(done);
            if trained || index + 1 == all.len() {
                write(folder, &finished, all.len())?;
            }
        }
        Ok(Some(SweepResult::of(&finished, all.len())?))
    }
}

impl SweepResult {
    fn of(finished: &[Finished], total: usize) -> Result<Self> {
        Ok(SweepResult {
            version: VERSION,
            command: command_line(),
            commit: super::environment::COMMIT.to_owned(),
            processor: processor(),
            finished: finished.len(),
            total,
            curves: Curve::of(finished)?,
        })
    }
}

/// A short recipe for generated data, so that a sweep over it takes a minute or two.
fn quick(data: &str) -> Settings {
    if data::ceiling(data, &Default::default()).is_none() {
        return Settings::default();
    }
    Settings {
        train_images: Some(2048),
        test_images: Some(512),
        epochs: Some(6),
        ..Settings::default()
    }
}

fn or_default(given: &[String], base: Option<&String>, default: &[&str]) -> Vec<String> {
    match (given.is_empty(), base) {
        (false, _) => given.to_vec(),
        (true, Some(one)) => vec![one.clone()],
        (true, None) => default.iter().map(|name| name.to_string()).collect(),
    }
}

/// Checks the settings and names them by what a sweep varies.
fn combination(settings: Settings) -> Result<Combination> {
    let settings = Run::new(settings)?.settings().clone();
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    // The data may be a path, which makes no folder's name.
    let data = of(&settings.data).replace(['/', '\\', ':'], "-");
    let mut name = format!("{data}-{}", of(&settings.remove));
    if of(&settings.mode) != "shuffle" {
        // A tile's parentheses would have to be quoted in every shell.
        let _ = write!(name, "-{}", of(&settings.mode).replace(['(', ')'], ""));
    }
    let (cut, seed) = (settings.cut.unwrap_or(BASELINE), settings.seed.unwrap_or(0));
    let _ = write!(name, "-cut{cut}-seed{seed}");
    Ok(Combination { name, settings })
}

fn write(folder: &Path, finished: &[Finished], total: usize) -> Result<()> {
    let result = SweepResult::of(finished, total)?;
    write_json(&folder.join("sweep.json"), &result)?;
    write_atomically(&folder.join("sweep.csv"), csv(&result.curves).as_bytes())?;
    for (name, svg) in [
        (
            "accuracy-over-layers.svg",
            plot::accuracy_over_share(&result.curves)?,
        ),
        (
            "accuracy-over-bits.svg",
            plot::accuracy_over_bits(&result.curves)?,
        ),
    ] {
        write_atomically(&folder.join(name), svg.as_bytes())?;
    }
    let page = report::html(finished, &result.command)?;
    write_atomically(&folder.join("report.html"), page.as_bytes())
}

/// A row for every run.
fn csv(curves: &[Curve]) -> String {
    let mut text = String::from(
        "model,data,treatment,cut,replaced_share,bits_destroyed,seed,parameters,macs,\
         test_accuracy_last,test_accuracy_best,test_accuracy_mean10,test_accuracy_std10\n",
    );
    for curve in curves {
        for run in curve.points.iter().flat_map(|p| &p.runs) {
            let _ = writeln!(
                text,
                "{},{},\"{}\",{},{},{},{},{},{},{},{},{},{}",
                curve.model,
                curve.data,
                curve.treatment,
                run.cut,
                run.replaced_share,
                run.bits_destroyed,
                run.seed,
                run.parameters,
                run.macs,
                run.test_accuracy_last,
                run.test_accuracy_best,
                run.test_accuracy_mean10,
                run.test_accuracy_std10
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(grid: &Grid) -> Vec<String> {
        let all = grid.combinations().unwrap();
        all.into_iter().map(|c| c.name).collect()
    }

    #[test]
    fn the_default_is_every_cut_of_a_small_network_on_two_generated_sets() {
        let names = names(&Grid::default());
        assert_eq!(names.len(), 14);
        assert_eq!(names[0], "texture-none-cut99-seed0");
        assert_eq!(names[1], "texture-shuffle-cut32-seed0");
        assert_eq!(names[13], "layout-shuffle-cut11-seed0");
    }

    #[test]
    fn the_untouched_network_is_trained_once_per_seed_and_bias() {
        let text = |words: &[&str]| words.iter().map(|w| w.to_string()).collect();
        let grid = Grid {
            datasets: text(&["layout"]),
            removals: text(&["shuffle", "conv1x1", "gap-fc"]),
            modes: text(&["shuffle", "local(4)"]),
            cuts: vec![99, 21],
            seeds: vec![0, 1],
            ..Grid::default()
        };
        let names = names(&grid);
        let untouched = names.iter().filter(|n| n.contains("cut99")).count();
        // Two seeds with biases (GAP+FC), two without.
        assert_eq!(untouched, 4, "{names:?}");
        // Shuffled in two modes, the others once each.
        assert_eq!(names.len(), 4 + 2 * (2 + 1 + 1));
        assert!(names.contains(&"layout-shuffle-local4-cut21-seed1".to_owned()));
    }

    #[test]
    fn what_cannot_be_run_is_said_before_anything_is() {
        let grid = Grid {
            cuts: vec![99, 43],
            ..Grid::default()
        };
        let error = grid.combinations().unwrap_err().to_string();
        assert!(error.contains("cut = 43"), "{error}");
    }
}
