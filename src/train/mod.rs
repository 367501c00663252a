//! Training: the loop, the optimizer, the schedules, evaluation, checkpoints and exact resume.

mod checkpoint;
mod engine;
mod evaluate;
mod files;
pub mod pretrained;
mod scaling;
mod schedule;
mod sgd;
mod source;
mod step;
mod tally;
mod trainer;

pub use checkpoint::{Checkpoint, Manifest, load_weights, save_weights};
pub use evaluate::{Evaluation, TestDraw, evaluate, mean_and_std, right_answers, ten_passes};
pub(crate) use files::{hex, write_atomically};
pub use scaling::{LossScale, Scaling};
pub use schedule::{Decay, Schedule};
pub use sgd::{Sgd, Step};
pub use step::{Outcome, TrainingStep};
pub use trainer::{Ending, EpochRecord, Observer, Progress, Recipe, Silent, Trainer};
