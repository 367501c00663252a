//! Whole networks: the derivative of the loss along random directions of all weights at once.
//!
//! What holds for each operation need not hold for a tape of them. Here the loss of a small VGG or ResNet,
//! under each intervention of the study, is differentiated by the tape and by differences. On another
//! device, the tape's derivative there is compared with the one in f64 on the CPU.

use std::cell::RefCell;
use std::cmp::Ordering;

use super::bounds::gamma;
use super::difference::derivative;
use super::subject::{direction, inner, largest, moved, wide};
use super::verdict::{Entry, Finding, Method, Report, Verdict};
use crate::autograd::{Tape, Var};
use crate::device::Device;
use crate::models::{Architecture, Network};
use crate::nn::{Mode, Moment, Scope, Slot};
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::ops::spatial_shuffle::Mode as ShuffleMode;
use crate::rng::{Key, Purpose, Stream, name_hash};
use crate::spatial::{Layers, Plan, Removal};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// Directions that are tried for each network.
const DIRECTIONS: usize = 2;

/// How many neighbours of the weights are visited to see how much a rounding of them matters.
const NEIGHBOURS: usize = 6;

/// Steps of the differences, as shares of the largest weight of each layer. A network has thousands of
/// kinks, and the bound of a difference covers one; a right gradient agrees with one of these, a wrong one
/// with none.
const STEPS: [f64; 3] = [
    1.0 / (1 << 18) as f64,
    1.0 / (1 << 22) as f64,
    1.0 / (1 << 26) as f64,
];

/// How many first weights are tried where kinks are too near; and on a device, where what a rounding does to
/// them is measured and not proven, so that a mismatch counts where every one of them shows it.
const DRAWS: u64 = 3;

/// A bound of more than this share of the derivative's terms decides nothing.
const DECISIVE: f64 = 1e-4;
/// The same on another device, whose roundings every layer passes on.
const DECISIVE_THERE: f64 = 0.1;

/// Passes of training before a test.
const SETTLING: usize = 20;

const BATCH: usize = 4;
const SIDE: usize = 16;
const CLASSES: usize = 5;
const WIDTH: f64 = 0.25;

/// A small network under an intervention.
#[derive(Clone, Debug)]
pub struct NetworkCase {
    /// `vgg-small` or `resnet-small`.
    pub model: &'static str,
    /// What is done to it, in words.
    pub label: String,
    /// What is done to it.
    pub plan: Plan,
    /// Training or test.
    pub mode: Mode,
}

/// Every intervention of the study on both small networks, in the middle of each.
///
/// # Errors
/// None but those of the built-in architectures.
pub fn network_cases() -> Result<Vec<NetworkCase>> {
    let mut cases = Vec::new();
    for model in ["vgg-small", "resnet-small"] {
        let cuts = architecture(model)?.cuts();
        let Some(&cut) = cuts.get(cuts.len() / 2) else {
            continue;
        };
        let from = Plan {
            cut,
            ..Plan::default()
        };
        let shuffle = Plan {
            remove: Removal::Shuffle,
            ..from.clone()
        };
        let mut add = |label: String, plan: Plan, mode| {
            cases.push(NetworkCase {
                model,
                label,
                plan,
                mode,
            });
        };
        add("intact".into(), Plan::default(), Mode::Train);
        add("intact, test".into(), Plan::default(), Mode::Test);
        let modes = [
            ShuffleMode::Shuffle,
            ShuffleMode::Rand,
            ShuffleMode::ChannelRand,
            ShuffleMode::ChannelShuffle,
            ShuffleMode::ShuffleAll,
            ShuffleMode::Horizontal,
            ShuffleMode::Vertical,
            ShuffleMode::Local(2),
        ];
        for mode in modes {
            let plan = Plan {
                mode,
                ..shuffle.clone()
            };
            add(format!("{mode} from {cut}"), plan, Mode::Train);
        }
        let test = format!("shuffle from {cut}, test");
        add(test, shuffle.clone(), Mode::Test);
        for (scope, name) in [(Scope::PerSample, "by sample"), (Scope::Fixed, "fixed")] {
            let plan = Plan {
                scope,
                ..shuffle.clone()
            };
            add(format!("shuffle from {cut}, {name}"), plan, Mode::Train);
        }
        let deranged = Plan {
            derange: true,
            ..shuffle.clone()
        };
        add(
            format!("shuffle from {cut}, deranged"),
            deranged,
            Mode::Train,
        );
        let only = Plan {
            layers: Layers::Only,
            ..shuffle
        };
        add(format!("shuffle of {cut} only"), only, Mode::Train);
        let removals = [
            (Removal::GapFc, "GAP+FC"),
            (Removal::Truncate, "truncated"),
            (Removal::Conv1x1, "1×1"),
        ];
        for (remove, name) in removals {
            let plan = Plan {
                remove,
                ..from.clone()
            };
            add(format!("{name} from {cut}"), plan, Mode::Train);
        }
    }
    Ok(cases)
}

