//! Checkpoints: everything a run needs to go on as if it had never stopped.
//!
//! A checkpoint is one safetensors file with all tensors (parameters, running statistics, velocities)
//! and a manifest, `checkpoint.json`, with the counters and the file's name and SHA-256. Random
//! numbers need no state: they are a pure function of (seed, step). Both files are written beside
//! their place, synced and renamed, the manifest last, so that at every instant the folder holds one
//! whole checkpoint: a power cut loses at most the steps since.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::{
    OTHER_NETWORK, Stored, hex, parse, read_tensor, write_atomically, write_stored,
};
use super::{EpochRecord, Scaling, Sgd};
use crate::nn::{Slot, Store};
use crate::tensor::Tensor;
use crate::{Error, Result};

/// The layout of checkpoints; a newer one is refused.
const VERSION: u32 = 1;
const MANIFEST: &str = "checkpoint.json";
const VELOCITY: &str = "velocity:";

/// The counters of a run, and where its tensors are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout version.
    pub version: u32,
    /// File of the tensors, beside the manifest.
    pub tensors: String,
    /// SHA-256 of that file.
    pub sha256: String,
    /// SHA-256 of the run's settings: a checkpoint is only for the run that wrote it.
    pub settings: String,
    /// Steps done.
    pub step: u64,
    /// Epoch the next step belongs to.
    pub epoch: u32,
    /// Batches of that epoch already done.
    pub batch: u32,
    /// Sum of the losses of those batches, each times its samples.
    pub loss_sum: f64,
    /// Right answers on those batches.
    pub correct: u64,
    /// Samples of those batches.
    pub seen: u64,
    /// How far loss scaling is, if there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Finished epochs.
    pub history: Vec<EpochRecord>,
}

/// A folder that holds one checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    folder: PathBuf,
}

impl Checkpoint {
    /// The checkpoint in `folder` (which need not exist yet).
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Checkpoint {
            folder: folder.into(),
        }
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.folder.join(MANIFEST).exists()
    }

    /// Writes a checkpoint in place of the old one.
    pub fn save(&self, store: &Store, sgd: &Sgd, mut manifest: Manifest) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder, "create"))?;
        let name = format!("step-{:08}.safetensors", manifest.step);
        let mut tensors = weights(store)?;
        for (slot, velocity) in sgd.velocities() {
            let name = format!("{VELOCITY}{}", store.entries()[slot.index()].name);
            tensors.push((name, velocity.clone()));
        }
        manifest.version = VERSION;
        manifest.sha256 = write_tensors(&self.folder.join(&name), tensors)?;
        manifest.tensors = name;
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|e| Error::file(self.folder.join(MANIFEST), e.to_string()))?;
        write_atomically(&self.folder.join(MANIFEST), text.as_bytes())?;
        self.remove_others(&manifest.tensors)
    }

    /// Reads the checkpoint into `store` and `sgd`.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged or foreign checkpoint, or one of other settings; the store and
    /// the optimizer are then unchanged.
    pub fn load(&self, store: &mut Store, sgd: &mut Sgd, settings: &str) -> Result<Manifest> {
        let path = self.folder.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
        let version = serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|v| v.get("version")?.as_u64())
            .ok_or_else(|| {
                let what = format!("this is no checkpoint manifest: {}", self.begin_again());
                Error::file(&path, what)
            })?;
        if version != VERSION as u64 {
            let what = format!(
                "checkpoint version {version}, this program reads {VERSION}: use the program that wrote it"
            );
            return Err(Error::file(&path, what));
        }
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| {
            let again = self.begin_again();
            Error::file(&path, format!("damaged checkpoint manifest: {e}; {again}"))
        })?;
        if manifest.settings != settings {
            return Err(Error::file(
                &path,
                "the checkpoint belongs to a run with other settings: use the same settings, or \
                 another --out folder",
            ));
        }
        let path = self.folder.join(&manifest.tensors);
        let bytes = fs::read(&path).map_err(Error::io(&path, "read"))?;
        let found = hex(&Sha256::digest(&bytes));
        if found != manifest.sha256 {
            let what = format!(
                "damaged checkpoint: SHA-256 {found}, the manifest says {}; {}",
                manifest.sha256,
                self.begin_again()
            );
            return Err(Error::file(&path, what));
        }
        let file = parse(&path, &bytes)?;
        let values = matching(&path, &file, store)?;
        let velocities = sgd
            .velocities()
            .iter()
            .map(|(slot, old)| {
                let name = format!("{VELOCITY}{}", store.entries()[slot.index()].name);
                let value = read_tensor(&path, &file, &name)?;
                expect_shape(&path, &name, &value, old)?;
                Ok((*slot, value))
            })
            .collect::<Result<Vec<_>>>()?;
        let device = store.device();
        for (slot, value) in values {
            store.set(slot, value.to_device(device)?)?;
        }
        for (slot, value) in velocities {
            sgd.set_velocity(slot, value.to_device(device)?)?;
        }
        Ok(manifest)
    }

    fn begin_again(&self) -> String {
        let folder = self.folder.display();
        format!("restore it from a copy, or delete {folder} to begin the run again")
    }

    fn remove_others(&self, keep: &str) -> Result<()> {
        let entries = fs::read_dir(&self.folder).map_err(Error::io(&self.folder, "list"))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("step-") && name != keep {
                fs::remove_file(entry.path()).map_err(Error::io(entry.path(), "remove"))?;
            }
        }
        Ok(())
    }
}

