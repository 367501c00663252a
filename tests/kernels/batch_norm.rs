//! `kernels/batch_norm.cu`: statistics and sums within the rounding errors of their trees, everything
//! that follows from them element by element, to the last bit.

use half::{bf16, f16};
use whatwhere::kernels::Address;
use whatwhere::kernels::batch_norm::{self, Channels, Gradients, Plan, Running, Settings, Values};
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::tensor::DType;

use super::bounds::gamma;
use super::numbers::{Number, assert_equal, drawn};
use super::{emulator_is_there, run};

const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// The numbers of the channels in the emulator's memory.
struct Vectors {
    gamma: Memory<f32>,
    beta: Memory<f32>,
    mean: Memory<f32>,
    variance: Memory<f32>,
    inverse_std: Memory<f32>,
    scale: Memory<f32>,
    shift: Memory<f32>,
}

impl Vectors {
    fn new(channels: usize) -> Self {
        let new = || Memory::uninitialised(channels).unwrap();
        Vectors {
            gamma: Memory::from_slice(&drawn::<f32>(channels, 11)).unwrap(),
            beta: Memory::from_slice(&drawn::<f32>(channels, 12)).unwrap(),
            mean: new(),
            variance: new(),
            inverse_std: new(),
            scale: new(),
            shift: new(),
        }
    }

    fn channels(&self) -> Channels {
        Channels {
            gamma: self.gamma.address(),
            beta: self.beta.address(),
            mean: self.mean.address(),
            variance: self.variance.address(),
            inverse_std: self.inverse_std.address(),
            scale: self.scale.address(),
            shift: self.shift.address(),
        }
    }
}

fn settings(training: bool, relu: bool) -> Settings {
    Settings {
        training,
        epsilon: EPSILON,
        relu,
    }
}

/// The inputs of channel `c`.
fn column<T: Number>(x: &[T], c: usize, channels: usize) -> impl Iterator<Item = f64> + Clone {
    x.iter().skip(c).step_by(channels).map(|x| x.f64())
}

fn blend(old: f32, batch: f32) -> f32 {
    ((1.0 - MOMENTUM) * old as f64 + MOMENTUM * batch as f64) as f32
}

/// Mean and biased variance of a column, and bounds of the errors of the kernel's.
///
/// u: unit roundoff; X: largest |x|; R: largest minus smallest; m: merges on the way from an element to
/// the slab's result (chunks of four rows or single ones of a thread, then levels of the tree).
/// A mean of four has three roundings; a merge adds own + (other − own)·share with four roundings, of
/// which three are of a difference that is at most 2X: so |mean error| ≤ γ(4 + 7m)·X, the last rounding to f32
/// included. Squared deviations are sums of products a·b with a, b ≤ R, each of which is wrong by
/// e = uR + 2·(mean error), and all of whose weights add up to N from chunks, N from the thread's merges and N/2
/// from each level: (2Re + e²)·(2 + levels/2), and γ(2m + 6)·R² for the roundings of products and sums.
fn statistics(values: impl Iterator<Item = f64> + Clone, plan: &Plan) -> [f64; 4] {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.clone().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let (rows, levels) = plan.depth();
    let merges = rows.div_ceil(4) + 3 + levels;
    let size = values.clone().map(f64::abs).fold(0.0, f64::max);
    let range = values.clone().fold(f64::MIN, f64::max) - values.fold(f64::MAX, f64::min);
    let mean_error = gamma(4 + 7 * merges) * size;
    let e = gamma(1) * range + 2.0 * mean_error;
    let variance_error = (2.0 * range * e + e * e) * (2.0 + levels as f64 / 2.0)
        + gamma(2 * merges + 6) * range * range;
    [mean, variance, mean_error, variance_error]
}

