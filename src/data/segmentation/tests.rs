//! The readers, on small folders written here.

use std::fs;
use std::path::Path;

use super::files::Label;
use super::*;

/// Writes a PNG of `extent` (height, width), making its folder.
fn write_png(path: &Path, extent: [usize; 2], colour: png::ColorType, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, extent[1] as u32, extent[0] as u32);
    encoder.set_color(colour);
    if colour == png::ColorType::Indexed {
        let palette: Vec<u8> = (0..=255u8).flat_map(|i| [i, 255 - i, 7]).collect();
        encoder.set_palette(palette);
    }
    encoder
        .write_header()
        .unwrap()
        .write_image_data(bytes)
        .unwrap();
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

const RGB: [u8; 18] = [9; 18];

#[test]
fn cityscapes_numbers_become_classes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let image = root.join("leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png");
    let labels = root.join("gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png");
    write_png(&image, [2, 3], png::ColorType::Rgb, &RGB);
    let text = message(cityscapes::open(root, Fold::Val));
    assert!(
        text.contains("ulm_000000_000019_gtFine_labelIds.png: is missing"),
        "{text}"
    );
    // Road, person, bicycle, parking, a license plate (-1), unlabeled.
    write_png(
        &labels,
        [2, 3],
        png::ColorType::Grayscale,
        &[7, 24, 33, 9, 255, 0],
    );
    let set = cityscapes::open(root, Fold::Val).unwrap();
    assert_eq!((set.len(), set.classes().len()), (1, 19));
    let scene = set.scene(0).unwrap().checked(&set).unwrap();
    assert_eq!(
        scene.classes.ids(),
        [0, 11, 18, UNLABELLED, UNLABELLED, UNLABELLED]
    );
    assert_eq!(
        (scene.name.as_str(), set.classes()[11].name.as_str()),
        ("ulm_000000_000019", "person")
    );
    assert_eq!(scene.rgb, RGB);
    // An unknown number, another size, no labels at all.
    write_png(
        &labels,
        [2, 3],
        png::ColorType::Grayscale,
        &[7, 7, 7, 7, 34, 7],
    );
    let text = message(set.scene(0));
    assert!(
        text.contains("labelIds.png: row 1, column 1: 34 is no label of Cityscapes"),
        "{text}"
    );
    write_png(&labels, [3, 2], png::ColorType::Grayscale, &[7; 6]);
    let text = message(set.scene(0));
    assert!(
        text.contains("3×2") && text.contains("leftImg8bit.png has 2×3"),
        "{text}"
    );
    write_png(&labels, [2, 3], png::ColorType::Rgb, &RGB);
    assert!(message(set.scene(0)).contains("expected 8-bit grey or palette"));
    fs::write(&labels, b"no picture").unwrap();
    assert!(message(set.scene(0)).contains("no label map"));
    assert!(message(cityscapes::open(root, Fold::Train)).contains("train"));
}

/// The 19 classes are numbered once each, and every label has its place.
#[test]
fn cityscapes_table_is_whole() {
    let mut classes: Vec<usize> = cityscapes::LABELS
        .iter()
        .filter_map(|label| label.class)
        .collect();
    classes.sort_unstable();
    assert_eq!(classes, (0..19).collect::<Vec<_>>());
    let at = |id: usize| (cityscapes::LABELS[id].name, cityscapes::LABELS[id].class);
    assert_eq!(at(7), ("road", Some(0)));
    assert_eq!(at(17), ("pole", Some(5)));
    assert_eq!(at(26), ("car", Some(13)));
    assert_eq!(at(31), ("train", Some(16)));
    assert_eq!(at(33), ("bicycle", Some(18)));
}

