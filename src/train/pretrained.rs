//! Weights that others trained, and ours for others: safetensors files under torchvision's or timm's
//! names ([`crate::models::names`]).
//!
//! | here | there |
//! | --- | --- |
//! | filters (O, H, W, I) | (O, I, H, W) |
//! | first layer of a head that reads a map (O, H, W, I) | (O, I·H·W) in torchvision, (O, I, H, W) in timm |
//! | fully connected (O, I) | (O, I), or (O, I, 1, 1) in timm |
//! | nothing | `num_batches_tracked`, which is ignored, and written as 0 |
//!
//! Half-precision files are widened. A prefix `module.` (PyTorch's wrapper for several GPUs) is taken off.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;

use super::files::{Stored, parse, read_tensor, write_stored};
use crate::device::Device;
use crate::models::names::{Names, Naming, recognise};
use crate::models::{Architecture, Network};
use crate::tensor::{DType, Element, Real, Shape, Tensor};
use crate::{Error, Result, with_real};

/// What was found in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whose names the file uses.
    pub naming: Naming,
    /// Tensors that were loaded.
    pub loaded: usize,
    /// Tensors of the head that keep their first values, as asked, with the reason.
    pub new: Vec<String>,
    /// Tensors that were left in the file because they carry no weights.
    pub ignored: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors under {} names", self.loaded, self.naming)?;
        match self.new.is_empty() {
            true => Ok(()),
            false => write!(f, "; a new head: {}", self.new.join(", ")),
        }
    }
}

/// The model and the number of classes of a file under torchvision's or timm's names, if it is one
/// this crate knows.
///
/// # Errors
/// [`Error::File`] where it is no whole safetensors file.
pub fn model_of(path: &Path) -> Result<Option<(String, usize)>> {
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    Ok(recognise(&listed(&parse(path, &bytes)?)))
}

