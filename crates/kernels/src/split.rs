//! How a layer is cut into tasks for threads. Cuts never change a sum's order, so every cut gives the same bits.

use crate::pool::Pool;

/// Multiply-adds below which a layer stays on the calling thread: about 4 µs of one core, against the fork's 0.3 µs and
/// the caches that a second core must fill.
const WORTH_SPLITTING: usize = 200_000;

/// Tasks a thread should find, so that threads that start late or run slowly leave little to wait for.
const TASKS_PER_THREAD: usize = 4;

/// How many tasks a layer of `work` multiply-adds should have for so many threads.
pub(crate) fn wanted(threads: usize, work: usize) -> usize {
    if threads == 1 || work < WORTH_SPLITTING { 1 } else { threads * TASKS_PER_THREAD }
}

/// Runs `f(task, slot)` for every task; `slot` tells threads apart that run at once. A single task stays here.
pub(crate) fn for_each(pool: &Pool, tasks: usize, f: impl Fn(usize, usize) + Sync) {
    if tasks == 1 { f(0, 0) } else { pool.run(tasks, f) }
}

/// The `part`-th of `parts` pieces of `0..total`, cut at multiples of `step`.
pub(crate) fn piece(total: usize, step: usize, parts: usize, part: usize) -> std::ops::Range<usize> {
    let steps = total.div_ceil(step);
    let at = |i: usize| (steps * i / parts * step).min(total);
    at(part)..at(part + 1)
}

/// A pointer that tasks share: each writes its own part of what it points to.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: whoever dereferences it keeps to its own part; see the kernels' safety arguments.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub fn new(values: &mut [f32]) -> Shared {
        Shared(values.as_mut_ptr())
    }

    /// The value `offset` places on. Goes by `self`, so that closures capture the wrapper, not its pointer.
    pub fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}
