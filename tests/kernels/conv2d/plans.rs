//! Which kernel a planner takes, and what it refuses.

use whatwhere::cpu::conv2d::ConvShape;
use whatwhere::kernels::conv2d::{
    BiasGradient, Direction, Epilogue, Fprop, Kind, Math, Plan, Target, Tile,
};
use whatwhere::kernels::{Address, Launch};
use whatwhere::tensor::DType;

use super::{DIRECTIONS, NULL, TWO, planned, shape};

/// 132 multiprocessors, as an H100 has.
const fn gpu(capability: u32) -> Target {
    Target {
        capability,
        multiprocessors: 132,
    }
}

fn chosen(g: &ConvShape, math: Math, direction: Direction, capability: u32) -> Kind {
    let plan = Plan::new(g, math, direction, false, gpu(capability));
    plan.unwrap().kind()
}

const fn portable(tile: Tile, parts: usize) -> Kind {
    Kind::Portable { tile, parts }
}

const fn hopper(columns: usize, parts: usize) -> Kind {
    Kind::Hopper { columns, parts }
}

/// Which kernel and how many parts, on the layers of the networks.
#[test]
fn plans_of_networks() {
    use Direction::{Dgrad, Fprop, Wgrad};
    let stem = shape([128, 224, 224, 3], [64, 7, 7], 2, 3, 1);
    let body = shape([128, 56, 56, 128], [128, 3, 3], 1, 1, 1);
    let narrow = shape([128, 56, 56, 64], [64, 3, 3], 1, 1, 1);
    let deep = shape([128, 2, 2, 512], [512, 3, 3], 1, 1, 1);
    let bf16 = Math::Bf16;
    for capability in [80, 89, 100] {
        let plan = |g, math, direction| chosen(g, math, direction, capability);
        assert_eq!(plan(&stem, Math::F32, Fprop), portable(Tile::Scalar, 1));
        for direction in [Fprop, Dgrad] {
            assert_eq!(plan(&body, bf16, direction), portable(Tile::Large, 1));
        }
        assert_eq!(plan(&body, bf16, Wgrad), portable(Tile::Large, 29));
        assert_eq!(plan(&narrow, Math::Tf32, Fprop), portable(Tile::Small, 1));
        let split = plan(&deep, Math::F32, Fprop);
        assert!(matches!(split, Kind::Portable { parts, .. } if parts > 1));
    }
    let plan = |g, math, direction| chosen(g, math, direction, 90);
    for direction in [Fprop, Dgrad] {
        assert_eq!(plan(&body, bf16, direction), hopper(128, 1));
        assert_eq!(plan(&narrow, Math::Tf32, direction), hopper(64, 1));
        let split = plan(&deep, Math::F16, direction);
        assert!(matches!(split, Kind::Hopper { parts, .. } if parts > 1));
    }
    assert_eq!(plan(&narrow, bf16, Wgrad), hopper(64, 14));
    let wide = shape([128, 28, 28, 256], [512, 3, 3], 1, 1, 1);
    assert_eq!(plan(&wide, bf16, Fprop), hopper(256, 1));
    // Three channels, f32, tf32 across rows, mostly padding.
    assert_eq!(plan(&stem, bf16, Fprop), portable(Tile::Scalar, 1));
    let classifier = shape([32, 1, 1, 512], [1000, 1, 1], 1, 0, 1);
    for (g, math, direction) in [
        (&body, Math::F32, Fprop),
        (&body, Math::Tf32, Wgrad),
        (&classifier, bf16, Fprop),
    ] {
        let kind = plan(g, math, direction);
        assert!(matches!(kind, Kind::Portable { .. }), "{kind:?}");
    }
}

/// The declared cases of conv2d and linear that are meant for the kernels of sm_90a come to them in the
/// emulator.
#[test]
fn declared_cases_reach_every_kernel() {
    let emulator = Target {
        capability: 90,
        multiprocessors: 4,
    };
    let case = ConvShape {
        padding: [0, 1],
        ..shape([2, 8, 8, 64], [64, 1, 3], 1, 0, 1)
    };
    let linear = shape([128, 1, 1, 64], [64, 1, 1], 1, 0, 1);
    for g in [case, linear] {
        for direction in DIRECTIONS {
            let plan = Plan::new(&g, Math::Bf16, direction, false, emulator).unwrap();
            assert_eq!(plan.kind(), hopper(64, 1), "{direction:?} of {g:?}");
        }
    }
}

/// A strided dgrad on sm_90a is one launch for each residue class; tf32 turns the filters first; a split
/// one ends in a sum.
#[test]
fn launches_of_a_plan() {
    let strided = shape([32, 56, 56, 128], [256, 3, 3], 2, 1, 1);
    let dgrad = |math, kind| {
        let plan = planned(&strided, math, Direction::Dgrad, kind).unwrap();
        let scratch = plan.scratch_bytes();
        let launches = plan.dgrad(NULL, NULL, NULL, NULL).unwrap();
        let kernels: Vec<_> = launches.iter().map(Launch::kernel).collect();
        assert_eq!(launches.last().unwrap().grid()[0] > 2, kernels.len() > 5);
        (kernels, scratch)
    };
    let (kernels, scratch) = dgrad(Math::Bf16, hopper(128, 1));
    assert_eq!(kernels, ["conv2d_hopper_dgrad_n128_bf16"; 4]);
    assert_eq!(scratch, 0);
    let (kernels, scratch) = dgrad(Math::Tf32, hopper(64, 2));
    assert_eq!(kernels[0], "conv2d_hopper_transpose_filters");
    assert_eq!(kernels[1..5], ["conv2d_hopper_fprop_n64_tf32"; 4]);
    assert_eq!(kernels[5..], ["conv2d_finish_f32"]);
    assert_eq!(
        scratch,
        4 * (2 * strided.input_len() + strided.filter_len())
    );
}

