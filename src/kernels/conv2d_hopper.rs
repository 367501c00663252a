//! Launches of `kernels/conv2d_hopper.cu`: convolution and its gradients on sm_90a's tensor cores.
//!
//! For bf16 and f16 with channels in multiples of 8; [`can_do`] says what else stands in the way. A
//! [`Plan`] is made from sizes alone; with addresses it becomes launches, to be run in order.

use super::params::{Conv2dHopperParams, Conv2dHopperSumParams};
use super::tensor_map::{Im2col, TensorMap, Tile};
use super::{Address, Launch};
use crate::cpu::conv2d::ConvShape;
use crate::tensor::DType;
use crate::{Error, Result};

const NAME: &str = "conv2d_hopper";

/// Rows of a tile of results.
const TILE_ROWS: usize = 128;
/// Elements of the common axis in a step: 128 bytes.
const STEP: usize = 64;
/// Stages, slices and barriers (`Shared` of the kernel file), and room to align them.
const SHARED_BYTES: u32 = 192 * 1024 + 20 * 1024 + 128 + 1024;
/// A split of wgrad sums at least this many steps: fewer would not repay its pass over memory.
const STEPS_PER_SPLIT: usize = 16;
/// Most bytes of scratch that the parts of wgrad may take.
const SCRATCH: usize = 256 << 20;

/// Which of the three products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// y from x and the filters.
    Fprop,
    /// dx from dy and the filters.
    Dgrad,
    /// dw from x and dy.
    Wgrad,
}

/// What fprop reads and writes, and does on the way; a null address leaves an operand out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fprop {
    /// Maps [n, h, w, c].
    pub x: Address,
    /// Filters [k, r, s, c].
    pub w: Address,
    /// Added to each pixel: \[k\], or null.
    pub bias: Address,
    /// Added to the result: like y, or null.
    pub residual: Address,
    /// Then negative values become 0.
    pub relu: bool,
    /// Result [n, p, q, k].
    pub y: Address,
}

/// One product of a convolution, planned.
#[derive(Clone, Debug)]
pub struct Plan {
    shape: ConvShape,
    dtype: DType,
    pass: Pass,
    /// Columns of a tile: 64, 128 or 256.
    tile_columns: usize,
    splits: usize,
    multiprocessors: usize,
}

/// One launch's pixels: those of y, or those of dx in one residue class modulo the stride.
/// Pairs are (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pixels {
    positions: [usize; 2],
    lower: [i64; 2],
    upper: [i64; 2],
    stride: [usize; 2],
    taps: [usize; 2],
    dilation: [usize; 2],
    /// Number of the filter's tap at (0, 0) along each axis, and from one to the next.
    first_tap: [i64; 2],
    tap_step: [i64; 2],
    output_first: [usize; 2],
    output_stride: [usize; 2],
}

/// Whether these kernels can do `pass` of this convolution, or the reason why not.
///
/// # Errors
/// [`Error::Shape`] with the reason.
pub fn can_do(shape: &ConvShape, dtype: DType, pass: Pass) -> Result<()> {
    let refuse = |what: String| Err(Error::shape(NAME, what));
    shape.check()?;
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return refuse(format!(
            "elements of type {dtype}; the kernels do f16 and bf16"
        ));
    }
    let ConvShape { c, k, .. } = *shape;
    if !c.is_multiple_of(8) || !k.is_multiple_of(8) {
        return refuse(format!(
            "{c} to {k} channels; both must be multiples of 8, which is 16 bytes"
        ));
    }
    let pixels = (shape.n * shape.out_h() * shape.out_w()).max(shape.n * shape.h * shape.w);
    let filters = k * shape.r * shape.s;
    if pixels.max(filters) > i32::MAX as usize - TILE_ROWS {
        return refuse(format!("{pixels} pixels and {filters} rows of filters"));
    }
    let plan = Plan {
        shape: *shape,
        dtype,
        pass,
        tile_columns: 64,
        splits: 1,
        multiprocessors: 1,
    };
    let tiles = plan.tiles(64);
    if tiles > i32::MAX as usize {
        return refuse(format!("{tiles} tiles"));
    }
    for pixels in plan.classes() {
        let reach = [0, 1].map(|i| pixels.taps[i].saturating_sub(1) * pixels.dilation[i]);
        if reach[0].max(reach[1]) > 255 {
            return refuse(format!(
                "taps {} and {} pixels apart; the copy engine reaches 255",
                reach[0], reach[1]
            ));
        }
        let [a, b] = plan.maps(&pixels, Address(0), Address(0));
        a.check()?;
        b.check()?;
    }
    Ok(())
}

