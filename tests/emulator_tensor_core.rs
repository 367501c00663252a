//! The emulator's tensor-core instructions against plain loops over whole matrices.

use half::{bf16, f16};
use whatwhere::kernels::Launch;
use whatwhere::kernels::emulator::{self, Memory, Schedule};
use whatwhere::rng::{Key, Purpose, Stream};
use whatwhere::tensor::Element;

fn emulator_is_there() -> bool {
    let there = emulator::is_available();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "this build has no emulator"
    );
    there
}

fn run(launch: &Launch, schedule: Schedule) {
    // SAFETY: each caller passes the kernel's arguments, of the sizes it takes.
    unsafe { emulator::run(launch, schedule) }.unwrap();
}

fn integers(stream: &mut Stream, length: usize) -> Vec<f32> {
    (0..length).map(|_| stream.below(17) as f32 - 8.0).collect()
}

/// d = a·bᵀ + c with a [16, depth], b [8, depth], exact on integers.
fn product<T: Element>(kernel: &'static str, depth: usize, of: impl Fn(f32) -> T) {
    if !emulator_is_there() {
        return;
    }
    let mut stream = Key::new(1, Purpose::Check, 3, 0).stream(depth as u32);
    let (a, b) = (
        integers(&mut stream, 16 * depth),
        integers(&mut stream, 8 * depth),
    );
    let c = integers(&mut stream, 16 * 8);
    let want: Vec<f32> = (0..16 * 8)
        .map(|i| {
            let (row, column) = (i / 8, i % 8);
            let products = (0..depth).map(|k| a[row * depth + k] * b[column * depth + k]);
            c[i] + products.sum::<f32>()
        })
        .collect();
    let typed = |values: &[f32]| -> Memory<T> {
        let values: Vec<T> = values.iter().map(|&v| of(v)).collect();
        Memory::from_slice(&values).unwrap()
    };
    let (a, b, c) = (typed(&a), typed(&b), Memory::from_slice(&c).unwrap());
    for schedule in Schedule::all() {
        let d = Memory::<f32>::uninitialised(16 * 8).unwrap();
        let launch = Launch::new(kernel, [1; 3], 32)
            .pointer(a.address())
            .pointer(b.address())
            .pointer(c.address())
            .pointer(d.address());
        run(&launch, schedule);
        assert_eq!(d.to_vec(), want, "{schedule:?}");
    }
}

#[test]
fn products() {
    product("primitive_mma_f16", 16, f16::from_f32);
    product("primitive_mma_bf16", 16, bf16::from_f32);
    product("primitive_mma_tf32", 8, |v| v);
}

/// Lane l gets from each matrix the elements 2 (l % 4) and the next of row l / 4; transposed, of column l / 4.
#[test]
fn matrices() {
    if !emulator_is_there() {
        return;
    }
    let x: Vec<f16> = (0..256).map(f16::from_bits).collect();
    let x = Memory::from_slice(&x).unwrap();
    let element =
        |matrix: usize, row: usize, column: usize| (matrix * 64 + row * 8 + column) as i32;
    for (kernel, transposed) in [
        ("primitive_load_matrices", false),
        ("primitive_load_matrices_transposed", true),
    ] {
        let words = (0..128).map(|i| {
            let (lane, matrix) = (i / 4, i % 4);
            let (line, first) = (lane / 4, lane % 4 * 2);
            let pair = [first, first + 1].map(|place| match transposed {
                true => element(matrix, place, line),
                false => element(matrix, line, place),
            });
            pair[0] | pair[1] << 16
        });
        let want: Vec<i32> = words.collect();
        for schedule in Schedule::all() {
            let found = Memory::<i32>::uninitialised(128).unwrap();
            let launch = Launch::new(kernel, [1; 3], 32)
                .pointer(x.address())
                .pointer(found.address());
            run(&launch, schedule);
            assert_eq!(found.to_vec(), want, "{kernel} {schedule:?}");
        }
    }
}

/// To nearest, ties away from zero; NaN stays NaN, and what rounds beyond the largest is infinite.
#[test]
fn rounding_to_tf32() {
    if !emulator_is_there() {
        return;
    }
    let cases = [
        (0x3F80_0000, 0x3F80_0000),
        (0x3F80_0FFF, 0x3F80_0000),
        (0x3F80_1000, 0x3F80_2000),
        (0xBF80_1000, 0xBF80_2000),
        (0x3FFF_F000, 0x4000_0000),
        (0x7F7F_FFFF, 0x7F80_0000),
        (0xFF80_0000, 0xFF80_0000),
        (0x7F80_0001, 0x7FFF_FFFF),
    ];
    let x: Vec<f32> = cases
        .iter()
        .map(|&(bits, _)| f32::from_bits(bits))
        .collect();
    let want: Vec<i32> = cases
        .iter()
        .map(|&(_, bits): &(u32, u32)| bits as i32)
        .collect();
    let x = Memory::from_slice(&x).unwrap();
    let found = Memory::<i32>::uninitialised(want.len()).unwrap();
    let launch = Launch::new("primitive_to_tf32", [1; 3], want.len() as u32)
        .pointer(x.address())
        .pointer(found.address());
    run(&launch, Schedule::FAST);
    assert_eq!(found.to_vec(), want);
}
