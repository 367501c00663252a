//! Small-ImageNet: ImageNet downsampled to 32×32 or 64×64 (Chrabaszcz, Loshchilov, Hutter 2017,
//! arXiv 1707.08819), the files people have.
//!
//! Batches are dictionaries of `data` (u8, images × 3·S², red, green, blue planes), `labels` (1 to
//! 1000) and, to train, `mean`; as pickles (`train_data_batch_1` … `_10`, `val_data`) or `.npz`
//! archives of the same names. Labels count classes in the order of the devkit's `map_clsloc.txt`,
//! which is *not* the order of the sorted synsets: class `k` here is line `k + 1` of that file.
//!
//! Pixels of pickles stay in the file, which is memory-mapped; those of archives are read.

pub mod npy;
pub mod pickle;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use pickle::{Blob, Entry};

use super::folder::read_map;
use super::{Dataset, Normalise, Split};
use crate::{Error, Result};

/// Classes of the set.
pub const CLASSES: usize = 1000;
const BATCHES: usize = 10;
/// Training and validation images.
const OFFICIAL: [usize; 2] = [1_281_167, 50_000];

/// The batches of one split.
pub struct SmallImageNet {
    name: String,
    split: Split,
    side: usize,
    classes: Vec<String>,
    batches: Vec<Batch>,
    /// Number of the first image of each batch.
    starts: Vec<usize>,
    labels: Vec<u32>,
}

/// The pixels of one file, planar.
struct Batch {
    path: PathBuf,
    pixels: Pixels,
    mean: Option<Vec<f64>>,
}

enum Pixels {
    Mapped(Mmap, std::ops::Range<usize>),
    Read(Vec<u8>),
}

impl Pixels {
    fn bytes(&self) -> &[u8] {
        match self {
            Pixels::Mapped(map, range) => &map[range.clone()],
            Pixels::Read(bytes) => bytes,
        }
    }
}

/// Whether `root` holds batches (and is no image folder).
pub fn is_here(root: &Path) -> bool {
    !files(root, Split::Train).is_empty() || !files(root, Split::Test).is_empty()
}

/// Opens the batches below `root`, which are in it or in folders of it.
///
/// # Errors
/// No batches, a file that holds anything but arrays (it is never executed), arrays of another dtype or
/// size, labels outside 1 to 1000, and (unless `partial`) another number of images than the whole set.
pub fn load(root: &Path, side: usize, split: Split, partial: bool) -> Result<SmallImageNet> {
    if !root.is_dir() {
        return Err(Error::file(root, "no such folder"));
    }
    let files = files(root, split);
    if files.is_empty() {
        let expected = match split {
            Split::Train => "train_data_batch_1 to train_data_batch_10",
            Split::Test => "val_data",
        };
        let what = format!("expected {expected} in here (pickles, or .npz), or an image folder");
        return Err(Error::file(root, what));
    }
    let (mut batches, mut labels, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for path in files {
        let (batch, own) = read(&path, side)?;
        starts.push(labels.len());
        labels.extend(own);
        batches.push(batch);
    }
    let official = OFFICIAL[usize::from(split == Split::Test)];
    if labels.len() != official && !partial {
        let what = format!(
            "expected {official} images, found {} in {} files (--partial takes a part of the set)",
            labels.len(),
            batches.len()
        );
        return Err(Error::file(root, what));
    }
    if labels.is_empty() {
        return Err(Error::file(
            root,
            "zero images; a data set needs at least one",
        ));
    }
    Ok(SmallImageNet {
        name: format!("small-imagenet{side}"),
        split,
        side,
        classes: class_names(root)?,
        batches,
        starts,
        labels,
    })
}

/// The synsets in the order of the labels, where `map_clsloc.txt` is there to tell; numbers otherwise.
fn class_names(root: &Path) -> Result<Vec<String>> {
    let path = root.join("map_clsloc.txt");
    if !path.is_file() {
        return Ok((1..=CLASSES)
            .map(|label| format!("label {label}"))
            .collect());
    }
    let names = read_map(&path)?;
    match names.len() == CLASSES {
        true => Ok(names),
        false => {
            let what = format!("expected {CLASSES} classes, found {}", names.len());
            Err(Error::file(&path, what))
        }
    }
}

/// The files of a split, in order. Where both forms of a batch are there, the pickle.
fn files(root: &Path, split: Split) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    folders.extend(
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir()),
    );
    folders.sort();
    let stems: Vec<String> = match split {
        Split::Train => (1..=BATCHES)
            .map(|k| format!("train_data_batch_{k}"))
            .collect(),
        Split::Test => vec!["val_data".to_owned()],
    };
    let forms = |stem: &String| [stem.clone(), format!("{stem}.npz")];
    stems
        .iter()
        .filter_map(|stem| {
            let mut places = forms(stem).into_iter().flat_map(|name| {
                let paths = folders.iter().map(move |folder| folder.join(&name));
                paths.collect::<Vec<_>>()
            });
            places.find(|path| path.is_file())
        })
        .collect()
}

