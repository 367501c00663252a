//! Parameter and multiply-add counts against the published ones (papers, section 1.9.4).

use whatwhere::models::Architecture;
use whatwhere::spatial::{Layers, Plan, Removal};

fn counts(remove: Removal, cut: u32) -> (u64, u64) {
    let vgg = Architecture::by_name("vgg16", [32, 32, 3], 100, 1.0).unwrap();
    let plan = Plan {
        remove,
        cut,
        ..Plan::default()
    };
    let network = plan.apply(&vgg).unwrap();
    (network.parameters(), network.macs().unwrap())
}

/// Two decimals of millions of parameters, one of millions of multiply-adds.
#[test]
fn vgg16_counts_are_those_of_the_paper() {
    let gap_fc = [
        (99, 34.02, 332.5),
        (53, 31.92, 323.3),
        (43, 25.63, 267.5),
        (33, 21.96, 173.6),
        (22, 21.04, 79.3),
        (11, 20.94, 20.9),
    ];
    let shuffle = [
        (99, 34.01, 332.5),
        (53, 34.01, 325.4),
        (43, 34.01, 297.1),
        (33, 34.01, 268.8),
        (22, 34.01, 240.5),
        (11, 34.01, 212.2),
    ];
    for (remove, table) in [(Removal::GapFc, gap_fc), (Removal::Shuffle, shuffle)] {
        for (cut, millions, mmacs) in table {
            let (parameters, macs) = counts(remove, cut);
            let rounded = |x: u64, digits: f64| (x as f64 / 1e6 * digits).round() / digits;
            assert_eq!(rounded(parameters, 100.0), millions, "{remove} {cut}");
            assert_eq!(rounded(macs, 10.0), mmacs, "{remove} {cut}");
        }
    }
}

/// torchvision's vgg16_bn has the same features: 14,723,136 numbers with biases (its head differs).
#[test]
fn the_convolutions_are_torchvisions() {
    let (with_bias, _) = counts(Removal::GapFc, 99);
    let head = 512 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 100 + 100;
    assert_eq!(with_bias - head, 14_723_136);
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
