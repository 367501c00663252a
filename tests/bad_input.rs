//! Bad input to the program: one clear line each, a failing exit code, and nothing left behind.

#![cfg(unix)]

use std::fs::Permissions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

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
        (&["--remove=none", "--cut=43"], "vgg-small has the layers"),
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
        (
            &["--model=resnet50", "--cut=14"],
            "resnet50 has the layers 0 10 11 12 20",
        ),
        (
            &["--model=resnet152", "--cut=100"],
            "resnet152 has the layers 200 201",
        ),
        (&["--cut=21", "--layers=band", "--last=77"], "last = 77"),
        (&["--cut=21", "--layers=band", "--last=12"], "last = 12"),
        (&["--cut=21", "--test-mode=jigsaw"], "jigsaw"),
        (&["--train-images=0"], "train-images = 0"),
        (&["--test-images=0"], "test-images = 0"),
        (&["--test-batch=0"], "test-batch = 0"),
        (&["--label-smoothing=2"], "label-smoothing = 2"),
        (&["--lr=nan"], "lr = NaN"),
        (&["--width=nan"], "width = NaN"),
        (&["--checkpoint-every=nan"], "checkpoint-every = NaN"),
        (&["--milestones=a"], "--milestones"),
        (&["--seed=-1"], "--seed"),
        (&["--threads=100000"], "1 to 1024"),
        // A single value per channel cannot be normalised: with every batch, or with the last.
        (
            &["--cut=21", "--remove=gap-fc", "--batch=1"],
            "layer 21 cannot normalise a single value",
        ),
        (
            &["--cut=21", "--remove=gap-fc", "--batch=31"],
            "layer 21 cannot normalise a single value",
        ),
    ] {
        refused(folder.path(), &with(flags), expected);
    }
    nothing_in(folder.path());
}

fn nothing_in(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn other_commands_name_what_they_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["data", "check", "mnist"][..], "data = mnist"),
        (&["data", "check", "layout", "--size=17"], "size = 17"),
        (&["data", "check", "layout", "--count=0"], "count = 0"),
        (&["data", "check", "layout", "--classes=99"], "classes = 99"),
        (
            &["data", "check", "layout", "--threads=0"],
            "expected 1 to 1024",
        ),
        (&["data", "check", "cifar100"], "needs --root"),
        (&["data", "preview", "layout", "--split=val"], "split = val"),
        (
            &["data", "preview", "layout", "--out=absent/a.png"],
            "absent/a.png",
        ),
        (&["data", "check", "camvid"], "needs --root"),
        (
            &["data", "check", "broden", "--root=absent"],
            "absent/c_object.csv",
        ),
        (&["data", "preview", "street", "--size=8"], "size = 8x16"),
        (&["data", "preview", "street", "--plant=bus"], "bus-windows"),
        (
            &["data", "preview", "street", "--split=all"],
            "train, val or test",
        ),
        (&["data", "check", "street", "--classes=3"], "classes = 3"),
        (&["eval", "absent"], "absent: there is no run here"),
        (&["eval"], "weights with --pretrained FILE"),
        (&["eval", "--pretrained=absent"], "absent: cannot read"),
        (&["train", "--pretrained=absent"], "absent: cannot read"),
        (&["weights", "absent"], "absent: cannot read"),
        (&["report", "absent"], "absent"),
        (&["report", "."], "no finished run here"),
        (&["sweep", "--cuts=77"], "cut = 77"),
        (&["sweep", "--cuts=some"], "--cuts"),
        (&["sweep", "--datasets=mnist"], "data = mnist"),
        (&["sweep", "--modes=jigsaw"], "mode = jigsaw"),
        (&["sweep", "--removals=blur"], "remove = blur"),
        (&["frobnicate"], "frobnicate"),
    ] {
        refused(folder.path(), arguments, expected);
    }
    nothing_in(folder.path());
}

/// The files of CIFAR-100 in every state they can be in, for training and for `data check`.
#[test]
fn real_data_that_is_not_whole_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let data = here.join("data/cifar-100-binary");
    let both = |expected: &str| {
        let train = ["train", "--data=cifar100", "--root=data", "--out=run"];
        for arguments in [&train[..], &["data", "check", "cifar100", "--root=data"]] {
            refused(here, arguments, expected);
        }
        assert!(!here.join("run").exists(), "{expected}");
    };
    let names = |file: &str, count: usize| {
        let lines: String = (0..count).map(|i| format!("class{i}\n")).collect();
        std::fs::write(data.join(file), lines).unwrap();
    };
    // Files of zeros take no room on the disk.
    let train = |bytes: u64| {
        let file = std::fs::File::create(data.join("train.bin")).unwrap();
        file.set_len(bytes).unwrap();
        file
    };
    both("data: no such folder");
    std::fs::create_dir_all(&data).unwrap();
    both("fine_label_names.txt: the file is missing");
    names("fine_label_names.txt", 99);
    both("expected 100 class names, one a line, found 99");
    names("fine_label_names.txt", 100);
    both("train.bin: the file is missing");
    train(0);
    both("train.bin: zero images: expected 153700000 bytes");
    train(3074 * 100);
    both("found 307400 bytes (100 records and 0 bytes)");
    train(3073 * 50_000);
    both("train.bin: truncated inside record 49983");
    train(3074 * 50_001);
    both("train.bin: oversized: expected 153700000 bytes");
    let whole = train(3074 * 50_000);
    both("test.bin: the file is missing");
    whole.write_all_at(&[200], 3074 * 7 + 1).unwrap();
    both("train.bin: record 7 (the first is 0): fine label 200 is out of range, expected 0 to 99");
}

