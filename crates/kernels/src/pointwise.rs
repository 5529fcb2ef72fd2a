//! Pointwise (1×1) convolution: a matrix product over pixels, straight on the blocked layout.
//!
//! Tiles of neighbouring pixels × output blocks; inside, one step an input channel: the pixel's value is broadcast
//! against a row of the panel. Nothing is copied or packed at run time. Order of the loops in a task: panels, tiles, so
//! that a panel (K×32 values) serves all pixels of the task while the task's pixels lie in the L2 cache.

use crate::cpu::Isa;
use crate::epilogue::{Activation, finish};
use crate::isa::{Lanes, Tier};
use crate::layout::{LANES, blocked_len, blocks, volume};
use crate::norm::{self, MOMENTS};
use crate::pack::Matrix;
use crate::pool::Pool;
use crate::prologue::{Lanewise, Prologue};
use crate::split::{Shared, for_each, piece, wanted};

/// Bytes of input that a task should work on: half of a small L2 cache.
const TASK_BYTES: usize = 256 << 10;
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

    /// Replaces the weights (outputs×inputs, row-major) and the bias (empty to leave it), in place.
    pub fn set(&mut self, weights: &[f32], bias: &[f32]) {
        self.0.set(weights, bias);
    }

    /// As [`Pointwise::set`], from the weights of the layer whose input gradient this one gives (inputs×outputs here).
    pub fn set_transposed(&mut self, weights: &[f32]) {
        self.0.set_transposed(weights);
    }

    /// Pixels of a strip behind the prologue.
    fn strip(&self) -> usize {
        let fit = STRIP_BYTES / (blocks(self.0.inputs) * LANES * size_of::<f32>());
        (fit / self.0.tier.tile_pixels).max(1) * self.0.tier.tile_pixels
    }

    /// Values of scratch memory that `threads` threads need for a prologue.
    pub fn scratch(&self, threads: usize) -> usize {
        threads * self.strip() * blocks(self.0.inputs) * LANES
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
        assert!(!has_prologue || scratch.len() >= self.scratch(pool.threads()), "scratch for every thread");

        let panel_count = blocks(self.0.outputs).div_ceil(self.0.tier.panel_blocks);
        let (mut parts, groups) = self.cut(pool, images, pixels, panel_count);
        if let Some(moments) = &moments {
            parts = self::parts(images, pixels);
            assert_eq!(moments.len(), self.moments(images, pixels), "moments of every part");
        }
        let (y, scratch, moments) = (Shared::new(y), Shared::new(scratch), moments.map(Shared::new));
        let slot_len = self.strip() * lanes;
        for_each(pool, images * parts * groups, |task, slot| {
            let (image, part, group) = (task / (parts * groups), task / groups % parts, task % groups);
            let pixels_here = piece(pixels, self.0.tier.tile_pixels, parts, part);
            let blocks_here = piece(blocks(self.0.outputs), self.0.tier.panel_blocks, groups, group);
            let y_at = image * y_image + (blocks_here.start * pixels + pixels_here.start) * LANES;
            let task = Task {
                tier: self.0.tier,
                x: x[image * x_image + pixels_here.start * LANES..].as_ptr(),
                x_block: pixels * LANES,
                y_block: pixels * LANES,
                panels: self.0.panels[blocks_here.start * LANES * self.0.inputs..].as_ptr(),
                bias: self.0.bias[blocks_here.start * LANES..].as_ptr(),
                y: y.at(y_at),
                residual: residual.map_or(std::ptr::null(), |r| r[y_at..].as_ptr()),
                inputs: self.0.inputs,
                pixels: pixels_here.len(),
                blocks: blocks_here.len(),
                activation: self.0.activation,
                prologue: has_prologue.then(|| prologue.at(image * lanes, 0)),
                scratch: scratch.at(slot * slot_len),
                strip: self.strip(),
                moments: moments.map_or(std::ptr::null_mut(), |m| {
                    m.at(((image * parts + part) * blocks(self.0.outputs) + blocks_here.start) * MOMENTS * LANES)
                }),
            };
            // SAFETY: the tier was handed out by detection. All pointers lie in buffers whose lengths were checked
            // above; tasks differ in image, pixels or blocks, so each writes its own part of `y` and its own moments, and
            // each slot its own part of `scratch`.
            unsafe { (self.0.tier.pointwise)(&task) }
        });
    }

    /// Whether the layer is a mere product of so many inputs and outputs, without activation.
    pub(crate) fn is_product(&self, channels: [usize; 2]) -> bool {
        [self.0.inputs, self.0.outputs] == channels && self.0.activation == Activation::Linear
    }

    /// All blocks of `pixels` pixels from `x` to `y`, blocks `x_block` and `y_block` values apart; `residual` lies as `y`
    /// does and is added unless null.
    ///
    /// # Safety
    /// All three hold so many pixels in every block.
    pub(crate) unsafe fn run_strip(
        &self,
        [x_block, y_block]: [usize; 2],
        x: *const f32,
        y: *mut f32,
        residual: *const f32,
        pixels: usize,
    ) {
        let Matrix { tier, inputs, outputs, activation, .. } = self.0;
        let task = Task {
            tier,
            x,
            x_block,
            y_block,
            panels: self.0.panels.as_ptr(),
            bias: self.0.bias.as_ptr(),
            y,
            residual,
            inputs,
            pixels,
            blocks: blocks(outputs),
            activation,
            prologue: None,
            scratch: std::ptr::null_mut(),
            strip: 0,
            moments: std::ptr::null_mut(),
        };
        // SAFETY: the tier was handed out by detection; the rest is the caller's.
        unsafe { (tier.pointwise)(&task) }
    }

    /// Parts of the pixels and groups of panels. Where there are more pixels than output channels, pixels are cut first
    /// (every thread reads all weights); otherwise panels (every thread reads the whole input).
    fn cut(&self, pool: &Pool, images: usize, pixels: usize, panel_count: usize) -> (usize, usize) {
        let wanted = wanted(pool, images * pixels * self.0.inputs * self.0.outputs).div_ceil(images);
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

/// Some pixels × some panels of one image.
pub(crate) struct Task {
    tier: &'static Tier,
    x: *const f32,
    /// Distance between the input's blocks, and between the output's.
    x_block: usize,
    y_block: usize,
    panels: *const f32,
    bias: *const f32,
    y: *mut f32,
    residual: *const f32,
    inputs: usize,
    pixels: usize,
    blocks: usize,
    activation: Activation,
    prologue: Option<Lanewise>,
    scratch: *mut f32,
    strip: usize,
    /// Moments of the task's blocks; null where none are wanted.
    moments: *mut f32,
}

/// # Safety
/// The task's pointers cover its pixels and blocks.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes, const P: usize, const B: usize>(t: &Task) {
    // Strips keep what goes in and what comes out in the caches while something else is done with it.
    let strip = if t.prologue.is_some() || !t.moments.is_null() { t.strip } else { t.pixels.max(1) };
    for first in (0..t.pixels).step_by(strip) {
        let count = strip.min(t.pixels - first);
        // SAFETY: the caller's, passed on to parts of the task.
        unsafe {
            let (mut x, mut x_block) = (t.x.add(first * LANES), t.x_block);
            if let Some(prologue) = t.prologue {
                for block in 0..blocks(t.inputs) {
                    prologue.fill::<L>(block, x.add(block * t.x_block), t.scratch.add(block * strip * LANES), count);
                }
                (x, x_block) = (t.scratch, strip * LANES);
            }
            panels::<L, P, B>(t, x, x_block, first, count);
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

/// `count` pixels from `first` on, all panels; their input begins at `x`, blocks `x_block` apart.
#[inline(always)]
unsafe fn panels<L: Lanes, const P: usize, const B: usize>(
    t: &Task,
    x: *const f32,
    x_block: usize,
    first: usize,
    count: usize,
) {
    let mut block = 0;
    while block < t.blocks {
        let width = B.min(t.blocks - block);
        let mut pixel = 0;
        while pixel < count {
            let tile = Tile {
                // SAFETY: inside the task.
                x: unsafe { x.add(pixel * LANES) },
                x_block,
                block,
                pixel: first + pixel,
            };
            let height = P.min(count - pixel);
            macro_rules! tiles {
                ($($p:literal)*) => {
                    match (height, width) {
                        // SAFETY: the tile lies inside the task. Constants guard tiles that P and B rule out.
                        $(($p, 1) if $p <= P => unsafe { product::<L, $p, 1>(t, tile) },
                          ($p, 2) if $p <= P && B >= 2 => unsafe { product::<L, $p, 2>(t, tile) },)*
                        _ => unreachable!(),
                    }
                };
            }
            tiles!(7 6 5 4 3 2 1);
            pixel += height;
        }
        block += B;
    }
}

struct Tile {
    x: *const f32,
    x_block: usize,
    block: usize,
    pixel: usize,
}

/// One tile of `P` pixels and `B` blocks.
#[inline(always)]
unsafe fn product<L: Lanes, const P: usize, const B: usize>(t: &Task, tile: Tile) {
    // SAFETY: the tile lies inside the task.
    unsafe {
        let bias: [L; B] = std::array::from_fn(|b| L::load(t.bias.add((tile.block + b) * LANES)));
        let mut acc = [bias; P];
        let mut w = t.panels.add(tile.block * LANES * t.inputs);
        let mut x = tile.x;
        let mut left = t.inputs;
        while left > 0 {
            let lanes = left.min(LANES);
            for lane in 0..lanes {
                let row: [L; B] = std::array::from_fn(|b| L::load(w.add(b * LANES)));
                for (p, pixel) in acc.iter_mut().enumerate() {
                    let value = L::splat(*x.add(p * LANES + lane));
                    for b in 0..B {
                        pixel[b] = value.mul_add(row[b], pixel[b]);
                    }
                }
                w = w.add(B * LANES);
            }
            x = x.add(tile.x_block);
            left -= lanes;
        }
        let at = tile.block * t.y_block + tile.pixel * LANES;
        let residual = if t.residual.is_null() { t.residual } else { t.residual.add(at) };
        finish(&acc, t.activation, residual, t.y.add(at), t.y_block);
    }
}