/// Writes all parameters and buffers as safetensors (filters as OHWI), atomically.
pub fn save_weights(path: &Path, store: &Store) -> Result<()> {
    write_tensors(path, weights(store)?).map(drop)
}

/// Reads what [`save_weights`] wrote.
///
/// # Errors
/// [`Error::File`] names the missing, foreign or misshapen tensor; the store is then unchanged.
pub fn load_weights(path: &Path, store: &mut Store) -> Result<()> {
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    let file = parse(path, &bytes)?;
    let known = |name: &str| store.entries().iter().any(|e| e.name == name);
    if let Some(foreign) = file
        .names()
        .iter()
        .find(|n| !n.starts_with(VELOCITY) && !known(n))
    {
        let what = format!("this network has no tensor {foreign}: {OTHER_NETWORK}");
        return Err(Error::file(path, what));
    }
    let device = store.device();
    for (slot, value) in matching(path, &file, store)? {
        store.set(slot, value.to_device(device)?)?;
    }
    Ok(())
}

/// The values a file has for all entries of a store, which must be of the same network.
fn matching(path: &Path, file: &SafeTensors, store: &Store) -> Result<Vec<(Slot, Tensor)>> {
    let slots = store.slots().zip(store.entries());
    slots
        .map(|(slot, entry)| {
            let value = read_tensor(path, file, &entry.name)?;
            expect_shape(path, &entry.name, &value, store.value(slot)?)?;
            Ok((slot, value))
        })
        .collect()
}

fn expect_shape(path: &Path, name: &str, found: &Tensor, expected: &Tensor) -> Result<()> {
    if found.shape() == expected.shape() && found.dtype() == expected.dtype() {
        return Ok(());
    }
    let what = format!(
        "{name} has shape {} of {}, the network's has shape {} of {}: {OTHER_NETWORK}",
        found.shape(),
        found.dtype(),
        expected.shape(),
        expected.dtype()
    );
    Err(Error::file(path, what))
}

fn weights(store: &Store) -> Result<Vec<(String, Tensor)>> {
    let slots = store.slots().zip(store.entries());
    slots
        .map(|(slot, entry)| Ok((entry.name.clone(), store.value(slot)?.clone())))
        .collect()
}

fn write_tensors(path: &Path, mut tensors: Vec<(String, Tensor)>) -> Result<String> {
    for (_, tensor) in &mut tensors {
        *tensor = tensor.on_host()?;
    }
    let stored = tensors
        .iter()
        .map(|(name, tensor)| Ok((&**name, Stored::of(tensor)?)));
    write_stored(path, stored.collect::<Result<Vec<_>>>()?)
}
