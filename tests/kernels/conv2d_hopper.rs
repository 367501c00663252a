//! `kernels/conv2d_hopper.cu` against the crate's own convolution in f64 on the same rounded inputs.
//!
//! On small integers every product and sum is exact, so results are compared bit for bit. On normal
//! numbers a sum of n products in f32, in any order, is off by at most γ_n Σ|a||b| (Higham, Accuracy and
//! Stability, §3.1), and is then rounded once to the dtype.

use half::{bf16, f16};
use whatwhere::cpu::conv2d::{self as cpu, ConvShape};
use whatwhere::kernels::conv2d_hopper::{Fprop, Pass, Plan, can_do};
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::{Address, Launch};
use whatwhere::rng::{Key, Purpose, Stream};
use whatwhere::tensor::DType;

use super::conv2d::shape;
use super::numbers::Number;
use super::{emulator_is_there, run};

const PASSES: [Pass; 3] = [Pass::Fprop, Pass::Dgrad, Pass::Wgrad];

/// H≠W, 1x1 and 2x2 maps, batch 1, channels that do not fill a tile, strides with and without a factor in
/// common with the dilation, filters that miss pixels, several tiles in both directions.
fn shapes() -> Vec<ConvShape> {
    vec![
        shape([2, 6, 5, 16], [24, 3, 3], 1, 1, 1),
        shape([1, 7, 9, 8], [72, 3, 3], 2, 1, 1),
        shape([1, 9, 8, 8], [16, 7, 7], 2, 3, 1),
        shape([1, 5, 3, 40], [8, 1, 1], 2, 0, 1),
        shape([4, 1, 1, 8], [16, 3, 3], 1, 1, 1),
        shape([3, 2, 2, 104], [24, 3, 3], 1, 1, 1),
        shape([1, 12, 11, 8], [8, 3, 3], 1, 4, 4),
        shape([1, 9, 7, 8], [8, 3, 3], 2, 2, 2),
        shape([1, 8, 6, 8], [8, 2, 2], 4, 0, 1),
        ConvShape {
            stride: [3, 1],
            padding: [0, 2],
            dilation: [1, 2],
            ..shape([2, 8, 6, 8], [16, 3, 2], 1, 0, 1)
        },
        shape([130, 1, 1, 136], [72, 1, 1], 1, 0, 1),
        shape([2, 9, 10, 72], [136, 3, 3], 1, 1, 1),
    ]
}

/// Operands as numbers of the dtype, in f64.
struct Operands {
    x: Vec<f64>,
    w: Vec<f64>,
    dy: Vec<f64>,
    bias: Vec<f64>,
    residual: Vec<f64>,
}

fn stream(lane: u32) -> Stream {
    Key::new(17, Purpose::Check, 3, 0).stream(lane)
}

impl Operands {
    fn drawn(g: &ConvShape, mut draw: impl FnMut() -> f64) -> Self {
        let mut many = |length| (0..length).map(|_| draw()).collect();
        Operands {
            x: many(g.input_len()),
            w: many(g.filter_len()),
            dy: many(g.output_len()),
            bias: many(g.k),
            residual: many(g.output_len()),
        }
    }

    fn integers(g: &ConvShape) -> Self {
        let mut s = stream(1);
        Self::drawn(g, || f64::from(s.below(7) as i32 - 3))
    }

    fn normals<T: Number>(g: &ConvShape) -> Self {
        let mut s = stream(2);
        Self::drawn(g, || T::of(s.normal()).f64())
    }

    fn magnitudes(&self) -> Self {
        let absolute = |values: &[f64]| values.iter().map(|v| v.abs()).collect();
        Operands {
            x: absolute(&self.x),
            w: absolute(&self.w),
            dy: absolute(&self.dy),
            bias: absolute(&self.bias),
            residual: absolute(&self.residual),
        }
    }

    /// The exact result, and the most numbers added up in an element of it. `fused`: fprop adds bias
    /// and residual.
    fn exact(&self, g: &ConvShape, pass: Pass, fused: bool) -> (Vec<f64>, usize) {
        match pass {
            Pass::Fprop => {
                let mut y = vec![0.0; g.output_len()];
                cpu::fprop(g, &self.x, &self.w, fused.then_some(&self.bias[..]), &mut y);
                if fused {
                    y.iter_mut().zip(&self.residual).for_each(|(y, z)| *y += z);
                }
                (y, g.r * g.s * g.c + 2)
            }
            Pass::Dgrad => {
                let mut dx = vec![0.0; g.input_len()];
                cpu::dgrad(g, &self.dy, &self.w, &mut dx);
                (dx, g.r * g.s * g.k)
            }
            Pass::Wgrad => {
                let mut dw = vec![0.0; g.filter_len()];
                cpu::wgrad(g, &self.x, &self.dy, &mut dw);
                (dw, g.n * g.out_h() * g.out_w())
            }
        }
    }

