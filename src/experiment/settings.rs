//! The settings of a run: the same names on the command line, in a TOML file and in a run folder.
//!
//! Every setting is optional where a person writes it. [`Settings::or`] lays what was said more
//! specifically over what was said more generally (flags over a file over the defaults of the data
//! set); [`Settings::complete`] fills in what nobody said. What a run folder keeps is complete.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::{self, Augment, Family, OpenOptions};
use crate::spatial::{BASELINE, Plan, is_baseline};
use crate::train::{Decay, Recipe};
use crate::{Error, Result};

/// The layout of settings files; a newer one is refused.
pub const VERSION: u32 = 1;

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $(#[arg($($arg:tt)*)])? $name:ident : $type:ty,)+) => {
        /// Settings somebody gave; see the module's page.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub struct Settings {
            /// Layout of this file
            #[arg(skip)]
            pub version: Option<u32>,
            $($(#[doc = $doc])+ #[arg(long, $($($arg)*)?)] pub $name: Option<$type>,)+
        }

        impl Settings {
            /// These settings, and `other`'s where these are silent.
            pub fn or(self, other: Settings) -> Settings {
                Settings {
                    version: self.version.or(other.version),
                    $($name: self.$name.or(other.$name),)+
                }
            }
        }
    };
}

settings! {
    /// Network: vgg11, vgg13, vgg16, vgg19 (with -plain, -torchvision or -bn-torchvision for variants), vgg-small, resnet50, resnet152 (with -cifar or -imagenet to name the stem), resnet-small
    model: String,
    /// Factor on all channel counts of the network
    width: f64,
    /// Weights to start from: a safetensors file of torchvision, timm or whatwhere; its model is the default
    #[arg(value_name = "FILE")]
    pretrained: PathBuf,
    /// Start the head anew where the file's does not fit (another number of classes)
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    new_head: bool,
    /// Data set: cifar100, cifar100-coarse, cifar10, small-imagenet32, small-imagenet64, tiny-imagenet, imagenet, folder:DIR, pack:DIR, or a generated one: layout, texture, red-left-of-green, quadrant, anagram
    data: String,
    /// Folder of the data set
    #[arg(value_name = "DIR")]
    root: PathBuf,
    /// Take a part of a data set: fewer images or classes than the whole has
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    partial: bool,
    /// Leave out image files that cannot be decoded; all are read to find them
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    skip_damaged: bool,
    /// Side in pixels of the images of folders, packs and generated sets
    size: usize,
    /// Classes of a generated data set
    classes: usize,
    /// Training images: how many a generated set has, or how many of a real one are used
    train_images: usize,
    /// Test images, likewise
    test_images: usize,
    /// What takes spatial information away: none, shuffle, gap-fc, truncate, conv1x1
    remove: String,
    /// First treated layer, e.g. 43; 99 for none
    cut: u32,
    /// Last treated layer, with --layers band
    last: u32,
    /// Treated layers: from the cut on, the cut only, or a band
    layers: String,
    /// What a shuffle moves: shuffle, rand, crand, cshuffle, shuffleall, horizontal, vertical, local(TILE)
    mode: String,
    /// What it moves in test, if not the same
    test_mode: String,
    /// When a shuffle acts: both, train, test, neither
    when: String,
    /// Who shares a permutation: per-batch, per-sample, fixed
    scope: String,
    /// Draw permutations without fixed points
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    derange: bool,
    /// Pooling behind a treated layer: stride (none, the convolution takes stride 2), max, average
    pool: String,
    /// Whether convolutions have a bias (the authors': with gap-fc only)
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    conv_bias: bool,
    /// Passes over the training set
    epochs: u32,
    /// Training images per step
    batch: usize,
    /// Test images per forward pass; in the paper 100, each with permutations of its own
    test_batch: usize,
    /// Learning rate
    lr: f64,
    /// How the learning rate falls: step, one-cycle, poly, constant
    schedule: String,
    /// Epochs at which --schedule step multiplies the rate by --gamma
    #[arg(value_delimiter = ',')]
    milestones: Vec<u32>,
    /// Factor of --schedule step
    gamma: f64,
    /// Share of the steps on which --schedule one-cycle rises
    rise: f64,
    /// Exponent of --schedule poly
    power: f64,
    /// Epochs of linear warm-up
    warmup_epochs: f64,
    /// Momentum
    momentum: f64,
    /// Nesterov's momentum
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    nesterov: bool,
    /// Weight decay
    weight_decay: f64,
    /// Label smoothing
    label_smoothing: f64,
    /// Augmentation: crop-flip or crop-flip:PAD (32 or 64 pixels), resized-crop or resized-crop:PERCENT (ImageNet), none
    augment: String,
    /// Seed of everything random
    seed: u64,
    /// Device: auto, cpu, cuda:N, emulator (kernels without a GPU, slowly)
    device: String,
    /// Numbers of activations and products: f32, f64; on kernels also tf32, bf16, f16
    dtype: String,
    /// Threads that prepare batches
    workers: usize,
    /// Whether devices with kernels replay training steps from a graph: on, off
    graph: String,
    /// At most this many batches per epoch, in training and test
    limit_batches: usize,
    /// Seconds between checkpoints
    checkpoint_every: f64,
}

