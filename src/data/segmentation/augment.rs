//! Random changes of a scene that keep its labels true: scale, rotate, blur, mirror, crop.
//!
//! The order and the numbers are those of hszhao/semseg, PSPNet's reference: the image is scaled by a
//! uniform factor, turned by a uniform angle about its centre (every second one), blurred (every second
//! one), mirrored (every second one), padded to the crop where it is smaller, and cropped at a uniform
//! offset. Scaling and turning are one resampling here instead of two, so the picture is smoothed once:
//! bilinear for the picture, the nearest label for every map. What lies outside the picture has the mean
//! colour of ImageNet and no label.
//!
//! A change is a function of (seed, epoch, index of the scene) alone.

use super::{LabelMap, Scene, UNLABELLED};
use crate::rng::{Key, Purpose};
use crate::{Error, Result};

/// ImageNet's mean colour, 255 × (0.485, 0.456, 0.406), rounded.
pub const MEAN: [u8; 3] = [124, 116, 104];

/// What may be done to a scene.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SceneAugment {
    /// Smallest and largest factor.
    pub scale: [f64; 2],
    /// Largest angle either way, degrees, at most 45; 0 turns nothing.
    pub rotate: f64,
    /// Whether every second image is blurred, by the binomial 1 4 6 4 1 both ways.
    pub blur: bool,
    /// Whether every second image is mirrored.
    pub mirror: bool,
    /// Height and width of what is cut out.
    pub crop: [usize; 2],
}

impl SceneAugment {
    /// PSPNet's: scale 0.5 to 2, rotate ±10°, blur, mirror.
    pub fn pspnet(crop: [usize; 2]) -> Self {
        SceneAugment {
            scale: [0.5, 2.0],
            rotate: 10.0,
            blur: true,
            mirror: true,
            crop,
        }
    }

    /// The crop alone, at a random offset.
    pub fn crop_only(crop: [usize; 2]) -> Self {
        SceneAugment {
            scale: [1.0; 2],
            rotate: 0.0,
            blur: false,
            mirror: false,
            crop,
        }
    }

    /// # Errors
    /// Factors that are not positive or not in order, an angle above 45°, an empty crop.
    pub fn check(&self) -> Result<()> {
        let [low, high] = self.scale;
        if !(low > 0.0 && low <= high && high <= 16.0) {
            let why = "expected two factors in order, above 0 and at most 16";
            return Err(Error::setting("scale", format!("{low} to {high}"), why));
        }
        if !(0.0..=45.0).contains(&self.rotate) {
            return Err(Error::setting(
                "rotate",
                self.rotate,
                "expected 0 to 45 degrees",
            ));
        }
        if self.crop.contains(&0) {
            let [height, width] = self.crop;
            let why = "a crop needs at least one pixel";
            return Err(Error::setting("crop", format!("{height}x{width}"), why));
        }
        Ok(())
    }

    /// What is done to scene `index`, of `extent`, in `epoch` of the run with this `seed`.
    pub fn draw(&self, seed: u64, epoch: u64, index: u32, extent: [usize; 2]) -> SceneChange {
        // Lane 1: lane 0 belongs to the classification augmentation.
        let mut stream = Key::new(seed, Purpose::Augment, epoch, index).stream(1);
        let factor = self.scale[0] + (self.scale[1] - self.scale[0]) * stream.uniform();
        let angle = self.rotate * (2.0 * stream.uniform() - 1.0);
        let turn = stream.below(2) == 1;
        let [blur, mirror] = [self.blur, self.mirror].map(|may| stream.below(2) == 1 && may);
        let scaled = extent.map(|side| ((side as f64 * factor).round() as usize).max(1));
        let offset = std::array::from_fn(|i| {
            // A smaller picture lies in the middle of the crop.
            match self.crop[i].checked_sub(scaled[i]) {
                Some(missing) => -((missing / 2) as isize),
                None => stream.below((scaled[i] - self.crop[i]) as u32 + 1) as isize,
            }
        });
        SceneChange {
            scaled,
            angle: if turn { angle } else { 0.0 },
            blur,
            mirror,
            offset,
            crop: self.crop,
        }
    }
}

