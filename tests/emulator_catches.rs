//! The emulator names the mistake in each kernel of `kernels/emulator/planted.cu`, and its line.

use half::bf16;
use whatwhere::kernels::Launch;
use whatwhere::kernels::emulator::{self, Memory, Order, Schedule};
use whatwhere::kernels::tensor_map::{TensorMap, Tile};
use whatwhere::tensor::DType;

/// What a schedule makes of a planted kernel: 64 numbers reversed, or the emulator's complaint.
fn outcome(
    kernel: &'static str,
    blocks: u32,
    shared: u32,
    schedule: Schedule,
) -> Result<Vec<f32>, String> {
    let x: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let x = Memory::from_slice(&x).unwrap();
    let y = Memory::<f32>::uninitialised(64).unwrap();
    let launch = Launch::new(kernel, [blocks, 1, 1], 64)
        .shared(shared)
        .pointer(x.address())
        .pointer(y.address());
    // SAFETY: these are the kernels' arguments; what they do wrong, the emulator stops.
    unsafe { emulator::run(&launch, schedule) }.map_err(|error| error.to_string())?;
    Ok(y.to_vec())
}

/// With AddressSanitizer in the build the checks tested here are not: see `sanitizer_stops_overruns`.
fn checks_are_there() -> bool {
    if emulator::checks_accesses() {
        return true;
    }
    let may_skip = std::env::var_os("CI").is_none() || emulator::is_sanitized();
    assert!(may_skip, "this build has no emulator that checks accesses");
    eprintln!("skipped: this build has no emulator that checks accesses");
    false
}

/// The line of `planted.cu` that holds this text.
fn line_of(text: &str) -> usize {
    line_in(include_str!("../kernels/emulator/planted.cu"), text)
}

fn line_in(source: &str, text: &str) -> usize {
    1 + source
        .lines()
        .position(|line| line.contains(text))
        .expect("this text is in the source")
}

/// Every schedule must see the mistake: what is checked is the order of accesses, not their outcome.
fn caught(kernel: &'static str, blocks: u32, shared: u32, complaint: &str, line: &str) {
    if !checks_are_there() {
        return;
    }
    for schedule in Schedule::all() {
        let error = outcome(kernel, blocks, shared, schedule).expect_err(kernel);
        assert!(error.contains(complaint), "{schedule:?}: {error}");
        assert!(
            error.starts_with(&format!("kernel {kernel}<<<({blocks}, 1, 1), (64, 1, 1)")),
            "{error}"
        );
        let place = format!("planted.cu:{}", line_of(line));
        assert!(
            error.contains(&place),
            "{schedule:?}: {place} is not in: {error}"
        );
    }
}

#[test]
fn nothing_wrong() {
    if !checks_are_there() {
        return;
    }
    let reversed: Vec<f32> = (0..64).rev().map(|i| i as f32).collect();
    for schedule in Schedule::all() {
        assert_eq!(
            outcome("planted_nothing", 1, 0, schedule),
            Ok(reversed.clone())
        );
        assert_eq!(
            outcome("planted_dynamic_overrun", 1, 256, schedule),
            Ok(reversed.clone())
        );
    }
}

/// Which of the two accesses comes second depends on the schedule, and so does the line that is named.
#[test]
fn missing_barriers() {
    if !checks_are_there() {
        return;
    }
    for schedule in Schedule::all() {
        let error = outcome("planted_missing_barrier", 1, 0, schedule).unwrap_err();
        assert!(
            error.contains("race: ") || error.contains("uninitialised: "),
            "{error}"
        );
        assert!(error.contains("shared array tile"), "{error}");
        let error = outcome("planted_missing_warp_barrier", 1, 0, schedule).unwrap_err();
        assert!(
            error.contains("race: ") && error.contains("shared array tile"),
            "{error}"
        );
    }
}

#[test]
fn missing_wait() {
    caught(
        "planted_missing_wait",
        1,
        0,
        "missing wait: ",
        "so this may come too early",
    );
    caught(
        "planted_missing_wait",
        1,
        0,
        "the cp.async issued at",
        "if (threadIdx.x < 16)",
    );
}

/// ldmatrix reads on behalf of the lane that names the row.
#[test]
fn early_load_matrices() {
    caught(
        "planted_early_load_matrices",
        1,
        0,
        "missing wait: ",
        "copy_async_16_or_zero(&tile",
    );
}

#[test]
fn shared_overrun() {
    caught(
        "planted_shared_overrun",
        1,
        0,
        "out of bounds: thread (63, 0, 0)",
        "writes behind the array",
    );
    caught(
        "planted_dynamic_overrun",
        1,
        252,
        "4 bytes at byte 252 of dynamic",
        "fewer than 256 bytes",
    );
}

