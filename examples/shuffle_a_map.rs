//! Shuffles a small map, channel by channel, and shows what that destroys and what it leaves.
//!
//! ```text
//! cargo run --example shuffle_a_map
//! ```

use whatwhere::autograd::{Tape, Var};
use whatwhere::device::Device;
use whatwhere::ops::global_avg_pool::GlobalAvgPool;
use whatwhere::ops::spatial_shuffle::{Map, Mode, SpatialShuffle};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::Tensor;

fn main() -> whatwhere::Result<()> {
    // One image of 3 rows, 4 columns and 2 channels (NHWC). A number says where it stands; channel 1
    // has 100 more.
    let map = Map { h: 3, w: 4, c: 2 };
    let numbers: Vec<f64> = (0..12)
        .flat_map(|i| [f64::from(i), f64::from(100 + i)])
        .collect();
    let image = Tensor::from_slice([1, map.h, map.w, map.c], &numbers, Device::Cpu)?;

    // The permutations are a pure function of (seed, step, layer): the same key, the same draw.
    let (seed, step, layer) = (6, 0, 43);
    let key = Key::new(seed, Purpose::ShuffleTrain, step, layer);
    let mut tape = Tape::new();
    let x = tape.leaf(image);
    let y = tape.apply(SpatialShuffle::new(Mode::Shuffle, key), &[&x])?;
    print("the map", x.value(), map)?;
    print(
        "shuffled: every channel by a permutation of its own",
        y.value(),
        map,
    )?;

    // What is in a channel is still there, so its mean is the same: all that GAP + FC would see.
    let mut mean = |v: &Var| tape.apply(GlobalAvgPool, &[v])?.value().to_vec::<f64>();
    println!(
        "channel means before {:?}, after {:?}",
        mean(&x)?,
        mean(&y)?
    );
    println!(
        "one of 2^{:.1} arrangements of a channel\n",
        Mode::Shuffle.log2_permutations(map)
    );

    // Backward, the gradient of the first shuffled pixel goes to the pixels that were moved there: one
    // in each channel, at different places.
    let mut first = vec![0.0; 24];
    first[..2].fill(1.0);
    let first = Tensor::from_slice([1, map.h, map.w, map.c], &first, Device::Cpu)?;
    let mut gradients = tape.vjp(&y, first)?;
    if let Some(gradient) = gradients.take(&x) {
        print("where the first shuffled pixel came from", &gradient, map)?;
    }
    Ok(())
}

/// Prints the channels of a map side by side.
fn print(title: &str, tensor: &Tensor, map: Map) -> whatwhere::Result<()> {
    let values = tensor.to_vec::<f64>()?;
    println!("{title}");
    for row in values.chunks(map.w * map.c) {
        let channel = |c: usize| row.iter().skip(c).step_by(map.c).map(|v| format!("{v:5}"));
        let [left, right] = [0, 1].map(|c| channel(c).collect::<String>());
        println!("{left}   |{right}");
    }
    println!();
    Ok(())
}