#[test]
fn camvid_in_both_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_png(&root.join("val/a.png"), [2, 3], png::ColorType::Rgb, &RGB);
    // As SegNet's lists have it: a place on somebody's disk.
    write(
        &root.join("val.txt"),
        "/SegNet/CamVid/val/a.png /SegNet/CamVid/valannot/a.png\n\n",
    );
    let labels = root.join("valannot/a.png");
    let text = message(camvid::open(root, Fold::Val));
    assert!(
        text.contains("valannot/a.png: is missing, named in line 1"),
        "{text}"
    );
    write_png(
        &labels,
        [2, 3],
        png::ColorType::Indexed,
        &[0, 1, 10, 11, 255, 8],
    );
    let set = camvid::open(root, Fold::Val).unwrap();
    let scene = set.scene(0).unwrap().checked(&set).unwrap();
    assert_eq!(scene.classes.ids(), [0, 1, 10, UNLABELLED, UNLABELLED, 8]);
    assert_eq!(
        (set.classes()[8].name.as_str(), scene.name.as_str()),
        ("Car", "a")
    );
    write_png(
        &labels,
        [2, 3],
        png::ColorType::Indexed,
        &[0, 12, 0, 0, 0, 0],
    );
    assert!(message(set.scene(0)).contains("row 0, column 1: 12 is no class of CamVid"));
    write(&root.join("test.txt"), "val/a.png\n");
    assert!(
        message(camvid::open(root, Fold::Test))
            .contains("line 1: expected a picture and its labels")
    );
    write(&root.join("test.txt"), "\n");
    assert!(message(camvid::open(root, Fold::Test)).contains("names no picture"));
    assert!(message(camvid::open(root, Fold::Train)).contains("train.txt"));

    let root = &root.join("original");
    write_png(
        &root.join("701_StillsRaw_full/b.png"),
        [2, 3],
        png::ColorType::Rgb,
        &RGB,
    );
    write(&root.join("test.txt"), "b.png\n");
    // Sky, SUV, Child, Void, and two illegal colours.
    let colours = [
        [128, 128, 128],
        [64, 128, 192],
        [192, 128, 64],
        [0, 0, 0],
        [1, 2, 3],
        [64, 0, 127],
    ];
    let labels = root.join("LabeledApproved_full/b_L.png");
    write_png(&labels, [2, 3], png::ColorType::Rgb, &colours.concat());
    let set = camvid::open(root, Fold::Test).unwrap();
    let scene = set.scene(0).unwrap().checked(&set).unwrap();
    assert_eq!(
        scene.classes.ids(),
        [0, 8, 9, UNLABELLED, UNLABELLED, UNLABELLED]
    );
}

/// Each colour of the original once, and the colours of the 11 are those of their namesakes.
#[test]
fn camvid_tables_agree() {
    let mut colours: Vec<[u8; 3]> = camvid::THIRTY_ONE.iter().map(|row| row.1).collect();
    colours.sort_unstable();
    colours.dedup();
    assert_eq!(colours.len(), 31);
    for (number, (name, colour)) in camvid::ELEVEN.into_iter().enumerate() {
        let row = camvid::THIRTY_ONE.iter().find(|row| row.1 == colour);
        assert_eq!(row.map(|row| usize::from(row.2)), Some(number), "{name}");
    }
}

/// A pack of two pictures with everything Broden's layout allows.
fn broden_pack(root: &Path) {
    write_png(
        &root.join("images/s/a.png"),
        [2, 4],
        png::ColorType::Rgb,
        &[5; 24],
    );
    write_png(
        &root.join("images/s/b.png"),
        [2, 4],
        png::ColorType::Rgb,
        &[6; 24],
    );
    // Labels at half the side: 1×2. Number 300 is R 44, G 1.
    let map = |name: &str, labels: [u16; 2]| {
        let bytes: Vec<u8> = labels
            .iter()
            .flat_map(|l| [*l as u8, (*l >> 8) as u8, 0])
            .collect();
        write_png(
            &root.join("images/s").join(name),
            [1, 2],
            png::ColorType::Rgb,
            &bytes,
        );
    };
    map("a_object.png", [300, 0]);
    map("a_object2.png", [2, 2]);
    map("a_part.png", [7, 0]);
    map("a_part2.png", [0, 8]);
    write(
        &root.join("c_object.csv"),
        "code,number,name,frequency,coverage\n1,2,sky,1,0.5\n2,300,car,1,0.5\n",
    );
    write(
        &root.join("c_part.csv"),
        "code,number,name,frequency,coverage\n1,7,car/wheel,1,0.5\n2,8,handle,1,0.5\n",
    );
    write(
        &root.join("c_material.csv"),
        "code,number,name,frequency,coverage\n1,9,\"glass, clear\",1,0.5\n",
    );
    write(
        &root.join("index.csv"),
        "split,image,ih,iw,sh,sw,material,color,object,part\n\
         train,s/a.png,2,4,1,2,9,,s/a_object.png;s/a_object2.png,s/a_part.png;s/a_part2.png\n\
         val,s/b.png,2,4,1,2,,,,\n",
    );
}

#[test]
fn broden_directories() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    broden_pack(root);
    let set = broden::open(root, Fold::Train).unwrap();
    assert_eq!(set.len(), 1);
    assert_eq!(
        set.parts()[0],
        Part {
            name: "car/wheel".into(),
            parent: Some(1)
        }
    );
    assert_eq!(set.parts()[1].parent, None);
    assert_eq!(set.materials(), ["glass, clear"]);
    let scene = set.scene(0).unwrap().checked(&set).unwrap();
    // 300 is the second object; where the first layer says nothing the second one counts.
    assert_eq!(scene.classes.ids(), [1, 1, 0, 0, 1, 1, 0, 0]);
    let none = UNLABELLED;
    assert_eq!(scene.parts[0].ids(), [0, 0, none, none, 0, 0, none, none]);
    assert_eq!(scene.parts[1].ids(), [none, none, 1, 1, none, none, 1, 1]);
    // A whole-image label.
    assert_eq!(scene.materials, [LabelMap::filled([2, 4], 0)]);
    let blank = broden::open(root, Fold::Val).unwrap().scene(0).unwrap();
    assert_eq!(blank.classes, LabelMap::filled([2, 4], none));
    assert!(blank.parts.is_empty() && blank.materials.is_empty());
}

