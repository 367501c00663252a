//! `whatwhere profile`

use std::path::PathBuf;

use clap::Args;

use super::eval::tested;
use super::{STOP, Ui, note, say};
use crate::experiment::Settings;
use crate::experiment::profile::{Request, profile};
use crate::ops::spatial_shuffle::Mode;
use crate::{Error, Result};

/// Measure how much each layer of a trained network depends on where things are, without training.
#[derive(Args)]
pub struct ProfileArgs {
    /// Folder of the run; left out, --pretrained is measured
    run: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Weights of the run: best, last, or a safetensors file
    #[arg(long, default_value = "best")]
    weights: String,
    /// Layers, e.g. 53,43,33 (default: every one)
    #[arg(long, value_delimiter = ',', value_name = "K,...")]
    cuts: Vec<u32>,
    /// Which layers are shuffled with each: only it, it and the last, it and the first
    #[arg(long, value_delimiter = ',', value_name = "only,last,first")]
    regimes: Vec<String>,
    /// What shuffles move, e.g. shuffle,rand,'local(4)' (default: shuffle, rand, tiles of 2 to 16,
    /// rows, columns, channels)
    #[arg(long, value_delimiter = ',', value_name = "MODE,...")]
    modes: Vec<String>,
    /// Passes over the test set, each with fresh permutations
    #[arg(long, default_value_t = 10)]
    draws: u32,
    /// Measure a second time with the normalisations' statistics estimated anew from so many training
    /// batches
    #[arg(long, default_value_t = 0, value_name = "BATCHES")]
    recalibrate: usize,
    /// Folder of the profile; finished layers in it are kept
    #[arg(long, value_name = "DIR", default_value = "runs/profile")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: ProfileArgs, ui: &Ui) -> Result<()> {
    let default = Request::default();
    let modes = args.modes.iter().map(|m| m.parse::<Mode>());
    let regimes = args.regimes.iter().map(|r| r.parse());
    let request = Request {
        cuts: args.cuts,
        regimes: match args.regimes.is_empty() {
            true => default.regimes,
            false => regimes.collect::<Result<_>>()?,
        },
        modes: match args.modes.is_empty() {
            true => default.modes,
            false => modes.collect::<Result<_>>()?,
        },
        draws: args.draws,
        recalibrate: args.recalibrate,
    };
    let (run, weights) = tested(args.run.as_deref(), args.settings, &args.weights)?;
    let mut told = |found: &crate::experiment::profile::Profile, cut: u32| {
        if ui.quiet {
            return;
        }
        for row in found.rows.iter().filter(|row| row.cut == cut) {
            note(format_args!(
                "layer {cut} · {} · {}{} · {:.2} ± {:.2} % ({:+.2})",
                row.regime,
                row.mode,
                if row.recalibrated {
                    ", statistics anew"
                } else {
                    ""
                },
                100.0 * row.mean,
                100.0 * row.ci95,
                100.0 * row.change
            ));
        }
    };
    match profile(run, &weights, request, &args.out, &STOP, &mut told)? {
        Some(found) => {
            say(format_args!(
                "untouched {:.2} %; {} measurements of {} layers",
                100.0 * found.baseline,
                found.rows.len(),
                found.done.len()
            ))?;
            say(args.out.join("profile.html").display())
        }
        None => Err(Error::Interrupted {
            how_to_resume: "every finished layer is saved. Give the same command again to go on"
                .into(),
        }),
    }
}