/// One shape, all it can be combined with.
fn check<T: Number>((rows, channels, blocks): (usize, usize, usize)) {
    let plan = Plan::with_blocks(T::DTYPE, rows, channels, blocks).unwrap();
    let elements = rows * channels;
    // Means differ from channel to channel.
    let mut x = drawn::<T>(elements, 1);
    for (i, x) in x.iter_mut().enumerate() {
        *x = T::of(x.f64() + (i % channels) as f64 * 0.1);
    }
    let (residual, dy) = (drawn::<T>(elements, 2), drawn::<T>(elements, 3));
    let case = format!("{:?} {rows}x{channels}/{blocks}", T::DTYPE);
    for (index, schedule) in Schedule::all().enumerate() {
        // Over the six schedules: each of the four combinations, training and evaluation.
        let [training, with_residual, relu] = [index % 3 > 0, index % 2 == 1, index < 4];
        let settings = settings(training, relu);
        let memory_x = Memory::from_slice(&x).unwrap();
        let memory_residual = Memory::from_slice(&residual).unwrap();
        let y = Memory::<T>::uninitialised(elements).unwrap();
        let scratch = Memory::<f32>::uninitialised(plan.scratch()).unwrap();
        let mut own = Vectors::new(channels);
        let values = Values {
            x: memory_x.address(),
            residual: if with_residual {
                memory_residual.address()
            } else {
                Address::default()
            },
            y: y.address(),
        };
        if training {
            let old = drawn::<f32>(channels, 13);
            let running = [&old, &old].map(|old| Memory::from_slice(old).unwrap());
            let blended = Running {
                mean: running[0].address(),
                variance: running[1].address(),
                momentum: MOMENTUM,
            };
            let launches = plan
                .train(settings, values, own.channels(), blended, scratch.address())
                .unwrap();
            launches.iter().for_each(|l| run(l, schedule));
            let (mean, unbiased) = (own.mean.to_vec(), own.variance.to_vec());
            let correction = rows as f64 / (rows as f64 - 1.0);
            for c in 0..channels {
                let [m, v, m_error, v_error] = statistics(column(&x, c, channels), &plan);
                assert!((mean[c] as f64 - m).abs() <= m_error, "{case} mean {c}");
                let found = unbiased[c] as f64 / correction;
                let allowed = v_error + gamma(3) * v;
                assert!((found - v).abs() <= allowed, "{case}: {found} is not {v}");
                let inverse = own.inverse_std.to_vec()[c] as f64;
                let at = |v: f64| 1.0 / (v.max(0.0) + EPSILON).sqrt();
                let inside = at(v + allowed) * (1.0 - gamma(2)) <= inverse
                    && inverse <= at(v - allowed) * (1.0 + gamma(2));
                assert!(inside, "{case} 1/σ of {c}");
                assert_eq!(running[0].to_vec()[c], blend(old[c], mean[c]));
                assert_eq!(running[1].to_vec()[c], blend(old[c], unbiased[c]));
            }
        } else {
            let variance: Vec<f32> = drawn::<f32>(channels, 14).iter().map(|v| v * v).collect();
            own.mean = Memory::from_slice(&drawn::<f32>(channels, 15)).unwrap();
            own.variance = Memory::from_slice(&variance).unwrap();
            let launches = plan.evaluate(settings, values, own.channels()).unwrap();
            launches.iter().for_each(|l| run(l, schedule));
            for (c, &v) in variance.iter().enumerate() {
                let want = (1.0 / (v as f64 + EPSILON).sqrt()) as f32;
                assert_eq!(own.inverse_std.to_vec()[c], want);
            }
        }
        let [mean, inverse_std, scale, shift] =
            [&own.mean, &own.inverse_std, &own.scale, &own.shift].map(Memory::to_vec);
        let (weight, bias) = (own.gamma.to_vec(), own.beta.to_vec());
        for c in 0..channels {
            assert_eq!(scale[c], inverse_std[c] * weight[c]);
            assert_eq!(shift[c], bias[c] - mean[c] * scale[c]);
        }
        let outputs: Vec<f32> = (0..elements)
            .map(|i| {
                let v = x[i].f32() * scale[i % channels] + shift[i % channels];
                let v = if with_residual {
                    v + residual[i].f32()
                } else {
                    v
                };
                if relu && v < 0.0 { 0.0 } else { v }
            })
            .collect();
        let want: Vec<T> = outputs.iter().map(|&v| T::store(v)).collect();
        assert_equal(&y.to_vec(), &want, format!("{case} y {schedule:?}"));

        // A gate from the saved output where there is a residual; dx in place of dy.
        let dx = Memory::from_slice(&dy).unwrap();
        let dresidual = Memory::<T>::uninitialised(elements).unwrap();
        let sums: [Memory<f32>; 2] = [0, 1].map(|_| Memory::uninitialised(channels).unwrap());
        let scratch = Memory::<f32>::uninitialised(plan.scratch()).unwrap();
        let only = |wanted: bool, address: Address| {
            if wanted { address } else { Address::default() }
        };
        let gradients = Gradients {
            x: memory_x.address(),
            y: only(with_residual, y.address()),
            dy: dx.address(),
            dx: dx.address(),
            dresidual: only(with_residual, dresidual.address()),
            dgamma: sums[0].address(),
            dbeta: sums[1].address(),
        };
        let launches = plan
            .backward(settings, gradients, own.channels(), scratch.address())
            .unwrap();
        launches.iter().for_each(|l| run(l, schedule));

        let gates = if with_residual {
            want.iter().map(|v| v.f32()).collect()
        } else {
            outputs
        };
        let g: Vec<T> = (0..elements)
            .map(|i| {
                if relu && gates[i] <= 0.0 {
                    T::of(0.0)
                } else {
                    dy[i]
                }
            })
            .collect();
        if with_residual {
            assert_equal(
                &dresidual.to_vec(),
                &g,
                format!("{case} dresidual {schedule:?}"),
            );
        }
        let scratch = scratch.to_vec();
        let slopes = &scratch[plan.scratch() - 2 * channels..];
        let (rows_of_thread, levels) = plan.depth();
        // Additions on the way of a term, a rounding of x − μ, and the one to f32 at the end.
        let roundings = rows_of_thread + levels + 2;
        let [dgamma, dbeta] = [sums[0].to_vec(), sums[1].to_vec()];
        for c in 0..channels {
            let terms = column(&g, c, channels).zip(column(&x, c, channels));
            let products = terms.map(|(g, x)| g * (x - mean[c] as f64));
            let (sum, size) = with_size(column(&g, c, channels));
            let (product, product_size) = with_size(products);
            let (i, s) = (inverse_std[c] as f64, scale[c] as f64);
            let (e_sum, e_product) = (gamma(roundings) * size, gamma(roundings) * product_size);
            assert!((dbeta[c] as f64 - sum).abs() <= e_sum, "{case} dβ {c}");
            let e = (e_product + gamma(1) * (product.abs() + e_product)) * i;
            assert!((dgamma[c] as f64 - product * i).abs() <= e, "{case} dγ {c}");
            let share = if training { 1.0 / rows as f64 } else { 0.0 };
            let (slope, constant) = (-s * i * i * product * share, -s * sum * share);
            let e = s.abs() * i * i * share * e_product * (1.0 + gamma(5));
            let found = slopes[c] as f64;
            assert!(
                (found - slope).abs() <= e + gamma(5) * slope.abs(),
                "{case} slope {c}"
            );
            let e = s.abs() * share * e_sum * (1.0 + gamma(3));
            let found = slopes[channels + c] as f64;
            assert!(
                (found - constant).abs() <= e + gamma(3) * constant.abs(),
                "{case} constant {c}"
            );
        }
        let want: Vec<T> = (0..elements)
            .map(|i| {
                let c = i % channels;
                let (b, d) = (slopes[c], slopes[channels + c]);
                T::store(scale[c] * g[i].f32() + b * (x[i].f32() - mean[c]) + d)
            })
            .collect();
        assert_equal(&dx.to_vec(), &want, format!("{case} dx {schedule:?}"));
    }
}

