//! The extents of a convolution, and what follows from them.

use std::ops::Range;

use crate::{Error, Result};

/// Extents of a 2-d convolution: input `[n, h, w, c]`, filters `[k, r, s, c]`, output
/// `[n, out_h, out_w, k]`. Pairs are `[vertical, horizontal]`, in pixels.
///
/// The kernels of this folder trust it; [`ConvShape::check`] is for the layer above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images in the batch.
    pub n: usize,
    /// Input height, in pixels.
    pub h: usize,
    /// Input width, in pixels.
    pub w: usize,
    /// Input channels.
    pub c: usize,
    /// Output channels, which is the number of filters.
    pub k: usize,
    /// Filter height, in taps.
    pub r: usize,
    /// Filter width, in taps.
    pub s: usize,
    /// Pixels the filter moves per output pixel.
    pub stride: [usize; 2],
    /// Rows (columns) of zeros on each side of the input.
    pub padding: [usize; 2],
    /// Pixels from one tap to the next; 1 is the dense filter.
    pub dilation: [usize; 2],
}

impl ConvShape {
    /// Output height, in pixels.
    pub fn out_h(&self) -> usize {
        self.vertical().outputs()
    }

    /// Output width, in pixels.
    pub fn out_w(&self) -> usize {
        self.horizontal().outputs()
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Elements of the filters.
    pub fn filter_len(&self) -> usize {
        self.k * self.r * self.s * self.c
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.n * self.out_h() * self.out_w() * self.k
    }

    /// Multiply-accumulates of one pass over the batch, padding counted as the literature does.
    pub fn macs(&self) -> u64 {
        self.output_len() as u64 * (self.r * self.s * self.c) as u64
    }

    /// Whether the extents describe a convolution.
    ///
    /// # Errors
    /// [`Error::Shape`] for a zero extent, stride or dilation, or a filter larger than the padded
    /// input.
    pub fn check(&self) -> Result<()> {
        let fail = |what: String| Err(Error::shape("conv2d", what));
        let extents = [
            ("batch", self.n),
            ("input height", self.h),
            ("input width", self.w),
            ("input channels", self.c),
            ("output channels", self.k),
            ("filter height", self.r),
            ("filter width", self.s),
            ("vertical stride", self.stride[0]),
            ("horizontal stride", self.stride[1]),
            ("vertical dilation", self.dilation[0]),
            ("horizontal dilation", self.dilation[1]),
        ];
        if let Some((name, _)) = extents.iter().find(|(_, extent)| *extent == 0) {
            return fail(format!("{name} is 0, but must be at least 1"));
        }
        for (name, axis) in [("height", self.vertical()), ("width", self.horizontal())] {
            let (reach, padded) = (axis.reach(), axis.input + 2 * axis.padding);
            if reach > padded {
                return fail(format!(
                    "the filter spans {reach} pixels of {name} ({} taps, dilation {}), but the input \
                     has only {padded} ({} and padding {}): use a smaller filter or more padding",
                    axis.taps, axis.dilation, axis.input, axis.padding
                ));
            }
        }
        Ok(())
    }

    pub(super) fn vertical(&self) -> Axis {
        Axis {
            input: self.h,
            taps: self.r,
            stride: self.stride[0],
            padding: self.padding[0],
            dilation: self.dilation[0],
        }
    }

    pub(super) fn horizontal(&self) -> Axis {
        Axis {
            input: self.w,
            taps: self.s,
            stride: self.stride[1],
            padding: self.padding[1],
            dilation: self.dilation[1],
        }
    }
}

/// One of the two axes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub input: usize,
    pub taps: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
}

impl Axis {
    /// Input pixels from the first tap to the last.
    fn reach(&self) -> usize {
        self.dilation * (self.taps - 1) + 1
    }

    /// Output pixels.
    pub fn outputs(&self) -> usize {
        (self.input + 2 * self.padding - self.reach()) / self.stride + 1
    }

    /// The input pixel that `tap` reads for output pixel `out`, if it is not padding.
    pub fn source(&self, out: usize, tap: usize) -> Option<usize> {
        (out * self.stride + tap * self.dilation)
            .checked_sub(self.padding)
            .filter(|&pixel| pixel < self.input)
    }
}

/// Output pixels of one axis that read the same taps at the same distances.
///
/// fprop has one phase. In dgrad the input pixels whose index is `a` modulo the stride read only the
/// taps that the stride leads to them, so each residue is a phase and nothing is multiplied in vain.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    /// Its first pixel, and the distance to the next.
    pub first: usize,
    pub step: usize,
    /// Its number of pixels.
    pub count: usize,
    /// Taps in order, each with the source pixel that the phase's first pixel reads (outside the map:
    /// padding).
    pub taps: Vec<(usize, isize)>,
}

