//! How good a segmentation is, how well its mistakes are foretold, and what its channels show.
//!
//! | question | here |
//! | --- | --- |
//! | how well are the classes found | [`Confusion`]: IoU, mIoU over a whole set, Cityscapes' JSON |
//! | does a confidence tell the mistakes | [`Failures`]: accuracy over coverage, AUROC, AUPR, FPR95, AURC, AUGRC |
//! | is a confidence a probability | [`Calibration`]: ECE, Brier score |
//! | how sure is a figure | [`bootstrap`]: 95 % intervals over images |
//! | which concept does a channel show | [`Dissection`]: NetDissect's IoU; [`ThresholdScan`]: AUiC |
//!
//! All of them take every pixel: nothing is drawn at random, ties are ties, and counts are whole
//! numbers of 64 bits. The result does not depend on the order of the images.

mod bootstrap;
mod calibration;
mod confusion;
mod dissect;
mod failure;
mod inspectability;
mod order;
mod quantile;

pub use bootstrap::{Interval, bootstrap};
pub use calibration::{BrierScore, Calibration};
pub use confusion::{Absent, Confusion};
pub use dissect::{Detector, Dissection};
pub use failure::{FailureMeasures, Failures};
pub use inspectability::{Assignment, Inspectability, Overlap, ThresholdScan};
pub use quantile::{Narrowed, Quantiles};

use crate::{Error, Result};

/// Refuses another number of outcomes than of confidences.
fn expect_pairs(op: &'static str, confidences: &[f32], right: &[bool]) -> Result<()> {
    if confidences.len() == right.len() {
        return Ok(());
    }
    let (count, outcomes) = (confidences.len(), right.len());
    let what = format!("{count} confidences for {outcomes} outcomes");
    Err(Error::shape(op, what))
}
