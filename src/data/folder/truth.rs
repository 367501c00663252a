//! Labels of a flat `val` folder.
//!
//! | file | a line | from |
//! | --- | --- | --- |
//! | `val/val_annotations.txt` | file, synset, box | Tiny-ImageNet |
//! | `LOC_val_solution.csv` | image, synset and boxes | Kaggle's archive |
//! | `ILSVRC2012_validation_ground_truth.txt` | number of the class of image 1, 2, … | the devkit |
//!
//! The devkit counts classes in an order of its own, from 1. `map_clsloc.txt` (synset, number, name)
//! says which synset a number is.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::layout::{self, Listing};
use crate::{Error, Result};

const TRUTH: &str = "ILSVRC2012_validation_ground_truth.txt";
const SOLUTION: &str = "LOC_val_solution.csv";
const ANNOTATIONS: &str = "val_annotations.txt";

/// What the first validation images of ILSVRC-2012 show: a sea snake, an alp, a Shetland sheepdog.
const KNOWN: [(&str, &str); 3] = [
    ("ILSVRC2012_val_00000001", "n01751748"),
    ("ILSVRC2012_val_00000002", "n09193705"),
    ("ILSVRC2012_val_00000003", "n02105855"),
];

/// Whether the images of a `val` folder lie in one place.
pub(super) fn is_flat(val: &Path) -> Result<bool> {
    Ok(val.join(ANNOTATIONS).is_file() || !layout::images(val)?.is_empty())
}

/// The images of a flat folder with their labels.
pub(super) fn flat(
    root: &Path,
    val: &Path,
    classes: &[String],
    partial: bool,
) -> Result<Vec<(PathBuf, u32)>> {
    let mut files = layout::images(val)?;
    if files.is_empty() {
        files = layout::images(&val.join("images"))?;
    }
    let truth = Truth::find(root, val, classes)?;
    let mut pairs = Vec::with_capacity(files.len());
    for path in files {
        let label = truth.label(&path)?;
        let below = path.strip_prefix(root).map(Path::to_owned);
        pairs.push((below.unwrap_or(path), label));
    }
    if pairs.len() != truth.len() && !partial {
        let what = format!(
            "labels {} images, found {} in {} (--partial takes a part of the set)",
            truth.len(),
            pairs.len(),
            val.display()
        );
        return Err(Error::file(&truth.path, what));
    }
    Ok(pairs)
}

/// Labels by image, and the file they are from.
struct Truth {
    path: PathBuf,
    labels: Labels,
}

enum Labels {
    /// By the name of the file without its ending.
    ByName(HashMap<String, u32>),
    /// By the number at the end of the name, from 1.
    ByNumber(Vec<u32>),
}

impl Truth {
    fn find(root: &Path, val: &Path, classes: &[String]) -> Result<Self> {
        let annotations = val.join(ANNOTATIONS);
        if annotations.is_file() {
            return Self::by_name(annotations, '\t', 0, classes);
        }
        if let Some(path) = layout::beside(root, SOLUTION) {
            return Self::by_name(path, ',', 1, classes);
        }
        let inner = ["", "val", "devkit/data", "ILSVRC2012_devkit_t12/data"];
        let find = |name: &str| {
            let places = inner.map(|place| root.join(place).join(name));
            places.into_iter().find(|path| path.is_file())
        };
        let Some(path) = find(TRUTH) else {
            let what = format!(
                "images without class folders, and no file of labels: expected {ANNOTATIONS} in \
                 here, or {SOLUTION} or {TRUTH} in {}",
                root.display()
            );
            return Err(Error::file(val, what));
        };
        let Some(map) = find("map_clsloc.txt") else {
            let what = "needs map_clsloc.txt beside it (lines of synset, number, name): the numbers \
                        in here are not the ranks of the synsets";
            return Err(Error::file(&path, what));
        };
        Self::by_number(path, &map, classes)
    }

