//! `whatwhere data`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::say;
use crate::Result;
use crate::data::{self, OpenOptions, Split};

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
    /// Draw a grid of images as PNG
    Preview {
        #[command(flatten)]
        source: Source,
        /// Split: train, test
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
    /// Side of generated images in pixels
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
}

/// Runs the command.
pub fn run(args: DataArgs) -> Result<()> {
    match args.command {
        DataCommand::List => list()?,
        DataCommand::Check(source) => check(&source)?,
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
    Ok(())
}

fn check(source: &Source) -> Result<()> {
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
