//! A data set that is held in memory.

use sha2::{Digest, Sha256};

use super::{Dataset, Normalise, Split};
use crate::{Error, Result};

/// 8-bit images of one size, all in memory, NHWC: image after image, row after row, the channels of a
/// pixel side by side.
#[derive(Clone, Debug)]
pub struct ImageSet {
    name: String,
    split: Split,
    shape: [usize; 3],
    classes: Vec<String>,
    images: Vec<u8>,
    labels: Vec<u32>,
    normalise: Normalise,
    mirror_safe: bool,
}

impl ImageSet {
    /// A set of `labels.len()` images of `shape` (height, width, channels).
    ///
    /// # Errors
    /// No image at all, a byte count that does not fit the shape, or a label that is no index into
    /// `classes`.
    pub fn new(
        name: impl Into<String>,
        split: Split,
        shape: [usize; 3],
        classes: Vec<String>,
        images: Vec<u8>,
        labels: Vec<u32>,
    ) -> Result<Self> {
        let name = name.into();
        let [h, w, c] = shape;
        if labels.is_empty() {
            return Err(Error::setting(
                "data",
                name,
                "zero images; a data set needs at least one",
            ));
        }
        if images.len() != labels.len() * h * w * c {
            let why = format!(
                "{} images of {h}x{w}x{c} are {} bytes, found {}",
                labels.len(),
                labels.len() * h * w * c,
                images.len()
            );
            return Err(Error::setting("data", name, why));
        }
        if let Some(i) = labels.iter().position(|&l| l as usize >= classes.len()) {
            let what = format!(
                "label {}, but there are {} classes",
                labels[i],
                classes.len()
            );
            return Err(Error::Sample {
                dataset: name,
                index: i,
                what,
            });
        }
        Ok(ImageSet {
            name,
            split,
            shape,
            classes,
            images,
            labels,
            normalise: Normalise::HALF,
            mirror_safe: true,
        })
    }

    /// The same set, normalised with these constants by default.
    pub fn with_normalise(mut self, normalise: Normalise) -> Self {
        self.normalise = normalise;
        self
    }

    /// The same set, said to keep (or not to keep) its classes when mirrored.
    pub fn with_mirror_safe(mut self, safe: bool) -> Self {
        self.mirror_safe = safe;
        self
    }

    /// The bytes of image `index`, which must be below the length.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.shape.iter().product::<usize>();
        &self.images[index * size..][..size]
    }

    /// All labels, in order.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// All images, in order.
    pub fn images(&self) -> &[u8] {
        &self.images
    }
}

impl Dataset for ImageSet {
    fn name(&self) -> &str {
        &self.name
    }

    fn split(&self) -> Split {
        self.split
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn fill(&self, index: usize, out: &mut [u8]) -> Result<()> {
        out.copy_from_slice(self.image(index));
        Ok(())
    }

    fn normalise(&self) -> Normalise {
        self.normalise
    }

    fn in_memory(&self) -> bool {
        true
    }

    fn mirror_safe(&self) -> bool {
        self.mirror_safe
    }
}

/// The default body of [`Dataset::sha256`].
pub(super) fn sha256<D: Dataset + ?Sized>(set: &D) -> Result<String> {
    let mut hash = Sha256::new();
    let mut image = vec![0; set.shape().iter().product()];
    for index in 0..set.len() {
        set.fill(index, &mut image)?;
        hash.update(&image);
    }
    for index in 0..set.len() {
        hash.update(set.label(index).to_le_bytes());
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
