//! wgrad: `dw[k, (r, s), c] = Σ_pixels dy[pixel, k] · x[pixel shifted by (r, s), c]`.
//!
//! The depth of this product is the pixels, and both operands have their channels contiguous, so a
//! tile broadcasts neighbouring channels of `dy` and loads neighbouring channels of `x`: A walked by
//! columns. Pixels are taken in blocks (cut by shape alone). A block's `x` and `dy` are staged, cut
//! into panels of one tile's channels, in the order `[row, column, image]`; a tap is then a list of
//! segments, the runs of pixels that the shifted map has in common with the other, and padding is no
//! work.
//!
//! Where there are many filters, tiles are the tasks and each adds the blocks in order. Where there
//! are few and the maps are large, a fixed number of parts of the blocks are the tasks, each with a
//! sum of its own, and the sums are added in order.
//!
//! With fewer input channels than a vector has lanes, a block's columns (all taps of a pixel side by
//! side) are staged instead of its pixels, and the product is that of a 1×1 filter.

use std::ops::Range;

use rayon::prelude::*;

use super::ConvShape;
use super::filters::Panels;
use super::micro::{Kernels, Segment, Start, Tile, push};
use super::shared::SharedOut;
use crate::cpu::scratch::with_scratch;
use crate::tensor::Real;

/// Output pixels of a block: one panel of `x` and one of `dy` stay in the second-level cache.
const BLOCK_PIXELS: usize = 2048;
/// Bytes of a staged block of `x`.
const BLOCK_BYTES: usize = 8 << 20;
/// Sums that a small filter gradient is split into.
const PARTS: usize = 8;
/// Bytes up to which a filter gradient is small.
const SMALL_BYTES: usize = 1 << 20;

/// `x` is read where it is when rows of the map make runs of at least this many pixels, and a panel's
/// share of a pixel is not so thin that its lines would crowd into a few sets of the cache.
const DIRECT_RUN: usize = 12;
const DIRECT_BYTES: usize = 1024;

/// A block of output pixels.
struct Block {
    images: Range<usize>,
    rows: Range<usize>,
    /// Input rows it reads.
    sources: Range<usize>,
}

struct Wgrad<'a, T> {
    g: &'a ConvShape,
    kernels: &'a Kernels<T>,
    x: &'a [T],
    dy: &'a [T],
    /// Whether columns are staged in place of pixels.
    columns: bool,
    /// The columns of a tile: input channels, or (r, s, c).
    panels: Panels,
    /// The rows of a tile: output channels.
    tile: usize,
    /// Whether `x` is read where it is and only `dy` is staged, image after image.
    direct: bool,
    /// Input pixels per output pixel within a segment.
    skip: usize,
}

/// Writes every element of `dw`.
pub(super) fn wgrad<T: Real>(g: &ConvShape, kernels: &Kernels<T>, x: &[T], dy: &[T], dw: &mut [T]) {
    let columns = g.c < kernels.lanes;
    let panels = Panels::new(if columns { g.r * g.s * g.c } else { g.c }, kernels);
    let tile = g.k.div_ceil(g.k.div_ceil(kernels.rows));
    let blocks = blocks(g, panels.padded() * size_of::<T>());
    let single = blocks[0].images.len() == 1;
    let direct = g.c.is_multiple_of(kernels.lanes)
        && g.c * size_of::<T>() <= DIRECT_BYTES
        && g.out_w() >= DIRECT_RUN;
    let skip = if (single || direct) && !columns {
        g.stride[1]
    } else {
        1
    };
    let pass = Wgrad {
        g,
        kernels,
        x,
        dy,
        columns,
        panels,
        tile,
        direct,
        skip,
    };
    if size_of_val(dw) > SMALL_BYTES || blocks.len() < PARTS {
        return pass.run(&blocks, true, dw);
    }
    let len = dw.len();
    with_scratch(len * (PARTS - 1), |others| {
        let parts = std::iter::once(&mut *dw)
            .chain(others.chunks_exact_mut(len))
            .enumerate();
        parts
            .collect::<Vec<_>>()
            .into_par_iter()
            .for_each(|(part, sum)| {
                let cut = |part: usize| part * blocks.len() / PARTS;
                pass.run(&blocks[cut(part)..cut(part + 1)], false, sum);
            });
        for sum in others.chunks_exact(len) {
            dw.iter_mut().zip(sum).for_each(|(dw, sum)| *dw += *sum);
        }
    });
}

/// Whole images while they fit a block, else rows of one image.
fn blocks(g: &ConvShape, x_pixel_bytes: usize) -> Vec<Block> {
    let (out_h, out_w) = (g.out_h(), g.out_w());
    let inputs = (g.h * g.w).div_ceil(out_h * out_w);
    let pixels = BLOCK_PIXELS
        .min(BLOCK_BYTES / (inputs * x_pixel_bytes))
        .max(out_w);
    let images = (pixels / (out_h * out_w)).clamp(1, g.n);
    let rows = (pixels / out_w).min(out_h);
    let walk = g.vertical().forward();
    let mut blocks = Vec::new();
    for image in (0..g.n).step_by(images) {
        for row in (0..out_h).step_by(rows) {
            let rows = row..out_h.min(row + rows);
            blocks.push(Block {
                images: image..g.n.min(image + images),
                sources: walk.sources(&walk.phases[0], rows.clone()),
                rows,
            });
        }
    }
    blocks
}

