//! `whatwhere train`

use std::path::{Path, PathBuf};

use clap::Args;

use super::progress::Report;
use super::{STOP, Ui, dry_run, say};
use crate::experiment::{Run, RunSummary, Settings, read_settings};
use crate::{Error, Result};

/// Train a network.
#[derive(Args)]
pub struct TrainArgs {
    #[command(flatten)]
    settings: Settings,
    /// TOML file with settings of the same names; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the run
    #[arg(long, value_name = "DIR", default_value = "runs/train")]
    out: PathBuf,
    /// Go on with the run in --out, with its own settings
    #[arg(long)]
    resume: bool,
    /// Print the network as a table and stop
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: TrainArgs, ui: &Ui) -> Result<()> {
    let there = args.out.join("config.toml");
    let base = match (&args.config, args.resume && there.exists()) {
        (Some(file), _) => read_settings(file)?,
        (None, true) => read_settings(&there)?,
        (None, false) => Settings::default(),
    };
    let run = Run::new(args.settings.or(base))?;
    if args.dry_run {
        return dry_run::print(&run);
    }
    let mut report = Report::new(ui);
    let summary = run.train(&args.out, args.resume, &mut report, &STOP)?;
    report.finish();
    match summary {
        Some(summary) => print_summary(&summary, &args.out),
        None => Err(Error::Interrupted {
            how_to_resume: how_to_resume(&args.out),
        }),
    }
}

fn how_to_resume(folder: &Path) -> String {
    format!(
        "every step so far is saved. Go on with: whatwhere train --resume --out {}",
        folder.display()
    )
}

fn print_summary(s: &RunSummary, folder: &Path) -> Result<()> {
    let percent = |share: f64| 100.0 * share;
    say(format_args!(
        "{} on {}, {} from {}: test accuracy {:.2} % after the last epoch, {:.2} % after the best ({}); \
         ten passes of the best {:.2} ± {:.2} %",
        s.model,
        s.data,
        s.remove,
        s.cut,
        percent(s.test_accuracy_last),
        percent(s.test_accuracy_best),
        s.best_epoch,
        percent(s.test_accuracy_mean10),
        percent(s.test_accuracy_std10)
    ))?;
    say(folder.join("summary.json").display())
}
