//! Launches of `kernels/permutation.cu`: a random permutation of the positions for each channel.

use super::key::KeySource;
use super::params::PermutationParams;
use super::{Address, Launch};
use crate::{Error, Result};

/// Most positions a map can have: the kernel's sort keeps 16 bits for the position.
pub const MAX_POSITIONS: usize = 1 << 16;

/// Numbers one block sorts at once: 64 KiB of shared memory, so that three blocks share an sm_90.
const MAX_CAPACITY: usize = 8192;

/// Positions planned for one slice. A slice of p of them holds p ± √p, so none will overflow; one
/// that did would only be slower.
const SLICE: usize = 6144;

/// Where to put the tables, each [tables, positions, channels] of `u16`; a null address leaves one out.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// π: the input position of each output position.
    pub forward: Address,
    /// π⁻¹: the output position of each input position.
    pub inverse: Address,
}

/// The launch that writes one table for channels `first_lane .. first_lane + channels` of `key`:
/// column c is `key.stream(first_lane + c).permutation(positions)`.
///
/// # Errors
/// [`Error::Shape`] for a map without positions or with more than [`MAX_POSITIONS`], and for no
/// channels.
pub fn launch(
    key: impl Into<KeySource>,
    first_lane: u32,
    positions: usize,
    channels: usize,
    tables: Tables,
) -> Result<Launch> {
    let (capacity, slices) = cut(positions);
    launch_with(
        key, first_lane, positions, channels, tables, capacity, slices,
    )
}

/// The launch that writes a table for each of `samples` samples: that of sample n as by [`launch`] of
/// `key.fold(n)`, from lane 0.
///
/// # Errors
/// As [`launch`], and for no samples or more than 65535.
pub fn launch_per_sample(
    key: impl Into<KeySource>,
    samples: usize,
    [positions, channels]: [usize; 2],
    tables: Tables,
) -> Result<Launch> {
    if samples == 0 || samples > 65535 {
        let what = format!("tables for {samples} samples; the kernel makes 1 to 65535");
        return Err(Error::shape("permutation", what));
    }
    let (capacity, slices) = cut(positions);
    let cut = [capacity, slices];
    plan(
        key.into(),
        0,
        [positions, channels],
        tables,
        cut,
        Some(samples as u32),
    )
}

/// The capacity and the number of slices for maps of so many positions.
fn cut(positions: usize) -> (usize, usize) {
    let capacity = positions.next_power_of_two().clamp(64, MAX_CAPACITY);
    let slices = if positions <= capacity {
        1
    } else {
        positions.div_ceil(SLICE)
    };
    (capacity, slices)
}

/// [`launch`] with a chosen capacity (a power of two) and number of slices.
pub fn launch_with(
    key: impl Into<KeySource>,
    first_lane: u32,
    positions: usize,
    channels: usize,
    tables: Tables,
    capacity: usize,
    slices: usize,
) -> Result<Launch> {
    let map = [positions, channels];
    plan(
        key.into(),
        first_lane,
        map,
        tables,
        [capacity, slices],
        None,
    )
}

fn plan(
    key: KeySource,
    first_lane: u32,
    [positions, channels]: [usize; 2],
    tables: Tables,
    [capacity, slices]: [usize; 2],
    samples: Option<u32>,
) -> Result<Launch> {
    if positions == 0 || positions > MAX_POSITIONS {
        let what = format!("a map of {positions} positions; the kernel does 1 to {MAX_POSITIONS}");
        return Err(Error::shape("permutation", what));
    }
    if channels == 0 || channels > i32::MAX as usize {
        return Err(Error::shape("permutation", format!("{channels} channels")));
    }
    let params = PermutationParams {
        key: key.params(),
        positions: positions as u32,
        channels: channels as u32,
        first_lane,
        capacity: capacity as u32,
        per_sample: samples.is_some() as u32,
    };
    let threads = (capacity / 2).clamp(32, 1024) as u32;
    let grid = [channels as u32, slices as u32, samples.unwrap_or(1)];
    Ok(Launch::new("permutation", grid, threads)
        .shared(8 * capacity as u32)
        .params(params)
        .pointer(key.step())
        .pointer(tables.forward)
        .pointer(tables.inverse))
}
