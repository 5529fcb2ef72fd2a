//! The way back through a depthwise convolution, in one pass over memory.
//!
//! A plane (a block of an image) at a time, while it lies in the caches: the gradient of the raw output (through batch
//! norm, activation and gate), the weights' gradient, the input's gradient, and the sums that the batch norm before the
//! layer needs of that. At stride 1 the forward kernel with flipped weights gives the input's gradient; otherwise every
//! input gathers it from the outputs that saw it. Large planes pass strip of rows by strip.

mod gather;
mod weights;

use std::ops::Range;

use crate::cpu::Isa;
use crate::depthwise::Depthwise;
use crate::isa::{Lanes, Tier};
use crate::layout::{Dims, LANES, blocks, volume};
use crate::norm::{BACKWARD, Way};
use crate::pool::Pool;
use crate::prologue::Prologue;
use crate::split::{Shared, for_each, piece, wanted};
use crate::window::Geometry;

use super::{Incoming, Outgoing, add_shards};
use weights::Seen;

/// Bytes of a strip of rows, all its tensors together: a part of a small L2 cache.
const STRIP_BYTES: usize = 256 << 10;

/// What one call works on.
pub struct Call<'a> {
    /// Images, channels, height and width of the input.
    pub input: Dims,
    /// The window.
    pub geometry: Geometry,
    /// Where the gradient comes from.
    pub incoming: Incoming<'a>,
    /// Blocked input, before the prologue.
    pub x: &'a [f32],
    /// What the layer's prologue did to it.
    pub prologue: Prologue<'a>,
    /// Gradient of the weights, channels×kh×kw.
    pub dw: &'a mut [f32],
    /// Where the input's gradient goes, and the layer: with flipped weights at stride 1, as it is otherwise.
    pub dx: Option<(&'a Depthwise, &'a mut [f32])>,
    /// Added to the input's gradient.
    pub add: Option<&'a [f32]>,
    /// Sums of the input's gradient, a part an image.
    pub outgoing: Option<Outgoing<'a>>,
    /// At least [`scratch`] values.
    pub scratch: &'a mut [f32],
}

/// Values of scratch memory for `threads` threads.
pub fn scratch(channels: usize, images: usize, geometry: &Geometry, threads: usize) -> usize {
    let count = blocks(channels);
    shards(images, count) * count * taps(geometry) * LANES + threads * plane(geometry)
}

/// Shards of the weights' gradient: enough for many threads where there are few blocks, few enough that they cost less to
/// add up than they were to make.
fn shards(images: usize, blocks: usize) -> usize {
    /// Shards of all blocks together, at least, where there are as many images: some for each of 64 threads.
    const ALL: usize = 256;
    images.min(super::shards(images).max(ALL / blocks))
}

/// Values of a plane of the output's gradient, and of the input as its taps see it.
fn plane(geometry: &Geometry) -> usize {
    volume(&[geometry.pixels()[1], LANES]) + weights::seen(geometry)
}

fn taps(geometry: &Geometry) -> usize {
    geometry.kernel[0] * geometry.kernel[1]
}

