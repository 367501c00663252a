//! Data sets by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cifar::{self, Cifar, CifarOptions};
use super::folder::{self, FolderSet, Geometry, Layout};
use super::pack::{self, Pack};
use super::small_imagenet;
use super::synthetic::{Recipe, Task};
use super::{Dataset, Split};
use crate::{Error, Result};

/// What [`open`] needs to know; each field matters to some data sets only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// Sets in files: the folder with the files, or its parent.
    pub root: Option<PathBuf>,
    /// Sets in files: accept fewer images than the official ones.
    pub allow_partial: bool,
    /// Image folders: leave out files that cannot be decoded. All are read to find them.
    pub skip_damaged: bool,
    /// Image folders, packs and generated sets: side of the image in pixels (default: the set's own).
    pub size: Option<usize>,
    /// Generated sets: number of classes (default: the task's own).
    pub classes: Option<usize>,
    /// Generated sets: number of images (default 4096 to train, 1024 to test).
    pub count: Option<usize>,
    /// Generated sets: seed of the images (default 0).
    pub seed: u64,
}

/// Sets that are trained with one recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Photographs of 32 or 64 pixels: CIFAR, Small-ImageNet, Tiny-ImageNet.
    Small,
    /// Photographs of any size: ImageNet, folders.
    Large,
    /// Generated images.
    Generated,
}

/// Names with a fixed meaning, then those that a folder follows.
const FOLDERS: [(&str, Layout, usize); 3] = [
    ("imagenet", Layout::ImageNet, 224),
    ("tiny-imagenet", Layout::TinyImageNet, 64),
    ("folder", Layout::Any, 224),
];
const SMALL: [(&str, usize); 2] = [("small-imagenet32", 32), ("small-imagenet64", 64)];

/// Names [`open`] knows, in the order of the manual.
pub fn names() -> Vec<&'static str> {
    let mut names = Cifar::ALL.map(Cifar::name).to_vec();
    names.extend(SMALL.map(|(name, _)| name));
    names.extend(["tiny-imagenet", "imagenet", "folder:DIR", "pack:DIR"]);
    names.extend(Task::ALL.map(Task::name));
    names
}

/// A name and what it stands for.
pub(super) enum Source {
    Cifar(Cifar),
    Folder(&'static str, Layout, usize),
    Small(usize),
    Pack,
    Generated(Task),
}

impl Source {
    /// What `name` means, and the folder it is in where it has one.
    pub(super) fn of(name: &str, options: &OpenOptions) -> Result<(Self, Option<PathBuf>)> {
        let (kind, folder) = match name.split_once(':') {
            Some((kind @ ("folder" | "pack"), folder)) => (kind, Some(PathBuf::from(folder))),
            _ => (name, options.root.clone()),
        };
        let source = if let Some(which) = Cifar::ALL.into_iter().find(|c| c.name() == kind) {
            Source::Cifar(which)
        } else if let Some(&(name, layout, side)) = FOLDERS.iter().find(|f| f.0 == kind) {
            Source::Folder(name, layout, side)
        } else if let Some(&(_, side)) = SMALL.iter().find(|s| s.0 == kind) {
            Source::Small(side)
        } else if kind == "pack" {
            Source::Pack
        } else if let Some(task) = Task::ALL.into_iter().find(|t| t.name() == kind) {
            Source::Generated(task)
        } else {
            let why = format!("unknown data set; known are {}", names().join(", "));
            return Err(Error::setting("data", name, why));
        };
        Ok((source, folder))
    }

