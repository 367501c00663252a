//! `kernels/spatial_shuffle.cu` against its definition; elements only move, so equality is exact.

use half::{bf16, f16};
use whatwhere::kernels::Address;
use whatwhere::kernels::emulator::{Memory, SHARED_LIMIT, Schedule};
use whatwhere::kernels::spatial_shuffle::{self, Maps};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::Element;

use super::{emulator_is_there, run};

/// A table for each of `tables` images: permutations of all positions, a fresh one per channel.
pub fn tables(
    key: Key,
    tables: usize,
    positions: usize,
    channels: usize,
    inverse: bool,
) -> Vec<f16> {
    let mut all = vec![f16::ZERO; tables * positions * channels];
    for (lane, column) in (0..tables * channels).enumerate() {
        let (image, channel) = (column / channels, column % channels);
        let permutation = key.stream(lane as u32).permutation(positions);
        for (to, from) in permutation.into_iter().enumerate() {
            let (at, entry) = if inverse {
                (from as usize, to)
            } else {
                (to, from as usize)
            };
            all[(image * positions + at) * channels + channel] = f16::from_bits(entry as u16);
        }
    }
    all
}

fn shuffled<T: Element>(x: &[T], table: &[f16], maps: Maps) -> Vec<T> {
    let Maps {
        positions,
        channels,
        ..
    } = maps;
    let image = positions * channels;
    (0..x.len())
        .map(|at| {
            let (n, here, c) = (at / image, at % image, at % channels);
            let entry = table[if maps.table_per_image { at } else { here }];
            x[n * image + entry.to_bits() as usize * channels + c]
        })
        .collect()
}

fn maps<T>(batch: usize, positions: usize, channels: usize, table_per_image: bool) -> Maps {
    Maps {
        batch,
        positions,
        channels,
        width: size_of::<T>(),
        table_per_image,
    }
}

/// Shuffles maps whose elements are all different (as far as `T` goes) by the kernel that
/// `shared_limit` leads to, checks it, and shuffles back.
fn check<T: Element>(maps: Maps, shared_limit: u32, kernel: &str, number: impl Fn(usize) -> T) {
    let Maps {
        batch,
        positions,
        channels,
        ..
    } = maps;
    let count = if maps.table_per_image { batch } else { 1 };
    let key = Key::new(3, Purpose::ShuffleTest, positions as u64, channels as u32);
    let x: Vec<T> = (0..batch * positions * channels).map(number).collect();
    let forward = tables(key, count, positions, channels, false);
    let inverse = tables(key, count, positions, channels, true);
    let want = shuffled(&x, &forward, maps);
    let memory_x = Memory::from_slice(&x).unwrap();
    let (forward, inverse) = (
        Memory::from_slice(&forward).unwrap(),
        Memory::from_slice(&inverse).unwrap(),
    );
    for schedule in Schedule::all() {
        let y = Memory::<T>::uninitialised(x.len()).unwrap();
        let back = Memory::<T>::uninitialised(x.len()).unwrap();
        let plan = |x: Address, table: &Memory<f16>, y: Address| {
            spatial_shuffle::launch(maps, shared_limit, x, table.address(), y).unwrap()
        };
        let launch = plan(memory_x.address(), &forward, y.address());
        assert_eq!(launch.kernel(), kernel, "{maps:?}");
        run(&launch, schedule);
        assert_eq!(y.to_vec(), want, "{maps:?} {schedule:?}");
        run(&plan(y.address(), &inverse, back.address()), schedule);
        assert_eq!(back.to_vec(), x, "there and back: {maps:?} {schedule:?}");
    }
}

/// H·W and channels: 1x1, 2x2, 7x7, H≠W; one vector, several, and a last column that is narrower.
const STAGED: [(usize, usize, usize); 5] =
    [(1, 1, 8), (2, 4, 16), (1, 49, 40), (3, 15, 72), (1, 221, 8)];