impl Settings {
    /// Settings from the text of a TOML file, which errors call `path`.
    ///
    /// # Errors
    /// [`Error::File`] with the line of an unknown name or of a value of another type, or for a file
    /// of a newer version.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self> {
        let newer = toml::from_str::<toml::Table>(text)
            .ok()
            .and_then(|t| t.get("version")?.as_integer())
            .filter(|&v| v != VERSION as i64);
        if let Some(version) = newer {
            let what = format!(
                "version = {version}, but this program reads version {VERSION}: use the program that \
                 wrote it"
            );
            return Err(Error::file(path, what));
        }
        toml::from_str(text).map_err(|e| {
            let before = text.get(..e.span().map_or(0, |span| span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            Error::file(path, format!("line {line}: {}", e.message()))
        })
    }

    /// The settings as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::setting("config", "settings", e.to_string()))
    }

    /// These settings with everything filled in: the paper's recipe for CIFAR and Small-ImageNet or that
    /// for ImageNet (section 1.8), a short one for generated data.
    pub fn complete(self) -> Settings {
        let data = self.data.clone().unwrap_or_else(|| "cifar100".into());
        let family = data::family(&data, &self.open_options(None));
        let (real, large) = (family != Family::Generated, family == Family::Large);
        let epochs = self.epochs.unwrap_or(match family {
            Family::Small => 300,
            Family::Large => 90,
            Family::Generated => 8,
        });
        let removes = self.cut.is_some_and(|cut| !is_baseline(cut));
        let text = |value: &str| Some(value.to_owned());
        let defaults = Settings {
            version: Some(VERSION),
            model: text(if real { "vgg16" } else { "vgg-small" }),
            width: Some(1.0),
            data: Some(data),
            size: (!real).then_some(32),
            train_images: (!real).then_some(4096),
            test_images: (!real).then_some(1024),
            remove: text(if removes { "shuffle" } else { "none" }),
            cut: Some(BASELINE),
            layers: text("from"),
            mode: text("shuffle"),
            when: text("both"),
            scope: text("per-batch"),
            derange: Some(false),
            epochs: Some(epochs),
            batch: Some(match family {
                Family::Small => 128,
                Family::Large => 256,
                Family::Generated => 32,
            }),
            test_batch: Some(if large { 256 } else { 100 }),
            lr: Some(if real { 0.1 } else { 0.05 }),
            schedule: text(if real { "step" } else { "one-cycle" }),
            milestones: Some(match large {
                true => vec![epochs / 3, epochs * 2 / 3],
                false => vec![epochs / 2, epochs * 3 / 4],
            }),
            gamma: Some(0.1),
            rise: Some(0.3),
            power: Some(0.9),
            warmup_epochs: Some(0.0),
            momentum: Some(0.9),
            nesterov: Some(false),
            weight_decay: Some(if large { 1e-4 } else { 5e-4 }),
            label_smoothing: Some(0.0),
            augment: text(match family {
                Family::Small => "crop-flip",
                Family::Large => "resized-crop",
                Family::Generated => "none",
            }),
            seed: Some(0),
            device: text("auto"),
            dtype: text("f32"),
            workers: Some(1),
            graph: text("on"),
            checkpoint_every: Some(300.0),
            ..Settings::default()
        };
        self.or(defaults)
    }

