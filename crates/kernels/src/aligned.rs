//! Memory for tensors and weights: zeroed, and aligned to a cache line so that a block of sixteen lanes never straddles
//! two of them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Alignment in bytes: one cache line, one AVX-512 register.
pub const ALIGNMENT: usize = 64;

/// Why a buffer has no layout.
const LARGE: &str = "a buffer within the address space";

/// A fixed number of `f32` at a multiple of [`ALIGNMENT`].
pub struct AlignedBuf {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: the buffer owns its memory and hands it out by the usual borrowing rules only.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> AlignedBuf {
        AlignedBuf::try_zeroed(len).unwrap_or_else(|| handle_alloc_error(Self::layout(len).expect(LARGE)))
    }

    /// As [`AlignedBuf::zeroed`]; `None` where the system has no memory for that many.
    pub fn try_zeroed(len: usize) -> Option<AlignedBuf> {
        if len == 0 {
            return Some(AlignedBuf { start: NonNull::dangling(), len });
        }
        // SAFETY: the layout has a size above zero.
        let start = NonNull::new(unsafe { alloc(Self::layout(len)?) }.cast::<f32>())?;
        // Before the first write, which decides on the pages.
        huge_pages::advise(start, len * size_of::<f32>());
        // SAFETY: `len` values of our own.
        unsafe { start.write_bytes(0, len) };
        Some(AlignedBuf { start, len })
    }

    /// `None` beyond the address space.
    fn layout(len: usize) -> Option<Layout> {
        Layout::array::<f32>(len).and_then(|l| l.align_to(ALIGNMENT)).ok()
    }
}

impl From<&[f32]> for AlignedBuf {
    fn from(values: &[f32]) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(values.len());
        buf.copy_from_slice(values);
        buf
    }
}

impl Deref for AlignedBuf {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `start` points to `len` initialised values (or dangles, aligned, where `len` is zero).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and `&mut self` makes the borrow unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.len > 0 {
            let layout = Self::layout(self.len).expect(LARGE);
            // SAFETY: allocated in `try_zeroed` with the same layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) }
        }
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({})", self.len)
    }
}

/// Huge pages under large buffers: the processor finds the addresses of a few of them in its tables where it would have
/// to look up those of many small ones. With such pages from the C library's allocator, the least of V2's training steps at
/// 224 pixels took 0.96 to 0.97 of the time (Zen 4).
#[cfg(any(target_os = "linux", target_os = "android"))]
mod huge_pages {
    use std::ffi::{c_int, c_void};
    use std::ptr::NonNull;

    /// A huge page is 2 MiB on most systems, and a buffer of several loses little to a part of one.
    const WORTH_BYTES: usize = 16 << 20;
    /// The largest common page of any Linux, for a start that the system accepts.
    const PAGE: usize = 64 << 10;
    const MADV_HUGEPAGE: c_int = 14;

    // The C library, which the standard library links in any case.
    unsafe extern "C" {
        fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
    }

    /// Asks for huge pages under a new buffer of `bytes` bytes. A refusal leaves things as they were.
    pub(super) fn advise(start: NonNull<f32>, bytes: usize) {
        if bytes < WORTH_BYTES {
            return;
        }
        let start = start.as_ptr().cast::<u8>();
        let before = start.align_offset(PAGE);
        // SAFETY: a part of the buffer, whose contents this advice does not change.
        unsafe { madvise(start.wrapping_add(before).cast(), bytes - before, MADV_HUGEPAGE) };
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod huge_pages {
    pub(super) fn advise(_start: std::ptr::NonNull<f32>, _bytes: usize) {}
}
