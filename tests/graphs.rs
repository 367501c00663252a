//! Work captured into graphs and replayed, in the emulator: no GPU needed.

use whatwhere::device::Device;
use whatwhere::kernels::emulator;
use whatwhere::ops::dropout::Dropout;
use whatwhere::ops::relu::Relu;
use whatwhere::ops::spatial_shuffle::{Mode, SpatialShuffle};
use whatwhere::ops::{Clock, Operation, RandomKey, Saved};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::{DType, Tensor};
use whatwhere::{Error, Result};

const EMULATOR: Device = Device::Emulator;

fn emulator_is_there() -> bool {
    if !emulator::is_available() {
        assert!(
            std::env::var_os("CI").is_none(),
            "this build has no emulator"
        );
        eprintln!("skipped: this build has no emulator");
    }
    emulator::is_available()
}

fn there(dims: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(dims, values, EMULATOR).unwrap()
}

fn forward(op: &dyn Operation, x: &Tensor) -> Result<Tensor> {
    Ok(op.forward(&[x], &mut Saved::default())?.value)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec().unwrap()
}

#[test]
fn a_capture_runs_nothing_and_a_replay_everything() {
    if !emulator_is_there() {
        return;
    }
    let mut x = there(&[3], &[-1.0, 2.0, 3.0]);
    let (graph, (y, copy, zero)) = EMULATOR
        .capture(|| {
            let y = forward(&Relu, &x)?;
            let copy = y.deep_clone()?;
            Ok((y, copy, Tensor::zeros([3], DType::F32, EMULATOR)?))
        })
        .unwrap();
    assert!(values(&y).iter().all(|v| v.is_nan()), "it ran already");
    for input in [[-1.0, 2.0, 3.0], [5.0, -6.0, 0.0]] {
        x.copy_from(&Tensor::from_slice([3], &input, Device::Cpu).unwrap())
            .unwrap();
        graph.replay().unwrap();
        let expected = input.map(|v: f32| v.max(0.0));
        assert_eq!(
            (values(&y), values(&copy)),
            (expected.to_vec(), expected.to_vec())
        );
        assert_eq!(values(&zero), [0.0; 3]);
    }
}

/// Blocks that only the graph knows are still there when it is replayed, and those that the captured
/// work gave back serve again within it.
#[test]
fn a_graph_holds_its_memory_and_uses_it_again() {
    if !emulator_is_there() {
        return;
    }
    let x = there(&[2, 2], &[1.0, -2.0, 3.0, -4.0]);
    let (graph, (y, places)) = EMULATOR
        .capture(|| {
            let mut places = Vec::new();
            let mut y = forward(&Relu, &x)?;
            for _ in 0..6 {
                places.push(y.address().0);
                y = forward(&Relu, &y)?;
            }
            Ok((y, places))
        })
        .unwrap();
    let mut different = places.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 2, "{places:x?}");
    drop(x);
    // Whoever got the freed memory would be overwritten, or overwrite.
    let other = there(&[2, 2], &[7.0; 4]);
    graph.replay().unwrap();
    assert_eq!(values(&y), [1.0, 0.0, 3.0, 0.0]);
    assert_eq!(values(&other), [7.0; 4]);
}

