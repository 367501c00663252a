//! Faults of a kernel.

use super::{SpoilValue, Wrong, mapped, normal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use whatwhere::check::Method;
use whatwhere::ops::conv2d::Conv2d;
use whatwhere::ops::relu::Relu;
use whatwhere::ops::{Input, Operation, Saved};
use whatwhere::tensor::{DType, Tensor};

/// Faults that f32 has and f64 does not: those of a kernel.
pub fn kernels() -> Vec<Wrong> {
    use Method::{Determinism, Guards, Integers, Precision, Reuse, Written};
    let conv = || Conv2d::new().padding(1);
    let filters = || [normal([2, 5, 4, 3]), normal([4, 3, 3, 3])];
    fn in_f32(y: Tensor, spoil: impl Fn(Tensor) -> Tensor) -> Tensor {
        match y.dtype() {
            DType::F32 => spoil(y),
            _ => y,
        }
    }
    let kernel =
        |what, caught_by, inner: Arc<dyn Operation>, inputs: &[Input], spoil: SpoilValue| Wrong {
            what,
            caught_by,
            linear: false,
            inner,
            inputs: inputs.to_vec(),
            spoil: None,
            spoil_value: Some(spoil),
        };
    let (conv, relu): (Arc<dyn Operation>, Arc<dyn Operation>) = (Arc::new(conv()), Arc::new(Relu));
    let filters = filters();
    let x = [Input::spread([1, 3, 5, 2])];
    vec![
        kernel(
            "conv2d: the last tile of the depth dropped",
            Precision,
            conv.clone(),
            &filters,
            |inputs, y| {
                in_f32(y, |_| {
                    let x = mapped(inputs[0], |i, v| if i % 3 == 2 { 0.0 } else { v });
                    let op = Conv2d::new().padding(1);
                    op.forward(&[&x, inputs[1]], &mut Saved::default())
                        .unwrap()
                        .value
                })
            },
        ),
        kernel(
            "conv2d: sums kept in half precision",
            Integers,
            conv,
            &filters,
            |_, y| {
                // 15 bits are more than a bound for sums of hundreds of terms asks for.
                in_f32(y, |y| mapped(&y, |_, v| v * (1.0 + f64::exp2(-17.0))))
            },
        ),
        kernel(
            "relu: the digits of half precision",
            Precision,
            relu.clone(),
            &x,
            |_, y| {
                in_f32(y, |y| {
                    y.cast(DType::BF16).unwrap().cast(DType::F32).unwrap()
                })
            },
        ),
        kernel(
            "relu: an element nobody writes",
            Written,
            relu.clone(),
            &x,
            |_, y| {
                in_f32(y, |y| {
                    let fresh = y.empty_like().unwrap().to_f64_vec().unwrap();
                    mapped(&y, |i, v| if i == 17 { fresh[i] } else { v })
                })
            },
        ),
        kernel(
            "relu: nothing written at all",
            Written,
            relu.clone(),
            &x,
            |_, y| {
                // The allocator hands out what was freed last: the right result, but for the poison.
                in_f32(y, |y| {
                    let (shape, dtype, device) = (y.shape().clone(), y.dtype(), y.device());
                    drop(y);
                    Tensor::empty(shape, dtype, device).unwrap()
                })
            },
        ),
        kernel(
            "relu: another result at every call",
            Determinism,
            relu.clone(),
            &x,
            |_, y| {
                static CALLS: AtomicU32 = AtomicU32::new(0);
                let call = CALLS.fetch_add(1, Ordering::Relaxed);
                in_f32(y, |y| {
                    mapped(&y, |i, v| if i == 3 { v + 1e-3 * call as f64 } else { v })
                })
            },
        ),
        kernel(
            "relu: an element written behind the end",
            Guards,
            relu.clone(),
            &x,
            |_, y| {
                in_f32(y, |mut y| {
                    // 120 bytes of 128: nobody else's memory even without margins.
                    let behind = (y.address_mut().unwrap().0 + y.bytes() as u64) as *mut f32;
                    // SAFETY: see above.
                    unsafe { behind.write(0.0) };
                    y
                })
            },
        ),
        kernel(
            "relu: the input changed in place",
            Reuse,
            relu.clone(),
            &x,
            |inputs, y| {
                in_f32(y, |y| {
                    // A negative element, on which the value does not depend.
                    let at = inputs[0].to_f64_vec().unwrap();
                    let at = at.iter().position(|&v| v < 0.0).unwrap();
                    let start = inputs[0].address().0 as *mut f32;
                    // SAFETY: as a kernel would, on memory that is there.
                    unsafe { start.add(at).write(-9.0) };
                    y
                })
            },
        ),
        kernel(
            "relu: one buffer for all results",
            Reuse,
            relu,
            &x,
            |_, y| {
                thread_local! {
                    static BUFFER: std::cell::RefCell<Option<Tensor>> = const { std::cell::RefCell::new(None) };
                }
                in_f32(y, |y| {
                    BUFFER.with_borrow_mut(|buffer| {
                        let kept = buffer.get_or_insert_with(|| y.deep_clone().unwrap());
                        let from = y.to_vec::<f32>().unwrap();
                        let to = kept.address().0 as *mut f32;
                        // SAFETY: as a kernel would, on memory of the same size.
                        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
                        kept.clone()
                    })
                })
            },
        ),
    ]
}
