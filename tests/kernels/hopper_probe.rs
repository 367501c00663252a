//! `kernels/hopper_probe.cu`: what copies and products of sm_90a do, against plain loops.

use half::{bf16, f16};
use whatwhere::kernels::Launch;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::params::HopperProbeParams;
use whatwhere::kernels::tensor_map::{Im2col, TensorMap, Tile};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::Element;

use super::numbers::Number;
use super::{emulator_is_there, run};

const SHARED: u32 = 48 * 1024;

/// Elements that are all different: bits 1, 2, 3, ...; 0 stands for what lies outside.
fn numbered(count: usize) -> Vec<f16> {
    (1..=count).map(|i| f16::from_bits(i as u16)).collect()
}

/// The place of element (row, column) in a tile of 64 elements a row: 16-byte chunks of a row are
/// exchanged by its number.
fn swizzled(row: usize, column: usize) -> usize {
    row * 64 + ((column / 8) ^ (row % 8)) * 8 + column % 8
}

/// Copies one tile under all schedules; `at(row, column)` is the element that must be there.
fn check_tile(
    kernel: &'static str,
    map: impl Fn(&Memory<f16>) -> TensorMap,
    elements: usize,
    rows: usize,
    place: ([i32; 4], [u32; 2]),
    at: impl Fn(usize, usize) -> Option<usize>,
) {
    let tensor = numbered(elements);
    let x = Memory::from_slice(&tensor).unwrap();
    let map = map(&x);
    map.check().unwrap();
    let params = HopperProbeParams {
        at: place.0,
        offset: place.1,
        bytes: rows as u32 * 128,
        unused: 0,
    };
    for schedule in Schedule::all() {
        let out = Memory::<f16>::uninitialised(rows * 64).unwrap();
        let launch = Launch::new(kernel, [1; 3], 128)
            .shared(SHARED)
            .params(params)
            .map(map.clone())
            .pointer(out.address());
        run(&launch, schedule);
        let out = out.to_vec();
        for row in 0..rows {
            for column in 0..64 {
                let want = at(row, column).map_or(f16::ZERO, |i| tensor[i]);
                let got = out[swizzled(row, column)];
                assert_eq!(got, want, "{kernel} {place:?} row {row} column {column}");
            }
        }
    }
}

fn inside(at: i64, size: usize) -> Option<usize> {
    (0..size as i64).contains(&at).then_some(at as usize)
}

/// Tiles inside, and over each border of, a tensor of 72 by 11 elements.
#[test]
fn tiles_are_swizzled_and_end_in_zeros() {
    if !emulator_is_there() {
        return;
    }
    for at in [[0, 0], [8, 3], [16, 5], [-3, -2], [70, 10], [0, 40]] {
        let map = |x: &Memory<f16>| TensorMap {
            dtype: f16::DTYPE,
            address: x.address(),
            sizes: vec![72, 11],
            tile: Tile::Tiled(vec![64, 9]),
        };
        let place = ([at[0], at[1], 0, 0], [0; 2]);
        check_tile(
            "hopper_probe_tile2",
            map,
            72 * 11,
            9,
            place,
            |row, column| {
                let x = inside(i64::from(at[0]) + column as i64, 72)?;
                let y = inside(i64::from(at[1]) + row as i64, 11)?;
                Some(y * 72 + x)
            },
        );
    }
}

/// Filters [k = 5][tap = 6][c = 40], as dgrad (some k of one tap) and others cut them.
#[test]
fn tiles_of_three_axes() {
    if !emulator_is_there() {
        return;
    }
    for (tile, at) in [([64, 1, 4], [0, 2, 0]), ([64, 2, 3], [-8, 5, 3])] {
        let map = |x: &Memory<f16>| TensorMap {
            dtype: f16::DTYPE,
            address: x.address(),
            sizes: vec![40, 6, 5],
            tile: Tile::Tiled(tile.to_vec()),
        };
        let place = ([at[0], at[1], at[2], 0], [0; 2]);
        let rows = tile[1] * tile[2];
        check_tile(
            "hopper_probe_tile3",
            map,
            40 * 6 * 5,
            rows,
            place,
            |row, column| {
                let c = inside(i64::from(at[0]) + column as i64, 40)?;
                let tap = inside(i64::from(at[1]) + (row % tile[1]) as i64, 6)?;
                let k = inside(i64::from(at[2]) + (row / tile[1]) as i64, 5)?;
                Some((k * 6 + tap) * 40 + c)
            },
        );
    }
}

