//! What the processor can do at most: multiply-adds on registers alone, and copying from memory to memory. Shares of the
//! peak are shares of these.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cpu::Isa;
use crate::isa::{Lanes, Tier};
use crate::pool::Pool;

/// Multiply-adds per second and thread on `isa`, in units of 10⁹ · 2 (GFLOP/s): the best of several short runs, so that
/// other programs disturb it little.
pub fn gflops(isa: Isa) -> f64 {
    const RUNS: usize = 20;
    const STEPS: usize = 200_000;
    let tier = Tier::of(isa);
    let task = Task { steps: STEPS, scale: 0.5, shift: 1.0 };
    let run = || {
        let start = Instant::now();
        // SAFETY: the tier was handed out by detection; the task touches no memory.
        unsafe { (tier.peak)(black_box(&task)) };
        start.elapsed()
    };
    let best = (0..RUNS).map(|_| run()).min().unwrap_or(Duration::MAX);
    let multiply_adds = STEPS * tier.tile_pixels * tier.panel_blocks * crate::layout::LANES;
    2.0 * multiply_adds as f64 / best.as_secs_f64() / 1e9
}

/// 10⁹ bytes a second that the threads of `pool` together read and write when they copy what no cache holds: the best of
/// several runs.
pub fn memory_gbytes_per_second(pool: &Pool) -> f64 {
    const RUNS: usize = 5;
    /// Of each buffer: more than the last cache of most processors, and not too much for a small board.
    const LEN: usize = 16 << 20;
    let threads = pool.threads();
    let (from, mut to) = (vec![1f32; LEN], vec![0f32; LEN]);
    let part = LEN.div_ceil(threads);
    let parts: Vec<_> = to.chunks_mut(part).zip(from.chunks(part)).map(Mutex::new).collect();
    let run = || {
        let start = Instant::now();
        pool.run(parts.len(), |i, _slot| {
            let (to, from) = &mut *parts[i].lock().unwrap_or_else(PoisonError::into_inner);
            to.copy_from_slice(from);
        });
        start.elapsed()
    };
    let best = (0..RUNS).map(|_| run()).min().unwrap_or(Duration::MAX);
    2.0 * (LEN * size_of::<f32>()) as f64 / best.as_secs_f64() / 1e9
}

/// A number of steps of one multiply-add on every accumulator.
pub(crate) struct Task {
    steps: usize,
    scale: f32,
    shift: f32,
}

/// As many accumulators as a product tile has: enough that none waits for its own last step.
#[inline(always)]
pub(crate) fn task<L: Lanes, const P: usize, const B: usize>(t: &Task) {
    let (scale, shift) = (L::splat(t.scale), L::splat(t.shift));
    let mut acc = [[L::splat(0.0); B]; P];
    for _ in 0..t.steps {
        // Two plain loops: `flatten` is not unrolled, and accumulators that are indexed at run time live in memory.
        for row in &mut acc {
            for accumulator in row {
                *accumulator = accumulator.mul_add(scale, shift);
            }
        }
    }
    let mut sum = L::splat(0.0);
    for accumulator in acc.into_iter().flatten() {
        sum = sum.add(accumulator);
    }
    let mut out = [0f32; 16];
    // SAFETY: sixteen values of our own.
    unsafe { sum.store(out.as_mut_ptr()) };
    black_box(out);
}
