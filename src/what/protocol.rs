//! How a segmentation network is tested: in windows that slide over the image, mirrored too, at several
//! scales; what it says each time is averaged.
//!
//! These are functions on a closure from an image to a map of the same size, so they compose: at several
//! scales of (sliding windows of (the mean of mirrored and not)) is semseg's "multi-scale" test, in which
//! every window is mirrored even at a single scale. The closure should return probabilities: it is they
//! that are averaged. All tensors are `f32`, NHWC, on the host.
//!
//! ```
//! use whatwhere::device::Device;
//! use whatwhere::tensor::Tensor;
//! use whatwhere::what::protocol::{Sliding, mirrored, sliding};
//!
//! let image = Tensor::full([1, 9, 12, 3], 0.25f32, Device::Cpu)?;
//! let windows = Sliding::two_thirds([6, 6]);
//! let mut network = |image: &Tensor| Ok(image.clone());
//! let map = sliding(&image, &windows, &[0.0; 3], |window| mirrored(window, &mut network))?;
//! assert_eq!(map.dims(), [1, 9, 12, 3]);
//! # Ok::<(), whatwhere::Error>(())
//! ```

use crate::device::Device;
use crate::ops::bilinear_resize::BilinearResize;
use crate::ops::{Operation, Saved};
use crate::tensor::Tensor;
use crate::{Error, Result};

/// How much a window's cells count where windows overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// All alike: the mean over windows (semseg).
    #[default]
    Even,
    /// Falling evenly from the middle of the window to its border, where a network knows least: (1 + the
    /// distance to the border) along each axis, multiplied.
    Tent,
}

/// Windows over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Height and width of a window.
    pub window: [usize; 2],
    /// Rows and columns from one to the next.
    pub stride: [usize; 2],
    /// How overlaps are averaged.
    pub weights: Weights,
}

impl Sliding {
    /// PSPNet's: each window is two thirds of its side further, rounded up.
    pub fn two_thirds(window: [usize; 2]) -> Self {
        Sliding {
            window,
            stride: window.map(|side| (2 * side).div_ceil(3)),
            weights: Weights::Even,
        }
    }

    /// The upper left corners of the windows over an image of `extent`, row after row. The last of a row
    /// or column ends at the border, whatever the stride. There is one where the image is smaller.
    ///
    /// # Errors
    /// A window or stride of 0, a stride above the window (which would leave gaps).
    pub fn corners(&self, extent: [usize; 2]) -> Result<Vec<[usize; 2]>> {
        if (0..2).any(|i| self.stride[i] == 0 || self.stride[i] > self.window[i]) {
            let what = format!("windows of {:?} every {:?}", self.window, self.stride);
            return Err(Error::shape(
                "sliding",
                format!("{what} do not cover an image"),
            ));
        }
        let starts = |i: usize| {
            let last = extent[i].saturating_sub(self.window[i]);
            let count = last.div_ceil(self.stride[i]) + 1;
            (0..count).map(move |k| (k * self.stride[i]).min(last))
        };
        let rows = starts(0);
        Ok(rows
            .flat_map(|top| starts(1).map(move |left| [top, left]))
            .collect())
    }

    fn weight(&self, y: usize, x: usize) -> f64 {
        match self.weights {
            Weights::Even => 1.0,
            Weights::Tent => {
                let along = |at: usize, side: usize| (1 + at.min(side - 1 - at)) as f64;
                along(y, self.window[0]) * along(x, self.window[1])
            }
        }
    }
}

/// Rows `from[0]…` and columns `from[1]…` of an image, `size` of them; `fill` where it has none.
fn cut(image: &Tensor, from: [isize; 2], size: [usize; 2], fill: &[f32]) -> Result<Tensor> {
    let [n, height, width, channels] = image.shape().nhwc("sliding")?;
    let data = image.data::<f32>()?;
    let mut out = Vec::with_capacity(n * size[0] * size[1] * channels);
    for image in 0..n {
        for y in from[0]..from[0] + size[0] as isize {
            for x in from[1]..from[1] + size[1] as isize {
                let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
                out.extend_from_slice(match inside {
                    true => {
                        let at = (image * height + y as usize) * width + x as usize;
                        &data[at * channels..][..channels]
                    }
                    false => fill,
                });
            }
        }
    }
    Tensor::from_slice([n, size[0], size[1], channels], &out, Device::Cpu)
}

