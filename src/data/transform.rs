//! From 8-bit pixels to normalised floats: crop, mirror and normalise in one pass.

use std::fmt;
use std::str::FromStr;

use super::Window;
use crate::rng::{Key, Purpose, Stream};
use crate::{Error, Result};

/// Per-channel mean and standard deviation in units of the pixel range 0..1:
/// a pixel byte `v` becomes `(v / 255 - mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalise {
    /// Mean of R, G, B.
    pub mean: [f32; 3],
    /// Standard deviation of R, G, B.
    pub std: [f32; 3],
}

impl Normalise {
    /// CIFAR-10's constants. The paper's authors use them for CIFAR-100 too (their code, and so do
    /// many others), which is why they are the default for both.
    pub const CIFAR: Self = Normalise {
        mean: [0.4914, 0.4822, 0.4465],
        std: [0.2023, 0.1994, 0.2010],
    };
    /// The mean and standard deviation of CIFAR-100's own training images.
    pub const CIFAR100: Self = Normalise {
        mean: [0.50708, 0.48655, 0.44092],
        std: [0.26733, 0.25644, 0.27615],
    };
    /// ImageNet's, as every torchvision model expects them.
    pub const IMAGENET: Self = Normalise {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    /// Mean 1/2, standard deviation 1/4: the generated sets.
    pub const HALF: Self = Normalise {
        mean: [0.5; 3],
        std: [0.25; 3],
    };
    /// Pixels in 0..1, nothing else.
    pub const NONE: Self = Normalise {
        mean: [0.0; 3],
        std: [1.0; 3],
    };

    /// Names and constants, for the command line.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("cifar", Self::CIFAR),
        ("cifar100", Self::CIFAR100),
        ("imagenet", Self::IMAGENET),
        ("half", Self::HALF),
        ("none", Self::NONE),
    ];

    /// What each of the 256 pixel values becomes, per channel. The order of the operations is
    /// torchvision's (`ToTensor`, then `Normalize`), so the floats are the same to the last bit.
    pub fn table(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|c| {
            std::array::from_fn(|v| (v as f32 / 255.0 - self.mean[c]) / self.std[c])
        })
    }
}

impl FromStr for Normalise {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let named = Self::NAMED.into_iter().find(|(known, _)| *known == name);
        named.map(|(_, constants)| constants).ok_or_else(|| {
            let known = Self::NAMED.map(|(known, _)| known).join(", ");
            Error::setting("normalise", name, format!("unknown; known are {known}"))
        })
    }
}

/// Random changes of a training image that keep its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Augment {
    /// The image as it is.
    #[default]
    None,
    /// Surround the image with `pad` black pixels, cut a window of the original size at a uniform
    /// offset, then mirror left-right with probability 1/2 (torchvision's `RandomCrop(32, padding=4)`
    /// and `RandomHorizontalFlip`; the paper's "DA" with pad 4).
    CropFlip {
        /// Black pixels added on each side.
        pad: usize,
    },
    /// Scale a window of random area and shape to the size of the set, then mirror with probability
    /// 1/2 (torchvision's `RandomResizedCrop` and `RandomHorizontalFlip`: the recipe for ImageNet).
    ResizedCrop {
        /// Least area of the window in percent of the image; at most it is all of it.
        percent: u8,
    },
}

impl Augment {
    /// Windows of 8 to 100 % of the image, mirrored or not: the recipe for ImageNet.
    pub const IMAGENET: Self = Augment::ResizedCrop { percent: 8 };

    /// Crop with pad 4 and mirror: the paper's recipe for CIFAR.
    pub const CIFAR: Self = Augment::CropFlip { pad: 4 };

