//! Checks of a pooling window against the map it slides over.

use super::Draw;
use crate::cpu::window::Axis;
use crate::{Error, Result};

/// The two image axes under a window of these extents (rows, columns).
///
/// # Errors
/// [`Error::Shape`] for an empty kernel, a zero stride, padding of more than half the kernel (a
/// window could then lie in the padding alone), an empty map and a kernel larger than the padded map.
pub(super) fn axes(
    op: &'static str,
    [kernel, stride, padding]: [[usize; 2]; 3],
    map: [usize; 2],
) -> Result<[Axis; 2]> {
    let axis = |i: usize| {
        let side = ["rows", "columns"][i];
        let (map, kernel, stride, padding) = (map[i], kernel[i], stride[i], padding[i]);
        let fail = |what: String| Error::shape(op, format!("{what} along {side}"));
        if kernel == 0 || stride == 0 {
            return Err(fail(format!(
                "kernel and stride must be at least 1, found kernel {kernel}, stride {stride}"
            )));
        }
        if map == 0 {
            return Err(fail("the map has no pixel".into()));
        }
        if padding > kernel / 2 {
            return Err(fail(format!(
                "padding may be at most half the kernel, found padding {padding}, kernel {kernel}"
            )));
        }
        Axis::new(map, kernel, stride, padding).ok_or_else(|| {
            fail(format!(
                "a kernel of {kernel} does not fit into a map of {map} with padding {padding}"
            ))
        })
    };
    Ok([axis(0)?, axis(1)?])
}

/// Kernel, stride and padding of a random window that fits into the map.
pub(super) fn draw(draw: &mut Draw, map: [usize; 2]) -> [[usize; 2]; 3] {
    let stride = [draw.between(1, 3), draw.between(1, 3)];
    let padding = [draw.between(0, 2), draw.between(0, 2)];
    let mut kernel = |i: usize| {
        let least = (2 * padding[i]).max(1);
        least + draw.between(0, (map[i] + 2 * padding[i] - least).min(3))
    };
    [[kernel(0), kernel(1)], stride, padding]
}
