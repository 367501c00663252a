use super::*;
use crate::device::Device;
use crate::ops::{add::Add, relu::Relu};

fn vector(values: &[f64]) -> Tensor {
    Tensor::from_slice([values.len()], values, Device::Cpu).unwrap()
}

#[test]
fn a_value_used_twice_gets_both_gradients() {
    let mut tape = Tape::new();
    let x = tape.leaf(vector(&[-1.0, 2.0]));
    let r = tape.apply(Relu, &[&x]).unwrap();
    let s = tape.apply(Add, &[&r, &r]).unwrap();
    let y = tape.apply(Add, &[&s, &x]).unwrap();
    let g = tape.vjp(&y, vector(&[1.0, 10.0])).unwrap();
    assert_eq!(g.get(&x).unwrap().to_vec::<f64>().unwrap(), [1.0, 30.0]);
}

#[test]
fn the_forward_memory_is_freed_by_the_backward_pass() {
    let mut tape = Tape::new();
    let x = tape.leaf(vector(&[1.0, 2.0]));
    let mut y = tape.apply(Relu, &[&x]).unwrap();
    let watched = y.value().clone();
    y = tape.apply(Relu, &[&y]).unwrap();
    assert!(tape.saved_bytes() > 0);
    tape.vjp(&y, vector(&[1.0, 1.0])).unwrap();
    assert_eq!(tape.saved_bytes(), 0);
    drop(y);
    assert!(watched.into_unique().is_ok());
}

#[test]
fn a_second_backward_is_an_error() {
    let mut tape = Tape::new();
    let x = tape.leaf(vector(&[1.0]));
    let y = tape.apply(Relu, &[&x]).unwrap();
    tape.backward(&y).unwrap();
    assert!(matches!(tape.backward(&y), Err(Error::BackwardTwice)));
    assert!(matches!(tape.apply(Relu, &[&x]), Err(Error::BackwardTwice)));
}

#[test]
fn an_update_under_the_tape_is_an_error_and_fine_afterwards() {
    let mut weight = vector(&[1.0]);
    let mut tape = Tape::new();
    let w = tape.leaf(weight.clone());
    let y = tape.apply(Relu, &[&w]).unwrap();
    let refused = weight.data_mut::<f64>().unwrap_err();
    assert!(refused.to_string().contains("in-place update"), "{refused}");
    tape.backward(&y).unwrap();
    drop((tape, w));
    assert!(weight.data_mut::<f64>().is_ok());
}

#[test]
fn no_grad_records_nothing() {
    let mut tape = Tape::no_grad();
    let x = tape.leaf(vector(&[1.0]));
    let y = tape.apply(Relu, &[&x]).unwrap();
    assert!(!y.wants_gradient());
    assert!(matches!(tape.backward(&y), Err(Error::ForeignVar { .. })));
}

#[test]
fn a_var_of_another_tape_is_an_error() {
    let x = Tape::new().leaf(vector(&[1.0]));
    assert!(matches!(
        Tape::new().apply(Relu, &[&x]),
        Err(Error::ForeignVar { .. })
    ));
}

#[test]
fn a_loss_of_many_elements_and_a_cotangent_of_another_shape_are_errors() {
    let mut tape = Tape::new();
    let x = tape.leaf(vector(&[1.0, 2.0]));
    let y = tape.apply(Relu, &[&x]).unwrap();
    assert!(matches!(tape.backward(&y), Err(Error::Shape { .. })));
    assert!(matches!(
        tape.vjp(&y, vector(&[1.0])),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn errors_and_the_finite_check_name_the_layer() {
    let mut tape = Tape::new().checked();
    let x = tape.leaf(vector(&[1.0]));
    let inf = tape.leaf(vector(&[f64::INFINITY]));
    tape.enter_layer("block 43");
    let found = tape.apply(Add, &[&x, &inf]).unwrap_err().to_string();
    assert!(
        found.contains("block 43") && found.contains("not finite"),
        "{found}"
    );
    let two = tape.leaf(vector(&[1.0, 2.0]));
    let found = tape.apply(Add, &[&x, &two]).unwrap_err().to_string();
    assert!(
        found.contains("block 43") && found.contains("[1] and [2]"),
        "{found}"
    );
}
