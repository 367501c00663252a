//! VGG16-BN training steps on the CPU, interleaved with PyTorch in one run.
//!
//! Every contestant is a process of its own that does one step when told to and says how long it
//! took; the others wait meanwhile. So machine noise hits all alike, and each one's peak memory is its
//! own. `cargo bench --bench cpu_step` times this crate; with `WHATWHERE_TORCH` set to a Python that
//! imports torch, PyTorch runs beside it in both memory layouts, and the ratios are printed.
//!
//! Settings: `WHATWHERE_ROUNDS` (default 7), `WHATWHERE_JSON` (file for the figures).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use whatwhere::device::Device;
use whatwhere::experiment::{COMMIT, Run, Settings, processor, write_json};
use whatwhere::nn::Moment;
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::Tensor;
use whatwhere::train::{Step, TrainingStep};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const BATCH: usize = 64;
const THREADS: usize = 2;

/// Name of a workload, and the first shuffled layer.
const WORKLOADS: [(&str, u32); 2] = [("vgg16", 99), ("vgg16 shuffled from 33", 33)];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "--serve") {
        return serve(arguments[at + 1].parse()?);
    }
    // `cargo test --benches` only asks whether the benchmark still runs.
    let rounds = match arguments.iter().any(|a| a == "--bench") {
        true => std::env::var("WHATWHERE_ROUNDS").map_or(Ok(7), |n| n.parse())?,
        false => 1,
    };
    let mut results = Vec::new();
    for (name, cut) in WORKLOADS {
        results.extend(compare(name, cut, rounds)?);
    }
    if let Ok(path) = std::env::var("WHATWHERE_JSON") {
        let report = Report {
            command: "cargo bench --bench cpu_step",
            commit: COMMIT,
            processor: processor(),
            torch: torch_version()?,
            threads: THREADS,
            batch: BATCH,
            rounds,
            results,
        };
        write_json(path.as_ref(), &report)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Report {
    command: &'static str,
    commit: &'static str,
    processor: String,
    torch: Option<String>,
    threads: usize,
    batch: usize,
    rounds: usize,
    results: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    workload: String,
    contestant: String,
    images_per_second_median: f64,
    images_per_second_best: f64,
    peak_bytes: u64,
    /// Median speed over that of the fastest PyTorch layout.
    ratio: Option<f64>,
}

/// A process that does steps on demand.
struct Contestant {
    name: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    seconds: Vec<f64>,
}

impl Contestant {
    fn start(name: &str, command: &mut Command) -> Outcome<Self> {
        let mut child = command
            .env("RAYON_NUM_THREADS", THREADS.to_string())
            .env("OMP_NUM_THREADS", THREADS.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let name = name.to_owned();
        Ok(Contestant {
            name,
            child,
            input,
            output,
            seconds: Vec::new(),
        })
    }

    fn ask(&mut self, what: &str) -> Outcome<f64> {
        writeln!(self.input, "{what}")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim()
            .parse()
            .map_err(|_| format!("{} answered {line:?}", self.name).into())
    }

    fn finish(mut self, workload: &str) -> Outcome<Row> {
        let peak_bytes = self.ask("peak")? as u64;
        drop(self.input);
        self.child.wait()?;
        self.seconds.sort_by(f64::total_cmp);
        let speed = |seconds: f64| BATCH as f64 / seconds;
        Ok(Row {
            workload: workload.to_owned(),
            contestant: self.name,
            images_per_second_median: speed(self.seconds[self.seconds.len() / 2]),
            images_per_second_best: speed(self.seconds[0]),
            peak_bytes,
            ratio: None,
        })
    }
}

fn compare(workload: &str, cut: u32, rounds: usize) -> Outcome<Vec<Row>> {
    let mut ours = Command::new(std::env::current_exe()?);
    ours.args(["--serve", &cut.to_string()]);
    let mut contestants = vec![Contestant::start("whatwhere", &mut ours)?];
    if let Ok(python) = std::env::var("WHATWHERE_TORCH") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/torch_step.py");
        for layout in ["nchw", "channels_last"] {
            let mut words = python.split_whitespace();
            let mut peer = Command::new(words.next().ok_or("WHATWHERE_TORCH is empty")?);
            peer.args(words).args([script, &cut.to_string(), layout]);
            let name = format!("torch {layout}");
            contestants.push(Contestant::start(&name, &mut peer)?);
        }
    }
    for contestant in &mut contestants {
        contestant.ask("step")?;
    }
    for _ in 0..rounds {
        for contestant in &mut contestants {
            // Worker threads of the others spin for a moment before they sleep.
            std::thread::sleep(Duration::from_millis(100));
            let seconds = contestant.ask("step")?;
            contestant.seconds.push(seconds);
        }
    }
    let finished = contestants.into_iter().map(|c| c.finish(workload));
    let mut rows: Vec<Row> = finished.collect::<Outcome<_>>()?;
    let best_peer = rows[1..]
        .iter()
        .map(|r| r.images_per_second_median)
        .fold(0.0, f64::max);
    for row in &rows {
        println!(
            "{workload:<24} {:<20} {:>7.1} images/s median, {:>7.1} best, peak {:>5} MiB",
            row.contestant,
            row.images_per_second_median,
            row.images_per_second_best,
            row.peak_bytes >> 20
        );
    }
    if best_peer > 0.0 {
        for row in &mut rows {
            row.ratio = Some(row.images_per_second_median / best_peer);
        }
        let ratio = rows[0].images_per_second_median / best_peer;
        println!("{workload:<24} ratio to the better torch layout: {ratio:.2}");
    }
    Ok(rows)
}

/// The version of the PyTorch that `WHATWHERE_TORCH` runs, if there is one.
fn torch_version() -> Outcome<Option<String>> {
    let Ok(python) = std::env::var("WHATWHERE_TORCH") else {
        return Ok(None);
    };
    let mut words = python.split_whitespace();
    let output = Command::new(words.next().ok_or("WHATWHERE_TORCH is empty")?)
        .args(words)
        .args(["-c", "import torch; print(torch.__version__)"])
        .output()?;
    Ok(Some(String::from_utf8(output.stdout)?.trim().to_owned()))
}

/// The contestant of this crate: a step per line read.
fn serve(cut: u32) -> Outcome<()> {
    let settings = Settings {
        data: Some("cifar100".into()),
        cut: Some(cut),
        ..Settings::default()
    };
    let mut network = Run::new(settings)?.into_network(None)?;
    let mut stream = Key::new(0, Purpose::Check, 0, 0).stream(0);
    let pixels: Vec<f32> = (0..BATCH * 32 * 32 * 3)
        .map(|_| stream.normal() as f32)
        .collect();
    let images = Tensor::from_slice([BATCH, 32, 32, 3], &pixels, Device::Cpu)?;
    let classes: Vec<i32> = (0..BATCH).map(|_| stream.below(100) as i32).collect();
    let labels = Tensor::from_slice([BATCH], &classes, Device::Cpu)?;
    let numbers = Step {
        lr: 0.01,
        momentum: 0.9,
        weight_decay: 5e-4,
        nesterov: false,
    };
    let mut step = TrainingStep::new(&network, numbers, 0.0)?;
    let mut at = 0;
    for line in std::io::stdin().lines() {
        if line? == "peak" {
            println!("{}", peak_memory());
            continue;
        }
        let began = Instant::now();
        let moment = Moment::new(0, at);
        step.run(&mut network, moment, images.clone(), &labels)?;
        at += 1;
        println!("{}", began.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Most memory this process ever had resident, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
