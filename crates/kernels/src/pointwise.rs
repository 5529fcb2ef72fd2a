//! Pointwise (1×1) convolution: a matrix product over pixels, straight on the blocked layout.
//!
//! Tiles of neighbouring pixels × output blocks; inside, one step an input channel: the pixel's value is broadcast
//! against a row of the panel. Where the last block has eight channels or fewer, its tiles are half as wide: together with
//! prefetching the next strip, 144 → 24 channels behind a prologue take 0.69 of the time (Zen 4). Nothing is copied or
//! packed at run time. Order of the loops in a task: panels, tiles, so that a panel (K×32 values) serves all pixels of
//! the task while the task's pixels lie in the L2 cache.

use crate::bf16;
use crate::cpu::{Bf16Unit, Isa};
use crate::epilogue::{Activation, finish};
use crate::f16::PanelWeight;
use crate::isa::{Half, Lanes, Tier, bf16_products};
use crate::layout::{LANES, blocked_len, blocks, volume};
use crate::norm::{self, MOMENTS};
use crate::pack::{Matrix, Stored};
use crate::pool::Pool;
use crate::prefetch::Ahead;
use crate::prologue::{Lanewise, Prologue};
use crate::split::{Shared, for_each, piece, wanted};

/// Bytes of input that a task should work on: half of a small L2 cache.
const TASK_BYTES: usize = 256 << 10;
/// Steps of the sum whose weights are fetched into L1 ahead: a panel of many inputs streams from L2.
const AHEAD: usize = 12;
/// Bytes of a strip behind the prologue: well inside L1, beside the panel that streams through it.
const STRIP_BYTES: usize = 16 << 10;

/// A pointwise convolution with packed weights.
pub struct Pointwise(Matrix);

/// What one call works on.
pub struct Call<'a> {
    /// Images.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Blocked input.
    pub x: &'a [f32],
    /// Blocked output.
    pub y: &'a mut [f32],
    /// Added after the activation; laid out as the output.
    pub residual: Option<&'a [f32]>,
    /// Applied to the input on its way in.
    pub prologue: Prologue<'a>,
    /// Where moments of the output go, for batch norm: [`Pointwise::moments`] values,
    /// `[image][part][block][value][16]` with the values of [`Sum::Moments`](crate::norm::Sum::Moments).
    pub moments: Option<&'a mut [f32]>,
    /// At least [`Pointwise::scratch`] values; untouched where the prologue does nothing.
    pub scratch: &'a mut [f32],
}

/// Parts of each image whose sums are kept apart: enough tasks for many threads, few enough to add up quickly. The number
/// follows from the sizes alone, so that the order of every sum is the same for any number of threads.
pub fn parts(images: usize, pixels: usize) -> usize {
    const ENOUGH_TASKS: usize = 16;
    const FEWEST_PIXELS: usize = 28;
    ENOUGH_TASKS.div_ceil(images).min(pixels.div_ceil(FEWEST_PIXELS)).max(1)
}

impl Pointwise {
    /// Packs `weights` (outputs×inputs, row-major) and `bias` (empty for none).
    pub fn new(
        isa: Isa,
        inputs: usize,
        outputs: usize,
        weights: &[f32],
        bias: &[f32],
        activation: Activation,
    ) -> Pointwise {
        Pointwise(Matrix::new(isa, inputs, outputs, weights, bias, activation))
    }

    /// The same layer with its weights rounded to half precision.
    pub fn in_f16(self) -> Self {
        Self(self.0.in_f16())
    }

    /// The same layer with its weights rounded to bf16, and its inputs as it reads them: products of pairs by `unit`.
    ///
    /// # Panics
    /// Where the processor lacks the unit.
    pub fn in_bf16(self, unit: Bf16Unit) -> Self {
        Self(self.0.in_pairs(unit))
    }

    /// Whether its products are of pairs of bf16.
    fn is_bf16(&self) -> bool {
        matches!(self.0.stored(), Stored::Pairs(_))
    }

