//! An allocator that counts, for tests of what must not allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts every call that takes or gives back memory, and the largest, on any thread. A test makes it its `#[global_allocator]`, and is
/// alone in its process.
pub struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

fn count(size: usize) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    LARGEST.fetch_max(size, Ordering::SeqCst);
}

impl Counting {
    /// Calls while `work` is done.
    pub fn calls(work: impl FnOnce()) -> usize {
        let before = CALLS.load(Ordering::SeqCst);
        work();
        CALLS.load(Ordering::SeqCst) - before
    }

    /// The most bytes that are asked for at once while `work` is done.
    pub fn largest(work: impl FnOnce()) -> usize {
        LARGEST.store(0, Ordering::SeqCst);
        work();
        LARGEST.load(Ordering::SeqCst)
    }
}

// SAFETY: all work is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(0);
        // SAFETY: the caller's.
        unsafe { System.dealloc(start, layout) }
    }
}