/// An array's parts, however it was stored.
struct Stored {
    shape: Vec<usize>,
    dtype: String,
    pixels: Pixels,
}

fn read(path: &Path, side: usize) -> Result<(Batch, Vec<u32>)> {
    let (data, labels, mean) = match path.extension().is_some_and(|e| e == "npz") {
        true => read_npz(path)?,
        false => read_pickle(path)?,
    };
    let wrong = |what: String| Error::file(path, what);
    let per_image = 3 * side * side;
    if data.dtype.trim_start_matches(['|', '<', '=']) != "u1" {
        let what = format!("data is of dtype {}, expected u1 (uint8)", data.dtype);
        return Err(wrong(what));
    }
    let (images, width) = match data.shape.as_slice() {
        &[images, width] => (images, width),
        other => return Err(wrong(format!("data has extents {other:?}, expected two"))),
    };
    if width != per_image {
        let sides = [16, 32, 64].into_iter().find(|s| 3 * s * s == width);
        let is = sides.map_or(String::new(), |s| format!(": these are images of {s}×{s}"));
        let what = format!("{width} bytes an image, expected {per_image} for {side}×{side}{is}");
        return Err(wrong(what));
    }
    if images.checked_mul(width) != Some(data.pixels.bytes().len()) {
        let found = data.pixels.bytes().len();
        return Err(wrong(format!(
            "truncated: {images} images of {width} bytes, found {found} bytes"
        )));
    }
    if labels.len() != images {
        return Err(wrong(format!(
            "{images} images, but {} labels",
            labels.len()
        )));
    }
    let outside = labels
        .iter()
        .position(|l| !(1..=CLASSES as i64).contains(l));
    if let Some(at) = outside {
        let what = format!(
            "label {} of image {at} (the first is 0), expected 1 to {CLASSES}",
            labels[at]
        );
        return Err(wrong(what));
    }
    let labels = labels.into_iter().map(|label| label as u32 - 1).collect();
    let batch = Batch {
        path: path.to_owned(),
        pixels: data.pixels,
        mean,
    };
    Ok((batch, labels))
}

type Parts = (Stored, Vec<i64>, Option<Vec<f64>>);

fn read_npz(path: &Path) -> Result<Parts> {
    let lacks = |key: &str| Error::file(path, format!("lacks the array {key}"));
    let data = npy::read(path, "data")?.ok_or_else(|| lacks("data"))?;
    let labels = npy::read(path, "labels")?.ok_or_else(|| lacks("labels"))?;
    let ints = npy::ints(&labels.dtype, &labels.data).ok_or_else(|| {
        let what = format!(
            "labels are of dtype {}, expected whole numbers",
            labels.dtype
        );
        Error::file(path, what)
    })?;
    let mean = npy::read(path, "mean")?;
    let mean = mean.and_then(|mean| floats(&mean.dtype, &mean.data));
    let stored = Stored {
        shape: data.shape,
        dtype: data.dtype,
        pixels: Pixels::Read(data.data),
    };
    Ok((stored, ints, mean))
}