    fn function(&self) -> unsafe fn(&Task) {
        match self.0.stored() {
            Stored::F32 => self.0.tier.pointwise[0],
            Stored::F16 => self.0.tier.pointwise[1],
            Stored::Pairs(unit) => bf16_products(unit),
            Stored::Bf16 => unreachable!("the fully connected layer's"),
        }
    }

    /// Replaces the weights (outputs×inputs, row-major) and the bias (empty to leave it), in place.
    pub fn set(&mut self, weights: &[f32], bias: &[f32]) {
        self.0.set(weights, bias);
    }

    /// As [`Pointwise::set`], from the weights of the layer whose input gradient this one gives (inputs×outputs here).
    pub fn set_transposed(&mut self, weights: &[f32]) {
        self.0.set_transposed(weights);
    }

    /// Pixels of a strip that is read by way of scratch memory. Behind a prologue whole tiles, or a part of one where the
    /// inputs are many.
    fn strip(&self) -> usize {
        if self.is_bf16() {
            return bf16::strip(self.0.inputs, self.0.outputs);
        }
        let (fit, tile) = (STRIP_BYTES / (blocks(self.0.inputs) * LANES * size_of::<f32>()), self.0.tier.tile_pixels);
        if fit >= tile { fit / tile * tile } else { fit.max(tile / 2).max(1) }
    }

    /// Values of scratch memory for each thread.
    fn scratch_len(&self) -> usize {
        let pixel =
            if self.is_bf16() { bf16::pixel_len(bf16::groups(self.0.inputs)) } else { blocks(self.0.inputs) * LANES };
        self.strip() * pixel
    }

    /// Values of scratch memory that `threads` threads need for a prologue, and for bf16.
    pub fn scratch(&self, threads: usize) -> usize {
        threads * self.scratch_len()
    }

    /// As [`scratch`](Pointwise::scratch), for layers that may do without: none without a prologue and bf16.
    pub fn scratch_for(&self, has_prologue: bool, threads: usize) -> usize {
        if has_prologue || self.is_bf16() { self.scratch(threads) } else { 0 }
    }

    /// Values that the moments of `images` images take.
    pub fn moments(&self, images: usize, pixels: usize) -> usize {
        images * parts(images, pixels) * blocks(self.0.outputs) * MOMENTS * LANES
    }

    /// Runs the layer.
    ///
    /// # Panics
    /// Where a buffer's length does not fit.
    pub fn run(&self, pool: &Pool, call: Call) {
        let Call { images, pixels, x, y, residual, prologue, moments, scratch } = call;
        let (x_image, y_image) = (blocked_len(1, self.0.inputs, pixels, 1), blocked_len(1, self.0.outputs, pixels, 1));
        let lens = (volume(&[images, x_image]), volume(&[images, y_image]));
        assert_eq!((x.len(), y.len()), lens, "pointwise buffers");
        assert!(residual.is_none_or(|r| r.len() == y.len()), "the residual lies as the output does");
        let lanes = blocks(self.0.inputs) * LANES;
        prologue.check(images, lanes);
        let has_prologue = !prologue.is_identity();
        assert!(scratch.len() >= self.scratch_for(has_prologue, pool.threads()), "scratch for every thread");
        assert!(moments.is_none() || !self.is_bf16(), "moments are taken in training, which is in single precision");

        let panel_count = blocks(self.0.outputs).div_ceil(self.0.tier.panel_blocks);
        let (mut parts, groups) = self.cut(pool, images, pixels, panel_count);
        if let Some(moments) = &moments {
            parts = self::parts(images, pixels);
            assert_eq!(moments.len(), self.moments(images, pixels), "moments of every part");
        }
        let (y, scratch, moments) = (Shared::new(y), Shared::new(scratch), moments.map(Shared::new));
        let (slot_len, function) = (self.scratch_len(), self.function());
        for_each(pool, images * parts * groups, |task, slot| {
            let (image, part, group) = (task / (parts * groups), task / groups % parts, task % groups);
            let pixels_here = piece(pixels, self.0.tier.tile_pixels, parts, part);
            let blocks_here = piece(blocks(self.0.outputs), self.0.tier.panel_blocks, groups, group);
            let y_at = image * y_image + (blocks_here.start * pixels + pixels_here.start) * LANES;
            let task = Task {
                tier: self.0.tier,
                x: x[image * x_image + pixels_here.start * LANES..].as_ptr(),
                ahead: Ahead::NONE,
                x_block: pixels * LANES,
                y_block: pixels * LANES,
                panels: self.0.panel(blocks_here.start),
                bias: self.0.bias[blocks_here.start * LANES..].as_ptr(),
                y: y.at(y_at),
                residual: residual.map_or(std::ptr::null(), |r| r[y_at..].as_ptr()),
                inputs: self.0.inputs,
                pixels: pixels_here.len(),
                blocks: blocks_here.len(),
                ends_in_half: blocks_here.end == blocks(self.0.outputs) && self.ends_in_half(),
                activation: self.0.activation,
                prologue: has_prologue.then(|| prologue.at(image * lanes, 0)),
                scratch: scratch.at(slot * slot_len),
                strip: self.strip(),
                moments: moments.map_or(std::ptr::null_mut(), |m| {
                    m.at(((image * parts + part) * blocks(self.0.outputs) + blocks_here.start) * MOMENTS * LANES)
                }),
            };
            // SAFETY: the tier was handed out by detection, and a bf16 unit checked as the weights were packed. All pointers lie in buffers whose lengths were checked
            // above; tasks differ in image, pixels or blocks, so each writes its own part of `y` and its own moments, and
            // each slot its own part of `scratch`.
            unsafe { function(&task) }
        });
    }

