//! How tables lie in memory, and what the processor is told ahead of them.

use rustix::mm::{Advice, madvise};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of a page. Where pages are larger the kernel refuses the advice, and nothing changes.
const PAGE: usize = 4096;

/// A fixed array that starts at a cache line, so that what fits a line takes no more than one.
#[derive(Debug)]
pub struct Aligned<T> {
    /// The array, after up to a line of nothing.
    items: Vec<T>,
    skip: usize,
}

impl<T: Copy> Aligned<T> {
    /// So many times `item`. Zeros cost no memory before they are written: the kernel gives pages when touched.
    pub fn new(len: usize, item: T) -> Self {
        let items = vec![item; len + LINE / size_of::<T>()];
        ask_for_huge_pages(&items);
        let skip = items.as_ptr().align_offset(LINE);
        Self { skip: if skip <= LINE / size_of::<T>() { skip } else { 0 }, items }
    }

    /// The array.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        &self.items[self.skip..]
    }

    /// The array.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.items[self.skip..]
    }
}

/// An empty array with room for so many.
pub fn room_for<T>(len: usize) -> Vec<T> {
    let items = Vec::with_capacity(len);
    ask_for_huge_pages(&items);
    items
}

/// Asks the kernel to back the room of an array with pages of 2 MiB, where it has them: a probe from anywhere touches a
/// random place of every table, and the processor can look up where 4 KiB pages are for a few MiB only.
fn ask_for_huge_pages<T>(items: &Vec<T>) {
    let start = items.as_ptr().addr().next_multiple_of(PAGE);
    let end = (items.as_ptr().addr() + items.capacity() * size_of::<T>()) / PAGE * PAGE;
    if start < end {
        let start = items.as_ptr().with_addr(start).cast_mut().cast();
        // SAFETY: whole pages within the room of one array; MADV_HUGEPAGE of madvise(2) changes how it is backed, never
        // what it holds.
        #[allow(unsafe_code, reason = "madvise is unsafe for the sake of other kinds of advice")]
        // Only about speed: a refusal changes nothing.
        let _ = unsafe { madvise(start, end - start.addr(), Advice::LinuxHugepage) };
    }
}

/// Has the cache line at the start of `what` brought into the cache, so that the misses of a batch overlap. Changes
/// nothing else; on other processors than x86-64 nothing at all.
#[inline]
pub fn prefetch<T>(what: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: PREFETCHT0 is a hint: it neither faults nor changes memory, whatever the address, and this one is
        // that of a reference.
        #[allow(unsafe_code, reason = "the one instruction for it")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(what).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = what;
}