fn with_size(terms: impl Iterator<Item = f64>) -> (f64, f64) {
    terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()))
}

/// Rows and channels: two rows, primes, a 1-wide and an H≠W map's rows, a column that is narrower than
/// its block, several columns; and blocks: chunks of four rows and single ones, many slabs.
const SHAPES: [(usize, usize, usize); 8] = [
    (2, 8, 1024),
    (2, 1, 1024),
    (7, 3, 1024),
    (35, 40, 1024),
    (70, 264, 1024),
    (301, 24, 1),
    (129, 67, 5),
    (2111, 8, 2),
];

#[test]
fn f32s() {
    if emulator_is_there() {
        SHAPES.into_iter().for_each(check::<f32>);
    }
}

#[test]
fn f16s() {
    if emulator_is_there() {
        SHAPES.into_iter().for_each(check::<f16>);
    }
}

#[test]
fn bf16s() {
    if emulator_is_there() {
        SHAPES.into_iter().for_each(check::<bf16>);
    }
}

/// A mean of 4096 and deviations of ±1 to ±3: every number on the way is exact, so the statistics are.
/// Squares themselves would need 26 bits.
#[test]
fn a_distant_mean_costs_no_digits() {
    if !emulator_is_there() {
        return;
    }
    let (rows, channels) = (256, 64);
    let plan = Plan::new(DType::F32, rows, channels).unwrap();
    let deviation = |row: usize, c: usize| ((row % 2) as f32 * 2.0 - 1.0) * (1 + c % 3) as f32;
    let x: Vec<f32> = (0..rows * channels)
        .map(|i| 4096.0 + deviation(i / channels, i % channels))
        .collect();
    let x = Memory::from_slice(&x).unwrap();
    for schedule in Schedule::all() {
        let own = Vectors::new(channels);
        let y = Memory::<f32>::uninitialised(rows * channels).unwrap();
        let scratch = Memory::<f32>::uninitialised(plan.scratch()).unwrap();
        let values = Values {
            x: x.address(),
            y: y.address(),
            ..Values::default()
        };
        let launches = plan.train(
            settings(true, false),
            values,
            own.channels(),
            Running::default(),
            scratch.address(),
        );
        launches.unwrap().iter().for_each(|l| run(l, schedule));
        assert!(own.mean.to_vec().iter().all(|&m| m == 4096.0));
        for (c, &variance) in own.variance.to_vec().iter().enumerate() {
            let biased = ((1 + c % 3) as f64).powi(2);
            assert_eq!(variance, (biased * (256.0 / 255.0)) as f32, "{c}");
        }
    }
}

