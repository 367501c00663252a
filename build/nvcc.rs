//! The GPU's side: one fatbin per kernel file, embedded in the crate.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::compile::{Task, headers_for, run_all, stem, version_of};

/// Machine code for Ampere and Hopper, and PTX that the driver translates for anything newer.
///
/// Without `--fmad=false` nvcc would fuse a*b + c at will, and the emulator could not give the same
/// bits; kernels say `fmaf` where they mean it.
const FLAGS: &[&str] = &[
    "--fatbin",
    "-std=c++17",
    "-O3",
    "-lineinfo",
    "--fmad=false",
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_80,code=compute_80",
];

/// The first release that knows sm_90a.
const OLDEST: u32 = 12;

/// Compiles the kernels where nvcc is found, and writes the table of what there is.
pub fn build(sources: &[PathBuf], out: &Path) -> Result<(), String> {
    for name in [
        "NVCC",
        "CUDA_HOME",
        "CUDA_PATH",
        "VIRTUAL_ENV",
        "WHATWHERE_REQUIRE_NVCC",
    ] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let (nvcc, version, release) = match find() {
        Ok(found) => found,
        Err(why) if env::var_os("WHATWHERE_REQUIRE_NVCC").is_some_and(|v| v == "1") => {
            return Err(format!(
                "{why} (and WHATWHERE_REQUIRE_NVCC=1 asks for the CUDA kernels)"
            ));
        }
        Err(why) => {
            println!("cargo::warning={why}: building without the CUDA kernels");
            return write_table(&[], out);
        }
    };
    let tasks: Vec<Task> = sources
        .iter()
        .map(|source| Task {
            compiler: nvcc.clone(),
            version: version.clone(),
            arguments: (FLAGS.iter().map(|flag| flag.to_string()))
                .chain(headers_for(source))
                .collect(),
            source: source.clone(),
            output: out.join(stem(source) + ".fatbin"),
        })
        .collect();
    run_all(&tasks)?;
    println!("cargo::rustc-env=WHATWHERE_CUDA={release}");
    write_table(&tasks, out)
}

/// nvcc, what it says of its version, and its release ("13.0"), or why there is none to use.
fn find() -> Result<(PathBuf, String, String), String> {
    let nvcc = match env::var_os("NVCC") {
        Some(path) => PathBuf::from(path),
        None => candidates()
            .into_iter()
            .find(|path| path.is_file())
            .ok_or("no nvcc found (scripts/setup-cuda installs one without root)")?,
    };
    let text = version_of(&nvcc).ok_or(format!("{} does not run", nvcc.display()))?;
    // "Cuda compilation tools, release 13.0, V13.0.88"
    let release = text.split("release ").nth(1);
    let release = release
        .and_then(|rest| rest.split(',').next())
        .unwrap_or_default();
    let major: Option<u32> = release
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    match major {
        Some(major) if major >= OLDEST => {
            let release = release.to_owned();
            Ok((nvcc, text, release))
        }
        Some(major) => Err(format!(
            "{} is of CUDA {major}, the kernels need {OLDEST} or later",
            nvcc.display()
        )),
        None => Err(format!("{} does not tell its CUDA release", nvcc.display())),
    }
}

/// Where nvcc may be, best guess first.
fn candidates() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for name in ["CUDA_HOME", "CUDA_PATH"] {
        paths.extend(env::var_os(name).map(|home| Path::new(&home).join("bin/nvcc")));
    }
    if let Some(path) = env::var_os("PATH") {
        paths.extend(env::split_paths(&path).map(|folder| folder.join("nvcc")));
    }
    paths.push("/usr/local/cuda/bin/nvcc".into());
    let environments = env::var_os("VIRTUAL_ENV").map(PathBuf::from).into_iter();
    for environment in environments.chain([PathBuf::from(".venv")]) {
        paths.extend(wheels(&environment));
    }
    paths
}

/// nvcc as NVIDIA's Python wheels lay it into a virtual environment.
fn wheels(environment: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(environment.join("lib")) else {
        return Vec::new();
    };
    let site = |python: PathBuf| python.join("site-packages/nvidia/cu13/bin/nvcc");
    let mut found: Vec<_> = entries.flatten().map(|entry| site(entry.path())).collect();
    found.sort();
    // nvcc runs from another folder than the one it is named in.
    found
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .collect()
}

/// The Rust expression `src/kernels/mod.rs` includes: a `Module` for every fatbin.
fn write_table(tasks: &[Task], out: &Path) -> Result<(), String> {
    let mut table = String::from("&[\n");
    for task in tasks {
        let (name, path) = (stem(&task.source), task.output.display().to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "    Module {{ name: {name:?}, fatbin: include_bytes!({path:?}) }},"
        );
    }
    table.push(']');
    let path = out.join("kernel_table.rs");
    fs::write(&path, table).map_err(|e| format!("{}: {e}", path.display()))
}
