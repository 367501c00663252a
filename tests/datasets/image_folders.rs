//! Image folders in every layout, and every way in which one can be wrong.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use whatwhere::data::folder::layout::{self, Layout, Listing};
use whatwhere::data::{
    self, Augment, Loader, LoaderOptions, Normalise, OpenOptions, Split, check, resize,
};

use super::{golden, refused};

/// Puts the golden file `from` at `to` in `root`.
fn put(root: &Path, to: &str, from: &str) {
    let path = root.join(to);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(golden("images").join(from), path).unwrap();
}

fn write(root: &Path, to: &str, text: &str) {
    let path = root.join(to);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Two classes, three images to train and two to test, of all kinds.
fn small(root: &Path) {
    put(root, "train/n02/b.JPEG", "photo.jpg");
    put(root, "train/n01/z.JPEG", "cmyk.jpg");
    put(root, "train/n01/a.JPEG", "palette.png");
    put(root, "val/n01/v1.JPEG", "grey.jpg");
    put(root, "val/n02/v0.JPEG", "pixel.jpg");
}

fn list(root: &Path, split: Split) -> whatwhere::Result<Listing> {
    layout::list(root, split, Layout::Any, false)
}

fn options(root: &Path) -> OpenOptions {
    OpenOptions {
        root: Some(root.to_owned()),
        size: Some(16),
        ..OpenOptions::default()
    }
}

fn names(listing: &Listing) -> Vec<String> {
    let files = listing.files.iter();
    files
        .map(|path| path.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn classes_are_ranks_and_files_are_in_order() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    // Neither hidden files nor other files count.
    write(dir.path(), "train/n01/.a.JPEG", "no image");
    write(dir.path(), "train/n01/n01_boxes.txt", "a.JPEG 0 0 1 1");
    fs::create_dir(dir.path().join("train/.cache")).unwrap();
    let train = list(dir.path(), Split::Train).unwrap();
    assert_eq!(train.classes, ["n01", "n02"]);
    assert_eq!(
        names(&train),
        ["train/n01/a.JPEG", "train/n01/z.JPEG", "train/n02/b.JPEG"]
    );
    assert_eq!(train.labels, [0, 0, 1]);
    let set = data::open("folder", Split::Test, &options(dir.path())).unwrap();
    assert_eq!((set.len(), set.shape(), set.label(1)), (2, [16, 16, 3], 1));
    assert_eq!(set.normalise(), Normalise::IMAGENET);
    let named = format!("folder:{}", dir.path().display());
    let same = data::open(
        &named,
        Split::Test,
        &OpenOptions {
            size: Some(16),
            ..Default::default()
        },
    );
    assert_eq!(same.unwrap().sha256().unwrap(), set.sha256().unwrap());
    assert_eq!(
        data::describe("folder", &options(dir.path())).unwrap(),
        ([16, 16, 3], 2)
    );
    // A grey pixel fills its whole image with one colour.
    let mut out = vec![0; 16 * 16 * 3];
    set.fill(1, &mut out).unwrap();
    assert!(out.chunks_exact(3).all(|pixel| pixel == &out[..3]));
}

#[test]
fn wrong_nesting_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    refused(
        list(&root.join("none"), Split::Train),
        &["none", "no such folder"],
    );
    refused(
        list(root, Split::Train),
        &["expected the folders train and val"],
    );
    put(root, "sub/train/n01/a.JPEG", "photo.jpg");
    refused(
        list(root, Split::Train),
        &["wrong nesting", "in sub", "--root"],
    );
    refused(
        list(&root.join("sub/train"), Split::Train),
        &["wrong nesting", "the folder above"],
    );
    refused(list(&root.join("sub"), Split::Test), &["no folder val"]);
    let flat = tempfile::tempdir().unwrap();
    put(flat.path(), "n01/a.JPEG", "photo.jpg");
    refused(
        list(flat.path(), Split::Train),
        &["wrong nesting", "train/<class>"],
    );
    let deep = tempfile::tempdir().unwrap();
    put(deep.path(), "train/n01/more/a.JPEG", "photo.jpg");
    refused(
        list(deep.path(), Split::Train),
        &["train/n01", "one folder deeper, in more"],
    );
    let unsorted = tempfile::tempdir().unwrap();
    put(unsorted.path(), "train/a.JPEG", "photo.jpg");
    refused(list(unsorted.path(), Split::Train), &["no class folders"]);
}

#[test]
fn classes_without_images_and_mixed_class_orders_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    small(root);
    fs::create_dir(root.join("train/n00")).unwrap();
    refused(list(root, Split::Train), &["train/n00", "without images"]);
    fs::remove_dir(root.join("train/n00")).unwrap();
    fs::rename(root.join("val/n02"), root.join("val/2")).unwrap();
    refused(
        list(root, Split::Test),
        &["val/2", "mixed class orders", "n01 to n02"],
    );
    fs::remove_dir_all(root.join("val/2")).unwrap();
    refused(
        list(root, Split::Test),
        &["1 of 2 classes", "n02", "--partial"],
    );
    assert!(layout::list(root, Split::Test, Layout::Any, true).is_ok());
    // A list of classes that is not in the order of its names.
    write(
        root,
        "LOC_synset_mapping.txt",
        "n02 kit fox\nn01 English setter\n",
    );
    refused(
        list(root, Split::Train),
        &["LOC_synset_mapping.txt", "mixed class orders", "line 2"],
    );
    write(root, "LOC_synset_mapping.txt", "n01 English setter\n");
    refused(list(root, Split::Train), &["lacks the class n02"]);
    write(
        root,
        "LOC_synset_mapping.txt",
        "n00 none\nn01 English setter\nn02 kit fox\n",
    );
    refused(list(root, Split::Train), &["1 of 3 classes", "n00"]);
    let part = layout::list(root, Split::Train, Layout::Any, true).unwrap();
    assert_eq!((part.classes.len(), part.labels), (3, vec![1, 1, 2]));
    fs::remove_file(root.join("LOC_synset_mapping.txt")).unwrap();
    let whole = layout::list(root, Split::Train, Layout::ImageNet, false);
    refused(
        whole,
        &["expected 1281167 images of 1000 classes", "3 of 2"],
    );
}