/// The map of an image of any size, from windows of one. An image smaller than a window lies in its
/// middle, surrounded by `fill`, a value a channel (the mean colour, as the network takes it).
///
/// # Errors
/// Those of [`Sliding::corners`] and of `predict`; an image that is no NHWC of `f32`, a `fill` of another
/// number of channels, a map of another size than its window.
pub fn sliding(
    image: &Tensor,
    sliding: &Sliding,
    fill: &[f32],
    mut predict: impl FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let [n, height, width, channels] = image.shape().nhwc("sliding")?;
    if fill.len() != channels || n * height * width == 0 {
        let what = format!("{} values to fill {} with", fill.len(), image.shape());
        return Err(Error::shape("sliding", what));
    }
    let [tall, wide] = sliding.window;
    // Where the image begins in a window that is larger.
    let margin = [
        tall.saturating_sub(height) / 2,
        wide.saturating_sub(width) / 2,
    ];
    let (mut sums, mut weights, mut classes) = (Vec::new(), vec![0.0; height * width], 0);
    for corner in sliding.corners([height, width])? {
        let from = [0, 1].map(|i| corner[i] as isize - margin[i] as isize);
        let map = predict(&cut(image, from, sliding.window, fill)?)?;
        let [count, rows, columns, here] = map.shape().nhwc("sliding")?;
        if [count, rows, columns] != [n, tall, wide] || !sums.is_empty() && here != classes {
            let what = format!("a map of {} for a window of {tall}×{wide}", map.shape());
            return Err(Error::shape("sliding", what));
        }
        if sums.is_empty() {
            classes = here;
            sums = vec![0.0f64; n * height * width * classes];
        }
        let data = map.data::<f32>()?;
        for (y, x) in (0..tall).flat_map(|y| (0..wide).map(move |x| (y, x))) {
            let (Some(row), Some(column)) = (
                usize::try_from(y as isize + from[0])
                    .ok()
                    .filter(|row| *row < height),
                usize::try_from(x as isize + from[1])
                    .ok()
                    .filter(|column| *column < width),
            ) else {
                continue;
            };
            let weight = sliding.weight(y, x);
            weights[row * width + column] += weight;
            for image in 0..n {
                let to = ((image * height + row) * width + column) * classes;
                let of = ((image * tall + y) * wide + x) * classes;
                let pairs = sums[to..to + classes].iter_mut().zip(&data[of..]);
                pairs.for_each(|(sum, value)| *sum += weight * f64::from(*value));
            }
        }
    }
    let pixel = |at: usize| weights[at / classes.max(1) % (height * width)];
    let means: Vec<f32> = sums
        .iter()
        .enumerate()
        .map(|(at, sum)| (sum / pixel(at)) as f32)
        .collect();
    Tensor::from_slice([n, height, width, classes], &means, Device::Cpu)
}

/// An NHWC tensor with left and right exchanged.
///
/// # Errors
/// A tensor that is no NHWC of `f32`.
pub fn mirror(image: &Tensor) -> Result<Tensor> {
    let [_, _, width, channels] = image.shape().nhwc("mirror")?;
    let rows = image.data::<f32>()?.chunks_exact((width * channels).max(1));
    let pixels = rows.flat_map(|row| row.chunks_exact(channels.max(1)).rev());
    let out: Vec<f32> = pixels.flatten().copied().collect();
    Tensor::from_slice(image.shape().clone(), &out, Device::Cpu)
}

/// The mean of what `predict` says of an image and, mirrored back, of the mirrored one.
///
/// # Errors
/// Those of `predict`; a map that changes its size when mirrored.
pub fn mirrored(
    image: &Tensor,
    mut predict: impl FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let straight = predict(image)?;
    let back = mirror(&predict(&mirror(image)?)?)?;
    mean(&[straight, back])
}

/// Height and width of an image scaled by a factor, each rounded up to the next side with
/// (side − 1) a multiple of `step`: 8 where a network aligns the corners of its maps (PSPNet), 1 for none.
///
/// # Errors
/// A factor that is not positive, a `step` of 0.
pub fn scaled(extent: [usize; 2], factor: f64, step: usize) -> Result<[usize; 2]> {
    // Written so that NaN fails too.
    if !(factor > 0.0 && factor <= 64.0) || step == 0 {
        let why = "expected a factor above 0, and a step of at least 1";
        return Err(Error::setting(
            "scale",
            format!("{factor} (step {step})"),
            why,
        ));
    }
    let side = |side: usize| ((side as f64 * factor).round() as usize).max(1);
    Ok(extent.map(|s| (side(s) - 1).div_ceil(step) * step + 1))
}

