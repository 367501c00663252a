//! Experiments: a run and its folder, sweeps over runs, tables, plots and reports.

mod environment;
pub mod paper;
pub mod plot;
mod precision;
pub mod profile;
pub mod report;
pub mod run;
mod settings;
mod sweep;
pub mod table;

pub use environment::{COMMIT, Environment, command_line, processor};
pub use precision::Precision;
pub use run::{Run, RunSummary, read_history, read_settings, read_summary, write_json};
pub use settings::{Settings, VERSION};
pub use sweep::{Combination, Grid, SweepObserver, SweepResult};
