//! `kernels/add.cu`: sums are correctly rounded, so equality is exact.

use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::{Address, add};
use whatwhere::tensor::DType;

use super::numbers::{LENGTHS, Number, assert_equal, drawn};
use super::{in_every_dtype, run};

fn check<T: Number>() {
    for elements in LENGTHS {
        let (a, b) = (drawn::<T>(elements, 1), drawn::<T>(elements, 2));
        for relu in [false, true] {
            // The sum of two numbers of these types is exact in f64, or nearly so for f32, whose
            // f64 sum still rounds as the exact one (53 ≥ 2·24 + 2).
            let sum = |(a, b): (&T, &T)| {
                let sum = T::of(a.f64() + b.f64());
                if relu && sum.f64() < 0.0 {
                    T::of(0.0)
                } else {
                    sum
                }
            };
            let want: Vec<T> = a.iter().zip(&b).map(sum).collect();
            let memory_b = Memory::from_slice(&b).unwrap();
            for schedule in Schedule::all() {
                // Into an array of its own, and in place.
                let memory_a = Memory::from_slice(&a).unwrap();
                let y = Memory::<T>::uninitialised(elements).unwrap();
                for target in [&y, &memory_a] {
                    let (a, b) = (memory_a.address(), memory_b.address());
                    let launch = add::forward(T::DTYPE, relu, elements, a, b, target.address());
                    run(&launch.unwrap(), schedule);
                    assert_equal(
                        &target.to_vec(),
                        &want,
                        format!("{elements} {relu} {schedule:?}"),
                    );
                }
            }
        }
    }
}

in_every_dtype!(check);

#[test]
fn refusals() {
    let at = Address(16);
    assert!(add::forward(DType::F32, false, 0, at, at, at).is_err());
    assert!(add::forward(DType::I32, false, 4, at, at, at).is_err());
    assert!(add::forward(DType::F32, true, 4, at, at, Address(4)).is_err());
}
