//! Reading what sets of scenes are made of: label pictures, photographs, tables.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use super::{LabelMap, UNLABELLED};
use crate::data::image_file;
use crate::{Error, Result};

/// A file's content.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io(path, "read"))
}

/// Height and width, and red, green and blue of every pixel.
type Picture = ([usize; 2], Vec<u8>);

/// Reads a photograph, JPEG, PNG or WebP, told apart by their first bytes.
///
/// # Errors
/// A file that is missing, damaged or of another kind.
pub(super) fn picture(path: &Path) -> Result<Picture> {
    let bytes = read(path)?;
    let decoded = match bytes.starts_with(b"RIFF") {
        true => webp(&bytes).map_err(|e| format!("damaged WebP: {e}")),
        false => image_file::decode(&bytes).map(|i| ([i.height, i.width], i.rgb)),
    };
    decoded.map_err(|what| Error::file(path, what))
}

fn webp(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder =
        image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    let mut pixels = vec![0; decoder.output_buffer_size().ok_or("its size overflows")?];
    decoder.read_image(&mut pixels).map_err(|e| e.to_string())?;
    let rgb = match decoder.has_alpha() {
        false => pixels,
        true => pixels
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
    };
    Ok(([height as usize, width as usize], rgb))
}

/// A text file's lines without the empty ones, each with its number from 1.
pub(super) fn lines(path: &Path) -> Result<Vec<(usize, String)>> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let numbered = text
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.trim().to_owned()));
    Ok(numbered.filter(|(_, line)| !line.is_empty()).collect())
}

/// The files of a folder whose name ends so, sorted.
pub(super) fn files_ending(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder, "list"))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().ends_with(end))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a label picture holds at a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// A number: grey, or the index into a palette.
    Number(u8),
    /// A colour.
    Colour([u8; 3]),
}

/// How a label picture is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labels {
    /// 8-bit grey, or palette indices.
    Numbers,
    /// RGB; a palette is looked up.
    Colours,
}

/// Reads a label PNG; `label` turns what a pixel holds into a label, or says what is wrong with it.
///
/// # Errors
/// A file that is missing, no PNG, damaged, of another colour type or (if `extent` is given) size, or
/// that holds what `label` refuses: the pixel is named.
pub(super) fn label_map(
    path: &Path,
    kind: Labels,
    extent: Option<([usize; 2], &Path)>,
    mut label: impl FnMut(Label) -> Result<u16, String>,
) -> Result<LabelMap> {
    let refuse = |what: String| Error::file(path, what);
    let damaged = |e: png::DecodingError| Error::file(path, format!("no label map: {e}"));
    let bytes = read(path)?;
    let mut decoder = png::Decoder::new(Cursor::new(&bytes));
    decoder.set_transformations(match kind {
        Labels::Numbers => png::Transformations::IDENTITY,
        Labels::Colours => png::Transformations::EXPAND,
    });
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = reader.output_buffer_size();
    let mut samples = vec![0; size.ok_or_else(|| refuse("its size overflows".into()))?];
    let frame = reader.next_frame(&mut samples).map_err(damaged)?;
    samples.truncate(frame.buffer_size());
    let found = [frame.height as usize, frame.width as usize];
    if let Some((extent, of)) = extent
        && found != extent
    {
        let [[h, w], [height, width]] = [found, extent];
        let of = of.display();
        return Err(refuse(format!(
            "labels for {h}×{w} pixels, but {of} has {height}×{width}"
        )));
    }
    use png::ColorType::{Grayscale, Indexed, Rgb, Rgba};
    let step = match (kind, frame.color_type, frame.bit_depth) {
        (Labels::Numbers, Grayscale | Indexed, png::BitDepth::Eight) => 1,
        (Labels::Colours, Rgb, png::BitDepth::Eight) => 3,
        (Labels::Colours, Rgba, png::BitDepth::Eight) => 4,
        (_, colour, depth) => {
            let expected = match kind {
                Labels::Numbers => "8-bit grey or palette",
                Labels::Colours => "8-bit RGB",
            };
            let what = format!(
                "{colour:?} of {} bits, expected {expected} labels",
                depth as u8
            );
            return Err(refuse(what));
        }
    };
    let mut ids = Vec::with_capacity(found[0] * found[1]);
    for (at, sample) in samples.chunks_exact(step).enumerate() {
        let here = match kind {
            Labels::Numbers => Label::Number(sample[0]),
            Labels::Colours => Label::Colour([sample[0], sample[1], sample[2]]),
        };
        ids.push(label(here).map_err(|what| {
            let (row, column) = (at / found[1], at % found[1]);
            refuse(format!("row {row}, column {column}: {what}"))
        })?);
    }
    LabelMap::new(found, ids)
}

