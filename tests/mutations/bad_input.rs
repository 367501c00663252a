//! What is no operation, or no point to check one at: a verdict or an error, no panic, and no pass.

use std::sync::atomic::{AtomicU32, Ordering};

use whatwhere::check::{Check, Function, Method, Report, Verdict, closures};
use whatwhere::device::Device;
use whatwhere::ops::add::Add;
use whatwhere::ops::conv2d::Conv2d;
use whatwhere::ops::relu::Relu;
use whatwhere::ops::{Case, Input};
use whatwhere::tensor::{DType, Tensor};
use whatwhere::{Error, Result};

fn map(x: &Tensor, f: impl Fn(usize, f64) -> f64) -> Result<Tensor> {
    let values = x.to_f64_vec()?.into_iter().enumerate();
    let values: Vec<f64> = values.map(|(i, v)| f(i, v)).collect();
    Tensor::from_slice(x.shape(), &values, Device::Cpu)?.cast(x.dtype())
}

/// y = x², with another vjp.
fn square(vjp: impl Fn(&Tensor, &Tensor) -> Result<Vec<Option<Tensor>>> + Sync) -> impl Function {
    let forward = |inputs: &[&Tensor]| map(inputs[0], |_, x| x * x);
    closures("square", forward, move |inputs, dy| vjp(inputs[0], dy))
}

fn right(x: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
    let dy = dy.to_f64_vec()?;
    Ok(vec![Some(map(x, |i, x| 2.0 * x * dy[i])?)])
}

fn at(function: &dyn Function, input: Input) -> Report {
    Check::new(function, &[input]).run().unwrap()
}

fn given(values: &[f64]) -> Input {
    Input::Given(Tensor::from_slice([values.len()], values, Device::Cpu).unwrap())
}

/// Nothing passed, and this was said.
fn assert_unchecked(report: &Report, says: &str) {
    assert!(!report.passed() && !report.mismatched(), "{report}");
    let said = report.findings.iter().any(|f| match &f.verdict {
        Verdict::Unchecked(why) => why.contains(says),
        _ => false,
    });
    assert!(said, "{says}: {report}");
}

fn assert_mismatch(report: &Report, method: Method, says: &str) {
    assert!(report.caught_by(method), "{report}");
    assert!(report.to_string().contains(says), "{says}: {report}");
}

#[test]
fn a_right_function_of_closures_passes() {
    let report = at(&square(right), Input::normal([3, 4]));
    assert!(report.passed(), "{report}");
    let report = at(&square(right), given(&[1.0, -2.5, 1e-3]));
    assert!(report.passed(), "{report}");
}

#[test]
fn inputs_that_are_not_finite() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let report = at(&square(right), given(&[1.0, bad, 2.0]));
        assert_unchecked(&report, "input 0[1] is");
    }
}

#[test]
fn empty_tensors() {
    assert_unchecked(&at(&square(right), Input::normal([0, 3])), "no element");
    assert_unchecked(&at(&Relu, Input::normal([0])), "no element");
    let none = closures(
        "none",
        |x| Tensor::zeros([0], x[0].dtype(), Device::Cpu),
        |_, _| Ok(vec![]),
    );
    assert_unchecked(&at(&none, Input::normal([2])), "the value of shape [0]");
    let nothing = Check::new(&Relu, &[]).run().unwrap();
    assert_unchecked(&nothing, "no input is differentiable");
}

#[test]
fn shapes_that_do_not_match() {
    let inputs = [Input::normal([2, 3]), Input::normal([3, 2])];
    let refused = Check::new(&Add, &inputs).run().unwrap_err();
    assert!(
        matches!(refused, Error::Shape { op: "add", .. }),
        "{refused}"
    );
    let inputs = [Input::normal([1, 4, 4, 3]), Input::normal([2, 3, 3, 5])];
    let refused = Check::of(&Case::new(Conv2d::new(), inputs)).run();
    assert!(matches!(refused, Err(Error::Shape { .. })));
    let x = Tensor::zeros([2], DType::F64, Device::Cpu).unwrap();
    let inputs = [Input::normal([2])];
    let (square, wrong) = (
        square(right),
        Tensor::zeros([3], DType::F64, Device::Cpu).unwrap(),
    );
    let check = Check::new(&square, &inputs);
    let x = [x];
    assert!(check.numeric_gradient(&x, &wrong, 0).is_err());
    assert!(check.numeric_gradient(&x, &wrong, 1).is_err());
}

