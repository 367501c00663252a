//! Images with a label for every pixel: a class, and where the data has them, parts of objects and
//! materials.
//!
//! A [`SceneSet`] hands out one [`Scene`] at a time. All maps of a scene have the size of its image,
//! and hold indices into the lists of names of the set, whatever numbers or colours the files use. Two
//! values mean something else: [`UNLABELLED`] (nobody judged this pixel) and [`NOTHING`] (it was
//! judged, and shows none of the concepts).
//!
//! ```
//! use whatwhere::data::segmentation::{Fold, SceneSet, street::Recipe};
//!
//! let set = Recipe { size: [48, 96], count: 2, ..Recipe::new(Fold::Train) }.generate()?;
//! let scene = set.scene(0)?;
//! assert_eq!(scene.classes.extent(), [48, 96]);
//! let middle = set.classes()[scene.classes.at(47, 48) as usize].name.as_str();
//! assert!(["road", "sidewalk", "car", "bus"].contains(&middle));
//! # Ok::<(), whatwhere::Error>(())
//! ```

mod augment;
pub mod broden;
pub mod camvid;
pub mod cityscapes;
mod files;
mod label_map;
pub mod preview;
pub mod street;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

pub use augment::{SceneAugment, SceneChange};
pub use label_map::{LabelMap, NOTHING, UNLABELLED};

use super::Normalise;
use crate::{Error, Result};

/// Which part of a set of scenes; those with labels have a validation part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    /// Scenes to learn from.
    Train,
    /// Scenes to choose settings by, and what is reported on Cityscapes.
    Val,
    /// Scenes to be tested on.
    Test,
}

/// `train`, `val` or `test`.
impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fold::Train => "train",
            Fold::Val => "val",
            Fold::Test => "test",
        })
    }
}

impl FromStr for Fold {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "train" => Ok(Fold::Train),
            "val" => Ok(Fold::Val),
            "test" => Ok(Fold::Test),
            _ => Err(Error::setting("split", name, "expected train, val or test")),
        }
    }
}

/// A class a pixel can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name in the set, `traffic light`.
    pub name: String,
    /// The colour it is drawn in.
    pub colour: [u8; 3],
}

/// A part of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Object and part, `car/wheel`; sets that do not tell the object say `wheel`.
    pub name: String,
    /// The class it is a part of, an index into the set's classes.
    pub parent: Option<usize>,
}

/// An image and its maps, all of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// What the image is called in its set: a path, or a number.
    pub name: String,
    /// Red, green and blue of every pixel, row after row.
    pub rgb: Vec<u8>,
    /// The class of every pixel, or [`UNLABELLED`].
    pub classes: LabelMap,
    /// The parts, in as many layers as the set has (a handle on a door on a car). None at all where
    /// nobody labelled parts.
    pub parts: Vec<LabelMap>,
    /// The materials; none at all where nobody labelled them.
    pub materials: Vec<LabelMap>,
}

impl Scene {
    /// Height and width.
    pub fn extent(&self) -> [usize; 2] {
        self.classes.extent()
    }

    /// Every map with what it is called.
    fn maps(&self) -> impl Iterator<Item = (&'static str, &LabelMap)> {
        let parts = self.parts.iter().map(|map| ("part", map));
        let materials = self.materials.iter().map(|map| ("material", map));
        [("class", &self.classes)]
            .into_iter()
            .chain(parts)
            .chain(materials)
    }

