//! numpy's file formats: `.npz` is a zip archive of `.npy` files, each a header and the elements.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::{Error, Result};

/// An array read into memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents.
    pub shape: Vec<usize>,
    /// numpy's name with the byte order, `|u1`, `<i8`.
    pub dtype: String,
    /// The elements, row after row.
    pub data: Vec<u8>,
}

/// Bytes of an element, where the dtype is a plain number.
pub fn element_size(dtype: &str) -> Option<usize> {
    let mut chars = dtype.chars();
    let (order, kind) = (chars.next()?, chars.next()?);
    let size = chars.as_str().parse().ok()?;
    ("<|>=".contains(order) && "uifb".contains(kind) && [1, 2, 4, 8].contains(&size))
        .then_some(size)
}

/// Whole numbers of any width; `None` for another dtype, big-endian ones and cut elements.
pub fn ints(dtype: &str, bytes: &[u8]) -> Option<Vec<i64>> {
    let size = element_size(dtype)?;
    let (order, kind) = dtype.split_at(1);
    let signed = kind.starts_with('i');
    if order == ">" || !(signed || kind.starts_with('u')) || !bytes.len().is_multiple_of(size) {
        return None;
    }
    let int = |element: &[u8]| {
        let negative = signed && element[size - 1] >= 0x80;
        let mut word = [if negative { 0xff } else { 0 }; 8];
        word[..size].copy_from_slice(element);
        i64::from_le_bytes(word)
    };
    Some(bytes.chunks_exact(size).map(int).collect())
}

/// The array `key` of a `.npz` file; `None` where there is none of that name.
///
/// # Errors
/// A file that is no zip archive or is damaged, an entry that is no array of plain numbers.
pub fn read(path: &Path, key: &str) -> Result<Option<Array>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file))
        .map_err(|e| Error::file(path, format!("no .npz archive: {e}")))?;
    let name = format!("{key}.npy");
    let entry = match archive.by_name(&name) {
        Err(zip::result::ZipError::FileNotFound) => return Ok(None),
        entry => entry.map_err(|e| Error::file(path, format!("{name}: {e}")))?,
    };
    let parsed = parse(entry).map_err(|what| Error::file(path, format!("{name}: {what}")))?;
    Ok(Some(parsed))
}

fn parse(mut from: impl Read) -> Result<Array, String> {
    let damaged = |e: std::io::Error| format!("damaged: {e}");
    let mut start = [0; 8];
    from.read_exact(&mut start).map_err(damaged)?;
    if start[..6] != *b"\x93NUMPY" {
        return Err("no array: the first bytes are not numpy's".into());
    }
    let length = match start[6] {
        1 => {
            let mut length = [0; 2];
            from.read_exact(&mut length).map_err(damaged)?;
            u16::from_le_bytes(length) as usize
        }
        2 | 3 => {
            let mut length = [0; 4];
            from.read_exact(&mut length).map_err(damaged)?;
            u32::from_le_bytes(length) as usize
        }
        other => return Err(format!("version {other} of the format, expected 1 to 3")),
    };
    if length > 1 << 16 {
        return Err(format!("a header of {length} bytes"));
    }
    let mut header = vec![0; length];
    from.read_exact(&mut header).map_err(damaged)?;
    let header = String::from_utf8_lossy(&header);
    let (dtype, shape) = parse_header(&header)
        .ok_or_else(|| format!("a header that is not understood: {}", header.trim()))?;
    let size = element_size(&dtype).ok_or_else(|| format!("elements of dtype {dtype}"))?;
    let count = shape
        .iter()
        .try_fold(size, |n, &extent| n.checked_mul(extent));
    let count = count.ok_or("more elements than memory has bytes")?;
    let mut data = Vec::new();
    // One byte more than expected shows that there is more.
    let mut limited = from.take(count as u64 + 1);
    limited.read_to_end(&mut data).map_err(damaged)?;
    match data.len() == count {
        true => Ok(Array { shape, dtype, data }),
        false => Err(format!(
            "expected {count} bytes of elements {shape:?}, found {}",
            data.len()
        )),
    }
}

/// dtype and shape of `{'descr': '|u1', 'fortran_order': False, 'shape': (4, 3), }`.
fn parse_header(header: &str) -> Option<(String, Vec<usize>)> {
    let after = |key: &str| {
        let at = header.find(&format!("'{key}'"))? + key.len() + 2;
        Some(header[at..].trim_start().strip_prefix(':')?.trim_start())
    };
    let dtype = after("descr")?
        .strip_prefix('\'')?
        .split_once('\'')?
        .0
        .to_owned();
    let shape = after("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let extents = shape
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let shape: Option<Vec<usize>> = extents.map(|word| word.parse().ok()).collect();
    let shape = shape?;
    let rows = after("fortran_order")?.starts_with("False") || shape.len() < 2;
    rows.then_some((dtype, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn arrays_are_read_and_others_refused() {
        let header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 1), }\n";
        let array = parse(&npy(header, &[1, 0, 0xfe, 0xff])[..]).unwrap();
        assert_eq!(
            (array.shape.as_slice(), array.dtype.as_str()),
            (&[2, 1][..], "<i2")
        );
        assert_eq!(ints(&array.dtype, &array.data), Some(vec![1, -2]));
        for (header, data, part) in [
            (header, &[1, 0, 2][..], "expected 4 bytes"),
            (header, &[1, 0, 2, 0, 3], "expected 4 bytes"),
            (
                "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
                &[],
                "dtype |O",
            ),
            (
                "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2), }",
                &[],
                "not understood",
            ),
            (
                "{'descr': [('a', 'u1')], 'fortran_order': False, 'shape': (2,)}",
                &[],
                "not underst",
            ),
            (
                "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 99999999999)}",
                &[],
                "more el",
            ),
        ] {
            let error = parse(&npy(header, data)[..]).unwrap_err();
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
        assert!(parse(&b"PK\x03\x04    "[..]).unwrap_err().contains("numpy"));
    }

    #[test]
    fn whole_numbers_of_every_width() {
        assert_eq!(ints("|u1", &[200]), Some(vec![200]));
        assert_eq!(ints("|i1", &[200]), Some(vec![-56]));
        assert_eq!(ints("<i8", &7i64.to_le_bytes()), Some(vec![7]));
        assert_eq!(ints("<u4", &[1, 0, 0, 0x80]), Some(vec![0x8000_0001]));
        for dtype in [">i4", "<f4", "|O", "<i3", "i8", ""] {
            assert_eq!(ints(dtype, &[0; 8]), None, "{dtype}");
        }
    }
}
