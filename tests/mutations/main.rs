//! Wrong operations, each of a kind that was seen in the wild: every one must be caught, by the method
//! the table names, with every one of twenty seeds.

mod bad_input;
mod shrinking;
mod wrong;

use whatwhere::check::{Check, Report};
use whatwhere::device::Device;
use whatwhere::tensor::DType;
use wrong::{Wrong, kernels, losses, maps};

const SEEDS: std::ops::Range<u64> = 0..20;

fn assert_caught(mutant: &Wrong, report: Report) {
    let (name, method) = (mutant.what, mutant.caught_by);
    assert!(
        report.caught_by(method),
        "{name}: {method} did not see it\n{report}"
    );
}

#[test]
fn wrong_gradients_are_caught_by_the_method_that_should() {
    let all = [maps(), losses()].concat();
    assert!(all.len() >= 20, "{}", all.len());
    for mutant in all {
        for seed in SEEDS {
            let inputs = mutant.inputs.clone();
            let check = Check::new(&mutant, &inputs).linear(mutant.linear);
            assert_caught(&mutant, check.seed(seed).run().unwrap());
        }
    }
}

/// The same operations pass as long as nothing is spoilt.
#[test]
fn what_is_right_is_not_caught() {
    for mutant in [maps(), losses(), kernels()].concat() {
        let inputs = mutant.inputs.clone();
        for seed in 0..3 {
            let right = Wrong {
                spoil: None,
                spoil_value: None,
                ..mutant.clone()
            };
            let check = Check::new(&right, &inputs).linear(mutant.linear).seed(seed);
            let report = check.run().unwrap();
            assert!(report.passed(), "{}: {report}", mutant.what);
        }
    }
}

/// Faults of a kernel that f64 on the CPU does not have.
#[test]
fn wrong_kernels_are_caught_by_the_method_that_should() {
    for mutant in kernels() {
        for seed in SEEDS {
            let inputs = mutant.inputs.clone();
            let check = Check::new(&mutant, &inputs).seed(seed);
            assert_caught(&mutant, check.run_on(Device::Cpu, DType::F32).unwrap());
        }
    }
}
