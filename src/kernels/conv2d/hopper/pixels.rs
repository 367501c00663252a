//! Which pixels a launch makes or sums over, in the words of an im2col map.

use crate::cpu::conv2d::ConvShape;

/// One launch's pixels: those of y, or those of dx in one residue class modulo the stride.
/// Pairs are (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pixels {
    pub positions: [usize; 2],
    pub lower: [i64; 2],
    pub upper: [i64; 2],
    pub stride: [usize; 2],
    pub taps: [usize; 2],
    pub dilation: [usize; 2],
    /// Number of the filter's tap at (0, 0) along each axis, and from one to the next.
    pub first_tap: [i64; 2],
    pub tap_step: [i64; 2],
    pub output_first: [usize; 2],
    pub output_stride: [usize; 2],
}

impl Pixels {
    /// The pixels of y, as fprop and wgrad see them.
    pub fn forward(g: &ConvShape) -> Pixels {
        let reach = [(g.r - 1) * g.dilation[0], (g.s - 1) * g.dilation[1]];
        Pixels {
            positions: [g.out_h(), g.out_w()],
            lower: [0, 1].map(|i| -(g.padding[i] as i64)),
            upper: [0, 1].map(|i| g.padding[i] as i64 - reach[i] as i64),
            stride: g.stride,
            taps: [g.r, g.s],
            dilation: g.dilation,
            first_tap: [0; 2],
            tap_step: [1; 2],
            output_first: [0; 2],
            output_stride: [1; 2],
        }
    }

    /// The residue classes of dx modulo the stride, one after the other.
    pub fn classes(g: &ConvShape) -> Vec<Pixels> {
        let (rows, columns) = (g.stride[0].min(g.h), g.stride[1].min(g.w));
        (0..rows * columns)
            .map(|class| Self::class(g, [class / columns, class % columns]))
            .collect()
    }

    /// Pixels h = i·σ + `first` of dx, i = 0, 1, …: tap r reaches them where σ divides
    /// `first` + π − δr, from row i + (`first` + π − δr) / σ of dy. The last such tap reaches lowest.
    fn class(g: &ConvShape, first: [usize; 2]) -> Pixels {
        let (size, outputs) = ([g.h, g.w], [g.out_h(), g.out_w()]);
        let mut pixels = Pixels {
            output_first: first,
            output_stride: g.stride,
            stride: [1; 2],
            dilation: [1; 2],
            tap_step: [-1; 2],
            ..Self::forward(g)
        };
        for i in 0..2 {
            let stride = g.stride[i] as i64;
            let from = |tap: &i64| (first[i] + g.padding[i]) as i64 - tap * g.dilation[i] as i64;
            let all = 0..[g.r, g.s][i] as i64;
            let taps: Vec<i64> = all.filter(|tap| from(tap) % stride == 0).collect();
            let positions = (size[i] - first[i]).div_ceil(g.stride[i]);
            pixels.positions[i] = positions;
            pixels.taps[i] = taps.len();
            // Without taps nothing is copied, and any base pixel serves.
            let last = taps.last().copied().unwrap_or(0);
            let lowest = if taps.is_empty() {
                0
            } else {
                from(&last) / stride
            };
            pixels.first_tap[i] = last;
            if let [.., before, last] = taps[..] {
                pixels.tap_step[i] = before - last;
                pixels.dilation[i] = ((from(&before) - from(&last)) / stride) as usize;
            }
            pixels.lower[i] = lowest;
            pixels.upper[i] = lowest + positions as i64 - outputs[i] as i64;
            if taps.is_empty() {
                pixels.upper[i] = 0;
            }
        }
        pixels
    }
}
