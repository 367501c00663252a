//! What the copy engine of sm_90 is told of a tensor and its tiles: see `kernels/include/tma.cuh`.
//!
//! A [`TensorMap`] is a description. The driver makes 128 bytes of it that only a GPU understands
//! (`cuTensorMapEncodeTiled`, `cuTensorMapEncodeIm2col`); [`TensorMap::model`] are those the emulator
//! reads. A [`Launch`](super::Launch) carries both the description and the model.
//!
//! Axes are listed as the copy engine counts them, from the innermost out. Tensors are dense, tiles are
//! 128 bytes wide and 128-byte swizzled, and what lies outside the tensor arrives as zeros.

use super::Address;
use super::params::TensorMapParams;
use crate::tensor::DType;
use crate::{Error, Result};

/// Bytes of a row of a tile: the span of the swizzle.
pub const ROW: usize = 128;

/// A tensor in global memory, and the tiles in which it is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// f16, bf16 or f32.
    pub dtype: DType,
    /// Of element 0, on a 16-byte boundary.
    pub address: Address,
    /// Elements along each axis, the innermost first.
    pub sizes: Vec<usize>,
    /// How tiles are cut.
    pub tile: Tile,
}

/// What one copy brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tile {
    /// A box of this extent along each axis.
    Tiled(Vec<usize>),
    /// Pixels of an NHWC tensor, each seen from a tap of a filter.
    Im2col(Im2col),
}

/// Base pixels run along a row, row after row, image after image; see `kernels/emulator/bulk.cpp`.
/// Pairs are (width, height).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Im2col {
    /// Pixels of a tile, at most 256.
    pub pixels: usize,
    /// The first base pixel: minus the padding.
    pub lower: [i64; 2],
    /// The last base pixel, counted from the map's last pixel.
    pub upper: [i64; 2],
    /// From one base pixel to the next: the stride, at most 8.
    pub steps: [usize; 2],
}

impl TensorMap {
    /// Bytes from one element to the next along axes 1 and up.
    pub fn strides(&self) -> Vec<usize> {
        let mut stride = self.dtype.size();
        let inner = &self.sizes[..self.sizes.len() - 1];
        inner
            .iter()
            .map(|size| {
                stride *= size;
                stride
            })
            .collect()
    }