    /// What the kernels make of it.
    fn computed<T: Number>(
        &self,
        plan: &Plan,
        pass: Pass,
        fused: bool,
        schedule: Schedule,
    ) -> Vec<T> {
        let memory = |values: &[f64]| {
            let values: Vec<T> = values.iter().map(|v| T::of(*v)).collect();
            Memory::from_slice(&values).unwrap()
        };
        let (x, w, dy) = (memory(&self.x), memory(&self.w), memory(&self.dy));
        let (bias, residual) = (memory(&self.bias), memory(&self.residual));
        let scratch = Memory::<f32>::uninitialised(plan.scratch_bytes() / 4).unwrap();
        let all = |launches: Vec<Launch>| launches.iter().for_each(|launch| run(launch, schedule));
        let length = match pass {
            Pass::Fprop => self.dy.len(),
            Pass::Dgrad => self.x.len(),
            Pass::Wgrad => self.w.len(),
        };
        let out = Memory::<T>::uninitialised(length).unwrap();
        let either = |memory: &Memory<T>| if fused { memory.address() } else { Address(0) };
        all(match pass {
            Pass::Fprop => {
                let with = Fprop {
                    x: x.address(),
                    w: w.address(),
                    bias: either(&bias),
                    residual: either(&residual),
                    relu: fused,
                    y: out.address(),
                };
                vec![plan.fprop(with).unwrap()]
            }
            Pass::Dgrad => plan
                .dgrad(dy.address(), w.address(), out.address())
                .unwrap(),
            Pass::Wgrad => {
                let (x, dy, dw) = (x.address(), dy.address(), out.address());
                plan.wgrad(x, dy, dw, T::DTYPE, scratch.address()).unwrap()
            }
        });
        out.to_vec()
    }
}

fn check_exact<T: Number>(g: &ConvShape, plan: &Plan, pass: Pass, schedule: Schedule) {
    let operands = Operands::integers(g);
    for fused in [false, pass == Pass::Fprop] {
        let (mut want, _) = operands.exact(g, pass, fused);
        if fused {
            want.iter_mut().for_each(|y| *y = y.max(0.0));
        }
        let got = operands.computed::<T>(plan, pass, fused, schedule);
        let differs = got
            .iter()
            .zip(&want)
            .position(|(got, want)| got.f64() != T::of(*want).f64());
        if let Some(at) = differs {
            let (got, want) = (got[at].f64(), want[at]);
            panic!("{pass:?} {g:?} {plan:?} {schedule:?}: {got} at {at}, not {want}");
        }
    }
}

/// All shapes, under the schedules in turn, on two multiprocessors, so that blocks walk over tiles.
#[test]
fn exact_on_small_integers() {
    if !emulator_is_there() {
        return;
    }
    let schedules: Vec<_> = Schedule::all().collect();
    for (g, schedule) in shapes().iter().zip(schedules.into_iter().cycle()) {
        for pass in PASSES {
            let plan = Plan::new(g, DType::BF16, pass, 2).unwrap();
            let plan = plan.with(64, 1).unwrap();
            check_exact::<bf16>(g, &plan, pass, schedule);
        }
    }
}

/// Every tile and both types, every schedule: a ragged tile beside a full one, more steps than stages,
/// a strided dgrad with classes of one and of no taps, several splits.
#[test]
fn every_tile_and_schedule() {
    if !emulator_is_there() {
        return;
    }
    let g = shape([2, 9, 10, 72], [80, 3, 1], 2, 1, 1);
    for schedule in Schedule::all() {
        for pass in PASSES {
            for columns in [64, 128, 256] {
                let plan = |dtype| {
                    Plan::new(&g, dtype, pass, 2)
                        .unwrap()
                        .with(columns, 1)
                        .unwrap()
                };
                check_exact::<bf16>(&g, &plan(DType::BF16), pass, schedule);
                check_exact::<f16>(&g, &plan(DType::F16), pass, schedule);
            }
        }
    }
}

#[test]
fn splits_of_wgrad_add_up() {
    if !emulator_is_there() {
        return;
    }
    let g = shape([3, 9, 10, 72], [16, 1, 2], 1, 0, 1);
    for (splits, schedule) in [2, 4].into_iter().zip(Schedule::all().skip(1)) {
        let plan = Plan::new(&g, DType::F16, Pass::Wgrad, 3).unwrap();
        let plan = plan.with(64, splits).unwrap();
        check_exact::<f16>(&g, &plan, Pass::Wgrad, schedule);
    }
}

