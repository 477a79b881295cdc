//! How tables lie in memory, and how the processor is made to fetch them ahead.

use rustix::mm::{Advice, madvise};
use std::alloc::{Layout, alloc_zeroed};
use std::fmt;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of a page. Where pages are larger the kernel refuses the advice, and nothing changes.
const PAGE: usize = 4096;

/// A fixed array that starts at a cache line, so that what fits a line takes no more than one.
#[derive(Debug)]
pub(super) struct Aligned<T> {
    /// The array, after up to a line of nothing.
    items: Vec<T>,
    skip: usize,
}

impl<T: Zeroed> Aligned<T> {
    /// So many zeros.
    pub(super) fn new(len: usize) -> Result<Self, OutOfMemory> {
        let items: Vec<T> = zeros(len.saturating_add(LINE / size_of::<T>()))?;
        ask_for_huge_pages(&items);
        let skip = items.as_ptr().align_offset(LINE);
        Ok(Self { skip: if skip <= LINE / size_of::<T>() { skip } else { 0 }, items })
    }
}

impl<T> Aligned<T> {
    /// The array.
    #[inline]
    pub(super) fn as_slice(&self) -> &[T] {
        &self.items[self.skip..]
    }

    /// The array.
    #[inline]
    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.items[self.skip..]
    }
}

/// A fixed array of whole cache lines, each where a line starts. (The kernel gives large arrays that start 16 bytes into a page, and an
/// array of lines cannot be moved by less than a line: so it is one of words, seen a line at a time.)
#[derive(Debug)]
pub(super) struct Lines {
    words: Aligned<u32>,
}

/// The words of a cache line.
pub(super) const LINE_WORDS: usize = LINE / size_of::<u32>();

impl Lines {
    /// So many zeros, and at most one more.
    pub(super) fn new(lines: usize) -> Result<Self, OutOfMemory> {
        Ok(Self { words: Aligned::new(lines.saturating_mul(LINE_WORDS))? })
    }

    /// The lines.
    #[inline]
    pub(super) fn as_slice(&self) -> &[[u32; LINE_WORDS]] {
        self.words.as_slice().as_chunks().0
    }

    /// The lines.
    #[inline]
    pub(super) fn as_mut_slice(&mut self) -> &mut [[u32; LINE_WORDS]] {
        self.words.as_mut_slice().as_chunks_mut().0
    }
}

/// The system refused memory for the tables: this many bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// What was asked for at once.
    pub bytes: u64,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not enough memory: {} bytes for a table were refused", self.bytes)
    }
}

impl std::error::Error for OutOfMemory {}

impl OutOfMemory {
    fn of<T>(len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        Self { bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
    }
}

/// Numbers for which zeroed memory is 0.
pub(super) trait Zeroed: Copy + sealed::Zeroed {}

mod sealed {
    pub(crate) trait Zeroed {}
    impl Zeroed for u8 {}
    impl Zeroed for u16 {}
    impl Zeroed for u32 {}
    impl Zeroed for u64 {}
}

impl<T: Copy + sealed::Zeroed> Zeroed for T {}

/// So many zeros, which cost no memory before they are written: the kernel gives pages when touched.
pub(super) fn zeros<T: Zeroed>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let refused = || OutOfMemory::of::<T>(len);
    let layout = Layout::array::<T>(len).map_err(|_| refused())?;
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout is that of `len` items and not empty; zeroed memory holds that many valid `T` (`Zeroed` is sealed
    // to integers), and the allocator is the one that a `Vec` gives it back to.
    #[allow(unsafe_code, reason = "no safe way to zeroed memory says no instead of aborting")]
    let items = unsafe {
        let start = alloc_zeroed(layout).cast::<T>();
        if start.is_null() {
            return Err(refused());
        }
        Vec::from_raw_parts(start, len, len)
    };
    Ok(items)
}

/// An empty array with room for so many.
pub(super) fn room_for<T>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut items = Vec::new();
    items.try_reserve_exact(len).map_err(|_| OutOfMemory::of::<T>(len))?;
    ask_for_huge_pages(&items);
    Ok(items)
}

/// So many of the same.
pub(super) fn vec_of<T: Clone>(len: usize, item: T) -> Result<Vec<T>, OutOfMemory> {
    let mut items = room_for(len)?;
    items.resize(len, item);
    Ok(items)
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
pub(super) fn prefetch<T>(what: &T) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_nobody_has_is_an_error_and_no_abort() {
        for len in [1 << 60, usize::MAX / 2, usize::MAX] {
            assert!(zeros::<u32>(len).is_err() && Lines::new(len).is_err(), "{len}");
            assert!(room_for::<u64>(len).is_err() && Aligned::<u16>::new(len).is_err(), "{len}");
        }
        assert_eq!(zeros::<u32>(1 << 60).unwrap_err().bytes, 1 << 62);
        assert_eq!(zeros::<u16>(3).unwrap(), [0; 3]);
        assert!(zeros::<u16>(0).unwrap().is_empty());
        let aligned = Aligned::<u32>::new(100).unwrap();
        assert!(aligned.as_slice().as_ptr().addr().is_multiple_of(LINE) && aligned.as_slice().len() >= 100);
    }

    /// Of any size: small arrays come from the heap, large ones are pages of their own.
    #[test]
    fn every_line_starts_where_a_cache_line_does() {
        for lines in [1, 16, 100, 1_000, 4_096, 73_728] {
            let lines_of = Lines::new(lines).unwrap();
            assert!(lines_of.as_slice().len() >= lines, "{lines}");
            assert!(lines_of.as_slice().as_ptr().addr().is_multiple_of(LINE), "{lines}");
        }
    }
}