fn read_pickle(path: &Path) -> Result<Parts> {
    let wrong = |what: String| Error::file(path, what);
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    // SAFETY: a data set is not changed while it is read; if somebody does, pixels change, and where
    // the file shrinks the system ends the program.
    let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path, "map"))?;
    let mut entries = pickle::read(&map).map_err(wrong)?;
    let mut take = |key: &str| entries.remove(key);
    let lacks = |key: &str| wrong(format!("lacks the entry {key}"));
    let Entry::Array(data) = take("data").ok_or_else(|| lacks("data"))? else {
        return Err(wrong("data is no array".into()));
    };
    if data.fortran && data.shape.len() > 1 {
        return Err(wrong("data is stored column after column".into()));
    }
    let slice = |array: &pickle::Array| match &array.data {
        Some(Blob::At(range)) => map[range.clone()].to_vec(),
        Some(Blob::Own(bytes)) => bytes.clone(),
        None => Vec::new(),
    };
    let labels = match take("labels").ok_or_else(|| lacks("labels"))? {
        Entry::Ints(labels) => labels,
        Entry::Array(array) => npy::ints(&array.dtype, &slice(&array)).ok_or_else(|| {
            let what = format!(
                "labels are of dtype {}, expected whole numbers",
                array.dtype
            );
            wrong(what)
        })?,
        Entry::Other(other) => {
            return Err(wrong(format!("labels are {other}, expected whole numbers")));
        }
    };
    let mean = match take("mean") {
        Some(Entry::Array(array)) => floats(&array.dtype, &slice(&array)),
        _ => None,
    };
    let pixels = match data.data {
        Some(Blob::At(range)) => Pixels::Mapped(map, range),
        Some(Blob::Own(bytes)) => Pixels::Read(bytes),
        None => return Err(wrong("data is an array without elements".into())),
    };
    let stored = Stored {
        shape: data.shape,
        dtype: data.dtype,
        pixels,
    };
    Ok((stored, labels, mean))
}

/// Double-precision elements; `None` for another dtype.
fn floats(dtype: &str, bytes: &[u8]) -> Option<Vec<f64>> {
    let words = bytes.chunks_exact(8);
    let plain = dtype == "<f8" && words.remainder().is_empty();
    plain.then(|| {
        words
            .map(|word| f64::from_le_bytes(word.try_into().unwrap_or_default()))
            .collect()
    })
}

impl SmallImageNet {
    /// Number of files.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// The largest difference, in grey levels, between a channel's mean as the files state it and as
    /// their pixels have it; `None` where no file states one. The stated mean is over all ten batches.
    pub fn mean_error(&self) -> Option<f64> {
        let stated = self.batches.iter().find_map(|batch| batch.mean.as_ref())?;
        let plane = self.side * self.side;
        if stated.len() != 3 * plane {
            return Some(f64::INFINITY);
        }
        let mut sums = [0u64; 3];
        for batch in &self.batches {
            for (at, plane) in batch.pixels.bytes().chunks_exact(plane).enumerate() {
                sums[at % 3] += plane.iter().map(|&v| u64::from(v)).sum::<u64>();
            }
        }
        let count = (self.labels.len() * plane) as f64;
        let errors = (0..3).map(|c| {
            let stated = stated[c * plane..][..plane].iter().sum::<f64>() / plane as f64;
            (sums[c] as f64 / count - stated).abs()
        });
        Some(errors.fold(0.0, f64::max))
    }

    /// The file that holds image `index`.
    pub fn file(&self, index: usize) -> &Path {
        &self.batches[self.batch(index)].path
    }

    fn batch(&self, index: usize) -> usize {
        self.starts.partition_point(|&start| start <= index) - 1
    }
}

impl Dataset for SmallImageNet {
    fn name(&self) -> &str {
        &self.name
    }

    fn split(&self) -> Split {
        self.split
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> [usize; 3] {
        [self.side, self.side, 3]
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn fill(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let batch = self.batch(index);
        let plane = self.side * self.side;
        let pixels = self.batches[batch].pixels.bytes();
        let image = &pixels[(index - self.starts[batch]) * 3 * plane..][..3 * plane];
        let (red, rest) = image.split_at(plane);
        let (green, blue) = rest.split_at(plane);
        for (at, pixel) in out.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[red[at], green[at], blue[at]]);
        }
        Ok(())
    }

    fn normalise(&self) -> Normalise {
        Normalise::IMAGENET
    }
}