    /// The scene, if its maps fit its image and hold indices `set` knows: what every reader returns
    /// passes through here.
    ///
    /// # Errors
    /// [`Error::Sample`] with the scene's name, the map and the pixel at fault.
    pub fn checked(self, set: &dyn SceneSet) -> Result<Self> {
        let refuse = |what: String| Error::Sample {
            dataset: format!("{} ({})", set.name(), self.name),
            index: 0,
            what,
        };
        let [height, width] = self.extent();
        if self.rgb.len() != height * width * 3 {
            let what = format!("{} bytes for {height}×{width} RGB pixels", self.rgb.len());
            return Err(refuse(what));
        }
        for (kind, map) in self.maps() {
            if map.extent() != [height, width] {
                let [h, w] = map.extent();
                let what = format!("a {kind} map of {h}×{w} for an image of {height}×{width}");
                return Err(refuse(what));
            }
            let (known, nothing) = match kind {
                "class" => (set.classes().len(), false),
                "part" => (set.parts().len(), true),
                _ => (set.materials().len(), true),
            };
            let fits =
                |&id: &u16| usize::from(id) < known || id == UNLABELLED || nothing && id == NOTHING;
            if let Some(at) = map.ids().iter().position(|id| !fits(id)) {
                let id = map.ids()[at];
                let what = format!(
                    "{kind} {id} in row {}, column {}, but there are {known}",
                    at / width,
                    at % width
                );
                return Err(refuse(what));
            }
        }
        Ok(self)
    }
}

/// Scenes, in an order that does not change.
pub trait SceneSet: Send + Sync {
    /// Name as on the command line, `street`.
    fn name(&self) -> &str;

    /// Which part this is.
    fn fold(&self) -> Fold;

    /// Number of scenes.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The classes; a label is an index into them.
    fn classes(&self) -> &[Class];

    /// The parts; empty where the set has none.
    fn parts(&self) -> &[Part] {
        &[]
    }

    /// The materials; empty where the set has none.
    fn materials(&self) -> &[String] {
        &[]
    }

    /// Scene `index`, which must be below [`len`](SceneSet::len). Called from any thread, in any order.
    ///
    /// # Errors
    /// A file that is missing, damaged, or labels what the set does not know.
    fn scene(&self, index: usize) -> Result<Scene>;

    /// Constants the images are normalised with unless the caller says otherwise.
    fn normalise(&self) -> Normalise {
        Normalise::IMAGENET
    }
}

/// What [`open`] needs to know; each field matters to some sets only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// The folder with the files.
    pub root: Option<PathBuf>,
    /// Generated sets: height of the images in pixels; they are twice as wide.
    pub height: Option<usize>,
    /// Generated sets: number of images.
    pub count: Option<usize>,
    /// Generated sets: seed of the images.
    pub seed: u64,
    /// Generated sets: the failure planted.
    pub plant: street::Plant,
}

/// Names [`open`] knows, with a sentence for each.
pub const NAMES: [(&str, &str); 4] = [
    (
        "street",
        "Generated streets with 14 classes, 42 parts and 13 materials, exact in every pixel.",
    ),
    (
        "cityscapes",
        "19 classes; --root holds leftImg8bit and gtFine.",
    ),
    (
        "camvid",
        "11 classes; --root holds train.txt and train, or 701_StillsRaw_full and LabeledApproved_full.",
    ),
    (
        "broden",
        "Objects, parts and materials; --root holds index.csv and images.",
    ),
];

/// Whether [`open`] knows the name.
pub fn is_known(name: &str) -> bool {
    NAMES.iter().any(|(known, _)| *known == name)
}

/// Opens a set by name.
///
/// # Errors
/// An unknown name, and whatever is wrong with the files or the recipe.
pub fn open(name: &str, fold: Fold, options: &OpenOptions) -> Result<Arc<dyn SceneSet>> {
    let root = || {
        let root = options.root.as_deref();
        root.ok_or_else(|| {
            Error::setting("data", name, "needs --root DIR, the folder of its files")
        })
    };
    match name {
        "street" => {
            let default = street::Recipe::new(fold);
            let height = options.height.unwrap_or(default.size[0]);
            let recipe = street::Recipe {
                size: [height, 2 * height],
                count: options.count.unwrap_or(default.count),
                seed: options.seed,
                plant: options.plant,
                ..default
            };
            Ok(Arc::new(recipe.generate()?))
        }
        "cityscapes" => Ok(Arc::new(cityscapes::open(root()?, fold)?)),
        "camvid" => Ok(Arc::new(camvid::open(root()?, fold)?)),
        "broden" => Ok(Arc::new(broden::open(root()?, fold)?)),
        _ => {
            let known = NAMES.map(|(name, _)| name).join(", ");
            let why = format!("unknown set of scenes; known are {known}");
            Err(Error::setting("data", name, why))
        }
    }
}

#[cfg(test)]
mod tests;
