//! Progress: a bar on a terminal, plain lines elsewhere, nothing if asked.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Ui, note};
use crate::experiment::{Combination, RunSummary, SweepObserver};
use crate::train::{EpochRecord, Observer, Progress};

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Time between pictures of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Shows how a run goes.
pub struct Report {
    style: Style,
}

enum Style {
    Quiet,
    Lines {
        last: Instant,
    },
    Bar {
        bar: ProgressBar,
        last: Option<Instant>,
    },
}

impl Report {
    /// A bar if standard error is a terminal, lines if not, nothing with `--quiet`.
    pub fn new(ui: &Ui) -> Self {
        let style = match (ui.quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Quiet,
            (false, false) => Style::Lines {
                last: Instant::now(),
            },
            (false, true) => {
                let bar = ProgressBar::no_length();
                let template = "{bar:32} {percent:>3}% · {eta} left · {msg}";
                bar.set_style(
                    ProgressStyle::with_template(template)
                        .unwrap_or_else(|_| ProgressStyle::default_bar()),
                );
                Style::Bar { bar, last: None }
            }
        };
        Report { style }
    }

    /// Clears the bar.
    pub fn finish(&self) {
        if let Style::Bar { bar, .. } = &self.style {
            bar.finish_and_clear();
        }
    }
}

fn line(p: &Progress) -> String {
    format!(
        "epoch {}/{} · step {}/{} · loss {:.4} · accuracy {:.2} % · {:.0} images/s",
        p.epoch,
        p.epochs,
        p.step,
        p.steps,
        p.loss,
        100.0 * p.accuracy,
        p.images_per_second
    )
}

impl Observer for Report {
    fn due(&mut self) -> bool {
        match &self.style {
            Style::Quiet => false,
            Style::Lines { last } => last.elapsed() >= LINE_EVERY,
            Style::Bar { last, .. } => last.is_none_or(|last| last.elapsed() >= DRAW_EVERY),
        }
    }

    fn step(&mut self, progress: &Progress) {
        match &mut self.style {
            Style::Quiet => {}
            Style::Bar { bar, last } => {
                *last = Some(Instant::now());
                if bar.length() != Some(progress.steps) {
                    bar.set_length(progress.steps);
                    // What a resumed run did before does not count towards its speed.
                    bar.reset_eta();
                }
                bar.set_position(progress.step);
                bar.set_message(line(progress));
            }
            Style::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                note(line(progress));
            }
            Style::Lines { .. } => {}
        }
    }

    fn epoch(&mut self, record: &EpochRecord, progress: &Progress) {
        let text = format!(
            "epoch {}/{} · train {:.4}, {:.2} % · test {:.4}, {:.2} % · {:.0} images/s · {:.1} s",
            record.epoch,
            progress.epochs,
            record.train_loss,
            100.0 * record.train_accuracy,
            record.test_loss,
            100.0 * record.test_accuracy,
            record.images_per_second,
            record.seconds
        );
        match &self.style {
            Style::Quiet => {}
            Style::Bar { bar, .. } => bar.println(text),
            Style::Lines { .. } => note(text),
        }
    }
}

/// Shows how a sweep goes: the run under way as a bar on a terminal, a line for each that is done.
pub struct SweepReport {
    quiet: bool,
    bar: Option<Report>,
    ui: Ui,
    place: String,
}

impl SweepReport {
    /// As [`Report::new`].
    pub fn new(ui: &Ui) -> Self {
        SweepReport {
            quiet: ui.quiet,
            bar: None,
            ui: ui.clone(),
            place: String::new(),
        }
    }
}

impl SweepObserver for SweepReport {
    fn run_begins(&mut self, index: usize, total: usize, _: &Combination) {
        self.place = format!("[{}/{total}]", index + 1);
        let bar = !self.quiet && std::io::stderr().is_terminal();
        self.bar = bar.then(|| Report::new(&self.ui));
    }

    fn run_ends(&mut self, combination: &Combination, summary: &RunSummary, trained: bool) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
        if self.quiet {
            return;
        }
        let done = match trained {
            true => format!("{:.1} s", summary.seconds),
            false => "was finished".to_owned(),
        };
        note(format_args!(
            "{} {}: {:.2} ± {:.2} % ({done})",
            self.place,
            combination.name,
            100.0 * summary.test_accuracy_mean10,
            100.0 * summary.test_accuracy_std10
        ));
    }
}

impl Observer for SweepReport {
    fn due(&mut self) -> bool {
        self.bar.as_mut().is_some_and(|bar| bar.due())
    }

    fn step(&mut self, progress: &Progress) {
        if let Some(bar) = &mut self.bar {
            bar.step(progress);
        }
    }
}