    /// Whether the channels of the last block are half a block or fewer.
    fn ends_in_half(&self) -> bool {
        (1..=LANES / 2).contains(&(self.0.outputs % LANES))
    }

    /// Input channels.
    pub fn inputs(&self) -> usize {
        self.0.inputs
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.0.outputs
    }

    /// Whether the layer is a mere product of so many inputs and outputs, without activation.
    pub(crate) fn is_product(&self, channels: [usize; 2]) -> bool {
        [self.0.inputs, self.0.outputs] == channels && self.0.activation == Activation::Linear
    }

    /// All blocks of a strip.
    ///
    /// # Safety
    /// The strip's pointers cover its pixels in every block, and its scratch what [`Pointwise::scratch_for`] one thread says.
    pub(crate) unsafe fn run_strip(&self, strip: PixelStrip) {
        let Matrix { tier, inputs, outputs, activation, .. } = self.0;
        let PixelStrip { x, x_block, ahead, y, y_block, residual, pixels, scratch } = strip;
        let task = Task {
            tier,
            x,
            ahead,
            x_block,
            y_block,
            panels: self.0.panel(0),
            bias: self.0.bias.as_ptr(),
            y,
            residual,
            inputs,
            pixels,
            blocks: blocks(outputs),
            ends_in_half: self.ends_in_half(),
            activation,
            prologue: None,
            scratch,
            strip: self.strip(),
            moments: std::ptr::null_mut(),
        };
        // SAFETY: the tier was handed out by detection, and a bf16 unit checked; the rest is the caller's.
        unsafe { self.function()(&task) }
    }

    /// Parts of the pixels and groups of panels. Where there are more pixels than output channels, pixels are cut first
    /// (every thread reads all weights); otherwise panels (every thread reads the whole input).
    fn cut(&self, pool: &Pool, images: usize, pixels: usize, panel_count: usize) -> (usize, usize) {
        let wanted = wanted(pool.threads(), images * pixels * self.0.inputs * self.0.outputs).div_ceil(images);
        let most_parts = pixels.div_ceil(4 * self.0.tier.tile_pixels);
        let (parts, groups) = if pixels >= self.0.outputs {
            let parts = wanted.min(most_parts);
            (parts, wanted.div_ceil(parts).min(panel_count))
        } else {
            let groups = wanted.min(panel_count);
            (wanted.div_ceil(groups).min(most_parts), groups)
        };
        let for_cache = (pixels * self.0.inputs * size_of::<f32>()).div_ceil(TASK_BYTES).min(most_parts);
        (parts.max(for_cache), groups)
    }
}