#[test]
fn staged() {
    if !emulator_is_there() {
        return;
    }
    for (batch, positions, channels) in STAGED {
        for per_image in [false, true] {
            let (wide, narrow) = (
                maps::<f32>(batch, positions, channels, per_image),
                maps::<bf16>(batch, positions, channels, per_image),
            );
            check(wide, SHARED_LIMIT, "spatial_shuffle_staged_b32", |i| {
                i as f32
            });
            check(narrow, SHARED_LIMIT, "spatial_shuffle_staged_b16", |i| {
                bf16::from_bits(i as u16 & 0x7F7F)
            });
        }
    }
}

/// The same maps with too little shared memory to stage them.
#[test]
fn direct() {
    if !emulator_is_there() {
        return;
    }
    for (batch, positions, channels) in STAGED {
        let (wide, narrow) = (
            maps::<f32>(batch, positions, channels, true),
            maps::<f16>(batch, positions, channels, false),
        );
        check(wide, 0, "spatial_shuffle_direct_b32", |i| i as f32);
        check(narrow, 0, "spatial_shuffle_direct_b16", |i| {
            f16::from_bits(i as u16 & 0x7BFF)
        });
    }
}

/// Channels that do not divide into 16-byte vectors, primes among them.
#[test]
fn scalar() {
    if !emulator_is_there() {
        return;
    }
    for (batch, positions, channels) in [(1, 1, 1), (2, 4, 3), (1, 49, 7), (2, 15, 13), (1, 6, 101)]
    {
        let (wide, narrow) = (
            maps::<f32>(batch, positions, channels, false),
            maps::<f16>(batch, positions, channels, true),
        );
        check(wide, SHARED_LIMIT, "spatial_shuffle_scalar_b32", |i| {
            i as f32
        });
        check(narrow, SHARED_LIMIT, "spatial_shuffle_scalar_b16", |i| {
            f16::from_bits(i as u16 & 0x7BFF)
        });
    }
}

/// Which kernel, how wide a column, and how much shared memory, on the maps of the networks.
#[test]
fn plans() {
    let plan = |side: usize, channels: usize, width: usize| {
        let maps = Maps {
            batch: 2,
            positions: side * side,
            channels,
            width,
            table_per_image: false,
        };
        let launch =
            spatial_shuffle::launch(maps, SHARED_LIMIT, Address(0), Address(0), Address(0))
                .unwrap();
        (
            launch.kernel(),
            launch.grid(),
            launch.block()[0],
            launch.shared_bytes(),
        )
    };
    let (b32, b16) = ("spatial_shuffle_staged_b32", "spatial_shuffle_staged_b16");
    assert_eq!(plan(7, 512, 4), (b32, [32, 2, 1], 256, 49 * 64));
    assert_eq!(plan(28, 256, 2), (b16, [8, 2, 1], 1024, 784 * 64));
    assert_eq!(plan(56, 128, 4), (b32, [16, 2, 1], 1024, 3136 * 32));
    assert_eq!(plan(112, 64, 2), (b16, [8, 2, 1], 1024, 12544 * 16));
    assert_eq!(
        plan(224, 64, 2),
        ("spatial_shuffle_direct_b16", [392, 4, 2], 256, 0)
    );
    assert_eq!(
        plan(224, 3, 4),
        ("spatial_shuffle_scalar_b32", [588, 1, 2], 256, 0)
    );
}

#[test]
fn impossible_maps_are_refused() {
    let good = maps::<f32>(1, 4, 4, false);
    let bad = [
        Maps { batch: 0, ..good },
        Maps {
            batch: 65536,
            ..good
        },
        Maps {
            positions: 0,
            ..good
        },
        Maps {
            positions: 65537,
            ..good
        },
        Maps {
            channels: 0,
            ..good
        },
        Maps {
            channels: 1 << 30,
            ..good
        },
        Maps { width: 8, ..good },
    ];
    for maps in bad {
        let refused =
            spatial_shuffle::launch(maps, SHARED_LIMIT, Address(0), Address(0), Address(0));
        let error = refused.unwrap_err().to_string();
        assert!(error.starts_with("spatial_shuffle: "), "{error}");
    }
}