impl Plan {
    /// Plans one product for a device with this many multiprocessors. What is computed does not depend
    /// on their number, but the order of wgrad's sums does.
    ///
    /// # Errors
    /// Those of [`can_do`].
    pub fn new(
        shape: &ConvShape,
        dtype: DType,
        pass: Pass,
        multiprocessors: usize,
    ) -> Result<Plan> {
        can_do(shape, dtype, pass)?;
        let plan = Plan {
            shape: *shape,
            dtype,
            pass,
            tile_columns: 64,
            splits: 1,
            multiprocessors: multiprocessors.max(1),
        };
        // A step costs the tensor cores time in proportion to the columns, and shared memory the
        // rows of A besides: 32 columns' worth is an estimate until measured.
        let time = |columns: &usize| {
            let tiles = plan.tiles(*columns) * plan.splits_for(*columns);
            tiles.div_ceil(plan.multiprocessors) * (columns + 32) * 1000 / plan.splits_for(*columns)
        };
        let tile_columns = [256, 128, 64].into_iter().min_by_key(time).unwrap_or(64);
        Ok(Plan {
            tile_columns,
            splits: plan.splits_for(tile_columns),
            ..plan
        })
    }

    /// The same with chosen columns of a tile and splits of wgrad, to compare them.
    ///
    /// # Errors
    /// [`Error::Shape`] for columns other than 64, 128 and 256, and for splits of which some are empty.
    pub fn with(self, tile_columns: usize, splits: usize) -> Result<Plan> {
        let refuse = |what: String| Err(Error::shape(NAME, what));
        if ![64, 128, 256].contains(&tile_columns) {
            return refuse(format!("tiles of {tile_columns} columns"));
        }
        let steps = self.pixel_steps();
        let whole = splits > 0 && steps.div_ceil(splits) * (splits - 1) < steps;
        if !whole || (splits > 1 && self.pass != Pass::Wgrad) {
            return refuse(format!("{steps} steps in {splits} splits"));
        }
        Ok(Plan {
            tile_columns,
            splits,
            ..self
        })
    }

    /// Columns of a tile of results.
    pub fn tile_columns(&self) -> usize {
        self.tile_columns
    }

    /// Parts into which wgrad divides its sums.
    pub fn splits(&self) -> usize {
        self.splits
    }

    /// Bytes of scratch memory that the launches use; contents before and after do not matter.
    pub fn scratch_bytes(&self) -> usize {
        match self.pass {
            Pass::Wgrad => 4 * self.splits * self.shape.filter_len(),
            _ => 0,
        }
    }

    /// The launch of fprop.
    ///
    /// # Errors
    /// [`Error::Shape`] for a plan of another pass or an address that is no multiple of 16.
    pub fn fprop(&self, with: Fprop) -> Result<Launch> {
        self.expect(
            Pass::Fprop,
            &[with.x, with.w, with.bias, with.residual, with.y],
        )?;
        let pixels = self.forward();
        let [a, b] = self.maps(&pixels, with.x, with.w);
        Ok(self
            .launch("fprop", &pixels, with.relu, a, b)
            .pointer(with.bias)
            .pointer(with.residual)
            .pointer(with.y))
    }

    /// The launches that write `dx` from `dy` and the filters `w`: one for each residue class of pixels.
    ///
    /// # Errors
    /// As [`Plan::fprop`].
    pub fn dgrad(&self, dy: Address, w: Address, dx: Address) -> Result<Vec<Launch>> {
        self.expect(Pass::Dgrad, &[dy, w, dx])?;
        let launch = |pixels: Pixels| {
            let [a, b] = self.maps(&pixels, dy, w);
            let null = Address(0);
            let launch = self.launch("dgrad", &pixels, false, a, b);
            launch.pointer(null).pointer(null).pointer(dx)
        };
        Ok(self.classes().into_iter().map(launch).collect())
    }

    /// The launches that write `dw`, of type `out` (f32 or that of the plan), from `x` and `dy`.
    ///
    /// # Errors
    /// As [`Plan::fprop`], and for another type.
    pub fn wgrad(
        &self,
        x: Address,
        dy: Address,
        dw: Address,
        out: DType,
        scratch: Address,
    ) -> Result<Vec<Launch>> {
        self.expect(Pass::Wgrad, &[x, dy, dw, scratch])?;
        if out != DType::F32 && out != self.dtype {
            let what = format!(
                "a gradient of type {out} from elements of type {}",
                self.dtype
            );
            return Err(Error::shape(NAME, what));
        }
        let pixels = self.forward();
        let [a, b] = self.maps(&pixels, dy, x);
        let elements = self.shape.filter_len();
        let sum = Conv2dHopperSumParams {
            elements: elements as u64,
            splits: self.splits as u32,
            unused: 0,
        };
        let blocks = elements.div_ceil(8 * 256) as u32;
        Ok(vec![
            self.launch("wgrad", &pixels, false, a, b).pointer(scratch),
            Launch::new(sum_kernel(out), [blocks, 1, 1], 256)
                .params(sum)
                .pointer(scratch)
                .pointer(dw),
        ])
    }

