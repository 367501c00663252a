//! Parameter and multiply-add counts against the published ones (papers, section 1.9.4).

use whatwhere::models::{Architecture, MODELS, Network};
use whatwhere::nn::Layer;
use whatwhere::spatial::{Layers, Plan, Removal};

/// The network of `model` for `side`² images and 100 classes.
fn network(model: &str, side: usize, remove: Removal, cut: u32) -> Network {
    let architecture = Architecture::by_name(model, [side, side, 3], 100, 1.0).unwrap();
    let plan = Plan {
        remove,
        cut,
        ..Plan::default()
    };
    plan.apply(&architecture).unwrap()
}

fn counts(model: &str, remove: Removal, cut: u32) -> (u64, u64) {
    let network = network(model, 32, remove, cut);
    (network.parameters(), network.macs().unwrap())
}

/// x in millions with so many decimals, as papers print it.
fn millions(x: u64, decimals: usize) -> String {
    format!("{:.decimals$}", x as f64 / 1e6)
}

#[test]
fn vgg16_counts_are_those_of_the_paper() {
    let gap_fc = [
        (99, "34.02", "332.5"),
        (53, "31.92", "323.3"),
        (43, "25.63", "267.5"),
        (33, "21.96", "173.6"),
        (22, "21.04", "79.3"),
        (11, "20.94", "20.9"),
    ];
    let shuffle = [
        (99, "34.01", "332.5"),
        (53, "34.01", "325.4"),
        (43, "34.01", "297.1"),
        (33, "34.01", "268.8"),
        (22, "34.01", "240.5"),
        (11, "34.01", "212.2"),
    ];
    for (remove, table) in [(Removal::GapFc, gap_fc), (Removal::Shuffle, shuffle)] {
        for (cut, parameters, macs) in table {
            let found = counts("vgg16", remove, cut);
            assert_eq!(millions(found.0, 2), parameters, "{remove} {cut}");
            assert_eq!(millions(found.1, 1), macs, "{remove} {cut}");
        }
    }
}

#[test]
fn resnet50_counts_are_those_of_the_paper() {
    for (cut, parameters, macs) in [
        (99, "23.71", "1298"),
        (42, "21.61", "1229"),
        (40, "17.41", "1042"),
        (35, "16.89", "972"),
        (30, "14.27", "568"),
        (20, "13.74", "233"),
        (10, "13.65", "15"),
    ] {
        let found = counts("resnet50", Removal::GapFc, cut);
        assert_eq!(millions(found.0, 2), parameters, "gap-fc {cut}");
        assert_eq!(millions(found.1, 0), macs, "gap-fc {cut}");
        // A shuffle costs no parameter and no multiply-add.
        let shuffled = counts("resnet50", Removal::Shuffle, cut);
        assert_eq!(shuffled, (23_705_252, 1_298_014_208), "shuffle {cut}");
    }
}

/// Those of torchvision's models, counted with hooks on its convolutions and fully connected layers.
#[test]
fn imagenet_and_cifar_resnets_have_torchvisions_exact_counts() {
    let counts = |model: &str, side: usize, classes: usize| {
        let architecture = Architecture::by_name(model, [side, side, 3], classes, 1.0).unwrap();
        let network = Plan::default().apply(&architecture).unwrap();
        (network.parameters(), network.macs().unwrap())
    };
    assert_eq!(counts("resnet50", 224, 1000), (25_557_032, 4_089_184_256));
    assert_eq!(counts("resnet152", 224, 1000), (60_192_808, 11_513_626_624));
    // The same with the CIFAR stem in place of theirs.
    assert_eq!(counts("resnet50", 32, 100), (23_705_252, 1_298_014_208));
    assert_eq!(counts("resnet152", 64, 100).0, 58_341_028);
    assert_eq!(counts("resnet152", 32, 100), (58_341_028, 3_722_321_920));
}

/// torchvision's vgg16_bn has the same features: 14,723,136 numbers with biases (its head differs).
#[test]
fn the_convolutions_are_torchvisions() {
    let (with_bias, _) = counts("vgg16", Removal::GapFc, 99);
    let head = 512 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 100 + 100;
    assert_eq!(with_bias - head, 14_723_136);
}

