//! `whatwhere sweep`

use std::path::PathBuf;

use clap::Args;

use super::progress::SweepReport;
use super::{STOP, Ui, say};
use crate::experiment::{Grid, Settings, read_settings, table};
use crate::{Error, Result};

/// Train for many cuts, seeds and shuffles, and draw the curves.
#[derive(Args)]
pub struct SweepArgs {
    #[command(flatten)]
    settings: Settings,
    /// First treated layers, e.g. 99,53,43,33 (default: none, and every layer)
    #[arg(long, value_delimiter = ',', value_name = "K,...")]
    cuts: Vec<u32>,
    /// Seeds, e.g. 0,1,2
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    seeds: Vec<u64>,
    /// What shuffles move, e.g. shuffle,rand,'local(4)'
    #[arg(long, value_delimiter = ',', value_name = "MODE,...")]
    modes: Vec<String>,
    /// What is taken away, e.g. shuffle,gap-fc
    #[arg(long, value_delimiter = ',', value_name = "WHAT,...")]
    removals: Vec<String>,
    /// Data sets, e.g. texture,layout (the default)
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    datasets: Vec<String>,
    /// TOML file with settings of all runs; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the sweep; finished runs in it are kept, broken ones go on
    #[arg(long, value_name = "DIR", default_value = "runs/sweep")]
    out: PathBuf,
    /// List the runs and stop
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: SweepArgs, ui: &Ui) -> Result<()> {
    let given = args.settings;
    if let Some(cut) = given.cut {
        let why = "a sweep takes several: --cuts 99,43,33";
        return Err(Error::setting("cut", cut, why));
    }
    let base = match &args.config {
        Some(file) => given.or(read_settings(file)?),
        None => given,
    };
    let grid = Grid {
        base,
        datasets: args.datasets,
        removals: args.removals,
        modes: args.modes,
        cuts: args.cuts,
        seeds: args.seeds,
    };
    if args.dry_run {
        for combination in grid.combinations()? {
            say(&combination.name)?;
        }
        return Ok(());
    }
    let mut report = SweepReport::new(ui);
    match grid.run(&args.out, &mut report, &STOP)? {
        Some(result) => {
            say(table::text(&result.curves))?;
            say(args.out.join("report.html").display())
        }
        None => Err(Error::Interrupted {
            how_to_resume: "every step so far is saved. Give the same command again to go on"
                .into(),
        }),
    }
}
