//! Trains a small network twice on generated images, without and with a spatial shuffle, through the
//! library alone: no command line, no files but the two run folders.
//!
//! ```text
//! cargo run --release --example train_in_code
//! ```
//!
//! The class of a `layout` image is which of four parts stands where. Shuffled from layer 12 on, the
//! network sees its images through windows of 3×3 pixels and forgets where each window was: it can only
//! guess, one of eight. The plain network finds the classes out.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use whatwhere::data::{self, Loader, LoaderOptions, OpenOptions, Split};
use whatwhere::device::Device;
use whatwhere::models::Architecture;
use whatwhere::spatial::{Plan, Removal};
use whatwhere::tensor::DType;
use whatwhere::train::{Decay, EpochRecord, Observer, Progress, Recipe, Trainer};

/// Prints a line after every epoch.
struct Print;

impl Observer for Print {
    fn epoch(&mut self, record: &EpochRecord, _: &Progress) {
        let percent = 100.0 * record.test_accuracy;
        println!("  epoch {}: {percent:.1} % on the test set", record.epoch);
    }
}

fn main() -> whatwhere::Result<()> {
    let seed = 0;
    let load = |split, count| {
        let images = OpenOptions {
            size: Some(16),
            count: Some(count),
            ..OpenOptions::default()
        };
        let batches = LoaderOptions {
            batch: 32,
            shuffle: split == Split::Train,
            seed,
            ..LoaderOptions::default()
        };
        Loader::new(data::open("layout", split, &images)?, batches)
    };
    let (train, test) = (load(Split::Train, 2048)?, load(Split::Test, 512)?);
    let image = train.dataset().shape();
    let classes = train.dataset().classes().len();
    let architecture = Architecture::by_name("vgg-small", image, classes, 1.0)?;
    let recipe = Recipe {
        epochs: 4,
        lr: 0.05,
        decay: Decay::OneCycle { rise: 0.3 },
        warmup_epochs: 0.0,
        momentum: 0.9,
        nesterov: false,
        weight_decay: 5e-4,
        label_smoothing: 0.0,
        seed,
        limit_batches: None,
        checkpoint_every: Duration::from_secs(60),
        graph: true,
    };

    for (title, remove, cut) in [
        ("nothing removed", Removal::None, 99),
        ("shuffled from layer 12 on", Removal::Shuffle, 12),
    ] {
        let plan = Plan {
            remove,
            cut,
            ..Plan::default()
        };
        let mut network = plan.apply(&architecture)?;
        network.initialise(seed, DType::F32, Device::Cpu)?;
        println!("{title}: {} parameters", network.parameters());
        // A run folder holds the weights and a checkpoint: begun again here, the run would go on.
        let folder = std::env::temp_dir().join(format!("whatwhere-{}-{cut}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(whatwhere::Error::io(&folder, "create"))?;
        let never = AtomicBool::new(false);
        let loaders = [&train, &test];
        let mut trainer = Trainer::new(
            &mut network,
            loaders,
            recipe.clone(),
            &folder,
            title,
            &never,
        )?;
        trainer.run(&mut Print)?;
        println!("  weights in {}", folder.join("best.safetensors").display());
    }
    Ok(())
}
