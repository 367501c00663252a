//! `src/kernels/params.rs` is what bindgen makes of `kernels/include/params.h`.
//!
//! `WHATWHERE_WRITE_BINDINGS=1 cargo test --test kernel_params` writes it anew.

use std::path::{Path, PathBuf};

/// libclang from the wheel that scripts/setup-cuda installs, for machines without LLVM.
fn wheel_of_libclang() -> Option<PathBuf> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
    let native = |python: PathBuf| python.join("site-packages/clang/native");
    let entries = std::fs::read_dir(lib).ok()?;
    entries
        .flatten()
        .map(|e| native(e.path()))
        .find(|folder| folder.is_dir())
}

fn libclang_is_there() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_none()
        && let Some(folder) = wheel_of_libclang()
    {
        // SAFETY: this test binary has one test, and nothing else reads the environment now.
        unsafe { std::env::set_var("LIBCLANG_PATH", folder) };
    }
    std::panic::catch_unwind(bindgen::clang_version).is_ok()
}

#[test]
fn the_bindings_are_those_of_the_header() {
    if !libclang_is_there() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no libclang: scripts/setup-cuda installs it"
        );
        eprintln!("skipped: no libclang here (scripts/setup-cuda installs it)");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = root.join("kernels/include/params.h");
    let bindings = bindgen::Builder::default()
        .header(header.to_str().unwrap())
        .allowlist_type(".*Params")
        .derive_eq(true)
        .raw_line(
            "//! The kernels' parameter structs, made by bindgen from `kernels/include/params.h`.",
        )
        .raw_line("//! Do not edit: see `tests/kernel_params.rs`.")
        .disable_header_comment()
        .generate()
        .unwrap()
        .to_string();
    let path = root.join("src/kernels/params.rs");
    if std::env::var_os("WHATWHERE_WRITE_BINDINGS").is_some() {
        std::fs::write(&path, &bindings).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == bindings,
        "src/kernels/params.rs is not what bindgen makes of params.h: \
         run WHATWHERE_WRITE_BINDINGS=1 cargo test --test kernel_params"
    );
}
