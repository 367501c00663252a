//! fprop and dgrad: the same gather of taps, over two different walks.
//!
//! `target[n, p, q, j] = bias[j] + Σ_(taps, i) source[n, p', q', i] · B[(tap, i), j]`
//!
//! Work is cut into blocks of images × target rows, and each block into groups of panels. A task
//! stages the source pixels of its block in scratch memory, laid out so that the rows of a tile are a
//! constant distance apart, and then runs every panel over it; block and panel stay in the second
//! level cache. Two layouts, chosen by what each would cost:
//!
//! - *by image*: `[row, column, image, channel]`. A tile's rows are the same pixel of several images,
//!   so a tap is padding for all of them or for none, and padding costs nothing. On small maps that is
//!   much: a 3×3 filter on a 2×2 map has 36 taps of which 16 read a pixel, on 4×4 100 of 144.
//! - *by column*: `[row, column, channel]` of one image with zeros left and right. A tile's rows are
//!   pixels of one map row, for batches too small to fill a tile; taps above and below the map are
//!   still skipped. Neighbouring taps of a row lie one behind the other and merge into one segment,
//!   which is what makes three input channels cheap.

use std::ops::Range;

use rayon::prelude::*;

use super::filters::{Panel, Panels};
use super::geometry::{Phase, Walk};
use super::micro::{Kernels, Segment, Start, Tile, push};
use super::shared::SharedOut;
use crate::cpu::scratch::with_scratch;
use crate::tensor::Real;

/// Bytes of staged source pixels: half of a common second-level cache.
const STAGE_BYTES: usize = 1 << 20;
/// Bytes of panels that are run over a block together, which saves naming the segments again.
const PANEL_BYTES: usize = 1 << 19;
/// Tasks per thread that the panels are cut for, so that threads finish together.
const TASKS_PER_THREAD: usize = 6;

/// What is gathered from where to where.
pub(super) struct Gather<'a, T> {
    pub kernels: &'a Kernels<T>,
    pub images: usize,
    /// Channels of the source.
    pub channels: usize,
    pub vertical: Walk,
    pub horizontal: Walk,
    pub source: &'a [T],
    /// Packed panels, steps (vertical tap, horizontal tap, channel).
    pub packed: &'a [T],
    pub panels: Panels,
    /// Taps of the filter's width.
    pub filter_width: usize,
    /// All steps of a panel.
    pub depth: usize,
    pub bias: Option<&'a [T]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    ByImage,
    ByColumn,
}

/// How the work is cut.
struct Plan {
    layout: Layout,
    /// Elements from one staged pixel to the next.
    pitch: usize,
    /// Staged columns, as source columns; negative ones are padding.
    columns: Range<isize>,
    /// Images per block, and target rows of a phase per block.
    images: usize,
    rows: usize,
}

struct Block<'a> {
    images: Range<usize>,
    phase: &'a Phase,
    /// Pixels of the phase.
    rows: Range<usize>,
    /// Source rows that are staged.
    staged: Range<usize>,
}

/// Target pixels that share their taps: rows of tiles, all pitches and places in elements.
struct Strip {
    rows: usize,
    a_pitch: usize,
    first: usize,
    c_pitch: usize,
}

/// `total` cut into the fewest parts of at most `most`, as equal as can be.
fn balanced(total: usize, most: usize) -> usize {
    total.div_ceil(total.div_ceil(most))
}

