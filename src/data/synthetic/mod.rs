//! The spatial benchmark pack: five generated data sets of which it is known what can be learned
//! without knowing where things are.
//!
//! A *bag of features* is any classifier that looks at an image through small windows and forgets
//! where each window was: a network whose maps are spatially shuffled, or averaged, is one. In
//! `layout`, `red-left-of-green`, `quadrant` and `anagram` two classes show *exactly* the same
//! windows, so no bag of features can tell them apart; in `texture` every window shows the class.
//!
//! The exactness comes from two rules. First, everything that varies from image to image (colours,
//! noise, jitter) is drawn before the class is looked at. Second, parts move only by whole periods of
//! a periodic background and never come closer than a margin to each other or to the border. So a
//! part is surrounded by the same pixels wherever it stands, and the multiset of all k×k windows is
//! the same for all classes, for every k up to the margin plus one, zero padding included.
//!
//! Lengths are counted in units of `u` = side / 16 pixels.
//!
//! Images are made with integer arithmetic from [`crate::rng`] alone, so a recipe gives the same bytes
//! on every machine. An image is a function of (task, split, size, seed, sample, label): the first n
//! images of a long set are those of a short one.

mod anagram;
mod layout;
mod quadrant;
mod red_left_of_green;
mod scene;
mod texture;

use std::fmt;
use std::str::FromStr;

use super::{ImageSet, Normalise, Split};
use crate::rng::{Key, Purpose, Stream};
use crate::{Error, Result};

/// A generated classification task. The page of each variant says what a bag of features can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Four parts in four cells; the class is which part is where.
    ///
    /// Every class shows the same four parts, so a bag of features is at chance: 1 / classes.
    /// Up to 24 classes (4! arrangements). Two of them that differ in the last two bits of their
    /// number have every part in another cell, so each part visits the cells equally often.
    Layout,
    /// A texture of stripes, checks or blocks at a random phase.
    ///
    /// Position means nothing. Each class has its own pattern *and* its own share of bright pixels
    /// in R, G and B, so the three channel means alone tell the class: a bag of features, even one of
    /// single pixels shuffled channel by channel, can reach 1.
    Texture,
    /// A red and a green square; the class is which one is on the left.
    ///
    /// Both classes show one red and one green square of the same size: a bag of features is at
    /// chance, 1/2. The place of one square alone only hints at the class; the relation decides.
    RedLeftOfGreen,
    /// One part in one of the four quadrants; the class is the quadrant.
    ///
    /// The part, its colour and its offset within the quadrant are drawn alike for all classes: a bag
    /// of features is at chance, 1/4.
    Quadrant,
    /// A figure cut into four pieces, in place or with its left and right halves exchanged.
    ///
    /// Class 2p is figure p and class 2p + 1 its anagram, made of the same pieces. A bag of features
    /// can tell the figures apart but not the two arrangements: 1/2.
    Anagram,
}

impl Task {
    /// All tasks, in the order of the manual.
    pub const ALL: [Self; 5] = [
        Task::Layout,
        Task::Texture,
        Task::RedLeftOfGreen,
        Task::Quadrant,
        Task::Anagram,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Task::Layout => "layout",
            Task::Texture => "texture",
            Task::RedLeftOfGreen => "red-left-of-green",
            Task::Quadrant => "quadrant",
            Task::Anagram => "anagram",
        }
    }

    /// What tells the class, in one sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Task::Layout => "The same four parts in every image; only which stands where tells.",
            Task::Texture => "A texture at a random phase; position tells nothing.",
            Task::RedLeftOfGreen => "A red and a green square; which is on the left tells.",
            Task::Quadrant => "One part; the quadrant it stands in tells.",
            Task::Anagram => "Figures cut in four, in place or with their halves exchanged.",
        }
    }

    /// Default number of classes.
    pub fn classes(self) -> usize {
        match self {
            Task::Layout | Task::Texture | Task::Anagram => 8,
            Task::RedLeftOfGreen => 2,
            Task::Quadrant => 4,
        }
    }

    /// The best accuracy a bag of features can reach on this many (equally frequent) classes.
    pub fn ceiling(self, classes: usize) -> f64 {
        match self {
            Task::Layout | Task::Quadrant | Task::RedLeftOfGreen => 1.0 / classes as f64,
            Task::Texture => 1.0,
            Task::Anagram => 0.5,
        }
    }

    /// Names of all classes there can be; the number of them in use is a choice.
    fn all_class_names(self) -> Vec<String> {
        match self {
            Task::Layout => layout::class_names(),
            Task::Texture => texture::class_names(),
            Task::RedLeftOfGreen => red_left_of_green::class_names(),
            Task::Quadrant => quadrant::class_names(),
            Task::Anagram => anagram::class_names(),
        }
    }
}

/// The name on the command line.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Task::ALL
            .into_iter()
            .find(|task| task.name() == name)
            .ok_or_else(|| {
                let known = Task::ALL.map(Task::name).join(", ");
                Error::setting("task", name, format!("unknown; known are {known}"))
            })
    }
}

