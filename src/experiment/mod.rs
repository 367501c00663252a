//! Experiments: a run and its folder, sweeps over runs, tables, plots and reports.

mod environment;
mod run;
mod settings;

pub use environment::{Environment, processor};
pub use run::{Run, RunSummary, read_history, read_settings, read_summary, write_json};
pub use settings::{Settings, VERSION};
