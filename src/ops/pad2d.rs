//! Padding of NHWC maps.

use super::resample::Resampling;
use super::{Case, Declaration, Input};
use crate::cpu::resample::Taps;
use crate::{Error, Result};

/// What stands outside the map; the names of `torch.nn.functional.pad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// Zeros (`constant`).
    Zero,
    /// The map mirrored at its edge pixels, which are not repeated: 2 1 | 0 1 2 | 1 0.
    Reflect,
    /// The edge pixels: 0 0 | 0 1 2 | 2 2.
    Replicate,
    /// The map again, as on a torus: 1 2 | 0 1 2 | 0 1.
    Circular,
}

/// y = x with pixels added around the map, from [N, H, W, C] to [N, top + H + bottom, left + W + right, C].
///
/// # Errors
/// [`Error::Shape`] for an input that is no NHWC map or has no pixel; for reflection by as many cells
/// as the map has or more, and for circular padding by more cells than it has (PyTorch's limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pad2d {
    /// What stands outside the map.
    pub mode: PadMode,
    /// Cells added \[\[top, bottom\], \[left, right\]\].
    pub padding: [[usize; 2]; 2],
}

impl Pad2d {
    /// The same padding on all four sides.
    pub fn new(mode: PadMode, padding: usize) -> Self {
        Pad2d {
            mode,
            padding: [[padding; 2]; 2],
        }
    }

    /// The map's cell that stands at `i`, which may lie outside 0..`input`; `None` for a zero.
    fn source(&self, i: isize, input: isize) -> Option<isize> {
        let last = input - 1;
        match self.mode {
            PadMode::Zero => (0..input).contains(&i).then_some(i),
            PadMode::Reflect => Some(last - (last - i.abs()).abs()),
            PadMode::Replicate => Some(i.clamp(0, last)),
            PadMode::Circular => Some(i.rem_euclid(input)),
        }
    }

    /// The most cells that may be added to an axis of `input` cells.
    fn limit(&self, input: usize) -> usize {
        match self.mode {
            PadMode::Reflect => input - 1,
            PadMode::Circular => input,
            PadMode::Zero | PadMode::Replicate => usize::MAX,
        }
    }
}

impl Resampling for Pad2d {
    const NAME: &'static str = "pad2d";

    fn axes(&self, map: [usize; 2]) -> Result<[Taps; 2]> {
        let axis = |i: usize| {
            let (input, padding) = (map[i], self.padding[i]);
            let limit = self.limit(input);
            if padding.iter().any(|&p| p > limit) {
                let what = format!(
                    "{:?} padding of {input} cells is possible by at most {limit}, found {padding:?}",
                    self.mode
                );
                return Err(Error::shape(Self::NAME, what));
            }
            let [before, after] = padding;
            Ok(Taps::new(input, before + input + after, |o| {
                let cell = self.source(o as isize - before as isize, input as isize);
                cell.map(|i| (i as usize, 1.0)).into_iter().collect()
            }))
        };
        Ok([axis(0)?, axis(1)?])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: "pad2d",
    summary: "pixels added around an NHWC map: zero, reflect, replicate or circular",
    linear: true,
    cases: || {
        let uneven = [[1, 2], [3, 0]];
        let modes = [
            PadMode::Zero,
            PadMode::Reflect,
            PadMode::Replicate,
            PadMode::Circular,
        ];
        let cases = modes.map(|mode| {
            let op = Pad2d {
                mode,
                padding: uneven,
            };
            Case::new(op, [Input::normal([2, 3, 4, 5])])
        });
        cases.into()
    },
    fuzz: |draw| {
        let x = draw.map(6);
        let mode = draw.pick(&[
            PadMode::Zero,
            PadMode::Reflect,
            PadMode::Replicate,
            PadMode::Circular,
        ]);
        let mut op = Pad2d::new(mode, 0);
        for (sides, extent) in op.padding.iter_mut().zip([x[1], x[2]]) {
            let most = Pad2d::new(mode, 0).limit(extent).min(4);
            *sides = [draw.between(0, most), draw.between(0, most)];
        }
        Case::new(op, [Input::normal(x)])
    },
};
