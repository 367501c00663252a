//! Generated streets: pictures of a street as a car's camera sees it, with the class, the part and the
//! material of every pixel, exact by construction.
//!
//! Houses with windows, doors, shops, balconies, roofs and chimneys; gardens behind fences; cars, buses
//! and trucks from the rear, the front and the side; people, trees, lamps, signs, traffic lights and
//! bicycles. Nothing is read from a file. A scene is a function of (seed, fold, index): the first n of
//! a long set are those of a short one, and the parts of a set never share one. The same recipe gives
//! the same bytes on every machine (`canvas` says why).
//!
//! A [`Plant`] puts a known failure into a set: the same scenes, with one kind of thing looking as it
//! never does in training. An error analysis that is worth its name must find it.

mod building;
mod canvas;
mod compose;
mod faces;
mod labels;
mod thing;
mod vehicle;

use std::fmt;
use std::str::FromStr;

use super::{Class, Fold, Part, Scene, SceneSet};
use crate::rng::{Key, Purpose};
use crate::{Error, Result};

/// A failure planted in a set. Classes and parts are still labelled as what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plant {
    /// None: streets as they are.
    #[default]
    None,
    /// The windows of buses look like those of houses: white frames, cross bars and curtains in place
    /// of a dark band.
    BusWindows,
    /// Cars are overgrown with leaves.
    LeafyCars,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 3] = [Plant::None, Plant::BusWindows, Plant::LeafyCars];
}

/// `none`, `bus-windows` or `leafy-cars`.
impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Plant::None => "none",
            Plant::BusWindows => "bus-windows",
            Plant::LeafyCars => "leafy-cars",
        })
    }
}

impl FromStr for Plant {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Plant::ALL
            .into_iter()
            .find(|plant| plant.to_string() == name);
        known.ok_or_else(|| {
            let known = Plant::ALL.map(|plant| plant.to_string()).join(", ");
            Error::setting("plant", name, format!("unknown; known are {known}"))
        })
    }
}

/// Everything a generated set is a function of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Which scenes: the parts of a set never share one.
    pub fold: Fold,
    /// Height and width of the images in pixels, 16 to 4096.
    pub size: [usize; 2],
    /// Number of scenes.
    pub count: usize,
    /// Seed of the scenes.
    pub seed: u64,
    /// The failure planted, in all scenes.
    pub plant: Plant,
}

impl Recipe {
    /// 128×256 pixels, 1024 scenes to train and 128 each to choose by and to test, seed 0, nothing
    /// planted.
    pub fn new(fold: Fold) -> Self {
        Recipe {
            fold,
            size: [128, 256],
            count: if fold == Fold::Train { 1024 } else { 128 },
            seed: 0,
            plant: Plant::None,
        }
    }

    /// The set. Scenes are drawn when they are asked for.
    ///
    /// # Errors
    /// A size or a count it does not come in.
    pub fn generate(&self) -> Result<Street> {
        let [height, width] = self.size;
        if self
            .size
            .into_iter()
            .any(|side| !(16..=4096).contains(&side))
        {
            let why = "expected a height and a width of 16 to 4096 pixels";
            return Err(Error::setting("size", format!("{height}x{width}"), why));
        }
        if self.count == 0 || self.count > u32::MAX as usize {
            let why = format!("a set needs 1 to {} scenes", u32::MAX);
            return Err(Error::setting("count", self.count, why));
        }
        Ok(Street {
            recipe: self.clone(),
            classes: labels::classes(),
            parts: labels::parts(),
            materials: labels::materials(),
        })
    }
}

/// A generated set of streets.
#[derive(Clone, Debug)]
pub struct Street {
    recipe: Recipe,
    classes: Vec<Class>,
    parts: Vec<Part>,
    materials: Vec<String>,
}

impl Street {
    /// What the set is made from.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    fn paint(&self, index: usize) -> canvas::Painting {
        let Recipe {
            fold,
            size,
            seed,
            plant,
            ..
        } = self.recipe;
        // The spatial benchmark pack takes the first lanes of its splits' keys; these are far from them.
        let key = Key::new(seed, Purpose::Generate, 0x57 + fold as u64, index as u32);
        let plant = vehicle::Plant {
            sashes: plant == Plant::BusWindows,
            leaves: plant == Plant::LeafyCars,
        };
        compose::street(&mut key.stream(0), size, plant)
    }

    /// Which pixels of scene `index` show the planted failure.
    pub fn planted(&self, index: usize) -> Vec<bool> {
        self.paint(index).planted
    }
}

impl SceneSet for Street {
    fn name(&self) -> &str {
        "street"
    }

    fn fold(&self) -> Fold {
        self.recipe.fold
    }

    fn len(&self) -> usize {
        self.recipe.count
    }

    fn classes(&self) -> &[Class] {
        &self.classes
    }

    fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn materials(&self) -> &[String] {
        &self.materials
    }

    fn scene(&self, index: usize) -> Result<Scene> {
        let painting = self.paint(index);
        Ok(Scene {
            name: index.to_string(),
            rgb: painting.rgb,
            classes: painting.things,
            parts: vec![painting.pieces],
            materials: vec![painting.materials],
        })
    }
}

#[cfg(test)]
mod tests;
