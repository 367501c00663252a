//! The command line: arguments in, library calls, results out.

mod data;
mod doctor;
mod dry_run;
mod eval;
mod gradcheck;
mod profile;
mod progress;
mod report;
mod sweep;
mod train;
mod weights;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand};

use crate::{Error, Result};

/// Set by Ctrl-C: the running step is finished, the state saved, and the program ends.
static STOP: AtomicBool = AtomicBool::new(false);

/// More threads than any processor has: their stacks alone would fill the memory.
const MOST_THREADS: usize = 1024;

/// Exit code of a run that was interrupted and can be resumed.
const INTERRUPTED: u8 = 130;

/// Where ConvNets look, and what they see: train networks while spatial information is taken away
#[derive(Parser)]
#[command(name = "whatwhere", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    ui: Ui,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network
    #[command(args_override_self = true)]
    Train(train::TrainArgs),
    /// Test a trained network, under its own or another shuffle
    #[command(args_override_self = true)]
    Eval(eval::EvalArgs),
    /// Measure how much each layer of a trained network depends on where things are
    #[command(args_override_self = true)]
    Profile(profile::ProfileArgs),
    /// Train for many cuts, seeds and shuffles, and draw the curves
    #[command(args_override_self = true)]
    Sweep(sweep::SweepArgs),
    /// Draw the finished runs of a folder: table, curves and one HTML page
    Report(report::ReportArgs),
    /// List, check and look at data sets
    Data(data::DataArgs),
    /// Look at a file of weights, and give it other names
    Weights(weights::WeightsArgs),
    /// Check gradients and kernels of every operation, on every device and in every dtype
    #[command(args_override_self = false)]
    Gradcheck(gradcheck::GradcheckArgs),
    /// Say what this machine has (driver, GPUs, libraries), what this build has, and what will be used
    Doctor(doctor::DoctorArgs),
}

/// What holds for every command.
#[derive(Args, Clone, Debug)]
pub struct Ui {
    /// Say only results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log messages to standard error: off, error, warn, info, debug, trace
    #[arg(long, global = true, default_value = "warn", value_name = "LEVEL")]
    pub log_level: tracing::level_filters::LevelFilter,
    /// Processor threads (default: one per core)
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error @ Error::Interrupted { .. }) => {
            note(error);
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            note(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.with_max_level(cli.ui.log_level).init();
    if let Some(threads) = cli.ui.threads {
        if !(1..=MOST_THREADS).contains(&threads) {
            let why = format!("expected 1 to {MOST_THREADS}");
            return Err(Error::setting("threads", threads, why));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build_global()
            .map_err(|e| Error::setting("threads", threads, e.to_string()))?;
    }
    // The first Ctrl-C asks the run to stop; a second one ends the program at once, which loses
    // nothing but the steps since the last checkpoint.
    let handler = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED as i32);
        }
    });
    handler.map_err(|e| Error::setting("signals", "Ctrl-C", e.to_string()))?;
    let done = match cli.command {
        Command::Gradcheck(args) => return gradcheck::run(args, &cli.ui),
        Command::Train(args) => train::run(args, &cli.ui),
        Command::Eval(args) => eval::run(args, &cli.ui),
        Command::Profile(args) => profile::run(args, &cli.ui),
        Command::Sweep(args) => sweep::run(args, &cli.ui),
        Command::Report(args) => report::run(args),
        Command::Data(args) => data::run(args),
        Command::Weights(args) => weights::run(args),
        Command::Doctor(args) => doctor::run(args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Writes a line of results to standard output. That nobody reads it any more (`| head`) is no error.
fn say(line: impl Display) -> Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Error::io("standard output", "write")),
    }
}

/// Writes a line to standard error; a run goes on where nobody can read it.
fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
