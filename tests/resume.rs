//! A run killed at any moment and resumed ends bit-equal to one that was never stopped.
//!
//! A kill is aimed by what the run's folder shows: a checkpoint of some step, a file half written. What
//! it hit is read from the folder afterwards.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use whatwhere::experiment::{RunSummary, read_history, read_summary};
use whatwhere::rng::{Key, Purpose, Stream};
use whatwhere::train::Manifest;

/// Three epochs of six steps.
const STEPS: u32 = 6;
const SETTINGS: &[&str] = &[
    "--data=layout",
    "--size=16",
    "--train-images=96",
    "--test-images=32",
    "--model=vgg-small",
    "--width=0.5",
    "--epochs=3",
    "--batch=16",
    "--cut=22",
    "--quiet",
    "--threads=2",
];

fn train(folder: &Path, extra: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_whatwhere"))
        .arg("train")
        .args(SETTINGS)
        .args(extra)
        .arg("--out")
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Everything a run leaves that does not depend on the clock.
#[derive(Debug, PartialEq)]
struct Result {
    last: Vec<u8>,
    best: Vec<u8>,
    history: Vec<[f64; 6]>,
    summary: RunSummary,
}

fn result(folder: &Path) -> Result {
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let history = read_history(folder).unwrap();
    let row = |r: &whatwhere::train::EpochRecord| {
        let steps = r.steps as f64;
        [
            steps,
            r.lr,
            r.train_loss,
            r.train_accuracy,
            r.test_loss,
            r.test_accuracy,
        ]
    };
    Result {
        last: read("last.safetensors"),
        best: read("best.safetensors"),
        history: history.iter().map(row).collect(),
        summary: RunSummary {
            seconds: 0.0,
            ..read_summary(folder).unwrap().unwrap()
        },
    }
}

fn succeeded(ended: &Output) {
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
}

fn uninterrupted(folder: &Path) -> Result {
    succeeded(&train(folder, &[]).wait_with_output().unwrap());
    result(folder)
}

/// The counters of the checkpoint in a run folder.
fn manifest(folder: &Path) -> Option<Manifest> {
    let text = std::fs::read_to_string(folder.join("checkpoint/checkpoint.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether a file in the folder or in its checkpoint is being written, or was when the run died.
fn half_written(folder: &Path) -> bool {
    [folder.to_owned(), folder.join("checkpoint")]
        .iter()
        .flat_map(std::fs::read_dir)
        .flatten()
        .flatten()
        .any(|entry| entry.path().extension().is_some_and(|e| e == "partial"))
}

/// Which file `env.json` is: a new one is written when a run begins or goes on.
fn life(folder: &Path) -> Option<u64> {
    Some(std::fs::metadata(folder.join("env.json")).ok()?.ino())
}

/// When a run is to be killed.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// So long after it began or went on.
    Began(Duration),
    /// When its checkpoint holds this many batches of an epoch: all of them while it is tested.
    Batch(u32),
    /// When a file is half written, for the n-th time.
    Writing(u32),
}

/// What kills hit.
#[derive(Debug, Default)]
struct Hits {
    kills: u32,
    epochs: BTreeSet<u32>,
    evaluations: u32,
    writings: u32,
}

impl Hits {
    /// Lets a run go on until the aim is met, and kills it there; gives whether it had ended before.
    fn aim(&mut self, folder: &Path, extra: &[&str], aim: Aim) -> bool {
        let before = life(folder);
        let mut child = train(folder, extra);
        let (mut writing, mut writings) = (false, 0);
        while child.try_wait().unwrap().is_none() {
            let begun = life(folder) != before;
            let met = match aim {
                Aim::Began(patience) if begun => {
                    std::thread::sleep(patience);
                    true
                }
                Aim::Batch(batch) => begun && manifest(folder).is_some_and(|m| m.batch == batch),
                Aim::Writing(times) => {
                    let now = half_written(folder);
                    writings += u32::from(now && !writing);
                    writing = now;
                    writings == times
                }
                Aim::Began(_) => false,
            };
            if met {
                child.kill().unwrap();
                break;
            }
        }
        let ended = child.wait_with_output().unwrap();
        if ended.status.code().is_some() {
            succeeded(&ended);
            return true;
        }
        self.kills += 1;
        let reached = manifest(folder).unwrap_or_default();
        self.epochs.insert(reached.epoch);
        self.evaluations += u32::from(reached.batch == STEPS);
        self.writings += u32::from(half_written(folder));
        false
    }
}

/// Up to `most` milliseconds, in microseconds.
fn patience(stream: &mut Stream, most: u32) -> Duration {
    Duration::from_micros(stream.below(1000 * most).into())
}

#[test]
fn killed_at_many_moments_and_resumed_it_ends_bit_equal() {
    let temporary = tempfile::tempdir().unwrap();
    let truth = uninterrupted(&temporary.path().join("whole"));
    let mut stream = Key::new(1, Purpose::Check, 0, 0).stream(0);
    let mut hits = Hits::default();
    let ends_as_truth = |folder: &Path, extra: &[&str]| {
        succeeded(&train(folder, extra).wait_with_output().unwrap());
        assert_eq!(result(folder), truth, "{extra:?}");
        assert!(!half_written(folder), "{}", folder.display());
    };

    // In every epoch: after some step, in its test, and at a moment drawn at random.
    let every_step = ["--checkpoint-every=0", "--resume"];
    let folder = temporary.path().join("aimed");
    for _ in 0..3 {
        for aim in [
            Aim::Batch(1 + stream.below(STEPS - 1)),
            Aim::Began(patience(&mut stream, 30)),
            Aim::Batch(STEPS),
            // The run goes on within the test.
            Aim::Began(patience(&mut stream, 10)),
        ] {
            hits.aim(&folder, &every_step, aim);
        }
    }
    ends_as_truth(&folder, &every_step);

    // While files are written.
    let folder = temporary.path().join("writing");
    for _ in 0..12 {
        if hits.aim(&folder, &every_step, Aim::Writing(1 + stream.below(9))) {
            break;
        }
    }
    ends_as_truth(&folder, &every_step);

    // With checkpoints seldom: what was done since the last one is done again.
    for every in ["0.05", "1000"] {
        let folder = temporary.path().join(every);
        let every = format!("--checkpoint-every={every}");
        let seldom = [every.as_str(), "--resume"];
        for _ in 0..4 {
            hits.aim(&folder, &seldom, Aim::Began(patience(&mut stream, 120)));
        }
        ends_as_truth(&folder, &seldom);
    }

    println!("{hits:?}");
    assert!(hits.kills >= 12, "{hits:?}: the test did not test");
    assert!(hits.epochs.is_superset(&(0..3).collect()), "{hits:?}");
    assert!(hits.evaluations >= 1 && hits.writings >= 1, "{hits:?}");
}

/// A run asked to stop says how to go on, and one asked twice ends at once; both lose nothing.
#[test]
fn ctrl_c_finishes_the_step_saves_and_says_how_to_resume() {
    let temporary = tempfile::tempdir().unwrap();
    let truth = uninterrupted(&temporary.path().join("whole"));
    let folder = temporary.path().join("stopped");
    let extra = "--checkpoint-every=0";
    // The second time two signals are sent; the third time it is stopped while it is tested.
    for (signals, batch) in [(1, 2), (2, 4), (1, STEPS)] {
        // Before it goes on there is nobody yet who hears the signal.
        let before = life(&folder);
        let mut child = train(&folder, &[extra, "--resume"]);
        while child.try_wait().unwrap().is_none() {
            let begun = life(&folder) != before;
            if begun && manifest(&folder).is_some_and(|m| m.batch >= batch) {
                break;
            }
        }
        for _ in 0..signals {
            let pid = child.id().to_string();
            let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
            assert!(sent.success());
        }
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(130), "{said}");
        assert!(signals == 2 || said.contains("--resume --out"), "{said}");
    }
    succeeded(&train(&folder, &["--resume"]).wait_with_output().unwrap());
    assert_eq!(result(&folder), truth);
    let env = std::fs::read(folder.join("env.json")).unwrap();
    let env: serde_json::Value = serde_json::from_slice(&env).unwrap();
    let [begun, resumed] = ["command", "resumed"].map(|key| env[key].as_array().unwrap());
    assert!(begun.contains(&extra.into()));
    assert_eq!(resumed.len(), 3, "{env}");
}

#[test]
fn a_finished_run_is_not_trained_again() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("whole");
    let truth = uninterrupted(&folder);
    let steps = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    succeeded(&train(&folder, &["--resume"]).wait_with_output().unwrap());
    assert_eq!(result(&folder), truth);
    let again = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    assert_eq!(again, steps, "with the seconds of the first time");
}