/// The mean of what `predict` says of an image at several sizes (height, width), each brought back to
/// the image's own.
///
/// # Errors
/// Those of `predict`; no size, an empty size, maps of unlike channels.
pub fn multi_scale(
    image: &Tensor,
    sizes: &[[usize; 2]],
    align_corners: bool,
    mut predict: impl FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let [_, height, width, _] = image.shape().nhwc("multi_scale")?;
    let resize = |map: &Tensor, output: [usize; 2]| {
        let op = BilinearResize {
            output,
            align_corners,
        };
        Ok::<_, Error>(op.forward(&[map], &mut Saved::default())?.value)
    };
    let mut maps = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let map = predict(&resize(image, size)?)?;
        maps.push(resize(&map, [height, width])?);
    }
    mean(&maps)
}

/// The mean of maps of one shape.
fn mean(maps: &[Tensor]) -> Result<Tensor> {
    let Some(first) = maps.first() else {
        return Err(Error::shape("multi_scale", "no map to take a mean of"));
    };
    if let Some(other) = maps.iter().find(|map| map.dims() != first.dims()) {
        let what = format!("maps of {} and {}", first.shape(), other.shape());
        return Err(Error::shape("multi_scale", what));
    }
    let mut sums = vec![0.0f64; first.len()];
    for map in maps {
        let pairs = sums.iter_mut().zip(map.data::<f32>()?);
        pairs.for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let means: Vec<f32> = sums
        .iter()
        .map(|sum| (sum / maps.len() as f64) as f32)
        .collect();
    Tensor::from_slice(first.shape().clone(), &means, Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image whose values are all different.
    fn image(shape: [usize; 4]) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32).collect();
        Tensor::from_slice(shape, &values, Device::Cpu).unwrap()
    }

    fn windows(window: [usize; 2], stride: [usize; 2], weights: Weights) -> Sliding {
        Sliding {
            window,
            stride,
            weights,
        }
    }

    #[test]
    fn windows_cover_every_pixel_and_end_at_the_border() {
        let pspnet = Sliding::two_thirds([713, 713]);
        assert_eq!(pspnet.stride, [476, 476]);
        let corners = pspnet.corners([1024, 2048]).unwrap();
        // ⌈311 / 476⌉ + 1 rows and ⌈1335 / 476⌉ + 1 columns, as semseg counts them.
        assert_eq!(corners.len(), 2 * 4);
        assert_eq!(corners[..4], [[0, 0], [0, 476], [0, 952], [0, 1335]]);
        assert_eq!(corners[4], [311, 0]);
        assert_eq!(pspnet.corners([100, 713]).unwrap(), [[0, 0]]);
        for extent in [[7, 13], [8, 8], [9, 23]] {
            let sliding = windows([5, 4], [3, 4], Weights::Even);
            let mut covered = vec![false; extent[0] * extent[1]];
            for [top, left] in sliding.corners(extent).unwrap() {
                assert!(top + 5 <= extent[0] && left + 4 <= extent[1]);
                (0..20).for_each(|i| covered[(top + i / 4) * extent[1] + left + i % 4] = true);
            }
            assert!(covered.iter().all(|covered| *covered));
        }
        assert!(
            windows([5, 5], [6, 5], Weights::Even)
                .corners([9, 9])
                .is_err()
        );
        assert!(
            windows([5, 5], [0, 5], Weights::Even)
                .corners([9, 9])
                .is_err()
        );
    }

    /// Whatever looks at each pixel alone gives the same in windows as in one piece, to the last bit.
    #[test]
    fn a_network_of_single_pixels_does_not_see_the_windows() {
        let twice = |window: &Tensor| {
            let values: Vec<f32> = window.data::<f32>()?.iter().map(|v| 2.0 * v).collect();
            Tensor::from_slice(window.shape().clone(), &values, Device::Cpu)
        };
        for shape in [[1, 9, 11, 2], [2, 4, 30, 3], [1, 3, 3, 1]] {
            let image = image(shape);
            let expected = twice(&image).unwrap();
            for weights in [Weights::Even, Weights::Tent] {
                let cut = windows([6, 5], [4, 3], weights);
                let fill = vec![-1.0; shape[3]];
                let map = sliding(&image, &cut, &fill, twice).unwrap();
                assert_eq!(map.data::<f32>().unwrap(), expected.data::<f32>().unwrap());
            }
            let map = mirrored(&image, twice).unwrap();
            assert_eq!(map.data::<f32>().unwrap(), expected.data::<f32>().unwrap());
        }
    }

    /// A closure that tells its windows apart shows how they are averaged.
    #[test]
    fn overlaps_are_weighted_means() {
        let image = image([1, 1, 5, 1]);
        let mean_of = |weights| {
            let mut number = 0.0f32;
            let predict = |window: &Tensor| {
                number += 1.0;
                Tensor::full(window.shape().clone(), number, Device::Cpu)
            };
            let cut = windows([1, 3], [1, 2], weights);
            sliding(&image, &cut, &[0.0], predict)
                .unwrap()
                .data::<f32>()
                .unwrap()
                .to_vec()
        };
        // Windows at columns 0 and 2 share column 2; a tent of 3 weighs 1, 2, 1.
        assert_eq!(mean_of(Weights::Even), [1.0, 1.0, 1.5, 2.0, 2.0]);
        assert_eq!(mean_of(Weights::Tent), [1.0, 1.0, 1.5, 2.0, 2.0]);
        let mut number = 0.0f32;
        let cut = windows([1, 3], [1, 1], Weights::Tent);
        let map = sliding(&image, &cut, &[0.0], |window| {
            number += 1.0;
            Tensor::full(window.shape().clone(), number, Device::Cpu)
        });
        // Three windows: column 1 is the middle of the first and the edge of the second.
        let expected = [1.0, 4.0 / 3.0, 2.0, 8.0 / 3.0, 3.0].map(|v: f64| v as f32);
        assert_eq!(map.unwrap().data::<f32>().unwrap(), expected);
    }

    /// A small image lies in the middle of its window, with the fill around it.
    #[test]
    fn small_images_are_surrounded() {
        let image = image([1, 1, 2, 1]);
        let cut = windows([3, 5], [2, 3], Weights::Even);
        let map = sliding(&image, &cut, &[9.0], |window| {
            let row = |y: usize| window.data::<f32>().unwrap()[5 * y..][..5].to_vec();
            assert_eq!(
                (row(0), row(1)),
                (vec![9.0; 5], vec![9.0, 0.0, 1.0, 9.0, 9.0])
            );
            Ok(window.clone())
        });
        assert_eq!(map.unwrap().data::<f32>().unwrap(), [0.0, 1.0]);
    }

    #[test]
    fn mirrored_maps_are_mirrored_back() {
        let image = image([1, 1, 3, 2]);
        assert_eq!(
            mirror(&image).unwrap().data::<f32>().unwrap(),
            [4.0, 5.0, 2.0, 3.0, 0.0, 1.0]
        );
        // A network that answers with the column: 0, 1, 2, and mirrored back 2, 1, 0.
        let columns =
            |_: &Tensor| Tensor::from_slice([1, 1, 3, 1], &[0.0f32, 1.0, 2.0], Device::Cpu);
        assert_eq!(
            mirrored(&image, columns).unwrap().data::<f32>().unwrap(),
            [1.0; 3]
        );
    }

    #[test]
    fn scales_are_averaged_at_the_size_of_the_image() {
        let image = image([1, 4, 6, 1]);
        let same = |map: &Tensor| Ok(map.clone());
        let one = multi_scale(&image, &[[4, 6]], false, same).unwrap();
        assert_eq!(one.data::<f32>().unwrap(), image.data::<f32>().unwrap());
        // Each size answers with its own height.
        let heights = |map: &Tensor| {
            let height = map.dims()[1] as f32;
            Tensor::full(map.shape().clone(), height, Device::Cpu)
        };
        let map = multi_scale(&image, &[[2, 3], [4, 6], [9, 12]], true, heights).unwrap();
        assert!(map.data::<f32>().unwrap().iter().all(|&v| v == 5.0));
        assert_eq!(scaled([713, 713], 1.0, 8).unwrap(), [713, 713]);
        assert_eq!(scaled([1024, 2048], 0.5, 8).unwrap(), [513, 1025]);
        assert_eq!(scaled([10, 20], 1.75, 1).unwrap(), [18, 35]);
        assert!(scaled([10, 20], f64::NAN, 1).is_err() && scaled([10, 20], 0.0, 1).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let image = image([1, 4, 6, 3]);
        let cut = Sliding::two_thirds([3, 3]);
        let same = |map: &Tensor| Ok(map.clone());
        assert!(sliding(&image, &cut, &[0.0; 2], same).is_err());
        let small = |_: &Tensor| Tensor::full([1, 2, 3, 3], 0.0f32, Device::Cpu);
        let message = sliding(&image, &cut, &[0.0; 3], small)
            .unwrap_err()
            .to_string();
        assert!(message.contains("for a window of 3×3"), "{message}");
        let failing = |_: &Tensor| Err(Error::shape("network", "no"));
        assert!(
            sliding(&image, &cut, &[0.0; 3], failing)
                .unwrap_err()
                .to_string()
                .contains("network: no")
        );
        assert!(multi_scale(&image, &[], false, same).is_err());
        assert!(multi_scale(&image, &[[0, 6]], false, same).is_err());
        assert!(
            sliding(
                &Tensor::full([4, 6], 0.0f32, Device::Cpu).unwrap(),
                &cut,
                &[0.0; 3],
                same
            )
            .is_err()
        );
    }
}
