//! Spatial shuffle: positions of a map permuted, nothing else changed (Fan et al. 2020).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

pub use crate::cpu::spatial_shuffle::{Map, Mode, inverse, table};

use super::fallback;
use super::{
    Case, Cost, Declaration, Input, Operation, Output, RandomKey, Saved, arity, operands, result_of,
};
use crate::device::Device;
use crate::kernels::spatial_shuffle::Maps;
use crate::kernels::{self, Address, permutation};
use crate::rng::{Key, Purpose};
use crate::tensor::{DType, Real, Shape, Tensor};
use crate::{Error, Result, cpu, with_real};

const NAME: &str = "spatial_shuffle";

/// y\[n, i, c\] = x\[n, π_c(i), c\] on NHWC maps, i a flattened position; other modes move other items.
///
/// The permutations are a pure function of `key`, so the backward pass draws them again and gathers
/// with their inverses: dx\[n, π_c(i), c\] = dy\[n, i, c\]. Nothing is saved.
#[derive(Clone, Debug)]
pub struct SpatialShuffle {
    /// What is moved.
    pub mode: Mode,
    /// The key the permutations are drawn from: of (seed, step, layer).
    pub key: RandomKey,
    /// Whether every sample of the batch gets permutations of its own (sample n those of `key.fold(n)`),
    /// instead of all sharing one draw as in the paper.
    pub per_sample: bool,
    /// Whether permutations without a fixed point are drawn.
    pub derange: bool,
}

impl SpatialShuffle {
    /// The paper's shuffle: one permutation per channel, shared by the batch.
    pub fn new(mode: Mode, key: impl Into<RandomKey>) -> Self {
        SpatialShuffle {
            mode,
            key: key.into(),
            per_sample: false,
            derange: false,
        }
    }

    /// The key of sample `n`.
    fn key_of(&self, n: usize) -> Key {
        match self.per_sample {
            true => self.key.now().fold(n as u32),
            false => self.key.now(),
        }
    }

    /// The table of sample `n`, or its inverse.
    pub(super) fn table_of(&self, n: usize, map: Map, invert: bool) -> Vec<u32> {
        let table = table(self.mode, map, self.key_of(n), self.derange);
        if invert { inverse(&table) } else { table }
    }

