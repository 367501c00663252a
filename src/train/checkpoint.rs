//! Checkpoints: everything a run needs to go on as if it had never stopped.
//!
//! A checkpoint is one safetensors file with all tensors (parameters, running statistics, velocities)
//! and a manifest, `checkpoint.json`, with the counters and the file's name and SHA-256. Random
//! numbers need no state: they are a pure function of (seed, step). Both files are written beside
//! their place, synced and renamed, the manifest last, so that at every instant the folder holds one
//! whole checkpoint: a power cut loses at most the steps since.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as FileDtype, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{EpochRecord, Scaling, Sgd};
use crate::nn::{Slot, Store};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result, device::Device};

/// The layout of checkpoints; a newer one is refused.
const VERSION: u32 = 1;
const MANIFEST: &str = "checkpoint.json";
const VELOCITY: &str = "velocity:";

/// What to do about tensors that do not fit.
const OTHER_NETWORK: &str =
    "the file is of another network; give the --model, --width and --data it was trained with";

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

/// A tensor as `safetensors` sees it.
struct Stored<'a> {
    tensor: &'a Tensor,
    bytes: &'a [u8],
}

impl View for Stored<'_> {
    fn dtype(&self) -> FileDtype {
        match self.tensor.dtype() {
            DType::F64 => FileDtype::F64,
            DType::F32 => FileDtype::F32,
            DType::F16 => FileDtype::F16,
            DType::BF16 => FileDtype::BF16,
            DType::I32 => FileDtype::I32,
            DType::U8 => FileDtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        self.tensor.dims()
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn write_tensors(path: &Path, mut tensors: Vec<(String, Tensor)>) -> Result<String> {
    for (_, tensor) in &mut tensors {
        *tensor = tensor.on_host()?;
    }
    let mut views = Vec::with_capacity(tensors.len());
    for (name, tensor) in &tensors {
        let bytes = tensor.as_bytes()?;
        views.push((name, Stored { tensor, bytes }));
    }
    let bytes = safetensors::serialize(views, None)
        .map_err(|e| Error::file(path, format!("cannot be written: {e}")))?;
    write_atomically(path, &bytes)?;
    Ok(hex(&Sha256::digest(&bytes)))
}

pub(super) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| Error::file(path, format!("this is no whole safetensors file: {e}")))
}

pub(super) fn read_tensor(path: &Path, file: &SafeTensors, name: &str) -> Result<Tensor> {
    let view = file
        .tensor(name)
        .map_err(|_| Error::file(path, format!("tensor {name} is missing: {OTHER_NETWORK}")))?;
    let dtype = match view.dtype() {
        FileDtype::F64 => DType::F64,
        FileDtype::F32 => DType::F32,
        FileDtype::F16 => DType::F16,
        FileDtype::BF16 => DType::BF16,
        other => {
            let what = format!("tensor {name} holds {other:?}, expected floating-point numbers");
            return Err(Error::file(path, what));
        }
    };
    Tensor::from_bytes(view.shape(), dtype, view.data(), Device::Cpu)
}

/// Writes `bytes` to `path` so that the file is either the old or the new one, whole.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        // The rename itself reaches the disk with the folder; that of a bare name is the current one.
        match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| {
        // A partial file is of no use to anybody; the error that counts is the first one.
        let _ = fs::remove_file(&partial);
        Error::io(path, "write")(source)
    })
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
