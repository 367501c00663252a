//! Concatenation along the innermost axis, and its inverse. Copies of short rows; bound by memory.

use super::rows_mut;
use crate::tensor::Element;
use rayon::prelude::*;

/// Each row of y is the rows of the parts, one after another; a part is (elements, row length).
pub fn join<T: Element>(parts: &[(&[T], usize)], y: &mut [T]) {
    let width = parts.iter().map(|part| part.1).sum();
    rows_mut(y, width).enumerate().for_each(|(row, y)| {
        let mut rest = y;
        for &(part, length) in parts {
            let (to, after) = rest.split_at_mut(length);
            to.copy_from_slice(&part[row * length..][..length]);
            rest = after;
        }
    });
}

/// The part of `length` columns starting at column `start` of rows of `width`.
pub fn columns<T: Element>(y: &[T], width: usize, start: usize, length: usize, part: &mut [T]) {
    rows_mut(part, length).enumerate().for_each(|(row, part)| {
        part.copy_from_slice(&y[row * width + start..][..length]);
    });
}
