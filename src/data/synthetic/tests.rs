use std::collections::HashMap;

use super::*;
use crate::data::Dataset;

/// How often each k×k window occurs at the given stride, the image being surrounded by k/2 zeros:
/// all that a layer of k×k filters shows to somebody who forgets where its outputs were.
fn windows(image: &[u8], size: usize, k: usize, stride: usize) -> HashMap<Vec<u8>, usize> {
    let mut bag = HashMap::new();
    let half = k as isize / 2;
    for y in (0..size as isize).step_by(stride) {
        for x in (0..size as isize).step_by(stride) {
            let mut window = Vec::with_capacity(k * k * 3);
            for (dy, dx) in (0..k * k).map(|i| ((i / k) as isize - half, (i % k) as isize - half)) {
                let (y, x) = (y + dy, x + dx);
                let inside = (0..size as isize).contains(&y) && (0..size as isize).contains(&x);
                let at = ((y * size as isize + x) * 3) as usize;
                window.extend(if inside { &image[at..at + 3] } else { &[0; 3] });
            }
            *bag.entry(window).or_default() += 1;
        }
    }
    bag
}

fn image(recipe: &Recipe, sample: u32, label: u32) -> Vec<u8> {
    let mut out = vec![0; recipe.size * recipe.size * 3];
    recipe.draw(sample, label, &mut out);
    out
}

/// The ceilings are exact: the same sample drawn as another class shows the same windows, up to the
/// margin plus one wide, at any stride up to the period.
#[test]
fn classes_that_share_their_parts_show_the_same_windows() {
    for task in [
        Task::Layout,
        Task::RedLeftOfGreen,
        Task::Quadrant,
        Task::Anagram,
    ] {
        for (size, classes) in [(16, task.all_class_names().len()), (32, task.classes())] {
            let recipe = Recipe {
                size,
                classes,
                ..Recipe::new(task, Split::Train)
            };
            let margin = size / 8;
            let kinds = [(1, 1), (2, 1), (3, 1), (3, 2), (3, 4), (margin + 1, 1)];
            for (sample, &(k, stride)) in (0..18).zip(kinds.iter().cycle()) {
                for label in 1..classes as u32 {
                    let other = if task == Task::Anagram { label & !1 } else { 0 };
                    let [a, b] = [label, other].map(|l| image(&recipe, sample, l));
                    assert!(
                        label == other || a != b,
                        "{task} {label} looks like {other}"
                    );
                    let [a, b] = [a, b].map(|image| windows(&image, size, k, stride));
                    assert!(
                        a == b,
                        "{task} {size}px: {k}x{k}/{stride} tells {label} from {other}"
                    );
                }
            }
        }
    }
}

/// The test above can fail: windows wide enough to see two parts, or a part and the border, do tell.
#[test]
fn windows_wider_than_the_margin_tell_the_classes() {
    for task in [
        Task::Layout,
        Task::RedLeftOfGreen,
        Task::Quadrant,
        Task::Anagram,
    ] {
        let recipe = Recipe {
            size: 16,
            ..Recipe::new(task, Split::Train)
        };
        let told = (0..20).any(|sample| {
            let [a, b] = [0, 1].map(|l| windows(&image(&recipe, sample, l), 16, 9, 1));
            a != b
        });
        assert!(told, "{task}");
    }
    let recipe = Recipe {
        size: 16,
        ..Recipe::new(Task::Anagram, Split::Train)
    };
    let [a, b] = [0, 2].map(|l| windows(&image(&recipe, 0, l), 16, 1, 1));
    assert!(a != b, "different figures have different pieces");
}

#[test]
fn every_arrangement_of_layout_is_another_one() {
    let names = layout::class_names();
    let distinct: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), 24);
    // In each group of four classes every part visits every cell once.
    for (group, cell) in (0..6).flat_map(|g| (0..5).map(move |c| (4 * g, c))) {
        let mut seen: Vec<char> = names[group..group + 4]
            .iter()
            .filter_map(|n| n.chars().nth(cell))
            .collect();
        seen.sort_unstable();
        assert!(seen == ['B', 'G', 'R', 'Y'] || cell == 2, "{names:?}");
    }
}

