//! Real scenes: CamVid, and a pack of street concepts in Broden's layout.
//!
//! Looked for in `$WHATWHERE_DATA` and `../shared/data`. Where they are not there, the tests say so and
//! pass.

use std::path::PathBuf;

use whatwhere::data::segmentation::{Fold, SceneSet, UNLABELLED, broden, camvid};
use whatwhere::what::concepts::{ConceptList, Elsewhere};

fn find(names: &[&str], file: &str) -> Option<PathBuf> {
    let given = std::env::var_os("WHATWHERE_DATA").map(PathBuf::from);
    let places = given.into_iter().chain([PathBuf::from("../shared/data")]);
    let mut folders = places.flat_map(|place| names.iter().map(move |name| place.join(name)));
    let found = folders.find(|folder| folder.join(file).is_file());
    if found.is_none() {
        eprintln!(
            "skipped: no {} in $WHATWHERE_DATA or ../shared/data",
            names.join(" or ")
        );
    }
    found
}

/// SegNet's split is 367, 101 and 233 frames of 360×480; every class is seen, and road is below sky.
#[test]
fn camvid_is_read_whole() {
    let Some(root) = find(&["CamVid", "camvid"], "train.txt") else {
        return;
    };
    for (fold, count) in [(Fold::Train, 367), (Fold::Val, 101), (Fold::Test, 233)] {
        let set = camvid::open(&root, fold).unwrap();
        assert_eq!(set.len(), count);
        let (mut seen, mut rows) = ([0u64; 12], [0u64; 12]);
        for index in (0..set.len()).step_by(10) {
            let scene = set.scene(index).unwrap().checked(&set).unwrap();
            assert_eq!(scene.extent(), [360, 480]);
            for (pixel, &class) in scene.classes.ids().iter().enumerate() {
                let class = if class == UNLABELLED {
                    11
                } else {
                    usize::from(class)
                };
                seen[class] += 1;
                rows[class] += (pixel / 480) as u64;
            }
        }
        assert!(seen.iter().all(|&count| count > 0), "{fold}: {seen:?}");
        let height = |class: usize| rows[class] / seen[class];
        assert!(
            height(0) < height(1) && height(1) < height(3),
            "sky, building, road"
        );
    }
}

/// Every scene of the pack is read; its labels are where their objects are; its concepts bind.
#[test]
fn a_broden_directory_is_read_whole() {
    let Some(root) = find(&["street-concepts"], "index.csv") else {
        return;
    };
    let sets = [Fold::Train, Fold::Val].map(|fold| broden::open(&root, fold).unwrap());
    assert_eq!(sets.each_ref().map(|set| set.len()), [1014, 416]);
    let set = &sets[1];
    assert_eq!(
        [
            set.classes().len(),
            set.parts().len(),
            set.materials().len()
        ],
        [37, 38, 14]
    );
    let text = "part car/wheel\npart car/license plate\npart building/window\nmaterial glass\nmaterial hair";
    let list = ConceptList::parse(text, "five").unwrap();
    let binding = list.bind(set).unwrap();
    let mut positive = [0.0; 5];
    let mut known = [0.0; 5];
    for index in (0..set.len()).step_by(8) {
        let scene = set.scene(index).unwrap().checked(set).unwrap();
        let to = scene.extent().map(|side| side / 8);
        let targets = binding.of(&scene, to, Elsewhere::Negative);
        for (at, value) in targets.values.iter().enumerate() {
            assert!(*value == 0.0 || targets.known[at] == 1.0);
            positive[at % 5] += value;
            known[at % 5] += targets.known[at];
        }
    }
    assert!(
        [0, 2, 3, 4]
            .iter()
            .all(|&i| positive[i] > 10.0 && known[i] > 4.0 * positive[i]),
        "{positive:?} of {known:?}"
    );
    // The shipped list asks for more than the pack has, and says for what.
    let message = ConceptList::street().bind(set).unwrap_err().to_string();
    assert!(
        message.contains("street.concepts") && message.contains("train/coach roof"),
        "{message}"
    );
    assert!(ConceptList::street().shared(set).0.unwrap().len() >= 20);
}