#[test]
fn flat_validation_images_get_the_labels_of_the_ground_truth() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for synset in ["n01751748", "n02105855", "n09193705"] {
        put(root, &format!("train/{synset}/a.JPEG"), "photo.jpg");
    }
    for image in 1..=3 {
        put(
            root,
            &format!("val/ILSVRC2012_val_0000000{image}.JPEG"),
            "grey.jpg",
        );
    }
    let truth = "ILSVRC2012_validation_ground_truth.txt";
    refused(
        list(root, Split::Test),
        &["no file of labels", "val_annotations.txt", truth],
    );
    write(root, truth, "3\n1\n2\n");
    refused(list(root, Split::Test), &[truth, "map_clsloc.txt"]);
    // Numbers in an order of their own, as the devkit's are.
    let map = "n09193705 1 alp\nn02105855 2 Shetland_sheepdog\nn01751748 3 sea_snake\n";
    write(root, "map_clsloc.txt", map);
    let listing = list(root, Split::Test).unwrap();
    let stem = |i: usize| {
        listing.files[i]
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (0..3).map(stem).collect::<String>().matches("val").count(),
        3
    );
    assert_eq!(listing.labels, [0, 1, 2]);
    assert!(stem(1).ends_with('3') && stem(2).ends_with('2'));
    // The ranks of the sorted synsets taken for the numbers of the devkit.
    write(
        root,
        "map_clsloc.txt",
        "n01751748 1\nn02105855 2\nn09193705 3\n",
    );
    refused(
        list(root, Split::Test),
        &["mixed class orders", "shows", "another order"],
    );
    write(
        root,
        "map_clsloc.txt",
        "n01751748 1\nn02105855 1\nn09193705 3\n",
    );
    refused(
        list(root, Split::Test),
        &["map_clsloc.txt", "expected the number 2 once"],
    );
    write(root, "map_clsloc.txt", map);
    write(root, truth, "3\n1\n4\n");
    refused(list(root, Split::Test), &[truth, "line 3", "from 1 to 3"]);
    write(root, truth, "3\n1\n");
    refused(list(root, Split::Test), &["00003.JPEG", "no label"]);
    write(root, truth, "3\n1\n2\n2\n");
    refused(
        list(root, Split::Test),
        &[truth, "labels 4 images, found 3"],
    );
    // Kaggle's form.
    let solution = "ImageId,PredictionString\nILSVRC2012_val_00000001,n01751748 1 2 3 4\n\
                    ILSVRC2012_val_00000002,n09193705 1 2 3 4\nILSVRC2012_val_00000003,n02105855 1 2 3 4\n";
    write(root, "LOC_val_solution.csv", solution);
    assert_eq!(list(root, Split::Test).unwrap().labels, [0, 1, 2]);
    write(
        root,
        "LOC_val_solution.csv",
        &solution.replace("n09193705", "n00000000"),
    );
    refused(
        list(root, Split::Test),
        &["LOC_val_solution.csv", "line 3", "none of the classes"],
    );
}