    pub(super) fn gather(&self, x: &Tensor, y: &mut Tensor, invert: bool) -> Result<()> {
        let [_, h, w, c] = x.shape().nhwc(NAME)?;
        let map = Map { h, w, c };
        let shared = match self.per_sample {
            true => Vec::new(),
            false => self.table_of(0, map, invert),
        };
        let tables = |n: usize| match self.per_sample {
            true => Cow::Owned(self.table_of(n, map, invert)),
            false => Cow::Borrowed(&shared[..]),
        };
        fn gather<'t, T: Real>(
            x: &Tensor,
            y: &mut Tensor,
            sample: usize,
            tables: impl Fn(usize) -> Cow<'t, [u32]> + Sync,
        ) -> Result<()> {
            cpu::spatial_shuffle::gather::<T>(x.data()?, y.data_mut()?, sample, tables);
            Ok(())
        }
        with_real!(x.dtype(), NAME, T => gather::<T>(x, y, map.len(), tables))
    }

    /// The same by kernels.
    fn launch(&self, device: Device, x: &Tensor, y: &mut Tensor, invert: bool) -> Result<()> {
        let (maps, limit) = (self.maps(x)?, device.shared_limit()?);
        let (from, to) = (x.address(), y.address_mut()?);
        let shuffle = |table| kernels::spatial_shuffle::launch(maps, limit, from, table, to);
        // A shape that the kernels do not do is refused before anything is drawn.
        shuffle(Address::default())?;
        let table = self.draw(device, x, invert)?;
        device.launch(&shuffle(table.address())?)
    }

    /// What the kernels are told of maps like `x`. A mode that moves channels sees a sample as one channel
    /// of H·W·C positions.
    pub(super) fn maps(&self, x: &Tensor) -> Result<Maps> {
        let [batch, h, w, c] = x.shape().nhwc(NAME)?;
        let (positions, channels) = match self.mode.keeps_channels() {
            true => (h * w, c),
            false => (h * w * c, 1),
        };
        Ok(Maps {
            batch,
            positions,
            channels,
            width: x.dtype().size(),
            table_per_image: self.per_sample,
        })
    }

    /// The tables for maps like `x` on a device that runs kernels. Those of the paper's shuffle are drawn
    /// there; those of other modes come from the host.
    pub(super) fn draw(&self, device: Device, x: &Tensor, invert: bool) -> Result<Tensor> {
        let [batch, h, w, c] = x.shape().nhwc(NAME)?;
        let map = Map { h, w, c };
        let Maps {
            positions,
            channels,
            ..
        } = self.maps(x)?;
        let tables = if self.per_sample { batch } else { 1 };
        // Entries are 16-bit integers, a type tensors do not have.
        let mut entries = Tensor::empty([tables, map.len(), 2], DType::U8, device)?;
        if self.mode == Mode::Shuffle && !self.derange {
            let here = entries.address_mut()?;
            let (forward, inverse) = match invert {
                false => (here, Address::default()),
                true => (Address::default(), here),
            };
            let tables = permutation::Tables { forward, inverse };
            let (key, map) = (self.key.source(), [positions, channels]);
            let draw = match self.per_sample {
                true => permutation::launch_per_sample(key, batch, map, tables)?,
                false => permutation::launch(key, 0, positions, channels, tables)?,
            };
            device.launch(&draw)?;
            return Ok(entries);
        }
        let entry = |from: u32| ((from / channels as u32) as u16).to_ne_bytes();
        let bytes: Vec<u8> = (0..tables)
            .flat_map(|n| self.table_of(n, map, invert))
            .flat_map(entry)
            .collect();
        let host = Tensor::from_bytes(entries.shape(), DType::U8, &bytes, Device::Cpu)?;
        // Permutations that stay are kept there; others cannot be part of a graph.
        match self.key.is_lasting() {
            true => host.constant_on(device),
            false => entries.copy_from(&host).map(|()| entries),
        }
    }
}

impl Mode {
    /// Whether every value stays in its channel.
    pub fn keeps_channels(self) -> bool {
        !matches!(
            self,
            Mode::ChannelRand | Mode::ChannelShuffle | Mode::ShuffleAll
        )
    }

    /// log₂ of the number of permutations one draw chooses from: of one channel's positions (or of one
    /// position's channels) where every channel (position) has a draw of its own.
    pub fn log2_permutations(self, map: Map) -> f64 {
        let factorial = |n: usize| (2..=n).map(|i| (i as f64).log2()).sum::<f64>();
        let area = map.h * map.w;
        match self {
            Mode::Shuffle | Mode::Rand => factorial(area),
            Mode::ChannelRand | Mode::ChannelShuffle => factorial(map.c),
            Mode::ShuffleAll => factorial(map.len()),
            Mode::Horizontal => factorial(map.w),
            Mode::Vertical => factorial(map.h),
            Mode::Local(tile) => (area / (tile * tile).max(1)) as f64 * factorial(tile * tile),
        }
    }
}

/// The name of a mode on the command line and in tables.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Shuffle => f.write_str("shuffle"),
            Mode::Rand => f.write_str("rand"),
            Mode::ChannelRand => f.write_str("crand"),
            Mode::ChannelShuffle => f.write_str("cshuffle"),
            Mode::ShuffleAll => f.write_str("shuffleall"),
            Mode::Horizontal => f.write_str("horizontal"),
            Mode::Vertical => f.write_str("vertical"),
            Mode::Local(tile) => write!(f, "local({tile})"),
        }
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let tile = name
            .strip_prefix("local(")
            .and_then(|rest| rest.strip_suffix(')'));
        Ok(match (name, tile.and_then(|t| t.parse().ok())) {
            ("shuffle", _) => Mode::Shuffle,
            ("rand", _) => Mode::Rand,
            ("crand", _) => Mode::ChannelRand,
            ("cshuffle", _) => Mode::ChannelShuffle,
            ("shuffleall", _) => Mode::ShuffleAll,
            ("horizontal", _) => Mode::Horizontal,
            ("vertical", _) => Mode::Vertical,
            (_, Some(tile)) if tile > 0 => Mode::Local(tile),
            _ => {
                return Err(Error::setting(
                    "mode",
                    name,
                    "known modes: shuffle, rand, crand, cshuffle, shuffleall, horizontal, vertical, \
                     local(TILE) with the tile's side in pixels",
                ));
            }
        })
    }
}

