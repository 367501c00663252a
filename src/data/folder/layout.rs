//! Which files a folder of images holds, and what class each shows.
//!
//! ```text
//! train/<class>/*.JPEG                     any set; ImageNet's classes are synsets
//! train/<class>/images/*.JPEG              Tiny-ImageNet
//! val/<class>/*.JPEG                       sorted into classes
//! val/*.JPEG, val/images/*.JPEG            flat: the labels are in a file, see `truth`
//! ```
//!
//! A class's index is the rank of its name in lexicographic (byte) order, as for torchvision and every
//! published ImageNet network.

use std::fs;
use std::path::{Path, PathBuf};

use super::{hidden, truth};
use crate::data::Split;
use crate::{Error, Result};

/// What is expected of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// ILSVRC-2012: 1000 synsets, 1,281,167 and 50,000 images.
    ImageNet,
    /// Tiny-ImageNet: 200 synsets, 100,000 and 10,000 images.
    TinyImageNet,
    /// Any classes, any number of images.
    Any,
}

impl Layout {
    /// Classes, training and validation images of the whole set.
    pub fn official(self) -> Option<[usize; 3]> {
        match self {
            Layout::ImageNet => Some([1000, 1_281_167, 50_000]),
            Layout::TinyImageNet => Some([200, 100_000, 10_000]),
            Layout::Any => None,
        }
    }
}

/// The images of one split, class by class, names in order.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The folder with `train` and `val`.
    pub root: PathBuf,
    /// Class names; a label is an index into them.
    pub classes: Vec<String>,
    /// Paths below `root`.
    pub files: Vec<PathBuf>,
    /// Labels of the files.
    pub labels: Vec<u32>,
}

impl Listing {
    /// Where file `index` is.
    pub fn path(&self, index: usize) -> PathBuf {
        self.root.join(&self.files[index])
    }

    /// Images of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.labels
            .iter()
            .for_each(|&label| counts[label as usize] += 1);
        counts
    }

    /// The same images with the classes counted in the order of `map`, which may name more.
    ///
    /// # Errors
    /// A class that `map` lacks.
    pub fn reorder(mut self, map: &[String]) -> Result<Self> {
        if let Some(name) = self.classes.iter().find(|name| !map.contains(name)) {
            let what = format!("the class {name} is none of map_clsloc.txt");
            return Err(Error::file(&self.root, what));
        }
        let mut order: Vec<&String> = map.iter().collect();
        order.retain(|name| self.classes.binary_search(name).is_ok());
        let place = |name: &String| order.iter().position(|other| *other == name);
        let places: Vec<usize> = self.classes.iter().filter_map(place).collect();
        for label in &mut self.labels {
            *label = places[*label as usize] as u32;
        }
        self.classes = order.into_iter().cloned().collect();
        Ok(self)
    }
}

/// Lists one split. `root` is the folder with `train` and `val`, or its parent.
///
/// # Errors
/// A folder nested otherwise, a class without images, classes that are not the same everywhere, labels
/// that are missing or fit no image, and (unless `partial`) another number of images or classes than
/// the whole set has.
pub fn list(root: &Path, split: Split, layout: Layout, partial: bool) -> Result<Listing> {
    let root = find(root)?;
    let classes = classes(&root)?;
    let folder = match split {
        Split::Train => root.join("train"),
        Split::Test => test_folder(&root)?,
    };
    if !folder.is_dir() {
        let what = format!("no such folder; expected {}", expected(split));
        return Err(Error::file(&folder, what));
    }
    let by_class = !subfolders(&folder)?.is_empty() && !truth::is_flat(&folder)?;
    let mut pairs = match by_class {
        true => sorted_into_classes(&root, &folder, &classes)?,
        false if split == Split::Train => {
            let what = format!("no class folders in here; expected {}", expected(split));
            return Err(Error::file(&folder, what));
        }
        false => truth::flat(&root, &folder, &classes, partial)?,
    };
    pairs.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    let (files, labels) = pairs.into_iter().unzip();
    let listing = Listing {
        root,
        classes,
        files,
        labels,
    };
    truth::check_known(&listing)?;
    complete(&listing, &folder, split, layout, partial)?;
    Ok(listing)
}