    /// Lines of a file name and a synset.
    fn by_name(path: PathBuf, comma: char, skip: usize, classes: &[String]) -> Result<Self> {
        let text = fs::read_to_string(&path).map_err(Error::io(&path, "read the labels"))?;
        let mut labels = HashMap::new();
        for (number, line) in text.lines().enumerate().skip(skip) {
            if line.trim().is_empty() {
                continue;
            }
            let fields = line.split_once(comma).map(|(file, rest)| {
                let stem = Path::new(file).file_stem().and_then(|s| s.to_str());
                (stem.unwrap_or(file), rest.split_whitespace().next())
            });
            let Some((stem, Some(synset))) = fields else {
                let what = format!("line {}: expected a file name and a synset", number + 1);
                return Err(Error::file(&path, what));
            };
            let Ok(label) = classes.binary_search_by(|c| c.as_str().cmp(synset)) else {
                let what = format!("line {}: {synset} is none of the classes", number + 1);
                return Err(Error::file(&path, what));
            };
            if labels.insert(stem.to_owned(), label as u32).is_some() {
                let what = format!("line {}: {stem} has a label already", number + 1);
                return Err(Error::file(&path, what));
            }
        }
        let labels = Labels::ByName(labels);
        Ok(Truth { path, labels })
    }

    /// A number a line, and the map from numbers to synsets.
    fn by_number(path: PathBuf, map: &Path, classes: &[String]) -> Result<Self> {
        let order = read_map(map)?;
        let text = fs::read_to_string(&path).map_err(Error::io(&path, "read the labels"))?;
        let mut labels = Vec::new();
        for (line, word) in text.lines().enumerate() {
            let number = word.trim().parse::<usize>().ok();
            let synset = number.and_then(|n| order.get(n.checked_sub(1)?));
            let synset = synset.ok_or_else(|| {
                let what = format!(
                    "line {}: {word:?} is no number from 1 to {} as in {}",
                    line + 1,
                    order.len(),
                    map.display()
                );
                Error::file(&path, what)
            })?;
            let label = classes.binary_search(synset).map_err(|_| {
                let what = format!("line {}: {synset} is none of the classes", line + 1);
                Error::file(&path, what)
            })?;
            labels.push(label as u32);
        }
        let labels = Labels::ByNumber(labels);
        Ok(Truth { path, labels })
    }

    fn len(&self) -> usize {
        match &self.labels {
            Labels::ByName(labels) => labels.len(),
            Labels::ByNumber(labels) => labels.len(),
        }
    }

    fn label(&self, image: &Path) -> Result<u32> {
        let stem = image.file_stem().and_then(|s| s.to_str()).unwrap_or("");
        let label = match &self.labels {
            Labels::ByName(labels) => labels.get(stem),
            Labels::ByNumber(labels) => {
                let digits = stem
                    .rsplit('_')
                    .next()
                    .and_then(|d| d.parse::<usize>().ok());
                digits.and_then(|number| labels.get(number.checked_sub(1)?))
            }
        };
        label.copied().ok_or_else(|| {
            let what = format!("no label in {}", self.path.display());
            Error::file(image, what)
        })
    }
}

/// The synsets of `map_clsloc.txt` by their numbers.
///
/// # Errors
/// Lines that are not a synset and a number, numbers that are not 1, 2, … each once.
pub fn read_map(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "read the class numbers"))?;
    let mut pairs = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let (Some(synset), number) = (words.next(), words.next()) else {
            continue;
        };
        let Some(number) = number.and_then(|n| n.parse::<usize>().ok()) else {
            let what = format!("line {}: expected a synset, its number, its name", at + 1);
            return Err(Error::file(path, what));
        };
        pairs.push((number, synset.to_owned()));
    }
    pairs.sort();
    let wrong = pairs
        .iter()
        .zip(1..)
        .find(|((number, _), rank)| number != rank);
    if let Some(((number, synset), rank)) = wrong {
        let what = format!("expected the number {rank} once, found {number} ({synset})");
        return Err(Error::file(path, what));
    }
    Ok(pairs.into_iter().map(|(_, synset)| synset).collect())
}

/// Finds labels that were counted in another order: what the first images show is known.
pub(super) fn check_known(listing: &Listing) -> Result<()> {
    for (index, file) in listing.files.iter().enumerate() {
        let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or("");
        let Some((_, synset)) = KNOWN.iter().find(|(name, _)| *name == stem) else {
            continue;
        };
        let found = &listing.classes[listing.labels[index] as usize];
        let synsets = found.len() == 9 && found.starts_with('n');
        if found != synset && synsets {
            let what = format!(
                "mixed class orders: this image shows {synset}, but its label says {found}; the \
                 labels count classes in another order than the class map"
            );
            return Err(Error::file(listing.path(index), what));
        }
    }
    Ok(())
}
