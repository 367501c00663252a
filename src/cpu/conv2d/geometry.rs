//! The extents of a convolution, and what follows from them.

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
