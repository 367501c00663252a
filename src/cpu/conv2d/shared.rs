//! An output that several tasks write at once, each its own elements.

use std::marker::PhantomData;

/// A mutable slice whose elements are handed out by position. A tile's place in a map is a set of
/// strips, which no split of the slice into parts can express.
pub(in crate::cpu) struct SharedOut<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: it only computes addresses; whoever writes through them promises not to overlap.
unsafe impl<T: Send> Sync for SharedOut<'_, T> {}

impl<'a, T> SharedOut<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        SharedOut {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            borrowed: PhantomData,
        }
    }

    /// The address of element `index`.
    pub fn at(&self, index: usize) -> *mut T {
        assert!(index < self.len, "element {index} of {}", self.len);
        // SAFETY: within the slice.
        unsafe { self.start.add(index) }
    }

    /// The `len` elements from `start` on.
    ///
    /// # Safety
    /// No two living parts overlap.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        assert!(
            start + len <= self.len,
            "elements {start} and {len} on of {}",
            self.len
        );
        // SAFETY: within the slice, and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