#[test]
fn running_statistics_blend_as_on_the_cpu() {
    if !emulator_is_there() {
        return;
    }
    let channels = 301;
    let (old, batch) = (drawn::<f32>(channels, 1), drawn::<f32>(channels, 2));
    let want: Vec<f32> = old.iter().zip(&batch).map(|(&o, &b)| blend(o, b)).collect();
    let batch = Memory::from_slice(&batch).unwrap();
    for schedule in Schedule::all() {
        let running = Memory::from_slice(&old).unwrap();
        let (from, to) = (batch.address(), running.address());
        run(
            &batch_norm::blend(channels, MOMENTUM, from, to).unwrap(),
            schedule,
        );
        assert_eq!(running.to_vec(), want);
    }
}

/// Grids and scratch memory of a network's maps, and what is refused.
#[test]
fn plans_and_refusals() {
    let grid = |dtype, rows, channels| {
        let plan = Plan::new(dtype, rows, channels).unwrap();
        let values = Values::default();
        let apply = plan.apply(settings(true, true), values, Channels::default());
        (apply.unwrap().grid(), plan.scratch())
    };
    assert_eq!(
        grid(DType::BF16, 64 * 112 * 112, 64),
        ([1, 1004, 1], 128 * 1005)
    );
    assert_eq!(grid(DType::BF16, 64 * 49, 512), ([2, 98, 1], 1024 * 99));
    assert_eq!(grid(DType::F32, 32, 4096), ([32, 1, 1], 8192 * 2));
    for (rows, channels) in [(0, 4), (4, 0), (1 << 31, 4), (4, 1 << 27)] {
        assert!(Plan::new(DType::F32, rows, channels).is_err());
    }
    assert!(Plan::new(DType::F64, 4, 4).is_err());
    let one_row = Plan::new(DType::F32, 1, 4).unwrap();
    let (values, channels) = (Values::default(), Channels::default());
    let at = Address(0);
    let refused = one_row.train(
        settings(true, true),
        values,
        channels,
        Running::default(),
        at,
    );
    assert!(refused.unwrap_err().to_string().contains("no variance"));
    let values = Values {
        x: Address(8),
        ..values
    };
    assert!(
        one_row
            .apply(settings(false, true), values, channels)
            .is_err()
    );
}
