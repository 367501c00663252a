//! The examples run, and show what their first lines promise.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What an example prints, with `folder` for its temporary files. Cargo builds examples with the tests,
/// beside them.
fn output(name: &str, folder: &Path) -> String {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let example: PathBuf = profile.join("examples").join(name);
    let output = Command::new(&example).env("TMPDIR", folder).output();
    let output = output.unwrap_or_else(|e| {
        panic!(
            "{}: {e}; cargo build --examples builds it",
            example.display()
        )
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The numbers in a text.
fn numbers(text: &str) -> Vec<f64> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'));
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Every channel keeps its numbers and gets another order; its mean stays; the gradient of one shuffled
/// pixel is one pixel of each channel.
#[test]
fn shuffle_a_map() {
    let folder = tempfile::tempdir().unwrap();
    let text = output("shuffle_a_map", folder.path());
    let block = |title: &str| {
        let after = text
            .split_once(title)
            .unwrap_or_else(|| panic!("{title}: {text}"));
        let rows = after.1.lines().skip(1).take(3);
        // Three rows; on each, four numbers of either channel.
        let rows: Vec<Vec<f64>> = rows.map(numbers).collect();
        assert!(rows.iter().all(|row| row.len() == 8), "{text}");
        let channel =
            |c: usize| -> Vec<f64> { rows.iter().flat_map(|r| r[4 * c..][..4].to_vec()).collect() };
        [channel(0), channel(1)]
    };
    let (map, shuffled) = (block("the map"), block("shuffled: every channel"));
    for (c, (before, mut after)) in map.into_iter().zip(shuffled).enumerate() {
        let first = 100.0 * c as f64;
        assert_eq!(
            before,
            (0..12).map(|i| first + f64::from(i)).collect::<Vec<_>>()
        );
        assert_ne!(before, after);
        after.sort_by(f64::total_cmp);
        assert_eq!(before, after);
    }
    let means = text.split_once("channel means before").unwrap().1;
    let means = numbers(means.lines().next().unwrap());
    assert_eq!(means, [5.5, 105.5, 5.5, 105.5]);
    for channel in block("where the first shuffled pixel came from") {
        assert_eq!(channel.iter().filter(|&&v| v == 1.0).count(), 1);
        assert_eq!(channel.iter().filter(|&&v| v == 0.0).count(), 11);
    }
}

/// The plain network finds the classes out. The shuffled one guesses, one of eight: within four standard
/// deviations of the binomial distribution on 512 images. Both leave their weights.
#[test]
fn train_in_code() {
    let folder = tempfile::tempdir().unwrap();
    let text = output("train_in_code", folder.path());
    let (plain, shuffled) = text.split_once("shuffled from layer 12 on").unwrap();
    let last = |part: &str| {
        let mut lines = part.lines().filter(|line| line.contains("on the test set"));
        let line = lines.next_back().unwrap_or_else(|| panic!("{text}"));
        numbers(line)[1]
    };
    let (plain, shuffled) = (last(plain), last(shuffled));
    assert!(plain > 95.0, "{text}");
    let deviation = 100.0 * (0.125 * 0.875 / 512f64).sqrt();
    assert!((shuffled - 12.5).abs() < 4.0 * deviation, "{text}");
    let weights = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("weights in "));
    let weights: Vec<&Path> = weights.map(Path::new).collect();
    assert_eq!(weights.len(), 2, "{text}");
    assert!(
        weights
            .iter()
            .all(|file| file.starts_with(folder.path()) && file.is_file())
    );
}

/// A kernel of one's own passes on every device there is.
#[test]
fn your_own_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let text = output("your_own_kernel", folder.path());
    let rows: Vec<&str> = text.lines().filter(|l| l.starts_with("gate")).collect();
    let least = if whatwhere::kernels::emulator::is_available() {
        3
    } else {
        2
    };
    assert!(rows.len() >= least, "{text}");
    assert!(rows.iter().all(|row| row.ends_with("pass")), "{text}");
}