/// One axis of a gather: for each target pixel, the source pixels it sums over.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// Pixels of the source.
    pub source: usize,
    /// Pixels of the target.
    pub target: usize,
    /// Source pixels from one pixel of a phase to the next.
    pub source_step: usize,
    pub phases: Vec<Phase>,
}

impl Axis {
    /// Input to output.
    pub fn forward(&self) -> Walk {
        let taps = (0..self.taps)
            .map(|tap| (tap, (tap * self.dilation) as isize - self.padding as isize))
            .collect();
        let target = self.outputs();
        Walk {
            source: self.input,
            target,
            source_step: self.stride,
            phases: vec![Phase {
                first: 0,
                step: 1,
                count: target,
                taps,
            }],
        }
    }

    /// Output gradient to input gradient: `out = (pixel + padding - tap · dilation) / stride` where
    /// that is whole.
    pub fn adjoint(&self) -> Walk {
        let stride = self.stride as isize;
        let phase = |first: usize| Phase {
            first,
            step: self.stride,
            count: (self.input - first).div_ceil(self.stride),
            taps: (0..self.taps)
                .map(|tap| {
                    (
                        tap,
                        (first + self.padding) as isize - (tap * self.dilation) as isize,
                    )
                })
                .filter(|(_, distance)| distance % stride == 0)
                .map(|(tap, distance)| (tap, distance / stride))
                .collect(),
        };
        Walk {
            source: self.outputs(),
            target: self.input,
            source_step: 1,
            phases: (0..self.stride.min(self.input)).map(phase).collect(),
        }
    }
}

impl Walk {
    /// The source pixel that `tap` of the phase's pixel number `index` reads.
    pub fn at(&self, index: usize, offset: isize) -> isize {
        (index * self.source_step) as isize + offset
    }

    /// The same, if it is not padding.
    pub fn within(&self, index: usize, offset: isize) -> Option<usize> {
        usize::try_from(self.at(index, offset))
            .ok()
            .filter(|&pixel| pixel < self.source)
    }

    /// Whether every target pixel reads just the source pixel of its own index.
    pub fn is_identity(&self) -> bool {
        self.source == self.target
            && self.source_step == 1
            && matches!(self.phases.as_slice(), [phase] if phase.taps == [(0, 0)])
    }

    /// Source pixels, padding included, that the target's pixels read: from the first to the last.
    pub fn reach(&self) -> Range<isize> {
        let ends = self.phases.iter().flat_map(|phase| {
            let last = (phase.count - 1) * self.source_step;
            phase
                .taps
                .iter()
                .map(move |&(_, offset)| (offset, offset + last as isize + 1))
        });
        ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .map_or(0..0, |(low, high)| low..high)
    }

    /// The source pixels, without padding, that pixels `indices` of a phase read.
    pub fn sources(&self, phase: &Phase, indices: Range<usize>) -> Range<usize> {
        let clamp = |pixel: isize| pixel.clamp(0, self.source as isize) as usize;
        let low = phase
            .taps
            .iter()
            .map(|&(_, offset)| self.at(indices.start, offset))
            .min();
        let high = phase
            .taps
            .iter()
            .map(|&(_, offset)| self.at(indices.end - 1, offset) + 1)
            .max();
        match (low, high) {
            (Some(low), Some(high)) => clamp(low)..clamp(high).max(clamp(low)),
            _ => 0..0,
        }
    }

    /// Source pixels that `count` neighbouring pixels of a phase read at most.
    pub fn rows_for(&self, count: usize) -> usize {
        let span = |phase: &Phase| self.sources_unclamped(phase, count);
        self.phases
            .iter()
            .map(span)
            .max()
            .unwrap_or(0)
            .clamp(1, self.source)
    }

    fn sources_unclamped(&self, phase: &Phase, count: usize) -> usize {
        let offsets = phase.taps.iter().map(|&(_, offset)| offset);
        let taps = offsets
            .clone()
            .max()
            .zip(offsets.min())
            .map_or(0, |(max, min)| max - min);
        taps as usize + (count - 1) * self.source_step + 1
    }

    /// Whether some pixel reads source pixel (or padding) `pixel`.
    pub fn reads(&self, pixel: isize) -> bool {
        let step = self.source_step as isize;
        self.phases.iter().any(|phase| {
            phase.taps.iter().any(|&(_, offset)| {
                let distance = pixel - offset;
                distance >= 0 && distance % step == 0 && distance / step < phase.count as isize
            })
        })
    }
}
