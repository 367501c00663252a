//! Work memory that outlives the call: a thread takes a block, uses it, and puts it back.
//!
//! A convolution needs a few megabytes of packed operands. Fresh memory would cost a page fault per
//! 4 KiB at every call; the blocks kept here cost nothing the second time. Each thread keeps its own,
//! so there is no lock, and a task that is stolen while another is suspended simply takes another
//! block.

use std::cell::RefCell;

use crate::tensor::Element;

/// One cache line, which is also the alignment of the widest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static KEPT: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `len` elements of 64-byte aligned memory, initialised but of unspecified content.
pub fn with_scratch<T: Element, R>(len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
    let mut block = take(lines);
    if block.len() < lines {
        block = vec![Line([0; 64]); lines];
    }
    // SAFETY: the block is initialised, at least `len` elements long and aligned for every element
    // type, and `Element` types accept every bit pattern.
    let memory = unsafe { std::slice::from_raw_parts_mut(block.as_mut_ptr().cast(), len) };
    let result = work(memory);
    KEPT.with_borrow_mut(|kept| kept.push(block));
    result
}

/// The smallest kept block of at least `lines`, else the largest there is (to be replaced by a larger
/// one), so that a thread keeps no more blocks than it ever used at once.
fn take(lines: usize) -> Vec<Line> {
    KEPT.with_borrow_mut(|kept| {
        let best = (0..kept.len()).min_by_key(|&i| match kept[i].len() {
            len if len >= lines => (0, len),
            len => (1, usize::MAX - len),
        });
        best.map_or_else(Vec::new, |i| kept.swap_remove(i))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_reused_and_nested_blocks_are_distinct() {
        let address = |memory: &mut [f32]| memory.as_ptr() as usize;
        let first = with_scratch(1000, address);
        assert_eq!(with_scratch(10, address), first);
        with_scratch(1000, |outer: &mut [f32]| {
            outer.fill(1.0);
            with_scratch(1000, |inner: &mut [f32]| {
                assert_eq!(inner.as_ptr() as usize % 64, 0);
                inner.fill(2.0);
            });
            assert!(outer.iter().all(|&x| x == 1.0));
        });
    }
}
