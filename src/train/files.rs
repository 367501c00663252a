//! Files that are whole or not there, and tensors in them: safetensors.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as FileDtype, View};
use sha2::{Digest, Sha256};

use crate::device::Device;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// What to do about tensors that do not fit.
pub(super) const OTHER_NETWORK: &str =
    "the file is of another network; give the --model, --width and --data it was trained with";

/// A tensor as `safetensors` writes it.
pub(super) struct Stored<'a> {
    dtype: FileDtype,
    extents: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    /// A tensor of the CPU.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let dtype = match tensor.dtype() {
            DType::F64 => FileDtype::F64,
            DType::F32 => FileDtype::F32,
            DType::F16 => FileDtype::F16,
            DType::BF16 => FileDtype::BF16,
            DType::I32 => FileDtype::I32,
            DType::U8 => FileDtype::U8,
        };
        Ok(Stored {
            dtype,
            extents: tensor.dims().to_vec(),
            bytes: tensor.as_bytes()?.into(),
        })
    }

    /// A count, in a type that tensors do not have.
    pub fn count(value: i64) -> Self {
        Stored {
            dtype: FileDtype::I64,
            extents: Vec::new(),
            bytes: value.to_le_bytes().to_vec().into(),
        }
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> FileDtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.extents
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (&*self.bytes).into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes tensors by name, atomically; gives the file's SHA-256.
pub(super) fn write_stored(path: &Path, tensors: Vec<(&str, Stored)>) -> Result<String> {
    let bytes = safetensors::serialize(tensors, None)
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
