//! Data sets in files: images, image folders, the downsampled ImageNet, packs.

mod image_files;
mod image_folders;
mod packs;
mod real;
mod small_imagenet;

use std::path::{Path, PathBuf};

/// A file or folder of `tests/golden`.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// The error of `result` must say all of `parts`.
fn refused<T>(result: whatwhere::Result<T>, parts: &[&str]) {
    let error = result.err().expect("an error").to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}
