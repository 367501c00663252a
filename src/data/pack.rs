//! Packs: a split, decoded once, in a file that is memory-mapped. Reading an image is copying its rows.
//!
//! ```text
//! 8 bytes    "wwpack01"
//! 8 bytes    length of the header that follows, little-endian
//! header     JSON: see `Header`; filled with spaces to a multiple of 64 bytes with the 16 before it
//! pixels     count × height × width × 3 bytes
//! labels     count × 4 bytes, little-endian
//! ```
//!
//! A pack of photographs keeps the margin that random crops are drawn from: of 256×256 pixels, `side`
//! 224 are what an unchanged image shows.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Dataset, Normalise, Split, Window, resize};
use crate::train::hex;
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"wwpack01";
const ALIGN: u64 = 64;
/// The longest header: a thousand class names take 20 kB.
const MAX_HEADER: u64 = 64 << 20;

/// What a pack says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Layout of the file.
    pub version: u32,
    /// The data set that was packed.
    pub name: String,
    /// `train` or `test`.
    pub split: String,
    /// Number of images.
    pub count: u64,
    /// Height and width of the stored images.
    pub stored: [u32; 2],
    /// Height and width that are shown: the middle of the stored ones.
    pub shown: [u32; 2],
    /// Class names.
    pub classes: Vec<String>,
    /// Mean and standard deviation the images are normalised with.
    pub mean: [f32; 3],
    /// See `mean`.
    pub std: [f32; 3],
    /// Whether a mirrored image keeps its class.
    pub mirror_safe: bool,
    /// Damaged files that were left out.
    pub skipped: u64,
    /// SHA-256 (hex) of the pixels and the labels.
    pub sha256: String,
}

/// The name of the file of a split.
pub fn file_name(split: Split) -> String {
    format!("{split}.pack")
}

/// Writes `set` to `path`: the old file or the new one, whole. `shown` are the height and width of an
/// unchanged image, at most those of the set. `progress` is told the number of images written.
///
/// # Errors
/// An image that cannot be read, a full disk, `shown` larger than the images.
pub fn write(
    set: &dyn Dataset,
    shown: [usize; 2],
    skipped: usize,
    path: &Path,
    progress: &mut dyn FnMut(usize),
) -> Result<Header> {
    let [height, width, channels] = set.shape();
    if channels != 3 || shown[0] > height || shown[1] > width || shown.contains(&0) {
        let what = format!("cannot show {shown:?} of {height}×{width}×{channels}");
        return Err(Error::shape("pack", what));
    }
    let Normalise { mean, std } = set.normalise();
    let mut header = Header {
        version: 1,
        name: set.name().to_owned(),
        split: set.split().to_string(),
        count: set.len() as u64,
        stored: [height as u32, width as u32],
        shown: shown.map(|extent| extent as u32),
        classes: set.classes().to_vec(),
        mean,
        std,
        mirror_safe: set.mirror_safe(),
        skipped: skipped as u64,
        // As long as the true one, which is known at the end only.
        sha256: "0".repeat(64),
    };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write_file(set, &mut header, &partial, progress)
        .and_then(|()| fs::rename(&partial, path).map_err(Error::io(path, "write")));
    if written.is_err() {
        // What was begun is of no use; the error that counts is the first one.
        let _ = fs::remove_file(&partial);
    }
    written.map(|()| header)
}

fn write_file(
    set: &dyn Dataset,
    header: &mut Header,
    path: &Path,
    progress: &mut dyn FnMut(usize),
) -> Result<()> {
    let io = || Error::io(path, "write");
    let file = File::create(path).map_err(io())?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&start(header)?).map_err(io())?;
    let mut hash = Sha256::new();
    let size: usize = set.shape().iter().product();
    // Enough images at a time to keep all threads busy, in about 64 MB.
    let step = ((64 << 20) / size.max(1)).clamp(1, 4096);
    let mut pixels = vec![0; step * size];
    for begin in (0..set.len()).step_by(step) {
        let count = step.min(set.len() - begin);
        let chunk = &mut pixels[..count * size];
        chunk
            .par_chunks_exact_mut(size)
            .enumerate()
            .try_for_each(|(i, image)| set.fill(begin + i, image))?;
        hash.update(&*chunk);
        out.write_all(chunk).map_err(io())?;
        progress(begin + count);
    }
    for index in 0..set.len() {
        let label = set.label(index).to_le_bytes();
        hash.update(label);
        out.write_all(&label).map_err(io())?;
    }
    header.sha256 = hex(&hash.finalize());
    out.seek(SeekFrom::Start(0)).map_err(io())?;
    out.write_all(&start(header)?).map_err(io())?;
    let file = out.into_inner().map_err(|e| io()(e.into_error()))?;
    file.sync_all().map_err(io())
}

/// Magic, length and header.
fn start(header: &Header) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec(header)
        .map_err(|e| Error::setting("pack", &header.name, e.to_string()))?;
    let length = (json.len() as u64 + 16).next_multiple_of(ALIGN) - 16;
    json.resize(length as usize, b' ');
    Ok([&MAGIC[..], &length.to_le_bytes(), &json].concat())
}

