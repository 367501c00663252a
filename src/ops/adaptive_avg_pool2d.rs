//! Average pooling to a given map, whatever the input's: the bins of pyramid pooling.

use super::resample::{Resampling, expect_pixels};
use super::{Case, Declaration, Input};
use crate::Result;
use crate::cpu::resample::Taps;

/// y[n, p, q, c] = mean of x[n, h, w, c] over ⌊p·H/P⌋ ≤ h < ⌈(p+1)·H/P⌉ and likewise w.
///
/// x is [N, H, W, C], y is [N, P, Q, C] with (P, Q) = `output`, larger or smaller than (H, W):
/// `torch.nn.AdaptiveAvgPool2d`, whose bins may overlap by one cell. Used with P = Q of 1, 2, 3, 6
/// by PSPNet (Zhao et al. 2017, section 3.2).
///
/// # Errors
/// [`crate::Error::Shape`] for an input that is no NHWC map or has no pixel, and for an empty output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool2d {
    /// Rows and columns of the result.
    pub output: [usize; 2],
}

impl Resampling for AdaptiveAvgPool2d {
    const NAME: &'static str = "adaptive_avg_pool2d";

    fn axes(&self, map: [usize; 2]) -> Result<[Taps; 2]> {
        expect_pixels(Self::NAME, self.output)?;
        let axis = |i: usize| {
            let (input, output) = (map[i], self.output[i]);
            Taps::new(input, output, |o| {
                let bin = o * input / output..((o + 1) * input).div_ceil(output);
                let weight = 1.0 / bin.len() as f64;
                bin.map(|i| (i, weight)).collect()
            })
        };
        Ok([axis(0), axis(1)])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "adaptive_avg_pool2d",
    summary: "mean of each bin of an NHWC map, as `torch.nn.AdaptiveAvgPool2d`",
    linear: true,
    cases: || {
        let case =
            |output, x: [usize; 4]| Case::new(AdaptiveAvgPool2d { output }, [Input::normal(x)]);
        vec![
            case([1, 1], [2, 5, 4, 3]),
            case([2, 3], [2, 7, 5, 3]),
            case([6, 6], [1, 9, 6, 2]),
            case([5, 4], [1, 3, 4, 2]),
        ]
    },
    fuzz: |draw| {
        let output = [draw.between(1, 6), draw.between(1, 6)];
        Case::new(AdaptiveAvgPool2d { output }, [Input::normal(draw.map(8))])
    },
};
