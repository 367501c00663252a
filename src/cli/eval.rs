//! `whatwhere eval`

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Ui, note, say};
use crate::experiment::{Run, Settings, read_settings, write_json};
use crate::train::{TestDraw, evaluate, mean_and_std};
use crate::{Error, Result};

/// Test a trained network, under its own or another shuffle.
#[derive(Args)]
pub struct EvalArgs {
    /// Folder of the run; left out, --pretrained is tested
    run: Option<PathBuf>,
    /// Settings to change, e.g. --when both --test-mode rand, --cut 33 --remove shuffle --pool max
    #[command(flatten)]
    settings: Settings,
    /// Weights: best, last, or a safetensors file
    #[arg(long, default_value = "best")]
    weights: String,
    /// Passes over the test set, each with fresh permutations
    #[arg(long, default_value_t = 10)]
    passes: u32,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Outcome {
    run: Option<PathBuf>,
    weights: PathBuf,
    settings: Settings,
    accuracies: Vec<f64>,
    accuracy_mean: f64,
    accuracy_std: f64,
    loss_mean: f64,
}

/// The run of a folder with settings laid over its own, or the one that settings with --pretrained
/// describe; and the file of its weights.
pub(super) fn tested(
    folder: Option<&Path>,
    settings: Settings,
    weights: &str,
) -> Result<(Run, PathBuf)> {
    let Some(folder) = folder else {
        let file = settings.pretrained.clone().ok_or_else(|| {
            let why = "give the folder of a run, or weights with --pretrained FILE";
            Error::setting("run", "", why)
        })?;
        return Ok((Run::new(settings)?, file));
    };
    let config = folder.join("config.toml");
    if !config.is_file() {
        let what =
            "there is no run here (no config.toml): give the --out folder of `whatwhere train`";
        return Err(Error::file(folder, what));
    }
    let run = Run::new(settings.or(read_settings(&config)?))?;
    let weights = match weights {
        name @ ("best" | "last") => folder.join(format!("{name}.safetensors")),
        file => PathBuf::from(file),
    };
    Ok((run, weights))
}

/// Runs the command.
pub fn run(args: EvalArgs, ui: &Ui) -> Result<()> {
    if args.passes == 0 || args.passes > 256 {
        return Err(Error::setting("passes", args.passes, "expected 1 to 256"));
    }
    let (run, weights) = tested(args.run.as_deref(), args.settings, &args.weights)?;
    let [_, test] = run.loaders()?;
    let settings = run.settings().clone();
    let recipe = settings.recipe()?;
    let mut network = run.into_network(Some(&weights))?;
    let (mut accuracies, mut losses) = (Vec::new(), Vec::new());
    for pass in 0..args.passes {
        let draw = TestDraw {
            seed: recipe.seed,
            epoch: TestDraw::FINAL,
            pass,
        };
        let found = evaluate(&mut network, &test, draw, recipe.limit_batches)?;
        accuracies.push(found.accuracy);
        losses.push(found.loss);
        if !ui.quiet {
            note(format_args!(
                "pass {}: {:.2} %",
                pass + 1,
                100.0 * found.accuracy
            ));
        }
    }
    let (mean, std) = mean_and_std(&accuracies);
    let loss_mean = mean_and_std(&losses).0;
    say(format_args!(
        "test accuracy {:.2} ± {:.2} % over {} passes, loss {loss_mean:.4}",
        100.0 * mean,
        100.0 * std,
        args.passes
    ))?;
    if let Some(path) = &args.json {
        let outcome = Outcome {
            run: args.run,
            weights,
            settings,
            accuracies,
            accuracy_mean: mean,
            accuracy_std: std,
            loss_mean,
        };
        write_json(path, &outcome)?;
    }
    Ok(())
}