fn expected(split: Split) -> &'static str {
    match split {
        Split::Train => "train/<class>/*.JPEG (or train/<class>/images/*.JPEG)",
        Split::Test => "val/<class>/*.JPEG, or val/*.JPEG with a file of labels",
    }
}

/// `val`, or what else holds the images to test on.
fn test_folder(root: &Path) -> Result<PathBuf> {
    for name in ["val", "validation", "test"] {
        let folder = root.join(name);
        if folder.is_dir() {
            return Ok(folder);
        }
    }
    let what = format!("no folder val in here; expected {}", expected(Split::Test));
    Err(Error::file(root, what))
}

/// The folder that holds `train` or `val`: `root`, or the folder the archives unpack to.
pub fn find(root: &Path) -> Result<PathBuf> {
    let holds = |folder: &Path| folder.join("train").is_dir() || folder.join("val").is_dir();
    if !root.is_dir() {
        return Err(Error::file(root, "no such folder"));
    }
    for inner in ["", "tiny-imagenet-200", "ILSVRC/Data/CLS-LOC"] {
        let folder = if inner.is_empty() {
            root.to_owned()
        } else {
            root.join(inner)
        };
        if holds(&folder) {
            return Ok(folder);
        }
    }
    let inner = subfolders(root)?;
    let what = if let Some(name) = inner.iter().find(|name| holds(&root.join(name))) {
        format!("wrong nesting: train and val are in {name}; give that folder as --root")
    } else if root.file_name().is_some_and(|n| n == "train" || n == "val") {
        "wrong nesting: give the folder above, the one with train and val in it".to_owned()
    } else if inner.iter().any(|name| has_images(&root.join(name))) {
        "wrong nesting: class folders lie directly in here; expected train/<class> and val/<class>"
            .to_owned()
    } else {
        "expected the folders train and val in here".to_owned()
    };
    Err(Error::file(root, what))
}

/// The class names, sorted: those a file lists (`LOC_synset_mapping.txt`, `wnids.txt`), or else the
/// folders of `train`, or else those of `val`.
///
/// # Errors
/// No class, a list that names one twice or stands in another order than its numbers say, or lacks a
/// folder of `train`.
pub fn classes(root: &Path) -> Result<Vec<String>> {
    let train = root.join("train");
    let folders = match train.is_dir() {
        true => subfolders(&train)?,
        false => Vec::new(),
    };
    let listed = match (
        beside(root, "LOC_synset_mapping.txt"),
        root.join("wnids.txt"),
    ) {
        (Some(path), _) => Some((read_names(&path)?, path, true)),
        (None, path) if path.is_file() => Some((read_names(&path)?, path, false)),
        _ => None,
    };
    let Some((mut names, path, ordered)) = listed else {
        let (names, place) = match train.is_dir() {
            true => (folders, train),
            false => {
                let test = test_folder(root)?;
                (subfolders(&test)?, test)
            }
        };
        return match names.is_empty() {
            true => {
                let what = format!(
                    "no class folders in here; expected {}",
                    expected(Split::Train)
                );
                Err(Error::file(&place, what))
            }
            false => Ok(names),
        };
    };
    if ordered && let Some(at) = names.windows(2).position(|pair| pair[0] >= pair[1]) {
        let what = format!(
            "mixed class orders: line {} ({}) does not sort after line {} ({}), but a class's index \
             is its rank in the sorted synsets; this looks like the order of map_clsloc.txt",
            at + 2,
            names[at + 1],
            at + 1,
            names[at]
        );
        return Err(Error::file(&path, what));
    }
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::file(&path, format!("names {} twice", pair[0])));
    }
    match folders
        .iter()
        .find(|name| names.binary_search(name).is_err())
    {
        None => Ok(names),
        Some(name) => {
            let what = format!(
                "lacks the class {name}, which is a folder in {}",
                train.display()
            );
            Err(Error::file(&path, what))
        }
    }
}

/// The first word of each line.
fn read_names(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "read the class names"))?;
    let words = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = words.map(str::to_owned).collect();
    match names.is_empty() {
        true => Err(Error::file(path, "no class names in here")),
        false => Ok(names),
    }
}