#[test]
fn tiny_imagenet_and_parts_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tiny-imagenet-200");
    for synset in ["n01", "n02"] {
        put(
            &root,
            &format!("train/{synset}/images/{synset}_0.JPEG"),
            "photo.jpg",
        );
        put(&root, &format!("val/images/val_{synset}.JPEG"), "grey.jpg");
    }
    // The order of this file is not that of the labels.
    write(&root, "wnids.txt", "n02\nn01\n");
    write(
        &root,
        "val/val_annotations.txt",
        "val_n02.JPEG\tn02\t0\t0\t9\t9\nval_n01.JPEG\tn01\t1\t1\t2\t2\n",
    );
    let part = OpenOptions {
        allow_partial: true,
        size: None,
        ..options(dir.path())
    };
    let set = data::open("tiny-imagenet", Split::Test, &part).unwrap();
    assert_eq!(
        (set.len(), set.shape(), set.label(0), set.label(1)),
        (2, [64, 64, 3], 0, 1)
    );
    let strict = OpenOptions {
        allow_partial: false,
        ..part.clone()
    };
    refused(
        data::open("tiny-imagenet", Split::Train, &strict).map(drop),
        &[
            "expected 100000 images of 200 classes",
            "2 of 2",
            "--partial",
        ],
    );
    write(&root, "val/val_annotations.txt", "val_n02.JPEG\n");
    refused(
        data::open("tiny-imagenet", Split::Test, &part).map(drop),
        &["val_annotations.txt", "line 1"],
    );
    // Downsampled by the box filter: without map_clsloc.txt in the order of the synsets, with it in its.
    write(
        &root,
        "val/val_annotations.txt",
        "val_n02.JPEG\tn02\nval_n01.JPEG\tn01\n",
    );
    let small = data::open("small-imagenet32", Split::Train, &part).unwrap();
    assert_eq!(
        (small.shape(), small.classes()[0].as_str()),
        ([32, 32, 3], "n01")
    );
    write(&root, "map_clsloc.txt", "n02 1 x\nn03 2 y\nn01 3 z\n");
    let small = data::open("small-imagenet32", Split::Train, &part).unwrap();
    assert_eq!((small.classes()[0].as_str(), small.label(0)), ("n02", 1));
    let sized = OpenOptions {
        size: Some(48),
        ..part
    };
    refused(
        data::open("small-imagenet32", Split::Train, &sized).map(drop),
        &["size = 48", "32 pixels"],
    );
}