    /// What is done to image `sample` in `epoch` of the run with this `seed`. A function of these
    /// three alone: not of the batch, the order or the thread.
    pub fn draw(self, seed: u64, epoch: u64, sample: u32) -> Placement {
        match self {
            Augment::None => Placement::default(),
            Augment::CropFlip { pad } => {
                let mut stream = stream(seed, epoch, sample, 0);
                let mut offset = || stream.below(2 * pad as u32 + 1) as isize - pad as isize;
                let (dy, dx) = (offset(), offset());
                Placement {
                    dy,
                    dx,
                    mirror: stream.below(2) == 1,
                }
            }
            Augment::ResizedCrop { .. } => Placement {
                mirror: stream(seed, epoch, sample, 0).below(2) == 1,
                ..Placement::default()
            },
        }
    }

    /// Which window of image `sample`, of `extent` (height, width), is scaled in this epoch; `None`
    /// where the image is not scaled.
    pub fn window(self, seed: u64, epoch: u64, sample: u32, extent: [usize; 2]) -> Option<Window> {
        match self {
            Augment::ResizedCrop { percent } => {
                let least = f64::from(percent) / 100.0;
                Some(Window::draw(
                    &mut stream(seed, epoch, sample, 1),
                    extent,
                    least,
                ))
            }
            Augment::None | Augment::CropFlip { .. } => None,
        }
    }

    /// Whether windows are scaled.
    pub fn scales(self) -> bool {
        matches!(self, Augment::ResizedCrop { .. })
    }
}

fn stream(seed: u64, epoch: u64, sample: u32, lane: u32) -> Stream {
    Key::new(seed, Purpose::Augment, epoch, sample).stream(lane)
}

/// `none`, `crop-flip` or `resized-crop`, with the number where it is not the usual one.
impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Augment::None => f.write_str("none"),
            &Augment::CIFAR => f.write_str("crop-flip"),
            Augment::CropFlip { pad } => write!(f, "crop-flip:{pad}"),
            &Augment::IMAGENET => f.write_str("resized-crop"),
            Augment::ResizedCrop { percent } => write!(f, "resized-crop:{percent}"),
        }
    }
}

/// `none`, `crop-flip` (pad 4), `crop-flip:PAD`, `resized-crop` (8 %) or `resized-crop:PERCENT`.
impl FromStr for Augment {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let (kind, number) = match name.split_once(':') {
            Some((kind, number)) => (kind, Some(number.parse::<u16>().ok())),
            None => (name, None),
        };
        let known = match (kind, number) {
            ("none", None) => Some(Augment::None),
            ("crop-flip", None) => Some(Augment::CIFAR),
            ("crop-flip", Some(Some(pad))) => Some(Augment::CropFlip { pad: pad as usize }),
            ("resized-crop", None) => Some(Augment::IMAGENET),
            ("resized-crop", Some(Some(percent @ 1..=100))) => Some(Augment::ResizedCrop {
                percent: percent as u8,
            }),
            _ => None,
        };
        known.ok_or_else(|| {
            let why = "expected none, crop-flip, crop-flip:PAD, resized-crop or \
                       resized-crop:PERCENT (1 to 100)";
            Error::setting("augment", name, why)
        })
    }
}

/// Where the window lies on the image, and whether it is mirrored afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Row of the image that becomes row 0; negative rows are black.
    pub dy: isize,
    /// Column of the image that becomes column 0, before mirroring.
    pub dx: isize,
    /// Left and right exchanged.
    pub mirror: bool,
}

/// Turns 8-bit RGB images of one size into normalised floats.
pub struct Transform {
    height: usize,
    width: usize,
    table: [[f32; 256]; 3],
}

impl Transform {
    /// For images of `shape` (height, width, 3).
    ///
    /// # Errors
    /// Images that do not have three channels.
    pub fn new(shape: [usize; 3], normalise: Normalise) -> Result<Self> {
        let [height, width, channels] = shape;
        if channels != 3 {
            let what = format!("expected RGB images, found {channels} channels");
            return Err(Error::shape("normalise", what));
        }
        Ok(Transform {
            height,
            width,
            table: normalise.table(),
        })
    }

