//! Sweeps through the program: the truth on generated data, going on after a kill, nothing done twice.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use whatwhere::experiment::SweepResult;

fn sweep(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_whatwhere"));
    command
        .current_dir(folder)
        .arg("sweep")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end; gives both outputs.
fn done(mut command: Command) -> (String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, said) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{said}");
    (out, said)
}

fn result(folder: &Path) -> SweepResult {
    serde_json::from_slice(&std::fs::read(folder.join("sweep.json")).unwrap()).unwrap()
}

/// What the program exists for. Shuffling from layer 21 on, where a unit has seen 3 pixels (at 16 px no
/// window tells the classes of `layout` apart): chance for `layout`, nothing lost for `texture`.
#[test]
fn layout_falls_to_its_ceiling_and_texture_stays() {
    let temporary = tempfile::tempdir().unwrap();
    let here = temporary.path();
    done(sweep(here, &["--size=16", "--cuts=99,12", "--out=s"]));
    let found = result(&here.join("s"));
    assert_eq!((found.finished, found.total), (4, 4));
    for curve in &found.curves {
        let [untouched, shuffled] = &curve.points[..] else {
            panic!("two cuts gave {} points", curve.points.len())
        };
        assert!(untouched.mean > 0.97, "{}: {}", curve.data, untouched.mean);
        match curve.data.as_str() {
            "texture" => assert!(shuffled.mean > 0.97, "texture fell to {}", shuffled.mean),
            // 512 test images, the best of six epochs: four deviations of a binomial above 1/8.
            _ => assert!(
                shuffled.mean < 0.125 + 4.0 * 0.0146,
                "layout kept {}",
                shuffled.mean
            ),
        }
    }
    let page = std::fs::read_to_string(here.join("s/report.html")).unwrap();
    assert!(page.contains("whatwhere sweep --size=16 --cuts=99,12 --out=s"));
    assert_eq!(page.matches("<svg").count(), 4);
    for outside in ["src=", "href=", "@import", "url("] {
        assert!(
            !page.contains(outside),
            "the page is not self-contained: {outside}"
        );
    }
}

const TINY: [&str; 8] = [
    "--datasets=layout",
    "--size=16",
    "--train-images=64",
    "--test-images=32",
    "--width=0.5",
    "--epochs=2",
    "--seeds=0,1",
    "--out=s",
];

#[test]
fn killed_it_goes_on_and_does_nothing_twice() {
    let temporary = tempfile::tempdir().unwrap();
    let here = temporary.path();
    let arguments = [&TINY[..], &["--cuts=99,22", "--checkpoint-every=0"]].concat();
    let mut kills = 0;
    for patience in (1..).map(|n| 25 * n) {
        let mut child = sweep(here, &arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(patience));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0, "the test did not test");
    let (broken, said) = done(sweep(here, &arguments));
    assert_eq!(said.matches("was finished").count(), 4, "{said}");
    let summaries = |folder: &Path| -> Vec<(Vec<u8>, SystemTime)> {
        let mut runs: Vec<_> = std::fs::read_dir(folder.join("s/runs"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        runs.sort();
        let read = |path: std::path::PathBuf| {
            let weights = path.join("best.safetensors");
            let changed = std::fs::metadata(&weights).unwrap().modified().unwrap();
            (std::fs::read(weights).unwrap(), changed)
        };
        runs.into_iter().map(read).collect()
    };
    let before = summaries(here);
    done(sweep(here, &arguments));
    assert_eq!(summaries(here), before, "a finished run was trained again");

    let other = tempfile::tempdir().unwrap();
    let (whole, _) = done(sweep(other.path(), &arguments));
    assert_eq!(broken, whole, "the tables differ");
    let weights = |folder: &Path| summaries(folder).into_iter().map(|(w, _)| w);
    assert!(weights(here).eq(weights(other.path())));
}

#[test]
fn what_cannot_be_is_said_first() {
    let temporary = tempfile::tempdir().unwrap();
    let here = temporary.path();
    for (flags, expected) in [
        (&["--cuts=99,43"][..], "cut = 43"),
        (&["--cut=21"], "--cuts"),
        (&["--modes=jigsaw"], "jigsaw"),
        (&["--removals=blur"], "blur"),
        (&["--datasets=mnist"], "mnist"),
        (&["--datasets=layout,cifar100"], "--root"),
        (&["--datasets=cifar100", "--root=nowhere"], "nowhere"),
        (&["--seeds=one"], "one"),
        (&["--config=absent.toml"], "absent.toml"),
    ] {
        let output = sweep(here, &[&["--out=s"], flags].concat())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains(expected),
            "{flags:?}: {said}"
        );
        assert!(!here.join("s").exists(), "{flags:?} left a folder");
    }
    done(sweep(here, &[&TINY[..], &["--cuts=99"]].concat()));
    let again = sweep(here, &[&TINY[..], &["--cuts=99", "--lr=0.01"]].concat())
        .output()
        .unwrap();
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        said.contains("other settings") && said.contains("--out"),
        "{said}"
    );
    let report = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whatwhere"));
        command
            .current_dir(here)
            .arg("report")
            .args(arguments)
            .output()
            .unwrap()
    };
    assert!(report(&["s", "--out=page.html"]).status.success());
    assert!(here.join("page.html").exists());
    assert!(report(&["s/runs/layout-none-cut99-seed1"]).status.success());
    for absent in ["absent", "."] {
        std::fs::remove_dir_all(here.join("s")).ok();
        assert!(!report(&[absent]).status.success(), "{absent}");
    }
}