impl<T: Real> Gather<'_, T> {
    /// Computes every element of `target`.
    pub fn run(&self, target: &mut [T]) {
        if self.vertical.is_identity() && self.horizontal.is_identity() && !self.crowded() {
            return self.pointwise(target);
        }
        let plan = self.plan();
        let blocks = self.blocks(&plan);
        let panels = self.panels.count();
        let (group, groups) = self.groups(blocks.len());
        let panel_bytes = self.depth * self.kernels.width() * size_of::<T>();
        let resident = (PANEL_BYTES / panel_bytes).max(1);
        let target = SharedOut::new(target);
        (0..blocks.len() * groups).into_par_iter().for_each(|task| {
            let block = &blocks[task / groups];
            let first = task % groups * group;
            let width = (plan.columns.end - plan.columns.start) as usize;
            let staged = block.staged.len() * width * block.images.len() * plan.pitch;
            with_scratch(staged, |staged| {
                self.stage(&plan, block, staged);
                let last = panels.min(first + group);
                for index in (first..last).step_by(resident) {
                    let panels = index..last.min(index + resident);
                    self.panels(&plan, block, staged, panels, &target);
                }
            });
        });
    }

    /// Whether neighbouring pixels are a multiple of 4 KiB apart, so that a tile's rows would fall
    /// into one set of the first-level cache.
    fn crowded(&self) -> bool {
        (self.channels * size_of::<T>()).is_multiple_of(4096)
    }

    /// A 1×1 filter that moves by one pixel: the source is already a matrix, so nothing is staged.
    fn pointwise(&self, target: &mut [T]) {
        let pixels = self.images * self.vertical.source * self.horizontal.source;
        let columns = self.panels.columns;
        let pixel_bytes = self.channels * size_of::<T>();
        let block = (STAGE_BYTES / 2 / pixel_bytes).next_multiple_of(self.kernels.rows);
        let (group, groups) = self.groups(pixels.div_ceil(block));
        let target = SharedOut::new(target);
        let segments = [Segment {
            a: 0,
            b: 0,
            depth: self.channels,
        }];
        (0..pixels.div_ceil(block) * groups)
            .into_par_iter()
            .for_each(|task| {
                let (start, panel) = (task / groups * block, task % groups * group);
                let end = pixels.min(start + block);
                let tile = balanced(end - start, self.kernels.rows);
                for first in (start..end).step_by(tile) {
                    let strip = Strip {
                        rows: tile.min(end - first),
                        a_pitch: self.channels,
                        first: first * columns,
                        c_pitch: columns,
                    };
                    let source = &self.source[first * self.channels..];
                    for index in panel..self.panels.count().min(panel + group) {
                        self.strip(source, &segments, &strip, self.panels.get(index), &target);
                    }
                }
            });
    }

    /// Panels per task, and tasks per block, that occupy the threads when there are few blocks.
    fn groups(&self, blocks: usize) -> (usize, usize) {
        let panels = self.panels.count();
        let wanted = (TASKS_PER_THREAD * rayon::current_num_threads()).div_ceil(blocks);
        let group = panels.div_ceil(wanted);
        (group, panels.div_ceil(group))
    }

    fn plan(&self) -> Plan {
        let size = size_of::<T>();
        let layout = self.layout();
        // Pixels a multiple of 1 KiB apart would compete for the same few sets of the cache.
        let spread = (self.channels * size).is_multiple_of(1024);
        let pitch = self.channels + if spread { 64 / size } else { 0 };
        let columns = match layout {
            Layout::ByImage => 0..self.horizontal.source as isize,
            Layout::ByColumn => self.horizontal.reach(),
        };
        let row_bytes = (columns.end - columns.start) as usize * pitch * size;
        let most_rows = self
            .vertical
            .phases
            .iter()
            .map(|phase| phase.count)
            .max()
            .unwrap_or(1);
        let tile = match layout {
            Layout::ByImage => balanced(self.images, self.kernels.rows),
            Layout::ByColumn => 1,
        };
        let whole = self.vertical.rows_for(most_rows) * row_bytes * tile;
        let (images, rows) = if whole <= STAGE_BYTES {
            let tiles = STAGE_BYTES / whole;
            let images = if layout == Layout::ByImage {
                tiles * tile
            } else {
                1
            };
            (images.min(self.images), most_rows)
        } else {
            let fits =
                |&rows: &usize| self.vertical.rows_for(rows) * row_bytes * tile <= STAGE_BYTES;
            let halo = self.vertical.rows_for(1);
            let rows = (1..most_rows)
                .take_while(fits)
                .last()
                .unwrap_or(1)
                .max(halo);
            (tile, balanced(most_rows, rows.min(most_rows)))
        };
        Plan {
            layout,
            pitch,
            columns,
            images,
            rows,
        }
    }

    /// The cheaper layout: steps of the kernel, each segment's overhead counted as a few steps and
    /// each step's loads as two rows' worth of a tile.
    fn layout(&self) -> Layout {
        let steps = |depth: usize, rows: usize| {
            let tile = balanced(rows, self.kernels.rows);
            (depth + 4) as f64 * (1.0 + 2.0 / tile as f64)
        };
        let (mut by_image, mut by_column) = (0.0, 0.0);
        for phase in &self.horizontal.phases {
            let valid = |&(_, offset): &(usize, isize)| {
                (0..phase.count)
                    .filter(|&i| self.horizontal.within(i, offset).is_some())
                    .count()
            };
            let pairs: usize = phase.taps.iter().map(valid).sum();
            by_image += pairs as f64 * steps(self.channels, self.images);
            by_column +=
                (phase.count * phase.taps.len()) as f64 * steps(self.channels, phase.count);
        }
        // Few channels: only merged taps make segments worth their overhead.
        if self.channels < 16 && self.horizontal.target >= 8 || by_column < by_image {
            Layout::ByColumn
        } else {
            Layout::ByImage
        }
    }

    fn blocks(&self, plan: &Plan) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        for image in (0..self.images).step_by(plan.images) {
            for phase in &self.vertical.phases {
                for row in (0..phase.count).step_by(plan.rows) {
                    let rows = row..phase.count.min(row + plan.rows);
                    blocks.push(Block {
                        images: image..self.images.min(image + plan.images),
                        phase,
                        staged: self.vertical.sources(phase, rows.clone()),
                        rows,
                    });
                }
            }
        }
        blocks
    }

    /// Copies the block's source pixels to `staged` in the plan's layout; columns of padding are zero.
    /// Image by image, so that it reads whole rows.
    fn stage(&self, plan: &Plan, block: &Block, staged: &mut [T]) {
        let (width, channels) = (self.horizontal.source, self.channels);
        let needed: Vec<bool> = plan
            .columns
            .clone()
            .map(|q| self.horizontal.reads(q))
            .collect();
        let images = block.images.len();
        let row_pixels = needed.len() * images;
        for (row, staged) in block
            .staged
            .clone()
            .zip(staged.chunks_mut(row_pixels * plan.pitch))
        {
            for (index, image) in block.images.clone().enumerate() {
                let source = (image * self.vertical.source + row) * width * channels;
                let source = &self.source[source..][..width * channels];
                let pixels = staged[index * plan.pitch..].chunks_mut(images * plan.pitch);
                for ((column, needed), pixel) in plan.columns.clone().zip(&needed).zip(pixels) {
                    let pixel = &mut pixel[..channels];
                    if !(0..width as isize).contains(&column) {
                        pixel.fill(T::zero());
                    } else if *needed {
                        pixel.copy_from_slice(&source[column as usize * channels..][..channels]);
                    }
                }
            }
        }
    }

    /// Some panels over all pixels of a block.
    fn panels(
        &self,
        plan: &Plan,
        block: &Block,
        staged: &[T],
        panels: Range<usize>,
        out: &SharedOut<T>,
    ) {
        let mut segments = Vec::new();
        let columns = self.panels.columns;
        let (height, width) = (self.vertical.target, self.horizontal.target);
        for row in block.rows.clone() {
            let p = block.phase.first + row * block.phase.step;
            for phase in &self.horizontal.phases {
                let starts = match plan.layout {
                    Layout::ByImage => phase.count,
                    Layout::ByColumn => 1,
                };
                for start in 0..starts {
                    self.segments(plan, block, (row, start), phase, &mut segments);
                    let q = phase.first + start * phase.step;
                    let first = (block.images.start * height + p) * width + q;
                    let strip = match plan.layout {
                        Layout::ByImage => Strip {
                            rows: block.images.len(),
                            a_pitch: plan.pitch,
                            first: first * columns,
                            c_pitch: height * width * columns,
                        },
                        Layout::ByColumn => Strip {
                            rows: phase.count,
                            a_pitch: self.horizontal.source_step * plan.pitch,
                            first: first * columns,
                            c_pitch: phase.step * columns,
                        },
                    };
                    for index in panels.clone() {
                        self.strip(staged, &segments, &strip, self.panels.get(index), out);
                    }
                }
            }
        }
    }

    /// The tiles of one panel over pixels that share their taps.
    fn strip(
        &self,
        staged: &[T],
        segments: &[Segment],
        strip: &Strip,
        panel: Panel,
        out: &SharedOut<T>,
    ) {
        let tile = balanced(strip.rows, self.kernels.rows);
        for i in (0..strip.rows).step_by(tile) {
            let call = Tile {
                a: staged.as_ptr().wrapping_add(i * strip.a_pitch),
                a_pitch: strip.a_pitch,
                b: self.packed[panel.first * self.depth..].as_ptr(),
                b_pitch: panel.pitch,
                b_skip: 1,
                segments,
                c: out.at(strip.first + panel.first + i * strip.c_pitch),
                c_pitch: strip.c_pitch,
                columns: panel.columns,
                start: match self.bias {
                    Some(bias) => Start::Bias(&bias[panel.first..]),
                    None => Start::Zero,
                },
            };
            // SAFETY: `segments` names only staged pixels of the strip's rows and steps of the panel;
            // the strip's rows are pixels of this block and its columns the panel's, which no other
            // task writes.
            unsafe {
                self.kernels
                    .by_rows(tile.min(strip.rows - i), panel.vectors, &call)
            }
        }
    }

    /// The taps that target pixel (`row`, `column`) of the block's phases reads.
    fn segments(
        &self,
        plan: &Plan,
        block: &Block,
        (row, column): (usize, usize),
        phase: &Phase,
        segments: &mut Vec<Segment>,
    ) {
        segments.clear();
        let width = (plan.columns.end - plan.columns.start) as usize;
        for &(r, offset) in &block.phase.taps {
            let Some(source_row) = self.vertical.within(row, offset) else {
                continue;
            };
            for &(s, offset) in &phase.taps {
                let source_column = self.horizontal.at(column, offset);
                if plan.layout == Layout::ByImage
                    && self.horizontal.within(column, offset).is_none()
                {
                    continue;
                }
                let pixel = (source_row - block.staged.start) * width
                    + (source_column - plan.columns.start) as usize;
                let next = Segment {
                    a: pixel * block.images.len() * plan.pitch,
                    b: (r * self.filter_width + s) * self.channels,
                    depth: self.channels,
                };
                push(segments, next, 1);
            }
        }
    }
}
