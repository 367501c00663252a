//! Bilinear resizing of NHWC maps.

use super::resample::{Resampling, expect_pixels};
use super::{Case, Declaration, Input};
use crate::Result;
use crate::cpu::resample::Taps;

/// y at output pixel (p, q) is x interpolated linearly between the four pixels around (h, w), where
///
/// h = p · (H − 1)/(P − 1) with `align_corners`, or max(0, (p + ½) · H/P − ½) without, and w likewise.
///
/// x is [N, H, W, C], y is [N, P, Q, C] with (P, Q) = `output`, larger or smaller:
/// `torch.nn.functional.interpolate(mode="bilinear", antialias=False)` given a `size`. Beyond the
/// last pixel its value is held; with `align_corners` and P = 1 the first row is taken.
///
/// # Errors
/// [`crate::Error::Shape`] for an input that is no NHWC map or has no pixel, and for an empty output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilinearResize {
    /// Rows and columns of the result.
    pub output: [usize; 2],
    /// Whether the corner pixels' centres coincide (PSPNet), or the corners themselves.
    pub align_corners: bool,
}

impl BilinearResize {
    /// Where output cell `o` lies on the input axis.
    fn source(&self, o: usize, input: usize, output: usize) -> f64 {
        match (self.align_corners, output) {
            (true, 1) => 0.0,
            // One division of integers: exact where the answer is whole.
            (true, _) => (o * (input - 1)) as f64 / (output - 1) as f64,
            (false, _) => ((o as f64 + 0.5) * input as f64 / output as f64 - 0.5).max(0.0),
        }
    }
}

impl Resampling for BilinearResize {
    const NAME: &'static str = "bilinear_resize";

    fn axes(&self, map: [usize; 2]) -> Result<[Taps; 2]> {
        expect_pixels(Self::NAME, self.output)?;
        let axis = |i: usize| {
            let (input, output) = (map[i], self.output[i]);
            Taps::new(input, output, |o| {
                let at = self.source(o, input, output);
                let (low, fraction) = (at.floor() as usize, at.fract());
                if low + 1 < input && fraction > 0.0 {
                    vec![(low, 1.0 - fraction), (low + 1, fraction)]
                } else {
                    vec![(low.min(input - 1), 1.0)]
                }
            })
        };
        Ok([axis(0), axis(1)])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "bilinear_resize",
    summary: "bilinear interpolation to another map, as `torch.nn.functional.interpolate`",
    linear: true,
    cases: || {
        let mut cases = Vec::new();
        for align_corners in [true, false] {
            let sizes: [([usize; 2], [usize; 4]); 5] = [
                ([7, 9], [2, 3, 4, 5]),
                ([3, 2], [1, 7, 8, 2]),
                ([8, 8], [1, 1, 2, 3]),
                ([1, 5], [1, 4, 5, 2]),
                ([4, 3], [1, 4, 3, 2]),
            ];
            cases.extend(sizes.map(|(output, x)| {
                let op = BilinearResize {
                    output,
                    align_corners,
                };
                Case::new(op, [Input::normal(x)])
            }));
        }
        cases
    },
    fuzz: |draw| {
        let op = BilinearResize {
            output: [draw.between(1, 9), draw.between(1, 9)],
            align_corners: draw.flag(),
        };
        Case::new(op, [Input::normal(draw.map(8))])
    },
};
