//! The way back through a depthwise convolution, in one pass over memory.
//!
//! A plane (a block of an image) at a time, while it lies in the caches: the gradient of the raw output (through batch
//! norm, activation and gate), the weights' gradient `∂w[tap]` = Σ over images and pixels of ∂y · x at that tap, the input's
//! gradient, and the sums that the batch norm before the layer needs of that. At stride 1 the forward kernel with flipped
//! weights gives the input's gradient; otherwise every input gathers it from the outputs that saw it. Large planes pass
//! strip of rows by strip.

mod gather;

use std::ops::Range;

use crate::cpu::Isa;
use crate::depthwise::Depthwise;
use crate::isa::{Lanes, Tier};
use crate::layout::{Dims, LANES, blocks, volume};
use crate::norm::{BACKWARD, Way};
use crate::pool::Pool;
use crate::prologue::{Lanewise, Prologue};
use crate::split::{Shared, for_each, piece, wanted};
use crate::window::Geometry;

use super::{Incoming, Outgoing};

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
    let planes: usize = geometry.pixels().iter().sum();
    images * blocks(channels) * taps(geometry) * LANES + threads * planes * LANES
}

fn taps(geometry: &Geometry) -> usize {
    geometry.kernel[0] * geometry.kernel[1]
}

/// Gradients of the weights, of the input where wanted, and its sums where wanted.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn back(isa: Isa, pool: &Pool, call: Call) {
    let Call { input, geometry, incoming, x, prologue, dw, dx, add, outgoing, scratch } = call;
    let tier = Tier::of(isa);
    geometry.check();
    assert_eq!(geometry.input, [input.h, input.w], "the window's input");
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
    let (sums, planes) = scratch.split_at_mut(input.n * count * taps * LANES);
    let tasks = wanted(pool.threads(), 3 * input.n * count * y_len * taps).min(input.n * count);
    let (shared, planes) = (Shared::new(sums), Shared::new(planes));
    let (layer, dx) = dx.map(|(layer, dx)| (layer, Shared::new(dx))).unzip();
    let mut outgoing = outgoing;
    let out_sums = outgoing.as_mut().map(|o| Shared::new(o.sums));
    for_each(pool, tasks, |task, slot| {
        let dy = planes.at(slot * (x_len + y_len));
        for plane in piece(input.n * count, 1, tasks, task) {
            let (image, block) = (plane / count, plane % count);
            let plane = Plane {
                tier,
                geometry,
                block,
                x: x[plane * x_len..].as_ptr(),
                prologue: (!prologue.is_identity()).then(|| prologue.at(image * count * LANES, block * LANES)),
                incoming: incoming.way(output, image),
                dy,
                seen: dy.wrapping_add(y_len),
                dw: shared.at(plane * taps * LANES),
                gradient: layer.zip(dx.map(|dx| dx.at(plane * x_len))),
                add: add.map_or(std::ptr::null(), |a| a[plane * x_len..].as_ptr()),
                outgoing: outgoing.as_ref().zip(dx).map(|(o, dx)| o.way(input, image, dx.at(image * count * x_len))),
                sums: out_sums.map_or(std::ptr::null_mut(), |s| s.at(plane * BACKWARD * LANES)),
            };
            // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked; each
            // plane writes its own sums and its own part of `dx`, and each slot its own scratch.
            unsafe { plane.run() }
        }
    });
    for (c, row) in dw.chunks_exact_mut(taps).enumerate() {
        for (tap, v) in row.iter_mut().enumerate() {
            let of = |image: usize| sums[((image * count + c / LANES) * taps + tap) * LANES + c % LANES];
            *v = (0..input.n).map(of).sum();
        }
    }
}

/// One plane, strip of rows by strip, so that each tensor passes through the caches once.
struct Plane<'a> {
    tier: &'static Tier,
    geometry: Geometry,
    block: usize,
    x: *const f32,
    prologue: Option<Lanewise>,
    incoming: Way,
    /// Room for the plane of the output's gradient, and for the input's behind the prologue.
    dy: *mut f32,
    seen: *mut f32,
    /// Sums of the weights' gradient.
    dw: *mut f32,
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
        let of = Of::Weights { x: self.x, prologue: self.prologue, fill, seen: self.seen };
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
    /// The weights' gradient, from the input behind the prologue, whose `fill` rows are worked out first; added to what
    /// earlier rows gave.
    Weights { x: *const f32, prologue: Option<Lanewise>, fill: Range<usize>, seen: *mut f32 },
    /// The input's gradient; `add` is added unless null.
    Inputs { weights: *const f32, add: *const f32 },
}

