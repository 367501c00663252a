//! `whatwhere report`

use std::path::PathBuf;

use clap::Args;

use super::say;
use crate::Result;
use crate::experiment::report;
use crate::experiment::table::{self, Curve, Finished};
use crate::train::write_atomically;

/// Draw the finished runs of a folder: table, curves and one HTML page.
#[derive(Args)]
pub struct ReportArgs {
    /// A sweep's folder, a run's folder, or any folder with such folders in it
    folder: PathBuf,
    /// Page to write (default: report.html in the folder)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: ReportArgs) -> Result<()> {
    let runs = Finished::below(&args.folder)?;
    let page = report::html(&runs, &report::command_of(&args.folder, &runs)?)?;
    let out = args.out.unwrap_or_else(|| args.folder.join("report.html"));
    write_atomically(&out, page.as_bytes())?;
    say(table::text(&Curve::of(&runs)?))?;
    say(out.display())
}
