//! Packs: what is written is what is read, and nothing else passes for one.

use std::fs;
use std::path::Path;

use whatwhere::data::pack::{self, Pack};
use whatwhere::data::synthetic::{Recipe, Task};
use whatwhere::data::{self, Dataset, OpenOptions, Split, Window, check};

use super::{golden, refused};

fn texture() -> data::ImageSet {
    let recipe = Recipe {
        size: 16,
        count: 11,
        ..Recipe::new(Task::Texture, Split::Train)
    };
    recipe.generate().unwrap()
}

fn write(set: &dyn Dataset, path: &Path) -> pack::Header {
    let [height, width, _] = set.shape();
    pack::write(set, [height, width], 0, path, &mut |_| ()).unwrap()
}

#[test]
fn a_pack_is_the_set_it_was_made_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.pack");
    let set = texture();
    let mut told = Vec::new();
    let header = pack::write(&set, [16, 16], 3, &path, &mut |done| told.push(done)).unwrap();
    assert_eq!((header.count, header.skipped, told), (11, 3, vec![11]));
    // The sum is the one of the whole set, as any program can compute it.
    assert_eq!(header.sha256, set.sha256().unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let pack = Pack::open(&path, None).unwrap();
    assert_eq!(pack.header(), &header);
    pack.verify().unwrap();
    assert_eq!(
        (pack.name(), pack.split(), pack.len()),
        ("texture", Split::Train, 11)
    );
    assert_eq!((pack.classes(), pack.shape()), (set.classes(), [16, 16, 3]));
    assert_eq!(
        (pack.normalise(), pack.mirror_safe()),
        (set.normalise(), set.mirror_safe())
    );
    let mut out = vec![0; 16 * 16 * 3];
    for index in 0..11 {
        pack.fill(index, &mut out).unwrap();
        assert_eq!(
            (out.as_slice(), pack.label(index)),
            (set.image(index), set.label(index))
        );
    }
    let named = format!("pack:{}", dir.path().display());
    let opened = data::open(&named, Split::Train, &OpenOptions::default()).unwrap();
    assert_eq!(opened.sha256().unwrap(), pack.sha256().unwrap());
    assert_eq!(
        data::describe(&named, &OpenOptions::default()).unwrap(),
        ([16, 16, 3], 8)
    );
    assert_ne!(
        Pack::open(&path, Some(8)).unwrap().sha256().unwrap(),
        pack.sha256().unwrap()
    );
    refused(
        data::open(&named, Split::Test, &OpenOptions::default()).map(drop),
        &["test.pack"],
    );
}

#[test]
fn packed_photographs_show_their_middle_and_keep_their_margin() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    for split in ["train", "val"] {
        fs::create_dir_all(root.join(split).join("n01")).unwrap();
        fs::copy(
            golden("images/photo.jpg"),
            root.join(split).join("n01/a.JPEG"),
        )
        .unwrap();
    }
    let options = OpenOptions {
        root: Some(root),
        size: Some(28),
        ..OpenOptions::default()
    };
    let source = data::open_to_pack("folder", Split::Train, &options).unwrap();
    assert_eq!((source.set.shape(), source.shown), ([32, 32, 3], [28, 28]));
    let path = dir.path().join("train.pack");
    pack::write(source.set.as_ref(), source.shown, 0, &path, &mut |_| ()).unwrap();
    let pack = Pack::open(&path, None).unwrap();
    let folder = data::open("folder", Split::Train, &options).unwrap();
    let mut both = [vec![0; 28 * 28 * 3], vec![0; 28 * 28 * 3]];
    pack.fill(0, &mut both[0]).unwrap();
    folder.fill(0, &mut both[1]).unwrap();
    assert_eq!(both[0], both[1]);
    // A window is chosen from all that is stored.
    let mut seen = [0; 2];
    let mut choose = |extent| {
        seen = extent;
        Window::whole(extent)
    };
    pack.fill_window(0, &mut choose, &mut both[0]).unwrap();
    assert_eq!(seen, [32, 32]);
    // Another size shows the same part.
    let mut large = vec![0; 56 * 56 * 3];
    Pack::open(&path, Some(56))
        .unwrap()
        .fill(0, &mut large)
        .unwrap();
    let mean = |bytes: &[u8]| bytes.iter().map(|&v| f64::from(v)).sum::<f64>() / bytes.len() as f64;
    assert!((mean(&large) - mean(&both[1])).abs() < 2.0);
}

#[test]
fn damaged_packs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.pack");
    write(&texture(), &path);
    let whole = fs::read(&path).unwrap();
    let with = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Pack::open(&path, None)
    };
    refused(with(&whole[..7]), &["train.pack", "no pack"]);
    refused(with(b"wwpack99\0\0\0\0\0\0\0\0"), &["another version"]);
    refused(
        with(&[&b"PK\x03\x04"[..], &whole[4..]].concat()),
        &["no pack"],
    );
    refused(with(&whole[..whole.len() - 1]), &["damaged", "11 images"]);
    refused(with(&[&whole[..], &[0]].concat()), &["damaged"]);
    let mut bytes = whole.clone();
    bytes[8..16].fill(0xff);
    refused(with(&bytes), &["damaged", "header"]);
    bytes = whole.clone();
    bytes[20] = b'!';
    refused(with(&bytes), &["damaged header"]);
    bytes = whole.clone();
    let last = bytes.len() - 4;
    bytes[last] = 200;
    refused(with(&bytes), &["image 10 has label 200", "8 classes"]);
    // A changed pixel opens, and a check finds it.
    bytes = whole.clone();
    let pixel = bytes.len() - 11 * 4 - 5;
    bytes[pixel] ^= 1;
    assert!(
        with(&bytes)
            .unwrap()
            .verify()
            .unwrap_err()
            .contains("SHA-256")
    );
    let named = format!("pack:{}", dir.path().display());
    let report = check::check(&named, &OpenOptions::default()).unwrap();
    let kinds: Vec<_> = report.findings.iter().map(|f| (f.split, f.kind)).collect();
    assert_eq!(kinds, [(Split::Test, "layout"), (Split::Train, "sum")]);
    fs::write(&path, &whole).unwrap();
    assert!(Pack::open(&path, Some(0)).is_err());
    // A set that cannot be read leaves what was there.
    let set = texture();
    let error = pack::write(&set, [17, 16], 0, &path, &mut |_| ());
    refused(error, &["cannot show"]);
    assert_eq!(fs::read(&path).unwrap(), whole);
    let nowhere = dir.path().join("no/train.pack");
    refused(
        pack::write(&set, [16, 16], 0, &nowhere, &mut |_| ()),
        &["cannot write"],
    );
}