#[test]
fn out_of_bounds() {
    caught(
        "planted_out_of_bounds",
        1,
        0,
        "writes 4 bytes at byte 256 of buffer",
        "thread 0 writes y[64]",
    );
}

#[test]
fn uninitialised() {
    caught(
        "planted_uninitialised",
        1,
        0,
        "uninitialised: thread (63, 0, 0)",
        "was never written",
    );
}

#[test]
fn divergent_barrier() {
    caught(
        "planted_divergent_barrier",
        1,
        0,
        "divergent barrier: ",
        "not the barrier the other half",
    );
    caught(
        "planted_early_return",
        1,
        0,
        "thread (63, 0, 0) of block (0, 0, 0) has already returned",
        "after one thread left",
    );
}

#[test]
fn lost_lane() {
    caught(
        "planted_lost_lane",
        1,
        0,
        "for lanes of its mask that never come",
        "lane 5 is in the mask",
    );
}

#[test]
fn blocks_race() {
    caught(
        "planted_block_race",
        2,
        0,
        "blocks have no order",
        "every block writes the same place",
    );
}

/// What a schedule makes of a kernel of `planted_hopper.cu`: `numbers` sums or products of a 64 x 64
/// map of ones, or the complaint.
fn hopper_outcome(
    kernel: &'static str,
    numbers: usize,
    schedule: Schedule,
) -> Result<Vec<f32>, String> {
    let x = Memory::from_slice(&vec![bf16::ONE; 64 * 64]).unwrap();
    let y = Memory::<f32>::uninitialised(numbers).unwrap();
    let map = TensorMap {
        dtype: DType::BF16,
        address: x.address(),
        sizes: vec![64, 64],
        tile: Tile::Tiled(vec![64, 8]),
    };
    map.check().unwrap();
    let launch = Launch::new(kernel, [1; 3], 128)
        .shared(24 * 1024)
        .map(map)
        .pointer(y.address());
    // SAFETY: these are the kernels' arguments; what they do wrong, the emulator stops.
    unsafe { emulator::run(&launch, schedule) }.map_err(|error| error.to_string())?;
    Ok(y.to_vec())
}

/// As `caught`, for `planted_hopper.cu`.
fn hopper_caught(kernel: &'static str, complaint: &str, line: &str) {
    if !checks_are_there() {
        return;
    }
    let source = include_str!("../kernels/emulator/planted_hopper.cu");
    let place = format!("planted_hopper.cu:{}", line_in(source, line));
    for schedule in Schedule::all() {
        let error = hopper_outcome(kernel, 64 * 64, schedule).expect_err(kernel);
        assert!(error.contains(complaint), "{schedule:?}: {error}");
        assert!(
            error.contains(&place),
            "{schedule:?}: {place} is not in: {error}"
        );
    }
}

#[test]
fn nothing_wrong_with_copies_and_products() {
    if !emulator::is_available() {
        return;
    }
    for schedule in Schedule::all().chain([Schedule::FAST]) {
        let sums = hopper_outcome("planted_copy_right", 16, schedule);
        assert_eq!(sums, Ok(vec![128.0; 16]), "{schedule:?}");
        let products = hopper_outcome("planted_square_right", 64 * 64, schedule);
        assert_eq!(products, Ok(vec![64.0; 64 * 64]), "{schedule:?}");
    }
}

#[test]
fn bulk_copies_not_waited_for() {
    let (issue, wait) = ("tma_load(stage, map", "where consumers wait");
    hopper_caught(
        "planted_copy_no_wait",
        "missing wait: ",
        "reads what was copied",
    );
    hopper_caught(
        "planted_copy_many_bytes",
        "2048 of 3072 announced bytes",
        wait,
    );
    hopper_caught("planted_copy_many_bytes", "deadlock: ", wait);
    hopper_caught("planted_copy_no_fence", "missing fence: ", issue);
    hopper_caught(
        "planted_copy_endless",
        "1 of 128 arrivals",
        "// of a free stage",
    );
    hopper_caught("planted_copy_unawaited", "nobody waited for", issue);
}

