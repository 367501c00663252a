//! Launches of `kernels/spatial_shuffle.cu`: y[n, i, c] = x[n, π_c(i), c].

use super::params::SpatialShuffleParams;
use super::{Address, Launch};
use crate::{Error, Result};

/// Bytes of a vector of channels, the widest access of a thread.
const VECTOR: usize = 16;

/// What is shuffled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maps {
    /// Images, at most 65535.
    pub batch: usize,
    /// Height times width, at most 65536.
    pub positions: usize,
    /// Channels.
    pub channels: usize,
    /// Bytes of an element: 2 or 4.
    pub width: usize,
    /// Each image has a table of its own; else the batch shares one.
    pub table_per_image: bool,
}

/// The launch that shuffles `x` into `y` (both [batch, positions, channels]) by `table`
/// ([positions, channels] of `u16`, or one of these for each image). With the inverse table it is the
/// vjp. `shared_limit`: bytes of shared memory a block can have on the device.
///
/// # Errors
/// [`Error::Shape`] for sizes or an element width the kernels do not do.
pub fn launch(
    maps: Maps,
    shared_limit: u32,
    x: Address,
    table: Address,
    y: Address,
) -> Result<Launch> {
    let Maps {
        batch,
        positions,
        channels,
        width,
        ..
    } = maps;
    refuse_impossible("spatial_shuffle", maps)?;
    let vectors = if (channels * width).is_multiple_of(VECTOR) {
        staged_vectors(positions, channels * width / VECTOR, shared_limit as usize)
    } else {
        None
    };
    let params = SpatialShuffleParams {
        batch: batch as u32,
        positions: positions as u32,
        channels: channels as u32,
        vectors: vectors.unwrap_or(1) as u32,
        table_stride: if maps.table_per_image {
            (positions * channels) as u32
        } else {
            0
        },
    };
    let aligned = (channels * width).is_multiple_of(VECTOR);
    let images = batch as u32;
    let launch = match vectors {
        Some(vectors) => {
            let columns = (channels * width).div_ceil(VECTOR * vectors) as u32;
            let threads = (positions * vectors).next_multiple_of(128).min(1024) as u32;
            Launch::new(pick(width, STAGED), [columns, images, 1], threads)
                .shared((positions * vectors * VECTOR) as u32)
        }
        None if aligned => {
            let columns = (channels * width).div_ceil(2 * VECTOR) as u32;
            let chunks = positions.div_ceil(128) as u32;
            Launch::new(pick(width, DIRECT), [chunks, columns, images], 256)
        }
        None => {
            let chunks = (positions * channels).div_ceil(256) as u32;
            Launch::new(pick(width, SCALAR), [chunks, 1, images], 256)
        }
    };
    Ok(launch.params(params).pointer(x).pointer(table).pointer(y))
}

const STAGED: [&str; 2] = ["spatial_shuffle_staged_b16", "spatial_shuffle_staged_b32"];
const DIRECT: [&str; 2] = ["spatial_shuffle_direct_b16", "spatial_shuffle_direct_b32"];
const SCALAR: [&str; 2] = ["spatial_shuffle_scalar_b16", "spatial_shuffle_scalar_b32"];

fn pick(width: usize, kernels: [&'static str; 2]) -> &'static str {
    kernels[(width == 4) as usize]
}

/// Refuses maps that the kernels of `op` do not do.
pub(super) fn refuse_impossible(op: &'static str, maps: Maps) -> Result<()> {
    let Maps {
        batch,
        positions,
        channels,
        width,
        ..
    } = maps;
    let refuse = |what: String| Err(Error::shape(op, what));
    if width != 2 && width != 4 {
        return refuse(format!(
            "elements of {width} bytes; the kernels move 2 or 4"
        ));
    }
    if batch == 0 || batch > 65535 {
        return refuse(format!(
            "a batch of {batch} images; the kernels do 1 to 65535"
        ));
    }
    if positions == 0 || positions > super::permutation::MAX_POSITIONS {
        let most = super::permutation::MAX_POSITIONS;
        return refuse(format!(
            "maps of {positions} positions; the kernels do 1 to {most}"
        ));
    }
    if channels == 0 || positions * channels > i32::MAX as usize {
        return refuse(format!(
            "maps of {positions} positions and {channels} channels"
        ));
    }
    Ok(())
}

/// The width of a column in vectors: as wide as possible (whole sectors, fewer blocks) while two
/// blocks fit a multiprocessor; failing that, as much as fits one; none where nothing fits.
pub(super) fn staged_vectors(
    positions: usize,
    vectors: usize,
    shared_limit: usize,
) -> Option<usize> {
    let bytes = |width: usize| positions * width * VECTOR;
    let useful = [4, 2, 1]
        .into_iter()
        .filter(|&width| width == 1 || width < 2 * vectors);
    let fits = |limit: usize| useful.clone().find(|&width| bytes(width) <= limit);
    fits(shared_limit / 2).or_else(|| fits(shared_limit))
}