#[test]
fn damaged_files_are_named_and_left_out_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    small(root);
    write(root, "train/n01/b.JPEG", "this is text");
    let whole = fs::read(golden("images").join("photo.jpg")).unwrap();
    fs::write(root.join("train/n02/c.JPEG"), &whole[..whole.len() / 2]).unwrap();
    let set = data::open("folder", Split::Train, &options(root)).unwrap();
    assert_eq!(set.len(), 5);
    let mut out = vec![0; 16 * 16 * 3];
    refused(set.fill(1, &mut out), &["b.JPEG", "holds text"]);
    refused(set.fill(4, &mut out), &["c.JPEG", "truncated JPEG"]);
    let loader = Loader::new(
        set,
        LoaderOptions {
            batch: 5,
            ..Default::default()
        },
    )
    .unwrap();
    let error = loader
        .epoch(0, 0)
        .find_map(|batch| batch.err())
        .unwrap()
        .to_string();
    assert!(
        error.contains("JPEG") && error.contains("sample"),
        "{error}"
    );
    let skip = OpenOptions {
        skip_damaged: true,
        ..options(root)
    };
    let set = data::open("folder", Split::Train, &skip).unwrap();
    assert_eq!((set.len(), set.label(1), set.label(2)), (3, 0, 1));
    (0..3).for_each(|index| set.fill(index, &mut out).unwrap());
    // The report counts them whether they are skipped or not.
    let report = check::check("folder", &skip).unwrap();
    let of = |kind| report.findings.iter().filter(|f| f.kind == kind).count();
    assert_eq!(
        (of("file"), of("size"), report.findings.len()),
        (2, 1, 3),
        "{}",
        report.table(9)
    );
    let facts = report.facts.join("\n");
    assert!(
        facts.contains("1 CMYK JPEG, 1 JPEG, 1 PNG, 2 damaged"),
        "{facts}"
    );
    let table = report.table(1);
    assert!(
        table.starts_with("split  kind  where") && table.ends_with("… and 2 more\n"),
        "{table}"
    );
    for file in ["n01/a.JPEG", "n01/z.JPEG", "n02/b.JPEG"] {
        write(root, &format!("train/{file}"), "text");
    }
    refused(
        data::open("folder", Split::Train, &skip).map(drop),
        &["none of the 5 files"],
    );
}

#[test]
fn a_check_reports_every_fault_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    fs::remove_dir_all(dir.path().join("val/n02")).unwrap();
    write(dir.path(), "train/n01/b.JPEG", "");
    let report = check::check("folder", &options(dir.path())).unwrap();
    let kinds: Vec<_> = report.findings.iter().map(|f| (f.split, f.kind)).collect();
    let expected = [
        (Split::Test, "layout"),
        (Split::Train, "file"),
        (Split::Test, "count"),
    ];
    assert_eq!(kinds, expected, "{}", report.table(9));
    refused(check::check("folder", &OpenOptions::default()), &["--root"]);
    let absent = check::check("imagenet", &options(&dir.path().join("none"))).unwrap();
    assert_eq!((absent.facts.len(), absent.findings.len()), (0, 2));
}

#[test]
fn random_crops_are_a_function_of_seed_epoch_and_image() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let set = data::open("folder", Split::Train, &options(dir.path())).unwrap();
    let with = |seed, workers| {
        let options = LoaderOptions {
            batch: 2,
            seed,
            augment: Augment::IMAGENET,
            workers,
            ..LoaderOptions::default()
        };
        Loader::new(Arc::clone(&set), options).unwrap()
    };
    let pixels = |loader: &Loader, epoch, start| -> Vec<u32> {
        let batches = loader.epoch(epoch, start).map(|batch| batch.unwrap());
        batches
            .flat_map(|b| b.images.data::<f32>().unwrap().to_vec())
            .map(f32::to_bits)
            .collect()
    };
    let whole = pixels(&with(1, 0), 0, 0);
    assert_eq!(whole, pixels(&with(1, 2), 0, 0));
    assert_eq!(whole[2 * 16 * 16 * 3..], pixels(&with(1, 1), 0, 1));
    assert_ne!(whole, pixels(&with(1, 0), 1, 0));
    assert_ne!(whole, pixels(&with(2, 0), 0, 0));
    // One image by hand: the window of the decoded file, scaled, mirrored.
    let decoded = data::image_file::decode(&fs::read(dir.path().join("train/n02/b.JPEG")).unwrap());
    let decoded = decoded.unwrap();
    let extent = [decoded.height, decoded.width];
    let window = Augment::IMAGENET.window(1, 0, 2, extent).unwrap();
    let mut expected = vec![0; 16 * 16 * 3];
    let bilinear = resize::Filter::Bilinear;
    resize::window(
        &decoded.rgb,
        extent,
        window,
        bilinear,
        &mut expected,
        [16, 16],
    )
    .unwrap();
    let place = Augment::IMAGENET.draw(1, 0, 2);
    let transform = data::Transform::new([16, 16, 3], Normalise::IMAGENET).unwrap();
    let mut floats = vec![0.0; expected.len()];
    transform.apply(&expected, place, &mut floats);
    let order = with(1, 0).order(0);
    let at = order.iter().position(|&i| i == 2).unwrap() * 16 * 16 * 3;
    let bits: Vec<u32> = floats.iter().map(|v| v.to_bits()).collect();
    assert_eq!(whole[at..at + bits.len()], bits);
}
