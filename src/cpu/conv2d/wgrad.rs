//! wgrad: `dw[k, (r, s), c] = Σ_pixels dy[pixel, k] · x[pixel shifted by (r, s), c]`.
//!
//! The depth of this product is the pixels, and both operands have their channels contiguous, so a
//! tile broadcasts neighbouring channels of `dy` and loads neighbouring channels of `x`: A walked by
//! columns. Pixels are taken in blocks (cut by shape alone). A block's `x` and `dy` are staged, cut
//! into panels of one tile's channels, in the order `[row, column, image]`; a tap is then a list of
//! segments, the runs of pixels that the shifted map has in common with the other, and padding is no
//! work. Tiles are tasks; every tile adds the blocks in order, so there are no partial sums.
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
const BLOCK_PIXELS: usize = 4096;
/// Bytes of a staged block.
const BLOCK_BYTES: usize = 8 << 20;

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
    /// Whether columns are staged in place of pixels.
    columns: bool,
    /// The columns of a tile: input channels, or (r, s, c).
    panels: Panels,
    /// The rows of a tile: output channels.
    tile: usize,
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
    let skip = if single && !columns { g.stride[1] } else { 1 };
    let pass = Wgrad {
        g,
        kernels,
        columns,
        panels,
        tile,
        skip,
    };
    let dw = SharedOut::new(dw);
    for (index, block) in blocks.iter().enumerate() {
        let (x_len, dy_len) = (pass.staged_x(block), pass.staged_dy(block));
        with_scratch(x_len, |staged_x| {
            with_scratch(dy_len, |staged_dy| {
                pass.stage_x(block, x, staged_x);
                pass.stage_dy(block, dy, staged_dy);
                pass.multiply(block, staged_x, staged_dy, index == 0, &dw);
            });
        });
    }
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

impl<T: Real> Wgrad<'_, T> {
    /// Staged pixels per panel of `x`.
    fn pixels_x(&self, block: &Block) -> usize {
        let per_image = if self.columns {
            block.rows.len() * self.g.out_w()
        } else {
            block.sources.len() * self.g.w
        };
        per_image * block.images.len()
    }

    fn pixels_dy(&self, block: &Block) -> usize {
        block.rows.len() * self.g.out_w() * block.images.len()
    }

    fn staged_x(&self, block: &Block) -> usize {
        self.pixels_x(block) * self.panels.padded()
    }

    /// One row of a tile more than needed, for whole-tile copies.
    fn staged_dy(&self, block: &Block) -> usize {
        self.pixels_dy(block) * self.g.k
    }

    /// `x` as `[panel, row, column, image, channel of the panel]`.
    fn stage_x(&self, block: &Block, x: &[T], staged: &mut [T]) {
        let g = self.g;
        let pixels = self.pixels_x(block);
        let walks = [g.vertical().forward(), g.horizontal().forward()];
        let chunk = (pixels * self.kernels.width()).max(1);
        staged
            .par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(index, staged)| {
                let panel = self.panels.get(index);
                let mut staged = staged.chunks_exact_mut(panel.pitch);
                let (rows, width) = match self.columns {
                    true => (block.rows.clone(), g.out_w()),
                    false => (block.sources.clone(), g.w),
                };
                for row in rows {
                    for column in 0..width {
                        for image in block.images.clone() {
                            let Some(to) = staged.next() else { return };
                            to[panel.columns..].fill(T::zero());
                            let to = &mut to[..panel.columns];
                            if self.columns {
                                let at = |r: usize, s: usize| {
                                    let p = walks[0].within(row, walks[0].phases[0].taps[r].1)?;
                                    let q =
                                        walks[1].within(column, walks[1].phases[0].taps[s].1)?;
                                    Some(((image * g.h + p) * g.w + q) * g.c)
                                };
                                for (i, to) in to.iter_mut().enumerate() {
                                    let (tap, c) =
                                        ((panel.first + i) / g.c, (panel.first + i) % g.c);
                                    *to =
                                        at(tap / g.s, tap % g.s).map_or(T::zero(), |at| x[at + c]);
                                }
                            } else {
                                let from = ((image * g.h + row) * g.w + column) * g.c + panel.first;
                                to.copy_from_slice(&x[from..][..panel.columns]);
                            }
                        }
                    }
                }
            });
    }

    /// `dy` as `[tile, row, column, image, channel of the tile]`.
    fn stage_dy(&self, block: &Block, dy: &[T], staged: &mut [T]) {
        let (g, pixels) = (self.g, self.pixels_dy(block));
        let (out_h, out_w) = (g.out_h(), g.out_w());
        staged
            .par_chunks_mut(pixels * self.tile)
            .enumerate()
            .for_each(|(index, staged)| {
                let first = index * self.tile;
                let channels = self.tile.min(g.k - first);
                let mut staged = staged.chunks_exact_mut(channels);
                for row in block.rows.clone() {
                    for column in 0..out_w {
                        for image in block.images.clone() {
                            let Some(to) = staged.next() else { return };
                            let from = ((image * out_h + row) * out_w + column) * g.k + first;
                            to.copy_from_slice(&dy[from..][..channels]);
                        }
                    }
                }
            });
    }

    /// Adds the block's products to `dw`, or writes them when it is the first.
    fn multiply(&self, block: &Block, x: &[T], dy: &[T], first: bool, dw: &SharedOut<T>) {
        let g = self.g;
        let taps = if self.columns { 1 } else { g.r * g.s };
        let segments: Vec<Vec<Segment>> = (0..taps).map(|tap| self.segments(block, tap)).collect();
        let (tiles, tap_rows) = (g.k.div_ceil(self.tile), if self.columns { 1 } else { g.r });
        let tap_columns = taps / tap_rows;
        let depth = g.r * g.s * g.c;
        let pixels = [self.pixels_x(block), self.pixels_dy(block)];
        (0..self.panels.count() * tiles * tap_rows)
            .into_par_iter()
            .for_each(|task| {
                let panel = self.panels.get(task / (tiles * tap_rows));
                let k = task / tap_rows % tiles * self.tile;
                let rows = self.tile.min(g.k - k);
                for tap in (0..tap_columns).map(|s| task % tap_rows * tap_columns + s) {
                    let call = Tile {
                        a: dy[k * pixels[1]..].as_ptr(),
                        a_pitch: rows,
                        b: x[panel.first * pixels[0]..].as_ptr(),
                        b_pitch: panel.pitch,
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

    /// The runs of pixels that `tap` pairs, as staged positions of `dy` and `x`.
    fn segments(&self, block: &Block, tap: usize) -> Vec<Segment> {
        let images = block.images.len();
        if self.columns {
            return vec![Segment {
                a: 0,
                b: 0,
                depth: self.pixels_dy(block),
            }];
        }
        let (vertical, horizontal) = (self.g.vertical(), self.g.horizontal());
        let (r, s) = (tap / self.g.s, tap % self.g.s);
        let out_w = self.g.out_w();
        let mut segments = Vec::new();
        for row in block.rows.clone() {
            let Some(source_row) = vertical.source(row, r) else {
                continue;
            };
            for column in 0..out_w {
                let Some(source_column) = horizontal.source(column, s) else {
                    continue;
                };
                let from = (source_row - block.sources.start) * self.g.w + source_column;
                let to = (row - block.rows.start) * out_w + column;
                let next = Segment {
                    a: to * images,
                    b: from * images,
                    depth: images,
                };
                push(&mut segments, next, self.skip);
            }
        }
        segments
    }
}
