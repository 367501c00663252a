//! Spatial shuffle: a gather by an index table that all samples share.
//!
//! Every mode comes down to one table over the H·W·C elements of a sample, y\[j\] = x\[table\[j\]\], and its
//! inverse for the way back. The table is a pure function of its key: π is the stable argsort of the
//! 48-bit Philox keys of the items it moves (index as tie-break), so nothing is stored and every
//! device draws the same one. Sorting costs about 10 ns per item, once per batch; the gather reads a
//! sample that sits in L2, so it runs at the speed of its one read and one write.

use super::vectorised;
use crate::rng::Key;
use crate::tensor::Real;
use rayon::prelude::*;

/// What a shuffle moves. Names and definitions: Fan et al. 2020 and the authors' code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Positions, by an independent permutation in every channel: the paper's spatial shuffle.
    Shuffle,
    /// Positions, by one permutation that all channels share.
    Rand,
    /// Whole channel maps, by one permutation of the channels.
    ChannelRand,
    /// Channels, by an independent permutation at every position.
    ChannelShuffle,
    /// All H·W·C values, by one permutation.
    ShuffleAll,
    /// Columns, by one permutation that all rows and channels share.
    Horizontal,
    /// Rows, by one permutation that all columns and channels share.
    Vertical,
    /// Positions within every tile of this side (in pixels), independently per tile and channel.
    Local(usize),
}

/// The extents of one sample's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Map {
    /// Elements of a sample.
    pub fn len(self) -> usize {
        self.h * self.w * self.c
    }

    /// Whether there is no element.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Draws the permutation of `items` in lane `lane`: their order by sort key.
///
/// With `derange`, permutations with a fixed point are drawn again (from the key's next fold), which
/// leaves a uniform derangement. One item has no derangement and stays.
fn draw(key: Key, lane: u32, items: &[u32], derange: bool, order: &mut Vec<(u64, u32)>) {
    for attempt in 0u32.. {
        let key = if attempt == 0 { key } else { key.fold(attempt) };
        order.clear();
        order.extend(items.iter().map(|&item| (key.sort_key(item, lane), item)));
        order.sort_unstable();
        let fixed = || order.iter().zip(items).any(|(&(_, to), &from)| to == from);
        if !derange || items.len() < 2 || !fixed() {
            return;
        }
    }
}

/// The table of `mode`: output element j of a sample is input element `table[j]` (HWC order).
pub fn table(mode: Mode, map: Map, key: Key, derange: bool) -> Vec<u32> {
    let Map { h, w, c } = map;
    let positions = |count: usize| (0..count as u32).collect::<Vec<_>>();
    let one = |count: usize| {
        let mut order = Vec::new();
        draw(key, 0, &positions(count), derange, &mut order);
        order
            .into_iter()
            .map(|(_, item)| item as usize)
            .collect::<Vec<_>>()
    };
    let fill = |source: &dyn Fn(usize, usize, usize) -> usize| {
        let mut table = Vec::with_capacity(map.len());
        for y in 0..h {
            for x in 0..w {
                table.extend((0..c).map(|ch| source(y, x, ch) as u32));
            }
        }
        table
    };
    match mode {
        Mode::Shuffle => per_channel(map, key, derange, &[positions(h * w)]),
        Mode::Local(tile) => per_channel(map, key, derange, &tiles(h, w, tile)),
        Mode::Rand => {
            let pi = one(h * w);
            fill(&|y, x, ch| pi[y * w + x] * c + ch)
        }
        Mode::ChannelRand => {
            let pi = one(c);
            fill(&|y, x, ch| (y * w + x) * c + pi[ch])
        }
        Mode::ShuffleAll => one(map.len()).into_iter().map(|i| i as u32).collect(),
        Mode::Horizontal => {
            let pi = one(w);
            fill(&|y, x, ch| (y * w + pi[x]) * c + ch)
        }
        Mode::Vertical => {
            let pi = one(h);
            fill(&|y, x, ch| (pi[y] * w + x) * c + ch)
        }
        Mode::ChannelShuffle => per_position(map, key, derange),
    }
}

/// Row-major positions of every tile; a tile side that does not divide the map is refused earlier.
fn tiles(h: usize, w: usize, tile: usize) -> Vec<Vec<u32>> {
    let corners = (0..h)
        .step_by(tile)
        .flat_map(|y| (0..w).step_by(tile).map(move |x| (y, x)));
    let rows = |y: usize, x: usize| {
        (y..y + tile).flat_map(move |y| (x..x + tile).map(move |x| (y * w + x) as u32))
    };
    corners.map(|(y, x)| rows(y, x).collect()).collect()
}

fn per_channel(map: Map, key: Key, derange: bool, groups: &[Vec<u32>]) -> Vec<u32> {
    let (c, area) = (map.c, map.h * map.w);
    // One channel's permutation is contiguous here, so channels are drawn in parallel.
    let mut planar = vec![0u32; map.len()];
    planar
        .par_chunks_mut(area)
        .enumerate()
        .for_each_init(Vec::new, |order, (ch, plane)| {
            for group in groups {
                draw(key, ch as u32, group, derange, order);
                for (&to, &(_, from)) in group.iter().zip(order.iter()) {
                    plane[to as usize] = from;
                }
            }
        });
    let mut table = Vec::with_capacity(map.len());
    for position in 0..area {
        table.extend((0..c).map(|ch| planar[ch * area + position] * c as u32 + ch as u32));
    }
    table
}

fn per_position(map: Map, key: Key, derange: bool) -> Vec<u32> {
    let channels: Vec<u32> = (0..map.c as u32).collect();
    let mut table = vec![0u32; map.len()];
    table
        .par_chunks_mut(map.c)
        .enumerate()
        .for_each_init(Vec::new, |order, (position, row)| {
            draw(key, position as u32, &channels, derange, order);
            for (entry, &(_, channel)) in row.iter_mut().zip(order.iter()) {
                *entry = (position * map.c) as u32 + channel;
            }
        });
    table
}

/// The inverse table: `inverse[table[j]] = j`.
pub fn inverse(table: &[u32]) -> Vec<u32> {
    let mut inverse = vec![0u32; table.len()];
    for (j, &source) in table.iter().enumerate() {
        inverse[source as usize] = j as u32;
    }
    inverse
}

/// y\[n, j\] = x\[n, tables(n)\[j\]\] for every sample n; `tables` gives each sample's table.
pub fn gather<'t, T: Real>(
    x: &[T],
    y: &mut [T],
    sample: usize,
    tables: impl Fn(usize) -> std::borrow::Cow<'t, [u32]> + Sync,
) {
    let samples = x
        .par_chunks(sample)
        .zip(y.par_chunks_mut(sample))
        .enumerate();
    samples.for_each(|(n, (x, y))| {
        let table = tables(n);
        vectorised(|| {
            for (y, &from) in y.iter_mut().zip(table.iter()) {
                *y = x[from as usize];
            }
        })
    });
}
