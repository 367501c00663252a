//! Launches of `kernels/permutation.cu`: a random permutation of the positions for each channel.

use super::params::PermutationParams;
use super::{Address, Launch};
use crate::rng::Key;
use crate::{Error, Result};

/// Most positions a map can have: the kernel's sort keeps 16 bits for the position.
pub const MAX_POSITIONS: usize = 1 << 16;

/// Numbers one block sorts at once: 64 KiB of shared memory, so that three blocks share an sm_90.
const MAX_CAPACITY: usize = 8192;

/// Positions planned for one slice. A slice of p of them holds p ± √p, so none will overflow; one
/// that did would only be slower.
const SLICE: usize = 6144;

/// Where to put the tables, each [positions, channels] of `u16`; a null address leaves one out.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// π: the input position of each output position.
    pub forward: Address,
    /// π⁻¹: the output position of each input position.
    pub inverse: Address,
}

/// The launch that writes `tables` for channels `first_lane .. first_lane + channels` of `key`:
/// column c is `key.stream(first_lane + c).permutation(positions)`.
///
/// # Errors
/// [`Error::Shape`] for a map without positions or with more than [`MAX_POSITIONS`], and for no
/// channels.
pub fn launch(
    key: Key,
    first_lane: u32,
    positions: usize,
    channels: usize,
    tables: Tables,
) -> Result<Launch> {
    let capacity = positions.next_power_of_two().clamp(64, MAX_CAPACITY);
    let slices = if positions <= capacity {
        1
    } else {
        positions.div_ceil(SLICE)
    };
    launch_with(
        key, first_lane, positions, channels, tables, capacity, slices,
    )
}

/// The same with a chosen capacity (a power of two) and number of slices.
pub fn launch_with(
    key: Key,
    first_lane: u32,
    positions: usize,
    channels: usize,
    tables: Tables,
    capacity: usize,
    slices: usize,
) -> Result<Launch> {
    if positions == 0 || positions > MAX_POSITIONS {
        let what = format!("a map of {positions} positions; the kernel does 1 to {MAX_POSITIONS}");
        return Err(Error::shape("permutation", what));
    }
    if channels == 0 || channels > i32::MAX as usize {
        return Err(Error::shape("permutation", format!("{channels} channels")));
    }
    let params = PermutationParams {
        key: key.words(),
        positions: positions as u32,
        channels: channels as u32,
        first_lane,
        capacity: capacity as u32,
    };
    let threads = (capacity / 2).clamp(32, 1024) as u32;
    Ok(
        Launch::new("permutation", [channels as u32, slices as u32, 1], threads)
            .shared(8 * capacity as u32)
            .params(params)
            .pointer(tables.forward)
            .pointer(tables.inverse),
    )
}
