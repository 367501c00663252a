//! The one error type of the crate.
//!
//! Every variant names what is at fault (file, layer, shape, key, flag) and, where a person can act
//! on it, says what to do. The library never panics or exits on input.

use std::path::{Path, PathBuf};

use crate::device::Device;
use crate::tensor::{DType, Shape};

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are what the messages print
pub enum Error {
    /// Operand shapes an operation cannot work on.
    #[error("{op}: {what}")]
    Shape { op: &'static str, what: String },

    /// An operand has a dtype the operation does not take.
    #[error("{op}: expected {expected}, found {found}")]
    DType {
        op: &'static str,
        expected: &'static str,
        found: DType,
    },

    /// A buffer whose length does not match its shape.
    #[error("a tensor of shape {shape} holds {expected} elements, but {found} were given")]
    Length {
        shape: Shape,
        expected: usize,
        found: usize,
    },

    /// Something went wrong inside a named layer.
    #[error("layer {layer}: {source}")]
    Layer {
        layer: String,
        #[source]
        source: Box<Error>,
    },

    /// A tensor was to be changed in place while somebody else still holds it.
    #[error(
        "in-place update of {what} while a tape still holds it: \
         run `backward` (or drop the tape) before the update"
    )]
    InPlace { what: String },

    /// `backward` was called a second time on one tape.
    #[error(
        "backward was already run on this tape and its saved tensors are freed: \
         record a new forward pass on a new tape"
    )]
    BackwardTwice,

    /// A value was used with another tape than the one it was recorded on.
    #[error("this value was not recorded on this tape ({what})")]
    ForeignVar { what: &'static str },

    /// A loss or gradient stopped being a finite number.
    #[error("{what} is not finite at {place}: first seen in {layer}. {advice}")]
    NotFinite {
        what: &'static str,
        place: String,
        layer: String,
        advice: &'static str,
    },

    /// A device that is not there, or was not built in.
    #[error("device {device} is not available: {why}")]
    Device { device: String, why: String },

    /// A tensor whose memory only its device can read.
    #[error("the host cannot read a tensor on {device}: copy it with `to_device(Device::Cpu)`")]
    Unreadable { device: Device },

    /// A device without room for a buffer.
    #[error(
        "out of memory on {device}: a buffer of {} was asked for, tensors use {}{}",
        size(*asked),
        size(*in_use),
        free.map_or(String::new(), |free| format!(", {} are free", size(free)))
    )]
    OutOfMemory {
        device: Device,
        asked: usize,
        in_use: usize,
        free: Option<usize>,
    },

    /// A kernel that failed, or was stopped at a mistake.
    #[error("kernel {launch}: {what}")]
    Kernel { launch: String, what: String },

    /// A name, flag or setting with a value that cannot be used.
    #[error("{name} = {value}: {why}")]
    Setting {
        name: String,
        value: String,
        why: String,
    },

    /// A file that does not hold what it should.
    #[error("{}: {what}", path.display())]
    File { path: PathBuf, what: String },

    /// One image of a data set could not be loaded.
    #[error("sample {index} of {dataset}: {what}")]
    Sample {
        dataset: String,
        index: usize,
        what: String,
    },

    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: std::io::Error,
    },

    /// Ctrl-C: the step was finished and the state saved.
    #[error("interrupted; {how_to_resume}")]
    Interrupted { how_to_resume: String },
}

/// A number of bytes as people say it: "3.2 GiB".
fn size(bytes: usize) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let step = (bytes.max(1).ilog2() / 10).min(4);
    match step {
        0 => format!("{bytes} bytes"),
        _ => format!(
            "{:.1} {}",
            bytes as f64 / 1024f64.powi(step as i32),
            units[step as usize]
        ),
    }
}

impl Error {
    /// A shape error of operation `op`.
    pub fn shape(op: &'static str, what: impl Into<String>) -> Self {
        Error::Shape {
            op,
            what: what.into(),
        }
    }

    /// A setting (flag, config key, argument) that cannot be used.
    pub fn setting(
        name: impl Into<String>,
        value: impl std::fmt::Display,
        why: impl Into<String>,
    ) -> Self {
        Error::Setting {
            name: name.into(),
            value: value.to_string(),
            why: why.into(),
        }
    }

    /// A file whose content is not what it should be.
    pub fn file(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Error::File {
            path: path.as_ref().to_owned(),
            what: what.into(),
        }
    }

    /// For `map_err`: an I/O error with the path and what was being done ("read", "create", …).
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io {
            path,
            action,
            source,
        }
    }

    /// The same error, said of a named layer (the innermost name is kept).
    pub fn in_layer(self, layer: &str) -> Self {
        match self {
            Error::Layer { .. } => self,
            other if layer.is_empty() => other,
            other => Error::Layer {
                layer: layer.to_owned(),
                source: Box::new(other),
            },
        }
    }
}
