//! One training run and its folder.
//!
//! The folder holds `config.toml` (the complete settings), `env.json` (program, machine, data),
//! `metrics.csv` and `metrics.jsonl` (a row per epoch), `summary.json` (when finished),
//! `best.safetensors`, `last.safetensors`, `loss.svg`, `accuracy.svg`, and the checkpoint. Every file is replaced as a whole, so
//! a run that dies at any instant leaves a folder it can go on from.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::plot;
use super::precision::Precision;
use super::settings::{Settings, need};
use crate::data::{self, Augment, Dataset, Loader, LoaderOptions, Split, Subset};
use crate::device::Device;
use crate::models::{Architecture, Network};
use crate::nn::Layer;
use crate::train::pretrained;
use crate::train::{
    Checkpoint, Ending, EpochRecord, Observer, Progress, Trainer, load_weights, save_weights,
    ten_passes, write_atomically,
};
use crate::{Error, Result};

/// What a finished run found; `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Network.
    pub model: String,
    /// Data set.
    pub data: String,
    /// What was taken away.
    pub remove: String,
    /// What a shuffle moved.
    pub mode: String,
    /// First treated layer.
    pub cut: u32,
    /// Share of the layers that were treated.
    pub replaced_share: f64,
    /// log₂ of the number of arrangements made equal, summed over the treated layers.
    pub bits_destroyed: f64,
    /// Numbers it was computed in.
    #[serde(default = "single")]
    pub dtype: String,
    /// Seed.
    pub seed: u64,
    /// Epochs.
    pub epochs: u32,
    /// Steps.
    pub steps: u64,
    /// Trained numbers.
    pub parameters: u64,
    /// Multiply-adds of one image.
    pub macs: u64,
    /// Test accuracy after the last epoch (one pass), 0 to 1.
    pub test_accuracy_last: f64,
    /// Test accuracy after the best epoch (one pass): selected on the test set, as the papers report.
    pub test_accuracy_best: f64,
    /// Which epoch that was.
    pub best_epoch: u32,
    /// Mean of ten test passes of the best epoch's weights, with fresh permutations each.
    pub test_accuracy_mean10: f64,
    /// Their sample standard deviation.
    pub test_accuracy_std10: f64,
    /// Training accuracy over the last epoch.
    pub train_accuracy_last: f64,
    /// Seconds of all epochs.
    pub seconds: f64,
}

/// Summaries written before there was a choice.
fn single() -> String {
    "f32".into()
}

/// A run that was checked and is ready to start.
pub struct Run {
    settings: Settings,
    architecture: Architecture,
    network: Network,
    replaced_share: f64,
}

impl Run {
    /// Checks settings and builds the network (without values), touching no data and no folder.
    ///
    /// # Errors
    /// [`Error::Setting`] names what cannot be used.
    pub fn new(mut settings: Settings) -> Result<Self> {
        if let (None, Some(file)) = (&settings.model, &settings.pretrained) {
            let (model, _) = pretrained::model_of(file)?.ok_or_else(|| {
                let what = "which model these weights are of cannot be told: give --model";
                Error::file(file, what)
            })?;
            settings.model = Some(model);
        }
        let settings = settings.complete();
        settings.recipe()?.schedule(1)?;
        settings.augmentation()?;
        for (name, count) in [
            ("train-images", settings.train_images),
            ("test-images", settings.test_images),
            ("batch", settings.batch),
            ("test-batch", settings.test_batch),
        ] {
            if count == Some(0) {
                return Err(Error::setting(name, 0, "expected at least one image"));
            }
        }
        let device: Device = need("device", &settings.device)?.parse()?;
        device.check()?;
        let dtype = need("dtype", &settings.dtype)?;
        dtype.parse::<Precision>()?.check(&dtype, device)?;
        let name = need("data", &settings.data)?;
        let (image, classes) = data::describe(&name, &settings.open_options(None))?;
        let width = need("width", &settings.width)?;
        let model = need("model", &settings.model)?;
        let architecture = Architecture::by_name(&model, image, classes, width)?;
        let plan = settings.plan()?;
        Ok(Run {
            network: plan.apply(&architecture)?,
            replaced_share: plan.replaced_share(&architecture)?,
            architecture,
            settings,
        })
    }

    /// The complete settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The network before anything is done to it.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network with the weights of `file`, or with first values.
    ///
    /// # Errors
    /// A file that does not fit the network ([`pretrained::load`]).
    pub fn into_network(mut self, file: Option<&Path>) -> Result<Network> {
        self.initialise()?;
        if let Some(file) = file {
            self.load(file)?;
        }
        Ok(self.network)
    }

    fn load(&mut self, file: &Path) -> Result<()> {
        let new_head = self.settings.new_head.unwrap_or(false);
        let loaded = pretrained::load(file, &self.architecture, &mut self.network, new_head)?;
        tracing::info!("{}: {loaded}", file.display());
        Ok(())
    }

    fn initialise(&mut self) -> Result<()> {
        let settings = &self.settings;
        let device = need("device", &settings.device)?.parse()?;
        let precision: Precision = need("dtype", &settings.dtype)?.parse()?;
        precision.prepare();
        let seed = need("seed", &settings.seed)?;
        self.network.initialise(seed, precision.dtype(), device)
    }

