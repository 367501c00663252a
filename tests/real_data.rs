//! The real CIFAR-100: what its readers make of it, and that a network learns from it.
//!
//! Looked for in `$WHATWHERE_DATA` and `../shared/data`, as `cifar-100-binary` or as lossless WebP
//! strips (a file per class, images stacked), which are laid out as the original first. Where there is
//! neither, the tests say so and pass.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use whatwhere::data::cifar::{self, Cifar, CifarOptions};
use whatwhere::data::{Dataset, ImageSet, Normalise, Split};
use whatwhere::experiment::{Run, Settings};
use whatwhere::train::Silent;

/// The folder that holds `cifar-100-binary`.
fn root() -> Option<&'static PathBuf> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = ROOT.get_or_init(|| {
        let given = std::env::var_os("WHATWHERE_DATA").map(PathBuf::from);
        let places = given.into_iter().chain([PathBuf::from("../shared/data")]);
        for place in places {
            if place.join("cifar-100-binary/train.bin").is_file() {
                return Some(place);
            }
            if place.join("cifar100/train-a").is_dir() {
                return Some(lay_out(&place.join("cifar100")));
            }
        }
        None
    });
    if found.is_none() {
        eprintln!("skipped: no CIFAR-100 in $WHATWHERE_DATA or ../shared/data");
    }
    found.as_ref()
}

/// Writes the strips as the original's binary version, images of all classes in turn.
fn lay_out(strips: &Path) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let folder = root.join("cifar-100-binary");
    std::fs::create_dir_all(&folder).unwrap();
    let coarse: Vec<u8> = std::fs::read_to_string(strips.join("fine_to_coarse.tsv"))
        .unwrap()
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
        .collect();
    assert_eq!(coarse.len(), 100);
    for (name, parts) in [
        ("train.bin", &["train-a", "train-b"][..]),
        ("test.bin", &["test"]),
    ] {
        let strips: Vec<Vec<Vec<u8>>> = parts.iter().map(|p| classes(&strips.join(p))).collect();
        let images = parts.len() * strips[0][0].len() / (32 * 32 * 3);
        let mut records = Vec::new();
        for i in 0..images {
            for fine in 0..100 {
                let strip = &strips[i % parts.len()][fine];
                let image = &strip[(i / parts.len()) * 3072..][..3072];
                records.extend([coarse[fine], fine as u8]);
                for channel in 0..3 {
                    records.extend(image.iter().skip(channel).step_by(3));
                }
            }
        }
        std::fs::write(folder.join(name), records).unwrap();
    }
    for name in ["fine_label_names.txt", "coarse_label_names.txt"] {
        std::fs::copy(strips.join(name), folder.join(name)).unwrap();
    }
    root
}

/// The decoded strips of a folder, in the order of the classes.
fn classes(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    let decode = |path: &PathBuf| {
        let file = BufReader::new(std::fs::File::open(path).unwrap());
        let mut decoder = image_webp::WebPDecoder::new(file).unwrap();
        let mut pixels = vec![0; decoder.output_buffer_size().unwrap()];
        decoder.read_image(&mut pixels).unwrap();
        assert!(!decoder.has_alpha() && decoder.dimensions().0 == 32);
        pixels
    };
    paths.iter().map(decode).collect()
}

/// Class counts, and the constants everybody quotes for its training images.
#[test]
fn the_real_cifar_100() {
    let Some(root) = root() else { return };
    let options = CifarOptions {
        allow_partial: false,
    };
    for (split, each) in [(Split::Train, 500), (Split::Test, 100)] {
        let set = cifar::load(Cifar::Hundred, root, split, options).unwrap();
        let mut counts = [0; 100];
        set.labels()
            .iter()
            .for_each(|&label| counts[label as usize] += 1);
        assert_eq!(counts, [each; 100]);
        assert_eq!(
            (set.classes()[0].as_str(), set.classes()[99].as_str()),
            ("apple", "worm")
        );
        if split == Split::Train {
            check_moments(&set, Normalise::CIFAR100);
        }
    }
}

fn check_moments(set: &ImageSet, expected: Normalise) {
    for channel in 0..3 {
        let (mut sum, mut squares, mut count) = (0u64, 0u64, 0u64);
        for &value in set.images().iter().skip(channel).step_by(3) {
            sum += value as u64;
            squares += value as u64 * value as u64;
            count += 1;
        }
        let mean = sum as f64 / count as f64;
        let std = (squares as f64 / count as f64 - mean * mean).sqrt();
        assert!(
            (mean / 255.0 - expected.mean[channel] as f64).abs() < 5e-4,
            "mean {mean}"
        );
        assert!(
            (std / 255.0 - expected.std[channel] as f64).abs() < 5e-4,
            "std {std}"
        );
    }
}

/// Three hundred steps on 20 coarse classes: well above the 5 % of guessing, shuffled late or not.
#[test]
fn a_small_network_learns_from_photographs() {
    let Some(root) = root() else { return };
    for (name, cut) in [("intact", None), ("shuffled", Some(32))] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            data: Some("cifar100-coarse".into()),
            root: Some(root.clone()),
            model: Some("vgg-small".into()),
            cut,
            epochs: Some(2),
            batch: Some(32),
            lr: Some(0.05),
            schedule: Some("one-cycle".into()),
            train_images: Some(4800),
            test_images: Some(1000),
            ..Settings::default()
        };
        let run = Run::new(settings).unwrap();
        let never = AtomicBool::new(false);
        let summary = run.train(folder.path(), false, &mut Silent, &never);
        let accuracy = summary.unwrap().unwrap().test_accuracy_mean10;
        // Guessing has a standard deviation of 0.7 %.
        assert!(accuracy > 0.15, "{name}: {accuracy}");
    }
}
