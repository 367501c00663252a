//! Operations at the sizes of real networks on one device: how long, how near to the memory's speed,
//! and beside PyTorch (cuDNN, cuBLAS) where there is one.
//!
//! `WHATWHERE_DEVICE=cuda:0 cargo bench --bench devices`. Times are medians between events on the GPU's
//! stream, caches warm from the run before; the operands of the memory-bound workloads are larger than
//! any L2. The share is of a plain copy on the same device, measured in the same run. Operations that fuse
//! others run beside these, one after the other, each on operands of its own. `cargo test --benches`
//! runs everything once at a small size and prints no figures.
//!
//! Settings: `WHATWHERE_DEVICE` (default auto), `WHATWHERE_ROUNDS` (default 20), `WHATWHERE_JSON` (file for
//! the figures), `WHATWHERE_TORCH` (a Python that imports torch).

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use whatwhere::device::{Device, findings};
use whatwhere::experiment::write_json;
use whatwhere::ops::adaptive_avg_pool2d::AdaptiveAvgPool2d;
use whatwhere::ops::add::Add;
use whatwhere::ops::batch_norm::BatchNorm;
use whatwhere::ops::batch_norm_shuffle::BatchNormShuffle;
use whatwhere::ops::bilinear_resize::BilinearResize;
use whatwhere::ops::conv_batch_norm::ConvBatchNorm;
use whatwhere::ops::conv2d::Conv2d;
use whatwhere::ops::gap_linear::GapLinear;
use whatwhere::ops::global_avg_pool::GlobalAvgPool;
use whatwhere::ops::linear::Linear;
use whatwhere::ops::max_pool2d::MaxPool2d;
use whatwhere::ops::rectified::Rectified;
use whatwhere::ops::relu::Relu;
use whatwhere::ops::sb_projection::SbProjection;
use whatwhere::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use whatwhere::ops::spatial_shuffle::{Mode, SpatialShuffle};
use whatwhere::ops::{Case, Input, Operation, Saved};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::{DType, Tensor};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A case, how the peer is told of it, and what does the same apart.
struct Workload {
    case: Case,
    peer: Value,
    apart: Vec<Case>,
}

