//! The weights' gradient of a depthwise convolution: `∂w[tap]` = Σ over images and pixels of ∂y · x at that tap.
//!
//! The input is written once more on its way through the prologue, with the zeros beside it that its taps see: no column is
//! then an edge, which in planes of a few pixels most would be.

use std::ops::Range;

use super::Task;
use crate::isa::Lanes;
use crate::layout::{LANES, volume};
use crate::prologue::Lanewise;
use crate::window::Geometry;

/// Columns of a row with its zeros.
fn columns(g: &Geometry) -> usize {
    let last = g.output[1].saturating_sub(1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1];
    (last + 1).max(g.before[1] + g.input[1])
}

/// Values of a plane with its zeros.
pub(super) fn seen(g: &Geometry) -> usize {
    volume(&[g.input[0], columns(g), LANES])
}

/// The input as its taps see it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// What the layer's prologue does to the input.
    pub prologue: Lanewise,
    /// Room for [`seen`] values.
    pub to: *mut f32,
}

impl Seen {
    /// Works out some rows of the plane at `x`.
    ///
    /// # Safety
    /// The pointers cover the plane, and the prologue reaches to it.
    #[inline(always)]
    pub unsafe fn fill<L: Lanes>(&self, g: &Geometry, x: *const f32, rows: Range<usize>) {
        let (all, before, width) = (columns(g), g.before[1], g.input[1]);
        for row in rows {
            let to = self.to.wrapping_add(row * all * LANES);
            // SAFETY: the caller's.
            unsafe {
                to.write_bytes(0, before * LANES);
                self.prologue.fill::<L>(0, x.add(row * width * LANES), to.add(before * LANES), width);
                to.add((before + width) * LANES).write_bytes(0, (all - before - width) * LANES);
            }
        }
    }
}

/// The weights' gradient of the task's rows, from the input with its zeros; on top of what is there where `is_added`.
///
/// # Safety
/// The pointers cover the plane.
#[inline(always)]
pub(super) unsafe fn all_taps<L: Lanes>(t: &Task, x: *const f32, is_added: bool) {
    let g = &t.geometry;
    // As many sums at once as hide the time that one takes, and as fit sixteen registers of AVX2, thirty-two of AVX-512.
    // SAFETY: the caller's.
    unsafe {
        for kh in 0..g.kernel[0] {
            match (g.kernel[1], g.dilation[1], L::REGISTERS) {
                (3, 1, 1) => row_of_taps::<L, 3, 4>(t, x, [kh, 0], is_added),
                (3, 1, _) => row_of_taps::<L, 3, 2>(t, x, [kh, 0], is_added),
                (5, 1, 1) => row_of_taps::<L, 5, 2>(t, x, [kh, 0], is_added),
                (5, 1, _) => row_of_taps::<L, 5, 1>(t, x, [kh, 0], is_added),
                _ => {
                    for kw in 0..g.kernel[1] {
                        row_of_taps::<L, 1, 4>(t, x, [kh, kw], is_added);
                    }
                }
            }
        }
    }
}

/// The task's rows of output whose tap row `kh` lies inside the input.
#[inline(always)]
fn rows_of(t: &Task, kh: usize) -> Range<usize> {
    let g = &t.geometry;
    let (stride, reach) = (g.stride[0], kh * g.dilation[0]);
    // row · stride + reach − before must be in 0 .. input.
    let first = g.before[0].saturating_sub(reach).div_ceil(stride).max(t.rows.start);
    let end = (g.input[0] + g.before[0]).saturating_sub(reach).div_ceil(stride).min(t.rows.end);
    first..end.max(first)
}

/// `K` taps of a kernel row from tap `[kh, kw]` on, `WAYS` columns of output at once, each with sums of its own: a single sum
/// would wait for its own last step.
#[inline(always)]
unsafe fn row_of_taps<L: Lanes, const K: usize, const WAYS: usize>(
    t: &Task,
    x: *const f32,
    [kh, kw]: [usize; 2],
    is_added: bool,
) {
    let g = &t.geometry;
    let (width, all, stride) = (g.output[1], columns(g), g.stride[1]);
    let whole = width / WAYS * WAYS;
    let out = t.out.wrapping_add((kh * g.kernel[1] + kw) * LANES);
    // SAFETY: the rows lie inside the input, and its columns with their zeros are all that the taps see.
    unsafe {
        let mut acc = [[L::splat(0.0); K]; WAYS];
        if is_added {
            for (k, acc) in acc[0].iter_mut().enumerate() {
                *acc = L::load(out.add(k * LANES));
            }
        }
        for oh in rows_of(t, kh) {
            let ih = oh * g.stride[0] + kh * g.dilation[0] - g.before[0];
            let line = x.add((ih * all + kw * g.dilation[1]) * LANES);
            let dy = t.dy.add(oh * width * LANES);
            for first in (0..whole).step_by(WAYS) {
                for (way, acc) in acc.iter_mut().enumerate() {
                    let (d, seen) = (L::load(dy.add((first + way) * LANES)), line.add((first + way) * stride * LANES));
                    for (k, acc) in acc.iter_mut().enumerate() {
                        *acc = L::load(seen.add(k * LANES)).mul_add(d, *acc);
                    }
                }
            }
            for ow in whole..width {
                let (d, seen) = (L::load(dy.add(ow * LANES)), line.add(ow * stride * LANES));
                for (k, acc) in acc[0].iter_mut().enumerate() {
                    *acc = L::load(seen.add(k * LANES)).mul_add(d, *acc);
                }
            }
        }
        for k in 0..K {
            let mut sum = acc[0][k];
            for way in &acc[1..] {
                sum = sum.add(way[k]);
            }
            sum.store(out.add(k * LANES));
        }
    }
}