    /// Whether the copy engine can do this: the limits that the driver names for its encoding.
    ///
    /// # Errors
    /// [`Error::Shape`] says which limit is passed.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::shape("tensor map", what));
        let width = self.dtype.size();
        if !matches!(self.dtype, DType::F16 | DType::BF16 | DType::F32) {
            return refuse(format!("elements of type {}", self.dtype));
        }
        if !(2..=5).contains(&self.sizes.len()) {
            return refuse(format!("{} axes; 2 to 5 are possible", self.sizes.len()));
        }
        if !self.address.0.is_multiple_of(16) {
            return refuse("an address that is no multiple of 16".into());
        }
        if let Some(size) = self
            .sizes
            .iter()
            .find(|s| **s == 0 || **s > i32::MAX as usize)
        {
            return refuse(format!("an axis of {size} elements"));
        }
        let odd = |stride: &usize| !stride.is_multiple_of(16) || *stride >= 1 << 40;
        if let Some(stride) = self.strides().iter().find(|s| odd(s)) {
            return refuse(format!(
                "rows {stride} bytes apart; they must be a multiple of 16 below 2^40"
            ));
        }
        match &self.tile {
            Tile::Tiled(extent) => {
                let fits = |e: &usize| (1..=256).contains(e);
                let whole = extent.len() == self.sizes.len() && extent[0] * width == ROW;
                if !whole || !extent.iter().all(fits) {
                    return refuse(format!("a tile of {extent:?}"));
                }
            }
            Tile::Im2col(tile) => {
                let corners = tile.lower.iter().chain(&tile.upper);
                let outside = |corner: &&i64| !(-128..128).contains(*corner);
                if self.sizes.len() != 4 {
                    return refuse("im2col of a tensor that is not NHWC".into());
                }
                if let Some(corner) = corners.clone().find(outside) {
                    return refuse(format!(
                        "a base pixel {corner} beyond the map; -128 to 127 are possible"
                    ));
                }
                if !(1..=256).contains(&tile.pixels) {
                    return refuse(format!("a tile of {} pixels", tile.pixels));
                }
                if let Some(step) = tile.steps.iter().find(|s| !(1..=8).contains(*s)) {
                    return refuse(format!("a step of {step}; 1 to 8 are possible"));
                }
            }
        }
        Ok(())
    }

    /// The map as the emulator reads it. Of a map that passes [`TensorMap::check`].
    pub fn model(&self) -> TensorMapParams {
        let width = self.dtype.size();
        let mut model = TensorMapParams {
            address: self.address.0,
            strides: [0; 4],
            sizes: [1; 5],
            magic: 0x5450_4D41,
            tile: [1; 5],
            lower: [0; 2],
            upper: [0; 2],
            steps: [1; 2],
            rank: self.sizes.len() as u16,
            width: width as u16,
            im2col: 0,
            swizzled: 1,
            unused: [0; 17],
        };
        for (to, stride) in model.strides.iter_mut().zip(self.strides()) {
            *to = stride as u64;
        }
        for (to, size) in model.sizes.iter_mut().zip(&self.sizes) {
            *to = *size as u32;
        }
        match &self.tile {
            Tile::Tiled(extent) => {
                for (to, extent) in model.tile.iter_mut().zip(extent) {
                    *to = *extent as u16;
                }
            }
            Tile::Im2col(tile) => {
                model.im2col = 1;
                model.tile[0] = (ROW / width) as u16;
                model.tile[1] = tile.pixels as u16;
                model.lower = tile.lower.map(|corner| corner as i16);
                model.upper = tile.upper.map(|corner| corner as i16);
                model.steps = tile.steps.map(|step| step as u16);
            }
        }
        model
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> TensorMap {
        TensorMap {
            dtype: DType::BF16,
            address: Address(256),
            sizes: vec![24, 7, 5, 3],
            tile: Tile::Im2col(Im2col {
                pixels: 128,
                lower: [-1, -1],
                upper: [-1, -1],
                steps: [2, 1],
            }),
        }
    }

    #[test]
    fn a_model_says_what_the_map_says() {
        let map = maps();
        map.check().unwrap();
        let model = map.model();
        assert_eq!(model.strides, [48, 336, 1680, 0]);
        assert_eq!(model.sizes, [24, 7, 5, 3, 1]);
        assert_eq!(model.tile, [64, 128, 1, 1, 1]);
        assert_eq!((model.lower, model.steps), ([-1, -1], [2, 1]));
        assert_eq!(size_of::<TensorMapParams>(), 128);
    }

    #[test]
    fn limits_of_the_copy_engine() {
        let tiled = |sizes: &[usize], extent: &[usize]| TensorMap {
            sizes: sizes.to_vec(),
            tile: Tile::Tiled(extent.to_vec()),
            ..maps()
        };
        let im2col = |change: &dyn Fn(&mut Im2col)| {
            let mut map = maps();
            if let Tile::Im2col(tile) = &mut map.tile {
                change(tile);
            }
            map
        };
        tiled(&[64, 256], &[64, 256]).check().unwrap();
        let bad = [
            tiled(&[64], &[64]),
            tiled(&[20, 3], &[64, 3]),
            tiled(&[64, 0], &[64, 1]),
            tiled(&[64, 256], &[64, 257]),
            tiled(&[64, 256], &[32, 256]),
            tiled(&[64, 256], &[64]),
            im2col(&|tile| tile.pixels = 0),
            im2col(&|tile| tile.lower = [-129, 0]),
            im2col(&|tile| tile.upper = [0, 128]),
            im2col(&|tile| tile.steps = [9, 1]),
            TensorMap {
                address: Address(8),
                ..maps()
            },
            TensorMap {
                dtype: DType::I32,
                ..maps()
            },
        ];
        for map in bad {
            let error = map.check().unwrap_err().to_string();
            assert!(error.starts_with("tensor map: "), "{error}");
        }
    }
}