fn check_bounded<T: Number>(g: &ConvShape, schedule: Schedule) {
    let operands = Operands::normals::<T>(g);
    let magnitudes = operands.magnitudes();
    for pass in PASSES {
        let plan = Plan::new(g, T::DTYPE, pass, 2).unwrap();
        let got = operands.computed::<T>(&plan, pass, false, schedule);
        let (want, terms) = operands.exact(g, pass, false);
        let (sums, _) = magnitudes.exact(g, pass, false);
        let (u, n) = (DType::F32.unit_roundoff(), terms as f64);
        let gamma = n * u / (1.0 - n * u);
        for (at, got) in got.iter().enumerate() {
            let summed = gamma * sums[at];
            // Rounding to the dtype; f16 has subnormals 2^-24 apart.
            let rounded = T::DTYPE.unit_roundoff() * (want[at].abs() + summed) + 2f64.powi(-25);
            let error = (got.f64() - want[at]).abs();
            assert!(
                error <= summed + rounded,
                "{pass:?} {g:?} {schedule:?}: off by {error} at {at}, at most {summed} + {rounded}"
            );
        }
    }
}

#[test]
fn within_the_rounding_of_floats() {
    if !emulator_is_there() {
        return;
    }
    let schedules: Vec<_> = Schedule::all().skip(3).collect();
    for (g, schedule) in shapes().iter().zip(schedules.into_iter().cycle()) {
        check_bounded::<bf16>(g, schedule);
    }
    check_bounded::<f16>(&shapes()[0], Schedule::all().next().unwrap());
    check_bounded::<f16>(&shapes()[1], Schedule::all().last().unwrap());
}

/// Kernels, blocks, classes and splits on layers of the networks, for 132 multiprocessors.
#[test]
fn plans() {
    let layer = |side: usize, c: usize, k: usize, r: usize, stride: usize| {
        shape([32, side, side, c], [k, r, r], stride, r / 2, 1)
    };
    let plan = |g: &ConvShape, pass| Plan::new(g, DType::BF16, pass, 132).unwrap();
    let null = Address(0);
    let fprop = |g: &ConvShape| plan(g, Pass::Fprop).fprop(Fprop::default()).unwrap();
    let first = fprop(&layer(56, 64, 64, 3, 1));
    assert_eq!(first.kernel(), "conv2d_hopper_fprop_n64_bf16");
    assert_eq!((first.grid(), first.block()[0]), ([132, 1, 1], 384));
    let wide = fprop(&layer(28, 256, 512, 3, 1));
    assert_eq!(wide.kernel(), "conv2d_hopper_fprop_n256_bf16");
    let strided = plan(&layer(56, 128, 256, 3, 2), Pass::Dgrad);
    assert_eq!(strided.dgrad(null, null, null).unwrap().len(), 4);
    let dense = plan(&layer(56, 64, 64, 3, 1), Pass::Wgrad);
    assert_eq!((dense.tile_columns(), dense.splits()), (64, 14));
    assert_eq!(dense.scratch_bytes(), 14 * 64 * 9 * 64 * 4);
}

#[test]
fn what_the_kernels_cannot_do_has_a_reason() {
    let good = shape([1, 8, 8, 16], [16, 3, 3], 1, 1, 1);
    can_do(&good, DType::F16, Pass::Fprop).unwrap();
    let refused = |g: ConvShape, dtype, pass, reason: &str| {
        let error = can_do(&g, dtype, pass).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(
            Plan::new(&g, dtype, pass, 1).unwrap_err().to_string(),
            error
        );
    };
    let bf16 = DType::BF16;
    refused(good, DType::F32, Pass::Fprop, "f16 and bf16");
    refused(
        ConvShape { c: 3, ..good },
        bf16,
        Pass::Fprop,
        "multiples of 8",
    );
    refused(
        ConvShape { k: 20, ..good },
        bf16,
        Pass::Wgrad,
        "multiples of 8",
    );
    let far = shape([1, 300, 300, 8], [8, 3, 3], 1, 100, 128);
    refused(far, bf16, Pass::Fprop, "the copy engine reaches 255");
    let wide = shape([1, 300, 300, 8], [8, 3, 3], 1, 129, 1);
    refused(wide, bf16, Pass::Fprop, "beyond the map");
    let long = shape([1, 40, 40, 8], [8, 9, 9], 9, 0, 1);
    refused(long, bf16, Pass::Fprop, "a step of 9");
    can_do(&long, bf16, Pass::Dgrad).unwrap();
    let huge = shape([1 << 20, 64, 64, 8], [8, 1, 1], 1, 0, 1);
    refused(huge, bf16, Pass::Dgrad, "pixels");
    let plan = Plan::new(&good, bf16, Pass::Wgrad, 1).unwrap();
    assert!(plan.clone().with(96, 1).is_err());
    assert!(plan.clone().with(64, 2).is_err());
    assert!(plan.fprop(Fprop::default()).is_err());
    let (at, null) = (Address(8), Address(0));
    assert!(plan.wgrad(at, null, null, bf16, null).is_err());
    assert!(plan.wgrad(null, null, null, DType::F16, null).is_err());
}
