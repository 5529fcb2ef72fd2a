//! The input's gradient of a strided depthwise convolution: every input gathers it from the outputs that saw it.

use std::ops::Range;

use super::Task;
use crate::isa::Lanes;
use crate::layout::LANES;
use crate::window::Geometry;

/// The taps that see an input: for coordinate `at` of `axis`, pairs of tap and output. `S` is the stride, so that dividing
/// costs nothing, or zero for any.
#[inline(always)]
fn taps_of<const S: usize>(g: &Geometry, axis: usize, at: usize) -> impl Iterator<Item = (usize, isize)> {
    let stride = if S == 0 { g.stride[axis] } else { S };
    let (dilation, before) = (g.dilation[axis], g.before[axis]);
    (0..g.kernel[axis]).filter_map(move |k| {
        let from = (at + before) as isize - (k * dilation) as isize;
        (from % stride as isize == 0).then_some((k, from / stride as isize))
    })
}

/// A tap that sees the columns of a phase: its weights, and the output's gradient at the first column.
#[derive(Clone, Copy)]
struct Tap {
    weights: *const f32,
    dy: *const f32,
    /// The first column's output, which may lie outside.
    output: isize,
}

/// The task's rows of the input's gradient. `add` is added unless null.
///
/// # Safety
/// The pointers cover the plane.
#[inline(always)]
pub(super) unsafe fn rows<L: Lanes>(t: &Task, weights: *const f32, add: *const f32) {
    let stride = t.geometry.stride;
    for row in t.rows.clone() {
        for phase in 0..stride[1] {
            // SAFETY: the caller's.
            unsafe {
                match stride {
                    [2, 2] => columns::<L, 2>(t, weights, add, row, phase),
                    _ => columns::<L, 0>(t, weights, add, row, phase),
                }
            }
        }
    }
}

/// Of a row, every column that is `phase` beyond a multiple of the stride: the same taps see them.
#[inline(always)]
unsafe fn columns<L: Lanes, const S: usize>(t: &Task, weights: *const f32, add: *const f32, row: usize, phase: usize) {
    /// As many as 5×5 has at stride 2; more take turns.
    const MOST: usize = 9;
    let g = &t.geometry;
    let mut taps = [Tap { weights, dy: t.dy, output: 0 }; MOST];
    let (mut count, mut before) = (0, add);
    // SAFETY: the caller's.
    unsafe {
        for (kh, oh) in taps_of::<S>(g, 0, row).filter(|(_, oh)| (0..g.output[0] as isize).contains(oh)) {
            for (kw, output) in taps_of::<S>(g, 1, phase) {
                if count == MOST {
                    add_taps::<L>(t, &taps, before, row, phase);
                    (count, before) = (0, t.out);
                }
                taps[count] = Tap {
                    weights: weights.add((kh * g.kernel[1] + kw) * LANES),
                    dy: t.dy.wrapping_offset((oh * g.output[1] as isize + output) * LANES as isize),
                    output,
                };
                count += 1;
            }
        }
        add_taps::<L>(t, &taps[..count], before, row, phase);
    }
}

/// What some taps give to the columns of a phase, on top of what is at `before`, laid out as the output, unless null.
#[inline(always)]
unsafe fn add_taps<L: Lanes>(t: &Task, taps: &[Tap], before: *const f32, row: usize, phase: usize) {
    let g = &t.geometry;
    let width = g.output[1] as isize;
    let columns = g.input[1].saturating_sub(phase).div_ceil(g.stride[1]);
    // Columns that all taps see together.
    let first = taps.iter().map(|tap| -tap.output).max().unwrap_or(0).clamp(0, columns as isize) as usize;
    let last = taps.iter().map(|tap| width - tap.output).min().unwrap_or(0).clamp(first as isize, columns as isize);
    let at = (row * g.input[1] + phase) * LANES;
    let line = Line {
        before: if before.is_null() { before } else { before.wrapping_add(at) },
        out: t.out.wrapping_add(at),
        step: g.stride[1] * LANES,
        width,
    };
    let inner = first..last as usize;
    // SAFETY: the input's columns exist, and so do the outputs that a tap is asked for.
    unsafe {
        match taps.len() {
            1 => line.all::<L, 1>(taps, inner.clone()),
            2 => line.all::<L, 2>(taps, inner.clone()),
            4 => line.all::<L, 4>(taps, inner.clone()),
            6 => line.all::<L, 6>(taps, inner.clone()),
            9 => line.all::<L, 9>(taps, inner.clone()),
            _ => line.some::<L>(taps, inner.clone()),
        }
        line.some::<L>(taps, 0..inner.start);
        line.some::<L>(taps, inner.end..columns);
    }
}

/// The columns of a phase in a row of the input's gradient.
struct Line {
    /// What taps add to, laid out as the output; null for zero.
    before: *const f32,
    out: *mut f32,
    /// Values between columns.
    step: usize,
    /// Columns of the output's gradient.
    width: isize,
}

impl Line {
    /// What column `n` begins with.
    #[inline(always)]
    unsafe fn start<L: Lanes>(&self, n: usize) -> L {
        // SAFETY: the caller's.
        unsafe { if self.before.is_null() { L::splat(0.0) } else { L::load(self.before.add(n * self.step)) } }
    }

    /// Columns that all of `N` taps see.
    #[inline(always)]
    unsafe fn all<L: Lanes, const N: usize>(&self, taps: &[Tap], columns: Range<usize>) {
        let taps: &[Tap; N] = taps.first_chunk().expect("as many taps");
        // SAFETY: the caller's.
        unsafe {
            let mut weights = [L::splat(0.0); N];
            for (w, tap) in weights.iter_mut().zip(taps) {
                *w = L::load(tap.weights);
            }
            for n in columns {
                let mut acc = self.start::<L>(n);
                for (tap, w) in taps.iter().zip(weights) {
                    acc = L::load(tap.dy.wrapping_add(n * LANES)).mul_add(w, acc);
                }
                acc.store(self.out.add(n * self.step));
            }
        }
    }

    /// Columns that some of the taps see.
    #[inline(always)]
    unsafe fn some<L: Lanes>(&self, taps: &[Tap], columns: Range<usize>) {
        for n in columns {
            // SAFETY: the caller's.
            unsafe {
                let mut acc = self.start::<L>(n);
                for tap in taps {
                    if (0..self.width).contains(&(tap.output + n as isize)) {
                        acc = L::load(tap.dy.wrapping_add(n * LANES)).mul_add(L::load(tap.weights), acc);
                    }
                }
                acc.store(self.out.add(n * self.step));
            }
        }
    }
}