/// One change of one scene.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SceneChange {
    /// Height and width the image is scaled to.
    pub scaled: [usize; 2],
    /// Degrees, counter-clockwise.
    pub angle: f64,
    /// Blurred afterwards.
    pub blur: bool,
    /// Left and right exchanged.
    pub mirror: bool,
    /// Row and column of the scaled image that become the crop's first; negative ones are padding.
    pub offset: [isize; 2],
    /// Height and width of what is cut out.
    pub crop: [usize; 2],
}

/// Sine and cosine of an angle of at most π/4, by their series, whose next term is below 10⁻¹⁷ there:
/// the same bits on every machine, which the system's own do not promise.
fn sin_cos(angle: f64) -> (f64, f64) {
    let square = angle * angle;
    let (mut sine, mut cosine) = (0.0, 0.0);
    // Horner, from the smallest term.
    for n in (0..8).rev() {
        let n = f64::from(n);
        sine = 1.0 - square * sine / ((2.0 * n + 2.0) * (2.0 * n + 3.0));
        cosine = 1.0 - square * cosine / ((2.0 * n + 1.0) * (2.0 * n + 2.0));
    }
    (angle * sine, cosine)
}

impl SceneChange {
    /// The place on the original image, in pixels from its corner, of a place on the scaled and turned
    /// one.
    fn source(&self, extent: [usize; 2], at: [f64; 2]) -> [f64; 2] {
        let middle = self.scaled.map(|side| side as f64 / 2.0);
        let (y, x) = (at[0] - middle[0], at[1] - middle[1]);
        let (sine, cosine) = sin_cos(self.angle.to_radians());
        let turned = [
            cosine * y + sine * x + middle[0],
            cosine * x - sine * y + middle[1],
        ];
        std::array::from_fn(|i| turned[i] * extent[i] as f64 / self.scaled[i] as f64)
    }

    /// The changed scene, of the size of the crop.
    pub fn apply(&self, scene: &Scene) -> Scene {
        let extent = scene.extent();
        let [height, width] = self.crop;
        let label = |map: &LabelMap| {
            let mut ids = Vec::with_capacity(height * width);
            for pixel in 0..height * width {
                let [y, x] = self.source(extent, self.centre([pixel / width, pixel % width], 0));
                let inside = y >= 0.0 && x >= 0.0 && y < extent[0] as f64 && x < extent[1] as f64;
                ids.push(if inside {
                    map.at(y as usize, x as usize)
                } else {
                    UNLABELLED
                });
            }
            let map = LabelMap::new(self.crop, ids).expect("one label a pixel");
            if self.mirror { map.mirrored() } else { map }
        };
        Scene {
            name: scene.name.clone(),
            rgb: self.picture(scene),
            classes: label(&scene.classes),
            parts: scene.parts.iter().map(label).collect(),
            materials: scene.materials.iter().map(label).collect(),
        }
    }

    /// The centre of a pixel of the crop, that is `margin` pixels wider on all sides, on the scaled image.
    fn centre(&self, pixel: [usize; 2], margin: isize) -> [f64; 2] {
        let on = |i: usize| (pixel[i] as isize - margin + self.offset[i]) as f64 + 0.5;
        [on(0), on(1)]
    }

    fn picture(&self, scene: &Scene) -> Vec<u8> {
        let [height, width] = self.crop;
        let margin = if self.blur { 2 } else { 0 };
        let (tall, wide) = (height + 2 * margin, width + 2 * margin);
        let mut rgb = Vec::with_capacity(tall * wide * 3);
        for pixel in 0..tall * wide {
            let at = self.centre([pixel / wide, pixel % wide], margin as isize);
            rgb.extend(bilinear(scene, self.source(scene.extent(), at)));
        }
        let mut rgb = if self.blur {
            blurred(&rgb, [tall, wide])
        } else {
            rgb
        };
        if self.mirror {
            for row in rgb.chunks_exact_mut(width * 3) {
                (0..width / 2).for_each(|x| {
                    (0..3).for_each(|c| row.swap(3 * x + c, 3 * (width - 1 - x) + c));
                });
            }
        }
        rgb
    }
}

