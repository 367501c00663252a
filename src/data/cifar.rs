//! CIFAR-10 and CIFAR-100 in their original binary layout (Krizhevsky 2009,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>).
//!
//! A file is a run of records. A record is the label (CIFAR-10: one byte; CIFAR-100: the coarse label,
//! then the fine one) and 3072 bytes of pixels: 32×32 red, then green, then blue. Images are turned to
//! NHWC on reading.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ImageSet, Normalise, Split};
use crate::{Error, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const HOME: &str = "https://www.cs.toronto.edu/~kriz/cifar.html";

/// One of the CIFAR label sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cifar {
    /// 10 classes, 6,000 images each.
    Ten,
    /// 100 classes, 600 images each.
    Hundred,
    /// CIFAR-100 under its 20 superclasses.
    HundredCoarse,
}

/// How strict [`load`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CifarOptions {
    /// Accept files with fewer records than the official ones (subsets, tests).
    pub allow_partial: bool,
}

impl Cifar {
    /// All of them.
    pub const ALL: [Self; 3] = [Cifar::Ten, Cifar::Hundred, Cifar::HundredCoarse];

    /// Extents of every image: rows, columns, channels.
    pub const SHAPE: [usize; 3] = [SIDE, SIDE, 3];

    /// Number of classes.
    pub fn classes(self) -> usize {
        let (class, _) = self.class();
        self.label_bytes()[class].1 as usize
    }

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Cifar::Ten => "cifar10",
            Cifar::Hundred => "cifar100",
            Cifar::HundredCoarse => "cifar100-coarse",
        }
    }

    /// The folder the official archive unpacks to.
    pub fn folder(self) -> &'static str {
        match self {
            Cifar::Ten => "cifar-10-batches-bin",
            Cifar::Hundred | Cifar::HundredCoarse => "cifar-100-binary",
        }
    }

    /// Files of a split, with the official number of records in each.
    fn files(self, split: Split) -> (&'static [&'static str], usize) {
        const TEN: [&str; 5] = [
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ];
        match (self, split) {
            (Cifar::Ten, Split::Train) => (&TEN, 10_000),
            (Cifar::Ten, Split::Test) => (&["test_batch.bin"], 10_000),
            (_, Split::Train) => (&["train.bin"], 50_000),
            (_, Split::Test) => (&["test.bin"], 10_000),
        }
    }

    /// The label bytes of a record: what each is called and how many values it takes.
    fn label_bytes(self) -> &'static [(&'static str, u8)] {
        match self {
            Cifar::Ten => &[("label", 10)],
            _ => &[("coarse label", 20), ("fine label", 100)],
        }
    }

    /// Which of the label bytes is the class, and the file that names the classes.
    fn class(self) -> (usize, &'static str) {
        match self {
            Cifar::Ten => (0, "batches.meta.txt"),
            Cifar::Hundred => (1, "fine_label_names.txt"),
            Cifar::HundredCoarse => (0, "coarse_label_names.txt"),
        }
    }

    fn record(self) -> usize {
        self.label_bytes().len() + 3 * PLANE
    }
}

/// Reads one split. `root` is the folder with the files or its parent.
///
/// # Errors
/// A missing folder or file; an empty, truncated or oversized file, or one that is not a whole number
/// of records; a label out of range (with its record); a wrong number of class names. The official
/// number of records is required unless `allow_partial` is set.
pub fn load(which: Cifar, root: &Path, split: Split, options: CifarOptions) -> Result<ImageSet> {
    let folder = find(which, root, split)?;
    let (class, names) = which.class();
    let classes = class_names(&folder.join(names), which.label_bytes()[class].1 as usize)?;
    let (files, official) = which.files(split);
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for file in files {
        let path = folder.join(file);
        let bytes = read(which, &path, official, options)?;
        images.reserve(bytes.len());
        for (number, record) in bytes.chunks_exact(which.record()).enumerate() {
            let (label, planes) = record.split_at(which.label_bytes().len());
            check_labels(which, &path, number, label)?;
            labels.push(label[class] as u32);
            let pixels = (0..PLANE).flat_map(|i| [0, 1, 2].map(|c| planes[c * PLANE + i]));
            images.extend(pixels);
        }
    }
    let shape = [SIDE, SIDE, 3];
    let set = ImageSet::new(which.name(), split, shape, classes, images, labels)?;
    Ok(set.with_normalise(Normalise::CIFAR))
}