/// A table that turns numbers into labels: `None` for those that must not occur.
pub(super) fn lookup<'a>(
    table: &'a [Option<u16>; 256],
    what: &'a str,
) -> impl FnMut(Label) -> Result<u16, String> + 'a {
    move |label| match label {
        Label::Number(number) => {
            table[usize::from(number)].ok_or_else(|| format!("{number} is no {what}"))
        }
        Label::Colour(_) => Err(format!("a colour, expected a {what}")),
    }
}

/// Labels for numbers 0, 1, …, the numbers in `void` unlabelled, nothing else.
pub(super) fn dense_table(classes: usize, void: &[u8]) -> [Option<u16>; 256] {
    std::array::from_fn(|number| match number < classes {
        true => Some(number as u16),
        false => void.contains(&(number as u8)).then_some(UNLABELLED),
    })
}

/// A table of comma-separated values whose first row names the columns. Fields may be quoted, with
/// commas, line ends and doubled quotes inside.
pub(super) struct Table {
    path: PathBuf,
    columns: Vec<String>,
    /// The line each row begins in, and its fields.
    rows: Vec<(usize, Vec<String>)>,
}

impl Table {
    /// # Errors
    /// A file that is missing or empty, a quote that is never closed, a row of another length.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut rows = parse(text)
            .map_err(|what| Error::file(path, what))?
            .into_iter();
        let Some((_, columns)) = rows.next() else {
            return Err(Error::file(
                path,
                "is empty, expected a row of column names",
            ));
        };
        let rows: Vec<_> = rows.collect();
        if let Some((line, row)) = rows.iter().find(|(_, row)| row.len() != columns.len()) {
            let what = format!(
                "line {line}: {} fields for {} columns",
                row.len(),
                columns.len()
            );
            return Err(Error::file(path, what));
        }
        Ok(Table {
            path: path.to_owned(),
            columns,
            rows,
        })
    }

    /// The place of a column, by name.
    pub(super) fn column(&self, name: &str) -> Result<usize> {
        let found = self.columns.iter().position(|column| column == name);
        found.ok_or_else(|| {
            let what = format!("no column {name}; there are {}", self.columns.join(", "));
            Error::file(&self.path, what)
        })
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, &[String])> {
        self.rows.iter().map(|(line, row)| (*line, row.as_slice()))
    }

    /// A whole number, or the line and what stands there instead.
    pub(super) fn number(&self, line: usize, field: &str) -> Result<usize> {
        field.trim().parse().map_err(|_| {
            Error::file(
                &self.path,
                format!("line {line}: {field:?}, expected a number"),
            )
        })
    }
}