/// The colour at a place of a scene, between the centres of the pixels around it.
fn bilinear(scene: &Scene, [y, x]: [f64; 2]) -> [u8; 3] {
    let [height, width] = scene.extent();
    if y < 0.0 || x < 0.0 || y >= height as f64 || x >= width as f64 {
        return MEAN;
    }
    // The two pixels along an axis, the border held, and how far towards the second.
    let around = |at: f64, side: usize| {
        let from = (at - 0.5).clamp(0.0, (side - 1) as f64);
        let low = from as usize;
        (low, (low + 1).min(side - 1), from - low as f64)
    };
    let ((top, bottom, down), (left, right, across)) = (around(y, height), around(x, width));
    std::array::from_fn(|c| {
        let level = |y: usize, x: usize| f64::from(scene.rgb[(y * width + x) * 3 + c]);
        let row = |y: usize| level(y, left) + (level(y, right) - level(y, left)) * across;
        (row(top) + (row(bottom) - row(top)) * down).round() as u8
    })
}

/// The binomial filter 1 4 6 4 1 both ways (OpenCV's Gaussian of size 5), where it fits: 2 pixels fewer
/// on all sides. Whole numbers, rounded once.
fn blurred(rgb: &[u8], [tall, wide]: [usize; 2]) -> Vec<u8> {
    const WEIGHTS: [u32; 5] = [1, 4, 6, 4, 1];
    let columns = wide - 4;
    let mut across = vec![0u32; tall * columns * 3];
    for (i, sum) in across.iter_mut().enumerate() {
        let (y, rest) = (i / (columns * 3), i % (columns * 3));
        let from = y * wide * 3 + rest;
        *sum = (0..5)
            .map(|k| WEIGHTS[k] * u32::from(rgb[from + 3 * k]))
            .sum();
    }
    let row = columns * 3;
    (0..(tall - 4) * row)
        .map(|i| {
            let sum: u32 = (0..5).map(|k| WEIGHTS[k] * across[i + k * row]).sum();
            ((sum + 128) / 256) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::segmentation::street::Recipe;
    use crate::data::segmentation::{Fold, SceneSet};

    fn scene() -> Scene {
        let recipe = Recipe {
            size: [40, 60],
            ..Recipe::new(Fold::Train)
        };
        recipe.generate().unwrap().scene(1).unwrap()
    }

    fn plain(extent: [usize; 2]) -> SceneChange {
        SceneChange {
            scaled: extent,
            angle: 0.0,
            blur: false,
            mirror: false,
            offset: [0, 0],
            crop: extent,
        }
    }

    #[test]
    fn changes_that_move_whole_pixels_are_exact() {
        let scene = scene();
        assert!(plain([40, 60]).apply(&scene) == scene);
        let mirrored = SceneChange {
            mirror: true,
            ..plain([40, 60])
        }
        .apply(&scene);
        assert!(
            mirrored.classes == scene.classes.mirrored()
                && mirrored.parts[0] == scene.parts[0].mirrored()
        );
        assert_eq!(mirrored.rgb[..3], scene.rgb[59 * 3..60 * 3]);
        let twice = SceneChange {
            mirror: true,
            ..plain([40, 60])
        }
        .apply(&mirrored);
        assert!(twice == scene);
        // A window that reaches over two borders.
        let window = SceneChange {
            offset: [-3, 50],
            crop: [20, 15],
            ..plain([40, 60])
        }
        .apply(&scene);
        for y in 0..20 {
            for x in 0..15 {
                let at = (y * 15 + x) * 3;
                let (label, colour) = match y >= 3 && x < 10 {
                    true => {
                        let from = (y - 3) * 60 + 50 + x;
                        (scene.classes.ids()[from], &scene.rgb[from * 3..][..3])
                    }
                    false => (UNLABELLED, &MEAN[..]),
                };
                assert_eq!(
                    (window.classes.at(y, x), &window.rgb[at..at + 3]),
                    (label, colour)
                );
            }
        }
    }

    /// Scaled by whole factors: labels are those of `nearest`, pictures the means between centres.
    #[test]
    fn scaling_agrees_with_the_definition() {
        let scene = scene();
        let double = SceneChange {
            scaled: [80, 120],
            crop: [80, 120],
            ..plain([40, 60])
        }
        .apply(&scene);
        assert!(double.classes == scene.classes.nearest([80, 120]));
        // The second row and column of the doubled picture lie a quarter past the first centre.
        let level = |y: usize, x: usize| f64::from(scene.rgb[(y * 60 + x) * 3]);
        let rows = |x: usize| 0.75 * level(0, x) + 0.25 * level(1, x);
        let expected = (0.75 * rows(0) + 0.25 * rows(1)).round() as u8;
        assert_eq!(double.rgb[(120 + 1) * 3], expected);
        assert_eq!(double.rgb[0], scene.rgb[0], "the border is held");
        let half = SceneChange {
            scaled: [20, 30],
            crop: [20, 30],
            ..plain([40, 60])
        }
        .apply(&scene);
        let mean = (level(0, 0) + level(0, 1) + level(1, 0) + level(1, 1)) / 4.0;
        assert_eq!(half.rgb[0], mean.round() as u8);
        assert!(half.classes == scene.classes.nearest([20, 30]));
    }

    /// Turned to and fro, the middle of the picture is where it was; corners are lost.
    #[test]
    fn turning_keeps_labels_with_the_picture() {
        for degrees in [-45.0, -10.0, 3.0, 45.0] {
            let (sine, cosine) = sin_cos(f64::to_radians(degrees));
            let (s, c) = f64::to_radians(degrees).sin_cos();
            assert!((sine - s).abs() < 1e-15 && (cosine - c).abs() < 1e-15);
        }
        // A picture that shows its own labels: left black, right white.
        let ids: Vec<u16> = (0..41 * 41).map(|i| u16::from(i % 41 > 20)).collect();
        let rgb = ids.iter().flat_map(|&id| [255 * id as u8; 3]).collect();
        let classes = LabelMap::new([41, 41], ids).unwrap();
        let scene = Scene {
            name: String::new(),
            rgb,
            classes,
            parts: vec![],
            materials: vec![],
        };
        let turned = SceneChange {
            angle: 30.0,
            ..plain([41, 41])
        }
        .apply(&scene);
        assert_eq!(turned.classes.at(0, 0), UNLABELLED);
        let mut lost = 0;
        for (pixel, &id) in turned.classes.ids().iter().enumerate() {
            match id {
                UNLABELLED => lost += 1,
                // Between two centres the label is the nearer one's, and so is most of the colour.
                id => assert_eq!(turned.rgb[pixel * 3] >= 128, id == 1, "pixel {pixel}"),
            }
        }
        // Four triangles are cut off, with hypotenuse h of a side of h + h cos + h sin. The pixels on the
        // edge, at most half of whom are misjudged, are 1 / 41 of the area for each side's length.
        let (s, c) = 30f64.to_radians().sin_cos();
        let exact = 2.0 * s * c / (1.0 + s + c).powi(2);
        let share = lost as f64 / (41.0 * 41.0);
        assert!(
            (share - exact).abs() < 0.5 * 4.0 / 41.0 / (1.0 + s + c),
            "{share} {exact}"
        );
        // Counter-clockwise: the boundary, upright before, leans to the left at the top.
        assert_eq!(
            (turned.classes.at(6, 16), turned.classes.at(34, 24)),
            (1, 0)
        );
        let back = SceneChange {
            angle: -30.0,
            ..plain([41, 41])
        }
        .apply(&turned);
        let same = (10..31).flat_map(|y| (10..31).map(move |x| (y, x)));
        let wrong = same
            .filter(|&(y, x)| back.classes.at(y, x) != scene.classes.at(y, x))
            .count();
        assert!(wrong <= 21, "{wrong} of 441, more than a pixel a row");
    }

    #[test]
    fn blur_is_opencvs_kernel() {
        let mut scene = Scene {
            name: String::new(),
            rgb: vec![0; 9 * 9 * 3],
            classes: LabelMap::filled([9, 9], 3),
            parts: vec![],
            materials: vec![],
        };
        scene.rgb[(4 * 9 + 4) * 3] = 255;
        let soft = SceneChange {
            blur: true,
            ..plain([9, 9])
        }
        .apply(&scene);
        let kernel = [1.0, 4.0, 6.0, 4.0, 1.0];
        for y in 2..7 {
            for x in 2..7 {
                let expected = (255.0 * kernel[y - 2] * kernel[x - 2] / 256.0f64).round() as u8;
                assert_eq!(soft.rgb[(y * 9 + x) * 3], expected, "{y} {x}");
            }
        }
        assert!(soft.classes == scene.classes);
    }

    #[test]
    fn draws_are_keyed_and_within_bounds() {
        let augment = SceneAugment::pspnet([33, 33]);
        augment.check().unwrap();
        let extent = [40, 60];
        assert_eq!(augment.draw(1, 2, 3, extent), augment.draw(1, 2, 3, extent));
        let mut kinds = [0; 3];
        let mut factors = Vec::new();
        for index in 0..2000 {
            let change = augment.draw(1, 2, index, extent);
            assert!(
                change != augment.draw(2, 2, index, extent)
                    && change != augment.draw(1, 3, index, extent)
            );
            assert!(change.angle.abs() <= 10.0);
            for i in 0..2 {
                let inside =
                    change.offset[i] + 33 <= change.scaled[i] as isize && change.offset[i] >= 0;
                let missing = 33 - change.scaled[i] as isize;
                assert!(
                    inside || missing > 0 && change.offset[i] == -(missing / 2),
                    "{change:?}"
                );
            }
            factors.push(change.scaled[1] as f64 / 60.0);
            kinds[0] += i32::from(change.angle != 0.0);
            kinds[1] += i32::from(change.blur);
            kinds[2] += i32::from(change.mirror);
        }
        // Binomial(2000, 1/2): standard deviation 22.4; five of them.
        assert!(
            kinds.iter().all(|count| (count - 1000).abs() < 112),
            "{kinds:?}"
        );
        let mean = factors.iter().sum::<f64>() / 2000.0;
        // Uniform on 0.5 to 2: deviation 0.433 / √2000; five of them, and rounding to 1/60.
        assert!((mean - 1.25).abs() < 0.0484 + 1.0 / 120.0, "{mean}");
        let change = augment.draw(0, 0, 5, extent);
        assert_eq!(change.apply(&scene()).extent(), [33, 33]);
        let crop = SceneAugment::crop_only([8, 8]).draw(0, 0, 0, extent);
        assert_eq!(
            (crop.scaled, crop.angle, crop.blur, crop.mirror),
            (extent, 0.0, false, false)
        );
    }

    #[test]
    fn impossible_settings_are_refused() {
        let base = SceneAugment::pspnet([8, 8]);
        for (bad, word) in [
            (
                SceneAugment {
                    scale: [2.0, 0.5],
                    ..base
                },
                "scale",
            ),
            (
                SceneAugment {
                    scale: [0.0, 1.0],
                    ..base
                },
                "scale",
            ),
            (
                SceneAugment {
                    rotate: 60.0,
                    ..base
                },
                "rotate",
            ),
            (
                SceneAugment {
                    rotate: f64::NAN,
                    ..base
                },
                "rotate",
            ),
            (
                SceneAugment {
                    crop: [0, 8],
                    ..base
                },
                "crop = 0x8",
            ),
        ] {
            let message = bad.check().unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