#[test]
fn host_copies_and_nesting_are_refused() {
    if !emulator_is_there() {
        return;
    }
    let x = there(&[2], &[1.0, 2.0]);
    let wide = Tensor::from_slice([2], &[1.0f64, 2.0], EMULATOR).unwrap();
    let (empty, ()) = EMULATOR.capture(|| Ok(())).unwrap();
    type Work<'a> = (&'a str, &'a dyn Fn() -> Result<()>);
    let works: [Work; 6] = [
        ("a copy to the host", &|| x.data::<f32>().map(drop)),
        ("a copy to the host", &|| x.to_device(Device::Cpu).map(drop)),
        ("a copy from the host", &|| {
            Tensor::full([2], 1.0f32, EMULATOR).map(drop)
        }),
        // There is no f64 kernel, so it falls back to the CPU.
        ("a copy to the host", &|| forward(&Relu, &wide).map(drop)),
        ("another capture", &|| EMULATOR.capture(|| Ok(())).map(drop)),
        ("a replay", &|| empty.replay()),
    ];
    for (what, work) in works {
        let error = EMULATOR.capture(work).err().unwrap();
        assert!(matches!(error, Error::Kernel { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(what) && said.contains("graph"), "{said}");
        // And the capture is over.
        assert_eq!(values(&x), [1.0, 2.0]);
    }
    let error = Device::Cpu.capture(|| Ok(())).err().unwrap();
    assert!(matches!(error, Error::Device { .. }), "{error}");
}

/// What draws, with its key from a clock or, planted, as an argument of the launch.
fn drawing(op: usize, key: RandomKey) -> Box<dyn Operation> {
    match op {
        0 | 1 => Box::new(SpatialShuffle {
            per_sample: op == 1,
            ..SpatialShuffle::new(Mode::Shuffle, key)
        }),
        _ => Box::new(Dropout {
            p: 0.5,
            key,
            by_channel: op == 2,
        }),
    }
}

/// Replayed shuffles and dropout draw what the CPU draws in each step, there and back, where the step's number
/// lies in memory; a key given by value would be drawn again and again.
#[test]
fn a_replay_draws_anew_what_it_reads_from_a_clock() {
    if !emulator_is_there() {
        return;
    }
    let dims = [3, 4, 3, 8];
    let numbers: Vec<f32> = (1..=3 * 4 * 3 * 8).map(|i| i as f32).collect();
    let x = there(&dims, &numbers);
    let here = x.to_device(Device::Cpu).unwrap();
    fn key(step: u64, clock: Option<&Clock>) -> RandomKey {
        RandomKey::new(9, Purpose::ShuffleTrain, step, 4, clock)
    }
    for op in 0..4 {
        let mut memory = Tensor::zeros([16], DType::U8, EMULATOR).unwrap();
        let capture = |clock: Option<&Clock>| {
            EMULATOR.capture(|| {
                let op = drawing(op, key(0, clock));
                let y = forward(&*op, &x)?;
                let dx = op.vjp(Saved::default(), y.clone(), &[true])?.remove(0);
                Ok([y, dx.unwrap()])
            })
        };
        let clock = Clock::new(memory.clone(), 8).unwrap();
        let (graph, results) = capture(Some(&clock)).unwrap();
        let (by_value, stuck) = capture(None).unwrap();
        drop(clock);
        for step in [0, 1, 7_000_000_007] {
            let bytes: Vec<u8> = [0u64, step].iter().flat_map(|v| v.to_le_bytes()).collect();
            let bytes = Tensor::from_bytes([16], DType::U8, &bytes, Device::Cpu).unwrap();
            memory.copy_from(&bytes).unwrap();
            let on_cpu = drawing(op, key(step, None));
            let y = forward(&*on_cpu, &here).unwrap();
            let dx = on_cpu.vjp(Saved::default(), y.clone(), &[true]).unwrap();
            let expected = [y, dx[0].clone().unwrap()].map(|t| values(&t));
            graph.replay().unwrap();
            assert_eq!(
                results.each_ref().map(values),
                expected,
                "step {step} of {op}"
            );
            by_value.replay().unwrap();
            let same = stuck.each_ref().map(values) == expected;
            assert_eq!(same, step == 0, "step {step} of {op}");
        }
    }
}

/// Permutations that the host draws cannot follow a clock, and those that stay can be kept.
#[test]
fn permutations_of_the_host_are_captured_only_if_they_stay() {
    if !emulator_is_there() {
        return;
    }
    let x = there(&[2, 4, 4, 3], &[1.0; 96]);
    let memory = Tensor::zeros([8], DType::U8, EMULATOR).unwrap();
    let clock = Clock::new(memory, 0).unwrap();
    let run = |key: RandomKey| {
        let op = SpatialShuffle::new(Mode::Local(2), key);
        forward(&op, &x)?;
        EMULATOR.capture(|| forward(&op, &x)).map(drop)
    };
    let key = Key::new(1, Purpose::ShuffleFixed, 0, 2);
    run(RandomKey::lasting(key)).unwrap();
    let by_clock = RandomKey::new(1, Purpose::ShuffleTrain, 0, 2, Some(&clock));
    for key in [by_clock, key.into()] {
        let said = run(key).unwrap_err().to_string();
        assert!(said.contains("a copy from the host"), "{said}");
    }
}

#[test]
fn clocks_lie_within_their_memory() {
    if !emulator_is_there() {
        return;
    }
    let bytes = Tensor::zeros([20], DType::U8, EMULATOR).unwrap();
    assert!(Clock::new(bytes.clone(), 8).is_ok());
    for offset in [4, 16, 24] {
        assert!(Clock::new(bytes.clone(), offset).is_err());
    }
    assert!(Clock::new(Tensor::zeros([20], DType::I32, EMULATOR).unwrap(), 0).is_err());
}