#[derive(Serialize)]
struct Row {
    operation: &'static str,
    workload: String,
    dtype: String,
    forward_us: f64,
    vjp_us: f64,
    flops: f64,
    bytes: f64,
    gb_per_s: f64,
    share_of_copy: f64,
    tflop_per_s: f64,
    peer_forward_us: Option<f64>,
    peer_vjp_us: Option<f64>,
    /// The sum of the operations that this one fuses.
    apart_forward_us: Option<f64>,
    apart_vjp_us: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    device: String,
    machine: Vec<(&'static str, String)>,
    rounds: usize,
    copy_gb_per_s: f64,
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Report {
    fn fail(&mut self, what: String) {
        eprintln!("{what}");
        self.failures.push(what);
    }
}

fn main() -> Outcome<()> {
    let full = std::env::args().any(|a| a == "--bench");
    let device: Device = match std::env::var("WHATWHERE_DEVICE") {
        Ok(name) => name.parse()?,
        Err(_) if full => Device::auto(),
        Err(_) => Device::Cpu,
    };
    device.check()?;
    let rounds = match full {
        true => std::env::var("WHATWHERE_ROUNDS").map_or(Ok(20), |n| n.parse())?,
        false => 1,
    };
    let copy = copy_speed(device, if full { 256 << 20 } else { 1 << 20 }, rounds)?;
    if full {
        println!("{device}: a copy moves {copy:.0} GB/s");
    }
    let dtypes = match device {
        Device::Cpu => vec![DType::F32],
        _ => vec![DType::F32, DType::BF16],
    };
    let mut report = Report {
        device: device.to_string(),
        machine: findings(),
        rounds,
        copy_gb_per_s: copy,
        rows: Vec::new(),
        failures: Vec::new(),
    };
    let path = std::env::var_os("WHATWHERE_JSON");
    for dtype in dtypes {
        let workloads = workloads(full);
        let peers = peers(&workloads, dtype, device).unwrap_or_else(|why| {
            report.fail(format!("the peer in {dtype}: {why}"));
            vec![[None; 2]; workloads.len()]
        });
        for (workload, peer) in workloads.iter().zip(peers) {
            match measure(workload, dtype, device, rounds, copy, peer) {
                // Figures of small sizes say nothing.
                Ok(row) if !full => println!("{} {}: runs", row.operation, row.dtype),
                Ok(row) => {
                    print(&row);
                    report.rows.push(row);
                }
                Err(why) => report.fail(format!("{} in {dtype}: {why}", workload.case.op.name())),
            }
            // After every row: what is measured stays, however the rest goes.
            if let Some(path) = &path {
                write_json(path.as_ref(), &report)?;
            }
        }
    }
    match report.failures.len() {
        0 => Ok(()),
        count => Err(format!("{count} failures").into()),
    }
}

/// The workloads: maps of 64 MiB and more for what memory bounds, layers of VGG16 and ResNet50 for
/// products.
fn workloads(full: bool) -> Vec<Workload> {
    let batch = if full { 256 } else { 2 };
    let side = |side: usize| if full { side } else { side.div_ceil(14) };
    let of = |op: Box<dyn Operation>, inputs: Vec<Input>, peer: Value| Workload {
        case: Case {
            label: String::new(),
            op,
            inputs,
        },
        peer,
        apart: Vec::new(),
    };
    let map = |s: usize, c: usize| Input::normal([batch, side(s), side(s), c]);
    let vector = |c: usize| Input::normal([c]);
    let key = Key::new(0, Purpose::Check, 0, 0);
    let norm = BatchNorm {
        training: true,
        epsilon: 1e-5,
        relu: true,
    };
    let resize = BilinearResize {
        output: [side(112); 2],
        align_corners: false,
    };
    let bins = AdaptiveAvgPool2d { output: [6, 6] };
    let shuffle = SpatialShuffle::new(Mode::Shuffle, key);
    let labels = Input::Labels {
        shape: [batch * side(56)].into(),
        classes: 1000,
        ignore: None,
    };
    let mut all = vec![
        of(Box::new(Relu), vec![map(56, 64)], json!({"op": "relu"})),
        of(
            Box::new(Add),
            vec![map(56, 64), map(56, 64)],
            json!({"op": "add"}),
        ),
        of(
            Box::new(norm),
            vec![map(56, 64), vector(64), vector(64)],
            json!({"op": "batch_norm_relu"}),
        ),
        of(
            Box::new(norm),
            vec![map(14, 1024), vector(1024), vector(1024)],
            json!({"op": "batch_norm_relu"}),
        ),
        of(
            Box::new(MaxPool2d::new(2)),
            vec![map(112, 64)],
            json!({"op": "max_pool2d", "size": 2, "stride": 2, "padding": 0}),
        ),
        of(
            Box::new(MaxPool2d::new(3).stride(2).padding(1)),
            vec![map(112, 64)],
            json!({"op": "max_pool2d", "size": 3, "stride": 2, "padding": 1}),
        ),
        of(
            Box::new(GlobalAvgPool),
            vec![map(14, 1024)],
            json!({"op": "global_avg_pool"}),
        ),
        of(
            Box::new(bins),
            vec![map(56, 64)],
            json!({"op": "adaptive_avg_pool2d", "output": 6}),
        ),
        of(
            Box::new(resize),
            vec![map(28, 64)],
            json!({"op": "bilinear_resize", "output": side(112)}),
        ),
        of(
            Box::new(shuffle.clone()),
            vec![map(56, 64)],
            json!({"op": "spatial_shuffle"}),
        ),
        of(
            Box::new(shuffle),
            vec![map(14, 512)],
            json!({"op": "spatial_shuffle"}),
        ),
        of(
            Box::<SoftmaxCrossEntropy>::default(),
            vec![Input::normal([batch * side(56), 1000]), labels],
            json!({"op": "softmax_cross_entropy"}),
        ),
        of(
            Box::new(Linear),
            vec![
                Input::normal([batch, 2048]),
                Input::normal([1000, 2048]),
                vector(1000),
            ],
            json!({"op": "linear"}),
        ),
    ];
    for (s, c, k, size, stride) in [
        (224, 3, 64, 7, 2),
        (224, 3, 64, 3, 1),
        (56, 64, 64, 3, 1),
        (56, 64, 256, 1, 1),
        (28, 128, 128, 3, 1),
        (28, 256, 512, 3, 1),
        (56, 256, 512, 1, 2),
        (14, 256, 1024, 1, 1),
        (14, 512, 512, 3, 1),
        (7, 512, 512, 3, 1),
    ] {
        let op = Conv2d::new().stride(stride).padding(size / 2);
        let x = Input::normal([if full { 64 } else { 1 }, side(s), side(s), c]);
        let peer = json!({"op": "conv2d", "stride": stride, "padding": size / 2});
        all.push(of(
            Box::new(op),
            vec![x, Input::normal([k, size, size, c])],
            peer,
        ));
    }
    // Semantic bottlenecks: PSPNet's maps of a 713×713 crop, and of half a Cityscapes image.
    for (c, [h, w], labels) in [
        (2048, [90, 90], 0),
        (4096, [90, 90], 0),
        (2048, [90, 90], 2),
        (4096, [90, 90], 2),
        (2048, [128, 256], 2),
        (4096, [128, 256], 2),
    ] {
        let (h, w, concepts) = (side(h), side(w), 70);
        let weight = Input::normal([concepts, c]);
        let mut inputs = vec![Input::normal([1, h, w, c]), weight, vector(concepts)];
        inputs.extend((0..labels).map(|_| Input::Constant([1, h, w, concepts].into())));
        let peer = json!({"op": "sb_projection", "leaves": 3});
        all.push(of(Box::<SbProjection>::default(), inputs, peer));
    }
    all.extend(fused(batch, side));
    all
}

/// The operations of `docs/fusion.md` beside what they fuse, on maps of ResNet50 and heads.
fn fused(batch: usize, side: impl Fn(usize) -> usize) -> Vec<Workload> {
    let case = |op: Box<dyn Operation>, inputs: Vec<Input>| Case {
        label: String::new(),
        op,
        inputs,
    };
    let with = |case: Case, apart: Vec<Case>| Workload {
        case,
        peer: json!({"op": "none"}),
        apart,
    };
    let (x, z) = (
        [batch, side(56), side(56), 64],
        [batch, side(56), side(56), 256],
    );
    let (x, z) = (move || Input::normal(x), move || Input::normal(z));
    let w = || Input::normal([256, 1, 1, 64]);
    let vector = |c: usize| Input::normal([c]);
    let key = Key::new(0, Purpose::Check, 0, 0);
    let shuffle = || SpatialShuffle::new(Mode::Shuffle, key);
    let conv = Conv2d::new();
    let mut all = Vec::new();
    for training in [true, false] {
        let norm = |relu| BatchNorm {
            training,
            epsilon: 1e-5,
            relu,
        };
        // γ, β, and in evaluation statistics.
        let channels = || {
            let mut all = vec![vector(256), vector(256)];
            if !training {
                all.extend([(); 2].map(|()| Input::Constant([256].into())));
            }
            all
        };
        let normalised = |relu| case(Box::new(norm(relu)), [vec![z()], channels()].concat());
        let convolved = || case(Box::new(conv), vec![x(), w()]);
        let together = |relu, shuffle: Option<SpatialShuffle>, residual: Option<Input>| {
            let op = ConvBatchNorm {
                conv,
                bias: false,
                norm: norm(relu),
                shuffle,
            };
            let inputs = [vec![x(), w()], channels(), residual.into_iter().collect()];
            case(Box::new(op), inputs.concat())
        };
        let mixed = || case(Box::new(shuffle()), vec![z()]);
        let op = BatchNormShuffle {
            training,
            epsilon: 1e-5,
            shuffle: shuffle(),
        };
        all.extend([
            with(
                together(true, None, None),
                vec![convolved(), normalised(true)],
            ),
            with(
                together(true, Some(shuffle()), None),
                vec![convolved(), normalised(true), mixed()],
            ),
            with(
                together(true, None, Some(z())),
                vec![
                    convolved(),
                    normalised(false),
                    case(Box::new(Add), vec![z(), z()]),
                    case(Box::new(Relu), vec![z()]),
                ],
            ),
            with(
                case(Box::new(op), [vec![z()], channels()].concat()),
                vec![normalised(true), mixed()],
            ),
        ]);
    }
    let head = || vec![Input::normal([100, 2048]), vector(100)];
    let map = || Input::normal([batch, side(56) / 8 + 1, side(56) / 8 + 1, 2048]);
    let biased = || vec![x(), Input::normal([64, 3, 3, 64]), vector(64)];
    let padded = Conv2d::new().padding(1);
    all.extend([
        with(
            case(Box::new(Rectified::Conv2d(padded)), biased()),
            vec![
                case(Box::new(padded), biased()),
                case(Box::new(Relu), vec![x()]),
            ],
        ),
        with(
            case(
                Box::new(GapLinear { relu: false }),
                [vec![map()], head()].concat(),
            ),
            vec![
                case(Box::new(GlobalAvgPool), vec![map()]),
                case(
                    Box::new(Linear),
                    [vec![Input::normal([batch, 2048])], head()].concat(),
                ),
            ],
        ),
    ]);
    all
}

/// A tensor for an input: numbers that repeat after a while, so that large ones are made fast.
fn filled(input: &Input, dtype: DType, device: Device) -> Outcome<Tensor> {
    let mut stream = Key::new(1, Purpose::Check, 0, 0).stream(0);
    if let Input::Labels { .. } = input {
        return Ok(input
            .draw(&mut stream, DType::I32, Device::Cpu)?
            .to_device(device)?);
    }
    let mut draw = || match input {
        Input::Constant(_) => 0.5 + stream.uniform() as f32,
        _ => stream.normal() as f32,
    };
    let tile: Vec<f32> = (0..65521).map(|_| draw()).collect();
    let values: Vec<f32> = tile
        .iter()
        .copied()
        .cycle()
        .take(input.shape().len())
        .collect();
    let host = Tensor::from_slice(input.shape(), &values, Device::Cpu)?;
    Ok(host.cast(dtype)?.to_device(device)?)
}

fn measure(
    workload: &Workload,
    dtype: DType,
    device: Device,
    rounds: usize,
    copy: f64,
    peer: [Option<f64>; 2],
) -> Outcome<Row> {
    let Case { op, inputs, .. } = &workload.case;
    let shapes: Vec<_> = inputs.iter().map(Input::shape).collect();
    let [forward_us, vjp_us] = times(&workload.case, dtype, device, rounds)?;
    let mut apart = None;
    for part in &workload.apart {
        let [there, back] = times(part, dtype, device, rounds)?;
        let [sum, sum_back] = apart.unwrap_or([0.0; 2]);
        apart = Some([sum + there, sum_back + back]);
    }
    let cost = op.cost(&shapes);
    let bytes = cost.bytes * dtype.size() as f64 / 4.0;
    let gb_per_s = bytes / forward_us / 1e3;
    let described: Vec<String> = shapes.iter().map(|s| s.to_string()).collect();
    Ok(Row {
        operation: op.name(),
        workload: described.join(" "),
        dtype: dtype.to_string(),
        forward_us,
        vjp_us,
        flops: cost.flops,
        bytes,
        gb_per_s,
        share_of_copy: gb_per_s / copy,
        tflop_per_s: cost.flops / forward_us / 1e6,
        peer_forward_us: peer[0],
        peer_vjp_us: peer[1],
        apart_forward_us: apart.map(|[there, _]| there),
        apart_vjp_us: apart.map(|[_, back]| back),
    })
}

/// Median times of the forward pass and the vjp, in microseconds.
fn times(case: &Case, dtype: DType, device: Device, rounds: usize) -> Outcome<[f64; 2]> {
    let Case { op, inputs, .. } = case;
    let shapes: Vec<_> = inputs.iter().map(Input::shape).collect();
    let tensors: Vec<Tensor> = (inputs.iter())
        .map(|input| filled(input, dtype, device))
        .collect::<Outcome<_>>()?;
    let tensors: Vec<&Tensor> = tensors.iter().collect();
    let wanted: Vec<bool> = inputs.iter().map(Input::is_differentiable).collect();
    let dy = filled(&Input::Normal(op.output_shape(&shapes)?), dtype, device)?;
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for round in 0..rounds + 2 {
        let mut saved = Saved::default();
        let (y, there) = device.timed(|| op.forward(&tensors, &mut saved))?;
        drop(y);
        let cotangent = dy.deep_clone()?;
        let (_, back) = device.timed(|| op.vjp(saved, cotangent, &wanted))?;
        // The first two load kernels and fill the pool of memory.
        if round >= 2 {
            forward.push(there);
            backward.push(back);
        }
    }
    Ok([median_us(forward), median_us(backward)])
}

fn print(row: &Row) {
    let peer = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{us:.1}"));
    println!(
        "{:<22} {:<5} {:>10.1} us, back {:>10.1} us, {:>7.0} GB/s ({:>3.0} % of a copy), {:>7.2} TFLOP/s; \
         peer {} us, back {} us; apart {} us, back {} us; {}",
        row.operation,
        row.dtype,
        row.forward_us,
        row.vjp_us,
        row.gb_per_s,
        100.0 * row.share_of_copy,
        row.tflop_per_s,
        peer(row.peer_forward_us),
        peer(row.peer_vjp_us),
        peer(row.apart_forward_us),
        peer(row.apart_vjp_us),
        row.workload,
    );
}

fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// GB/s read and written together by a copy of `bytes` bytes.
fn copy_speed(device: Device, bytes: usize, rounds: usize) -> Outcome<f64> {
    let from = Tensor::zeros([bytes / 4], DType::F32, device)?;
    let mut to = Tensor::zeros([bytes / 4], DType::F32, device)?;
    let mut times = Vec::new();
    for _ in 0..rounds + 2 {
        times.push(device.timed(|| to.copy_from(&from))?.1);
    }
    Ok(2.0 * bytes as f64 / median_us(times[2..].to_vec()) / 1e3)
}

/// Forward and backward times of the peer for each workload; none where it is not asked for.
fn peers(workloads: &[Workload], dtype: DType, device: Device) -> Outcome<Vec<[Option<f64>; 2]>> {
    let Ok(python) = std::env::var("WHATWHERE_TORCH") else {
        return Ok(vec![[None; 2]; workloads.len()]);
    };
    let describe = |w: &Workload| {
        let shapes: Vec<_> = w.case.inputs.iter().map(|i| i.shape().dims()).collect();
        json!({"peer": w.peer, "shapes": shapes})
    };
    let list: Vec<Value> = workloads.iter().map(describe).collect();
    let script = std::env::var("WHATWHERE_TORCH_SCRIPT");
    let script = script.unwrap_or_else(|_| "benches/peers/torch_ops.py".into());
    let torch_device = device.to_string();
    let mut child = Command::new(python)
        .args([&script, &torch_device, &dtype.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(serde_json::to_string(&list)?.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{script} failed").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
