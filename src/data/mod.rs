//! Images with labels: data sets, their transforms and the loader that feeds training.
//!
//! A [`Dataset`] hands out one 8-bit image at a time. [`ImageSet`] keeps all of them in memory and is
//! what the CIFAR readers ([`cifar`]) and the generator of the spatial benchmark pack ([`synthetic`])
//! return. The [`Loader`] turns any data set into batches of normalised `f32` NHWC tensors; their
//! content and order are a function of the seed and the epoch, never of the number of threads.
//!
//! ```
//! use whatwhere::data::{self, Loader, LoaderOptions, OpenOptions, Split};
//!
//! let options = OpenOptions { size: Some(16), count: Some(64), ..Default::default() };
//! let set = data::open("layout", Split::Train, &options)?;
//! let loader = Loader::new(set, LoaderOptions { batch: 16, ..Default::default() })?;
//! for batch in loader.epoch(0, 0) {
//!     assert_eq!(batch?.images.dims(), [16, 16, 16, 3]);
//! }
//! # Ok::<(), whatwhere::Error>(())
//! ```

pub mod cifar;
mod image_set;
mod loader;
pub mod preview;
pub mod segmentation;
mod subset;
pub mod synthetic;
mod transform;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

pub use image_set::ImageSet;
pub use loader::{Batch, Epoch, Loader, LoaderOptions};
pub use subset::Subset;
pub use transform::{Augment, Normalise, Placement, Transform};

use crate::{Error, Result};
use cifar::{Cifar, CifarOptions};
use synthetic::{Recipe, Task};

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Images to learn from.
    Train,
    /// Images to be tested on.
    Test,
}

/// `train` or `test`.
impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "train" => Ok(Split::Train),
            "test" => Ok(Split::Test),
            _ => Err(Error::setting("split", name, "expected train or test")),
        }
    }
}

/// Images of one size with one label each.
///
/// Implementors may hold the pixels in memory or decode them on demand: `fill` is called from the
/// loader's threads, for any index and in any order.
pub trait Dataset: Send + Sync {
    /// Name as on the command line, `cifar100`.
    fn name(&self) -> &str;

    /// Which part this is.
    fn split(&self) -> Split;

    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height, width and channels of every image.
    fn shape(&self) -> [usize; 3];

    /// Class names; a label is an index into them.
    fn classes(&self) -> &[String];

    /// Label of image `index`, which must be below [`len`](Dataset::len).
    fn label(&self, index: usize) -> u32;

    /// Writes image `index` to `out`: height × width × channels bytes, channels innermost.
    ///
    /// # Errors
    /// An image that cannot be read or decoded.
    fn fill(&self, index: usize, out: &mut [u8]) -> Result<()>;

    /// Constants the images are normalised with unless the caller says otherwise.
    fn normalise(&self) -> Normalise;

    /// Whether a mirrored image keeps its class. Not so where left and right *are* the class.
    fn mirror_safe(&self) -> bool {
        true
    }

    /// SHA-256 (hex) of all images, in order, then all labels as little-endian `u32`: what a run
    /// records about its data.
    ///
    /// # Errors
    /// Those of [`fill`](Dataset::fill).
    fn sha256(&self) -> Result<String> {
        image_set::sha256(self)
    }
}

/// What [`open`] needs to know; each field matters to some data sets only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// CIFAR: the folder with the files, or its parent.
    pub root: Option<PathBuf>,
    /// CIFAR: accept files with fewer records than the official ones.
    pub allow_partial: bool,
    /// Generated sets: side of the image in pixels (default 32).
    pub size: Option<usize>,
    /// Generated sets: number of classes (default: the task's own).
    pub classes: Option<usize>,
    /// Generated sets: number of images (default 4096 to train, 1024 to test).
    pub count: Option<usize>,
    /// Generated sets: seed of the images (default 0).
    pub seed: u64,
}

/// Names [`open`] knows, in the order of the manual.
pub fn names() -> Vec<&'static str> {
    let real = Cifar::ALL.map(Cifar::name);
    real.into_iter().chain(Task::ALL.map(Task::name)).collect()
}

/// Opens a data set by name: `cifar10`, `cifar100`, `cifar100-coarse`, or one of the pack.
///
/// # Errors
/// An unknown name, CIFAR without `root`, and whatever is wrong with the files or the recipe.
pub fn open(name: &str, split: Split, options: &OpenOptions) -> Result<Arc<dyn Dataset>> {
    if let Some(which) = Cifar::ALL.into_iter().find(|c| c.name() == name) {
        let root = options.root.as_ref().ok_or_else(|| {
            let why = format!(
                "needs --root DIR: the folder {} or its parent",
                which.folder()
            );
            Error::setting("data", name, why)
        })?;
        let allow_partial = options.allow_partial;
        return Ok(Arc::new(cifar::load(
            which,
            root,
            split,
            CifarOptions { allow_partial },
        )?));
    }
    let Some(task) = Task::ALL.into_iter().find(|t| t.name() == name) else {
        let why = format!("unknown data set; known are {}", names().join(", "));
        return Err(Error::setting("data", name, why));
    };
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

/// Extents of an image and number of classes of a data set, without opening it.
///
/// # Errors
/// An unknown name.
pub fn describe(name: &str, options: &OpenOptions) -> Result<([usize; 3], usize)> {
    if let Some(which) = Cifar::ALL.into_iter().find(|c| c.name() == name) {
        return Ok((Cifar::SHAPE, which.classes()));
    }
    let Some(task) = Task::ALL.into_iter().find(|t| t.name() == name) else {
        let why = format!("unknown data set; known are {}", names().join(", "));
        return Err(Error::setting("data", name, why));
    };
    let side = options.size.unwrap_or(Recipe::new(task, Split::Train).size);
    Ok(([side, side, 3], options.classes.unwrap_or(task.classes())))
}

/// The best accuracy a classifier can reach on a data set without knowing where things are; `None`
/// where that is not known (photographs).
pub fn ceiling(name: &str, options: &OpenOptions) -> Option<f64> {
    let task = Task::ALL.into_iter().find(|t| t.name() == name)?;
    Some(task.ceiling(options.classes.unwrap_or(task.classes())))
}