#[test]
fn the_stem_follows_the_image_or_the_name() {
    let stem = |model, side| {
        let network = network(model, side, Removal::None, 99);
        let words: Vec<String> = network.stages[0]
            .layers
            .iter()
            .map(Layer::to_string)
            .collect();
        words.join(" ")
    };
    let (small, large) = ("conv3x3 bn+relu", "conv7x7/2 bn+relu max3/2");
    assert_eq!(stem("resnet50", 32), small);
    assert_eq!(stem("resnet50", 64), small);
    assert_eq!(stem("resnet50", 65), large);
    assert_eq!(stem("resnet152", 224), large);
    assert_eq!(stem("resnet50-imagenet", 32), large);
    assert_eq!(stem("resnet152-cifar", 224), small);
    assert_eq!(stem("resnet-small", 224), small);
}

#[test]
fn every_model_lowers_under_every_treatment_at_every_cut() {
    for model in MODELS {
        let architecture = Architecture::by_name(model, [32, 32, 3], 10, 1.0).unwrap();
        for remove in [
            Removal::Shuffle,
            Removal::GapFc,
            Removal::Truncate,
            Removal::Conv1x1,
        ] {
            for cut in architecture.cuts() {
                let plan = Plan {
                    remove,
                    cut,
                    ..Plan::default()
                };
                let network = plan.apply(&architecture);
                if remove == Removal::GapFc && architecture.head.side > 1 {
                    let refused = network.unwrap_err().to_string();
                    assert!(refused.contains("reads a map of 7×7"), "{refused}");
                    continue;
                }
                let network = network.unwrap();
                let rows = network.summary().unwrap().rows;
                let sum: u64 = rows.iter().map(|row| row.parameters).sum();
                assert_eq!(sum, network.parameters(), "{model} {remove} {cut}");
                assert_eq!(rows.last().unwrap().output.dims(), [10], "{model} {remove}");
            }
        }
    }
}

/// The published numbers of parameters and of multiply-adds.
#[test]
fn torchvisions_vggs_have_their_published_size() {
    for (model, parameters, macs) in [
        ("vgg16-torchvision", 138_357_544, 15_470_264_320),
        ("vgg16-bn-torchvision", 138_365_992, 15_470_264_320),
    ] {
        let architecture = Architecture::by_name(model, [224, 224, 3], 1000, 1.0).unwrap();
        let network = Plan::default().apply(&architecture).unwrap();
        assert_eq!(network.parameters(), parameters, "{model}");
        assert_eq!(network.macs().unwrap(), macs, "{model}");
    }
}

/// The papers' rule for a bottleneck: the input of the 3×3 and what the shortcut carries, each with
/// permutations of its own.
#[test]
fn a_bottleneck_is_shuffled_twice_with_permutations_of_its_own_each() {
    let network = network("resnet50", 32, Removal::Shuffle, 30);
    let (mut coordinates, mut at_30) = (Vec::new(), Vec::new());
    let look = |stage: &whatwhere::models::Stage, layer: &Layer, input: &_| {
        if let Layer::Shuffle(shuffle) = layer {
            coordinates.push(shuffle.layer);
            if stage.name == "30" {
                at_30.push(format!("{input}"));
            }
        }
    };
    network.visit(look).unwrap();
    // Six blocks of stage 3 and three of stage 4.
    assert_eq!(coordinates.len(), 18);
    coordinates.sort_unstable();
    coordinates.dedup();
    assert_eq!(coordinates.len(), 18, "two shuffles share a key");
    // The body's map has 256 channels, the shortcut's 512; neither has shrunk yet.
    assert_eq!(at_30, ["[16, 16, 256]", "[16, 16, 512]"]);

    let words = |index: usize| network.stages[index].layers[0].to_string();
    assert_eq!(
        words(8),
        "[conv1x1 shuffle conv3x3/2 conv1x1 + shuffle conv1x1/2]"
    );
    assert_eq!(words(9), "[conv1x1 shuffle conv3x3 conv1x1 + shuffle]");
    assert_eq!(words(7), "[conv1x1 conv3x3 conv1x1 + id]");
}