fn architecture(model: &str) -> Result<Architecture> {
    Architecture::by_name(model, [SIDE, SIDE, 3], CLASSES, WIDTH)
}

impl NetworkCase {
    /// The tape against differences, in f64 on the CPU.
    ///
    /// # Errors
    /// What the network returns on its way.
    pub fn run(&self, seed: u64) -> Result<Report> {
        let mut report = self.differences(seed, 0)?;
        for draw in 1..DRAWS {
            if report.passed() || report.mismatched() {
                break;
            }
            report = self.differences(seed, draw)?;
        }
        Ok(report)
    }

    fn differences(&self, seed: u64, draw: u64) -> Result<Report> {
        let (name, seed) = (seed, seed ^ draw << 32);
        let loss = Loss::new(self, seed, Device::Cpu, DType::F64)?;
        let mut stream = self.stream(seed, 1);
        let mut findings = Vec::new();
        for i in 0..DIRECTIONS {
            let verdict = loss.along(&loss.direction(&mut stream)?)?;
            let what = format!("the loss along direction {i}");
            findings.push(Finding::new(Method::CentralDifferences, what, verdict));
        }
        Ok(self.report(name, findings))
    }

    /// The tape on a device against the tape in f64 on the CPU.
    ///
    /// The bound is that of a stable algorithm, as for operations: exact for weights moved by a share γ of
    /// themselves, with γ = 6·√K·u for the longest sum of K terms (Higham, Mary 2019). How far that moves
    /// the derivative is measured in f64.
    ///
    /// # Errors
    /// As [`NetworkCase::run`]; [`Error::Device`] where the device is not there.
    pub fn run_on(&self, device: Device, dtype: DType, seed: u64) -> Result<Report> {
        device.check()?;
        let mut report = self.attempt(device, dtype, seed, 0)?;
        for draw in 1..DRAWS {
            if report.passed() {
                break;
            }
            report = self.attempt(device, dtype, seed, draw)?;
        }
        Ok(report)
    }

    fn attempt(&self, device: Device, dtype: DType, seed: u64, draw: u64) -> Result<Report> {
        let (name, seed) = (seed, seed ^ draw << 32);
        let (there, here) = (
            Loss::new(self, seed, device, dtype)?,
            Loss::new(self, seed, Device::Cpu, DType::F64)?,
        );
        // The CPU has the numbers the device has.
        here.copy(&there)?;
        let mut stream = self.stream(seed, 2);
        let weights = here.weights()?;
        let share = 6.0 * ((BATCH * SIDE * SIDE) as f64).sqrt() * dtype.unit_roundoff();
        let (found, exact) = (there.gradients()?, here.gradients()?);
        let mut neighbours = Vec::new();
        for _ in 0..NEIGHBOURS {
            let nudged = weights.iter().map(|w| nudged(w, share, &mut stream));
            here.set(&nudged.collect::<Result<Vec<_>>>()?)?;
            neighbours.push(here.gradients()?);
        }
        let mut findings = Vec::new();
        for i in 0..DIRECTIONS {
            let along = here.direction(&mut stream)?;
            let [found, _] = slope(&found, &along)?;
            let [expected, size] = slope(&exact, &along)?;
            let mut spread: f64 = 0.0;
            for other in &neighbours {
                spread = spread.max((slope(other, &along)?[0] - expected).abs());
            }
            let bound = spread + share * size;
            let entry = Entry {
                index: Vec::new(),
                analytic: found,
                numeric: expected,
                error: (found - expected).abs(),
                bound,
            };
            let verdict = match bound <= DECISIVE_THERE * size {
                true => Verdict::of_entries([entry]),
                false => Verdict::Unchecked(format!(
                    "{expected:e} may be off by {bound:e}: the weights are near a kink"
                )),
            };
            let what = format!("the loss along direction {i}");
            findings.push(Finding::new(Method::Device, what, verdict));
        }
        Ok(self.report(name, findings))
    }

