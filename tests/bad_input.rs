//! Bad input to the program: one clear line each, a failing exit code, and nothing left behind.

use std::path::Path;
use std::process::Command;

/// Runs the program in `folder`; gives its exit code and what it said on standard error.
fn whatwhere(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_whatwhere"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said)
}

fn refused(folder: &Path, arguments: &[&str], expected: &str) {
    let (code, said) = whatwhere(folder, arguments);
    assert_ne!(code, Some(0), "{arguments:?} was accepted");
    let last = said.lines().filter(|l| l.starts_with("error")).count();
    assert_eq!(last, 1, "{arguments:?} said {said}");
    assert!(said.contains(expected), "{arguments:?} said {said}");
}

const TINY: [&str; 6] = [
    "train",
    "--data=layout",
    "--size=16",
    "--train-images=32",
    "--test-images=32",
    "--epochs=1",
];

fn with<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    TINY.iter().chain(extra).copied().collect()
}

#[test]
fn settings_that_cannot_be_used_are_named_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, expected) in [
        (&["--model=vgg17"][..], "vgg17"),
        (&["--data=mnist"], "mnist"),
        (&["--remove=blur"], "blur"),
        (&["--mode=jigsaw"], "jigsaw"),
        (&["--mode=local(0)"], "local(0)"),
        (&["--cut=43"], "vgg-small has the layers 11 12 21 22 31 32"),
        (&["--cut=21", "--mode=local(3)"], "3×3"),
        (&["--cut=21", "--layers=only", "--remove=gap-fc"], "gap-fc"),
        (&["--layers=some"], "some"),
        (&["--scope=world"], "world"),
        (&["--when=never"], "never"),
        (&["--pool=median"], "median"),
        (&["--schedule=cosine"], "cosine"),
        (&["--augment=cutout"], "cutout"),
        (&["--augment=crop-flip"], "mirror"),
        (&["--device=tpu"], "tpu"),
        (&["--device=cuda:x"], "cuda:x"),
        (&["--device=cuda:-1"], "cuda:-1"),
        (&["--device=cuda:99"], "cuda:99"),
        (&["--dtype=f8"], "f8"),
        (&["--lr=-1"], "lr"),
        (&["--momentum=2"], "momentum"),
        (&["--epochs=many"], "epochs"),
        (&["--batch=0"], "batch"),
        (&["--epochs=0"], "epochs"),
        (&["--batch=64"], "32 images"),
        (&["--width=0"], "width"),
        (&["--classes=99"], "classes"),
        (&["--size=17"], "size"),
        (&["--limit-batches=0"], "limit-batches"),
        (&["--threads=0"], "threads"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--config=absent.toml"], "absent.toml"),
    ] {
        refused(folder.path(), &with(flags), expected);
    }
    let left: Vec<_> = walk(folder.path());
    let lock_only = left.iter().all(|name| name.ends_with("lock"));
    assert!(lock_only, "left behind: {left:?}");
}

fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => names.extend(walk(&path)),
            false => names.push(path.display().to_string()),
        }
    }
    names
}

#[test]
fn config_files_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let config = |text: &str| std::fs::write(folder.path().join("c.toml"), text).unwrap();
    for (text, expected) in [
        ("version = 2\n", "version"),
        ("epoch = 3\n", "epoch"),
        ("lr = \"fast\"\n", "lr"),
        ("not toml", "c.toml"),
    ] {
        config(text);
        refused(folder.path(), &with(&["--config=c.toml"]), expected);
    }
}

#[test]
fn folders_in_use_occupied_or_unwritable_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (code, said) = whatwhere(here, &with(&["--out=run", "--quiet"]));
    assert_eq!(code, Some(0), "{said}");
    refused(here, &with(&["--out=run"]), "--resume");
    refused(
        here,
        &with(&["--out=run", "--resume", "--seed=7"]),
        "other settings",
    );
    let lock = std::fs::File::create(here.join("run/lock")).unwrap();
    lock.lock().unwrap();
    refused(
        here,
        &with(&["--out=run", "--resume"]),
        "another run is using",
    );
    drop(lock);
    std::fs::write(here.join("file"), "").unwrap();
    refused(here, &with(&["--out=file/run"]), "file/run");
    refused(here, &with(&["--out=/dev/full/run"]), "/dev/full");
    refused(here, &["eval", "absent"], "absent");
    refused(
        here,
        &["eval", "run", "--weights=absent.safetensors"],
        "absent.safetensors",
    );
    refused(here, &["eval", "run", "--passes=0"], "passes");
    refused(here, &["eval", "run", "--width=2"], "shape");
}

#[test]
fn damaged_and_foreign_checkpoints_are_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (code, said) = whatwhere(here, &with(&["--out=run", "--quiet"]));
    assert_eq!(code, Some(0), "{said}");
    let manifest = here.join("run/checkpoint/checkpoint.json");
    let whole = std::fs::read_to_string(&manifest).unwrap();
    let resume = with(&["--out=run", "--resume"]);
    for (text, expected) in [
        (
            whole.replace("\"version\": 1", "\"version\": 9"),
            "version 9",
        ),
        (whole[..whole.len() / 2].to_owned(), "manifest"),
        ("{}".to_owned(), "manifest"),
        (
            whole.replacen("\"settings\": \"", "\"settings\": \"0", 1),
            "other settings",
        ),
    ] {
        std::fs::write(&manifest, &text).unwrap();
        refused(here, &resume, expected);
        assert_eq!(std::fs::read_to_string(&manifest).unwrap(), text);
    }
    std::fs::write(&manifest, &whole).unwrap();
    let tensors = walk(&here.join("run/checkpoint"));
    let tensors = tensors
        .iter()
        .find(|n| n.ends_with(".safetensors"))
        .unwrap();
    let bytes = std::fs::read(tensors).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&flipped[..], &bytes[..bytes.len() / 2]] {
        std::fs::write(tensors, damaged).unwrap();
        refused(here, &resume, "damaged checkpoint: SHA-256");
    }
    std::fs::write(here.join("run/best.safetensors"), b"not safetensors").unwrap();
    refused(here, &["eval", "run"], "safetensors");
}

/// A full disk: the files a run writes go to a file system of 64 KiB.
#[test]
fn a_full_disk_is_said_and_the_old_checkpoint_stays() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&small)
        .output()
        .is_ok_and(|o| o.status.success());
    if !mounted {
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let out = format!("--out={}", small.join("run").display());
    let (code, said) = whatwhere(folder.path(), &with(&[&out, "--quiet"]));
    let left = walk(&small);
    let unmounted = Command::new("umount").arg(&small).status().unwrap();
    assert!(unmounted.success());
    assert_ne!(code, Some(0));
    assert!(said.contains("No space left"), "{said}");
    assert!(!left.iter().any(|n| n.ends_with(".partial")), "{left:?}");
}
