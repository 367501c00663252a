//! `whatwhere data`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::say;
use crate::data::segmentation::{self, Fold};
use crate::data::{self, OpenOptions, Split};
use crate::{Error, Result};

/// List, check and look at data sets.
#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand)]
enum DataCommand {
    /// The data sets there are
    List,
    /// Open both splits of a data set and say what is in them
    Check(Source),
    /// Draw a grid of images as PNG; of scenes: image, classes, parts and materials side by side
    Preview {
        #[command(flatten)]
        source: Source,
        /// Split: train, test (scenes: train, val, test)
        #[arg(long, default_value = "train")]
        split: String,
        /// Picture to write
        #[arg(long, value_name = "FILE", default_value = "preview.png")]
        out: PathBuf,
    },
}

#[derive(Args)]
struct Source {
    /// Name of the data set
    name: String,
    /// Folder of the data set
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Side of generated images in pixels (streets: height, half the width)
    #[arg(long)]
    size: Option<usize>,
    /// Classes of a generated data set
    #[arg(long)]
    classes: Option<usize>,
    /// Images of a generated data set
    #[arg(long)]
    count: Option<usize>,
    /// Seed of a generated data set
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Failure planted in generated streets: none, bus-windows, leafy-cars
    #[arg(long, default_value = "none")]
    plant: String,
}

impl Source {
    fn options(&self) -> OpenOptions {
        OpenOptions {
            root: self.root.clone(),
            allow_partial: false,
            size: self.size,
            classes: self.classes,
            count: self.count,
            seed: self.seed,
        }
    }

    fn scene_options(&self) -> Result<segmentation::OpenOptions> {
        if let Some(classes) = self.classes {
            let why = format!("the classes of {} are fixed", self.name);
            return Err(Error::setting("classes", classes, why));
        }
        Ok(segmentation::OpenOptions {
            root: self.root.clone(),
            height: self.size,
            count: self.count,
            seed: self.seed,
            plant: self.plant.parse()?,
        })
    }
}

/// Runs the command.
pub fn run(args: DataArgs) -> Result<()> {
    match args.command {
        DataCommand::List => list()?,
        DataCommand::Check(source) => check(&source)?,
        DataCommand::Preview { source, split, out } if segmentation::is_known(&source.name) => {
            let set = segmentation::open(&source.name, split.parse()?, &source.scene_options()?)?;
            segmentation::preview::grid(set.as_ref(), 4)?.write_png(&out)?;
            say(out.display())?;
        }
        DataCommand::Preview { source, split, out } => {
            let set = data::open(&source.name, split.parse()?, &source.options())?;
            data::preview::grid(set.as_ref(), 8, 8, 2)?.write_png(&out)?;
            say(out.display())?;
        }
    }
    Ok(())
}

fn list() -> Result<()> {
    say("real, with --root:")?;
    for which in data::cifar::Cifar::ALL {
        say(format_args!(
            "  {:<18} folder {}",
            which.name(),
            which.folder()
        ))?;
    }
    say("generated:")?;
    for entry in data::synthetic::pack() {
        say(format_args!(
            "  {:<18} {} px, {} classes. {} A bag of features reaches {:.1} %.",
            entry.task.name(),
            entry.size,
            entry.classes,
            entry.sentence,
            100.0 * entry.ceiling
        ))?;
    }
    say("scenes, with a label for every pixel:")?;
    for (name, sentence) in segmentation::NAMES {
        say(format_args!("  {name:<18} {sentence}"))?;
    }
    Ok(())
}

fn check(source: &Source) -> Result<()> {
    if segmentation::is_known(&source.name) {
        return check_scenes(source);
    }
    for split in [Split::Train, Split::Test] {
        let set = data::open(&source.name, split, &source.options())?;
        let mut counts = vec![0u32; set.classes().len()];
        (0..set.len()).for_each(|i| counts[set.label(i) as usize] += 1);
        let [h, w, c] = set.shape();
        say(format_args!(
            "{} {split}: {} images of {h}×{w}×{c}, {} classes of {} to {} images, SHA-256 {}",
            set.name(),
            set.len(),
            counts.len(),
            counts.iter().min().unwrap_or(&0),
            counts.iter().max().unwrap_or(&0),
            set.sha256()?
        ))?;
    }
    Ok(())
}

/// Reads every scene, and says how much of the pixels each class has.
fn check_scenes(source: &Source) -> Result<()> {
    for fold in [Fold::Train, Fold::Val, Fold::Test] {
        let set = segmentation::open(&source.name, fold, &source.scene_options()?)?;
        let mut counts = vec![0u64; set.classes().len() + 1];
        for index in 0..set.len() {
            let scene = set.scene(index)?;
            for &class in scene.classes.ids() {
                counts[usize::from(class).min(set.classes().len())] += 1;
            }
        }
        let all = counts.iter().sum::<u64>().max(1) as f64;
        say(format_args!(
            "{} {fold}: {} scenes, {} classes, {} parts, {} materials",
            set.name(),
            set.len(),
            set.classes().len(),
            set.parts().len(),
            set.materials().len()
        ))?;
        let names = set.classes().iter().map(|class| class.name.as_str());
        for (name, count) in names.chain(["unlabelled"]).zip(&counts) {
            say(format_args!(
                "  {name:<18} {:>7.3} %",
                100.0 * *count as f64 / all
            ))?;
        }
    }
    Ok(())
}
