//! The way back through a pointwise convolution, in one pass over memory.
//!
//! A strip of pixels at a time, while it lies in the caches: the gradient of the raw output (through batch norm and
//! activation), what it adds to the weights' gradient, the input's gradient, and the sums that the batch norm before the
//! layer needs of that. Meanwhile the next strip is prefetched. None of the expanded tensors that would otherwise stand
//! between these is ever written.

use std::ops::Range;

use crate::cpu::Isa;
use crate::isa::Tier;
use crate::layout::{Dims, LANES, blocked_len, blocks};
use crate::norm::{self, BACKWARD, Way};
use crate::pointwise::{PixelStrip, Pointwise, parts};
use crate::pool::Pool;
use crate::prefetch::Ahead;
use crate::prologue::{Lanewise, Prologue};
use crate::split::{Shared, for_each, piece};

use super::product::{self, Operand, Shape};
use super::{Incoming, Outgoing};

/// Most shards of the weights' gradient: enough tasks for many threads, few enough to add up quickly.
const SHARDS: usize = 16;
/// Bytes of the strips of input and gradient together: a part of a small L2 cache, and long enough runs of each block that
/// the processor fetches ahead.
const STRIP_BYTES: usize = 256 << 10;

/// What one call works on.
pub struct Call<'a> {
    /// Images, input channels, height and width.
    pub input: Dims,
    /// Output channels.
    pub outputs: usize,
    /// Where the gradient comes from.
    pub incoming: Incoming<'a>,
    /// Blocked input, before the prologue.
    pub x: &'a [f32],
    /// What the layer's prologue did to it.
    pub prologue: Prologue<'a>,
    /// Gradient of the weights, outputs×inputs.
    pub dw: &'a mut [f32],
    /// The layer with its weights transposed, and where the input's gradient goes.
    pub dx: Option<(&'a Pointwise, &'a mut [f32])>,
    /// Added to the input's gradient.
    pub add: Option<&'a [f32]>,
    /// Sums of the input's gradient.
    pub outgoing: Option<Outgoing<'a>>,
    /// At least [`scratch`] values.
    pub scratch: &'a mut [f32],
}

/// Values of scratch memory for `threads` threads.
pub fn scratch(input: Dims, outputs: usize, threads: usize) -> usize {
    let (strips, shards) = (strip_len(input, outputs), shards(input));
    shards * Shape::of([input.c, outputs]).len() + threads * strips
}

fn shards(input: Dims) -> usize {
    (input.n * parts(input.n, input.pixels())).min(SHARDS)
}

/// Pixels of a strip, the part's last one aside: whole tiles of every instruction set (2, 6 and 14 pixels), so that only a
/// part's last pixels make smaller ones. A part that is a little larger than a strip is not cut: every strip reads and
/// writes all sums of the weights' gradient.
fn strip(input: Dims, outputs: usize) -> usize {
    const TILES: usize = 42;
    const MOST: usize = 6 * TILES;
    let fit = STRIP_BYTES / ((blocks(input.c) + blocks(outputs)) * LANES * size_of::<f32>());
    let fit = fit.clamp(TILES, MOST);
    let part = input.pixels().div_ceil(parts(input.n, input.pixels())).max(1);
    let strips = part.div_ceil(fit + fit / 4);
    part.div_ceil(strips).next_multiple_of(TILES)
}

/// Values of a thread's strips of input and of gradient.
fn strip_len(input: Dims, outputs: usize) -> usize {
    strip(input, outputs) * (blocks(input.c) + blocks(outputs)) * LANES
}

