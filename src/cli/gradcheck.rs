//! `whatwhere gradcheck`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use std::io::IsTerminal;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Ui, note, say};
use crate::check::{self, CaseName, Row, Suite};
use crate::device::Device;
use crate::experiment::{COMMIT, command_line, processor};
use crate::tensor::DType;
use crate::train::write_atomically;
use crate::{Error, Result};

/// Exit codes beside 0: something disagrees; nothing disagrees, but something could not be seen.
const MISMATCH: u8 = 1;
const UNCHECKED: u8 = 3;

/// Seconds between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Check gradients and kernels of every operation, on every device and in every dtype
#[derive(Args)]
pub struct GradcheckArgs {
    /// This operation or network only
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// On this device; may be given several times (default: cpu, and the emulator where it is built in)
    #[arg(long)]
    device: Vec<Device>,
    /// In this dtype only: f64 (gradients, on the CPU), f32, f16, bf16; may be given several times
    #[arg(long, value_parser = dtype)]
    dtype: Vec<DType>,
    /// Random cases for each operation, beside those it declares (default: 100 on the CPU, 6 elsewhere)
    #[arg(long, value_name = "N")]
    cases: Option<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// One case only, by the name a report gave it: declared:2, drawn:1.0.3
    #[arg(long, value_name = "NAME", requires = "op")]
    case: Option<CaseName>,
    /// Write the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn dtype(name: &str) -> std::result::Result<DType, String> {
    let known = [DType::F64, DType::F32, DType::F16, DType::BF16];
    let found = known.into_iter().find(|d| d.to_string() == name);
    found.ok_or_else(|| "known: f64, f32, f16, bf16".to_owned())
}

/// What `--json` writes.
#[derive(Serialize)]
struct Table<'a> {
    command: String,
    version: &'static str,
    commit: &'static str,
    processor: String,
    threads: usize,
    seconds: f64,
    rows: &'a [Row],
}

/// Runs the command; the exit code is the verdict.
pub fn run(args: GradcheckArgs, ui: &Ui) -> Result<ExitCode> {
    let suite = Suite {
        op: args.op,
        devices: args.device,
        dtypes: args.dtype,
        cases: args.cases,
        seed: args.seed,
        case: args.case,
    };
    let begin = Instant::now();
    let mut progress = Progress::new(ui);
    let rows = suite.run(&mut |name, share| progress.show(name, share))?;
    progress.finish();
    let seconds = begin.elapsed().as_secs_f64();
    say(check::text(&rows).trim_end())?;
    let (processor, threads) = (processor(), rayon::current_num_threads());
    if let Some(path) = args.json {
        let table = Table {
            command: command_line(),
            version: env!("CARGO_PKG_VERSION"),
            commit: COMMIT,
            processor: processor.clone(),
            threads,
            seconds,
            rows: &rows,
        };
        let text =
            serde_json::to_string_pretty(&table).map_err(|e| Error::file(&path, e.to_string()))?;
        write_atomically(&path, text.as_bytes())?;
    }
    if let Some(path) = args.html {
        let machine = format!("{threads} threads of {processor}, {seconds:.0} s, commit {COMMIT}");
        let page = check::html(&rows, &command_line(), &machine);
        write_atomically(&path, page.as_bytes())?;
    }
    let any = |verdict| rows.iter().any(|row| row.verdict() == verdict);
    Ok(match (any("mismatch"), any("unchecked")) {
        (true, _) => ExitCode::from(MISMATCH),
        (_, true) => ExitCode::from(UNCHECKED),
        _ => ExitCode::SUCCESS,
    })
}

/// A bar on a terminal, lines elsewhere, nothing if asked.
struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last: Instant,
}

impl Progress {
    fn new(ui: &Ui) -> Self {
        let bar = (!ui.quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(1000);
            let style = ProgressStyle::with_template("{bar:32} {percent:>3}% · {eta} left · {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress {
            bar,
            quiet: ui.quiet,
            last: Instant::now(),
        }
    }

    fn show(&mut self, name: &str, share: f64) {
        match &self.bar {
            Some(bar) => {
                bar.set_position((1000.0 * share) as u64);
                bar.set_message(name.to_owned());
            }
            None if !self.quiet && self.last.elapsed() >= LINE_EVERY => {
                self.last = Instant::now();
                note(format_args!("{:3.0} % · {name}", 100.0 * share));
            }
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