    fn expect(&self, pass: Pass, addresses: &[Address]) -> Result<()> {
        let refuse = |what: String| Err(Error::shape(NAME, what));
        if pass != self.pass {
            return refuse(format!("{pass:?} from a plan of {:?}", self.pass));
        }
        if !addresses.iter().all(|address| address.0.is_multiple_of(16)) {
            return refuse("an address that is no multiple of 16".into());
        }
        Ok(())
    }

    /// Rows and columns of the product, the rows of one launch.
    fn extent(&self, pixels: &Pixels) -> [usize; 2] {
        let g = &self.shape;
        let positions = g.n * pixels.positions[0] * pixels.positions[1];
        match self.pass {
            Pass::Fprop => [positions, g.k],
            Pass::Dgrad => [positions, g.c],
            Pass::Wgrad => [g.k, g.c],
        }
    }

    /// Tiles of all launches with this many columns, splits not counted.
    fn tiles(&self, columns: usize) -> usize {
        let tiles = |pixels: Pixels| {
            let [rows, all] = self.extent(&pixels);
            rows.div_ceil(TILE_ROWS) * all.div_ceil(columns)
        };
        match self.pass {
            Pass::Wgrad => tiles(self.forward()) * self.shape.r * self.shape.s,
            _ => self.classes().into_iter().map(tiles).sum(),
        }
    }

    /// Steps of 64 pixels of y, which wgrad sums over.
    fn pixel_steps(&self) -> usize {
        let g = &self.shape;
        (g.n * g.out_h() * g.out_w()).div_ceil(STEP)
    }

    /// As many splits as fill the device, none of them empty.
    fn splits_for(&self, columns: usize) -> usize {
        if self.pass != Pass::Wgrad {
            return 1;
        }
        let steps = self.pixel_steps();
        let fill = self.multiprocessors / self.tiles(columns);
        let most = (steps / STEPS_PER_SPLIT).min(SCRATCH / (4 * self.shape.filter_len()));
        let splits = fill.min(most).max(1);
        steps.div_ceil(steps.div_ceil(splits))
    }