    /// What identifies a run: a hash of everything that changes its numbers.
    pub fn fingerprint(&self) -> Result<String> {
        let numbers = Settings {
            workers: None,
            graph: None,
            checkpoint_every: None,
            root: None,
            ..self.clone()
        };
        Ok(crate::train::hex(&Sha256::digest(
            numbers.to_toml()?.as_bytes(),
        )))
    }

    /// Which spatial information is removed.
    ///
    /// # Errors
    /// [`Error::Setting`] names the value that is not known.
    pub fn plan(&self) -> Result<Plan> {
        let default = Plan::default();
        Ok(Plan {
            remove: parse(&self.remove)?.unwrap_or(default.remove),
            cut: self.cut.unwrap_or(default.cut),
            last: self.last,
            layers: parse(&self.layers)?.unwrap_or(default.layers),
            mode: parse(&self.mode)?.unwrap_or(default.mode),
            test_mode: parse(&self.test_mode)?,
            when: parse(&self.when)?.unwrap_or(default.when),
            scope: parse(&self.scope)?.unwrap_or(default.scope),
            derange: self.derange.unwrap_or(false),
            pool: parse(&self.pool)?,
            conv_bias: self.conv_bias,
        })
    }

    /// How the network is trained. The settings must be complete.
    ///
    /// # Errors
    /// [`Error::Setting`] names the value that cannot be used.
    pub fn recipe(&self) -> Result<Recipe> {
        let decay = match need("schedule", &self.schedule)?.as_str() {
            "constant" => Decay::Constant,
            "step" => Decay::Step {
                milestones: need("milestones", &self.milestones)?,
                gamma: need("gamma", &self.gamma)?,
            },
            "one-cycle" => Decay::OneCycle {
                rise: need("rise", &self.rise)?,
            },
            "poly" => Decay::Poly {
                power: need("power", &self.power)?,
            },
            other => {
                let why = "expected one of step one-cycle poly constant";
                return Err(Error::setting("schedule", other, why));
            }
        };
        let within = |name: &str, value: f64, range: std::ops::RangeInclusive<f64>| {
            let why = format!("expected {} to {}", range.start(), range.end());
            let ok = range.contains(&value);
            ok.then_some(value)
                .ok_or_else(|| Error::setting(name, value, why))
        };
        let seconds = within(
            "checkpoint-every",
            need("checkpoint-every", &self.checkpoint_every)?,
            0.0..=1e9,
        )?;
        if self.epochs == Some(0) {
            return Err(Error::setting("epochs", 0, "expected at least one epoch"));
        }
        if self.limit_batches == Some(0) {
            return Err(Error::setting(
                "limit-batches",
                0,
                "expected at least one batch",
            ));
        }
        Ok(Recipe {
            epochs: need("epochs", &self.epochs)?,
            lr: need("lr", &self.lr)?,
            decay,
            warmup_epochs: within(
                "warmup-epochs",
                need("warmup-epochs", &self.warmup_epochs)?,
                0.0..=1e6,
            )?,
            momentum: within("momentum", need("momentum", &self.momentum)?, 0.0..=1.0)?,
            nesterov: self.nesterov.unwrap_or(false),
            weight_decay: within(
                "weight-decay",
                need("weight-decay", &self.weight_decay)?,
                0.0..=1.0,
            )?,
            label_smoothing: within(
                "label-smoothing",
                self.label_smoothing.unwrap_or(0.0),
                0.0..=1.0,
            )?,
            seed: need("seed", &self.seed)?,
            limit_batches: self.limit_batches,
            checkpoint_every: Duration::from_secs_f64(seconds),
            graph: match self.graph.as_deref() {
                None | Some("on") => true,
                Some("off") => false,
                Some(other) => return Err(Error::setting("graph", other, "expected on or off")),
            },
        })
    }

