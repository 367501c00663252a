//! The emulator's side: the same kernel files, compiled for the host (docs/emulator.md).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::compile::{Task, headers_for, run_all, stem, version_of};

const FOLDER: &str = "kernels/emulator";
/// Calls a function before every access to memory; the functions are in checks.cpp.
const ANNOUNCE: &str = "-fsanitize=thread";
/// The emulator itself.
const RUNTIME: [&str; 6] = [
    "runtime.cpp",
    "checks.cpp",
    "clocks.cpp",
    "barriers.cpp",
    "bulk.cpp",
    "wgmma.cpp",
];
const LIBRARY: &str = "whatwhere_emulator";

/// Compiles kernels and emulator into one library, where a C++ compiler is found.
pub fn build(kernels: &[PathBuf], out: &Path) -> Result<(), String> {
    for name in [
        "CXX",
        "WHATWHERE_EMULATOR_SANITIZE",
        "WHATWHERE_EMULATOR_UCONTEXT",
    ] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if env::var_os("CARGO_FEATURE_EMULATOR").is_none() {
        return Ok(());
    }
    let compiler = match find() {
        Ok(compiler) => compiler,
        Err(why) => {
            println!("cargo::warning={why}: building without the kernel emulator");
            return Ok(());
        }
    };
    let sanitize = is_on("WHATWHERE_EMULATOR_SANITIZE");
    // The compiler announces each memory access of a kernel to checks.cpp. Where AddressSanitizer
    // watches instead, or the compiler cannot do it, the schedules alone are left to find races.
    let announce = !sanitize && compiler.announces_accesses();
    let tasks = tasks(&compiler, kernels, out, sanitize, announce);
    run_all(&tasks)?;
    archive(&compiler.build, &tasks, out)?;

    println!("cargo::rustc-cfg=emulator");
    println!("cargo::rustc-link-search=native={}", out.display());
    // Kernels announce themselves from static constructors that nothing refers to.
    println!("cargo::rustc-link-lib=static:+whole-archive={LIBRARY}");
    if announce {
        println!("cargo::rustc-cfg=emulator_checked");
    }
    if sanitize {
        println!("cargo::rustc-cfg=emulator_sanitized");
        // These come before the C++ library: the sanitizer's functions must be the first of their name.
        for library in ["asan", "ubsan"] {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }
    let apple = env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor == "apple");
    println!(
        "cargo::rustc-link-lib={}",
        if apple { "c++" } else { "stdc++" }
    );
    Ok(())
}

struct Compiler {
    build: cc::Build,
    path: PathBuf,
    version: String,
    arguments: Vec<String>,
}

impl Compiler {
    fn announces_accesses(&self) -> bool {
        self.build.is_flag_supported(ANNOUNCE).unwrap_or(false)
    }
}

fn find() -> Result<Compiler, String> {
    if env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family != "unix") {
        return Err("the emulator needs a Unix system".into());
    }
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .debug(false)
        .warnings(false)
        .cargo_metadata(false)
        .cargo_warnings(false);
    let tool = build
        .try_get_compiler()
        .map_err(|e| format!("no C++ compiler found ({e})"))?;
    let path = tool.path().to_owned();
    let version = version_of(&path).ok_or(format!(
        "no C++ compiler found ({} does not run; CXX names another)",
        path.display()
    ))?;
    let arguments = tool
        .args()
        .iter()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    Ok(Compiler {
        build,
        path,
        version,
        arguments,
    })
}

fn tasks(
    compiler: &Compiler,
    kernels: &[PathBuf],
    out: &Path,
    sanitize: bool,
    announce: bool,
) -> Vec<Task> {
    let mut common = compiler.arguments.clone();
    // Line tables for the reports; no fused a*b + c that the source does not ask for.
    common.extend(["-c", "-g1", "-Wall", "-Wextra", "-Wno-unknown-pragmas"].map(String::from));
    common.extend(["-ffp-contract=off".to_owned(), format!("-I{FOLDER}")]);
    // Reports name files as seen from the root of the crate.
    if let Ok(root) = env::var("CARGO_MANIFEST_DIR") {
        common.push(format!("-ffile-prefix-map={root}/="));
    }
    if is_on("WHATWHERE_EMULATOR_UCONTEXT") {
        common.push("-DEMULATOR_UCONTEXT".into());
    }
    if sanitize {
        common.push("-fsanitize=address,undefined".into());
        common.push("-fno-sanitize-recover=undefined".into());
    }
    let task = |source: PathBuf, more: &[&str]| Task {
        compiler: compiler.path.clone(),
        version: compiler.version.clone(),
        arguments: common
            .iter()
            .cloned()
            .chain(more.iter().map(|a| a.to_string()))
            .chain(headers_for(&source))
            .collect(),
        output: out.join(format!("emulator_{}.o", stem(&source))),
        source,
    };
    let (kernel_flags, runtime_flags): (&[&str], &[&str]) = match announce {
        true => (&[ANNOUNCE, "-x", "c++"], &[]),
        false => (&["-x", "c++"], &["-DEMULATOR_NO_ANNOUNCEMENTS"]),
    };
    let own = ["planted.cu", "planted_hopper.cu", "primitives.cu"];
    let kernels = kernels
        .iter()
        .cloned()
        .chain(own.map(|name| Path::new(FOLDER).join(name)));
    let runtime = RUNTIME.map(|name| Path::new(FOLDER).join(name));
    kernels
        .map(|source| task(source, kernel_flags))
        .chain(runtime.map(|source| task(source, runtime_flags)))
        .collect()
}

fn archive(build: &cc::Build, tasks: &[Task], out: &Path) -> Result<(), String> {
    let library = out.join(format!("lib{LIBRARY}.a"));
    let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", library.display());
    // `ar` adds to what is there, and a kernel that was deleted would stay.
    let _ = fs::remove_file(&library);
    let done = build
        .try_get_archiver()
        .map_err(|e| failed(&e))?
        .arg("crs")
        .arg(&library)
        .args(tasks.iter().map(|task| &task.output))
        .output()
        .map_err(|e| failed(&e))?;
    if done.status.success() {
        Ok(())
    } else {
        Err(failed(&String::from_utf8_lossy(&done.stderr)))
    }
}

fn is_on(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| value == "1")
}
