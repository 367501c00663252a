//! Scaling 8-bit RGB images: bilinear with antialiasing as PIL and torchvision do it, and the box
//! filter.
//!
//! PIL's bilinear filter is a triangle as wide as the scale factor when it shrinks: every source pixel
//! counts. (OpenCV's and `torch.nn.functional.interpolate`'s plain bilinear skip pixels, which costs up
//! to a percent of ImageNet accuracy.)

use std::cell::RefCell;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::Window;
use crate::{Error, Result};

/// How pixels are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle over the neighbouring pixels, as wide as the scale when shrinking.
    Bilinear,
    /// The plain mean of the pixels an output pixel covers.
    Box,
}

thread_local! {
    /// The resizer of a thread keeps its buffers from image to image.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// Scales `window` of an RGB image of `extent` (height, width) to `to` (height, width). As with
/// cropping first, no pixel outside the window counts.
///
/// # Errors
/// A window that is empty or reaches over the border, buffers of another size.
pub fn window(
    rgb: &[u8],
    extent: [usize; 2],
    window: Window,
    filter: Filter,
    out: &mut [u8],
    to: [usize; 2],
) -> Result<()> {
    let [height, width] = extent;
    let fits = |from: usize, size: usize, whole: usize| {
        size > 0 && from.checked_add(size).is_some_and(|end| end <= whole)
    };
    if !fits(window.top, window.height, height) || !fits(window.left, window.width, width) {
        return Err(refused(format!(
            "{window:?} of an image of {height}×{width}"
        )));
    }
    if rgb.len() != height * width * 3 {
        return Err(refused(format!(
            "{} bytes for {height}×{width} pixels",
            rgb.len()
        )));
    }
    // The resizer's own crop box weighs pixels outside it: what is cropped must be copied, which is a
    // small part of the work.
    let rows = &rgb[window.top * width * 3..(window.top + window.height) * width * 3];
    if window.width == width {
        return run(rows, [window.height, width], filter, None, out, to);
    }
    let mut cropped = Vec::with_capacity(window.height * window.width * 3);
    for row in rows.chunks_exact(width * 3) {
        cropped.extend_from_slice(&row[window.left * 3..(window.left + window.width) * 3]);
    }
    run(
        &cropped,
        [window.height, window.width],
        filter,
        None,
        out,
        to,
    )
}

/// The shorter side scaled to `short`, then the square of `side` cut from the middle: torchvision's
/// `Resize(short)` and `CenterCrop(side)`, of which only the pixels of the crop are computed.
///
/// # Errors
/// `side` above `short`, no pixel, buffers of another size.
pub fn center(
    rgb: &[u8],
    extent: [usize; 2],
    short: usize,
    side: usize,
    out: &mut [u8],
) -> Result<()> {
    let [height, width] = extent;
    if side > short || height * width * side == 0 {
        let what = format!("a square of {side} from {height}×{width} pixels scaled to {short}");
        return Err(refused(what));
    }
    // torchvision truncates the longer side and rounds the offset half to even.
    let long = |a: usize, b: usize| (short as u64 * a as u64 / b as u64) as usize;
    let [tall, wide] = match height < width {
        true => [short, long(width, height)],
        false => [long(height, width), short],
    };
    let offset = |scaled: usize| ((scaled - side) as f64 / 2.0).round_ties_even();
    let part = |scaled: usize, whole: usize| {
        let step = whole as f64 / scaled as f64;
        let from = offset(scaled) * step;
        (from, (side as f64 * step).min(whole as f64 - from))
    };
    let ((top, rows), (left, columns)) = (part(tall, height), part(wide, width));
    run(
        rgb,
        extent,
        Filter::Bilinear,
        Some([left, top, columns, rows]),
        out,
        [side, side],
    )
}

/// Scales `part` (left, top, width, height) of an image, or all of it.
fn run(
    rgb: &[u8],
    [height, width]: [usize; 2],
    filter: Filter,
    part: Option<[f64; 4]>,
    out: &mut [u8],
    [tall, wide]: [usize; 2],
) -> Result<()> {
    let says =
        |e: &dyn std::fmt::Display| refused(format!("{height}×{width} to {tall}×{wide}: {e}"));
    let from = TypedImageRef::<U8x3>::from_buffer(width as u32, height as u32, rgb)
        .map_err(|e| says(&e))?;
    let mut to =
        TypedImage::<U8x3>::from_buffer(wide as u32, tall as u32, out).map_err(|e| says(&e))?;
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Box => FilterType::Box,
    };
    let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    if let Some([left, top, columns, rows]) = part {
        options = options.crop(left, top, columns, rows);
    }
    RESIZER.with_borrow_mut(|resizer| {
        resizer
            .resize_typed(&from, &mut to, &options)
            .map_err(|e| says(&e))
    })
}

fn refused(what: String) -> Error {
    Error::shape("resize", what)
}