    /// How the data set is opened; `count` images of a generated one.
    pub fn open_options(&self, count: Option<usize>) -> OpenOptions {
        OpenOptions {
            root: self.root.clone(),
            allow_partial: self.partial.unwrap_or(false),
            skip_damaged: self.skip_damaged.unwrap_or(false),
            size: self.size,
            classes: self.classes,
            count,
            seed: 0,
        }
    }

    /// The augmentation.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown name.
    pub fn augmentation(&self) -> Result<Augment> {
        Ok(parse(&self.augment)?.unwrap_or_default())
    }
}

/// A setting that must be there once the settings are complete.
pub(super) fn need<T: Clone>(name: &str, value: &Option<T>) -> Result<T> {
    value
        .clone()
        .ok_or_else(|| Error::setting(name, "", "this setting is missing"))
}

fn parse<T: std::str::FromStr<Err = Error>>(name: &Option<String>) -> Result<Option<T>> {
    name.as_deref().map(str::parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let flags = Settings {
            lr: Some(0.3),
            ..Settings::default()
        };
        let read = |text: &str| Settings::from_toml(text, Path::new("c.toml")).unwrap();
        let file = read("data = \"layout\"\nlr = 0.2\nepochs = 4\n");
        let all = flags.or(file).complete();
        assert_eq!(
            (all.lr, all.epochs, all.batch),
            (Some(0.3), Some(4), Some(32))
        );
        assert_eq!(all.milestones, Some(vec![2, 3]));
        assert_eq!(read(&all.to_toml().unwrap()), all);
    }

    #[test]
    fn the_paper_recipe_is_the_default() {
        let recipe = Settings::default().complete().recipe().unwrap();
        assert_eq!((recipe.epochs, recipe.lr, recipe.momentum), (300, 0.1, 0.9));
        assert_eq!((recipe.weight_decay, recipe.nesterov), (5e-4, false));
        let milestones = vec![150, 225];
        assert_eq!(
            recipe.decay,
            Decay::Step {
                milestones,
                gamma: 0.1
            }
        );
    }

    #[test]
    fn imagenet_has_a_recipe_of_its_own() {
        let settings = Settings {
            data: Some("imagenet".into()),
            ..Settings::default()
        };
        let all = settings.complete();
        assert_eq!((all.epochs, all.batch), (Some(90), Some(256)));
        assert_eq!(
            (all.milestones.clone(), all.weight_decay),
            (Some(vec![30, 60]), Some(1e-4))
        );
        assert_eq!(all.augmentation().unwrap(), Augment::IMAGENET);
        let small = Settings {
            data: Some("small-imagenet32".into()),
            ..Settings::default()
        };
        assert_eq!(small.complete().augmentation().unwrap(), Augment::CIFAR);
    }

    #[test]
    fn unknown_names_newer_files_and_bad_values_are_refused_by_name() {
        let read = |text: &str| Settings::from_toml(text, Path::new("c.toml"));
        let refused = |text: &str| read(text).unwrap_err().to_string();
        assert!(refused("\nepoch = 3").starts_with("c.toml: line 2: unknown field `epoch`"));
        assert!(refused("version = 2").starts_with("c.toml: version = 2"));
        assert!(refused("lr = \"fast\"").starts_with("c.toml: line 1: invalid type: string"));
        for (text, name) in [
            ("schedule = \"cosine\"", "schedule"),
            ("momentum = 1.5", "momentum"),
            ("limit-batches = 0", "limit-batches"),
        ] {
            let settings = read(text).unwrap().complete();
            assert!(settings.recipe().unwrap_err().to_string().contains(name));
        }
        let settings = read("remove = \"blur\"").unwrap();
        assert!(settings.plan().unwrap_err().to_string().contains("blur"));
    }

    #[test]
    fn the_fingerprint_ignores_what_changes_no_number() {
        let base = Settings::default().complete();
        let same = Settings {
            workers: Some(7),
            ..base.clone()
        };
        let other = Settings {
            seed: Some(7),
            ..base.clone()
        };
        assert_eq!(base.fingerprint().unwrap(), same.fingerprint().unwrap());
        assert_ne!(base.fingerprint().unwrap(), other.fingerprint().unwrap());
    }
}