/// Pixels that lie side by side in every block.
pub(crate) struct PixelStrip {
    pub x: *const f32,
    /// Values between the blocks of `x`.
    pub x_block: usize,
    /// As many pixels, prefetched meanwhile.
    pub ahead: Ahead,
    pub y: *mut f32,
    /// Values between the blocks of `y`.
    pub y_block: usize,
    /// Lies as `y` does; added unless null.
    pub residual: *const f32,
    pub pixels: usize,
    /// For products of bf16.
    pub scratch: *mut f32,
}

/// Some pixels × some panels of one image.
pub(crate) struct Task {
    pub tier: &'static Tier,
    pub x: *const f32,
    /// Prefetched meanwhile, pixel by pixel as the task's own.
    pub ahead: Ahead,
    /// Distance between the input's blocks, and between the output's.
    pub x_block: usize,
    pub y_block: usize,
    /// Of [`PanelWeight`]s, or pairs of bf16.
    pub panels: *const u8,
    pub bias: *const f32,
    pub y: *mut f32,
    pub residual: *const f32,
    pub inputs: usize,
    pub pixels: usize,
    pub blocks: usize,
    /// Whether only the first half of the last of these blocks has channels.
    pub ends_in_half: bool,
    pub activation: Activation,
    pub prologue: Option<Lanewise>,
    pub scratch: *mut f32,
    pub strip: usize,
    /// Moments of the task's blocks; null where none are wanted.
    pub moments: *mut f32,
}

/// # Safety
/// The task's pointers cover its pixels and blocks.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes, W: PanelWeight, const P: usize, const B: usize>(t: &Task) {
    // Strips keep what goes in and what comes out in the caches while something else is done with it.
    let strip = if t.prologue.is_some() || !t.moments.is_null() { t.strip } else { t.pixels.max(1) };
    for first in (0..t.pixels).step_by(strip) {
        let count = strip.min(t.pixels - first);
        // SAFETY: the caller's, passed on to parts of the task.
        unsafe {
            let x = t.x.add(first * LANES);
            let mut input = Input { first: x, block: t.x_block, ahead: t.ahead.on(first) };
            if let Some(prologue) = t.prologue {
                for block in 0..blocks(t.inputs) {
                    let to = t.scratch.add(block * strip * LANES);
                    prologue.fill::<L>(block, x.add(block * t.x_block), to, count);
                }
                // Memory is idle while the products run on what is in the cache.
                let left = t.pixels - first - count;
                let ahead = if left > 0 { Ahead::new(x, t.x_block, blocks(t.inputs)).on(count) } else { Ahead::NONE };
                input = Input { first: t.scratch, block: strip * LANES, ahead };
            }
            panels::<L, W, P, B>(t, input, first, count);
            if !t.moments.is_null() {
                for block in 0..t.blocks {
                    let y = t.y.add(block * t.y_block + first * LANES);
                    let sums = t.moments.add(block * MOMENTS * LANES);
                    (t.tier.plane)(&norm::Task::moments(y, count, sums, first > 0));
                }
            }
        }
    }
}

/// The input of a strip.
#[derive(Clone, Copy)]
struct Input {
    first: *const f32,
    /// Values between its blocks.
    block: usize,
    /// Prefetched pixel by pixel as this, a block with each of this's blocks.
    ahead: Ahead,
}

