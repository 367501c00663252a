//! Batches of photographs for training: JPEG files to random crops of 224×224, normalised, by two
//! threads; beside them the same crops from a pack, and torchvision's DataLoader with two workers.
//!
//! Contestants take turns, a pass over all images each, so machine noise hits all alike.
//! `WHATWHERE_IMAGES` is an image folder whose `val` is read (without it, copies of a small image are,
//! which says nothing about speed); with `WHATWHERE_TORCH` set to a Python that imports torchvision,
//! that runs as well. `WHATWHERE_ROUNDS` (default 7), `WHATWHERE_JSON` (file for the figures).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use whatwhere::data::{self, Augment, Dataset, Loader, LoaderOptions, OpenOptions, Split, pack};
use whatwhere::experiment::{COMMIT, processor, write_json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const BATCH: usize = 64;
const WORKERS: usize = 2;

fn main() -> Outcome<()> {
    // `cargo test --benches` only asks whether the benchmark still runs.
    let rounds = match std::env::args().any(|a| a == "--bench") {
        true => std::env::var("WHATWHERE_ROUNDS").map_or(Ok(7), |n| n.parse())?,
        false => 1,
    };
    let scratch = tempfile::tempdir()?;
    let root = match std::env::var_os("WHATWHERE_IMAGES") {
        Some(root) => PathBuf::from(root),
        None => copies(scratch.path())?,
    };
    let options = OpenOptions {
        root: Some(root.clone()),
        allow_partial: true,
        ..OpenOptions::default()
    };
    let files = data::open("folder", Split::Test, &options)?;
    let images = files.len();
    let source = data::open_to_pack("folder", Split::Test, &options)?;
    let path = scratch.path().join(pack::file_name(Split::Test));
    pack::write(source.set.as_ref(), source.shown, 0, &path, &mut |_| ())?;
    let packed: Arc<dyn Dataset> = Arc::new(pack::Pack::open(&path, None)?);
    let mut contestants = vec![
        Contestant::own("whatwhere, JPEG files", files)?,
        Contestant::own("whatwhere, pack", packed)?,
    ];
    if let Some(python) = std::env::var_os("WHATWHERE_TORCH") {
        contestants.push(Contestant::torch(python.as_ref(), &root)?);
    }
    // The first pass starts threads, fills caches and is not counted.
    for round in 0..=rounds as u64 {
        for contestant in &mut contestants {
            let seconds = contestant.pass(round)?;
            if round > 0 {
                contestant.speeds.push(images as f64 / seconds);
            }
        }
    }
    let results: Vec<Row> = contestants.into_iter().map(Contestant::finish).collect();
    for row in &results {
        println!(
            "{:<30} {:>8.0} images/s (median), {:>8.0} (best)",
            row.contestant, row.images_per_second_median, row.images_per_second_best
        );
    }
    if let Ok(path) = std::env::var("WHATWHERE_JSON") {
        let report = Report {
            command: "cargo bench --bench input",
            commit: COMMIT,
            processor: processor(),
            load: std::fs::read_to_string("/proc/loadavg").unwrap_or_default(),
            workers: WORKERS,
            batch: BATCH,
            images,
            rounds,
            results,
        };
        write_json(path.as_ref(), &report)?;
    }
    Ok(())
}

/// A folder with a batch of the smallest image there is.
fn copies(scratch: &Path) -> Outcome<PathBuf> {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images/photo.jpg");
    let class = scratch.join("images/val/one");
    std::fs::create_dir_all(&class)?;
    for number in 0..BATCH {
        std::fs::copy(&image, class.join(format!("{number}.JPEG")))?;
    }
    Ok(scratch.join("images"))
}

#[derive(Serialize)]
struct Report {
    command: &'static str,
    commit: &'static str,
    processor: String,
    /// What the system says of its load at the end: the averages of 1, 5 and 15 minutes first.
    load: String,
    workers: usize,
    batch: usize,
    images: usize,
    rounds: usize,
    results: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    contestant: String,
    images_per_second_median: f64,
    images_per_second_best: f64,
}

/// Who reads all images once when told to.
struct Contestant {
    name: String,
    reader: Reader,
    speeds: Vec<f64>,
}

enum Reader {
    Own(Box<Loader>),
    Process(Child, ChildStdin, BufReader<ChildStdout>),
}

impl Contestant {
    fn own(name: &str, set: Arc<dyn Dataset>) -> Outcome<Self> {
        let options = LoaderOptions {
            batch: BATCH.min(set.len()),
            augment: Augment::IMAGENET,
            workers: WORKERS,
            ..LoaderOptions::default()
        };
        Ok(Contestant {
            name: name.to_owned(),
            reader: Reader::Own(Box::new(Loader::new(set, options)?)),
            speeds: Vec::new(),
        })
    }

    fn torch(python: &Path, root: &Path) -> Outcome<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/torch_input.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(root.join("val"))
            .args([BATCH.to_string(), WORKERS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Contestant {
            name: "torchvision DataLoader".to_owned(),
            reader: Reader::Process(child, input, output),
            speeds: Vec::new(),
        })
    }

    /// The seconds of one pass.
    fn pass(&mut self, round: u64) -> Outcome<f64> {
        match &mut self.reader {
            Reader::Own(loader) => {
                let began = Instant::now();
                for batch in loader.epoch(round, 0) {
                    std::hint::black_box(batch?);
                }
                Ok(began.elapsed().as_secs_f64())
            }
            Reader::Process(_, input, output) => {
                writeln!(input, "pass")?;
                input.flush()?;
                let mut line = String::new();
                output.read_line(&mut line)?;
                let seconds = line.trim().parse();
                seconds.map_err(|_| format!("{} answered {line:?}", self.name).into())
            }
        }
    }

    fn finish(mut self) -> Row {
        if let Reader::Process(mut child, input, _) = self.reader {
            // It ends when its input does; how, changes no figure.
            drop(input);
            let _ = child.wait();
        }
        self.speeds.sort_by(f64::total_cmp);
        Row {
            contestant: self.name,
            images_per_second_median: self.speeds[self.speeds.len() / 2],
            images_per_second_best: self.speeds[self.speeds.len() - 1],
        }
    }
}
