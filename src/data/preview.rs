//! A picture of a data set: one row per class.

use std::fs;
use std::path::Path;

use super::Dataset;
use crate::{Error, Result};

/// An 8-bit RGB picture.
pub struct Picture {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Row after row, three bytes a pixel.
    pub rgb: Vec<u8>,
}

/// The first `columns` images of each of the first `rows` classes, each pixel drawn as a square of
/// `zoom` pixels, with a white gap between images.
///
/// # Errors
/// Nothing to draw, images that are not RGB, or an image that cannot be read.
pub fn grid(set: &dyn Dataset, rows: usize, columns: usize, zoom: usize) -> Result<Picture> {
    const GAP: usize = 4;
    let [h, w, channels] = set.shape();
    let rows = rows.min(set.classes().len());
    if channels != 3 || rows * columns * zoom == 0 {
        let what = format!("{rows} rows of {columns} images of {channels} channels, zoom {zoom}");
        return Err(Error::shape("preview", format!("cannot draw {what}")));
    }
    let width = columns * (w * zoom + GAP) + GAP;
    let height = rows * (h * zoom + GAP) + GAP;
    let mut rgb = vec![255; width * height * 3];
    let mut image = vec![0; h * w * 3];
    for row in 0..rows {
        let members = (0..set.len()).filter(|&i| set.label(i) as usize == row);
        for (column, index) in members.take(columns).enumerate() {
            set.fill(index, &mut image)?;
            let (top, left) = (
                GAP + row * (h * zoom + GAP),
                GAP + column * (w * zoom + GAP),
            );
            for y in 0..h * zoom {
                for x in 0..w * zoom {
                    let from = ((y / zoom) * w + x / zoom) * 3;
                    let to = ((top + y) * width + left + x) * 3;
                    rgb[to..to + 3].copy_from_slice(&image[from..from + 3]);
                }
            }
        }
    }
    Ok(Picture { width, height, rgb })
}

impl Picture {
    /// Writes a PNG file; an existing one is replaced at once or not at all.
    ///
    /// # Errors
    /// A folder that is missing or cannot be written, a full disk.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        let written = encoder
            .write_header()
            .and_then(|mut w| w.write_image_data(&self.rgb));
        written.map_err(|e| Error::file(path, format!("cannot make a PNG: {e}")))?;
        let draft = path.with_extension("png.part");
        fs::write(&draft, &bytes)
            .and_then(|()| fs::rename(&draft, path))
            .inspect_err(|_| drop(fs::remove_file(&draft)))
            .map_err(Error::io(path, "write"))
    }
}
