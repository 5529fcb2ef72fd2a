//! The way back through a depthwise convolution, in one pass over memory.
//!
//! A plane (a block of an image) at a time, while it lies in the caches: the gradient of the raw output (through batch
//! norm, activation and gate), the weights' gradient `∂w[tap]` = Σ over images and pixels of ∂y · x at that tap, the input's
//! gradient, and the sums that the batch norm before the layer needs of that. At stride 1 the forward kernel with flipped
//! weights gives the input's gradient; otherwise every output gradient is scattered over the inputs that it came from.

use crate::cpu::Isa;
use crate::depthwise::Depthwise;
use crate::isa::{Lanes, Tier};
use crate::layout::{Dims, LANES, blocks, volume};
use crate::norm::BACKWARD;
use crate::pool::Pool;
use crate::prologue::{Lanewise, Prologue};
use crate::split::{Shared, for_each, piece, wanted};
use crate::window::Geometry;

use super::{Incoming, Outgoing};

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
    let tasks = wanted(pool, 3 * input.n * count * y_len * taps).min(input.n * count);
    let (shared, planes) = (Shared::new(sums), Shared::new(planes));
    let (layer, dx) = dx.map(|(layer, dx)| (layer, Shared::new(dx))).unzip();
    let mut outgoing = outgoing;
    let out_sums = outgoing.as_mut().map(|o| Shared::new(o.sums));
    for_each(pool, tasks, |task, slot| {
        let dy = planes.at(slot * (x_len + y_len));
        for plane in piece(input.n * count, 1, tasks, task) {
            let (image, block) = (plane / count, plane % count);
            let task = Task {
                geometry,
                x: x[plane * x_len..].as_ptr(),
                prologue: (!prologue.is_identity()).then(|| prologue.at(image * count * LANES, block * LANES)),
                plane: dy.wrapping_add(y_len),
                dy,
                weights: std::ptr::null(),
                add: std::ptr::null(),
                out: shared.at(plane * taps * LANES),
            };
            // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked; each
            // plane writes its own sums and its own part of `dx`, and each slot its own scratch.
            unsafe {
                (tier.plane)(&incoming.way(output, image).task(block, 0, output.pixels(), dy, false));
                (tier.depthwise_gradient)(&task);
                let Some((layer, dx)) = layer.zip(dx) else { continue };
                let add = add.map_or(std::ptr::null(), |a| a[plane * x_len..].as_ptr());
                let out = dx.at(plane * x_len);
                if geometry.stride == [1; 2] {
                    layer.rows_of_plane(geometry.transposed(), 0..input.h, block, dy, out, add);
                } else {
                    let weights = layer.weights(block);
                    (tier.depthwise_gradient)(&Task { x: std::ptr::null(), weights, add, out, ..task });
                }
                if let Some((outgoing, sums)) = outgoing.as_ref().zip(out_sums) {
                    let way = outgoing.way(input, image, dx.at(image * count * x_len));
                    (tier.plane)(&way.task(block, 0, input.pixels(), sums.at(plane * BACKWARD * LANES), false));
                }
            }
        }
    });
    for (c, row) in dw.chunks_exact_mut(taps).enumerate() {
        for (tap, v) in row.iter_mut().enumerate() {
            let of = |image: usize| sums[((image * count + c / LANES) * taps + tap) * LANES + c % LANES];
            *v = (0..input.n).map(of).sum();
        }
    }
}

/// One plane: of the weights' gradient, or, where `x` is null, of the input's.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    geometry: Geometry,
    x: *const f32,
    prologue: Option<Lanewise>,
    /// Room for the plane behind the prologue.
    plane: *mut f32,
    dy: *const f32,
    weights: *const f32,
    /// Added to the input's gradient; null where nothing is.
    add: *const f32,
    out: *mut f32,
}