#[test]
fn broken_broden_directories() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    broden_pack(root);
    assert!(message(broden::open(root, Fold::Test)).contains("no row of split test"));
    let set = broden::open(root, Fold::Train).unwrap();
    let index = fs::read_to_string(root.join("index.csv")).unwrap();
    let with = |from: &str, to: &str| {
        write(&root.join("index.csv"), &index.replace(from, to));
        message(broden::open(root, Fold::Train))
    };
    let text = with("s/a_part2.png", "s/gone.png");
    assert!(
        text.contains("gone.png: is missing, named in line 2"),
        "{text}"
    );
    assert!(with("s/a.png", "s/c.png").contains("c.png: is missing"));
    let text = with(",2,9,", ",2,10,");
    assert!(
        text.contains("line 2: label 10 is no material of c_material.csv"),
        "{text}"
    );
    assert!(with(",part\n", ",pieces\n").contains("no column part"));
    assert!(with("2,4,1,2,9", "2,four,1,2,9").contains("line 2: \"four\", expected a number"));
    write(
        &root.join("index.csv"),
        &index.replace("2,4,1,2,9", "2,5,1,2,9"),
    );
    let text = message(broden::open(root, Fold::Train).unwrap().scene(0));
    assert!(
        text.contains("s/a.png: 2×4 pixels, but index.csv says 2×5"),
        "{text}"
    );
    write_png(
        &root.join("images/s/a_part.png"),
        [1, 2],
        png::ColorType::Rgb,
        &[7, 0, 0, 9, 0, 0],
    );
    let text = message(set.scene(0));
    assert!(
        text.contains("a_part.png: row 0, column 1: label 9 is no part"),
        "{text}"
    );
    write_png(
        &root.join("images/s/a_part.png"),
        [2, 2],
        png::ColorType::Rgb,
        &[0; 12],
    );
    assert!(message(set.scene(0)).contains("a_part.png: 2×2 labels, but index.csv says 1×2"));
    write(&root.join("c_part.csv"), "code,number,name\n2,7,wheel\n");
    assert!(message(broden::open(root, Fold::Train)).contains("line 2: code 2, expected 1"));
    fs::remove_file(root.join("c_part.csv")).unwrap();
    assert!(message(broden::open(root, Fold::Train)).contains("c_part.csv: cannot read"));
}

#[test]
fn scenes_that_do_not_fit_their_set_are_refused() {
    let set = street::Recipe {
        size: [16, 16],
        ..street::Recipe::new(Fold::Val)
    }
    .generate()
    .unwrap();
    let scene = set.scene(0).unwrap();
    let with = |change: &dyn Fn(&mut Scene)| {
        let mut scene = scene.clone();
        change(&mut scene);
        message(scene.checked(&set))
    };
    assert!(with(&|s| s.rgb.truncate(9)).contains("9 bytes for 16×16"));
    assert!(with(&|s| s.parts[0] = LabelMap::filled([8, 8], 0)).contains("a part map of 8×8"));
    assert!(with(&|s| s.classes = LabelMap::filled([16, 16], 14)).contains("class 14 in row 0"));
    assert!(with(&|s| s.classes = LabelMap::filled([16, 16], NOTHING)).contains("class 65534"));
    assert!(
        message(open("streets", Fold::Val, &OpenOptions::default())).contains("known are street")
    );
    assert!(message(open("camvid", Fold::Val, &OpenOptions::default())).contains("--root"));
    assert!(message("valid".parse::<Fold>()).contains("train, val or test"));
}

#[test]
fn label_pictures_are_read_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.png");
    write_png(&path, [1, 2], png::ColorType::Indexed, &[3, 250]);
    let read = |kind| {
        let mut seen = Vec::new();
        let label = |label| {
            seen.push(label);
            Ok(0)
        };
        files::label_map(&path, kind, None, label).unwrap();
        seen
    };
    assert_eq!(
        read(files::Labels::Numbers),
        [Label::Number(3), Label::Number(250)]
    );
    assert_eq!(
        read(files::Labels::Colours),
        [Label::Colour([3, 252, 7]), Label::Colour([250, 5, 7])]
    );
}