#[test]
fn the_table_of_a_resnet_counts_both_shuffles_and_knows_its_field() {
    let network = network("resnet50", 32, Removal::Shuffle, 40);
    let summary = network.summary().unwrap();
    let row = |name: &str| summary.rows.iter().find(|row| row.name == name).unwrap();
    let factorial = |n: u32| (2..=n).map(|i| f64::from(i).log2()).sum::<f64>();
    // Both shuffles of block 40 see the 8×8 map before its stride, those of 41 the 4×4 behind it.
    assert_eq!(row("40").destroyed, "shuffle ×2");
    assert_eq!(row("40").bits, 2.0 * factorial(64));
    assert_eq!(row("41").bits, 2.0 * factorial(16));
    assert_eq!(row("35").bits, 0.0);
    // A 3×3 of dilation 1 widens the field by twice the distance between neighbours: the stem to 3,
    // each block of stage 1 by 2; of stage 2, by 2 before its stride and 4 behind it; and so on.
    assert_eq!(row("0").receptive_field, Some(3));
    assert_eq!(row("12").receptive_field, Some(9));
    assert_eq!(row("23").receptive_field, Some(9 + 2 + 3 * 4));
    assert_eq!(row("35").receptive_field, Some(23 + 4 + 5 * 8));
    assert_eq!(row("40").receptive_field, None);
}

#[test]
fn resnet152_is_never_treated_before_stage_2() {
    let deep = Architecture::by_name("resnet152", [224, 224, 3], 1000, 1.0).unwrap();
    let cuts: Vec<u32> = [200..=207, 300..=335, 400..=402]
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(deep.cuts(), cuts);
    let at = |cut| Plan {
        remove: Removal::GapFc,
        cut,
        ..Plan::default()
    };
    for cut in [0, 100, 102] {
        let said = at(cut).apply(&deep).unwrap_err().to_string();
        assert!(said.contains("resnet152 has the layers 200 201"), "{said}");
    }
    let baseline = at(999).apply(&deep).unwrap();
    assert_eq!(baseline.parameters(), 60_192_808);
    assert_eq!(at(999).replaced_share(&deep).unwrap(), 0.0);
    // 47 of 51 units: the stem and the three blocks of stage 1 stay.
    assert_eq!(at(200).replaced_share(&deep).unwrap(), 47.0 / 51.0);
}

#[test]
fn treatments_cover_the_right_layers() {
    let vgg = Architecture::by_name("vgg16", [32, 32, 3], 100, 1.0).unwrap();
    let share = |layers, cut, last| {
        let plan = Plan {
            remove: Removal::Shuffle,
            layers,
            cut,
            last,
            ..Plan::default()
        };
        plan.replaced_share(&vgg).unwrap() * 13.0
    };
    assert_eq!(share(Layers::From, 43, None), 4.0);
    assert_eq!(share(Layers::From, 33, None), 7.0);
    assert_eq!(share(Layers::Only, 33, None), 1.0);
    assert_eq!(share(Layers::Band, 31, Some(42)), 5.0);
    assert_eq!(share(Layers::From, 99, None), 0.0);
}

#[test]
fn impossible_plans_are_refused_by_name() {
    let vgg = Architecture::by_name("vgg16", [32, 32, 3], 100, 1.0).unwrap();
    let refused = |plan: Plan| plan.apply(&vgg).unwrap_err().to_string();
    let base = Plan {
        remove: Removal::Shuffle,
        cut: 33,
        ..Plan::default()
    };
    for (plan, expected) in [
        (
            Plan {
                cut: 44,
                ..base.clone()
            },
            "vgg16 has the layers 11 12 21",
        ),
        (
            Plan {
                layers: Layers::Band,
                ..base.clone()
            },
            "--last",
        ),
        (
            Plan {
                layers: Layers::Band,
                last: Some(31),
                ..base.clone()
            },
            "before it begins",
        ),
        (
            Plan {
                last: Some(43),
                ..base.clone()
            },
            "--layers band",
        ),
        (
            Plan {
                mode: "local(16)".parse().unwrap(),
                ..base.clone()
            },
            "16×16",
        ),
        (
            Plan {
                remove: Removal::GapFc,
                layers: Layers::Only,
                ..base.clone()
            },
            "gap-fc",
        ),
        (
            Plan {
                remove: Removal::Truncate,
                layers: Layers::Only,
                ..base
            },
            "truncation",
        ),
    ] {
        let message = refused(plan);
        assert!(message.contains(expected), "{message}");
    }
    let unknown = Architecture::by_name("vgg17", [32, 32, 3], 10, 1.0)
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("vgg17") && unknown.contains("vgg16"),
        "{unknown}"
    );
}