/// Loads a file's weights into a network of `architecture`, whatever its names.
///
/// With `new_head`, tensors of the head that the file lacks or has in another shape (another number of
/// classes) keep their values.
///
/// # Errors
/// [`Error::File`] lists what is missing, unexpected and misshapen, and which model the file looks
/// like; it names a tensor with NaN or infinity in it. The network is then unchanged.
pub fn load(
    path: &Path,
    architecture: &Architecture,
    network: &mut Network,
    new_head: bool,
) -> Result<Report> {
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    let file = parse(path, &bytes)?;
    let there = listed(&file);
    let has = |name: &str| there.iter().any(|(known, _)| known == name);
    let entries = network.store.entries();
    let hits = |naming: Naming| {
        let names = Names::of(architecture, naming);
        let known = entries.iter().filter_map(|e| names.tensor(&e.name));
        known.filter(|name| has(name)).count()
    };
    let counted = Naming::ALL.map(|naming| (naming, hits(naming)));
    // The first of equals: torchvision's and timm's ResNets are called the same.
    let (naming, most) = counted
        .into_iter()
        .rev()
        .max_by_key(|&(_, n)| n)
        .unwrap_or(counted[0]);
    let looks = match recognise(&there) {
        Some((model, classes)) => format!("; it looks like {model} with {classes} classes"),
        None => String::new(),
    };
    if most == 0 {
        let first = there.first().map_or("nothing", |(name, _)| name);
        let what = format!(
            "no tensor of it belongs to {} (the first is called {first}){looks}",
            architecture.name
        );
        return Err(Error::file(path, what));
    }
    let names = Names::of(architecture, naming);
    let (mut values, mut new, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let mut used = BTreeSet::new();
    for (slot, entry) in network.store.slots().zip(entries) {
        let replaceable = new_head && entry.name.starts_with("head");
        let name = names
            .tensor(&entry.name)
            .unwrap_or_else(|| entry.name.clone());
        let problem = if has(&name) {
            let found = read_tensor(path, &file, &stored_name(&file, &name))?;
            let shape = found.shape().clone();
            used.insert(name.clone());
            match arrange(
                found,
                entry.shape.dims(),
                naming,
                network.store.value_dtype(),
            )? {
                Some(value) => {
                    expect_finite(path, &name, &value)?;
                    values.push((slot, value));
                    continue;
                }
                None => format!("{name} is {shape}, here {}", theirs(&entry.shape, naming)),
            }
        } else {
            format!("{name} is missing")
        };
        match replaceable {
            true => new.push(problem),
            false => wrong.push(problem),
        }
    }
    let rest = there.iter().filter(|(name, _)| !used.contains(name));
    let (ignored, unexpected): (Vec<_>, Vec<_>) = rest.partition(|(name, _)| no_weights(name));
    wrong.extend(
        unexpected
            .iter()
            .map(|(name, _)| format!("{name} is unexpected")),
    );
    if !wrong.is_empty() {
        const SHOWN: usize = 8;
        let more = wrong.len().saturating_sub(SHOWN);
        wrong.truncate(SHOWN);
        let more = if more > 0 {
            format!(", and {more} more")
        } else {
            String::new()
        };
        let what = format!(
            "the weights do not fit {} with {} classes: {}{more}{looks}",
            architecture.name,
            architecture.classes,
            wrong.join(", ")
        );
        return Err(Error::file(path, what));
    }
    let (loaded, device) = (values.len(), network.store.device());
    for (slot, value) in values {
        network.store.set(slot, value.to_device(device)?)?;
    }
    Ok(Report {
        naming,
        loaded,
        new,
        ignored: ignored.len(),
    })
}

/// Names and extents of a network's tensors under `naming`, in the network's order.
///
/// # Errors
/// [`Error::Setting`] names a tensor that has no name there, because an intervention made it.
pub fn tensors(
    architecture: &Architecture,
    network: &Network,
    naming: Naming,
) -> Result<Vec<(String, Vec<usize>)>> {
    let names = Names::of(architecture, naming);
    let entries = network.store.entries().iter();
    entries
        .map(|entry| {
            let name = names.tensor(&entry.name).ok_or_else(|| {
                let why = format!("{} has no name there: an intervention made it", entry.name);
                Error::setting("naming", naming, why)
            })?;
            let head = entry.name.starts_with("head");
            let mut extents = extents_there(&entry.shape, naming, head);
            if naming == Naming::Timm && name.starts_with("pre_logits.") && extents.len() == 2 {
                extents.extend([1, 1]);
            }
            Ok((name, extents))
        })
        .collect()
}

/// Writes a network's weights under the names, and in the layout, of `naming`.
///
/// # Errors
/// Those of [`tensors`], and a file that cannot be written.
pub fn save(
    path: &Path,
    architecture: &Architecture,
    network: &Network,
    naming: Naming,
) -> Result<()> {
    let there = tensors(architecture, network, naming)?;
    let mut values = Vec::with_capacity(there.len());
    for (slot, (name, extents)) in network.store.slots().zip(there) {
        let value = network.store.value(slot)?.on_host()?;
        let value = match (naming, value.dims()) {
            (Naming::Torchvision | Naming::Timm, &[o, h, w, i]) => {
                with_real!(value.dtype(), "weights", T => {
                    let moved = to_oihw(value.data::<T>()?, [o, h, w, i]);
                    Tensor::from_slice(extents, &moved, Device::Cpu)?
                })
            }
            _ => value.reshape(extents)?,
        };
        values.push((name, value));
    }
    let is_norm = |name: &str| naming != Naming::Own && name.ends_with(".running_var");
    let norms = values.iter().filter(|(name, _)| is_norm(name));
    let counts: Vec<String> = norms
        .map(|(name, _)| name.replace("running_var", COUNT))
        .collect();
    let mut stored = Vec::new();
    for (name, value) in &values {
        stored.push((&**name, Stored::of(value)?));
    }
    stored.extend(counts.iter().map(|name| (&**name, Stored::count(0))));
    write_stored(path, stored).map(drop)
}

/// What PyTorch's normalisations keep beside their statistics.
const COUNT: &str = "num_batches_tracked";

const WRAPPER: &str = "module.";

/// Names without the wrapper's prefix, and extents, sorted.
fn listed(file: &SafeTensors) -> Vec<(String, Vec<usize>)> {
    let mut tensors: Vec<_> = file
        .iter()
        .map(|(name, view)| {
            let name = name.strip_prefix(WRAPPER).unwrap_or(name);
            (name.to_owned(), view.shape().to_vec())
        })
        .collect();
    tensors.sort();
    tensors
}

fn stored_name(file: &SafeTensors, name: &str) -> String {
    match file.tensor(name) {
        Ok(_) => name.to_owned(),
        Err(_) => format!("{WRAPPER}{name}"),
    }
}

fn no_weights(name: &str) -> bool {
    name.ends_with(COUNT) || name.starts_with("velocity:")
}

/// How a tensor of ours is shaped there, in words.
fn theirs(own: &Shape, naming: Naming) -> String {
    Shape::from(extents_there(own, naming, false)).to_string()
}

/// How a tensor of ours is shaped there; `head`: it belongs to the head.
fn extents_there(own: &Shape, naming: Naming, head: bool) -> Vec<usize> {
    match (naming, own.dims()) {
        (Naming::Torchvision, &[o, h, w, i]) if head => vec![o, i * h * w],
        (Naming::Torchvision | Naming::Timm, &[o, h, w, i]) => vec![o, i, h, w],
        (_, dims) => dims.to_vec(),
    }
}

/// A file's tensor in our layout and dtype; `None` where its extents do not fit.
fn arrange(found: Tensor, own: &[usize], naming: Naming, dtype: DType) -> Result<Option<Tensor>> {
    let fits = match (naming, own, found.dims()) {
        (Naming::Own, own, there) => own == there,
        (_, &[o, h, w, i], &[a, b, c, d]) => [o, i, h, w] == [a, b, c, d],
        (_, &[o, h, w, i], &[a, b]) => [o, i * h * w] == [a, b],
        (_, &[o, i], &[a, b, 1, 1]) => [o, i] == [a, b],
        (_, own, there) => own == there,
    };
    if !fits {
        return Ok(None);
    }
    let found = found.cast(dtype)?;
    Ok(Some(match (naming, own) {
        (Naming::Torchvision | Naming::Timm, &[o, h, w, i]) => {
            with_real!(dtype, "weights", T => {
                Tensor::from_slice(own, &to_ohwi(found.data::<T>()?, [o, h, w, i]), Device::Cpu)?
            })
        }
        _ => found.reshape(own)?,
    }))
}

fn to_ohwi<T: Element>(oihw: &[T], [o, h, w, i]: [usize; 4]) -> Vec<T> {
    let mut ohwi = Vec::with_capacity(oihw.len());
    for o in 0..o {
        for cell in 0..h * w {
            ohwi.extend((0..i).map(|i_| oihw[(o * i + i_) * h * w + cell]));
        }
    }
    ohwi
}

fn to_oihw<T: Element>(ohwi: &[T], [o, h, w, i]: [usize; 4]) -> Vec<T> {
    let mut oihw = Vec::with_capacity(ohwi.len());
    for o in 0..o {
        for i_ in 0..i {
            oihw.extend((0..h * w).map(|cell| ohwi[(o * h * w + cell) * i + i_]));
        }
    }
    oihw
}

fn expect_finite(path: &Path, name: &str, value: &Tensor) -> Result<()> {
    fn wrong<T: Real>(values: &[T]) -> usize {
        values.iter().filter(|v| !v.is_finite()).count()
    }
    let wrong = with_real!(value.dtype(), "weights", T => wrong::<T>(value.data()?));
    match wrong {
        0 => Ok(()),
        _ => {
            let what = format!(
                "{wrong} of the {} numbers of {name} are NaN or infinite",
                value.len()
            );
            Err(Error::file(path, what))
        }
    }
}
