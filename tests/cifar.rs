//! The CIFAR readers: round trips, every kind of bad file, and the real thing where it is at hand.

use std::fs;
use std::path::{Path, PathBuf};

use whatwhere::data::cifar::{self, Cifar, CifarOptions};
use whatwhere::data::{self, Dataset, Normalise, OpenOptions, Split};

const PARTIAL: CifarOptions = CifarOptions {
    allow_partial: true,
};
const STRICT: CifarOptions = CifarOptions {
    allow_partial: false,
};

/// Writes `count` records of CIFAR-100 whose bytes are easy to predict, with the class names.
fn fake_cifar100(folder: &Path, file: &str, count: usize) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let names = |n: usize| (0..n).map(|i| format!("class {i}\n")).collect::<String>();
    fs::write(folder.join("fine_label_names.txt"), names(100)).unwrap();
    fs::write(folder.join("coarse_label_names.txt"), names(20) + "\n").unwrap();
    let mut bytes = Vec::new();
    for record in 0..count {
        bytes.extend([(record % 20) as u8, (record * 7 % 100) as u8]);
        bytes.extend((0..3072).map(|i| (record + i / 1024 * 50 + i % 1024 / 8) as u8));
    }
    let path = folder.join(file);
    fs::write(&path, bytes).unwrap();
    path
}

/// The error of loading CIFAR-100's training images must contain all of `parts`.
fn refused(root: &Path, options: CifarOptions, parts: &[&str]) {
    let error = cifar::load(Cifar::Hundred, root, Split::Train, options)
        .unwrap_err()
        .to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[test]
fn cifar_100_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("cifar-100-binary");
    fake_cifar100(&inner, "test.bin", 30);
    for root in [dir.path(), &inner] {
        let set = cifar::load(Cifar::Hundred, root, Split::Test, PARTIAL).unwrap();
        assert_eq!(
            (set.len(), set.shape(), set.classes().len()),
            (30, [32, 32, 3], 100)
        );
        let labels: Vec<u32> = (0..30).map(|i| i * 7 % 100).collect();
        assert_eq!(set.labels(), labels);
        assert_eq!(set.classes()[42], "class 42");
        // Pixel (2, 9) of image 5 is number 73 of its plane: 5 + 50c + 73 / 8.
        assert_eq!(set.image(5)[(2 * 32 + 9) * 3..][..3], [14, 64, 114]);
        assert_eq!(set.normalise(), Normalise::CIFAR);
    }
    let coarse = cifar::load(Cifar::HundredCoarse, &inner, Split::Test, PARTIAL).unwrap();
    assert_eq!((coarse.labels()[25], coarse.classes().len()), (5, 20));
}

#[test]
fn cifar_10_round_trip_reads_the_batches_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&folder).unwrap();
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    fs::write(folder.join("batches.meta.txt"), names).unwrap();
    for batch in 1..=5u8 {
        let record = |i: u8| [vec![batch + i], vec![batch * 10 + i; 3072]].concat();
        let bytes = [record(0), record(1)].concat();
        fs::write(folder.join(format!("data_batch_{batch}.bin")), bytes).unwrap();
    }
    let set = cifar::load(Cifar::Ten, dir.path(), Split::Train, PARTIAL).unwrap();
    assert_eq!(set.labels(), [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]);
    assert_eq!(set.image(7), [41; 3072]);
    assert_eq!(set.classes()[6], "frog");
    fs::remove_file(folder.join("data_batch_4.bin")).unwrap();
    let error = cifar::load(Cifar::Ten, dir.path(), Split::Train, PARTIAL).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("data_batch_4.bin: the file is missing"),
        "{error}"
    );
}

#[test]
fn missing_folders_and_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    refused(
        &dir.path().join("nowhere"),
        STRICT,
        &["nowhere: no such folder", "--root"],
    );
    refused(
        dir.path(),
        STRICT,
        &["expected the folder cifar-100-binary", "train.bin"],
    );
    fs::create_dir(dir.path().join("cifar-100-python")).unwrap();
    refused(
        dir.path(),
        STRICT,
        &["cifar-100-python is another format", "binary version"],
    );
    let inner = dir.path().join("cifar-100-binary");
    fake_cifar100(&inner, "test.bin", 1);
    refused(
        dir.path(),
        STRICT,
        &["train.bin: the file is missing", "unpack"],
    );
    refused(&inner, STRICT, &["the file train.bin is missing"]);
    fs::remove_file(inner.join("fine_label_names.txt")).unwrap();
    refused(
        dir.path(),
        PARTIAL,
        &["fine_label_names.txt: the file is missing", "again"],
    );
}

#[test]
fn files_of_a_wrong_size_are_refused_each_in_its_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = fake_cifar100(dir.path(), "train.bin", 3);
    let expected = "expected 153700000 bytes (50000 records of 3074)";
    let short = [
        "truncated: ",
        expected,
        "found 9222 bytes (3 records",
        "partial",
    ];
    refused(dir.path(), STRICT, &short);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..7000]).unwrap();
    for options in [STRICT, PARTIAL] {
        refused(
            dir.path(),
            options,
            &["truncated inside record 2", expected, "found 7000 bytes"],
        );
    }
    fs::write(&path, []).unwrap();
    refused(dir.path(), PARTIAL, &["zero images", expected]);
    // A sparse file: as large as it says, without the bytes.
    fs::File::create(&path)
        .unwrap()
        .set_len(153_700_001)
        .unwrap();
    refused(
        dir.path(),
        PARTIAL,
        &["oversized", expected, "(50000 records and 1 bytes)"],
    );
}

#[test]
fn wrong_labels_and_class_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = fake_cifar100(dir.path(), "train.bin", 3);
    let mut bytes = fs::read(&path).unwrap();
    bytes[2 * 3074 + 1] = 100;
    fs::write(&path, &bytes).unwrap();
    refused(
        dir.path(),
        PARTIAL,
        &["train.bin: record 2", "fine label 100", "expected 0 to 99"],
    );
    bytes[3074] = 20;
    fs::write(&path, &bytes).unwrap();
    refused(
        dir.path(),
        PARTIAL,
        &["record 1", "coarse label 20", "expected 0 to 19"],
    );
    fs::write(dir.path().join("fine_label_names.txt"), "apple\nbear\n").unwrap();
    refused(
        dir.path(),
        PARTIAL,
        &["fine_label_names.txt: expected 100 class names", "found 2"],
    );
}

#[test]
fn cifar_opens_by_name() {
    let dir = tempfile::tempdir().unwrap();
    fake_cifar100(dir.path(), "test.bin", 2);
    let root = Some(dir.path().to_owned());
    let partial = OpenOptions {
        root,
        allow_partial: true,
        ..Default::default()
    };
    assert_eq!(
        data::open("cifar100-coarse", Split::Test, &partial)
            .unwrap()
            .len(),
        2
    );
}
