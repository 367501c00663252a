use super::*;
use crate::data::segmentation::street::{Recipe, Street};
use crate::data::segmentation::{Fold, LabelMap};

fn street() -> Street {
    Recipe {
        size: [48, 96],
        count: 6,
        ..Recipe::new(Fold::Train)
    }
    .generate()
    .unwrap()
}

#[test]
fn the_shipped_list_has_70_channels() {
    let list = ConceptList::street();
    assert_eq!((list.len(), list.parts()), (70, 59));
    let of = |object: &str| {
        list.concepts()
            .iter()
            .filter(|c| c.parent() == Some(object))
            .count()
    };
    let counts = [
        ("sky", 1),
        ("building", 9),
        ("person", 9),
        ("road", 1),
        ("car", 11),
        ("van", 7),
    ];
    assert!(counts.iter().all(|(object, count)| of(object) == *count));
    let counts = [
        ("truck", 2),
        ("bus", 7),
        ("train", 5),
        ("motorbike", 3),
        ("bicycle", 4),
    ];
    assert!(counts.iter().all(|(object, count)| of(object) == *count));
    assert_eq!(list.concepts()[69], Concept::Material("wood".into()));
    assert_eq!(
        ConceptList::parse(&list.to_string(), "street.concepts").unwrap(),
        list
    );
}

/// The generated street lacks what it does not draw; what it has makes a list that binds.
#[test]
fn lists_meet_sets() {
    let (list, set) = (ConceptList::street(), street());
    let message = list.bind(&set).unwrap_err().to_string();
    assert!(
        message.contains("street.concepts: street has 42 parts"),
        "{message}"
    );
    assert!(
        message.contains("van/window") && message.contains("motorbike/handle bar"),
        "{message}"
    );
    let (shared, missing) = list.shared(&set);
    let shared = shared.unwrap();
    assert_eq!(shared.len() + missing.len(), 70);
    assert_eq!(shared.len() - shared.parts(), 11, "all materials are there");
    let binding = shared.bind(&set).unwrap();
    for (concept, target) in shared.concepts().iter().zip(binding.targets()) {
        match *target {
            Target::Material(index) => assert_eq!(set.materials()[index], concept.to_string()),
            Target::Part { part, parent } => {
                assert_eq!(set.parts()[part].name, concept.to_string());
                assert_eq!(
                    set.classes()[parent.unwrap()].name,
                    concept.parent().unwrap()
                );
            }
        }
    }
    let few = list.select(&["GLASS", "car/license-plate"]).unwrap();
    assert_eq!(
        few.to_string(),
        "object person = pedestrian\nobject motorbike = motorcycle\nobject bicycle = bike\npart car/license plate\nmaterial glass\n"
    );
    assert!(few.bind(&set).is_ok());
    assert!(
        list.select(&["car/horn"])
            .unwrap_err()
            .to_string()
            .contains("car/horn is not listed")
    );
    assert!(list.select::<&str>(&[]).is_err());
}

/// In a fully labelled scene everything is known, and a channel is the label map itself.
#[test]
fn targets_of_a_generated_street_are_its_maps() {
    let set = street();
    let list = ConceptList::street().shared(&set).0.unwrap();
    let binding = list.bind(&set).unwrap();
    for index in 0..set.len() {
        let scene = set.scene(index).unwrap();
        let targets = binding.of(&scene, [48, 96], Elsewhere::Negative);
        assert!(targets.known.iter().all(|known| *known == 1.0));
        let inside = binding.of(&scene, [48, 96], Elsewhere::Unknown);
        for pixel in 0..48 * 96 {
            for (channel, target) in binding.targets().iter().enumerate() {
                let at = pixel * list.len() + channel;
                let (expected, judged) = match *target {
                    Target::Material(m) => {
                        (usize::from(scene.materials[0].ids()[pixel]) == m, true)
                    }
                    Target::Part { part, parent } => (
                        usize::from(scene.parts[0].ids()[pixel]) == part,
                        Some(usize::from(scene.classes.ids()[pixel])) == parent,
                    ),
                };
                assert_eq!(targets.values[at], f32::from(expected));
                assert_eq!(inside.known[at], f32::from(judged));
            }
        }
        let small = binding.of(&scene, [6, 12], Elsewhere::Negative);
        assert_eq!(small.values.len(), 72 * list.len());
    }
}

/// Partly labelled pictures, as real ones are: what nobody judged is not known.
#[test]
fn unlabelled_pixels_are_not_known() {
    let set = street();
    let list = ConceptList::parse("part car/wheel\nmaterial glass", "two").unwrap();
    let binding = list.bind(&set).unwrap();
    let Target::Part { part, parent } = binding.targets()[0] else {
        panic!()
    };
    let (car, wheel) = (parent.unwrap() as u16, part as u16);
    let Target::Material(glass) = binding.targets()[1] else {
        panic!()
    };
    let row = |ids: &[u16]| LabelMap::new([1, 5], ids.to_vec()).unwrap();
    let none = UNLABELLED;
    // A wheel nobody said is on a car; a car; a road; nobody's; a car judged to have no part here.
    let scene = Scene {
        name: "partly".into(),
        rgb: vec![0; 15],
        classes: row(&[none, car, 0, none, car]),
        parts: vec![row(&[wheel, none, none, none, NOTHING]), row(&[none; 5])],
        materials: vec![row(&[glass as u16, NOTHING, none, none, 0])],
    };
    let channel = |elsewhere, channel: usize| {
        let targets = binding.of(&scene, [1, 5], elsewhere);
        let cell = |i: usize| match targets.known[2 * i + channel] == 1.0 {
            true => Some(targets.values[2 * i + channel]),
            false => None,
        };
        (0..5).map(cell).collect::<Vec<_>>()
    };
    let wheels = [Some(1.0), None, Some(0.0), None, Some(0.0)];
    assert_eq!(channel(Elsewhere::Negative, 0), wheels);
    assert_eq!(
        channel(Elsewhere::Unknown, 0),
        [Some(1.0), None, None, None, Some(0.0)]
    );
    assert_eq!(
        channel(Elsewhere::Unknown, 1),
        [Some(1.0), Some(0.0), None, None, Some(0.0)]
    );
}

#[test]
fn malformed_lists_are_refused_with_their_line() {
    let refused = |text: &str| ConceptList::parse(text, "list").unwrap_err().to_string();
    assert!(refused("part wheel").contains("list: line 1: part wheel, expected OBJECT/PART"));
    assert!(refused("\nparts car/wheel").contains("line 2: \"parts car/wheel\", expected part"));
    assert!(refused("part").contains("line 1: \"part\", expected a word and a name"));
    assert!(refused("part car/a-b\n# x\npart Car/A b").contains("line 3: Car/A b is listed twice"));
    assert!(
        refused("material glass\nobject car = auto").contains("line 2: no part of car is listed")
    );
    assert!(refused("# nothing").contains("lists no concept"));
    let gone = ConceptList::read(Path::new("no/such.concepts"))
        .unwrap_err()
        .to_string();
    assert!(gone.contains("no/such.concepts: cannot read"), "{gone}");
    assert!("maybe".parse::<Elsewhere>().is_err());
}
