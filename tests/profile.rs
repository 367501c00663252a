//! Profiles: a network that needs to know where things are is told from one that does not.

use std::path::Path;
use std::process::Command;

use whatwhere::experiment::profile::{Profile, Regime, Row};
use whatwhere::ops::spatial_shuffle::Mode;

fn whatwhere(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_whatwhere"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.success(), said)
}

fn run(folder: &Path, line: &str) {
    let (good, said) = whatwhere(folder, &line.split_whitespace().collect::<Vec<_>>());
    assert!(good, "{line}: {said}");
}

fn refused(folder: &Path, line: &str, expected: &str) {
    let (good, said) = whatwhere(folder, &line.split_whitespace().collect::<Vec<_>>());
    assert!(!good && said.contains(expected), "{line}: {said}");
}

fn train(folder: &Path, data: &str) {
    run(
        folder,
        &format!(
            "train --quiet --data {data} --size 16 --train-images 512 --test-images 128 --epochs 3 \
             --classes 4 --out {data}"
        ),
    );
}

fn read(folder: &Path, name: &str) -> Profile {
    let text = std::fs::read_to_string(folder.join(name).join("profile.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn row(profile: &Profile, cut: u32, regime: Regime, mode: Mode, anew: bool) -> &Row {
    let wanted = |r: &&Row| (r.cut, r.regime, r.mode, r.recalibrated) == (cut, regime, mode, anew);
    profile.rows.iter().find(wanted).unwrap()
}

#[test]
fn a_network_trained_on_layout_is_told_from_one_trained_on_texture() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut lost = Vec::new();
    for data in ["layout", "texture"] {
        train(here, data);
        run(
            here,
            &format!(
                "profile {data} --quiet --cuts 21,31 --modes shuffle,crand,local(2) --draws 4 \
                 --regimes only,last,first --recalibrate 12 --out {data}-profile"
            ),
        );
        let found = read(here, &format!("{data}-profile"));
        assert!(found.baseline > 0.9, "{data}: {}", found.baseline);
        assert_eq!((found.chance, found.images), (0.25, 128));
        // Two layers, three regimes, three modes, twice; a tile of 2 covers no map of theirs.
        assert_eq!((found.rows.len(), found.skipped.len()), (36, 0));
        for row in &found.rows {
            assert_eq!(row.accuracies.len(), 4);
            let mean = row.accuracies.iter().sum::<f64>() / 4.0;
            assert!((mean - row.mean).abs() < 1e-12);
            assert!((row.change - (mean - found.baseline)).abs() < 1e-12);
        }
        let full = row(&found, 21, Regime::Only, Mode::Shuffle, true);
        lost.push(-full.change / (found.baseline - found.chance));
    }
    // A generated layout is known by positions alone, a texture without them.
    assert!(lost[0] > 0.7, "layout lost {}", lost[0]);
    assert!(lost[1] < 0.35, "texture lost {}", lost[1]);

    let profile = "profile layout --quiet --cuts 21 --modes shuffle --draws 4 --out again";
    run(here, profile);
    let (again, before) = (read(here, "again"), read(here, "layout-profile"));
    // The same draws of the same layer, whatever else is measured beside it.
    let of = |p: &Profile| row(p, 21, Regime::Only, Mode::Shuffle, false).clone();
    assert_eq!(of(&again), of(&before));
    // Finished layers are not measured again, whatever their numbers.
    let path = here.join("again/profile.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"mean\": 0.", "\"mean\": 7.", 1)).unwrap();
    run(here, profile);
    assert!(read(here, "again").rows[0].mean >= 7.0);
    let csv = std::fs::read_to_string(here.join("again/profile.csv")).unwrap();
    assert_eq!(csv.lines().count(), 3);
    assert!(csv.starts_with("layer,regime,mode,recalibrated,height,width,channels,bits,accuracy"));
    let page = std::fs::read_to_string(here.join("again/profile.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);

    refused(
        here,
        "profile layout --draws 3 --cuts 21 --out again",
        "other weights or with other",
    );
    refused(here, "profile layout --draws 0", "draws = 0");
    refused(here, "profile layout --cuts 43", "vgg-small has the layers");
    refused(here, "profile layout --modes jigsaw", "jigsaw");
    refused(here, "profile layout --regimes some", "some");
    refused(
        here,
        "profile layout --remove shuffle --cut 31",
        "nothing was done",
    );
    refused(here, "profile", "--pretrained FILE");
    refused(here, "profile absent", "there is no run here");
}