    /// Trains into `folder`, or goes on there if `resume`. `None` when asked to stop before the end.
    ///
    /// # Errors
    /// A folder in use or with another run in it, and everything that can be wrong with the data.
    pub fn train(
        mut self,
        folder: &Path,
        resume: bool,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Option<RunSummary>> {
        self.check_folder(folder, resume)?;
        let [train, test] = self.loaders()?;
        self.check_smallest_batch(&train)?;
        let _lock = Lock::take(folder)?;
        // Once more: another run may have begun here while the data was read.
        self.check_folder(folder, resume)?;
        let config = self.settings.to_toml()?;
        write_atomically(&folder.join("config.toml"), config.as_bytes())?;
        let env = Environment::of(&self.settings, [train.dataset(), test.dataset()])?;
        let path = folder.join("env.json");
        write_json(&path, &env.continuing(&path))?;
        let recipe = self.settings.recipe()?;
        self.initialise()?;
        // A run that goes on has its weights in its checkpoint.
        if let Some(file) = self.settings.pretrained.clone()
            && !Checkpoint::in_folder(folder.join("checkpoint")).exists()
        {
            self.load(&file)?;
        }
        let fingerprint = self.settings.fingerprint()?;
        let limit = recipe.limit_batches;
        let seed = recipe.seed;
        let loaders = [&train, &test];
        let mut trainer = Trainer::new(
            &mut self.network,
            loaders,
            recipe,
            folder,
            &fingerprint,
            stop,
        )?;
        let mut log = MetricsLog {
            folder: folder.to_owned(),
            history: trainer.history().to_vec(),
            inner: observer,
            failed: None,
        };
        log.write();
        let ending = trainer.run(&mut log)?;
        if let Some(error) = log.failed {
            return Err(error);
        }
        if ending == Ending::Stopped {
            return Ok(None);
        }
        let history = trainer.history().to_vec();
        let summary = self.summarise(folder, &test, &history, seed, limit)?;
        for (name, plot) in [
            ("loss.svg", plot::losses(&history)?),
            ("accuracy.svg", plot::accuracies(&history)?),
        ] {
            write_atomically(&folder.join(name), plot.as_bytes())?;
        }
        // Last: a folder with a summary is a finished run.
        write_json(&folder.join("summary.json"), &summary)?;
        Ok(Some(summary))
    }

    fn summarise(
        &mut self,
        folder: &Path,
        test: &Loader,
        history: &[EpochRecord],
        seed: u64,
        limit: Option<usize>,
    ) -> Result<RunSummary> {
        save_weights(&folder.join("last.safetensors"), &self.network.store)?;
        let first_best = |a: &&EpochRecord, b: &&EpochRecord| {
            a.test_accuracy
                .total_cmp(&b.test_accuracy)
                .then(b.epoch.cmp(&a.epoch))
        };
        let (Some(last), Some(best)) = (history.last(), history.iter().max_by(first_best)) else {
            return Err(Error::setting("epochs", 0, "expected at least one epoch"));
        };
        load_weights(&folder.join("best.safetensors"), &mut self.network.store)?;
        let (mean10, std10) = match self.network.is_random_in_test() {
            true => ten_passes(&mut self.network, test, seed, limit)?,
            false => (best.test_accuracy, 0.0),
        };
        let settings = &self.settings;
        Ok(RunSummary {
            model: need("model", &settings.model)?,
            data: need("data", &settings.data)?,
            remove: need("remove", &settings.remove)?,
            mode: need("mode", &settings.mode)?,
            cut: need("cut", &settings.cut)?,
            replaced_share: self.replaced_share,
            bits_destroyed: self.network.summary()?.bits(),
            dtype: need("dtype", &settings.dtype)?,
            seed,
            epochs: last.epoch,
            steps: last.steps,
            parameters: self.network.parameters(),
            macs: self.network.macs()?,
            test_accuracy_last: last.test_accuracy,
            test_accuracy_best: best.test_accuracy,
            best_epoch: best.epoch,
            test_accuracy_mean10: mean10,
            test_accuracy_std10: std10,
            train_accuracy_last: last.train_accuracy,
            seconds: history.iter().map(|r| r.seconds).sum(),
        })
    }

    /// A folder holds no run yet, or this one.
    fn check_folder(&self, folder: &Path, resume: bool) -> Result<()> {
        let config = folder.join("config.toml");
        if config.exists() {
            if !resume {
                let what = "this folder already holds a run: add --resume to go on with it, or \
                            choose another --out";
                return Err(Error::file(folder, what));
            }
            let there = read_settings(&config)?;
            if there.fingerprint()? != self.settings.fingerprint()? {
                let what = "the run in this folder has other settings: leave the flags away to go \
                            on with it, or choose another --out";
                return Err(Error::file(&config, what));
            }
        }
        Ok(())
    }

    /// One value has no variance: said before training rather than at the batch that comes to it.
    fn check_smallest_batch(&self, train: &Loader) -> Result<()> {
        let (images, batch) = (train.dataset().len(), train.options().batch);
        let limit = self.settings.limit_batches.unwrap_or(usize::MAX);
        let last = match images % batch {
            0 => batch,
            _ if limit < train.batches() => batch,
            rest => rest,
        };
        if last > 1 {
            return Ok(());
        }
        let mut refused = None;
        self.network.visit(|stage, layer, input| {
            let norm = matches!(layer, Layer::BatchNorm(_));
            if norm && input.len() == input.channels() && refused.is_none() {
                let why = format!(
                    "of {images} images the last batch holds one, and layer {} cannot normalise a \
                     single value per channel: choose a batch that leaves more",
                    stage.name
                );
                refused = Some(Error::setting("batch", batch, why));
            }
        })?;
        refused.map_or(Ok(()), Err)
    }

    /// Loaders of the training and the test set.
    pub fn loaders(&self) -> Result<[Loader; 2]> {
        let settings = &self.settings;
        let name = need("data", &settings.data)?;
        let open = |split, count: Option<usize>| -> Result<Arc<dyn Dataset>> {
            let set = data::open(&name, split, &settings.open_options(count))?;
            match count {
                Some(count) if count != set.len() => Ok(Arc::new(Subset::first(set, count)?)),
                _ => Ok(set),
            }
        };
        let options = |batch, augment, shuffle| -> Result<LoaderOptions> {
            Ok(LoaderOptions {
                batch,
                shuffle,
                seed: need("seed", &settings.seed)?,
                augment,
                workers: need("workers", &settings.workers)?,
                ..LoaderOptions::default()
            })
        };
        let train = open(Split::Train, settings.train_images)?;
        let test = open(Split::Test, settings.test_images)?;
        let test_batch = need("test-batch", &settings.test_batch)?.min(test.len().max(1));
        let augment = settings.augmentation()?;
        Ok([
            Loader::new(
                train,
                options(need("batch", &settings.batch)?, augment, true)?,
            )?,
            Loader::new(test, options(test_batch, Augment::None, false)?)?,
        ])
    }
}

/// A folder that only this process writes to, while the value lives.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Creates the folder if need be, and locks it.
    pub fn take(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        let path = folder.join("lock");
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let what = "another run is using this folder: wait for it, or choose another --out";
                Err(Error::file(folder, what))
            }
            Err(TryLockError::Error(source)) => Err(Error::io(&path, "lock")(source)),
        }
    }
}

