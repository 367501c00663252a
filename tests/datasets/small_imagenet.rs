//! The downsampled ImageNet as numpy and Python wrote it (`scripts/golden/small_imagenet.py`).

use std::fs;

use whatwhere::data::small_imagenet::{self, SmallImageNet, pickle};
use whatwhere::data::{self, Dataset, OpenOptions, Split, check};

use super::{golden, refused};

fn load(folder: &str, split: Split) -> whatwhere::Result<SmallImageNet> {
    small_imagenet::load(&golden("small_imagenet").join(folder), 32, split, true)
}

/// What the script makes: byte (i·91 + c·50 + y·3 + x·7) mod 256.
fn expected(image: usize) -> Vec<u8> {
    let pixel = |at: usize| [0, 1, 2].map(|c| image * 91 + c * 50 + at / 32 * 3 + at % 32 * 7);
    (0..1024).flat_map(pixel).map(|v| v as u8).collect()
}

#[test]
fn every_form_holds_the_same_images() {
    for (folder, split, images) in [
        ("protocol2", Split::Test, 2),
        ("protocol3", Split::Test, 2),
        ("protocol4", Split::Test, 2),
        ("npz", Split::Train, 2),
        ("npz", Split::Test, 1),
    ] {
        let set = load(folder, split).unwrap();
        assert_eq!(
            (set.len(), set.shape(), set.classes().len()),
            (images, [32, 32, 3], 1000)
        );
        let mut out = vec![0; 3072];
        for index in 0..images {
            set.fill(index, &mut out).unwrap();
            assert_eq!(out, expected(index), "{folder}, image {index}");
            assert_eq!(set.label(index), [0, 999][index]);
        }
    }
    assert_eq!(load("array_labels", Split::Test).unwrap().label(0), 6);
    assert_eq!(load("scalar_labels", Split::Test).unwrap().label(0), 6);
    // The mean in the file is that of its pixels.
    assert!(load("npz", Split::Train).unwrap().mean_error().unwrap() < 1e-9);
}

#[test]
fn what_is_no_array_is_refused_by_name_and_never_executed() {
    refused(
        load("command", Split::Test),
        &["val_data", "refused function posix.system"],
    );
    refused(load("object", Split::Test), &["val_data", "O8", "refused"]);
    refused(load("float", Split::Test), &["dtype <f4", "uint8"]);
    refused(
        load("outside", Split::Test),
        &["label 0 of image 0", "1 to 1000"],
    );
    refused(load("labels", Split::Test), &["labels", "whole numbers"]);
    refused(load("npz_object", Split::Test), &["labels.npy", "dtype |O"]);
    refused(
        load("npz", Split::Test).and_then(|_| load("none", Split::Test)),
        &["no such folder"],
    );
    let here = golden("small_imagenet").join("npz");
    refused(
        small_imagenet::load(&here, 64, Split::Test, true),
        &["12288", "images of 32×32"],
    );
    refused(
        small_imagenet::load(&here, 32, Split::Test, false),
        &["expected 50000 images", "found 1"],
    );
    let empty = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        root: Some(empty.path().to_owned()),
        ..OpenOptions::default()
    };
    let open = data::open("small-imagenet32", Split::Train, &options);
    refused(open.map(drop), &["train_data_batch_1", "image folder"]);
    // Not a zip archive under the archive's name.
    fs::write(empty.path().join("val_data.npz"), "text").unwrap();
    refused(
        small_imagenet::load(empty.path(), 32, Split::Test, true),
        &["no .npz archive"],
    );
}

#[test]
fn cut_and_changed_pickles_are_errors_and_never_a_panic() {
    for folder in ["protocol2", "protocol3", "protocol4", "array_labels"] {
        let whole = fs::read(golden("small_imagenet").join(folder).join("val_data")).unwrap();
        assert!(pickle::read(&whole).is_ok());
        for cut in (0..whole.len()).step_by(41) {
            assert!(
                pickle::read(&whole[..cut]).is_err(),
                "{folder} cut at {cut}"
            );
        }
        // The instructions are at both ends; the pixels between them are not worth changing.
        let ends = (0..160).chain(whole.len() - 120..whole.len());
        for at in ends {
            for value in [0, b'.', b'R', b'b', b'(', b't', 0x93, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = pickle::read(&bytes);
            }
        }
    }
}

#[test]
fn batches_are_found_in_folders_and_named_in_the_order_of_the_map() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("Imagenet32_train_npz");
    fs::create_dir(&part).unwrap();
    let from = golden("small_imagenet").join("npz/train_data_batch_1.npz");
    for batch in [2, 10, 1] {
        fs::copy(&from, part.join(format!("train_data_batch_{batch}.npz"))).unwrap();
    }
    let map: String = (1..=1000)
        .map(|k| format!("n{:08} {k} name\n", 9000 - k))
        .collect();
    fs::write(dir.path().join("map_clsloc.txt"), &map).unwrap();
    let set = small_imagenet::load(dir.path(), 32, Split::Train, true).unwrap();
    assert_eq!(
        (set.len(), set.batches(), set.classes()[0].as_str()),
        (6, 3, "n00008999")
    );
    let numbers = [0, 2, 4].map(|i| set.file(i).to_str().unwrap().to_owned());
    assert!(
        numbers[0].ends_with("_1.npz")
            && numbers[1].ends_with("_2.npz")
            && numbers[2].ends_with("_10.npz")
    );
    let options = OpenOptions {
        root: Some(dir.path().to_owned()),
        ..OpenOptions::default()
    };
    assert_eq!(
        data::describe("small-imagenet32", &options).unwrap(),
        ([32, 32, 3], 1000)
    );
    let report = check::check("small-imagenet32", &options).unwrap();
    assert_eq!(report.findings.len(), 2, "{}", report.table(9));
    assert!(
        report.findings[0]
            .what
            .contains("expected 1281167 images, found 6")
    );
    fs::write(dir.path().join("map_clsloc.txt"), "n01 1 x\n").unwrap();
    refused(
        small_imagenet::load(dir.path(), 32, Split::Train, true),
        &["expected 1000 classes"],
    );
}