    fn stream(&self, seed: u64, draw: u32) -> Stream {
        let name = format!("{} {}", self.model, self.label);
        Key::new(seed, Purpose::Check, name_hash(&name), draw).stream(0)
    }

    fn report(&self, seed: u64, findings: Vec<Finding>) -> Report {
        Report {
            op: self.model.to_owned(),
            label: self.label.clone(),
            seed,
            findings,
        }
    }
}

/// The loss of a network as a function of its weights.
struct Loss {
    network: RefCell<Network>,
    images: Tensor,
    labels: Tensor,
    mode: Mode,
    moment: Moment,
    slots: Vec<Slot>,
}

impl Loss {
    fn new(case: &NetworkCase, seed: u64, device: Device, dtype: DType) -> Result<Self> {
        let mut network = case.plan.apply(&architecture(case.model)?)?;
        network.initialise(seed, dtype, device)?;
        let mut stream = case.stream(seed, 0);
        let pixels: Vec<f64> = (0..BATCH * SIDE * SIDE * 3)
            .map(|_| stream.normal())
            .collect();
        let images = Tensor::from_slice([BATCH, SIDE, SIDE, 3], &pixels, Device::Cpu)?;
        let labels: Vec<i32> = (0..BATCH).map(|i| (i % CLASSES) as i32).collect();
        let loss = Loss {
            slots: network.store.parameters().map(|(slot, _)| slot).collect(),
            network: RefCell::new(network),
            // The same numbers everywhere: those of f32.
            images: images.cast(DType::F32)?.cast(dtype)?.to_device(device)?,
            labels: Tensor::from_slice([BATCH], &labels, Device::Cpu)?.to_device(device)?,
            mode: case.mode,
            moment: Moment::new(seed, 3),
        };
        if case.mode == Mode::Test {
            loss.settle()?;
        }
        Ok(loss)
    }

    /// A few passes of training, without steps: running statistics become those of the images. With their
    /// first values a deep network's logits have no bounds, and its loss no slope.
    fn settle(&self) -> Result<()> {
        let mut network = self.network.borrow_mut();
        for _ in 0..SETTLING {
            let (images, moment) = (self.images.clone(), self.moment.clone());
            network.forward(&mut Tape::no_grad(), Mode::Train, moment, images)?;
        }
        Ok(())
    }

    /// Takes all numbers of another copy of the network, running statistics too.
    fn copy(&self, from: &Loss) -> Result<()> {
        let (mut to, from) = (self.network.borrow_mut(), from.network.borrow());
        for slot in from.store.slots() {
            to.store.set(slot, wide(from.store.value(slot)?)?)?;
        }
        Ok(())
    }

    /// All weights, as wide numbers.
    fn weights(&self) -> Result<Vec<Tensor>> {
        let network = self.network.borrow();
        let slots = self.slots.iter();
        slots
            .map(|&slot| wide(network.store.value(slot)?))
            .collect()
    }

    fn set(&self, weights: &[Tensor]) -> Result<()> {
        let mut network = self.network.borrow_mut();
        let (dtype, device) = (network.store.dtype(), network.store.device());
        for (&slot, weight) in self.slots.iter().zip(weights) {
            network
                .store
                .set(slot, weight.cast(dtype)?.to_device(device)?)?;
        }
        Ok(())
    }

