//! A run killed at any moment and resumed ends bit-equal to one that was never stopped.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use whatwhere::experiment::{RunSummary, read_history, read_summary};
use whatwhere::rng::{Key, Purpose};

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

fn uninterrupted(folder: &Path) -> Result {
    let ended = train(folder, &[]).wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    result(folder)
}

#[test]
fn killed_at_random_moments_and_resumed_it_ends_bit_equal() {
    let temporary = tempfile::tempdir().unwrap();
    let truth = uninterrupted(&temporary.path().join("whole"));
    let mut stream = Key::new(1, Purpose::Check, 0, 0).stream(0);
    let mut kills = 0;
    for (round, every) in ["0", "0", "0.05", "0.2"].iter().enumerate() {
        let folder = temporary.path().join(round.to_string());
        let extra = [&format!("--checkpoint-every={every}"), "--resume"];
        // Each life is longer than the last, so a run that saves rarely also gets to its end.
        for life in 0.. {
            let mut child = train(&folder, &extra.map(|s| s as &str));
            let patience = 10 + stream.below(60 + 40 * life) as u64;
            std::thread::sleep(Duration::from_millis(patience));
            let done = child.try_wait().unwrap();
            if done.is_none() {
                child.kill().unwrap();
                kills += 1;
            }
            let ended = child.wait_with_output().unwrap();
            match done {
                None => continue,
                Some(status) => {
                    assert!(
                        status.success(),
                        "{}",
                        String::from_utf8_lossy(&ended.stderr)
                    );
                    break;
                }
            }
        }
        assert_eq!(result(&folder), truth, "saving every {every} s");
    }
    assert!(kills >= 8, "only {kills} kills: the test did not test");
    println!("{kills} kills");
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_saves_and_says_how_to_resume() {
    let temporary = tempfile::tempdir().unwrap();
    let truth = uninterrupted(&temporary.path().join("whole"));
    let folder = temporary.path().join("stopped");
    let child = train(&folder, &["--checkpoint-every=0"]);
    while !folder.join("checkpoint/checkpoint.json").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("--resume --out"), "{said}");
    let ended = train(&folder, &["--resume"]).wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_eq!(result(&folder), truth);
}
