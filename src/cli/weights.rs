//! `whatwhere weights`

use std::path::PathBuf;

use clap::Args;

use super::say;
use crate::device::Device;
use crate::models::Architecture;
use crate::models::names::Naming;
use crate::spatial::Plan;
use crate::tensor::DType;
use crate::train::pretrained;
use crate::{Error, Result};

/// Look at a file of weights, and give it other names.
#[derive(Args)]
pub struct WeightsArgs {
    /// A safetensors file of torchvision, timm or whatwhere
    file: PathBuf,
    /// Model, where the file does not tell
    #[arg(long)]
    model: Option<String>,
    /// Classes, where the file does not tell
    #[arg(long)]
    classes: Option<usize>,
    /// Side of the images in pixels
    #[arg(long, default_value_t = 224)]
    size: usize,
    /// Factor on all channel counts of the network
    #[arg(long, default_value_t = 1.0)]
    width: f64,
    /// Write the weights to --out under these names: whatwhere, torchvision, timm
    #[arg(long, value_name = "NAMES", requires = "out")]
    export: Option<String>,
    /// File to write
    #[arg(long, value_name = "FILE", requires = "export")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: WeightsArgs) -> Result<()> {
    let naming = args.export.map(|n| n.parse::<Naming>()).transpose()?;
    let told = pretrained::model_of(&args.file)?;
    let (model, classes) = match (args.model, args.classes, told) {
        (Some(model), Some(classes), _) => (model, classes),
        (model, classes, Some((found, count))) => {
            (model.unwrap_or(found), classes.unwrap_or(count))
        }
        _ => {
            let what =
                "which model these weights are of cannot be told: give --model and --classes";
            return Err(Error::file(&args.file, what));
        }
    };
    let image = [args.size, args.size, 3];
    let architecture = Architecture::by_name(&model, image, classes, args.width)?;
    let mut network = Plan::default().apply(&architecture)?;
    network.initialise(0, DType::F32, Device::Cpu)?;
    let loaded = pretrained::load(&args.file, &architecture, &mut network, false)?;
    say(format_args!(
        "{model} with {classes} classes, {} parameters: {loaded}",
        network.parameters()
    ))?;
    if let (Some(naming), Some(out)) = (naming, args.out) {
        pretrained::save(&out, &architecture, &network, naming)?;
        say(out.display())?;
    }
    Ok(())
}
