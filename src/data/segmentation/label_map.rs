//! A label for every pixel.

use crate::{Error, Result};

/// The label of a pixel nobody judged: no loss, no score.
pub const UNLABELLED: u16 = u16::MAX;

/// The label of a pixel that was judged and shows none of the concepts: a negative for all of them.
/// Class maps never hold it.
pub const NOTHING: u16 = u16::MAX - 1;

/// One label a pixel: an index into a list of names, [`NOTHING`] or [`UNLABELLED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    extent: [usize; 2],
    ids: Vec<u16>,
}

impl LabelMap {
    /// A map of `extent` (height, width), row after row.
    ///
    /// # Errors
    /// A number of labels that does not fit the extent.
    pub fn new(extent: [usize; 2], ids: Vec<u16>) -> Result<Self> {
        let [height, width] = extent;
        if height.checked_mul(width) != Some(ids.len()) {
            let what = format!("{} labels for {height}×{width} pixels", ids.len());
            return Err(Error::shape("label map", what));
        }
        Ok(LabelMap { extent, ids })
    }

    /// A map that holds `id` everywhere.
    pub fn filled(extent: [usize; 2], id: u16) -> Self {
        LabelMap {
            extent,
            ids: vec![id; extent[0] * extent[1]],
        }
    }

    /// Height and width.
    pub fn extent(&self) -> [usize; 2] {
        self.extent
    }

    /// All labels, row after row.
    pub fn ids(&self) -> &[u16] {
        &self.ids
    }

    /// The label in row `y`, column `x`, both inside.
    pub fn at(&self, y: usize, x: usize) -> u16 {
        self.ids[y * self.extent[1] + x]
    }

    /// The map scaled to `to` (height, width): every pixel takes the label its centre falls on. Labels
    /// are never mixed.
    pub fn nearest(&self, to: [usize; 2]) -> LabelMap {
        let [height, width] = self.extent;
        if to == self.extent {
            return self.clone();
        }
        // Centre (i + 1/2) · from / to, rounded down, in whole numbers.
        let source = |i: usize, from: usize, to: usize| (2 * i + 1) * from / (2 * to);
        let columns: Vec<usize> = (0..to[1]).map(|x| source(x, width, to[1])).collect();
        let mut ids = Vec::with_capacity(to[0] * to[1]);
        for y in 0..to[0] {
            let row = &self.ids[source(y, height, to[0]) * width..][..width];
            ids.extend(columns.iter().map(|&x| row[x]));
        }
        LabelMap { extent: to, ids }
    }

    /// The map with left and right exchanged.
    pub fn mirrored(&self) -> LabelMap {
        let rows = self.ids.chunks_exact(self.extent[1].max(1));
        LabelMap {
            extent: self.extent,
            ids: rows.flat_map(|row| row.iter().rev().copied()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_takes_the_label_under_the_centre() {
        let map = LabelMap::new([2, 2], vec![1, 2, 3, 4]).unwrap();
        let big = map.nearest([4, 6]);
        assert_eq!(&big.ids()[..6], [1, 1, 1, 2, 2, 2]);
        assert_eq!(&big.ids()[18..], [3, 3, 3, 4, 4, 4]);
        // An odd factor down and up again is exact: the centre of three is the one kept.
        let row: Vec<u16> = (0..9).collect();
        let small = LabelMap::new([1, 9], row).unwrap().nearest([1, 3]);
        assert_eq!(small.ids(), [1, 4, 7]);
        assert_eq!(map.mirrored().ids(), [2, 1, 4, 3]);
        assert!(LabelMap::new([2, 3], vec![0; 5]).is_err());
    }
}
