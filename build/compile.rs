//! Compiler runs in parallel, and only those whose inputs changed.
//!
//! Cargo tells build.rs that *something* under `kernels/` changed, not what. Beside each output lies
//! a stamp: a hash of the compiler's version, its arguments and the contents of every file that the
//! last run read (the compiler's `-MMD` list). A run whose stamp still holds is skipped.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// One run of a compiler: a source, an output, and what to pass beside them.
pub struct Task {
    pub compiler: PathBuf,
    /// What `compiler --version` prints.
    pub version: String,
    pub arguments: Vec<String>,
    pub source: PathBuf,
    pub output: PathBuf,
}

impl Task {
    fn beside(&self, extension: &str) -> PathBuf {
        let mut name = self.output.clone().into_os_string();
        name.push(extension);
        name.into()
    }

    /// The hash of everything the output depends on; none where an input is gone.
    fn stamp(&self) -> Option<String> {
        let mut hash = DefaultHasher::new();
        (&self.compiler, &self.version, &self.arguments).hash(&mut hash);
        for input in inputs(&fs::read_to_string(self.beside(".d")).ok()?) {
            input.hash(&mut hash);
            fs::read(&input).ok()?.hash(&mut hash);
        }
        Some(format!("{:016x}", hash.finish()))
    }

    /// Whether an input was written after `moment`, or is gone.
    fn changed_since(&self, moment: SystemTime) -> bool {
        let list = fs::read_to_string(self.beside(".d")).unwrap_or_default();
        let written = |path: &PathBuf| fs::metadata(path).and_then(|m| m.modified());
        let changed = |path| !written(path).is_ok_and(|at| at < moment);
        inputs(&list).iter().any(changed)
    }

    fn is_fresh(&self) -> bool {
        let written = fs::read_to_string(self.beside(".stamp")).ok();
        self.output.exists() && written.is_some() && written == self.stamp()
    }

    fn run(&self) -> Result<(), String> {
        if self.is_fresh() {
            return Ok(());
        }
        let began = SystemTime::now();
        let done = Command::new(&self.compiler)
            .args(&self.arguments)
            .args(["-MMD", "-MF"])
            .arg(self.beside(".d"))
            .arg(&self.source)
            .arg("-o")
            .arg(&self.output)
            .output()
            .map_err(|e| format!("{}: {e}", self.compiler.display()))?;
        let text = String::from_utf8_lossy(&done.stderr);
        if !done.status.success() {
            let compiler = self.compiler.display();
            return Err(format!(
                "{} does not compile with {compiler}:\n{text}",
                self.source.display()
            ));
        }
        for line in text.lines().filter(|line| line.contains("warning")) {
            println!("cargo::warning={line}");
        }
        // Nobody knows which version of a file the compiler read if it changed meanwhile: no stamp.
        let stamp = match self.changed_since(began) {
            false => self.stamp().unwrap_or_default(),
            true => String::new(),
        };
        let path = self.beside(".stamp");
        fs::write(&path, stamp).map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// The files named by a make rule `target: a b \ c`.
fn inputs(rule: &str) -> Vec<PathBuf> {
    let list = rule.split_once(": ").map_or("", |(_, list)| list);
    // An escaped space belongs to a name, an escaped line end separates names.
    let list = list.replace("\\\n", " ").replace("\\ ", "\0");
    list.split_whitespace()
        .map(|name| name.replace('\0', " ").into())
        .collect()
}

/// Runs all tasks on as many threads as cargo grants; the first error in task order wins.
pub fn run_all(tasks: &[Task]) -> Result<(), String> {
    let jobs = std::env::var("NUM_JOBS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let next = AtomicUsize::new(0);
    let errors = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(tasks.len()) {
            scope.spawn(|| {
                while let Some((i, task)) = take(tasks, &next) {
                    if let (Err(what), Ok(mut errors)) = (task.run(), errors.lock()) {
                        errors.push((i, what));
                    }
                }
            });
        }
    });
    let mut errors = errors.into_inner().unwrap_or_default();
    errors.sort();
    errors
        .into_iter()
        .next()
        .map_or(Ok(()), |(_, what)| Err(what))
}

fn take<'a>(tasks: &'a [Task], next: &AtomicUsize) -> Option<(usize, &'a Task)> {
    let i = next.fetch_add(1, Ordering::Relaxed);
    tasks.get(i).map(|task| (i, task))
}

/// What `compiler --version` prints, if the compiler is there and runs.
pub fn version_of(compiler: &Path) -> Option<String> {
    let done = Command::new(compiler).arg("--version").output().ok()?;
    done.status
        .success()
        .then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// What a kernel outside `kernels/` needs to find the headers there.
pub fn headers_for(source: &Path) -> Option<String> {
    (!source.starts_with("kernels")).then(|| "-Ikernels".to_owned())
}

/// The file's name without folder and extension.
pub fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
