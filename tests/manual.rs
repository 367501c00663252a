//! The commands of the manual run as written, page by page, one after the other.

use std::path::Path;
use std::process::Command;

/// The commands of a page that need no data set from elsewhere, without `cargo run --release --`.
fn commands(page: &str) -> Vec<Vec<String>> {
    let mut blocks = page.split("\n```sh\n").skip(1);
    let mut found = Vec::new();
    for block in &mut blocks {
        let block = block.split("\n```").next().unwrap();
        for line in block.lines() {
            let Some(arguments) = line.strip_prefix("cargo run --release -- ") else {
                continue;
            };
            if !arguments.contains("DATA") {
                found.push(
                    arguments
                        .split_whitespace()
                        .map(|w| w.replace('\'', ""))
                        .collect(),
                );
            }
        }
    }
    found
}

fn follow(name: &str, files: &[(&str, &str)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs").join(name)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        assert!(page.contains(text), "{name} no longer shows {file}");
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let commands = commands(&page);
    assert!(!commands.is_empty(), "{name} has no command");
    for arguments in commands {
        let output = Command::new(env!("CARGO_BIN_EXE_whatwhere"))
            .current_dir(folder.path())
            .args(&arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {arguments:?}: {said}");
    }
}

#[test]
fn training() {
    let config = "data = \"layout\"\ncut = 21\nepochs = 3\n";
    follow("training.md", &[("my.toml", config)]);
}

#[test]
fn sweeps() {
    follow("sweep.md", &[]);
}

#[test]
fn street_scenes() {
    follow("street.md", &[]);
}
