use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::*;
use crate::data::segmentation::{LabelMap, NOTHING};

fn set(count: usize, plant: Plant) -> Street {
    let recipe = Recipe {
        size: [64, 128],
        count,
        plant,
        ..Recipe::new(Fold::Train)
    };
    recipe.generate().unwrap()
}

/// What the maps say goes together: a part lies on its object, every scene passes the check readers
/// pass, and over a few scenes everything there is is seen.
#[test]
fn parts_lie_on_their_objects_and_everything_is_seen() {
    let street = set(40, Plant::None);
    let (mut things, mut pieces, mut materials) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for index in 0..street.len() {
        let scene = street.scene(index).unwrap().checked(&street).unwrap();
        for (i, &piece) in scene.parts[0].ids().iter().enumerate() {
            let thing = scene.classes.ids()[i];
            if piece != NOTHING {
                let parent = street.parts()[usize::from(piece)].parent;
                assert_eq!(parent, Some(usize::from(thing)), "scene {index}, pixel {i}");
            }
            things.insert(thing);
            pieces.insert(piece);
            materials.insert(scene.materials[0].ids()[i]);
        }
    }
    let unseen = |seen: &BTreeSet<u16>, names: Vec<&str>| -> Vec<String> {
        let missing = names
            .iter()
            .enumerate()
            .filter(|(i, _)| !seen.contains(&(*i as u16)));
        missing.map(|(_, name)| name.to_string()).collect()
    };
    let parts = street
        .parts()
        .iter()
        .map(|part| part.name.as_str())
        .collect();
    assert_eq!(unseen(&things, labels::Thing::NAMES.to_vec()), [""; 0]);
    assert_eq!(unseen(&pieces, parts), [""; 0]);
    assert_eq!(
        unseen(&materials, labels::Material::NAMES.to_vec()),
        [""; 0]
    );
    assert!(street.classes().len() >= 10 && street.parts().len() + street.materials().len() >= 20);
}

/// Roads are below, skies above, and houses are the largest class: a street, not a pile.
#[test]
fn things_are_where_a_street_has_them() {
    let street = set(30, Plant::None);
    let (mut rows, mut counts) = ([0f64; 14], [0f64; 14]);
    for index in 0..street.len() {
        let scene = street.scene(index).unwrap();
        for (i, &thing) in scene.classes.ids().iter().enumerate() {
            rows[usize::from(thing)] += (i / 128) as f64;
            counts[usize::from(thing)] += 1.0;
        }
    }
    let height = |thing: labels::Thing| rows[thing as usize] / counts[thing as usize];
    use labels::Thing::*;
    assert!(height(Sky) < height(Building) && height(Building) < height(Car));
    assert!(height(Car) < height(Road) && height(Person) > height(TrafficLight));
    let all: f64 = counts.iter().sum();
    for (thing, least) in [
        (Building, 0.2),
        (Road, 0.1),
        (Sky, 0.04),
        (Bus, 0.02),
        (Car, 0.02),
        (Person, 0.004),
    ] {
        let share = counts[thing as usize] / all;
        assert!(share > least, "{thing:?}: {share:.4} of all pixels");
    }
}

/// The same scene, whatever the length of the set; other scenes for another seed or fold.
#[test]
fn a_scene_is_a_function_of_seed_fold_and_index() {
    let long = set(9, Plant::None);
    let short = set(3, Plant::None);
    assert!(long.scene(2).unwrap() == short.scene(2).unwrap());
    let with = |seed, fold| {
        let recipe = Recipe {
            size: [64, 128],
            seed,
            fold,
            ..Recipe::new(Fold::Train)
        };
        recipe.generate().unwrap().scene(2).unwrap().rgb
    };
    let base = with(0, Fold::Train);
    assert!(base == long.scene(2).unwrap().rgb);
    assert!(
        base != with(1, Fold::Train) && base != with(0, Fold::Val) && base != with(0, Fold::Test)
    );
    assert!(with(0, Fold::Val) != with(0, Fold::Test));
}

/// A planted failure changes how its pixels look and nothing else: not one class or part elsewhere.
#[test]
fn a_plant_changes_its_own_pixels_only() {
    let plain = set(12, Plant::None);
    for (plant, thing) in [
        (Plant::BusWindows, labels::Thing::Bus),
        (Plant::LeafyCars, labels::Thing::Car),
    ] {
        let other = set(12, plant);
        let (mut marked, mut changed) = (0, 0);
        for index in 0..plain.len() {
            let (a, b) = (plain.scene(index).unwrap(), other.scene(index).unwrap());
            assert!(plain.planted(index).iter().all(|planted| !planted));
            assert!(a.classes == b.classes, "{plant}: the classes are the same");
            for (i, planted) in other.planted(index).into_iter().enumerate() {
                assert_eq!(
                    planted,
                    a.classes.ids()[i] == thing as u16,
                    "{plant}: scene {index}, pixel {i}"
                );
                marked += usize::from(planted);
                changed += usize::from(planted && a.rgb[3 * i..][..3] != b.rgb[3 * i..][..3]);
                if !planted {
                    assert_eq!(a.parts[0].ids()[i], b.parts[0].ids()[i]);
                }
            }
        }
        assert!(
            marked > 500 && changed * 5 > marked,
            "{plant}: {changed} of {marked} pixels"
        );
    }
}

/// Integer and exactly rounded arithmetic only: these bytes are the same on every machine.
#[test]
fn the_bytes_are_pinned() {
    let street = set(4, Plant::None);
    let mut hash = Sha256::new();
    for index in 0..street.len() {
        let scene = street.scene(index).unwrap();
        hash.update(&scene.rgb);
        let ids = |map: &LabelMap| {
            map.ids()
                .iter()
                .flat_map(|id| id.to_le_bytes())
                .collect::<Vec<_>>()
        };
        for map in [&scene.classes, &scene.parts[0], &scene.materials[0]] {
            hash.update(ids(map));
        }
    }
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, PINNED);
}

const PINNED: &str = "465aae9e9985312e911fccc060eaef0269deab1cce327dec9d30cb67aa11d52a";

#[test]
fn impossible_recipes_are_refused() {
    let base = Recipe::new(Fold::Test);
    for (recipe, word) in [
        (
            Recipe {
                size: [8, 64],
                ..base.clone()
            },
            "8x64",
        ),
        (
            Recipe {
                size: [64, 5000],
                ..base.clone()
            },
            "4096",
        ),
        (
            Recipe {
                count: 0,
                ..base.clone()
            },
            "count = 0",
        ),
    ] {
        let message = recipe.generate().unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    let message = "bus".parse::<Plant>().unwrap_err().to_string();
    assert!(message.contains("bus-windows"), "{message}");
    for plant in Plant::ALL {
        assert_eq!(plant.to_string().parse::<Plant>().unwrap(), plant);
    }
    // Any size: taller than wide, odd, tiny.
    for size in [[17, 16], [97, 31]] {
        let street = Recipe {
            size,
            count: 1,
            ..base.clone()
        }
        .generate()
        .unwrap();
        assert_eq!(
            street.scene(0).unwrap().checked(&street).unwrap().extent(),
            size
        );
    }
}