    /// Writes the normalised window of `image` at `place` to `out`, both height × width × 3. The
    /// padding is black *before* normalisation, as torchvision's is: `-mean / std`, not 0.
    pub fn apply(&self, image: &[u8], place: Placement, out: &mut [f32]) {
        let (h, w) = (self.height as isize, self.width as isize);
        assert_eq!(image.len(), self.height * self.width * 3, "image size");
        for (y, row) in (0..h).zip(out.chunks_exact_mut(self.width * 3)) {
            let from_y = y + place.dy;
            for (x, pixel) in (0..w).zip(row.chunks_exact_mut(3)) {
                let from_x = if place.mirror { w - 1 - x } else { x } + place.dx;
                let inside = (0..h).contains(&from_y) && (0..w).contains(&from_x);
                let rgb = match inside {
                    true => &image[((from_y * w + from_x) * 3) as usize..][..3],
                    false => &[0, 0, 0],
                };
                for (value, (table, &byte)) in pixel.iter_mut().zip(self.table.iter().zip(rgb)) {
                    *value = table[byte as usize];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torchvision's pad, crop, hflip, to_tensor and normalize (`scripts/golden/transform.py`), to
    /// the last bit.
    #[test]
    fn crops_mirrors_and_normalises_as_torchvision_does() {
        let file = include_bytes!("../../tests/golden/transform.safetensors");
        let golden = safetensors::SafeTensors::deserialize(file).unwrap();
        let image = golden.tensor("image").unwrap().data();
        let outputs = golden.tensor("outputs").unwrap();
        let transform = Transform::new([8, 8, 3], Normalise::CIFAR).unwrap();
        let places = [(0, 0, false), (-4, 3, false), (4, -2, true), (0, 0, true)];
        let mut out = vec![f32::NAN; image.len()];
        assert_eq!(outputs.shape(), [places.len(), 8, 8, 3]);
        for ((dy, dx, mirror), expected) in places
            .into_iter()
            .zip(outputs.data().chunks_exact(4 * image.len()))
        {
            let place = Placement { dy, dx, mirror };
            transform.apply(image, place, &mut out);
            let bytes: Vec<u8> = out.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert!(bytes == expected, "{place:?}");
        }
    }

    #[test]
    fn offsets_and_mirroring_are_uniform() {
        let (mut cells, mut mirrored) = ([0f64; 81], 0f64);
        let draws = 81_000;
        for sample in 0..draws {
            let place = Augment::CIFAR.draw(7, (sample % 5) as u64, sample);
            cells[((place.dy + 4) * 9 + place.dx + 4) as usize] += 1.0;
            mirrored += f64::from(place.mirror as u8);
        }
        // 80 degrees of freedom: 124.8 has probability 0.001; 1 degree: 10.8.
        let chi2: f64 = cells.iter().map(|c| (c - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi2 < 124.8, "{chi2}");
        let half = draws as f64 / 2.0;
        assert!(
            2.0 * (mirrored - half).powi(2) / half < 10.8,
            "{mirrored} of {draws}"
        );
    }

    #[test]
    fn names_round_trip_and_unknown_ones_are_refused() {
        for name in [
            "none",
            "crop-flip",
            "crop-flip:8",
            "resized-crop",
            "resized-crop:25",
        ] {
            assert_eq!(name.parse::<Augment>().unwrap().to_string(), name);
        }
        for name in [
            "crop-flip:x",
            "resized-crop:0",
            "resized-crop:101",
            "none:1",
        ] {
            let error = name.parse::<Augment>().unwrap_err().to_string();
            assert!(error.contains("crop-flip:PAD"), "{error}");
        }
        assert_eq!(
            "imagenet".parse::<Normalise>().unwrap(),
            Normalise::IMAGENET
        );
        assert!(
            "cifra"
                .parse::<Normalise>()
                .unwrap_err()
                .to_string()
                .contains("cifar100")
        );
        assert!(Transform::new([4, 4, 1], Normalise::NONE).is_err());
    }
}
