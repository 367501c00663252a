//! A failing case is made as simple as it can be, and its name leads back to it.

use whatwhere::check::{CaseName, Check, Method, case_of, choices, shrink};
use whatwhere::ops::{Case, Cost, Declaration, Draw, Input, Operation, Output, Saved};
use whatwhere::tensor::{Shape, Tensor};
use whatwhere::{Result, ops::relu::Relu};

/// A rectifier whose gradient is wrong where a map has five channels or more, and three rows or more.
#[derive(Debug)]
struct WrongWhereLarge;

impl Operation for WrongWhereLarge {
    fn name(&self) -> &'static str {
        "wrong"
    }
    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Relu.output_shape(inputs)
    }
    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        Relu.forward(inputs, saved)
    }
    fn vjp(&self, saved: Saved, dy: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        match dy.dims() {
            [_, h, _, c] if *c >= 5 && *h >= 3 => Ok(vec![Some(dy)]),
            _ => Relu.vjp(saved, dy, wanted),
        }
    }
    fn cost(&self, inputs: &[&Shape]) -> Cost {
        Relu.cost(inputs)
    }
}

fn declaration() -> Declaration {
    Declaration {
        name: "wrong",
        summary: "",
        linear: false,
        cases: Vec::new,
        fuzz: |draw: &mut Draw| Case::new(WrongWhereLarge, [Input::spread(draw.map(8))]),
    }
}

#[test]
fn the_simplest_failing_case_is_found() {
    let (declaration, mut found) = (declaration(), 0);
    let check = |case: &Case| Check::of(case).seed(4).run();
    for index in 0..40 {
        let drawn = choices(&declaration, 4, index);
        let report = check(&case_of(&declaration, &drawn)).unwrap();
        if !report.mismatched() {
            continue;
        }
        found += 1;
        let simplest = shrink(&declaration, drawn, &check).unwrap();
        assert!(simplest.report.caught_by(Method::CentralDifferences));
        let case = case_of(&declaration, &simplest.choices);
        assert_eq!(
            case.inputs[0].shape().dims(),
            [1, 3, 1, 5],
            "{}",
            case.label
        );
        let name = CaseName::Drawn(simplest.choices.clone());
        assert_eq!(name.to_string().parse::<CaseName>().unwrap(), name);
    }
    assert!(found > 5, "{found}");
}

#[test]
fn names_of_cases() {
    assert_eq!(
        "declared:3".parse::<CaseName>().unwrap(),
        CaseName::Declared(3)
    );
    assert_eq!(
        "drawn:".parse::<CaseName>().unwrap(),
        CaseName::Drawn(vec![])
    );
    for bad in [
        "",
        "3",
        "declared:",
        "declared:1.2",
        "drawn:a",
        "drawn:-1",
        "other:1",
    ] {
        let said = bad.parse::<CaseName>().unwrap_err().to_string();
        assert!(said.contains("declared:INDEX"), "{said}");
    }
}
