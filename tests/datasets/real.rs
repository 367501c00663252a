//! Real photographs, where they are at hand.
//!
//! Looked for in `$WHATWHERE_DATA` and `../shared/data`; where they are not, the tests say so and pass.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use whatwhere::data::{self, OpenOptions, Split, check, pack};
use whatwhere::experiment::{Run, Settings};
use whatwhere::train::Silent;

/// The folder `name` of the real data.
fn real(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("WHATWHERE_DATA").map(PathBuf::from);
    let places = given.into_iter().chain([PathBuf::from("../shared/data")]);
    let mut folders = places.map(|place| place.join(name));
    let found = folders.find(|folder| folder.join("val").is_dir());
    if found.is_none() {
        eprintln!("skipped: no {name} in $WHATWHERE_DATA or ../shared/data");
    }
    found
}

fn part(root: PathBuf) -> OpenOptions {
    OpenOptions {
        root: Some(root),
        allow_partial: true,
        ..OpenOptions::default()
    }
}

/// One image of each of 200 classes: their labels are ranks among all 1000 synsets.
#[test]
fn a_sample_of_imagenet() {
    let Some(root) = real("imagenet1k-sample") else {
        return;
    };
    let options = part(root);
    let set = data::open("imagenet", Split::Test, &options).unwrap();
    assert_eq!(
        (set.len(), set.shape(), set.classes().len()),
        (200, [224, 224, 3], 1000)
    );
    // Every fifth synset.
    let labels: Vec<u32> = (0..200).map(|i| set.label(i)).collect();
    assert!(
        labels.windows(2).all(|pair| pair[1] == pair[0] + 5),
        "{labels:?}"
    );
    let report = check::check("imagenet", &options).unwrap();
    let test = report.facts.last().unwrap();
    assert!(test.ends_with("200 JPEG, 0 damaged"), "{test}");
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.split == Split::Test && f.kind == "count")
    );
    // The same images downsampled count classes in another order.
    let small = data::open("small-imagenet32", Split::Test, &options).unwrap();
    let fox = small.classes().iter().position(|name| name == "n02119789");
    assert_eq!((small.classes().len(), fox), (1000, Some(0)));
    assert_eq!(small.len(), 200);
    assert_eq!(
        small.classes()[small.label(7) as usize],
        set.classes()[set.label(7) as usize]
    );
}

/// A network learns ten classes of 224-pixel photographs, shown at 32, from a pack of them.
#[test]
fn a_small_network_learns_from_a_pack_of_photographs() {
    let Some(root) = real("imagenette224-subset") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        size: Some(32),
        ..part(root)
    };
    for split in [Split::Train, Split::Test] {
        let source = data::open_to_pack("folder", split, &options).unwrap();
        let path = dir.path().join(pack::file_name(split));
        pack::write(source.set.as_ref(), source.shown, 0, &path, &mut |_| ()).unwrap();
    }
    let settings = Settings {
        data: Some(format!("pack:{}", dir.path().display())),
        model: Some("vgg-small".into()),
        epochs: Some(8),
        batch: Some(32),
        lr: Some(0.05),
        schedule: Some("one-cycle".into()),
        ..Settings::default()
    };
    let run = Run::new(settings).unwrap();
    assert_eq!(run.settings().augment.as_deref(), Some("resized-crop"));
    let never = AtomicBool::new(false);
    let summary = run.train(&dir.path().join("run"), false, &mut Silent, &never);
    let accuracy = summary.unwrap().unwrap().test_accuracy_mean10;
    // Guessing 200 images of ten classes has a standard deviation of 2.1 %.
    assert!(accuracy > 0.2, "{accuracy}");
}

/// All of Tiny-ImageNet that is there, decoded and counted.
#[test]
fn tiny_imagenet() {
    let Some(root) = real("tiny-imagenet-200") else {
        return;
    };
    let options = part(root);
    let report = check::check("tiny-imagenet", &options).unwrap();
    assert_eq!(report.findings, [], "{}", report.table(20));
    let set = data::open("tiny-imagenet", Split::Train, &options).unwrap();
    assert_eq!(set.len(), 500 * set.classes().len());
    let small = data::open("small-imagenet32", Split::Test, &options).unwrap();
    // The mean of 2×2 pixels, as whole numbers have it: half levels may be rounded either way twice.
    let large = data::open("tiny-imagenet", Split::Test, &options).unwrap();
    let (mut a, mut b) = (vec![0; 32 * 32 * 3], vec![0; 64 * 64 * 3]);
    small.fill(3, &mut a).unwrap();
    large.fill(3, &mut b).unwrap();
    let at = |y: usize, x: usize, c: usize| f64::from(b[(y * 64 + x) * 3 + c]);
    for (i, &value) in a.iter().enumerate() {
        let (y, x, c) = (i / 96 * 2, i / 3 % 32 * 2, i % 3);
        let mean = (at(y, x, c) + at(y, x + 1, c) + at(y + 1, x, c) + at(y + 1, x + 1, c)) / 4.0;
        assert!(
            (mean - f64::from(value)).abs() <= 1.0,
            "{i}: {mean} {value}"
        );
    }
}