/// `count` pixels from `first` on, all panels.
#[inline(always)]
unsafe fn panels<L: Lanes, W: PanelWeight, const P: usize, const B: usize>(
    t: &Task,
    input: Input,
    first: usize,
    count: usize,
) {
    let mut block = 0;
    while block < t.blocks {
        let width = B.min(t.blocks - block);
        let is_half = t.ends_in_half && block + width == t.blocks;
        let mut pixel = 0;
        while pixel < count {
            // One panel is enough to prefetch everything.
            let ahead = if block == 0 { input.ahead.on(pixel) } else { Ahead::NONE };
            let input = Input { first: input.first.wrapping_add(pixel * LANES), ahead, ..input };
            let tile = Tile { input, block, pixel: first + pixel };
            let height = tile_height::<P>(count - pixel);
            macro_rules! tiles {
                ($($p:literal)*) => {
                    match (height, width, is_half) {
                        // SAFETY: the tile lies inside the task. Constants guard tiles that P and B rule out.
                        $(($p, 1, false) if $p <= P => unsafe { product::<L, W, $p, 1, false>(t, tile) },
                          ($p, 1, true) if $p <= P => unsafe { product::<L, W, $p, 0, true>(t, tile) },
                          ($p, 2, false) if $p <= P && B >= 2 => unsafe { product::<L, W, $p, 2, false>(t, tile) },
                          ($p, 2, true) if $p <= P && B >= 2 => unsafe { product::<L, W, $p, 1, true>(t, tile) },)*
                        _ => unreachable!(),
                    }
                };
            }
            tiles!(14 13 12 11 10 9 8 7 6 5 4 3 2 1);
            pixel += height;
        }
        block += B;
    }
}

/// Pixels of the next tile of up to `P`, of `left`: the last two as even as can be, for with few pixels sums are too few to
/// fill the multiplier.
#[inline(always)]
pub(crate) fn tile_height<const P: usize>(left: usize) -> usize {
    if left >= 2 * P || left == P { P } else { left.div_ceil(left.div_ceil(P)) }
}

struct Tile {
    input: Input,
    block: usize,
    pixel: usize,
}

/// One tile of `P` pixels and `B` blocks, and half a block after them where `HALF`.
#[inline(always)]
unsafe fn product<L: Lanes, W: PanelWeight, const P: usize, const B: usize, const HALF: bool>(t: &Task, tile: Tile) {
    // SAFETY: the tile lies inside the task.
    unsafe {
        let Input { first: mut x, block: x_block, ahead } = tile.input;
        let bias_of = |b: usize| L::load(t.bias.add((tile.block + b) * LANES));
        let bias: [L; B] = std::array::from_fn(bias_of);
        let mut acc = [bias; P];
        let mut half = [if HALF { bias_of(B).half() } else { L::Half::splat(0.0) }; P];
        let mut w = t.panels.cast::<W>().add(tile.block * LANES * t.inputs);
        let mut left = t.inputs;
        let mut block = 0;
        while left > 0 {
            if let Some(ahead) = ahead.block(block) {
                (0..P).for_each(|p| L::prefetch(ahead.wrapping_add(p * LANES)));
            }
            block += 1;
            let lanes = left.min(LANES);
            let has_next = left > LANES;
            if has_next {
                (0..P).for_each(|p| L::prefetch_near(x.wrapping_add(x_block + p * LANES)));
            }
            for lane in 0..lanes {
                if has_next {
                    let width = B + HALF as usize;
                    (0..width).for_each(|b| L::prefetch_near(w.wrapping_add((AHEAD * width + b) * LANES)));
                }
                let row: [L; B] = std::array::from_fn(|b| W::load(w.add(b * LANES)));
                for (p, pixel) in acc.iter_mut().enumerate() {
                    let value = *x.add(p * LANES + lane);
                    for b in 0..B {
                        pixel[b] = L::splat(value).mul_add(row[b], pixel[b]);
                    }
                    if HALF {
                        half[p] = L::Half::splat(value).mul_add(W::load_half::<L>(w.add(B * LANES)), half[p]);
                    }
                }
                w = w.add((B + HALF as usize) * LANES);
            }
            x = x.add(x_block);
            left -= lanes;
        }
        let at = tile.block * t.y_block + tile.pixel * LANES;
        let residual_at = |at: usize| if t.residual.is_null() { t.residual } else { t.residual.add(at) };
        finish(&acc, t.activation, residual_at(at), t.y.add(at), t.y_block);
        if HALF {
            let at = at + B * t.y_block;
            let last = half.map(|half| [bias_of(B).with_half(half)]);
            finish(&last, t.activation, residual_at(at), t.y.add(at), t.y_block);
        }
    }
}
