//! Launches of `kernels/max_pool2d.cu`: y = the maximum of each window of x.

use super::elementwise::{pick, refuse_unaligned};
use super::image::{Images, THREADS, blocks, pair, vector};
use super::params::MaxPool2dParams;
use super::{Address, Launch};
use crate::tensor::DType;
use crate::{Error, Result};

const OP: &str = "max_pool2d";
/// Cells of a window whose offsets fit a byte.
const CELLS_OF_A_BYTE: usize = 256;

/// The windows; pairs are of rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Cells of a window.
    pub kernel: [usize; 2],
    /// Cells from one window's start to the next one's.
    pub stride: [usize; 2],
    /// Cells added on both sides, at most half the kernel.
    pub padding: [usize; 2],
    /// Windows along each axis.
    pub output: [usize; 2],
}

impl Windows {
    /// What `chosen` is made of: bytes where they can hold every offset within a window.
    pub fn offset_dtype(&self) -> DType {
        match self.kernel[0] * self.kernel[1] <= CELLS_OF_A_BYTE {
            true => DType::U8,
            false => DType::I32,
        }
    }
}

/// The maxima of `x` to `y`, and to `chosen` the offset of each within its window.
///
/// # Errors
/// [`Error`] for maps, windows, a dtype or addresses the kernels do not do.
pub fn forward(
    dtype: DType,
    x_shape: Images,
    windows: Windows,
    [x, y, chosen]: [Address; 3],
) -> Result<Launch> {
    const KERNELS: [[&str; 3]; 4] = [
        [
            "max_pool2d_2x2_f32",
            "max_pool2d_2x2_f16",
            "max_pool2d_2x2_bf16",
        ],
        [
            "max_pool2d_3x3_f32",
            "max_pool2d_3x3_f16",
            "max_pool2d_3x3_bf16",
        ],
        [
            "max_pool2d_any_f32",
            "max_pool2d_any_f16",
            "max_pool2d_any_bf16",
        ],
        [
            "max_pool2d_wide_f32",
            "max_pool2d_wide_f16",
            "max_pool2d_wide_bf16",
        ],
    ];
    let vector = vector(dtype, x_shape.channels);
    let (variant, size) = match (windows.kernel, vector) {
        ([2, 2], Some(size)) => (0, size),
        ([3, 3], Some(size)) => (1, size),
        _ if windows.offset_dtype() == DType::U8 => (2, 1),
        _ => (3, 1),
    };
    let kernel = pick(OP, dtype, KERNELS[variant])?;
    let y_shape = Images {
        map: windows.output,
        ..x_shape
    };
    plan(kernel, size, x_shape, windows, y_shape, [x, y, chosen])
}

/// The vjp: to `dx` the sum of `dy` over the windows that chose the cell.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    dtype: DType,
    x_shape: Images,
    windows: Windows,
    [dy, chosen, dx]: [Address; 3],
) -> Result<Launch> {
    const KERNELS: [[&str; 3]; 3] = [
        [
            "max_pool2d_backward_two_f32",
            "max_pool2d_backward_two_f16",
            "max_pool2d_backward_two_bf16",
        ],
        [
            "max_pool2d_backward_any_f32",
            "max_pool2d_backward_any_f16",
            "max_pool2d_backward_any_bf16",
        ],
        [
            "max_pool2d_backward_wide_f32",
            "max_pool2d_backward_wide_f16",
            "max_pool2d_backward_wide_bf16",
        ],
    ];
    let few = (0..2).all(|axis| windows.kernel[axis] <= 2 * windows.stride[axis]);
    let narrow = windows.offset_dtype() == DType::U8;
    let (variant, size) = match vector(dtype, x_shape.channels) {
        Some(size) if few && narrow => (0, size),
        _ if narrow => (1, 1),
        _ => (2, 1),
    };
    let kernel = pick(OP, dtype, KERNELS[variant])?;
    plan(kernel, size, x_shape, windows, x_shape, [dy, chosen, dx])
}

/// `kernel` with a thread for each `size` channels of a pixel of `items`.
fn plan(
    kernel: &'static str,
    size: usize,
    x_shape: Images,
    windows: Windows,
    items: Images,
    pointers: [Address; 3],
) -> Result<Launch> {
    let y_shape = Images {
        map: windows.output,
        ..x_shape
    };
    x_shape.refuse_impossible(OP)?;
    y_shape.refuse_impossible(OP)?;
    refuse_impossible(x_shape.map, windows)?;
    refuse_unaligned(OP, &pointers)?;
    let params = MaxPool2dParams {
        input: pair(x_shape.map),
        output: pair(windows.output),
        kernel: pair(windows.kernel),
        stride: pair(windows.stride),
        padding: pair(windows.padding),
        channels: x_shape.channels as u32,
    };
    let chunks = blocks(OP, (items.image() / size).div_ceil(THREADS))?;
    let launch =
        Launch::new(kernel, [chunks, x_shape.batch as u32, 1], THREADS as u32).params(params);
    Ok(pointers.into_iter().fold(launch, Launch::pointer))
}

/// Every window must hold a cell of the map, and every number fit 32 bits with a sign.
fn refuse_impossible(map: [usize; 2], windows: Windows) -> Result<()> {
    for axis in 0..2 {
        let (kernel, stride) = (windows.kernel[axis], windows.stride[axis]);
        let (padding, output) = (windows.padding[axis], windows.output[axis]);
        let small = [kernel, stride, padding]
            .iter()
            .all(|&n| n <= i32::MAX as usize / 4);
        let last = (output - 1).saturating_mul(stride);
        let fits = last.saturating_add(kernel) <= map[axis] + 2 * padding.min(map[axis] + kernel);
        if kernel == 0 || stride == 0 || !small || 2 * padding > kernel || !fits {
            let what = format!("{windows:?} on a map of {map:?}");
            return Err(Error::shape(OP, what));
        }
    }
    Ok(())
}