/// Gradients of the weights, of the input where wanted, and its sums where wanted.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn back(isa: Isa, pool: &Pool, call: Call) {
    let Call { input, outputs, incoming, x, prologue, dw, dx, add, outgoing, scratch } = call;
    let tier = Tier::of(isa);
    let (inputs, pixels) = (input.c, input.pixels());
    let output = Dims { c: outputs, ..input };
    let (parts, shards) = (parts(input.n, pixels), shards(input));
    assert_eq!(x.len(), input.blocked_len(), "the input of {input:?}");
    assert_eq!(dw.len(), inputs * outputs, "weight gradient of {outputs}×{inputs}");
    assert!(scratch.len() >= self::scratch(input, outputs, pool.threads()), "scratch for the gradient");
    assert!(dx.as_ref().is_none_or(|(layer, dx)| dx.len() == x.len() && layer.is_product([outputs, inputs])), "dx");
    assert!(add.is_none_or(|a| a.len() == x.len()), "what is added lies as the input does");
    assert!(outgoing.is_none() || dx.is_some(), "sums are of the input gradient");
    prologue.check(input.n, blocks(inputs) * LANES);
    incoming.check(output);
    if let Some(outgoing) = &outgoing {
        outgoing.check(input, parts);
    }
    let shape = Shape::of([inputs, outputs]);
    let (sums, strips) = scratch.split_at_mut(shards * shape.len());
    let strip = strip(input, outputs);
    let (shared, strips) = (Shared::new(sums), Shared::new(strips));
    let (layer, dx) = dx.map(|(layer, dx)| (layer, Shared::new(dx))).unzip();
    let mut outgoing = outgoing;
    let out_sums = outgoing.as_mut().map(|o| Shared::new(o.sums));
    let image_len = blocked_len(1, inputs, pixels, 1);
    for_each(pool, shards, |shard, slot| {
        let strips = strips.at(slot * strip_len(input, outputs));
        for (n, unit) in piece(input.n * parts, 1, shards, shard).enumerate() {
            let (image, part) = (unit / parts, unit % parts);
            let at = image * image_len;
            let task = Task {
                tier,
                x: x[at..].as_ptr(),
                prologue: (!prologue.is_identity()).then(|| prologue.at(image * blocks(inputs) * LANES, 0)),
                incoming: incoming.way(output, image),
                dw: shared.at(shard * shape.len()),
                shape,
                is_first: n == 0,
                gradient: layer.zip(dx.map(|dx| dx.at(at))),
                add: add.map_or(std::ptr::null(), |a| a[at..].as_ptr()),
                outgoing: outgoing.as_ref().zip(dx).map(|(o, dx)| o.way(input, image, dx.at(at))),
                sums: out_sums.map_or(std::ptr::null_mut(), |s| s.at(unit * blocks(inputs) * BACKWARD * LANES)),
                channels: [inputs, outputs],
                plane: pixels * LANES,
                strip,
                dy: strips,
                x_strip: strips.wrapping_add(strip * blocks(outputs) * LANES),
            };
            let pixels = piece(pixels, tier.tile_pixels, parts, part);
            for first in pixels.clone().step_by(strip) {
                // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked;
                // tasks differ in image or part, so each writes its own part of `dx` and its own sums; each shard has its
                // own part of `dw`, and each slot its own strips.
                unsafe { task.run(first..pixels.end.min(first + strip), pixels.clone()) }
            }
        }
    });
    product::gather(pool, sums, shards, shape, dw);
}

/// A part of one image.
struct Task<'a> {
    tier: &'static Tier,
    x: *const f32,
    prologue: Option<Lanewise>,
    incoming: Way,
    /// Sums of the weights' gradient.
    dw: *mut f32,
    shape: Shape,
    /// Whether these sums begin at zero.
    is_first: bool,
    /// The layer that gives the input's gradient, and where the image's goes.
    gradient: Option<(&'a Pointwise, *mut f32)>,
    /// Added to it; null where nothing is.
    add: *const f32,
    outgoing: Option<Way>,
    /// Of the outgoing way, `[block][value][16]`.
    sums: *mut f32,
    /// Inputs and outputs.
    channels: [usize; 2],
    /// Values between the input's blocks.
    plane: usize,
    strip: usize,
    /// Room for a strip of the output's gradient, and one of the input.
    dy: *mut f32,
    x_strip: *mut f32,
}

impl Task<'_> {
    /// A strip of the part's pixels.
    ///
    /// # Safety
    /// The task's pointers cover the strip.
    unsafe fn run(&self, strip: Range<usize>, part: Range<usize>) {
        let Task { tier, plane, dy, .. } = *self;
        let ([inputs, outputs], block_len) = (self.channels, self.strip * LANES);
        let (first, count, is_parts_first) = (strip.start, strip.len(), strip.start == part.start);
        let ahead = |tensor: *const f32, channels: usize| match strip.end < part.end {
            true => Ahead::new(tensor, plane, blocks(channels)).on(strip.end),
            false => Ahead::NONE,
        };
        // SAFETY of all below: the caller's.
        unsafe {
            for block in 0..blocks(outputs) {
                (tier.plane)(&self.incoming.task(block, first, count, dy.add(block * block_len), false));
            }
            let (mut x, mut x_block) = (self.x.add(first * LANES), plane);
            if let Some(prologue) = &self.prologue {
                for block in 0..blocks(inputs) {
                    let to = self.x_strip.add(block * block_len);
                    (tier.plane)(&norm::Task::forward(prologue, block, x.add(block * plane), to, count));
                }
                (x, x_block) = (self.x_strip, block_len);
            }
            let x = Operand { first: x, block: x_block, pixel: LANES };
            let [rows, columns] = self.shape.rows_and_columns(x, Operand { first: dy, block: block_len, pixel: LANES });
            (tier.weight_gradient)(&product::Task {
                rows,
                columns,
                sums: self.dw,
                row_count: self.shape.rows,
                pixels: count,
                blocks: blocks(self.shape.columns),
                is_first: self.is_first && is_parts_first,
                ahead: [ahead(self.incoming.gradient, outputs), ahead(self.x, inputs)],
            });
            if let Some((layer, dx)) = self.gradient {
                layer.run_strip(PixelStrip {
                    x: dy,
                    x_block: block_len,
                    ahead: ahead(self.incoming.x, outputs),
                    y: dx.add(first * LANES),
                    y_block: plane,
                    residual: if self.add.is_null() { self.add } else { self.add.add(first * LANES) },
                    pixels: count,
                    // Gradients are in single precision.
                    scratch: std::ptr::null_mut(),
                });
            }
            if let Some(outgoing) = &self.outgoing {
                for block in 0..blocks(inputs) {
                    let sums = self.sums.add(block * BACKWARD * LANES);
                    (tier.plane)(&outgoing.task(block, first, count, sums, !is_parts_first));
                }
            }
        }
    }
}
