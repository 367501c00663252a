//! Launches of `kernels/conv2d_hopper.cu`: products of warpgroups, on sm_90a.
//!
//! For f16 and bf16, and for tf32 but wgrad, where channels come in whole 16-byte vectors and the copy
//! engine can describe the maps.

mod pixels;

use pixels::Pixels;

use super::request::Request;
use super::{Direction, Epilogue, Kind, Math, NAME, SCRATCH, VECTOR};
use crate::cpu::conv2d::ConvShape;
use crate::kernels::params::{Conv2dHopperParams, Conv2dTransposeParams};
use crate::kernels::tensor_map::{self, Im2col, TensorMap, Tile};
use crate::kernels::{Address, Launch};
use crate::{Error, Result};

/// The only instruction set that has them.
pub(super) const CAPABILITY: u32 = 90;

/// Rows of a tile of results, and those that one warpgroup makes.
const TILE_ROWS: usize = 128;
const GROUP_ROWS: usize = 64;
/// Columns of a tile of results.
const TILE_COLUMNS: [usize; 3] = [256, 128, 64];
/// Pixels or filters that an operand of 16-bit elements brings where the common axis runs from row to row.
const ACROSS: usize = 64;
/// Stages, slices, quarters and barriers (`Shared` of the kernels), and room to align them.
const SHARED_BYTES: u32 = 192 * 1024 + 20 * 1024 + 2 * 1024 + 128 + 1024;
/// A part sums at least this many steps: fewer would not repay its pass over scratch.
const STEPS_PER_PART: usize = 16;

/// One product, with its tile and its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    request: Request,
    /// Columns of a tile.
    columns: usize,
    parts: usize,
}

impl Plan {
    /// Plans a product, or says why these kernels cannot make it.
    pub fn new(request: Request) -> Result<Plan> {
        let plan = Plan {
            request,
            columns: 64,
            parts: 1,
        };
        plan.check()?;
        // A step costs the tensor cores time in proportion to the columns, and shared memory the
        // rows of A besides: 32 columns' worth is an estimate until measured.
        let time = |columns: &usize| {
            let parts = plan.parts_for(*columns);
            let work = plan.works(*columns).into_iter().map(|(tiles, steps)| {
                let rounds = (tiles * parts).div_ceil(plan.multiprocessors());
                rounds as f64 * steps as f64 / parts as f64
            });
            work.sum::<f64>() * (columns + 32) as f64
        };
        let faster = |a: &usize, b: &usize| time(a).total_cmp(&time(b));
        let columns = TILE_COLUMNS.into_iter().min_by(faster).unwrap_or(64);
        Ok(Plan {
            columns,
            parts: plan.parts_for(columns),
            ..plan
        })
    }

    /// The same with chosen columns of a tile and number of parts.
    pub fn with(self, columns: usize, parts: usize) -> Result<Plan> {
        let refuse = |what: String| Err(Error::shape(NAME, what));
        if !TILE_COLUMNS.contains(&columns) {
            return refuse(format!("tiles of {columns} columns"));
        }
        let steps = self.most_steps();
        if parts == 0 || parts > steps.max(1) {
            return refuse(format!("a depth of {steps} steps in {parts} parts"));
        }
        Ok(Plan {
            columns,
            parts,
            ..self
        })
    }

    /// Whether at least half of what whole tiles and whole steps multiply is wanted, the rest being zeros
    /// beyond the ends of rows, columns and channels.
    pub fn is_dense(&self) -> bool {
        let g = &self.request.shape;
        let wanted = |pixels: &Pixels| {
            let [rows, columns] = self.extent(pixels);
            let depth = match self.request.direction {
                Direction::Fprop => g.r * g.s * g.c,
                Direction::Dgrad => pixels.taps[0] * pixels.taps[1] * g.k,
                Direction::Wgrad => g.r * g.s * g.n * g.out_h() * g.out_w(),
            };
            rows as f64 * columns as f64 * depth as f64
        };
        let wanted: f64 = self.launched().iter().map(wanted).sum();
        let works = self.works(self.columns).into_iter();
        let steps: f64 = works
            .map(|(tiles, steps)| tiles as f64 * steps as f64)
            .sum();
        2.0 * wanted >= steps * (TILE_ROWS * self.columns * self.step()) as f64
    }

