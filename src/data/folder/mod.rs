//! Image folders: ImageNet, Tiny-ImageNet, and any `train/<class>/*.jpg`.
//!
//! Opening reads file names only; images are decoded when they are asked for, on the loader's threads.
//! [`layout`] finds the files and their labels.

pub mod layout;
mod truth;

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

pub use layout::{Layout, Listing};
pub use truth::read_map;

use super::image_file::{self, Image, Kind};
use super::{Dataset, Normalise, Split, Window, resize};
use crate::{Error, Result};

/// From the pixels of a file to those of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Geometry {
    /// The shorter side scaled to `short`, the square of `side` in the middle.
    Center {
        /// Pixels of the shorter side.
        short: usize,
        /// Pixels of both sides afterwards.
        side: usize,
    },
    /// All of the image squeezed into a square, each pixel the mean of what it covers: how the
    /// downsampled ImageNet was made (Chrabaszcz et al. 2017, arXiv 1707.08819, "box").
    Box {
        /// Pixels of both sides.
        side: usize,
    },
}

impl Geometry {
    /// The usual margin: a crop of `side` from 8/7 of it, 224 of 256.
    pub fn with_margin(side: usize) -> Self {
        let short = (side * 8 + 3) / 7;
        Geometry::Center { short, side }
    }

    /// Pixels of both sides.
    pub fn side(self) -> usize {
        match self {
            Geometry::Center { side, .. } | Geometry::Box { side } => side,
        }
    }
}

/// A damaged file that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// Images in files, decoded on demand.
pub struct FolderSet {
    name: String,
    split: Split,
    listing: Listing,
    geometry: Geometry,
    skipped: Vec<Damaged>,
}

impl FolderSet {
    /// The files of `listing`.
    ///
    /// # Errors
    /// A side of 0 pixels.
    pub fn new(
        name: impl Into<String>,
        split: Split,
        listing: Listing,
        geometry: Geometry,
    ) -> Result<Self> {
        if geometry.side() == 0 {
            return Err(Error::setting("size", 0, "expected at least one pixel"));
        }
        Ok(FolderSet {
            name: name.into(),
            split,
            listing,
            geometry,
            skipped: Vec::new(),
        })
    }

    /// The same files as other pixels.
    pub fn with_geometry(mut self, geometry: Geometry) -> Self {
        self.geometry = geometry;
        self
    }

    /// The same set without the files that cannot be decoded. All of them are read to find out.
    ///
    /// # Errors
    /// No file is left.
    pub fn skip_damaged(mut self) -> Result<Self> {
        let mut keep = Vec::with_capacity(self.len());
        for found in self.survey() {
            keep.push(found.is_ok());
            self.skipped.extend(found.err());
        }
        if let Some(first) = self.skipped.first()
            && !keep.contains(&true)
        {
            let what = format!(
                "none of the {} files can be decoded: {}",
                keep.len(),
                first.what
            );
            return Err(Error::file(&self.listing.root, what));
        }
        let mut flags = keep.iter();
        self.listing.files.retain(|_| flags.next() == Some(&true));
        let mut flags = keep.iter();
        self.listing.labels.retain(|_| flags.next() == Some(&true));
        Ok(self)
    }

    /// The files that were left out as damaged.
    pub fn skipped(&self) -> &[Damaged] {
        &self.skipped
    }

    /// The files.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Decodes every file, on all threads: its kind, height and width, or what is wrong with it.
    pub fn survey(&self) -> Vec<Result<(Kind, [usize; 2]), Damaged>> {
        let look = |index| match self.decode(index) {
            Ok(image) => Ok((image.kind, [image.height, image.width])),
            Err(Error::File { path, what }) => Err(Damaged { path, what }),
            Err(other) => Err(Damaged {
                path: self.listing.path(index),
                what: other.to_string(),
            }),
        };
        (0..self.len()).into_par_iter().map(look).collect()
    }

    fn decode(&self, index: usize) -> Result<Image> {
        let path = self.listing.path(index);
        let bytes = fs::read(&path).map_err(Error::io(&path, "read"))?;
        image_file::decode(&bytes).map_err(|what| Error::file(&path, what))
    }
}

impl Dataset for FolderSet {
    fn name(&self) -> &str {
        &self.name
    }

    fn split(&self) -> Split {
        self.split
    }

    fn len(&self) -> usize {
        self.listing.labels.len()
    }

    fn shape(&self) -> [usize; 3] {
        [self.geometry.side(), self.geometry.side(), 3]
    }

    fn classes(&self) -> &[String] {
        &self.listing.classes
    }

    fn label(&self, index: usize) -> u32 {
        self.listing.labels[index]
    }

    fn fill(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let image = self.decode(index)?;
        let extent = [image.height, image.width];
        match self.geometry {
            Geometry::Center { short, side } => {
                resize::center(&image.rgb, extent, short, side, out)
            }
            Geometry::Box { side } => resize::window(
                &image.rgb,
                extent,
                Window::whole(extent),
                resize::Filter::Box,
                out,
                [side, side],
            ),
        }
    }

    fn fill_window(
        &self,
        index: usize,
        choose: &mut dyn FnMut([usize; 2]) -> Window,
        out: &mut [u8],
    ) -> Result<()> {
        let image = self.decode(index)?;
        let extent = [image.height, image.width];
        let filter = match self.geometry {
            Geometry::Center { .. } => resize::Filter::Bilinear,
            Geometry::Box { .. } => resize::Filter::Box,
        };
        let side = self.geometry.side();
        resize::window(
            &image.rgb,
            extent,
            choose(extent),
            filter,
            out,
            [side, side],
        )
    }

    fn normalise(&self) -> Normalise {
        Normalise::IMAGENET
    }

    /// Not of the pixels, which would mean decoding everything: of what decides them. The SHA-256 of
    /// the geometry, then of each file's path in the folder, its length, and its label.
    fn sha256(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}\n", self.geometry));
        for (index, file) in self.listing.files.iter().enumerate() {
            let path = self.listing.path(index);
            let length = fs::metadata(&path).map_err(Error::io(&path, "read"))?.len();
            let name = file.to_string_lossy().replace('\\', "/");
            hash.update(format!("{name}\t{length}\t{}\n", self.label(index)));
        }
        Ok(crate::train::hex(&hash.finalize()))
    }
}

/// Whether a name in a folder is hidden, and so none of our business.
fn hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