/// The folder that holds the files of `split`: `root` itself or the official folder in it.
fn find(which: Cifar, root: &Path, split: Split) -> Result<PathBuf> {
    let (files, _) = which.files(split);
    let inner = root.join(which.folder());
    if inner.is_dir() {
        return Ok(inner);
    }
    if root.join(files[0]).is_file() {
        return Ok(root.to_owned());
    }
    let what = if !root.is_dir() {
        "no such folder".to_owned()
    } else if root.file_name().is_some_and(|name| name == which.folder()) {
        format!("the file {} is missing", files[0])
    } else {
        format!(
            "expected the folder {} or the file {} in here",
            which.folder(),
            files[0]
        )
    };
    let python = which
        .folder()
        .replace("binary", "python")
        .replace("bin", "py");
    let hint = match root.join(&python).is_dir() {
        true => format!("{python} is another format: take "),
        false => "give --root the folder or its parent, or take ".to_owned(),
    };
    Err(Error::file(
        root,
        format!("{what}; {hint}the \"binary version\" from {HOME}"),
    ))
}

/// The bytes of a file, after its size was found right.
fn read(which: Cifar, path: &Path, official: usize, options: CifarOptions) -> Result<Vec<u8>> {
    expect_file(path)?;
    let found = fs::metadata(path).map_err(Error::io(path, "read"))?.len();
    check_size(which, found, official as u64, options).map_err(|w| Error::file(path, w))?;
    fs::read(path).map_err(Error::io(path, "read"))
}

fn expect_file(path: &Path) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    let what = format!("the file is missing; unpack the \"binary version\" from {HOME} again");
    Err(Error::file(path, what))
}

fn check_size(
    which: Cifar,
    found: u64,
    official: u64,
    options: CifarOptions,
) -> Result<(), String> {
    let record = which.record() as u64;
    let (expected, whole, rest) = (official * record, found / record, found % record);
    let facts = format!(
        "expected {expected} bytes ({official} records of {record}), found {found} bytes \
         ({whole} records and {rest} bytes)"
    );
    let again = "unpack the archive again";
    if found == expected {
        Ok(())
    } else if found == 0 {
        Err(format!("zero images: {facts}; {again}"))
    } else if found > expected {
        Err(format!(
            "oversized: {facts}; is this {}? {again}",
            which.folder()
        ))
    } else if rest != 0 {
        Err(format!("truncated inside record {whole}: {facts}; {again}"))
    } else if !options.allow_partial {
        Err(format!(
            "truncated: {facts}; {again} (in code, `allow_partial` takes a part of the set)"
        ))
    } else {
        Ok(())
    }
}

fn check_labels(which: Cifar, path: &Path, number: usize, labels: &[u8]) -> Result<()> {
    for (&label, &(name, count)) in labels.iter().zip(which.label_bytes()) {
        if label >= count {
            let what = format!(
                "record {number} (the first is 0): {name} {label} is out of range, expected 0 to {}; \
                 the file is corrupt or not {}",
                count - 1,
                which.folder()
            );
            return Err(Error::file(path, what));
        }
    }
    Ok(())
}

fn class_names(path: &Path, expected: usize) -> Result<Vec<String>> {
    expect_file(path)?;
    let text = fs::read_to_string(path).map_err(Error::io(path, "read the class names"))?;
    let names: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .collect();
    if names.len() == expected {
        return Ok(names);
    }
    let what = format!(
        "expected {expected} class names, one a line, found {}; unpack the archive again",
        names.len()
    );
    Err(Error::file(path, what))
}
