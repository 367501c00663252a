//! `whatwhere data`

use std::fs;
use std::path::{Path, PathBuf};

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
    /// Look at every image of a data set: say what there is, and list what is wrong
    Check(Source),
    /// Decode a data set once, into files that are read without decoding
    Pack {
        #[command(flatten)]
        source: Source,
        /// Folder to write train.pack and test.pack to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// One split only: train, test
        #[arg(long)]
        split: Option<String>,
    },
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
    /// Take a part of a data set: fewer images or classes than the whole has
    #[arg(long)]
    partial: bool,
    /// Leave out image files that cannot be decoded
    #[arg(long)]
    skip_damaged: bool,
    /// Side in pixels of the images of folders, packs and generated sets (streets: height, half the width)
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
            allow_partial: self.partial,
            skip_damaged: self.skip_damaged,
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
        DataCommand::Pack { source, out, split } => {
            let splits = match split {
                Some(split) => vec![split.parse()?],
                None => vec![Split::Train, Split::Test],
            };
            splits
                .into_iter()
                .try_for_each(|split| pack(&source, split, &out))?;
        }
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
    for (name, folder) in [
        (
            "small-imagenet32",
            "train_data_batch_1 … 10 and val_data (pickles or .npz), or an image folder",
        ),
        ("small-imagenet64", "the same with 64 pixels"),
        ("tiny-imagenet", "folder tiny-imagenet-200"),
        (
            "imagenet",
            "train/<synset>, val/<synset> or val with a file of labels",
        ),
        ("folder:DIR", "train/<class>, val/<class>: any images"),
        ("pack:DIR", "what `whatwhere data pack` wrote"),
    ] {
        say(format_args!("  {name:<18} {folder}"))?;
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

/// Prints what there is and what is wrong; an error if anything is.
fn check(source: &Source) -> Result<()> {
    if segmentation::is_known(&source.name) {
        return check_scenes(source);
    }
    const ROWS: usize = 100;
    let report = data::check::check(&source.name, &source.options())?;
    for fact in &report.facts {
        say(fact)?;
    }
    let Some(first) = report.findings.first() else {
        return Ok(());
    };
    say(report.table(ROWS).trim_end())?;
    let why = match report.findings.len() {
        1 => format!("{}: {}", first.place, first.what),
        n => format!("{n} faults, see the table; {}: {}", first.place, first.what),
    };
    Err(Error::setting("data", &source.name, why))
}

/// Writes one split and says what was written.
fn pack(source: &Source, split: Split, out: &Path) -> Result<()> {
    let opened = data::open_to_pack(&source.name, split, &source.options())?;
    fs::create_dir_all(out).map_err(Error::io(out, "create"))?;
    let path = out.join(data::pack::file_name(split));
    let bar = indicatif::ProgressBar::new(opened.set.len() as u64);
    let mut progress = |done: usize| bar.set_position(done as u64);
    let set = opened.set.as_ref();
    let header = data::pack::write(set, opened.shown, opened.skipped, &path, &mut progress)?;
    bar.finish_and_clear();
    let [height, width] = header.stored;
    say(format_args!(
        "{}: {} images of {height}×{width} (shown {}×{}), {} classes, {} damaged files left out, \
         SHA-256 {}",
        path.display(),
        header.count,
        header.shown[0],
        header.shown[1],
        header.classes.len(),
        header.skipped,
        header.sha256
    ))
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
