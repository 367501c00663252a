//! Which kernel a planner takes, and what it refuses.

use whatwhere::cpu::conv2d::ConvShape;
use whatwhere::kernels::Address;
use whatwhere::kernels::conv2d::{
    BiasGradient, Direction, Epilogue, Fprop, Kind, Math, Plan, Target, Tile,
};
use whatwhere::tensor::DType;

use super::{DIRECTIONS, NULL, ONE, shape};

/// Which kernel and how many parts, on the layers of the networks.
#[test]
fn plans_of_networks() {
    let target = Target {
        capability: 80,
        multiprocessors: 132,
    };
    let plan = |g: &ConvShape, math, direction| match Plan::new(g, math, direction, false, target)
        .unwrap()
        .kind()
    {
        Kind::Portable { tile, parts } => (tile, parts),
    };
    let stem = shape([128, 224, 224, 3], [64, 7, 7], 2, 3, 1);
    assert_eq!(plan(&stem, Math::F32, Direction::Fprop), (Tile::Scalar, 1));
    let body = shape([128, 56, 56, 128], [128, 3, 3], 1, 1, 1);
    for direction in [Direction::Fprop, Direction::Dgrad] {
        assert_eq!(plan(&body, Math::Bf16, direction), (Tile::Large, 1));
    }
    assert_eq!(plan(&body, Math::Bf16, Direction::Wgrad), (Tile::Large, 29));
    let narrow = shape([128, 56, 56, 64], [64, 3, 3], 1, 1, 1);
    assert_eq!(
        plan(&narrow, Math::Tf32, Direction::Fprop),
        (Tile::Small, 1)
    );
    let deep = shape([128, 2, 2, 512], [512, 3, 3], 1, 1, 1);
    let (tile, parts) = plan(&deep, Math::F32, Direction::Fprop);
    assert!(tile != Tile::Scalar && parts > 1);
}

/// A plan of a 1x1 convolution is one of matrices.
#[test]
fn pointwise_convolutions_are_products() {
    let g = shape([2, 7, 5, 8], [16, 1, 1], 1, 0, 1);
    let matrix = shape([70, 1, 1, 8], [16, 1, 1], 1, 0, 1);
    for direction in DIRECTIONS {
        let [a, b] = [g, matrix].map(|g| Plan::new(&g, Math::F32, direction, false, ONE).unwrap());
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
        let refused = DIRECTIONS.map(|d| Plan::new(&g, Math::F32, d, false, ONE).is_err());
        assert!(refused.contains(&true), "{g:?}");
    }
    let plan = |direction| Plan::new(&good, Math::F32, direction, false, ONE).unwrap();
    let fprop = plan(Direction::Fprop);
    let kind = |tile, parts| Kind::Portable { tile, parts };
    let refusals = [
        fprop.dgrad(NULL, NULL, NULL, NULL).unwrap_err(),
        fprop.wgrad(NULL, NULL, NULL, NULL).unwrap_err(),
        plan(Direction::Dgrad)
            .dgrad(Address(8), NULL, NULL, NULL)
            .unwrap_err(),
        fprop.with(kind(Tile::Small, 0)).unwrap_err(),
        fprop.with(kind(Tile::Small, 6)).unwrap_err(),
        Plan::new(
            &ConvShape { c: 3, ..good },
            Math::F32,
            Direction::Fprop,
            true,
            ONE,
        )
        .unwrap()
        .with(kind(Tile::Large, 1))
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
    let split = fprop.with(kind(Tile::Small, 2)).unwrap();
    assert!(fprop.fprop(statistics, NULL).is_ok());
    assert!(split.fprop(statistics, NULL).is_err());
    assert!(BiasGradient::new(0, 4, DType::F32, 1).is_err());
    assert!(BiasGradient::new(1 << 20, 1 << 12, DType::F32, 1).is_err());
    assert!(BiasGradient::new(4, 4, DType::F64, 1).is_err());
}