/// Gradients of the weights, of the input where wanted, and its sums where wanted.
///
/// # Panics
/// Where a buffer's length does not fit; without images, channels or outputs.
pub fn back(isa: Isa, pool: &Pool, call: Call) {
    let Call { input, geometry, incoming, x, prologue, dw, dx, add, outgoing, scratch } = call;
    let tier = Tier::of(isa);
    geometry.check();
    assert_eq!(geometry.input, [input.h, input.w], "the window's input");
    assert!(input.n > 0 && input.c > 0 && geometry.pixels()[1] > 0, "nothing to learn from: {input:?}");
    let [x_len, y_len] = geometry.pixels().map(|pixels| volume(&[pixels, LANES]));
    let (count, taps) = (blocks(input.c), taps(&geometry));
    let output = Dims { h: geometry.output[0], w: geometry.output[1], ..input };
    assert_eq!(x.len(), input.blocked_len(), "the input of {input:?}");
    assert_eq!(dw.len(), input.c * taps, "weight gradient of {}×{:?}", input.c, geometry.kernel);
    assert!(scratch.len() >= self::scratch(input.c, input.n, &geometry, pool.threads()), "scratch for the gradient");
    assert!(dx.as_ref().is_none_or(|(layer, dx)| dx.len() == x.len() && layer.fits(input.c, &geometry)), "dx");
    assert!(add.is_none_or(|a| a.len() == x.len()), "what is added lies as the input does");
    assert!(outgoing.is_none() || dx.is_some(), "sums are of the input gradient");
    prologue.check(input.n, count * LANES);
    incoming.check(output);
    if let Some(outgoing) = &outgoing {
        outgoing.check(input, 1);
    }
    let (shards, shard) = (shards(input.n, count), count * taps * LANES);
    let (sums, planes) = scratch.split_at_mut(shards * shard);
    let tasks = wanted(pool.threads(), 3 * input.n * count * y_len * taps).min(shards * count);
    let (shared, planes) = (Shared::new(sums), Shared::new(planes));
    let (layer, dx) = dx.map(|(layer, dx)| (layer, Shared::new(dx))).unzip();
    let mut outgoing = outgoing;
    let out_sums = outgoing.as_mut().map(|o| Shared::new(o.sums));
    let one = |image: usize, block: usize, slot: usize, dw: *mut f32, is_added: bool| {
        let at = image * count + block;
        let dy = planes.at(slot * plane(&geometry));
        let plane = Plane {
            tier,
            geometry,
            block,
            x: x[at * x_len..].as_ptr(),
            seen: Seen { prologue: prologue.at(image * count * LANES, block * LANES), to: dy.wrapping_add(y_len) },
            incoming: incoming.way(output, image),
            dy,
            dw,
            is_added,
            gradient: layer.zip(dx.map(|dx| dx.at(at * x_len))),
            add: add.map_or(std::ptr::null(), |a| a[at * x_len..].as_ptr()),
            outgoing: outgoing.as_ref().zip(dx).map(|(o, dx)| o.way(input, image, dx.at(image * count * x_len))),
            sums: out_sums.map_or(std::ptr::null_mut(), |s| s.at(at * BACKWARD * LANES)),
        };
        // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked; each plane
        // writes its own sums and its own part of `dx`, each task its own shards of blocks, and each slot its own scratch.
        unsafe { plane.run() }
    };
    for_each(pool, tasks, |task, slot| {
        for part in piece(shards * count, 1, tasks, task) {
            let (images, dw) = (piece(input.n, 1, shards, part / count), shared.at(part * taps * LANES));
            for image in images.clone() {
                one(image, part % count, slot, dw, image > images.start);
            }
        }
    });
    add_shards(sums, shard, shards);
    for (c, row) in dw.chunks_exact_mut(taps).enumerate() {
        for (tap, v) in row.iter_mut().enumerate() {
            *v = sums[(c / LANES * taps + tap) * LANES + c % LANES];
        }
    }
}

/// One plane, strip of rows by strip, so that each tensor passes through the caches once.
struct Plane<'a> {
    tier: &'static Tier,
    geometry: Geometry,
    block: usize,
    x: *const f32,
    seen: Seen,
    incoming: Way,
    /// Room for the plane of the output's gradient.
    dy: *mut f32,
    /// Sums of the weights' gradient, which those of earlier images are in where `is_added`.
    dw: *mut f32,
    is_added: bool,
    /// The layer that gives the input's gradient, and where that goes.
    gradient: Option<(&'a Depthwise, *mut f32)>,
    /// Added to it; null where nothing is.
    add: *const f32,
    outgoing: Option<Way>,
    /// Of the outgoing way.
    sums: *mut f32,
}