/// A 3x2 filter on maps of 7x5: the pixels of a tap are those a convolution's definition gives, with
/// padding, stride and dilation, from any output on and over the end of the batch.
#[test]
fn im2col_copies_what_a_tap_sees() {
    if !emulator_is_there() {
        return;
    }
    let (n, h, w, c) = (2, 7, 5, 72);
    for (stride, padding, dilation) in [([1, 1], [1, 0], [1, 1]), ([2, 3], [3, 2], [2, 3])] {
        let out = |i: usize, size: usize, filter: usize| {
            (size + 2 * padding[i] - (filter - 1) * dilation[i] - 1) / stride[i] + 1
        };
        let (p, q) = (out(0, h, 3), out(1, w, 2));
        for (first, tap, channel) in [(0, [0, 0], 0), (q + 1, [2, 1], 64), (p * q - 2, [1, 1], 8)] {
            let map = |x: &Memory<f16>| TensorMap {
                dtype: f16::DTYPE,
                address: x.address(),
                sizes: vec![c, w, h, n],
                tile: Tile::Im2col(Im2col {
                    pixels: 32,
                    lower: [-(padding[1] as i64), -(padding[0] as i64)],
                    upper: [
                        padding[1] as i64 - dilation[1] as i64,
                        padding[0] as i64 - 2 * dilation[0] as i64,
                    ],
                    steps: [stride[1], stride[0]],
                }),
            };
            // The base pixel of output `index`, and the pixel that the tap sees there.
            let base = |index: usize| {
                let (image, row, column) = (index / (p * q), index / q % p, index % q);
                let y = (row * stride[0]) as i64 - padding[0] as i64;
                let x = (column * stride[1]) as i64 - padding[1] as i64;
                (image, y, x)
            };
            let (image, y, x) = base(first);
            let at = [channel as i32, x as i32, y as i32, image as i32];
            let offset = [(tap[1] * dilation[1]) as u32, (tap[0] * dilation[0]) as u32];
            let elements = n * h * w * c;
            check_tile(
                "hopper_probe_im2col",
                map,
                elements,
                32,
                (at, offset),
                |row, column| {
                    let (image, y, x) = base(first + row);
                    let y = inside(y + i64::from(offset[1]), h)?;
                    let x = inside(x + i64::from(offset[0]), w)?;
                    let (image, c_at) = (
                        inside(image as i64, n)?,
                        inside((channel + column) as i64, c)?,
                    );
                    Some(((image * h + y) * w + x) * c + c_at)
                },
            );
        }
    }
}

/// D = A·B of small integers, each operand stored along k or across it.
fn check_product<T: Number>(kernel: &'static str, columns: usize, a_across: bool, b_across: bool) {
    let depth = 128 / size_of::<T>();
    let mut stream = Key::new(23, Purpose::Check, columns as u64, 0).stream(0);
    let mut integers = |count: usize| -> Vec<f64> {
        (0..count)
            .map(|_| f64::from(stream.below(15) as i32 - 7))
            .collect()
    };
    let (a, b) = (integers(64 * depth), integers(columns * depth));
    let stored = |matrix: &[f64], rows: usize, across: bool| {
        let at = |i: usize| match across {
            true => i % rows * depth + i / rows,
            false => i,
        };
        let values: Vec<T> = (0..rows * depth).map(|i| T::of(matrix[at(i)])).collect();
        Memory::from_slice(&values).unwrap()
    };
    let (memory_a, memory_b) = (stored(&a, 64, a_across), stored(&b, columns, b_across));
    let map = |memory: &Memory<T>, rows: usize, across: bool| match across {
        true => matrix_map(memory, [rows, depth], [64, depth]),
        false => matrix_map(memory, [depth, rows], [depth, rows]),
    };
    for schedule in Schedule::all() {
        let maps = [
            map(&memory_a, 64, a_across),
            map(&memory_b, columns, b_across),
        ];
        let products = product(kernel, columns, maps, schedule);
        for (i, got) in products.into_iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let terms = (0..depth).map(|k| a[row * depth + k] * b[column * depth + k]);
            let want: f64 = terms.sum();
            assert_eq!(
                f64::from(got),
                want,
                "{kernel} {schedule:?} ({row}, {column})"
            );
        }
    }
}