#[test]
fn a_vjp_of_the_wrong_shape_count_or_dtype() {
    let reshaped = square(|x, dy| {
        let dx = right(x, dy)?.remove(0);
        Ok(vec![dx.map(|dx| dx.reshape([12])).transpose()?])
    });
    let method = Method::Shapes;
    assert_mismatch(
        &at(&reshaped, Input::normal([3, 4])),
        method,
        "input 0 ([3, 4] f64) is [12]",
    );
    let missing = square(|_, _| Ok(vec![None]));
    assert_mismatch(&at(&missing, Input::normal([3])), method, "is missing");
    let none = square(|_, _| Ok(vec![]));
    assert_mismatch(
        &at(&none, Input::normal([3])),
        method,
        "1 inputs, 0 gradients",
    );
    let more = square(|x, dy| Ok([right(x, dy)?, vec![None]].concat()));
    assert_mismatch(
        &at(&more, Input::normal([3])),
        method,
        "1 inputs, 2 gradients",
    );
    let narrow = square(|x, dy| {
        let dx = right(x, dy)?.remove(0);
        Ok(vec![dx.map(|dx| dx.cast(DType::F32)).transpose()?])
    });
    assert_mismatch(&at(&narrow, Input::normal([3])), method, "is [3] f32");
}

#[test]
fn a_vjp_that_fails_is_an_error() {
    let failing = square(|_, _| Err(Error::shape("square", "out of luck")));
    let said = Check::new(&failing, &[Input::normal([3])])
        .run()
        .unwrap_err();
    assert!(said.to_string().contains("out of luck"), "{said}");
}

#[test]
fn a_step_that_underflows() {
    let (square, inputs) = (square(right), [Input::normal([5])]);
    for step in [1e-20, 1e-300, 0.0] {
        let report = Check::new(&square, &inputs).step(step).run().unwrap();
        assert_unchecked(&report, "lost in the rounding");
    }
    // Steps that are no numbers decide nothing either.
    for step in [f64::NAN, f64::INFINITY, 1e300] {
        let report = Check::new(&square, &inputs).step(step).run().unwrap();
        assert!(!report.passed() && !report.mismatched(), "{step}: {report}");
    }
}

#[test]
fn numbers_at_the_ends_of_the_range() {
    for size in [1e-160, 1e160, f64::MAX, f64::MIN_POSITIVE] {
        let report = at(&square(right), given(&[size, -0.3 * size]));
        assert!(!report.mismatched() || size > 1e150, "{size}: {report}");
        assert!(!report.passed() || size == 1e-160, "{size}: {report}");
    }
}

#[test]
fn an_operation_that_is_not_deterministic() {
    let calls = AtomicU32::new(0);
    let drifting = closures(
        "drifting",
        |x| {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            map(x[0], |_, v| v * v + 1e-12 * f64::from(call))
        },
        |x, dy| right(x[0], dy),
    );
    let report = at(&drifting, Input::normal([3]));
    assert_mismatch(&report, Method::Determinism, "differs between two runs");
}

#[test]
fn results_that_are_not_finite() {
    let infinite = closures(
        "infinite",
        |x| map(x[0], |_, _| f64::INFINITY),
        |x, dy| right(x[0], dy),
    );
    assert_mismatch(
        &at(&infinite, Input::normal([3])),
        Method::Written,
        "is infinite",
    );
    let nan = square(|x, dy| {
        let dx = right(x, dy)?.remove(0);
        Ok(vec![
            dx.map(|dx| map(&dx, |i, v| if i == 1 { f64::NAN } else { v }))
                .transpose()?,
        ])
    });
    assert_mismatch(
        &at(&nan, Input::normal([3])),
        Method::Written,
        "gradient 0[1] is unwritten",
    );
}

/// What a check cannot see is no pass: a gradient that vanishes for every input.
#[test]
fn an_invisible_gradient() {
    let zero = closures(
        "zero",
        |x| map(x[0], |_, _| 0.0),
        |x, _| Ok(vec![Some(map(x[0], |_, _| 0.0)?)]),
    );
    assert_unchecked(&at(&zero, Input::normal([6])), "zero everywhere");
}

#[test]
fn a_device_or_dtype_that_is_not_there() {
    let inputs = [Input::normal([3])];
    let check = Check::new(&Relu, &inputs);
    assert!(matches!(
        check.run_on(Device::Cuda(77), DType::F32),
        Err(Error::Device { .. })
    ));
    assert!(matches!(
        check.run_on(Device::Cpu, DType::I32),
        Err(Error::DType { .. })
    ));
    assert!(check.run_on(Device::Cpu, DType::F16).is_err());
}

/// f32 alone, with nothing to compare with: right passes, wrong does not.
#[test]
fn a_function_without_f64() {
    let single = |factor: f64| {
        closures(
            "square in f32",
            |x| match x[0].dtype() {
                DType::F32 => map(x[0], |_, x| x * x),
                found => Err(Error::DType {
                    op: "square",
                    expected: "f32",
                    found,
                }),
            },
            move |x, dy| {
                let dy = dy.to_f64_vec()?;
                Ok(vec![Some(map(x[0], |i, x| factor * x * dy[i])?)])
            },
        )
    };
    let inputs = [Input::normal([4])];
    let (good, bad) = (single(2.0), single(2.2));
    for seed in 0..20 {
        let on = |f: &dyn Function| {
            let check = Check::new(f, &inputs).seed(seed);
            check.run_alone_on(Device::Cpu, DType::F32).unwrap()
        };
        assert!(on(&good).passed(), "{}", on(&good));
        assert!(
            on(&bad).caught_by(Method::CentralDifferences),
            "{}",
            on(&bad)
        );
    }
}
