//! Learning rates over a run.

use crate::{Error, Result};

/// How the learning rate falls.
#[derive(Clone, Debug, PartialEq)]
pub enum Decay {
    /// It does not.
    Constant,
    /// Times `gamma` at the beginning of each epoch listed.
    Step {
        /// Epochs, counted from 0.
        milestones: Vec<u32>,
        /// Factor.
        gamma: f64,
    },
    /// Up from a twenty-fifth to the full rate over the first `rise` of all steps, then down to a
    /// ten-thousandth of the start, along half cosines (Smith, Topin 2018; PyTorch's OneCycleLR).
    OneCycle {
        /// Share of the steps on which the rate rises.
        rise: f64,
    },
    /// Times (1 − step/steps)^power (the poly schedule of PSPNet, power 0.9).
    Poly {
        /// Exponent.
        power: f64,
    },
}

/// A learning-rate schedule. The rate of a step is a pure function of the step.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Full learning rate.
    pub lr: f64,
    /// How it falls.
    pub decay: Decay,
    /// Steps of one epoch.
    pub steps_per_epoch: u64,
    /// Steps of the run.
    pub steps: u64,
    /// Steps over which the rate rises linearly from 0 at the beginning.
    pub warmup_steps: u64,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        let share = step as f64 / (self.steps.max(2) - 1) as f64;
        let factor = match &self.decay {
            Decay::Constant => 1.0,
            Decay::Step { milestones, gamma } => {
                let epoch = step / self.steps_per_epoch.max(1);
                let passed = milestones.iter().filter(|&&m| epoch >= m as u64).count();
                gamma.powi(passed as i32)
            }
            Decay::OneCycle { rise } => {
                let cosine = |from: f64, to: f64, t: f64| {
                    to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())
                };
                match share < *rise {
                    true => cosine(0.04, 1.0, share / rise),
                    false => cosine(1.0, 0.04e-4, (share - rise) / (1.0 - rise)),
                }
            }
            Decay::Poly { power } => (1.0 - step as f64 / self.steps.max(1) as f64).powf(*power),
        };
        let warm = (step + 1) as f64 / self.warmup_steps.max(1) as f64;
        self.lr * factor * warm.min(1.0)
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] names the one that cannot be used.
    pub fn check(&self) -> Result<()> {
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return Err(Error::setting("lr", self.lr, "expected a positive number"));
        }
        match &self.decay {
            Decay::OneCycle { rise } if !(*rise > 0.0 && *rise < 1.0) => Err(Error::setting(
                "rise",
                rise,
                "expected a share between 0 and 1",
            )),
            Decay::Step { gamma, .. } if !(*gamma > 0.0 && *gamma <= 1.0) => Err(Error::setting(
                "gamma",
                gamma,
                "expected a factor above 0 and at most 1",
            )),
            Decay::Poly { power } if power.is_nan() || *power <= 0.0 => Err(Error::setting(
                "power",
                power,
                "expected a positive exponent",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay) -> Schedule {
        Schedule {
            lr: 0.1,
            decay,
            steps_per_epoch: 10,
            steps: 100,
            warmup_steps: 0,
        }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-3), "{a} {b}");
    }

    #[test]
    fn step_drops_at_its_milestones() {
        let s = schedule(Decay::Step {
            milestones: vec![5, 8],
            gamma: 0.1,
        });
        close(s.at(49), 0.1);
        close(s.at(50), 0.01);
        close(s.at(79), 0.01);
        close(s.at(80), 0.001);
    }

    /// torch.optim.lr_scheduler.OneCycleLR(max_lr=0.1, total_steps=100, pct_start=0.3), closed form.
    #[test]
    fn one_cycle_starts_peaks_and_ends_where_pytorch_does() {
        let s = schedule(Decay::OneCycle { rise: 0.29 / 0.99 });
        close(s.at(0), 0.004);
        close(s.at(29), 0.1);
        close(s.at(99), 0.1 / 25.0 / 1e4);
    }

    #[test]
    fn poly_falls_to_nothing_and_warm_up_rises() {
        let mut s = schedule(Decay::Poly { power: 0.9 });
        close(s.at(50), 0.1 * 0.5f64.powf(0.9));
        s.warmup_steps = 10;
        close(s.at(0), 0.01);
        close(s.at(4), 0.05 * 0.96f64.powf(0.9));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (decay, name) in [
            (Decay::OneCycle { rise: 1.5 }, "rise"),
            (
                Decay::Step {
                    milestones: vec![],
                    gamma: 0.0,
                },
                "gamma",
            ),
            (Decay::Poly { power: -1.0 }, "power"),
        ] {
            assert!(
                schedule(decay)
                    .check()
                    .unwrap_err()
                    .to_string()
                    .contains(name)
            );
        }
    }
}
