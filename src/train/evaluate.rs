//! Testing a network.

use super::source::Source;
use super::tally::Tally;
use crate::autograd::{Tape, Var};
use crate::data::Loader;
use crate::device::Device;
use crate::kernels::metrics;
use crate::models::Network;
use crate::nn::{Mode, Moment};
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result, with_real};

/// The result of one pass over a test set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
    /// Images tested.
    pub seen: u64,
}

/// Which draws of the shuffles a test pass uses: those of (epoch, pass), one per batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestDraw {
    /// The run's seed.
    pub seed: u64,
    /// The epoch after which the test is run; [`TestDraw::FINAL`] for tests of a finished run.
    pub epoch: u32,
    /// Which of several passes.
    pub pass: u32,
}

impl TestDraw {
    /// The epoch number of tests of a finished run.
    pub const FINAL: u32 = (1 << 24) - 1;

    pub(crate) fn moment(self, batch: usize) -> Moment {
        let at = (self.epoch as u64) << 40 | (self.pass as u64) << 32 | batch as u64;
        Moment::new(self.seed, at)
    }
}

/// One pass over `loader` (its first `limit` batches) in test mode.
///
/// # Errors
/// [`Error::NotFinite`] names the layer where a loss went wrong, [`Error::Sample`] an image whose label is no
/// class of the network.
pub fn evaluate(
    network: &mut Network,
    loader: &Loader,
    draw: TestDraw,
    limit: Option<usize>,
) -> Result<Evaluation> {
    let (device, dtype) = (network.store.device(), network.store.dtype());
    loader.expect_classes(network.classes)?;
    let mut source = Source::new(loader, device, dtype)?;
    let (mut tally, mut seen) = (Tally::new(device, dtype)?, 0);
    let feed = source.feed(0, 0).take(limit.unwrap_or(usize::MAX));
    for (index, given) in feed.enumerate() {
        let given = given?;
        source.announce(index as u64, 0, &given)?;
        let [images, labels] = source.batch(&given)?;
        let mut tape = Tape::no_grad();
        let forward = network.forward(&mut tape, Mode::Test, draw.moment(index), images)?;
        let logits = forward.logits.value();
        let labels = Var::constant(labels);
        let loss = tape.apply(SoftmaxCrossEntropy::default(), &[&forward.logits, &labels])?;
        let number = source.number(index as u64);
        tally.add(number, loss.value(), logits, labels.value())?;
        seen += given.len() as u64;
        if !tally.is_remote() && tally.read()?.failed.is_some() {
            break;
        }
    }
    let sums = tally.read()?;
    if let Some(failed) = sums.failed {
        let images = loader.batch(0, failed as usize)?.images;
        let moment = draw.moment(failed as usize);
        return Err(Error::NotFinite {
            what: "the test loss",
            place: format!("batch {failed}"),
            layer: first_not_finite(network, moment, images),
            advice: "The network diverged: train it with a lower --lr, or let it rise with \
                     --warmup-epochs",
        });
    }
    Ok(Evaluation {
        loss: sums.loss / seen as f64,
        accuracy: sums.right as f64 / seen as f64,
        seen,
    })
}

/// Runs a pass again and looks at every result: the layer where the first NaN or infinity is.
fn first_not_finite(network: &mut Network, moment: Moment, images: Tensor) -> String {
    let mut tape = Tape::no_grad().checked();
    match network.forward(&mut tape, Mode::Test, moment, images) {
        Err(Error::Layer { layer, .. }) => format!("layer {layer}"),
        _ => "the loss itself".to_owned(),
    }
}

/// Accuracies of ten passes with fresh permutations each, as the paper tests (section 1.2), as
/// (mean, sample standard deviation).
pub fn ten_passes(
    network: &mut Network,
    loader: &Loader,
    seed: u64,
    limit: Option<usize>,
) -> Result<(f64, f64)> {
    const PASSES: u32 = 10;
    let mut accuracies = Vec::new();
    for pass in 0..PASSES {
        let epoch = TestDraw::FINAL;
        let draw = TestDraw { seed, epoch, pass };
        accuracies.push(evaluate(network, loader, draw, limit)?.accuracy);
    }
    Ok(mean_and_std(&accuracies))
}

/// Mean and sample standard deviation (0 for a single value).
pub fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

/// How many rows of `logits` (N, C) have their maximum at the label: the first one on ties, and a NaN
/// before every number. Kernels count where the logits are, if they can.
pub fn right_answers(logits: &Tensor, labels: &Tensor) -> Result<u64> {
    let classes = logits.shape().channels();
    if logits.device() != Device::Cpu {
        match count_by_kernels(logits, labels) {
            Err(Error::Shape { .. } | Error::DType { .. }) => {}
            counted => return counted,
        }
    }
    let (logits, labels) = (logits.on_host()?, labels.on_host()?);
    let labels = labels.data::<i32>()?;
    with_real!(logits.dtype(), "accuracy", T => {
        let rows = logits.data::<T>()?.chunks_exact(classes);
        let right = rows.zip(labels).filter(|(row, label)| {
            let best = (1..classes).fold(0, |best, c| {
                let first_nan = row[c].is_nan() && !row[best].is_nan();
                if row[c] > row[best] || first_nan { c } else { best }
            });
            best as i32 == **label
        });
        Ok(right.count() as u64)
    })
}

fn count_by_kernels(logits: &Tensor, labels: &Tensor) -> Result<u64> {
    let device = logits.device();
    let labels = labels.to_device(device)?;
    let rows = metrics::Rows {
        rows: labels.len(),
        classes: logits.shape().channels(),
        ignore: None,
    };
    let mut counts = Tensor::zeros([3], DType::I32, device)?;
    let pointers = [logits.address(), labels.address(), counts.address_mut()?];
    device.launch(&metrics::top_k(logits.dtype(), rows, [1, 5], pointers)?)?;
    Ok(counts.to_vec::<i32>()?[1] as u64)
}