/// # Safety
/// The task's pointers cover its plane.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes>(t: &Task) {
    // SAFETY: the caller's.
    unsafe {
        if t.x.is_null() {
            return scatter::<L>(t);
        }
        let mut x = t.x;
        if let Some(prologue) = t.prologue {
            prologue.fill::<L>(0, t.x, t.plane, t.geometry.pixels()[0]);
            x = t.plane;
        }
        for kh in 0..t.geometry.kernel[0] {
            match (t.geometry.kernel[1], t.geometry.dilation[1]) {
                (3, 1) => row_of_taps::<L, 3>(t, x, kh),
                (5, 1) => row_of_taps::<L, 5>(t, x, kh),
                _ => (0..t.geometry.kernel[1]).for_each(|kw| one_tap::<L>(t, x, kh, kw)),
            }
        }
    }
}

/// The outputs of `axis` whose tap `k` lies inside the input.
#[inline(always)]
fn outputs_of(g: &Geometry, axis: usize, k: usize) -> std::ops::Range<usize> {
    let (stride, reach) = (g.stride[axis], k * g.dilation[axis]);
    // at · stride + reach − before must be in 0 .. input.
    let first = g.before[axis].saturating_sub(reach).div_ceil(stride).min(g.output[axis]);
    let end = (g.input[axis] + g.before[axis]).saturating_sub(reach).div_ceil(stride);
    first..end.clamp(first, g.output[axis])
}

/// The `K` taps of kernel row `kh`: columns at which all lie inside the image together, the others one by one.
#[inline(always)]
unsafe fn row_of_taps<L: Lanes, const K: usize>(t: &Task, x: *const f32, kh: usize) {
    /// Columns at once, each with sums of its own: a single sum would wait for its own last step.
    const WAYS: usize = 4;
    let g = &t.geometry;
    let columns: [std::ops::Range<usize>; K] = std::array::from_fn(|kw| outputs_of(g, 1, kw));
    let inner = columns[0].start..columns[K - 1].end.max(columns[0].start);
    let whole = inner.start + inner.len() / WAYS * WAYS;
    let stride = g.stride[1];
    // SAFETY: only outputs and inputs inside the images are touched.
    unsafe {
        let mut acc = [[L::splat(0.0); K]; WAYS];
        for oh in outputs_of(g, 0, kh) {
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
            sum.store(t.out.add((kh * K + kw) * LANES));
        }
    }
}

/// One tap of any window.
#[inline(always)]
unsafe fn one_tap<L: Lanes>(t: &Task, x: *const f32, kh: usize, kw: usize) {
    let g = &t.geometry;
    let mut acc = L::splat(0.0);
    for oh in outputs_of(g, 0, kh) {
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
    // SAFETY: a tap of the plane's own.
    unsafe { acc.store(t.out.add((kh * g.kernel[1] + kw) * LANES)) }
}

/// Every output gradient, times each tap's weight, onto the input that the tap saw.
#[inline(always)]
unsafe fn scatter<L: Lanes>(t: &Task) {
    let g = &t.geometry;
    // SAFETY: only outputs and inputs inside the images are touched.
    unsafe {
        for p in 0..g.pixels()[0] {
            let start = if t.add.is_null() { L::splat(0.0) } else { L::load(t.add.add(p * LANES)) };
            start.store(t.out.add(p * LANES));
        }
        for kh in 0..g.kernel[0] {
            for oh in outputs_of(g, 0, kh) {
                let ih = oh * g.stride[0] + kh * g.dilation[0] - g.before[0];
                for kw in 0..g.kernel[1] {
                    let w = L::load(t.weights.add((kh * g.kernel[1] + kw) * LANES));
                    for ow in outputs_of(g, 1, kw) {
                        let iw = ow * g.stride[1] + kw * g.dilation[1] - g.before[1];
                        let at = t.out.add((ih * g.input[1] + iw) * LANES);
                        let d = L::load(t.dy.add((oh * g.output[1] + ow) * LANES));
                        d.mul_add(w, L::load(at)).store(at);
                    }
                }
            }
        }
    }
}