impl Plane<'_> {
    /// Rows of output in a strip.
    fn strip(&self) -> usize {
        /// Tensors of the output's size that a strip touches, and of the input's.
        const OUTPUTS: usize = 3;
        const INPUTS: usize = 4;
        let g = &self.geometry;
        let values = (OUTPUTS * g.output[1] + INPUTS * g.stride[0] * g.input[1]) * LANES;
        (STRIP_BYTES / (values * size_of::<f32>()).max(1)).max(1)
    }

    /// # Safety
    /// The pointers cover the plane.
    unsafe fn run(&self) {
        let g = &self.geometry;
        // Rows of the input that are filled, and those of its gradient that are done.
        let (mut filled, mut done) = (0, 0);
        for first in (0..g.output[0]).step_by(self.strip()) {
            let rows = first..(first + self.strip()).min(g.output[0]);
            let is_last = rows.end == g.output[0];
            let end = g.start(0, rows.end - 1) + ((g.kernel[0] - 1) * g.dilation[0]) as isize + 1;
            let seen = if is_last { g.input[0] } else { (end.max(0) as usize).clamp(filled, g.input[0]) };
            // What later rows of the output do not see any more.
            let complete = if is_last { g.input[0] } else { (g.start(0, rows.end).max(0) as usize).min(g.input[0]) };
            // SAFETY: the caller's.
            unsafe {
                let (at, count) = (first * g.output[1], rows.len() * g.output[1]);
                (self.tier.plane)(&self.incoming.task(self.block, at, count, self.dy.add(at * LANES), false));
                self.weights(rows, filled..seen);
                self.inputs(done..complete);
            }
            (filled, done) = (seen, complete);
        }
    }

    /// What some rows of the output add to the weights' gradient; `fill` are the rows of the input that they see first.
    unsafe fn weights(&self, rows: Range<usize>, fill: Range<usize>) {
        let is_added = self.is_added || rows.start > 0;
        let of = Of::Weights { x: self.x, seen: self.seen, fill, is_added };
        // SAFETY: the caller's.
        unsafe {
            (self.tier.depthwise_gradient)(&Task { geometry: self.geometry, rows, of, dy: self.dy, out: self.dw });
        }
    }

    /// Some rows of the input's gradient, and their sums.
    unsafe fn inputs(&self, rows: Range<usize>) {
        let Some((layer, out)) = self.gradient.filter(|_| !rows.is_empty()) else { return };
        let g = self.geometry;
        let (at, count, is_first) = (rows.start * g.input[1], rows.len() * g.input[1], rows.start == 0);
        // SAFETY: the caller's.
        unsafe {
            if g.stride == [1; 2] {
                layer.rows_of_plane(g.transposed(), rows, self.block, self.dy, out, self.add);
            } else {
                let of = Of::Inputs { weights: layer.weights(self.block), add: self.add };
                (self.tier.depthwise_gradient)(&Task { geometry: g, rows, of, dy: self.dy, out });
            }
            if let Some(outgoing) = &self.outgoing {
                (self.tier.plane)(&outgoing.task(self.block, at, count, self.sums, !is_first));
            }
        }
    }
}

/// Some rows of one plane.
pub(crate) struct Task {
    geometry: Geometry,
    /// Of the output for the weights' gradient, of the input for its own.
    rows: Range<usize>,
    of: Of,
    dy: *const f32,
    out: *mut f32,
}

/// What a task computes.
enum Of {
    /// The weights' gradient, from the input as its taps see it, whose `fill` rows are worked out first; on top of what is
    /// there where `is_added`.
    Weights { x: *const f32, seen: Seen, fill: Range<usize>, is_added: bool },
    /// The input's gradient; `add` is added unless null.
    Inputs { weights: *const f32, add: *const f32 },
}

/// # Safety
/// The task's pointers cover its plane.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes>(t: &Task) {
    // SAFETY: the caller's.
    unsafe {
        match &t.of {
            Of::Weights { x, seen, fill, is_added } => {
                seen.fill::<L>(&t.geometry, *x, fill.clone());
                weights::all_taps::<L>(t, seen.to, *is_added);
            }
            &Of::Inputs { weights, add } => gather::rows::<L>(t, weights, add),
        }
    }
}