impl Operation for SpatialShuffle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x] = arity(NAME, inputs)?;
        let [n, h, w, c] = x.nhwc(NAME)?;
        if n * h * w * c == 0 {
            return Err(Error::shape(
                NAME,
                format!("nothing to shuffle in shape {x}"),
            ));
        }
        if let Mode::Local(tile) = self.mode
            && (tile == 0 || h % tile != 0 || w % tile != 0)
        {
            let what = format!("tiles of {tile}×{tile} do not divide a map of {h}×{w}");
            return Err(Error::shape(NAME, what));
        }
        Ok(x.clone())
    }

    fn forward(&self, inputs: &[&Tensor], saved: &mut Saved) -> Result<Output> {
        let [x] = operands(NAME, inputs)?;
        let mut y = result_of(self, inputs)?;
        match x.device() {
            Device::Cpu => self.gather(x, &mut y, false)?,
            device => {
                if let Err(why) = self.launch(device, x, &mut y, false) {
                    return fallback::forward(self, inputs, saved, why);
                }
            }
        }
        Ok(y.into())
    }

    fn vjp(&self, saved: Saved, dy: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = dy.empty_like()?;
        match dy.device() {
            Device::Cpu => self.gather(&dy, &mut dx, true)?,
            device => {
                if let Err(why) = self.launch(device, &dy, &mut dx, true) {
                    return fallback::vjp(self, saved, dy, wanted, why);
                }
            }
        }
        Ok(vec![Some(dx)])
    }

    fn cost(&self, inputs: &[&Shape]) -> Cost {
        Cost::new(0, &[inputs[0], inputs[0]])
    }
}

pub(super) const DECLARATION: Declaration = Declaration {
    name: NAME,
    summary: "permutation of positions, channels, rows, columns or tiles (Fan et al. 2020)",
    linear: true,
    cases: || {
        let key = Key::new(3, Purpose::Check, 1, 2);
        let modes = [
            Mode::Shuffle,
            Mode::Rand,
            Mode::ChannelRand,
            Mode::ChannelShuffle,
            Mode::ShuffleAll,
            Mode::Horizontal,
            Mode::Vertical,
            Mode::Local(2),
        ];
        let input = || [Input::normal([3, 4, 6, 5])];
        let plain = || SpatialShuffle::new(Mode::Shuffle, key);
        let per_sample = SpatialShuffle {
            per_sample: true,
            ..plain()
        };
        let deranged = SpatialShuffle {
            derange: true,
            ..plain()
        };
        let of_mode = |mode| Case::new(SpatialShuffle::new(mode, key), input());
        let mut cases: Vec<Case> = modes.map(of_mode).into();
        cases.push(Case::new(per_sample, input()));
        cases.push(Case::new(deranged, input()));
        cases.push(Case::new(plain(), [Input::normal([2, 1, 1, 3])]));
        cases.push(Case::new(plain(), [Input::normal([1, 7, 5, 11])]));
        cases
    },
    fuzz: |draw| {
        let op = SpatialShuffle {
            mode: draw.pick(&[
                Mode::Shuffle,
                Mode::Rand,
                Mode::ChannelRand,
                Mode::ChannelShuffle,
                Mode::ShuffleAll,
                Mode::Horizontal,
                Mode::Vertical,
                Mode::Local(2),
                Mode::Local(3),
            ]),
            key: draw.key().into(),
            per_sample: draw.flag(),
            derange: draw.flag(),
        };
        let mut x = draw.map(6);
        if let Mode::Local(side) = op.mode {
            // Tiles cover the map.
            x[1] = x[1].div_ceil(2) * side;
            x[2] = x[2].div_ceil(2) * side;
        }
        Case::new(op, [Input::normal(x)])
    },
};

#[cfg(test)]
#[path = "spatial_shuffle_tests.rs"]
mod tests;