/// Runs `task` for each index, on the thread pool or here.
fn each(parallel: bool, count: usize, task: impl Fn(usize) + Sync + Send) {
    match parallel {
        true => (0..count).into_par_iter().for_each(task),
        false => (0..count).for_each(task),
    }
}

impl<T: Real> Wgrad<'_, T> {
    /// Writes the sum over `blocks` to `dw`.
    fn run(&self, blocks: &[Block], parallel: bool, dw: &mut [T]) {
        let dw = SharedOut::new(dw);
        for (index, block) in blocks.iter().enumerate() {
            let x_len = if self.direct {
                0
            } else {
                self.pixels_x(block) * self.panels.padded()
            };
            let dy_len = self.pixels_dy(block) * self.g.k;
            with_scratch(x_len, |staged_x| {
                with_scratch(dy_len, |staged_dy| {
                    if !self.direct {
                        self.stage_x(block, parallel, staged_x);
                    }
                    self.stage_dy(block, parallel, staged_dy);
                    self.multiply(block, parallel, [staged_x, staged_dy], index == 0, &dw);
                });
            });
        }
    }

    /// Staged rows and columns of `x`.
    fn staged_map(&self, block: &Block) -> (Range<usize>, usize) {
        match self.columns {
            true => (block.rows.clone(), self.g.out_w()),
            false => (block.sources.clone(), self.g.w),
        }
    }

    /// Staged pixels per panel of `x`.
    fn pixels_x(&self, block: &Block) -> usize {
        let (rows, width) = self.staged_map(block);
        rows.len() * width * block.images.len()
    }

    fn pixels_dy(&self, block: &Block) -> usize {
        block.rows.len() * self.g.out_w() * block.images.len()
    }

    /// `x` as `[panel, row, column, image, channel of the panel]`.
    fn stage_x(&self, block: &Block, parallel: bool, staged: &mut [T]) {
        let (g, pixels, images) = (self.g, self.pixels_x(block), block.images.len());
        let (rows, width) = self.staged_map(block);
        let staged = SharedOut::new(staged);
        each(parallel, self.panels.count() * rows.len(), |task| {
            let (panel, row) = (self.panels.get(task / rows.len()), task % rows.len());
            let row_len = width * images * panel.pitch;
            // SAFETY: each task has its own row of its own panel.
            let to = unsafe { staged.part(panel.first * pixels + row * row_len, row_len) };
            for (index, image) in block.images.clone().enumerate() {
                let pixels = to[index * panel.pitch..].chunks_mut(images * panel.pitch);
                for (column, to) in pixels.enumerate() {
                    to[panel.columns..panel.pitch].fill(T::zero());
                    let to = &mut to[..panel.columns];
                    if self.columns {
                        self.column([image, rows.start + row, column], panel.first, to);
                    } else {
                        let pixel = (image * g.h + rows.start + row) * g.w + column;
                        to.copy_from_slice(&self.x[pixel * g.c + panel.first..][..panel.columns]);
                    }
                }
            }
        });
    }

    /// Elements `first..first + to.len()` of an output pixel's column (r, s, c). With dilation 1 the
    /// taps of a filter row lie one behind the other in the map and are copied at once.
    fn column(&self, [image, row, column]: [usize; 3], first: usize, to: &mut [T]) {
        let g = self.g;
        let merged = if g.dilation[1] == 1 { g.s } else { 1 };
        to.fill(T::zero());
        for tap in (0..g.r * g.s).step_by(merged) {
            let Some(p) = g.vertical().source(row, tap / g.s) else {
                continue;
            };
            let at = column * g.stride[1] + tap % g.s * g.dilation[1];
            // Taps of this run that are not left or right of the map.
            let low = g.padding[1].saturating_sub(at).min(merged);
            let high = (g.w + g.padding[1]).saturating_sub(at).clamp(low, merged);
            let low = ((tap + low) * g.c).max(first);
            let high = ((tap + high) * g.c).min(first + to.len());
            if low < high {
                let start = (image * g.h + p) * g.w + at;
                let from = start * g.c + low - tap * g.c - g.padding[1] * g.c;
                to[low - first..high - first].copy_from_slice(&self.x[from..][..high - low]);
            }
        }
    }

    /// `dy` as `[tile, row, column, image, channel of the tile]`, or with the image before the row when
    /// `x` is read where it is.
    fn stage_dy(&self, block: &Block, parallel: bool, staged: &mut [T]) {
        let (g, pixels, images) = (self.g, self.pixels_dy(block), block.images.len());
        let (out_h, out_w, rows) = (g.out_h(), g.out_w(), block.rows.len());
        let staged = SharedOut::new(staged);
        each(parallel, g.k.div_ceil(self.tile) * rows, |task| {
            let (first, row) = (task / rows * self.tile, task % rows);
            let channels = self.tile.min(g.k - first);
            for (index, image) in block.images.clone().enumerate() {
                let from = (image * out_h + block.rows.start + row) * out_w * g.k;
                let from = self.dy[from..][..out_w * g.k].chunks_exact(g.k);
                let (start, step) = match self.direct {
                    true => ((index * rows + row) * out_w, 1),
                    false => (row * out_w * images + index, images),
                };
                for (column, from) in from.enumerate() {
                    let place = first * pixels + (start + column * step) * channels;
                    // SAFETY: each task has its own row of its own tile.
                    let to = unsafe { staged.part(place, channels) };
                    to.copy_from_slice(&from[first..][..channels]);
                }
            }
        });
    }

    /// Adds the block's products to `dw`, or writes them when it is the first.
    fn multiply(
        &self,
        block: &Block,
        parallel: bool,
        [x, dy]: [&[T]; 2],
        first: bool,
        dw: &SharedOut<T>,
    ) {
        let g = self.g;
        let taps = if self.columns { 1 } else { g.r * g.s };
        let segments: Vec<Vec<Segment>> = (0..taps).map(|tap| self.segments(block, tap)).collect();
        let (tiles, tap_rows) = (g.k.div_ceil(self.tile), if self.columns { 1 } else { g.r });
        let tap_columns = taps / tap_rows;
        let depth = g.r * g.s * g.c;
        let pixels = [self.pixels_x(block), self.pixels_dy(block)];
        each(parallel, self.panels.count() * tiles * tap_rows, |task| {
            let panel = self.panels.get(task / (tiles * tap_rows));
            let k = task / tap_rows % tiles * self.tile;
            let rows = self.tile.min(g.k - k);
            for tap in (0..tap_columns).map(|s| task % tap_rows * tap_columns + s) {
                let call = Tile {
                    a: dy[k * pixels[1]..].as_ptr(),
                    a_pitch: rows,
                    b: if self.direct {
                        self.x[panel.first..].as_ptr()
                    } else {
                        x[panel.first * pixels[0]..].as_ptr()
                    },
                    b_pitch: if self.direct { g.c } else { panel.pitch },
                    b_skip: self.skip,
                    segments: &segments[tap],
                    c: dw.at(k * depth + tap * g.c + panel.first),
                    c_pitch: depth,
                    columns: panel.columns,
                    start: if first { Start::Zero } else { Start::Sum },
                };
                // SAFETY: `segments` names only staged pixels; the tile is `rows` filters, one tap and
                // the panel's channels of `dw`, which no other task writes.
                unsafe { self.kernels.by_columns(rows, panel.vectors, &call) }
            }
        });
    }

    /// The runs of pixels that `tap` pairs, as positions of staged `dy` and of `x`.
    fn segments(&self, block: &Block, tap: usize) -> Vec<Segment> {
        if self.columns {
            return vec![Segment {
                a: 0,
                b: 0,
                depth: self.pixels_dy(block),
            }];
        }
        let mut segments = Vec::new();
        if self.direct {
            for (index, image) in block.images.clone().enumerate() {
                let places = [index * block.rows.len(), image * self.g.h];
                self.rows(block, tap, places, 1, &mut segments);
            }
        } else {
            self.rows(block, tap, [0, 0], block.images.len(), &mut segments);
        }
        segments
    }

    /// The same for maps that begin at rows `starts` of staged `dy` and of `x`, with `images` of them
    /// interleaved.
    fn rows(
        &self,
        block: &Block,
        tap: usize,
        starts: [usize; 2],
        images: usize,
        segments: &mut Vec<Segment>,
    ) {
        let (vertical, horizontal) = (self.g.vertical(), self.g.horizontal());
        let (r, s) = (tap / self.g.s, tap % self.g.s);
        let out_w = self.g.out_w();
        let valid = |column: &usize| horizontal.source(*column, s).is_some();
        let first = (0..out_w).find(valid).unwrap_or(out_w);
        let last = (first..out_w)
            .rfind(valid)
            .map_or(first, |column| column + 1);
        let run = if self.skip == self.g.stride[1] {
            last - first
        } else {
            1
        };
        let top = if self.direct { 0 } else { block.sources.start };
        for row in block.rows.clone() {
            let Some(source_row) = vertical.source(row, r) else {
                continue;
            };
            for column in (first..last).step_by(run.max(1)) {
                let Some(source_column) = horizontal.source(column, s) else {
                    continue;
                };
                let from = (starts[1] + source_row - top) * self.g.w + source_column;
                let to = (starts[0] + row - block.rows.start) * out_w + column;
                let next = Segment {
                    a: to * images,
                    b: from * images,
                    depth: run * images,
                };
                push(segments, next, self.skip);
            }
        }
    }
}