/// What goes wrong first, and is reported, depends on the schedule; something always is.
#[test]
fn stages_overrun_and_bytes_not_announced() {
    if !checks_are_there() {
        return;
    }
    for schedule in Schedule::all() {
        // Thread 0 runs over what others read, or so far ahead that they wait for a phase long gone.
        let error = hopper_outcome("planted_copy_overwrite", 16, schedule).unwrap_err();
        let seen = ["race: ", "missing wait: ", "deadlock: "].map(|what| error.contains(what));
        assert!(seen.contains(&true), "{schedule:?}: {error}");
        // The first tile ends the phase: its readers come too early, if the second is not refused first.
        let error = hopper_outcome("planted_copy_few_bytes", 16, schedule).unwrap_err();
        let seen = ["byte count: ", "uninitialised: "].map(|what| error.contains(what));
        assert!(seen.contains(&true), "{schedule:?}: {error}");
    }
}

#[test]
fn matrix_products_not_waited_for() {
    let issue = "// all four steps";
    hopper_caught("planted_square_no_wait", "missing wait: ", issue);
    hopper_caught(
        "planted_square_no_wait",
        "missing wait: ",
        "// reads the accumulator",
    );
    hopper_caught("planted_square_unawaited", "never waited for", issue);
    hopper_caught("planted_square_no_wgmma_fence", "missing fence: ", issue);
    hopper_caught("planted_square_no_proxy_fence", "missing fence: ", issue);
    hopper_caught("planted_square_early_release", "race: ", "// over the tile");
    hopper_caught("planted_square_another", "another matrix product", issue);
}

#[test]
fn named_barrier_of_other_warps() {
    if !checks_are_there() {
        return;
    }
    for schedule in Schedule::all() {
        let y = Memory::<f32>::uninitialised(128).unwrap();
        let launch = Launch::new("planted_named_barrier", [1; 3], 128).pointer(y.address());
        // SAFETY: this is the kernel's argument.
        let error = unsafe { emulator::run(&launch, schedule) }
            .unwrap_err()
            .to_string();
        let named = error.contains("race: ") || error.contains("uninitialised: ");
        assert!(named, "{schedule:?}: {error}");
    }
}

#[test]
fn livelock() {
    if !checks_are_there() {
        return;
    }
    // SAFETY: read by the emulator at the start of a launch, under its lock; no other thread of this
    // test binary changes the environment.
    unsafe { std::env::set_var("WHATWHERE_EMULATOR_TIMEOUT", "0.5") };
    let error = outcome("planted_livelock", 1, 0, Schedule::FAST).unwrap_err();
    assert!(error.contains("livelock"), "{error}");
}

#[test]
fn bad_launches() {
    if !emulator::is_available() {
        return;
    }
    let forward = Schedule {
        order: Order::Forward,
        late_copies: false,
        checked: true,
    };
    let refusal = |kernel, grid, threads, shared| {
        let launch = Launch::new(kernel, grid, threads).shared(shared);
        // SAFETY: refused before any argument is looked at.
        unsafe { emulator::run(&launch, forward) }
            .unwrap_err()
            .to_string()
    };
    assert!(refusal("no_such_kernel", [1; 3], 1, 0).contains("no kernel of this name"));
    assert!(refusal("planted_nothing", [1; 3], 1025, 0).contains("1 to 1024 threads"));
    assert!(refusal("planted_nothing", [0, 1, 1], 64, 0).contains("the grid is empty"));
    assert!(refusal("planted_nothing", [1, 65536, 1], 64, 0).contains("65535 blocks"));
    assert!(refusal("planted_nothing", [1; 3], 64, 1 << 20).contains("shared memory"));
}

/// In the AddressSanitizer build an overrun ends the process: so it happens in a child.
#[test]
fn sanitizer_stops_overruns() {
    if !emulator::is_sanitized() {
        eprintln!("skipped: not the AddressSanitizer build (scripts/emulator-asan)");
        return;
    }
    let forward = Schedule {
        order: Order::Forward,
        late_copies: false,
        checked: false,
    };
    if let Ok(kernel) = std::env::var("PLANTED") {
        let known = [
            "planted_shared_overrun",
            "planted_dynamic_overrun",
            "planted_out_of_bounds",
        ];
        let kernel = known.into_iter().find(|&k| k == kernel).unwrap();
        let _ = outcome(kernel, 1, 252, forward);
        return;
    }
    for (kernel, line) in [
        ("planted_shared_overrun", "writes behind the array"),
        ("planted_dynamic_overrun", "fewer than 256 bytes"),
        ("planted_out_of_bounds", "thread 0 writes y[64]"),
    ] {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sanitizer_stops_overruns", "--nocapture"])
            .env("PLANTED", kernel)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success(), "{kernel} went unnoticed");
        let named = text.contains("AddressSanitizer")
            || text.contains("runtime error: index 64 out of bounds");
        assert!(named, "{text}");
        assert!(
            text.contains(&format!("planted.cu:{}", line_of(line))),
            "{text}"
        );
    }
}
