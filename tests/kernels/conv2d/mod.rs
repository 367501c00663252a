//! `kernels/conv2d*.cu` against the crate's own convolution in f64 on the same (rounded) inputs.
//!
//! Two kinds of inputs. Small integers: every product and every sum is exact, whatever their order, so
//! results are compared bit for bit. Normal numbers: a sum of n products in f32, in any order, is off by at
//! most γ_n Σ|a||b| (Higham, Accuracy and Stability, §3.1), and then rounded to the dtype.

mod epilogue;
mod hopper;
mod identities;
mod plans;
mod portable;
mod sums;

use whatwhere::cpu::conv2d::{self as cpu, ConvShape};
use whatwhere::kernels::Address;
use whatwhere::kernels::conv2d::{Direction, Fprop, Kind, Math, Plan, Target};
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::rng::{Key, Purpose, Stream};

use super::bounds::{assert_close, gamma};
use super::numbers::{Number, drawn};
use super::run;

const NULL: Address = Address(0);
const DIRECTIONS: [Direction; 3] = [Direction::Fprop, Direction::Dgrad, Direction::Wgrad];

/// A GPU of two multiprocessors, on each of which blocks walk over several tiles.
const TWO: Target = Target {
    capability: 90,
    multiprocessors: 2,
};

/// One product by a chosen kernel; none where that kernel cannot do it.
fn planned(g: &ConvShape, math: Math, direction: Direction, kind: Kind) -> Option<Plan> {
    let plan = Plan::new(g, math, direction, true, TWO).unwrap();
    plan.with(kind).ok()
}

/// [n, h, w, c], [k, r, s], and the same number for both axes.
pub fn shape(
    x: [usize; 4],
    f: [usize; 3],
    stride: usize,
    padding: usize,
    dilation: usize,
) -> ConvShape {
    let [n, h, w, c] = x;
    let [k, r, s] = f;
    ConvShape {
        n,
        h,
        w,
        c,
        k,
        r,
        s,
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [dilation; 2],
    }
}

/// What one test gives a product: operands as numbers of the dtype, in f64.
struct Operands {
    x: Vec<f64>,
    w: Vec<f64>,
    dy: Vec<f64>,
}

fn integers(stream: &mut Stream, length: usize, most: i32) -> Vec<f64> {
    let range = 2 * most as u32 + 1;
    let draw = |_| f64::from(stream.below(range) as i32 - most);
    (0..length).map(draw).collect()
}

fn normals<T: Number>(length: usize, which: u32) -> Vec<f64> {
    drawn::<T>(length, which).into_iter().map(T::f64).collect()
}

fn stream(lane: u32) -> Stream {
    Key::new(5, Purpose::Check, 2, 0).stream(lane)
}

impl Operands {
    fn integers(g: &ConvShape) -> Self {
        let mut s = stream(1);
        Operands {
            x: integers(&mut s, g.input_len(), 3),
            w: integers(&mut s, g.filter_len(), 2),
            dy: integers(&mut s, g.output_len(), 3),
        }
    }

    fn normals<T: Number>(g: &ConvShape) -> Self {
        Operands {
            x: normals::<T>(g.input_len(), 1),
            w: normals::<T>(g.filter_len(), 2),
            dy: normals::<T>(g.output_len(), 3),
        }
    }

    fn magnitudes(&self) -> Self {
        let absolute = |values: &[f64]| values.iter().map(|v| v.abs()).collect();
        Operands {
            x: absolute(&self.x),
            w: absolute(&self.w),
            dy: absolute(&self.dy),
        }
    }

    /// The exact result, and the number of products in an element of it at most.
    fn exact(&self, g: &ConvShape, direction: Direction) -> (Vec<f64>, usize) {
        match direction {
            Direction::Fprop => {
                let mut y = vec![0.0; g.output_len()];
                cpu::fprop(g, &self.x, &self.w, None, &mut y);
                (y, g.r * g.s * g.c)
            }
            Direction::Dgrad => {
                let mut dx = vec![0.0; g.input_len()];
                cpu::dgrad(g, &self.dy, &self.w, &mut dx);
                (dx, g.r * g.s * g.k)
            }
            Direction::Wgrad => {
                let mut dw = vec![0.0; g.filter_len()];
                cpu::wgrad(g, &self.x, &self.dy, &mut dw);
                (dw, g.n * g.out_h() * g.out_w())
            }
        }
    }
}

fn memory<T: Number>(values: &[f64]) -> Memory<T> {
    let values: Vec<T> = values.iter().map(|&v| T::of(v)).collect();
    Memory::from_slice(&values).unwrap()
}

/// Runs a plan on operands and returns the result.
fn result<T: Number>(
    plan: &Plan,
    operands: &Operands,
    schedule: Schedule,
    length: usize,
) -> Vec<T> {
    let [x, w, dy] = [&operands.x, &operands.w, &operands.dy].map(|values| memory::<T>(values));
    let out = Memory::<T>::uninitialised(length).unwrap();
    let scratch = Memory::<f32>::uninitialised(plan.scratch_bytes() / 4).unwrap();
    let (to, scratch) = (out.address(), scratch.address());
    let launches = match plan.direction() {
        Direction::Fprop => {
            let with = Fprop {
                x: x.address(),
                w: w.address(),
                y: to,
                ..Fprop::default()
            };
            plan.fprop(with, scratch)
        }
        Direction::Dgrad => plan.dgrad(dy.address(), w.address(), to, scratch),
        Direction::Wgrad => plan.wgrad(x.address(), dy.address(), to, scratch),
    };
    for launch in launches.unwrap() {
        run(&launch, schedule);
    }
    out.to_vec()
}

fn check_integers<T: Number>(plan: &Plan, g: &ConvShape, schedule: Schedule) {
    let operands = Operands::integers(g);
    let (exact, _) = operands.exact(g, plan.direction());
    let want: Vec<T> = exact.iter().map(|&v| T::of(v)).collect();
    let found = result::<T>(plan, &operands, schedule, want.len());
    assert_eq!(found, want, "{plan:?} {schedule:?}");
}

fn check_normals<T: Number>(plan: &Plan, g: &ConvShape) {
    let operands = Operands::normals::<T>(g);
    let (exact, terms) = operands.exact(g, plan.direction());
    let (sizes, _) = operands.magnitudes().exact(g, plan.direction());
    let found = result::<T>(plan, &operands, Schedule::FAST, exact.len());
    // Each operand may be rounded on its way into the multiplication. The parts of a split depth are sums
    // of sums: no more additions than products.
    let unit = plan.input_roundoff();
    let products = 2.0 * unit + unit * unit;
    let bound = |i: usize| (gamma(terms) * (1.0 + products) + products) * sizes[i];
    assert_close(&found, &exact, bound, &format!("{plan:?}"));
}