/// One threshold on each channel's mean reads the class of a texture, whatever the nuisance.
#[test]
fn channel_means_alone_tell_a_texture() {
    for size in [16, 32] {
        let recipe = Recipe {
            size,
            count: 400,
            ..Recipe::new(Task::Texture, Split::Test)
        };
        let set = recipe.generate().unwrap();
        for index in 0..set.len() {
            let read = (0..3).fold(0, |label, channel| {
                let sum: u32 = set
                    .image(index)
                    .iter()
                    .skip(channel)
                    .step_by(3)
                    .map(|&v| v as u32)
                    .sum();
                label | u32::from(sum > 122 * (size * size) as u32) << channel
            });
            assert_eq!(read, set.label(index), "image {index}");
        }
    }
}

#[test]
fn every_pattern_has_all_four_ranks_equally_often() {
    let recipe = Recipe {
        count: 8,
        size: 16,
        ..Recipe::new(Task::Texture, Split::Train)
    };
    let set = recipe.generate().unwrap();
    for index in 0..8 {
        // Two levels 56 or more apart with noise of 24: a gap around the middle separates them.
        for channel in 0..3 {
            let mut values: Vec<u8> = set
                .image(index)
                .iter()
                .skip(channel)
                .step_by(3)
                .copied()
                .collect();
            values.sort_unstable();
            let bright = if index >> channel & 1 == 1 { 192 } else { 64 };
            let gap = values[256 - bright] - values[255 - bright];
            assert!(gap > 4, "class {index}, channel {channel}: gap {gap}");
        }
    }
}

/// The same bytes on every machine: SHA-256 of 64 training images of 16 pixels, seed 0.
#[test]
fn bytes_are_pinned() {
    let pins = [
        (
            Task::Layout,
            "48f12d868aa1486bea102cf580bdda85705d20c7950400a4bca74c5e7f09303e",
        ),
        (
            Task::Texture,
            "72cccf0e4e2b22da57fd97250e7b8c9f3a9b16f6ccd9ab385e70a9d4be61c46a",
        ),
        (
            Task::RedLeftOfGreen,
            "d17543c6e296eeb303387780664ac4cd7046c89b800be9dd4c121fd617ba1f81",
        ),
        (
            Task::Quadrant,
            "0f8ecb460f80b2a17b9f9a26525316464e440e6cad15d8db07865ad312b7c191",
        ),
        (
            Task::Anagram,
            "4acdff3f66327205df6430cc879f0dba82188768617e57d7cfb7ba1cbecfe51d",
        ),
    ];
    for (task, pin) in pins {
        let recipe = Recipe {
            size: 16,
            count: 64,
            ..Recipe::new(task, Split::Train)
        };
        assert_eq!(recipe.generate().unwrap().sha256().unwrap(), pin, "{task}");
    }
}

#[test]
fn splits_seeds_and_samples_differ_and_prefixes_agree() {
    for task in Task::ALL {
        let long = Recipe {
            size: 16,
            count: 48,
            ..Recipe::new(task, Split::Train)
        };
        let set = long.generate().unwrap();
        let short = Recipe {
            count: 10,
            ..long.clone()
        }
        .generate()
        .unwrap();
        assert_eq!(short.images(), &set.images()[..short.images().len()]);
        assert!((1..48).all(|i| set.image(i) != set.image(0)));
        for other in [
            Recipe {
                seed: 1,
                ..long.clone()
            },
            Recipe {
                split: Split::Test,
                ..long
            },
        ] {
            let other = other.generate().unwrap();
            assert!((0..48).all(|i| other.image(i) != set.image(i)), "{task}");
        }
    }
}

#[test]
fn recipes_that_cannot_be_had_are_refused() {
    let refused = |recipe: Recipe, what: &str| {
        let error = recipe.generate().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let recipe = |task| Recipe::new(task, Split::Train);
    refused(
        Recipe {
            size: 20,
            ..recipe(Task::Layout)
        },
        "16, 32, 48 or 64",
    );
    refused(
        Recipe {
            count: 0,
            ..recipe(Task::Layout)
        },
        "count = 0",
    );
    refused(
        Recipe {
            classes: 25,
            ..recipe(Task::Layout)
        },
        "2 to 24",
    );
    refused(
        Recipe {
            classes: 1,
            ..recipe(Task::Texture)
        },
        "2 to 8",
    );
    refused(
        Recipe {
            classes: 3,
            ..recipe(Task::Quadrant)
        },
        "has 4 classes",
    );
    refused(
        Recipe {
            classes: 3,
            ..recipe(Task::Anagram)
        },
        "even number",
    );
    assert!(
        "layuot"
            .parse::<Task>()
            .unwrap_err()
            .to_string()
            .contains("known are layout")
    );
}