/// Everything a generated set is a function of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What the images show.
    pub task: Task,
    /// Which images: train and test never share one.
    pub split: Split,
    /// Side of the (square) images in pixels: 16, 32, 48 or 64.
    pub size: usize,
    /// Number of classes; image `i` belongs to class `i % classes`.
    pub classes: usize,
    /// Number of images.
    pub count: usize,
    /// Seed of the images.
    pub seed: u64,
}

impl Recipe {
    /// 32 pixels, the task's default classes, 4096 images to train and 1024 to test, seed 0.
    pub fn new(task: Task, split: Split) -> Self {
        let count = match split {
            Split::Train => 4096,
            Split::Test => 1024,
        };
        Recipe {
            task,
            split,
            size: 32,
            classes: task.classes(),
            count,
            seed: 0,
        }
    }

    /// Makes the images.
    ///
    /// # Errors
    /// A size, class count or image count the task does not come in.
    pub fn generate(&self) -> Result<ImageSet> {
        let classes = self.check()?;
        let bytes = self.size * self.size * 3;
        let mut images = Vec::new();
        images.try_reserve_exact(self.count * bytes).map_err(|_| {
            let why = format!("{bytes} bytes for each do not fit into memory: choose fewer images");
            Error::setting("count", self.count, why)
        })?;
        images.resize(self.count * bytes, 0);
        let labels: Vec<u32> = (0..self.count).map(|i| (i % self.classes) as u32).collect();
        for (sample, image) in images.chunks_exact_mut(bytes).enumerate() {
            self.draw(sample as u32, labels[sample], image);
        }
        let shape = [self.size, self.size, 3];
        let set = ImageSet::new(self.task.name(), self.split, shape, classes, images, labels)?;
        Ok(set
            .with_normalise(Normalise::HALF)
            .with_mirror_safe(self.task == Task::Texture))
    }

    /// The names of the classes, if everything about this recipe can be had.
    fn check(&self) -> Result<Vec<String>> {
        if !matches!(self.size, 16 | 32 | 48 | 64) {
            return Err(Error::setting(
                "size",
                self.size,
                "expected 16, 32, 48 or 64 pixels",
            ));
        }
        if self.count == 0 || self.count > u32::MAX as usize {
            let why = format!("a data set needs 1 to {} images", u32::MAX);
            return Err(Error::setting("count", self.count, why));
        }
        let mut names = self.task.all_class_names();
        let (most, task) = (names.len(), self.task);
        let why = match task {
            Task::RedLeftOfGreen | Task::Quadrant if self.classes != most => {
                format!("{task} has {most} classes")
            }
            Task::Anagram if self.classes < 2 || self.classes > most || self.classes % 2 == 1 => {
                format!("{task} has pairs of classes: choose an even number from 2 to {most}")
            }
            _ if self.classes < 2 || self.classes > most => {
                format!("{task} has 2 to {most} classes")
            }
            _ => {
                names.truncate(self.classes);
                return Ok(names);
            }
        };
        Err(Error::setting("classes", self.classes, why))
    }

    /// Draws image `sample` as a member of class `label` into `out`, size × size × 3 bytes. With
    /// another label the same sample shows the same things, arranged as that class has them.
    fn draw(&self, sample: u32, label: u32, out: &mut [u8]) {
        let key = Key::new(self.seed, Purpose::Generate, self.split as u64, sample);
        let stream = &mut key.stream(self.task as u32);
        match self.task {
            Task::Layout => layout::draw(stream, label, self.size, out),
            Task::Texture => texture::draw(stream, label, self.size, out),
            Task::RedLeftOfGreen => red_left_of_green::draw(stream, label, self.size, out),
            Task::Quadrant => quadrant::draw(stream, label, self.size, out),
            Task::Anagram => anagram::draw(stream, label, self.size, out),
        }
    }
}

/// One line of the pack's table.
#[derive(Clone, Debug, PartialEq)]
pub struct PackEntry {
    /// The task.
    pub task: Task,
    /// Default side of the images in pixels.
    pub size: usize,
    /// Default number of classes.
    pub classes: usize,
    /// What a bag of features can reach with that many classes.
    pub ceiling: f64,
    /// What tells the class.
    pub sentence: &'static str,
}

/// The pack as a table.
pub fn pack() -> Vec<PackEntry> {
    let entry = |task: Task| PackEntry {
        task,
        size: Recipe::new(task, Split::Train).size,
        classes: task.classes(),
        ceiling: task.ceiling(task.classes()),
        sentence: task.sentence(),
    };
    Task::ALL.into_iter().map(entry).collect()
}

/// A uniform integer in `-reach..=reach`.
fn around_zero(stream: &mut Stream, reach: i32) -> i32 {
    stream.below(2 * reach as u32 + 1) as i32 - reach
}

#[cfg(test)]
mod tests;