    /// The loss, and the gradients of all weights if wanted.
    fn evaluate(&self, gradients: bool) -> Result<(f64, Vec<Tensor>)> {
        let mut network = self.network.borrow_mut();
        let mut tape = if gradients {
            Tape::new()
        } else {
            Tape::no_grad()
        };
        let images = self.images.clone();
        let forward = network.forward(&mut tape, self.mode, self.moment.clone(), images)?;
        let labels = Var::constant(self.labels.clone());
        let loss = tape.apply(SoftmaxCrossEntropy::default(), &[&forward.logits, &labels])?;
        let value = loss.value().item()?;
        if !gradients {
            return Ok((value, Vec::new()));
        }
        let found = tape.backward(&loss)?;
        let of = |slot: &Slot| {
            let leaf = forward.leaves.iter().find(|(known, _)| known == slot);
            match leaf.and_then(|(_, leaf)| found.get(leaf)) {
                Some(gradient) => wide(gradient),
                None => Err(Error::shape("check", "a weight has no gradient")),
            }
        };
        let gradients = self.slots.iter().map(of).collect::<Result<_>>()?;
        Ok((value, gradients))
    }

    fn gradients(&self) -> Result<Vec<Tensor>> {
        Ok(self.evaluate(true)?.1)
    }

    /// A random direction, of the size of the weights.
    fn direction(&self, stream: &mut Stream) -> Result<Vec<Tensor>> {
        let mut along = Vec::new();
        for weight in self.weights()? {
            let (size, unit) = (largest(&weight)?, direction(weight.shape(), stream)?);
            let zero = Tensor::zeros(weight.shape(), DType::F64, Device::Cpu)?;
            along.push(moved(&zero, if size > 0.0 { size } else { 1.0 }, &unit)?);
        }
        Ok(along)
    }

    fn along(&self, along: &[Tensor]) -> Result<Verdict> {
        let weights = self.weights()?;
        let (loss, gradients) = self.evaluate(true)?;
        let [analytic, size] = slope(&gradients, along)?;
        let mut terms = loss.abs();
        for (weight, gradient) in weights.iter().zip(&gradients) {
            terms += inner(weight, gradient)?.1;
        }
        let count = weights.iter().map(Tensor::len).sum();
        let rounding = gamma(count, DType::F64) * terms;
        let at = |t: f64| -> Result<f64> {
            let there = weights.iter().zip(along).map(|(w, u)| moved(w, t, u));
            self.set(&there.collect::<Result<Vec<_>>>()?)?;
            Ok(self.evaluate(false)?.0)
        };
        let mut verdict = Verdict::Unchecked("every step meets a kink".into());
        for step in STEPS {
            let numeric = derivative(at, step, rounding, f64::INFINITY)?;
            if !matches!(
                numeric.bound.partial_cmp(&(DECISIVE * size)),
                Some(Ordering::Less)
            ) {
                continue;
            }
            verdict = Verdict::of_entries([Entry {
                index: Vec::new(),
                analytic,
                numeric: numeric.derivative,
                error: (analytic - numeric.derivative).abs(),
                bound: numeric.bound,
            }]);
            if verdict.is_pass() {
                break;
            }
        }
        self.set(&weights)?;
        Ok(verdict)
    }
}

/// Σ ⟨gᵢ, uᵢ⟩, and the size of its terms.
fn slope(gradients: &[Tensor], along: &[Tensor]) -> Result<[f64; 2]> {
    let mut found = [0.0; 2];
    for (gradient, along) in gradients.iter().zip(along) {
        let (sum, size) = inner(gradient, along)?;
        found = [found[0] + sum, found[1] + size];
    }
    Ok(found)
}

/// Every weight w as w·(1 ± `share`), the sign at random.
fn nudged(weight: &Tensor, share: f64, stream: &mut Stream) -> Result<Tensor> {
    let values = weight.data::<f64>()?.iter();
    let values: Vec<f64> = values
        .map(|w| w * (1.0 + share * [-1.0, 1.0][stream.below(2) as usize]))
        .collect();
    Tensor::from_slice(weight.shape(), &values, Device::Cpu)
}
