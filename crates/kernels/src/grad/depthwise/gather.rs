//! The input's gradient of a strided depthwise convolution: every input gathers it from the outputs that saw it.

use super::Task;
use crate::isa::Lanes;
use crate::layout::LANES;
use crate::window::Geometry;

/// The taps that see an input: for coordinate `at` of `axis`, pairs of tap and output.
#[inline(always)]
fn taps_of(g: &Geometry, axis: usize, at: usize) -> impl Iterator<Item = (usize, isize)> {
    let (stride, dilation, before) = (g.stride[axis], g.dilation[axis], g.before[axis]);
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

/// Of a row of the input's gradient, every column that is `phase` beyond a multiple of the stride: the same taps see them.
#[inline(always)]
pub(super) unsafe fn row<L: Lanes>(t: &Task, weights: *const f32, add: *const f32, row: usize, phase: usize) {
    /// As many as 5×5 has at stride 2; more take turns.
    const MOST: usize = 9;
    let g = &t.geometry;
    let mut taps = [Tap { weights, dy: t.dy, output: 0 }; MOST];
    let (mut count, mut before) = (0, add);
    // SAFETY: the caller's.
    unsafe {
        for (kh, oh) in taps_of(g, 0, row).filter(|(_, oh)| (0..g.output[0] as isize).contains(oh)) {
            for (kw, output) in taps_of(g, 1, phase) {
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
    let last = last as usize;
    let at = |n: usize| (row * g.input[1] + phase + n * g.stride[1]) * LANES;
    // SAFETY: the input's columns exist, and so do the outputs that a tap is asked for.
    unsafe {
        let start = |n: usize| if before.is_null() { L::splat(0.0) } else { L::load(before.add(at(n))) };
        let outer = |n: usize| {
            let mut acc = start(n);
            for tap in taps.iter().filter(|tap| (0..width).contains(&(tap.output + n as isize))) {
                acc = L::load(tap.dy.wrapping_add(n * LANES)).mul_add(L::load(tap.weights), acc);
            }
            acc.store(t.out.add(at(n)));
        };
        macro_rules! inner {
            ($($taps:literal)*) => {
                match taps.len() {
                    $($taps => {
                        let taps: &[Tap; $taps] = taps.first_chunk().expect("as many taps");
                        let weights: [L; $taps] = std::array::from_fn(|i| L::load(taps[i].weights));
                        for n in first..last {
                            let mut acc = start(n);
                            for (tap, w) in taps.iter().zip(weights) {
                                acc = L::load(tap.dy.wrapping_add(n * LANES)).mul_add(w, acc);
                            }
                            acc.store(t.out.add(at(n)));
                        }
                    })*
                    _ => (first..last).for_each(outer),
                }
            };
        }
        inner!(1 2 4 6 9);
        (0..first).chain(last..columns).for_each(outer);
    }
}