    fn needs(&self) -> String {
        let what = match self {
            Source::Cifar(which) => format!("the folder {} or its parent", which.folder()),
            Source::Folder(..) => "the folder with train and val in it".to_owned(),
            Source::Small(_) => {
                "the folder with train_data_batch_1 to 10 and val_data, or an image \
                                 folder to make them from"
                    .to_owned()
            }
            Source::Pack => "the folder that `whatwhere data pack` wrote".to_owned(),
            Source::Generated(_) => String::new(),
        };
        format!("needs --root DIR: {what}")
    }
}

/// Opens a data set by name: one of [`names`].
///
/// # Errors
/// An unknown name, a set in files without `root`, and whatever is wrong with the files or the recipe.
pub fn open(name: &str, split: Split, options: &OpenOptions) -> Result<Arc<dyn Dataset>> {
    let (source, root) = Source::of(name, options)?;
    let root = root.ok_or_else(|| Error::setting("data", name, source.needs()));
    let allow_partial = options.allow_partial;
    match source {
        Source::Cifar(which) => {
            let set = cifar::load(which, &root?, split, CifarOptions { allow_partial })?;
            Ok(Arc::new(set))
        }
        Source::Small(side) if root.as_ref().is_ok_and(|r| small_imagenet::is_here(r)) => {
            refuse_size(name, side, options)?;
            Ok(Arc::new(small_imagenet::load(
                &root?,
                side,
                split,
                allow_partial,
            )?))
        }
        Source::Folder(..) | Source::Small(_) => {
            Ok(Arc::new(open_folder(name, split, &root?, options)?))
        }
        Source::Pack => {
            let pack = Pack::open(&root?.join(pack::file_name(split)), options.size)?;
            Ok(Arc::new(pack))
        }
        Source::Generated(task) => {
            let default = Recipe::new(task, split);
            let recipe = Recipe {
                size: options.size.unwrap_or(default.size),
                classes: options.classes.unwrap_or(default.classes),
                count: options.count.unwrap_or(default.count),
                seed: options.seed,
                ..default
            };
            Ok(Arc::new(recipe.generate()?))
        }
    }
}

fn refuse_size(name: &str, side: usize, options: &OpenOptions) -> Result<()> {
    match options.size {
        Some(size) if size != side => {
            let why = format!("{name} has images of {side} pixels");
            Err(Error::setting("size", size, why))
        }
        _ => Ok(()),
    }
}

/// An image folder, as itself or downsampled.
pub(super) fn open_folder(
    name: &str,
    split: Split,
    root: &Path,
    options: &OpenOptions,
) -> Result<FolderSet> {
    let partial = options.allow_partial;
    let (source, _) = Source::of(name, options)?;
    let set = match source {
        Source::Small(side) => {
            refuse_size(name, side, options)?;
            let Ok(home) = folder::layout::find(root) else {
                // Neither form is here: the message that names both is the one that helps.
                let refused = small_imagenet::load(root, side, split, partial);
                return Err(refused.err().unwrap_or_else(|| no_root(name)));
            };
            let layout = match folder::layout::classes(&home)?.len() {
                1000 => Layout::ImageNet,
                200 => Layout::TinyImageNet,
                _ => Layout::Any,
            };
            let listing = folder::layout::list(&home, split, layout, partial)?;
            let listing = downsampled_order(listing)?;
            FolderSet::new(name, split, listing, Geometry::Box { side })?
        }
        Source::Folder(name, layout, side) => {
            let listing = folder::layout::list(root, split, layout, partial)?;
            let side = options.size.unwrap_or(side);
            FolderSet::new(name, split, listing, geometry(layout, side))?
        }
        _ => return Err(Error::setting("data", name, "is no image folder")),
    };
    if !options.skip_damaged {
        return Ok(set);
    }
    let set = set.skip_damaged()?;
    if let Some(first) = set.skipped().first() {
        tracing::warn!(
            "{name} {split}: left out {} damaged files, the first is {}: {}",
            set.skipped().len(),
            first.path.display(),
            first.what
        );
    }
    Ok(set)
}

/// Images of Tiny-ImageNet show themselves whole; larger ones have a margin for crops.
fn geometry(layout: Layout, side: usize) -> Geometry {
    match layout {
        Layout::TinyImageNet => Geometry::Center { short: side, side },
        Layout::ImageNet | Layout::Any => Geometry::with_margin(side),
    }
}

/// The classes counted as the public files count them.
fn downsampled_order(listing: folder::Listing) -> Result<folder::Listing> {
    let path = listing.root.join("map_clsloc.txt");
    if path.is_file() {
        return listing.reorder(&folder::read_map(&path)?);
    }
    if listing.classes.len() == small_imagenet::CLASSES {
        let what = "needs map_clsloc.txt in here (of the ImageNet devkit): Small-ImageNet counts the \
                    classes in its order";
        return Err(Error::file(&listing.root, what));
    }
    Ok(listing)
}

/// A set as [`pack::write`] takes it.
pub struct PackSource {
    /// The images, with their margin.
    pub set: Arc<dyn Dataset>,
    /// Height and width of an unchanged image.
    pub shown: [usize; 2],
    /// Damaged files that were left out.
    pub skipped: usize,
}

/// Opens a data set to pack it: with the margin that crops are drawn from.
///
/// # Errors
/// Those of [`open`].
pub fn open_to_pack(name: &str, split: Split, options: &OpenOptions) -> Result<PackSource> {
    let (source, root) = Source::of(name, options)?;
    if let (Source::Folder(_, layout, side), Some(root)) = (&source, root) {
        let side = options.size.unwrap_or(*side);
        let set = open_folder(name, split, &root, options)?;
        let short = match geometry(*layout, side) {
            Geometry::Center { short, .. } => short,
            Geometry::Box { side } => side,
        };
        let skipped = set.skipped().len();
        let whole = Geometry::Center { short, side: short };
        return Ok(PackSource {
            set: Arc::new(set.with_geometry(whole)),
            shown: [side; 2],
            skipped,
        });
    }
    let set = open(name, split, options)?;
    let [height, width, _] = set.shape();
    Ok(PackSource {
        set,
        shown: [height, width],
        skipped: 0,
    })
}

/// Extents of an image and number of classes of a data set, without opening it: at most names of
/// folders and the header of a pack are read.
///
/// # Errors
/// An unknown name, a folder that does not tell its classes, a pack that is none.
pub fn describe(name: &str, options: &OpenOptions) -> Result<([usize; 3], usize)> {
    let (source, root) = Source::of(name, options)?;
    let square = |side: usize| [side, side, 3];
    match source {
        Source::Cifar(which) => Ok((Cifar::SHAPE, which.classes())),
        Source::Small(side) => {
            let folder = root.filter(|root| !small_imagenet::is_here(root));
            let classes = folder_classes(folder.as_deref(), Some(small_imagenet::CLASSES));
            Ok((square(side), classes.ok_or_else(|| no_root(name))??))
        }
        Source::Folder(_, layout, side) => {
            let official = layout.official().map(|[classes, ..]| classes);
            let classes = folder_classes(root.as_deref(), official);
            let side = options.size.unwrap_or(side);
            Ok((square(side), classes.ok_or_else(|| no_root(name))??))
        }
        Source::Pack => {
            let root = root.ok_or_else(|| no_root(name))?;
            let header = pack_header(&root)?;
            let [height, width] = header.shown.map(|extent| extent as usize);
            let shape = options.size.map_or([height, width, 3], square);
            Ok((shape, header.classes.len()))
        }
        Source::Generated(task) => {
            let side = options.size.unwrap_or(Recipe::new(task, Split::Train).size);
            Ok((square(side), options.classes.unwrap_or(task.classes())))
        }
    }
}

fn no_root(name: &str) -> Error {
    Error::setting("data", name, "needs a folder: --root DIR or NAME:DIR")
}

/// The classes of a folder, or the official number where there is no folder to ask.
fn folder_classes(root: Option<&Path>, official: Option<usize>) -> Option<Result<usize>> {
    match (root.filter(|root| root.is_dir()), official) {
        (Some(root), _) => {
            let classes =
                folder::layout::find(root).and_then(|root| folder::layout::classes(&root));
            Some(classes.map(|classes| classes.len()))
        }
        (None, official) => official.map(Ok),
    }
}

/// The header of a folder's pack, whichever split there is.
fn pack_header(root: &Path) -> Result<pack::Header> {
    let train = root.join(pack::file_name(Split::Train));
    let path = match train.is_file() {
        true => train,
        false => root.join(pack::file_name(Split::Test)),
    };
    if !path.is_file() {
        let what = "no train.pack or test.pack in here: write them with `whatwhere data pack`";
        return Err(Error::file(root, what));
    }
    Ok(pack::read_header(&path)?.0)
}

/// Which recipe a data set is trained with; a pack has that of what was packed.
pub fn family(name: &str, options: &OpenOptions) -> Family {
    match Source::of(name, options) {
        Ok((Source::Cifar(_) | Source::Small(_), _)) => Family::Small,
        Ok((Source::Folder(_, Layout::TinyImageNet, _), _)) => Family::Small,
        Ok((Source::Folder(..), _)) => Family::Large,
        Ok((Source::Pack, Some(root))) => match pack_header(&root) {
            Ok(header) if header.name != "pack" => family(&header.name, &OpenOptions::default()),
            _ => Family::Large,
        },
        Ok((Source::Pack, None)) => Family::Large,
        Ok((Source::Generated(_), _)) | Err(_) => Family::Generated,
    }
}

/// The best accuracy a classifier can reach on a data set without knowing where things are; `None`
/// where that is not known (photographs).
pub fn ceiling(name: &str, options: &OpenOptions) -> Option<f64> {
    let task = Task::ALL.into_iter().find(|t| t.name() == name)?;
    Some(task.ceiling(options.classes.unwrap_or(task.classes())))
}