/// The file `name` in `root`, or where Kaggle's archive has it: three folders up.
pub(super) fn beside(root: &Path, name: &str) -> Option<PathBuf> {
    let up = root
        .ends_with("ILSVRC/Data/CLS-LOC")
        .then(|| root.ancestors().nth(3))
        .flatten();
    let places = [Some(root), up].into_iter().flatten();
    places
        .map(|place| place.join(name))
        .find(|path| path.is_file())
}

/// Every image below the class folders of `folder`, with its label; paths are relative to `root`.
fn sorted_into_classes(
    root: &Path,
    folder: &Path,
    classes: &[String],
) -> Result<Vec<(PathBuf, u32)>> {
    let mut pairs = Vec::new();
    for name in subfolders(folder)? {
        let place = folder.join(&name);
        let Ok(label) = classes.binary_search(&name) else {
            let what = format!(
                "mixed class orders: the folder {name} is none of the {} classes ({} to {}); name \
                 the folders of val as those of train",
                classes.len(),
                classes[0],
                classes[classes.len() - 1]
            );
            return Err(Error::file(&place, what));
        };
        let mut files = images(&place)?;
        if files.is_empty() {
            files = images(&place.join("images"))?;
        }
        if files.is_empty() {
            return Err(Error::file(&place, nothing_in(&place)?));
        }
        let below = |path: PathBuf| path.strip_prefix(root).map(Path::to_owned).unwrap_or(path);
        pairs.extend(files.into_iter().map(|path| (below(path), label as u32)));
    }
    Ok(pairs)
}

fn nothing_in(class: &Path) -> Result<String> {
    let deeper = subfolders(class)?;
    let nested = deeper.iter().find(|name| has_images(&class.join(name)));
    Ok(match nested {
        Some(name) => format!(
            "wrong nesting: the images lie one folder deeper, in {name}; expected them in the class \
             folder itself or in its folder images"
        ),
        None => "a class without images: no .JPEG, .jpg or .png in here".to_owned(),
    })
}

/// The set is whole, or said to be a part.
fn complete(
    listing: &Listing,
    folder: &Path,
    split: Split,
    layout: Layout,
    partial: bool,
) -> Result<()> {
    if listing.files.is_empty() {
        return Err(Error::file(
            folder,
            "zero images; a data set needs at least one",
        ));
    }
    if partial {
        return Ok(());
    }
    let counts = listing.counts();
    let part = "(--partial takes a part of the set)";
    if let Some([classes, train, test]) = layout.official() {
        let images = if split == Split::Train { train } else { test };
        let found = (listing.classes.len(), listing.files.len());
        if found != (classes, images) {
            let what = format!(
                "expected {images} images of {classes} classes, found {} of {} {part}",
                found.1, found.0
            );
            return Err(Error::file(folder, what));
        }
    }
    match counts.iter().position(|&count| count == 0) {
        None => Ok(()),
        Some(first) => {
            let empty = counts.iter().filter(|&&count| count == 0).count();
            let what = format!(
                "{empty} of {} classes have no images here, the first is {} {part}",
                counts.len(),
                listing.classes[first]
            );
            Err(Error::file(folder, what))
        }
    }
}

/// Names of the folders in `folder`, sorted; hidden ones do not count.
pub(super) fn subfolders(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() && !hidden(&path) {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| Error::file(&path, "the folder's name is not UTF-8"))?;
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The files in `folder` with an image's ending, sorted; none where there is no such folder.
pub(super) fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = entries(folder)?;
    files.retain(|path| is_image(path));
    files.sort();
    Ok(files)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str());
    let known = ["jpeg", "jpg", "png"];
    !hidden(path)
        && ending.is_some_and(|e| known.iter().any(|k| e.eq_ignore_ascii_case(k)))
        && !path.is_dir()
}

fn has_images(folder: &Path) -> bool {
    entries(folder).is_ok_and(|paths| paths.iter().any(|path| is_image(path)))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).map_err(Error::io(folder, "list"))?;
    read.map(|entry| entry.map(|e| e.path()).map_err(Error::io(folder, "list")))
        .collect()
}
