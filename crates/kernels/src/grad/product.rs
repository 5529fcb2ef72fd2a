//! Weight gradients of products: `∂W[o][i]` = Σ over images and pixels of `∂y[o]` · `x[i]`.
//!
//! A tile is some input channels × output blocks; inside, one step a pixel: the input channel's value is broadcast
//! against the output gradient's lanes.

use crate::cpu::Isa;
use crate::isa::{Lanes, Tier};
use crate::layout::{LANES, blocks, volume};
use crate::pool::Pool;
use crate::split::{Shared, for_each, piece, wanted};

/// Pixels of a strip, for which the accumulators are loaded and stored once: both operands of a tile stay in L1.
const STRIP: usize = 64;

/// Values of scratch memory of a fully connected layer.
pub fn scratch(channels: [usize; 2]) -> usize {
    partial(channels)
}

/// Values of the sums of one shard, `[block][input][16]`.
pub(crate) fn partial([inputs, outputs]: [usize; 2]) -> usize {
    blocks(outputs) * inputs * LANES
}

/// Weight gradient of a fully connected layer: its images are the sum's steps.
///
/// # Panics
/// Where a buffer's length does not fit.
#[expect(clippy::too_many_arguments, reason = "the layer's sizes and its four buffers")]
pub fn fully_connected(
    isa: Isa,
    pool: &Pool,
    [inputs, outputs]: [usize; 2],
    images: usize,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    let (x_pixel, y_pixel) = (blocks(inputs) * LANES, blocks(outputs) * LANES);
    let lens = (volume(&[images, x_pixel]), volume(&[images, y_pixel]));
    assert_eq!((x.len(), dy.len()), lens, "product buffers");
    assert_eq!(dw.len(), inputs * outputs, "weight gradient of {outputs}×{inputs}");
    assert!(scratch.len() >= self::scratch([inputs, outputs]), "scratch for the gradient");
    let tier = Tier::of(isa);
    let sums = &mut scratch[..partial([inputs, outputs])];
    let panel_count = blocks(outputs).div_ceil(tier.panel_blocks);
    let groups = wanted(pool, images * inputs * outputs).min(panel_count);
    let shared = Shared::new(sums);
    for_each(pool, groups, |group, _slot| {
        let here = piece(blocks(outputs), tier.panel_blocks, groups, group);
        let task = Task {
            x: x.as_ptr(),
            x_block: LANES,
            x_pixel,
            dy: dy[here.start * LANES..].as_ptr(),
            y_block: LANES,
            y_pixel,
            dw: shared.at(here.start * inputs * LANES),
            inputs,
            pixels: images,
            blocks: here.len(),
            is_first: true,
        };
        // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked; tasks
        // differ in their blocks, so each writes its own sums.
        unsafe { (tier.weight_gradient)(&task) }
    });
    gather(pool, sums, 1, [inputs, outputs], dw);
}

/// Adds up `shards` shards of sums, in order, and writes them as outputs×inputs.
pub(crate) fn gather(pool: &Pool, sums: &[f32], shards: usize, [inputs, outputs]: [usize; 2], dw: &mut [f32]) {
    let partial = partial([inputs, outputs]);
    let tasks = wanted(pool, 4 * shards * partial).min(blocks(outputs));
    let dw = Shared::new(dw);
    for_each(pool, tasks, |task, _slot| {
        for block in piece(blocks(outputs), 1, tasks, task) {
            let rows = LANES.min(outputs - block * LANES);
            for input in 0..inputs {
                let at = (block * inputs + input) * LANES;
                let mut total: [f32; LANES] = std::array::from_fn(|lane| sums[at + lane]);
                for shard in 1..shards {
                    let values = &sums[shard * partial + at..][..LANES];
                    total.iter_mut().zip(values).for_each(|(t, v)| *t += v);
                }
                for (lane, total) in total.into_iter().enumerate().take(rows) {
                    // SAFETY: a row of this task's block, of which there are `outputs` in all.
                    unsafe { *dw.at((block * LANES + lane) * inputs + input) = total };
                }
            }
        }
    });
}

/// Some output blocks.
pub(crate) struct Task {
    pub x: *const f32,
    pub x_block: usize,
    pub x_pixel: usize,
    pub dy: *const f32,
    pub y_block: usize,
    pub y_pixel: usize,
    /// `[block][input][16]`.
    pub dw: *mut f32,
    pub inputs: usize,
    pub pixels: usize,
    pub blocks: usize,
    /// Whether the sums begin at zero.
    pub is_first: bool,
}

/// # Safety
/// The task's pointers cover its pixels and blocks.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes, const I: usize, const B: usize>(t: &Task) {
    for first in (0..t.pixels).step_by(STRIP) {
        let count = STRIP.min(t.pixels - first);
        let is_first = t.is_first && first == 0;
        for block in (0..t.blocks).step_by(B) {
            for input in (0..t.inputs).step_by(I) {
                // SAFETY: the caller's.
                unsafe {
                    let x = t.x.add(first * t.x_pixel + input / LANES * t.x_block + input % LANES);
                    let at = At { x, first, count, block, input };
                    match (B.min(t.blocks - block), is_first) {
                        (1, true) => tile::<L, I, 1, true>(t, at),
                        (1, false) => tile::<L, I, 1, false>(t, at),
                        (_, true) => tile::<L, I, B, true>(t, at),
                        (_, false) => tile::<L, I, B, false>(t, at),
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct At {
    x: *const f32,
    first: usize,
    count: usize,
    block: usize,
    input: usize,
}

/// `I` input channels × `B` output blocks. `I` divides sixteen, so that a tile lies within a block; lanes beyond the last
/// input channel are computed and dropped.
#[inline(always)]
unsafe fn tile<L: Lanes, const I: usize, const B: usize, const FIRST: bool>(t: &Task, at: At) {
    // SAFETY: the caller's channels and pixels exist; lanes beyond the last channel are readable.
    unsafe {
        let used = I.min(t.inputs - at.input);
        let sum = |i: usize, b: usize| t.dw.add(((at.block + b) * t.inputs + at.input + i) * LANES);
        let mut acc = [[L::splat(0.0); B]; I];
        if !FIRST {
            for (i, acc) in acc.iter_mut().enumerate() {
                if i < used {
                    for (b, acc) in acc.iter_mut().enumerate() {
                        *acc = L::load(sum(i, b));
                    }
                }
            }
        }
        let mut x = at.x;
        let mut dy = t.dy.add(at.block * t.y_block + at.first * t.y_pixel);
        for _ in 0..at.count {
            let d: [L; B] = std::array::from_fn(|b| L::load(dy.add(b * t.y_block)));
            for (i, acc) in acc.iter_mut().enumerate() {
                let value = L::splat(*x.add(i));
                for b in 0..B {
                    acc[b] = value.mul_add(d[b], acc[b]);
                }
            }
            x = x.add(t.x_pixel);
            dy = dy.add(t.y_pixel);
        }
        for (i, acc) in acc.iter().enumerate() {
            if i < used {
                for (b, acc) in acc.iter().enumerate() {
                    acc.store(sum(i, b));
                }
            }
        }
    }
}
