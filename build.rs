//! Compiles `kernels/*.cu` twice: with nvcc for GPUs, with the host's C++ compiler for the emulator. So are
//! kernels of your own, in the folder that `WHATWHERE_KERNELS` names (docs/your_own_kernel.md).
//!
//! Neither compiler has to be there. What is missing is said in one line and left out, and the crate
//! still builds and runs on the CPU (docs/kernels.md, "Building").

#[path = "build/compile.rs"]
mod compile;
#[path = "build/emulator.rs"]
mod emulator;
#[path = "build/nvcc.rs"]
mod nvcc;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    for path in ["build.rs", "build", "kernels"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-check-cfg=cfg(emulator, emulator_checked, emulator_sanitized)");
    name_commit();
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            // One directive is one line, so a compiler's message becomes several.
            for line in what.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from);
    let out = out.ok_or("OUT_DIR is not set: run cargo, not build.rs")?;
    let mut sources = kernel_sources(Path::new("kernels"))?;
    println!("cargo::rerun-if-env-changed=WHATWHERE_KERNELS");
    if let Some(folder) = std::env::var_os("WHATWHERE_KERNELS").filter(|name| !name.is_empty()) {
        let folder = PathBuf::from(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        for source in kernel_sources(&folder)? {
            let name = compile::stem(&source);
            if sources.iter().any(|known| compile::stem(known) == name) {
                let path = source.display();
                return Err(format!(
                    "{path}: there is a kernel file of that name already"
                ));
            }
            sources.push(source);
        }
    }
    nvcc::build(&sources, &out)?;
    emulator::build(&sources, &out)
}

/// Tells the crate which commit it is made from, so that results can name it. Release builds only:
/// others would be compiled again after every commit.
fn name_commit() {
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    // Both change with every commit and checkout; neither need exist (a source archive has no .git).
    for path in [".git/HEAD", ".git/logs/HEAD"] {
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let git = std::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .output();
    if let Some(output) = git.ok().filter(|output| output.status.success()) {
        let commit = String::from_utf8_lossy(&output.stdout);
        println!("cargo::rustc-env=WHATWHERE_COMMIT={}", commit.trim());
    }
}

fn kernel_sources(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "cu") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}
