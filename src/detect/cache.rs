//! How tables lie in memory, and what the processor is told ahead of them.

/// Bytes of a cache line.
const LINE: usize = 64;

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
