//! Geometry of a sliding window along one image axis, shared by the pooling kernels.

use std::ops::Range;

/// Windows of `kernel` cells, `stride` apart, over `input` cells with `padding` cells on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Cells of the map along this axis.
    pub input: usize,
    /// Windows along this axis.
    pub output: usize,
    /// Cells of a window.
    pub kernel: usize,
    /// Cells from one window's start to the next one's.
    pub stride: usize,
    /// Cells added before the first and after the last.
    pub padding: usize,
}

impl Axis {
    /// The axis with ⌊(input + 2·padding − kernel) / stride⌋ + 1 windows; `None` unless the stride
    /// is positive and the kernel fits into the padded axis.
    pub fn new(input: usize, kernel: usize, stride: usize, padding: usize) -> Option<Self> {
        let padded = input.checked_add(padding.checked_mul(2)?)?;
        let output = padded.checked_sub(kernel)?.checked_div(stride)? + 1;
        Some(Axis {
            input,
            output,
            kernel,
            stride,
            padding,
        })
    }

    /// The map's cells inside window `o`, padding left out.
    pub fn cells(&self, o: usize) -> Range<usize> {
        let start = o * self.stride;
        let end = (start + self.kernel).saturating_sub(self.padding);
        start.saturating_sub(self.padding)..end.min(self.input)
    }

    /// Offset of the map's cell `i` inside window `o` that holds it.
    pub fn offset(&self, o: usize, i: usize) -> usize {
        i + self.padding - o * self.stride
    }

    /// The windows that hold the map's cell `i`, in rising order; may be none.
    pub fn windows(&self, i: usize) -> Range<usize> {
        let at = i + self.padding;
        let first = (at + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        first..(at / self.stride + 1).min(self.output).max(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both views of the geometry agree with the definition, written out.
    #[test]
    fn cells_and_windows_are_inverse() {
        for (input, kernel, stride, padding) in [
            (7, 3, 2, 1),
            (8, 2, 2, 0),
            (9, 2, 3, 1),
            (5, 5, 1, 2),
            (1, 3, 1, 1),
        ] {
            let axis = Axis::new(input, kernel, stride, padding).unwrap();
            assert_eq!(axis.output, (input + 2 * padding - kernel) / stride + 1);
            for o in 0..axis.output {
                for i in 0..input {
                    let inside = (o * stride..o * stride + kernel).contains(&(i + padding));
                    assert_eq!(axis.cells(o).contains(&i), inside, "{axis:?} {o} {i}");
                    assert_eq!(axis.windows(i).contains(&o), inside, "{axis:?} {o} {i}");
                }
            }
        }
    }

    #[test]
    fn impossible_windows_are_refused() {
        assert_eq!(Axis::new(4, 5, 1, 0), None);
        assert_eq!(Axis::new(4, 2, 0, 0), None);
        assert_eq!(Axis::new(4, 2, 1, usize::MAX), None);
    }
}
