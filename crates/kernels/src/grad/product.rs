//! Weight gradients of products: `∂W[o][i]` = Σ over images and pixels of `∂y[o]` · `x[i]`.
//!
//! A tile is some input channels × output blocks; inside, one step a pixel: the input channel's value is broadcast
//! against the output gradient's lanes. The input goes through a prologue on the way, strip by strip.

use crate::cpu::Isa;
use crate::isa::{Lanes, Tier};
use crate::layout::{LANES, blocked_len, blocks, volume};
use crate::pool::Pool;
use crate::prologue::{Lanewise, Prologue};
use crate::split::{Shared, for_each, piece, wanted};

use super::{add_shards, shards};

/// Pixels of a strip: the accumulators are loaded and stored once for each.
const STRIP: usize = 64;

/// What one call works on.
pub struct Call<'a> {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Images.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Blocked input, before the prologue.
    pub x: &'a [f32],
    /// What the layer's prologue did to it.
    pub prologue: Prologue<'a>,
    /// Gradient of the blocked output.
    pub dy: &'a [f32],
    /// Gradient of the weights, outputs×inputs.
    pub dw: &'a mut [f32],
    /// At least [`scratch`] values.
    pub scratch: &'a mut [f32],
}

/// Values of scratch memory for `threads` threads.
pub fn scratch([inputs, outputs]: [usize; 2], images: usize, threads: usize) -> usize {
    shards(images) * partial([inputs, outputs]) + threads * STRIP * blocks(inputs) * LANES
}

fn partial([inputs, outputs]: [usize; 2]) -> usize {
    blocks(outputs) * inputs * LANES
}

/// Weight gradient of a pointwise convolution.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn pointwise(isa: Isa, pool: &Pool, call: Call) {
    let Call { channels: [inputs, outputs], images, pixels, x, prologue, dy, dw, scratch } = call;
    let strides = Strides {
        x_image: blocked_len(1, inputs, pixels, 1),
        x_block: pixels * LANES,
        x_pixel: LANES,
        y_image: blocked_len(1, outputs, pixels, 1),
        y_block: pixels * LANES,
        y_pixel: LANES,
    };
    let lens = (volume(&[images, strides.x_image]), volume(&[images, strides.y_image]));
    assert_eq!((x.len(), dy.len()), lens, "product buffers");
    prologue.check(images, blocks(inputs) * LANES);
    run(isa, pool, [inputs, outputs], images, pixels, strides, x, prologue, dy, dw, scratch);
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
    let strides = Strides { x_image: 0, x_block: LANES, x_pixel, y_image: 0, y_block: LANES, y_pixel };
    run(isa, pool, [inputs, outputs], 1, images, strides, x, Prologue::default(), dy, dw, scratch);
}

#[derive(Clone, Copy)]
struct Strides {
    x_image: usize,
    x_block: usize,
    x_pixel: usize,
    y_image: usize,
    y_block: usize,
    y_pixel: usize,
}

#[expect(clippy::too_many_arguments, reason = "the two callers' arguments and their strides")]
fn run(
    isa: Isa,
    pool: &Pool,
    [inputs, outputs]: [usize; 2],
    images: usize,
    pixels: usize,
    strides: Strides,
    x: &[f32],
    prologue: Prologue,
    dy: &[f32],
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    let tier = Tier::of(isa);
    assert_eq!(dw.len(), inputs * outputs, "weight gradient of {outputs}×{inputs}");
    assert!(scratch.len() >= self::scratch([inputs, outputs], images, pool.threads()), "scratch for the gradient");
    let (shards, partial) = (shards(images), partial([inputs, outputs]));
    let (sums, strips) = scratch.split_at_mut(shards * partial);
    let wanted = wanted(pool, images * pixels * inputs * outputs);
    let panel_count = blocks(outputs).div_ceil(tier.panel_blocks);
    let groups = wanted.div_ceil(shards).min(panel_count);
    let lanes = blocks(inputs) * LANES;
    let (shared, strips) = (Shared::new(sums), Shared::new(strips));
    for_each(pool, shards * groups, |task, slot| {
        let (shard, group) = (task / groups, task % groups);
        let here = piece(blocks(outputs), tier.panel_blocks, groups, group);
        for (n, image) in piece(images, 1, shards, shard).enumerate() {
            let task = Task {
                x: x[image * strides.x_image..].as_ptr(),
                dy: dy[image * strides.y_image + here.start * strides.y_block..].as_ptr(),
                dw: shared.at(shard * partial + here.start * inputs * LANES),
                strip: strips.at(slot * STRIP * lanes),
                prologue: (!prologue.is_identity()).then(|| prologue.at(image * lanes, 0)),
                strides,
                inputs,
                pixels,
                blocks: here.len(),
                is_first: n == 0,
            };
            // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked;
            // tasks differ in shard or blocks, so each writes its own sums, and each slot its own strip.
            unsafe { (tier.weight_gradient)(&task) }
        }
    });
    add_shards(sums, partial, shards);
    for (o, row) in dw.chunks_exact_mut(inputs).enumerate() {
        let block = &sums[o / LANES * inputs * LANES..];
        row.iter_mut().enumerate().for_each(|(i, v)| *v = block[i * LANES + o % LANES]);
    }
}

/// Some output blocks of one image.
pub(crate) struct Task {
    x: *const f32,
    dy: *const f32,
    /// `[block][input][16]`.
    dw: *mut f32,
    strip: *mut f32,
    prologue: Option<Lanewise>,
    strides: Strides,
    inputs: usize,
    pixels: usize,
    blocks: usize,
    /// Whether the sums begin at zero.
    is_first: bool,
}

/// # Safety
/// The task's pointers cover its image and blocks.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes, const I: usize, const B: usize>(t: &Task) {
    for first in (0..t.pixels).step_by(STRIP) {
        let count = STRIP.min(t.pixels - first);
        let is_first = t.is_first && first == 0;
        // SAFETY of all below: the caller's.
        unsafe {
            let (mut x, mut x_block, mut x_pixel) =
                (t.x.add(first * t.strides.x_pixel), t.strides.x_block, t.strides.x_pixel);
            if let Some(prologue) = t.prologue {
                for block in 0..blocks(t.inputs) {
                    prologue.fill::<L>(block, x.add(block * x_block), t.strip.add(block * STRIP * LANES), count);
                }
                (x, x_block, x_pixel) = (t.strip, STRIP * LANES, LANES);
            }
            for block in (0..t.blocks).step_by(B) {
                for input in (0..t.inputs).step_by(I) {
                    let at =
                        At { x: x.add(input / LANES * x_block + input % LANES), x_pixel, first, count, block, input };
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
    x_pixel: usize,
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
        let mut dy = t.dy.add(at.block * t.strides.y_block + at.first * t.strides.y_pixel);
        for _ in 0..at.count {
            let d: [L; B] = std::array::from_fn(|b| L::load(dy.add(b * t.strides.y_block)));
            for (i, acc) in acc.iter_mut().enumerate() {
                let value = L::splat(*x.add(i));
                for b in 0..B {
                    acc[b] = value.mul_add(d[b], acc[b]);
                }
            }
            x = x.add(at.x_pixel);
            dy = dy.add(t.strides.y_pixel);
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