/// A matrix of this many elements in a row, this many rows; and its tiles.
fn matrix_map<T: Number>(memory: &Memory<T>, sizes: [usize; 2], tile: [usize; 2]) -> TensorMap {
    TensorMap {
        dtype: T::DTYPE,
        address: memory.address(),
        sizes: sizes.to_vec(),
        tile: Tile::Tiled(tile.to_vec()),
    }
}

/// 64 rows of products, as the probe `kernel` makes them.
fn product(
    kernel: &'static str,
    columns: usize,
    maps: [TensorMap; 2],
    schedule: Schedule,
) -> Vec<f32> {
    let d = Memory::<f32>::uninitialised(64 * columns).unwrap();
    let launch = Launch::new(kernel, [1; 3], 128).shared(SHARED);
    let launch = maps.into_iter().fold(launch, Launch::map);
    run(&launch.pointer(d.address()), schedule);
    d.to_vec()
}

#[test]
fn products_of_every_layout() {
    if !emulator_is_there() {
        return;
    }
    check_product::<bf16>("hopper_probe_product_kk_n64_bf16", 64, false, false);
    check_product::<f16>("hopper_probe_product_kk_n128_f16", 128, false, false);
    check_product::<bf16>("hopper_probe_product_kk_n256_bf16", 256, false, false);
    check_product::<bf16>("hopper_probe_product_km_n128_bf16", 128, false, true);
    check_product::<f16>("hopper_probe_product_mk_n64_f16", 64, true, false);
    check_product::<bf16>("hopper_probe_product_mm_n256_bf16", 256, true, true);
    check_product::<f32>("hopper_probe_product_kk_n64_tf32", 64, false, false);
    check_product::<f32>("hopper_probe_product_kk_n128_tf32", 128, false, false);
    check_product::<f32>("hopper_probe_product_kk_n256_tf32", 256, false, false);
}

/// Of an f32 the products take sign, exponent and 10 bits: the rest is cut off, not rounded.
#[test]
fn tf32_is_cut_off() {
    if !emulator_is_there() {
        return;
    }
    let bits = [0x3F80_1FFF, 0x3F80_2000, 0xBFFF_FFFF, 0x3F80_3000];
    let value = |i: usize| f32::from_bits(bits[i % 4]);
    // Row r of A is value r in its first place; B is the identity's first column, everywhere.
    let a: Vec<f32> = (0..64 * 32)
        .map(|i| if i % 32 == 0 { value(i / 32) } else { 0.0 })
        .collect();
    let b: Vec<f32> = (0..64 * 32)
        .map(|i| f32::from(u8::from(i % 32 == 0)))
        .collect();
    let [a, b] = [a, b].map(|values| Memory::from_slice(&values).unwrap());
    let maps = [&a, &b].map(|memory| matrix_map(memory, [32, 64], [32, 64]));
    let products = product("hopper_probe_product_kk_n64_tf32", 64, maps, Schedule::FAST);
    for (i, found) in products.into_iter().enumerate() {
        let want = bits[i / 64 % 4] & !0x1FFF;
        assert_eq!(found.to_bits(), want, "row {}", i / 64);
    }
}