/// A loss that is no number ends the run where it is seen, and names the layer.
#[test]
fn a_run_that_diverges_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    for (epochs, out) in [("--epochs=1", "one"), ("--epochs=9", "nine")] {
        let flags = ["--lr=1e300", "--schedule=constant", "--batch=16", epochs];
        let flags = [&flags[..], &["--out", out]].concat();
        refused(folder.path(), &with(&flags), "first seen in layer 11");
        assert!(!folder.path().join(out).join("summary.json").exists());
    }
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
        (
            "version = 2\n",
            "c.toml: version = 2, but this program reads version 1",
        ),
        ("\nepoch = 3\n", "c.toml: line 2: unknown field `epoch`"),
        (
            "lr = \"fast\"\n",
            "c.toml: line 1: invalid type: string \"fast\"",
        ),
        ("not toml", "c.toml: line 1: key with no value"),
        ("model = \"vgg17\"\n", "model = vgg17"),
    ] {
        config(text);
        refused(folder.path(), &with(&["--config=c.toml"]), expected);
    }
    refused(folder.path(), &with(&["--config=."]), ".: cannot read");
    assert_eq!(walk(folder.path()).len(), 1, "only c.toml");
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
    refused(
        here,
        &["eval", "run", "--weights=absent.safetensors"],
        "absent.safetensors",
    );
    refused(here, &["eval", "run", "--passes=0"], "passes");
    refused(here, &["eval", "run", "--threads=0"], "threads");
    refused(here, &["eval", "run", "--test-images=0"], "test-images = 0");
    for foreign in ["--width=2", "--model=resnet-small", "--data=quadrant"] {
        let said = "run/best.safetensors: ";
        refused(here, &["eval", "run", foreign], said);
    }
    let config = here.join("run/config.toml");
    let newer = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, newer.replace("version = 1", "version = 7")).unwrap();
    for arguments in [&["eval", "run"][..], &with(&["--out=run", "--resume"])] {
        refused(here, arguments, "run/config.toml: version = 7");
    }
}

/// Permissions do not bind root, for whom this is skipped.
#[test]
fn a_folder_without_write_permission_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let mode = |bits| std::fs::set_permissions(&closed, Permissions::from_mode(bits)).unwrap();
    mode(0o555);
    if std::fs::write(closed.join("probe"), "").is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    let said = "closed/run: cannot create: Permission denied";
    refused(folder.path(), &with(&["--out=closed/run"]), said);
    mode(0o755);
    nothing_in(&closed);
}

/// Of two runs that are begun in one folder at one time, one is refused.
#[test]
fn two_runs_in_one_folder_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_whatwhere"))
            .current_dir(folder.path())
            .args(with(&["--out=run", "--quiet", "--epochs=4"]))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let both = [run(), run()].map(|child| child.wait_with_output().unwrap());
    let (done, refused): (Vec<_>, Vec<_>) = both.iter().partition(|o| o.status.success());
    assert_eq!((done.len(), refused.len()), (1, 1));
    let said = String::from_utf8_lossy(&refused[0].stderr);
    let known = ["another run is using", "already holds a run"];
    assert!(known.iter().any(|k| said.contains(k)), "{said}");
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

/// Results that cannot be written are an error, results nobody reads are not; neither is a panic.
#[test]
fn full_and_closed_outputs_are_no_crash() {
    let folder = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whatwhere"));
        command.current_dir(folder.path()).args(arguments);
        command
    };
    let full = || std::fs::File::options().write(true).open("/dev/full");
    let dry_run = with(&["--dry-run"]);
    for arguments in [&["data", "list"][..], &dry_run] {
        let mut child = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert!(child.wait().unwrap().success(), "{arguments:?}");
        let Ok(full) = full() else { continue };
        let output = command(arguments).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: standard output"), "{said}");
    }
    if let Ok(full) = full() {
        let train = command(&with(&["--out=run"])).stderr(full).output();
        assert!(train.unwrap().status.success());
    }
}

/// A disk that takes no file above 16 KiB, by the limit every Unix has. The old checkpoint stays, and
/// the run can go on from it elsewhere.
#[test]
fn files_that_cannot_grow_are_named_and_the_old_checkpoint_stays() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let within_16k = |arguments: &[&str]| {
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_whatwhere"))
            .args(arguments)
            .current_dir(here)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot write: File too large"), "{said}");
        assert_eq!(said.matches("error").count(), 2, "the line and its number");
        let left = walk(here);
        assert!(!left.iter().any(|n| n.ends_with(".partial")), "{left:?}");
    };
    within_16k(&with(&["--out=small", "--quiet"]));
    assert!(!here.join("small/checkpoint/checkpoint.json").exists());

    let flags = with(&["--out=run", "--epochs=20", "--quiet", "--resume"]);
    let often = [&flags[..], &["--checkpoint-every=0"]].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_whatwhere"))
        .current_dir(here)
        .args(&often)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !here.join("run/checkpoint/checkpoint.json").exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let checkpoint = || -> Vec<Vec<u8>> {
        let mut files = walk(&here.join("run/checkpoint"));
        files.retain(|name| !name.ends_with(".partial"));
        files.sort();
        files.iter().map(|n| std::fs::read(n).unwrap()).collect()
    };
    // Killed between two files, it may hold the tensors of two steps; the next save clears up.
    let before = checkpoint();
    within_16k(&often);
    for file in &before {
        assert!(checkpoint().contains(file), "a checkpoint file changed");
    }
    let (code, said) = whatwhere(here, &flags);
    assert_eq!(code, Some(0), "{said}");
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
