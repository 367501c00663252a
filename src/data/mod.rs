//! Images with labels: data sets, their transforms and the loader that feeds training.
//!
//! A [`Dataset`] hands out one 8-bit image at a time. [`ImageSet`] keeps all of them in memory and is
//! what the CIFAR readers ([`cifar`]) and the generator of the spatial benchmark pack ([`synthetic`])
//! return; image folders ([`folder`]), the downsampled ImageNet ([`small_imagenet`]) and packs ([`pack`])
//! stay on disk. The [`Loader`] turns any data set into batches of normalised `f32` NHWC tensors; their
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

pub mod check;
pub mod cifar;
pub mod folder;
pub mod image_file;
mod image_set;
mod loader;
mod open;
pub mod pack;
pub mod preview;
mod resident;
pub mod resize;
pub mod segmentation;
pub mod small_imagenet;
mod subset;
pub mod synthetic;
mod transform;
mod window;

use std::fmt;
use std::str::FromStr;

pub use image_set::ImageSet;
pub use loader::{Batch, Epoch, Loader, LoaderOptions};
pub use open::{
    Family, OpenOptions, PackSource, ceiling, describe, family, names, open, open_to_pack,
};
pub(crate) use resident::Resident;
pub use subset::Subset;
pub use transform::{Augment, Normalise, Placement, Transform};
pub use window::Window;

use crate::{Error, Result};

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

    /// Writes the window of image `index` that `choose` picks, given the height and width there are to
    /// choose from, scaled to the size of the set. Where images are larger on disk than in the set, the
    /// window is chosen from all of it.
    ///
    /// # Errors
    /// An image that cannot be read or decoded, a window outside it.
    fn fill_window(
        &self,
        index: usize,
        choose: &mut dyn FnMut([usize; 2]) -> Window,
        out: &mut [u8],
    ) -> Result<()> {
        let [height, width, channels] = self.shape();
        let mut whole = vec![0; height * width * channels];
        self.fill(index, &mut whole)?;
        let extent = [height, width];
        let filter = resize::Filter::Bilinear;
        resize::window(&whole, extent, choose(extent), filter, out, extent)
    }

    /// Constants the images are normalised with unless the caller says otherwise.
    fn normalise(&self) -> Normalise;

    /// Whether a mirrored image keeps its class. Not so where left and right *are* the class.
    fn mirror_safe(&self) -> bool {
        true
    }

    /// Whether all images are in memory already, so that a device may have them all at once.
    fn in_memory(&self) -> bool {
        false
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
