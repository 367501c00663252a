//! Image files: JPEG and PNG from bytes to 8-bit RGB.
//!
//! The format is told from the first bytes, never from the name: ImageNet itself holds a PNG and some
//! CMYK files called `.JPEG`. Colours become RGB as PIL's `convert("RGB")` makes them: grey is
//! repeated, CMYK is `(255 - c)(255 - k) / 255`, transparency is dropped. Orientation tags are
//! ignored, as torchvision's loader ignores them.

use std::fmt;
use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Longest side of an image that is decoded.
const MAX_SIDE: usize = 1 << 15;

/// What kind of file an image was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// JPEG with three colours.
    Jpeg,
    /// JPEG with one.
    GreyJpeg,
    /// JPEG with four inks.
    CmykJpeg,
    /// PNG of any colour type.
    Png,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Jpeg => "JPEG",
            Kind::GreyJpeg => "grey JPEG",
            Kind::CmykJpeg => "CMYK JPEG",
            Kind::Png => "PNG",
        })
    }
}

/// A decoded image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Row after row, three bytes a pixel.
    pub rgb: Vec<u8>,
    /// What it was decoded from.
    pub kind: Kind,
}

/// Decodes the content of a file.
///
/// # Errors
/// In words, what the content is instead of a whole JPEG or PNG image.
pub fn decode(bytes: &[u8]) -> Result<Image, String> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => decode_jpeg(bytes),
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes),
        _ => Err(format!(
            "holds {}, expected a JPEG or PNG image",
            nature(bytes)
        )),
    }
}

fn nature(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "nothing (0 bytes)",
        [b'G', b'I', b'F', b'8', ..] => "a GIF image",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => "a WebP image",
        [b'B', b'M', ..] => "a BMP image",
        [0x1f, 0x8b, ..] => "gzip-compressed data",
        [b'P', b'K', ..] => "a zip archive",
        _ if std::str::from_utf8(&bytes[..bytes.len().min(64)]).is_ok() => "text",
        _ => "data of no known format",
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<Image, String> {
    let attempt = |strict| {
        let options = DecoderOptions::default()
            .set_max_width(MAX_SIDE)
            .set_max_height(MAX_SIDE)
            .set_strict_mode(strict);
        let options = options.jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        let rgb = decoder.decode().map_err(|e| format!("damaged JPEG: {e}"))?;
        let (width, height) = decoder.dimensions().ok_or("damaged JPEG: no size")?;
        let kind = match decoder.input_colorspace() {
            Some(ColorSpace::Luma) => Kind::GreyJpeg,
            Some(ColorSpace::CMYK | ColorSpace::YCCK) => Kind::CmykJpeg,
            _ => Kind::Jpeg,
        };
        match rgb.len() == height * width * 3 {
            true => Ok(Image {
                height,
                width,
                rgb,
                kind,
            }),
            false => Err(format!(
                "damaged JPEG: {} bytes for {height}×{width} pixels",
                rgb.len()
            )),
        }
    };
    // The decoder fills what is missing with grey unless it is strict, and strict it refuses harmless
    // oddities. A file that was cut off has no end marker: only that one is held to the letter.
    let cut_off = !has_end(bytes);
    attempt(cut_off).map_err(|why| match cut_off {
        true => format!("truncated JPEG (no end marker in {} bytes)", bytes.len()),
        false => why,
    })
}

/// Whether an end marker follows the first scan; those of thumbnails inside header segments do not
/// count.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2).and_then(|m| m.first_chunk()) {
        match marker {
            0xff => at += 1,
            0xd9 => return true,
            0xda => return bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            0x01 | 0xd0..=0xd7 => at += 2,
            _ => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    // Not a marker where one must be: the decoder finds the words for that.
    at < bytes.len()
}

fn decode_png(bytes: &[u8]) -> Result<Image, String> {
    let damaged = |e: png::DecodingError| format!("damaged PNG: {e}");
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let info = reader.info();
    let (height, width) = (info.height as usize, info.width as usize);
    if height.max(width) > MAX_SIDE {
        return Err(format!(
            "{height}×{width} pixels, the limit is {MAX_SIDE} a side"
        ));
    }
    let size = reader
        .output_buffer_size()
        .ok_or("damaged PNG: its size overflows")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(damaged)?;
    pixels.truncate(frame.buffer_size());
    let channels = frame.color_type.samples();
    let rgb = match channels {
        3 => pixels,
        4 => pixels
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
        _ => pixels
            .chunks_exact(channels)
            .flat_map(|p| [p[0]; 3])
            .collect(),
    };
    Ok(Image {
        height,
        width,
        rgb,
        kind: Kind::Png,
    })
}