    /// The pixels of y, as fprop and wgrad see them.
    fn forward(&self) -> Pixels {
        let g = &self.shape;
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

    /// The launches' pixels: of dgrad, the residue classes of dx modulo the stride.
    fn classes(&self) -> Vec<Pixels> {
        if self.pass != Pass::Dgrad {
            return vec![self.forward()];
        }
        let g = &self.shape;
        let (rows, columns) = (g.stride[0].min(g.h), g.stride[1].min(g.w));
        (0..rows * columns)
            .map(|class| self.class([class / columns, class % columns]))
            .collect()
    }

    /// Pixels h = i·σ + `first` of dx, i = 0, 1, …: tap r reaches them where σ divides
    /// `first` + π − δr, from row i + (`first` + π − δr) / σ of dy. The last such tap reaches lowest.
    fn class(&self, first: [usize; 2]) -> Pixels {
        let g = &self.shape;
        let (size, outputs) = ([g.h, g.w], [g.out_h(), g.out_w()]);
        let mut pixels = Pixels {
            output_first: first,
            output_stride: g.stride,
            stride: [1; 2],
            dilation: [1; 2],
            tap_step: [-1; 2],
            ..self.forward()
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

    /// The maps of A and B: of `maps` and filters (fprop, dgrad), or of dy and x (wgrad).
    fn maps(&self, pixels: &Pixels, a: Address, b: Address) -> [TensorMap; 2] {
        let g = &self.shape;
        let map = |address, sizes: &[usize], tile| TensorMap {
            dtype: self.dtype,
            address,
            sizes: sizes.to_vec(),
            tile,
        };
        let swap = |[h, w]: [i64; 2]| [w, h];
        let im2col = |pixels_of_tile| {
            Tile::Im2col(Im2col {
                pixels: pixels_of_tile,
                lower: swap(pixels.lower),
                upper: swap(pixels.upper),
                steps: [pixels.stride[1], pixels.stride[0]],
            })
        };
        let x = [g.c, g.w, g.h, g.n];
        let y = [g.k, g.out_w(), g.out_h(), g.n];
        let filters = [g.c, g.r * g.s, g.k];
        match self.pass {
            Pass::Fprop => [
                map(a, &x, im2col(TILE_ROWS)),
                map(b, &filters, Tile::Tiled(vec![STEP, 1, self.tile_columns])),
            ],
            Pass::Dgrad => [
                map(a, &y, im2col(TILE_ROWS)),
                map(b, &filters, Tile::Tiled(vec![STEP, 1, STEP])),
            ],
            Pass::Wgrad => [
                map(a, &[y[0], y[1] * y[2] * y[3]], Tile::Tiled(vec![STEP; 2])),
                map(b, &x, im2col(STEP)),
            ],
        }
    }

    fn launch(
        &self,
        pass: &'static str,
        pixels: &Pixels,
        relu: bool,
        a: TensorMap,
        b: TensorMap,
    ) -> Launch {
        let g = &self.shape;
        let [rows, columns] = self.extent(pixels);
        let column_tiles = columns.div_ceil(self.tile_columns);
        let mut tiles = rows.div_ceil(TILE_ROWS) * column_tiles;
        let steps = match self.pass {
            Pass::Fprop => g.c.div_ceil(STEP),
            Pass::Dgrad => g.k.div_ceil(STEP),
            Pass::Wgrad => {
                tiles *= g.r * g.s * self.splits;
                self.pixel_steps()
            }
        };
        let output = match self.pass {
            Pass::Fprop => [g.out_h(), g.out_w()],
            _ => [g.h, g.w],
        };
        let width = g.s as i64;
        let both = |pair: [usize; 2]| pair.map(|value| value as u32);
        let params = Conv2dHopperParams {
            rows: rows as u32,
            columns: columns as u32,
            column_tiles: column_tiles as u32,
            tiles: tiles as u32,
            steps: steps as u32,
            splits: self.splits as u32,
            steps_per_split: steps.div_ceil(self.splits) as u32,
            positions: both(pixels.positions),
            lower: pixels.lower.map(|value| value as i32),
            stride: both(pixels.stride),
            taps: both(pixels.taps),
            dilation: both(pixels.dilation),
            first_tap: (pixels.first_tap[0] * width + pixels.first_tap[1]) as i32,
            tap_stride: [
                (pixels.tap_step[0] * width) as i32,
                pixels.tap_step[1] as i32,
            ],
            output: both(output),
            output_first: both(pixels.output_first),
            output_stride: both(pixels.output_stride),
            relu: relu as u32,
        };
        let kernel = kernel(pass, self.tile_columns, self.dtype);
        let blocks = tiles.min(self.multiprocessors) as u32;
        Launch::new(kernel, [blocks, 1, 1], 384)
            .shared(SHARED_BYTES)
            .params(params)
            .map(a)
            .map(b)
    }
}

fn sum_kernel(out: DType) -> &'static str {
    match out {
        DType::BF16 => "conv2d_hopper_sum_bf16",
        DType::F16 => "conv2d_hopper_sum_f16",
        _ => "conv2d_hopper_sum_f32",
    }
}

fn kernel(pass: &str, columns: usize, dtype: DType) -> &'static str {
    let bf16 = dtype == DType::BF16;
    match (pass, columns, bf16) {
        ("fprop", 64, true) => "conv2d_hopper_fprop_n64_bf16",
        ("fprop", 128, true) => "conv2d_hopper_fprop_n128_bf16",
        ("fprop", _, true) => "conv2d_hopper_fprop_n256_bf16",
        ("fprop", 64, false) => "conv2d_hopper_fprop_n64_f16",
        ("fprop", 128, false) => "conv2d_hopper_fprop_n128_f16",
        ("fprop", _, false) => "conv2d_hopper_fprop_n256_f16",
        ("dgrad", 64, true) => "conv2d_hopper_dgrad_n64_bf16",
        ("dgrad", 128, true) => "conv2d_hopper_dgrad_n128_bf16",
        ("dgrad", _, true) => "conv2d_hopper_dgrad_n256_bf16",
        ("dgrad", 64, false) => "conv2d_hopper_dgrad_n64_f16",
        ("dgrad", 128, false) => "conv2d_hopper_dgrad_n128_f16",
        ("dgrad", _, false) => "conv2d_hopper_dgrad_n256_f16",
        (_, 64, true) => "conv2d_hopper_wgrad_n64_bf16",
        (_, 128, true) => "conv2d_hopper_wgrad_n128_bf16",
        (_, _, true) => "conv2d_hopper_wgrad_n256_bf16",
        (_, 64, false) => "conv2d_hopper_wgrad_n64_f16",
        (_, 128, false) => "conv2d_hopper_wgrad_n128_f16",
        (_, _, false) => "conv2d_hopper_wgrad_n256_f16",
    }
}
