//! Every kernel in the emulator, under all six schedules, against a reference written here.
//!
//! Needs a C++ compiler and no GPU. Where the emulator was not built the tests say so and pass, except
//! in CI.

mod add;
mod batch_norm;
mod batch_norm_shuffle;
mod bounds;
mod cast;
mod concat;
mod conv2d;
mod dropout;
mod gap_linear;
mod global_avg_pool;
mod hopper_probe;
mod linear;
mod masked_bce;
mod max_pool2d;
mod metrics;
mod numbers;
mod permutation;
mod relu;
mod resample;
mod sb_projection;
mod sgd;
mod softmax_cross_entropy;
mod spatial_shuffle;
mod transform;

use whatwhere::kernels::Launch;
use whatwhere::kernels::emulator::{self, Schedule};

/// Whether there is an emulator to test with.
fn emulator_is_there() -> bool {
    if emulator::is_available() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "this build has no emulator"
    );
    eprintln!("skipped: this build has no emulator");
    false
}

/// Runs `launch`, whose pointers lead to memory the caller holds.
fn run(launch: &Launch, schedule: Schedule) {
    // SAFETY: the tests pass the arguments of the kernel and buffers of the sizes it takes.
    if let Err(error) = unsafe { emulator::run(launch, schedule) } {
        panic!("{schedule:?}: {error}");
    }
}

/// The tests `f32s`, `f16s` and `bf16s`: what `check` does for each of these, where there is an emulator.
macro_rules! in_every_dtype {
    ($check:ident) => {
        $crate::in_every_dtype!($check, f32s: f32, f16s: half::f16, bf16s: half::bf16);
    };
    ($check:ident, $($name:ident: $type:ty),+) => {$(
        #[test]
        fn $name() {
            if $crate::emulator_is_there() {
                $check::<$type>();
            }
        }
    )+};
}
use in_every_dtype;