/// Rows of fields, each with the number of the line it begins in. Empty lines are left out.
fn parse(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut start, mut quoted) = (1, 1, false);
    let mut letters = text.chars().peekable();
    let mut finish = |row: &mut Vec<String>, start: usize| {
        let row = std::mem::take(row);
        if row.len() > 1 || !row[0].is_empty() {
            rows.push((start, row));
        }
    };
    while let Some(letter) = letters.next() {
        line += usize::from(letter == '\n');
        match letter {
            '"' if quoted => match letters.next_if_eq(&'"') {
                Some(quote) => field.push(quote),
                None => quoted = false,
            },
            '"' if field.is_empty() => quoted = true,
            _ if quoted => field.push(letter),
            ',' => row.push(std::mem::take(&mut field)),
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' => {
                row.push(std::mem::take(&mut field));
                finish(&mut row, start);
                start = line;
            }
            _ => field.push(letter),
        }
    }
    if quoted {
        return Err(format!("line {start}: a quote is never closed"));
    }
    if !row.is_empty() || !field.is_empty() {
        row.push(field);
        finish(&mut row, start);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_spreadsheets_write_them() {
        let rows = parse("a,b\r\n\"x, \"\"y\"\"\",\n\n\"two\nlines\",2").unwrap();
        let fields: Vec<Vec<String>> = rows.iter().map(|(_, row)| row.clone()).collect();
        assert_eq!(fields, [["a", "b"], ["x, \"y\"", ""], ["two\nlines", "2"]]);
        assert_eq!(
            rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [1, 2, 4]
        );
        assert!(parse("a\n\"b").unwrap_err().contains("line 2"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, "a,b\n1,2\n3\n").unwrap();
        let message = Table::read(&path).err().unwrap().to_string();
        assert!(
            message.contains("t.csv: line 3: 1 fields for 2 columns"),
            "{message}"
        );
        fs::write(&path, "a,b\n1,x\n").unwrap();
        let table = Table::read(&path).unwrap();
        assert_eq!(
            (table.column("b").unwrap(), table.number(2, "17").unwrap()),
            (1, 17)
        );
        assert!(
            table
                .number(2, "x")
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
        let message = table.column("c").unwrap_err().to_string();
        assert!(message.contains("no column c; there are a, b"), "{message}");
        fs::write(&path, "").unwrap();
        assert!(Table::read(&path).is_err());
    }

    /// What PIL decodes (`scripts/golden/pictures.py`): the lossless WebP exactly, the JPEG up to the
    /// rounding of its inverse cosine transform and of its colours, a level each.
    #[test]
    fn pictures_are_decoded_as_pil_does() {
        let golden =
            |end: &str| format!("{}/tests/golden/picture.{end}", env!("CARGO_MANIFEST_DIR"));
        let expected = fs::read(golden("rgb")).unwrap();
        let (jpg, webp) = expected.split_at(8 * 12 * 3);
        let (extent, rgb) = picture(Path::new(&golden("webp"))).unwrap();
        assert_eq!((extent, rgb.as_slice()), ([8, 12], webp));
        let (extent, rgb) = picture(Path::new(&golden("jpg"))).unwrap();
        assert_eq!((extent, rgb.len()), ([8, 12], jpg.len()));
        assert!(
            rgb.iter().zip(jpg).all(|(a, b)| a.abs_diff(*b) <= 2),
            "{rgb:?}"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.jpg");
        for (kind, word) in [("jpg", "truncated JPEG"), ("webp", "damaged WebP")] {
            let whole = fs::read(golden(kind)).unwrap();
            fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();
            let message = picture(&path).unwrap_err().to_string();
            assert!(
                message.contains("p.jpg") && message.contains(word),
                "{message}"
            );
        }
        fs::write(&path, "text").unwrap();
        assert!(
            picture(&path)
                .unwrap_err()
                .to_string()
                .contains("expected a JPEG or PNG")
        );
        // A grey PNG.
        let file = fs::File::create(&path).unwrap();
        let mut encoder = png::Encoder::new(file, 2, 1);
        encoder.set_color(png::ColorType::Grayscale);
        encoder
            .write_header()
            .unwrap()
            .write_image_data(&[7, 9])
            .unwrap();
        assert_eq!(picture(&path).unwrap(), ([1, 2], vec![7, 7, 7, 9, 9, 9]));
    }
}