/// Reads the header of a pack and how many bytes lie before the pixels.
///
/// # Errors
/// A file that is no pack, of another version, or of another size than its header says.
pub fn read_header(path: &Path) -> Result<(Header, u64)> {
    let wrong = |what: String| Error::file(path, what);
    let mut file = File::open(path).map_err(Error::io(path, "read"))?;
    let found = file.metadata().map_err(Error::io(path, "read"))?.len();
    let mut start = [0; 16];
    if found < 16 {
        return Err(wrong(format!("no pack: {found} bytes")));
    }
    file.read_exact(&mut start)
        .map_err(Error::io(path, "read"))?;
    let (magic, length) = start.split_at(8);
    if magic != MAGIC {
        let what = match magic.starts_with(b"wwpack") {
            true => "a pack of another version; pack the set again",
            false => "no pack: the first bytes are not wwpack01",
        };
        return Err(wrong(what.into()));
    }
    let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
    if length > MAX_HEADER || length > found - 16 {
        return Err(wrong(format!(
            "damaged: a header of {length} bytes in {found}"
        )));
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json)
        .map_err(Error::io(path, "read"))?;
    let header: Header =
        serde_json::from_slice(&json).map_err(|e| wrong(format!("damaged header: {e}")))?;
    let [height, width] = header.stored.map(u64::from);
    let image = height.checked_mul(width).and_then(|n| n.checked_mul(3));
    let expected = image
        .and_then(|image| image.checked_add(4)?.checked_mul(header.count))
        .and_then(|bytes| bytes.checked_add(16 + length));
    let whole = expected == Some(found) && header.count > 0 && image != Some(0);
    if !whole || header.shown[0] > header.stored[0] || header.shown[1] > header.stored[1] {
        let what = format!(
            "damaged: {} images of {height}×{width} (shown {:?}) in {found} bytes; pack the set again",
            header.count, header.shown
        );
        return Err(wrong(what));
    }
    Ok((header, 16 + length))
}

/// A pack that is open.
pub struct Pack {
    header: Header,
    split: Split,
    map: Mmap,
    pixels: usize,
    labels: Vec<u32>,
    shown: [usize; 2],
}

impl Pack {
    /// Opens a pack; images are shown as `side` × `side` pixels, or as the header says.
    ///
    /// # Errors
    /// Those of [`read_header`], a label that is no class, a side of 0.
    pub fn open(path: &Path, side: Option<usize>) -> Result<Self> {
        let (header, pixels) = read_header(path)?;
        if side == Some(0) {
            return Err(Error::setting("size", 0, "expected at least one pixel"));
        }
        let split = header
            .split
            .parse()
            .map_err(|_| Error::file(path, format!("damaged: split {:?}", header.split)))?;
        let file = File::open(path).map_err(Error::io(path, "read"))?;
        // SAFETY: a pack is not changed while it is read: `write` makes a new file and renames it. Who
        // changes one in place changes pixels; who cuts it short has the program ended by the system.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path, "map"))?;
        let pixels = pixels as usize;
        let [height, width] = header.stored.map(|extent| extent as usize);
        let labels: Vec<u32> = map[pixels + header.count as usize * height * width * 3..]
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()))
            .collect();
        if let Some(index) = labels
            .iter()
            .position(|&l| l as usize >= header.classes.len())
        {
            let what = format!(
                "damaged: image {index} has label {}, but there are {} classes",
                labels[index],
                header.classes.len()
            );
            return Err(Error::file(path, what));
        }
        let shown = side.map_or(header.shown.map(|extent| extent as usize), |side| [side; 2]);
        Ok(Pack {
            header,
            split,
            map,
            pixels,
            labels,
            shown,
        })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether pixels and labels are those that were written.
    ///
    /// # Errors
    /// Both sums, where they differ.
    pub fn verify(&self) -> Result<(), String> {
        let found = hex(&Sha256::digest(&self.map[self.pixels..]));
        match found == self.header.sha256 {
            true => Ok(()),
            false => Err(format!(
                "damaged: SHA-256 {found}, the header says {}; pack the set again",
                self.header.sha256
            )),
        }
    }

    fn stored(&self) -> [usize; 2] {
        self.header.stored.map(|extent| extent as usize)
    }

    fn image(&self, index: usize) -> &[u8] {
        let [height, width] = self.stored();
        &self.map[self.pixels + index * height * width * 3..][..height * width * 3]
    }
}

impl Dataset for Pack {
    fn name(&self) -> &str {
        &self.header.name
    }

    fn split(&self) -> Split {
        self.split
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> [usize; 3] {
        [self.shown[0], self.shown[1], 3]
    }

    fn classes(&self) -> &[String] {
        &self.header.classes
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// The part in the middle that the header shows, scaled where another size is asked for.
    fn fill(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let part = self.header.shown.map(|extent| extent as usize);
        let middle = Window::middle(self.stored(), part);
        self.fill_window(index, &mut |_| middle, out)
    }

    fn fill_window(
        &self,
        index: usize,
        choose: &mut dyn FnMut([usize; 2]) -> Window,
        out: &mut [u8],
    ) -> Result<()> {
        let window = choose(self.stored());
        let filter = resize::Filter::Bilinear;
        resize::window(
            self.image(index),
            self.stored(),
            window,
            filter,
            out,
            self.shown,
        )
    }

    fn normalise(&self) -> Normalise {
        let Header { mean, std, .. } = self.header;
        Normalise { mean, std }
    }

    fn mirror_safe(&self) -> bool {
        self.header.mirror_safe
    }

    /// The sum the header states, with the size that is shown.
    fn sha256(&self) -> Result<String> {
        let [height, width] = self.shown;
        let own = format!("{} {height}×{width}", self.header.sha256);
        Ok(hex(&Sha256::digest(own.as_bytes())))
    }
}