/// The settings in a run folder.
pub fn read_settings(config: &Path) -> Result<Settings> {
    let text = fs::read_to_string(config).map_err(Error::io(config, "read"))?;
    Settings::from_toml(&text, config)
}

/// The summary in a run folder; `None` if the run is not finished.
pub fn read_summary(folder: &Path) -> Result<Option<RunSummary>> {
    let path = folder.join("summary.json");
    if !path.exists() {
        return Ok(None);
    }
    read_json(&path).map(Some)
}

/// Reads a JSON file of this program.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::file(path, format!("not what this program writes here: {e}")))
}

/// The epochs of a run folder, from its `metrics.jsonl`.
pub fn read_history(folder: &Path) -> Result<Vec<EpochRecord>> {
    let path = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
    let rows = text.lines().map(serde_json::from_str);
    rows.collect::<Result<_, _>>()
        .map_err(|e| Error::file(&path, format!("not a row of metrics: {e}")))
}

/// Writes a value as indented JSON, atomically.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::file(path, e.to_string()))?;
    write_atomically(path, (text + "\n").as_bytes())
}

/// Keeps `metrics.csv` and `metrics.jsonl` up to date, and passes everything on.
struct MetricsLog<'a> {
    folder: PathBuf,
    history: Vec<EpochRecord>,
    inner: &'a mut dyn Observer,
    failed: Option<Error>,
}

impl MetricsLog<'_> {
    fn write(&mut self) {
        self.failed = self.try_write().err().or(self.failed.take());
    }

    fn try_write(&self) -> Result<()> {
        let mut csv = String::from(
            "epoch,steps,lr,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second\n",
        );
        let mut lines = String::new();
        for r in &self.history {
            csv += &format!(
                "{},{},{},{},{},{},{},{:.3},{:.1}\n",
                r.epoch,
                r.steps,
                r.lr,
                r.train_loss,
                r.train_accuracy,
                r.test_loss,
                r.test_accuracy,
                r.seconds,
                r.images_per_second
            );
            let path = || self.folder.join("metrics.jsonl");
            lines += &serde_json::to_string(r).map_err(|e| Error::file(path(), e.to_string()))?;
            lines.push('\n');
        }
        write_atomically(&self.folder.join("metrics.csv"), csv.as_bytes())?;
        write_atomically(&self.folder.join("metrics.jsonl"), lines.as_bytes())
    }
}

impl Observer for MetricsLog<'_> {
    fn due(&mut self) -> bool {
        self.inner.due()
    }

    fn step(&mut self, progress: &Progress) {
        self.inner.step(progress);
    }

    fn epoch(&mut self, record: &EpochRecord, progress: &Progress) {
        self.history.push(record.clone());
        self.write();
        self.inner.epoch(record, progress);
    }
}
