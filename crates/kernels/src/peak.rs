//! What the processor can do at most: multiply-adds on registers alone. Shares of the peak are shares of this.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::cpu::Isa;
use crate::isa::{Lanes, Tier};

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