/// # Safety
/// The task's pointers cover its plane.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes>(t: &Task) {
    let g = &t.geometry;
    // SAFETY: the caller's.
    unsafe {
        match &t.of {
            Of::Weights { x, prologue, fill, seen } => {
                let (mut x, width) = (*x, g.input[1]);
                if let Some(prologue) = prologue {
                    let at = fill.start * width * LANES;
                    prologue.fill::<L>(0, x.add(at), seen.add(at), fill.len() * width);
                    x = *seen;
                }
                for kh in 0..g.kernel[0] {
                    match (g.kernel[1], g.dilation[1]) {
                        (3, 1) => row_of_taps::<L, 3>(t, x, kh),
                        (5, 1) => row_of_taps::<L, 5>(t, x, kh),
                        _ => (0..g.kernel[1]).for_each(|kw| one_tap::<L>(t, x, kh, kw)),
                    }
                }
            }
            &Of::Inputs { weights, add } => {
                for row in t.rows.clone() {
                    (0..g.stride[1]).for_each(|phase| gather::row::<L>(t, weights, add, row, phase));
                }
            }
        }
    }
}

/// The outputs of `axis` whose tap `k` lies inside the input.
#[inline(always)]
fn outputs_of(g: &Geometry, axis: usize, k: usize) -> Range<usize> {
    let (stride, reach) = (g.stride[axis], k * g.dilation[axis]);
    // at · stride + reach − before must be in 0 .. input.
    let first = g.before[axis].saturating_sub(reach).div_ceil(stride).min(g.output[axis]);
    let end = (g.input[axis] + g.before[axis]).saturating_sub(reach).div_ceil(stride);
    first..end.clamp(first, g.output[axis])
}

/// The task's rows of output whose tap row `kh` lies inside the input.
#[inline(always)]
fn rows_of(t: &Task, kh: usize) -> Range<usize> {
    let inside = outputs_of(&t.geometry, 0, kh);
    let first = inside.start.max(t.rows.start);
    first..inside.end.min(t.rows.end).max(first)
}

/// The `K` taps of kernel row `kh`: columns at which all lie inside the image together, the others one by one.
#[inline(always)]
unsafe fn row_of_taps<L: Lanes, const K: usize>(t: &Task, x: *const f32, kh: usize) {
    /// Columns at once, each with sums of its own: a single sum would wait for its own last step.
    const WAYS: usize = 4;
    let g = &t.geometry;
    let columns: [Range<usize>; K] = std::array::from_fn(|kw| outputs_of(g, 1, kw));
    let inner = columns[0].start..columns[K - 1].end.max(columns[0].start);
    let whole = inner.start + inner.len() / WAYS * WAYS;
    let stride = g.stride[1];
    // SAFETY: only outputs and inputs inside the images are touched.
    unsafe {
        let mut acc = [[L::splat(0.0); K]; WAYS];
        let out = t.out.add(kh * K * LANES);
        if t.rows.start > 0 {
            acc[0] = std::array::from_fn(|kw| L::load(out.add(kw * LANES)));
        }
        for oh in rows_of(t, kh) {
            let ih = oh * g.stride[0] + kh * g.dilation[0] - g.before[0];
            let line = x.wrapping_add(ih * g.input[1] * LANES).wrapping_sub(g.before[1] * LANES);
            let dy = t.dy.add(oh * g.output[1] * LANES);
            let seen = |ow: usize, kw: usize| L::load(line.wrapping_add((ow * stride + kw) * LANES));
            for first in (inner.start..whole).step_by(WAYS) {
                for (way, acc) in acc.iter_mut().enumerate() {
                    let d = L::load(dy.add((first + way) * LANES));
                    for (kw, acc) in acc.iter_mut().enumerate() {
                        *acc = seen(first + way, kw).mul_add(d, *acc);
                    }
                }
            }
            for ow in whole..inner.end {
                let d = L::load(dy.add(ow * LANES));
                for (kw, acc) in acc[0].iter_mut().enumerate() {
                    *acc = seen(ow, kw).mul_add(d, *acc);
                }
            }
            for (kw, columns) in columns.iter().enumerate() {
                for ow in columns.clone().filter(|ow| !inner.contains(ow)) {
                    acc[0][kw] = seen(ow, kw).mul_add(L::load(dy.add(ow * LANES)), acc[0][kw]);
                }
            }
        }
        let [first, second, third, fourth] = acc;
        for (kw, first) in first.into_iter().enumerate() {
            let sum = first.add(second[kw]).add(third[kw].add(fourth[kw]));
            sum.store(out.add(kw * LANES));
        }
    }
}

/// One tap of any window.
#[inline(always)]
unsafe fn one_tap<L: Lanes>(t: &Task, x: *const f32, kh: usize, kw: usize) {
    let g = &t.geometry;
    let out = t.out.wrapping_add((kh * g.kernel[1] + kw) * LANES);
    // SAFETY: a tap of the plane's own.
    let mut acc = if t.rows.start > 0 { unsafe { L::load(out) } } else { L::splat(0.0) };
    for oh in rows_of(t, kh) {
        let ih = oh * g.stride[0] + kh * g.dilation[0] - g.before[0];
        for ow in outputs_of(g, 1, kw) {
            let iw = ow * g.stride[1] + kw * g.dilation[1] - g.before[1];
            // SAFETY: both pixels lie inside their images.
            unsafe {
                let d = L::load(t.dy.add((oh * g.output[1] + ow) * LANES));
                acc = L::load(x.add((ih * g.input[1] + iw) * LANES)).mul_add(d, acc);
            }
        }
    }
    // SAFETY: as above.
    unsafe { acc.store(out) }
}
