//! Some images of a data set, seen as a data set.

use std::sync::Arc;

use super::{Dataset, Normalise, Split, Window};
use crate::{Error, Result};

/// The images `indices` of another data set, in that order. Pixels are not copied.
pub struct Subset {
    whole: Arc<dyn Dataset>,
    indices: Vec<usize>,
}

impl Subset {
    /// These images, in this order.
    ///
    /// # Errors
    /// No index, or one that is not below the length of `whole`.
    pub fn of(whole: Arc<dyn Dataset>, indices: Vec<usize>) -> Result<Self> {
        if indices.is_empty() {
            let why = "zero images chosen; a data set needs at least one";
            return Err(Error::setting("subset of", whole.name(), why));
        }
        if let Some(&index) = indices.iter().find(|&&i| i >= whole.len()) {
            let what = format!("no such image; the set has {}", whole.len());
            return Err(Error::Sample {
                dataset: whole.name().to_owned(),
                index,
                what,
            });
        }
        Ok(Subset { whole, indices })
    }

    /// The first `count` images, or all if there are fewer.
    ///
    /// # Errors
    /// `count` is 0.
    pub fn first(whole: Arc<dyn Dataset>, count: usize) -> Result<Self> {
        let count = count.min(whole.len());
        Self::of(whole, (0..count).collect())
    }

    /// Images 0, `step`, 2·`step`, …
    ///
    /// # Errors
    /// `step` is 0.
    pub fn every(whole: Arc<dyn Dataset>, step: usize) -> Result<Self> {
        if step == 0 {
            return Err(Error::setting("step", step, "must be at least 1"));
        }
        let indices = (0..whole.len()).step_by(step).collect();
        Self::of(whole, indices)
    }
}

impl Dataset for Subset {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn split(&self) -> Split {
        self.whole.split()
    }

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.whole.shape()
    }

    fn classes(&self) -> &[String] {
        self.whole.classes()
    }

    fn label(&self, index: usize) -> u32 {
        self.whole.label(self.indices[index])
    }

    fn fill(&self, index: usize, out: &mut [u8]) -> Result<()> {
        self.whole.fill(self.indices[index], out)
    }

    fn fill_window(
        &self,
        index: usize,
        choose: &mut dyn FnMut([usize; 2]) -> Window,
        out: &mut [u8],
    ) -> Result<()> {
        self.whole.fill_window(self.indices[index], choose, out)
    }

    fn normalise(&self) -> Normalise {
        self.whole.normalise()
    }

    fn mirror_safe(&self) -> bool {
        self.whole.mirror_safe()
    }

    fn in_memory(&self) -> bool {
        self.whole.in_memory()
    }
}