/// What the kernels of sm_90a cannot do is planned for the others, and said why when asked for.
#[test]
fn what_is_left_to_the_portable_kernels() {
    let good = shape([16, 8, 8, 64], [64, 3, 3], 1, 1, 1);
    let refused = |g: ConvShape, math, direction, reason: &str| {
        let plan = Plan::new(&g, math, direction, false, gpu(90)).unwrap();
        assert!(matches!(plan.kind(), Kind::Portable { .. }), "{g:?}");
        let error = plan.with(hopper(64, 1)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    let (bf16, fprop) = (Math::Bf16, Direction::Fprop);
    assert_eq!(chosen(&good, bf16, fprop, 90), hopper(64, 1));
    refused(good, Math::F32, fprop, "products of warpgroups");
    refused(good, Math::Tf32, Direction::Wgrad, "products of warpgroups");
    refused(ConvShape { c: 3, ..good }, bf16, fprop, "multiples of 8");
    let ragged = ConvShape { k: 20, ..good };
    refused(ragged, bf16, Direction::Wgrad, "multiples of 8");
    let far = shape([1, 300, 300, 64], [64, 3, 3], 1, 100, 128);
    refused(far, bf16, fprop, "the copy engine reaches 255");
    let wide = shape([1, 300, 300, 64], [64, 3, 3], 1, 129, 1);
    refused(wide, bf16, fprop, "beyond the map");
    let long = shape([1, 40, 40, 64], [64, 9, 9], 9, 0, 1);
    refused(long, bf16, fprop, "a step of 9");
    let plan = planned(&long, bf16, Direction::Dgrad, hopper(64, 1)).unwrap();
    assert!(plan.with(hopper(96, 1)).is_err());
    assert!(plan.with(hopper(64, 0)).is_err());
    assert!(plan.with(hopper(64, 3)).is_err());
}

/// A plan of a 1x1 convolution is one of matrices.
#[test]
fn pointwise_convolutions_are_products() {
    let g = shape([2, 7, 5, 8], [16, 1, 1], 1, 0, 1);
    let matrix = shape([70, 1, 1, 8], [16, 1, 1], 1, 0, 1);
    for direction in DIRECTIONS {
        let [a, b] = [g, matrix].map(|g| Plan::new(&g, Math::F32, direction, false, TWO).unwrap());
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }
}

#[test]
fn impossible_convolutions_are_refused() {
    let good = shape([1, 8, 8, 8], [8, 3, 3], 1, 1, 1);
    let bad = [
        ConvShape { n: 0, ..good },
        ConvShape { c: 0, ..good },
        ConvShape {
            stride: [0, 1],
            ..good
        },
        ConvShape { r: 11, ..good },
        ConvShape { n: 1 << 23, ..good },
        ConvShape { k: 1 << 25, ..good },
        ConvShape {
            padding: [usize::MAX, 1],
            ..good
        },
        ConvShape {
            dilation: [usize::MAX, 1],
            ..good
        },
        ConvShape {
            h: 1 << 20,
            w: 1 << 3,
            stride: [1 << 14, 1 << 3],
            ..good
        },
    ];
    for g in bad {
        let refused = DIRECTIONS.map(|d| Plan::new(&g, Math::F32, d, false, TWO).is_err());
        assert!(refused.contains(&true), "{g:?}");
    }
    let plan = |direction| Plan::new(&good, Math::F32, direction, false, TWO).unwrap();
    let fprop = plan(Direction::Fprop);
    let refusals = [
        fprop.dgrad(NULL, NULL, NULL, NULL).unwrap_err(),
        fprop.wgrad(NULL, NULL, NULL, NULL).unwrap_err(),
        plan(Direction::Dgrad)
            .dgrad(Address(8), NULL, NULL, NULL)
            .unwrap_err(),
        fprop.with(portable(Tile::Small, 0)).unwrap_err(),
        fprop.with(portable(Tile::Small, 6)).unwrap_err(),
        Plan::new(
            &ConvShape { c: 3, ..good },
            Math::F32,
            Direction::Fprop,
            true,
            TWO,
        )
        .unwrap()
        .with(portable(Tile::Large, 1))
        .unwrap_err(),
    ];
    for error in refusals {
        assert!(error.to_string().starts_with("conv2d: "), "{error}");
    }
    let some = Address(16);
    for epilogue in [
        Epilogue {
            relu: true,
            statistics: some,
            ..Epilogue::default()
        },
        Epilogue {
            residual: some,
            statistics: some,
            ..Epilogue::default()
        },
        Epilogue {
            scale: some,
            ..Epilogue::default()
        },
        Epilogue {
            bias: Address(4),
            ..Epilogue::default()
        },
    ] {
        let with = Fprop {
            epilogue,
            ..Fprop::default()
        };
        assert!(fprop.fprop(with, NULL).is_err(), "{epilogue:?}");
    }
    let statistics = Fprop {
        epilogue: Epilogue {
            statistics: some,
            ..Epilogue::default()
        },
        ..Fprop::default()
    };
    let split = fprop.with(portable(Tile::Small, 2)).unwrap();
    assert!(fprop.fprop(statistics, NULL).is_ok());
    assert!(split.fprop(statistics, NULL).is_err());
    assert!(BiasGradient::new(0, 4, DType::F32, 1).is_err());
    assert!(BiasGradient::new(1 << 20, 1 << 12, DType::F32, 1).is_err());
    assert!(BiasGradient::new(4, 4, DType::F64, 1).is_err());
}