    pub fn kind(&self) -> Kind {
        Kind::Hopper {
            columns: self.columns,
            parts: self.parts,
        }
    }

    /// Rows of y of which one pair of statistics tells.
    pub fn statistics_rows(&self) -> usize {
        GROUP_ROWS
    }

    /// Bytes of scratch memory beside that of the parts: the filters, turned.
    pub fn workspace_bytes(&self) -> usize {
        match self.turns_filters() {
            true => 4 * self.request.shape.filter_len(),
            false => 0,
        }
    }

    /// The product of x and w, dy and w, or x and dy: the result itself, or `parts` of it.
    pub fn launches(
        &self,
        operands: [Address; 2],
        result: Address,
        parts: Address,
        with: Epilogue,
        workspace: Address,
    ) -> Vec<Launch> {
        let mut launches = Vec::new();
        let [a, b] = match self.request.direction {
            Direction::Wgrad => [operands[1], operands[0]],
            _ if self.turns_filters() => {
                launches.push(self.turn_filters(operands[1], workspace));
                [operands[0], workspace]
            }
            _ => operands,
        };
        launches.extend(self.launched().iter().map(|pixels| {
            let [a, b] = self.maps(pixels, a, b);
            let launch = self.launch(pixels, with.relu).map(a).map(b);
            match self.kernel_direction() {
                Direction::Fprop => [with.scale, with.shift, with.bias, with.residual]
                    .into_iter()
                    .fold(launch, Launch::pointer)
                    .pointer(result)
                    .pointer(parts)
                    .pointer(with.statistics),
                Direction::Dgrad | Direction::Wgrad => launch.pointer(result).pointer(parts),
            }
        }));
        launches
    }

    fn multiprocessors(&self) -> usize {
        self.request.target.multiprocessors.max(1)
    }

    /// Elements of the common axis in a step.
    fn step(&self) -> usize {
        tensor_map::ROW / self.request.math.dtype().size()
    }

    /// wgmma takes tf32 only where the common axis runs along the rows.
    fn turns_filters(&self) -> bool {
        (self.request.math, self.request.direction) == (Math::Tf32, Direction::Dgrad)
    }

    fn kernel_direction(&self) -> Direction {
        match self.turns_filters() {
            true => Direction::Fprop,
            false => self.request.direction,
        }
    }

    /// Maps of one pixel and filters of one tap: matrices.
    fn is_flat(&self) -> bool {
        let g = &self.request.shape;
        [g.h, g.w, g.r, g.s] == [1; 4] && g.padding == [0; 2]
    }

    fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::shape(NAME, what));
        let Request {
            shape,
            math,
            direction,
            ..
        } = self.request;
        match (math, direction) {
            (Math::F16 | Math::Bf16, _) | (Math::Tf32, Direction::Fprop | Direction::Dgrad) => {}
            _ => {
                return refuse(format!(
                    "{direction:?} of {math:?} by products of warpgroups"
                ));
            }
        }
        let ConvShape { c, k, r, s, .. } = shape;
        let per_vector = VECTOR / math.dtype().size();
        if !c.is_multiple_of(per_vector) || !k.is_multiple_of(per_vector) {
            return refuse(format!(
                "{c} to {k} channels; both must be multiples of {per_vector}, which is {VECTOR} bytes"
            ));
        }
        if self.turns_filters() && (r * s > 65535 || k.div_ceil(32) > 65535) {
            return refuse(format!("{k} filters of {r} by {s} taps to turn"));
        }
        let works = self.works(64);
        if let Some((tiles, steps)) = works.iter().find(|(tiles, steps)| {
            let parts = self.most_parts().max(1);
            tiles.saturating_mul(parts).max(*steps) > i32::MAX as usize
        }) {
            return refuse(format!("{tiles} tiles of {steps} steps"));
        }
        for pixels in self.launched() {
            let reach = [0, 1].map(|i| pixels.taps[i].saturating_sub(1) * pixels.dilation[i]);
            if reach[0].max(reach[1]) > 255 {
                return refuse(format!(
                    "taps {} and {} pixels apart; the copy engine reaches 255",
                    reach[0], reach[1]
                ));
            }
            let [a, b] = self.maps(&pixels, Address(0), Address(0));
            a.check()?;
            b.check()?;
        }
        Ok(())
    }

    /// The pixels of each launch.
    fn launched(&self) -> Vec<Pixels> {
        match self.request.direction {
            Direction::Dgrad => Pixels::classes(&self.request.shape),
            _ => vec![Pixels::forward(&self.request.shape)],
        }
    }

    /// Rows and columns of the product of one launch.
    fn extent(&self, pixels: &Pixels) -> [usize; 2] {
        let g = &self.request.shape;
        let positions = g.n * pixels.positions[0] * pixels.positions[1];
        match self.request.direction {
            Direction::Fprop => [positions, g.k],
            Direction::Dgrad => [positions, g.c],
            Direction::Wgrad => [g.k, g.c],
        }
    }

    /// Steps that are summed for a tile of one launch.
    fn steps(&self, pixels: &Pixels) -> usize {
        let g = &self.request.shape;
        let taps = pixels.taps[0] * pixels.taps[1];
        match self.request.direction {
            Direction::Fprop => taps * g.c.div_ceil(self.step()),
            Direction::Dgrad => taps * g.k.div_ceil(self.step()),
            Direction::Wgrad => (g.n * g.out_h() * g.out_w()).div_ceil(self.step()),
        }
    }

    /// Tiles of this many columns, parts not counted, and steps of each: for each launch.
    fn works(&self, columns: usize) -> Vec<(usize, usize)> {
        let taps = match self.request.direction {
            Direction::Wgrad => self.request.shape.r * self.request.shape.s,
            _ => 1,
        };
        let work = |pixels: &Pixels| {
            let [rows, all] = self.extent(pixels);
            let tiles = rows.div_ceil(TILE_ROWS) * all.div_ceil(columns) * taps;
            (tiles, self.steps(pixels))
        };
        self.launched().iter().map(work).collect()
    }

    fn most_steps(&self) -> usize {
        let steps = self.works(64).into_iter().map(|(_, steps)| steps);
        steps.max().unwrap_or(0)
    }

    fn most_parts(&self) -> usize {
        (self.most_steps() / STEPS_PER_PART).min(SCRATCH / (4 * self.request.elements()))
    }

    /// As many parts as fill the device in the largest launch.
    fn parts_for(&self, columns: usize) -> usize {
        if self.request.whole {
            return 1;
        }
        let tiles = self.works(columns).into_iter().map(|(tiles, _)| tiles);
        let fill = self.multiprocessors() / tiles.max().unwrap_or(1);
        fill.min(self.most_parts()).max(1)
    }

    /// The maps of A and B: of `maps` and filters (fprop, dgrad), or of dy and x (wgrad).
    fn maps(&self, pixels: &Pixels, a: Address, b: Address) -> [TensorMap; 2] {
        let g = &self.request.shape;
        let map = |address, sizes: &[usize], tile| TensorMap {
            dtype: self.request.math.dtype(),
            address,
            sizes: sizes.to_vec(),
            tile,
        };
        let swap = |[h, w]: [i64; 2]| [w, h];
        let (step, flat) = (self.step(), self.is_flat());
        // Pixels of maps, so many of a tile.
        let gathered = |address, sizes: [usize; 4], count| match flat {
            true => map(
                address,
                &[sizes[0], sizes[3]],
                Tile::Tiled(vec![step, count]),
            ),
            false => {
                let im2col = Im2col {
                    pixels: count,
                    lower: swap(pixels.lower),
                    upper: swap(pixels.upper),
                    steps: [pixels.stride[1], pixels.stride[0]],
                };
                map(address, &sizes, Tile::Im2col(im2col))
            }
        };
        let x = [g.c, g.w, g.h, g.n];
        let y = [g.k, g.out_w(), g.out_h(), g.n];
        let (taps, columns) = (g.r * g.s, self.columns);
        let filters = |innermost, outermost, tile: [usize; 3]| {
            map(b, &[innermost, taps, outermost], Tile::Tiled(tile.to_vec()))
        };
        match self.request.direction {
            Direction::Fprop => [
                gathered(a, x, TILE_ROWS),
                filters(g.c, g.k, [step, 1, columns]),
            ],
            Direction::Dgrad if self.turns_filters() => [
                gathered(a, y, TILE_ROWS),
                filters(g.k, g.c, [step, 1, columns]),
            ],
            Direction::Dgrad => [
                gathered(a, y, TILE_ROWS),
                filters(g.c, g.k, [ACROSS, 1, step]),
            ],
            Direction::Wgrad => [
                map(
                    a,
                    &[y[0], y[1] * y[2] * y[3]],
                    Tile::Tiled(vec![ACROSS, step]),
                ),
                gathered(b, x, step),
            ],
        }
    }

    fn launch(&self, pixels: &Pixels, relu: bool) -> Launch {
        let g = &self.request.shape;
        let [rows, columns] = self.extent(pixels);
        let column_tiles = columns.div_ceil(self.columns);
        let (steps, taps) = match self.request.direction {
            Direction::Fprop => (g.c.div_ceil(self.step()), 1),
            Direction::Dgrad => (g.k.div_ceil(self.step()), 1),
            Direction::Wgrad => (self.steps(pixels), g.r * g.s),
        };
        let tiles = rows.div_ceil(TILE_ROWS) * column_tiles * taps * self.parts;
        let output = match self.request.direction {
            Direction::Fprop => [g.out_h(), g.out_w()],
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
            parts: self.parts as u32,
            elements: self.request.elements() as u32,
            flat: self.is_flat() as u32,
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
        let blocks = tiles.min(self.multiprocessors()) as u32;
        Launch::new(self.kernel(), [blocks, 1, 1], 384)
            .shared(SHARED_BYTES)
            .params(params)
    }

    /// [k, taps, c] to [c, taps, k].
    fn turn_filters(&self, filters: Address, turned: Address) -> Launch {
        let g = &self.request.shape;
        let params = Conv2dTransposeParams {
            filters: g.k as u32,
            channels: g.c as u32,
            taps: (g.r * g.s) as u32,
        };
        let grid = [g.c.div_ceil(32), g.k.div_ceil(32), g.r * g.s];
        let kernel = "conv2d_hopper_transpose_filters";
        Launch::new(kernel, grid.map(|blocks| blocks as u32), 256)
            .params(params)
            .pointer(filters)
            .pointer(turned)
    }

    fn kernel(&self) -> &'static str {
        macro_rules! named {
            ($direction:literal, $math:literal) => {
                match self.columns {
                    64 => concat!("conv2d_hopper_", $direction, "_n64_", $math),
                    128 => concat!("conv2d_hopper_", $direction, "_n128_", $math),
                    _ => concat!("conv2d_hopper_", $direction, "_n256_", $math),
                }
            };
        }
        match (self.kernel_direction(), self.request.math) {
            (Direction::Fprop, Math::Bf16) => named!("fprop", "bf16"),
            (Direction::Fprop, Math::F16) => named!("fprop", "f16"),
            (Direction::Fprop, _) => named!("fprop", "tf32"),
            (Direction::Dgrad, Math::Bf16) => named!("dgrad", "bf16"),
            (Direction::Dgrad, _) => named!("dgrad", "f16"),
            (Direction::Wgrad, Math::Bf16) => named!("wgrad", "bf16"),
            (Direction::Wgrad, _) => named!("wgrad", "f16"),
        }
    }
}
