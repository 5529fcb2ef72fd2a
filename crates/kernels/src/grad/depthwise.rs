//! Gradients of depthwise convolution.
//!
//! Weights: `∂w[tap]` = Σ over images and pixels of ∂y · x at that tap, one plane (a block of an image) at a time. Inputs:
//! at stride 1 the forward kernel with flipped weights serves; here is the general case, which scatters every output
//! gradient over the inputs that it came from.

use crate::cpu::Isa;
use crate::isa::{Lanes, Tier};
use crate::layout::{LANES, blocks, volume};
use crate::pack;
use crate::pool::Pool;
use crate::prologue::{Lanewise, Prologue};
use crate::split::{Shared, for_each, piece, wanted};
use crate::window::Geometry;

/// What one call works on.
pub struct Call<'a> {
    /// Channels.
    pub channels: usize,
    /// Images.
    pub images: usize,
    /// The window.
    pub geometry: Geometry,
    /// Blocked input, before the prologue.
    pub x: &'a [f32],
    /// What the layer's prologue did to it.
    pub prologue: Prologue<'a>,
    /// Gradient of the blocked output.
    pub dy: &'a [f32],
    /// Gradient of the weights, channels×kh×kw.
    pub dw: &'a mut [f32],
    /// At least [`scratch`] values.
    pub scratch: &'a mut [f32],
}

/// Values of scratch memory for `threads` threads.
pub fn scratch(channels: usize, images: usize, geometry: &Geometry, threads: usize) -> usize {
    images * blocks(channels) * taps(geometry) * LANES + threads * geometry.pixels()[0] * LANES
}

fn taps(geometry: &Geometry) -> usize {
    geometry.kernel[0] * geometry.kernel[1]
}

/// Weight gradient.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn weights(isa: Isa, pool: &Pool, call: Call) {
    let Call { channels, images, geometry, x, prologue, dy, dw, scratch } = call;
    let tier = Tier::of(isa);
    geometry.check();
    let [x_len, y_len] = geometry.pixels().map(|pixels| volume(&[pixels, LANES]));
    let (count, taps) = (blocks(channels), taps(&geometry));
    let lens = (volume(&[images, count, x_len]), volume(&[images, count, y_len]));
    assert_eq!((x.len(), dy.len()), lens, "depthwise buffers");
    assert_eq!(dw.len(), channels * taps, "weight gradient of {channels}×{:?}", geometry.kernel);
    assert!(scratch.len() >= self::scratch(channels, images, &geometry, pool.threads()), "scratch for the gradient");
    prologue.check(images, count * LANES);
    let (sums, planes) = scratch.split_at_mut(images * count * taps * LANES);
    let tasks = wanted(pool, images * count * y_len * taps).min(images * count);
    let (shared, planes) = (Shared::new(sums), Shared::new(planes));
    for_each(pool, tasks, |task, slot| {
        for plane in piece(images * count, 1, tasks, task) {
            let (image, block) = (plane / count, plane % count);
            let task = Task {
                geometry,
                x: x[plane * x_len..].as_ptr(),
                prologue: (!prologue.is_identity()).then(|| prologue.at(image * count * LANES, block * LANES)),
                plane: planes.at(slot * x_len),
                dy: dy[plane * y_len..].as_ptr(),
                weights: std::ptr::null(),
                out: shared.at(plane * taps * LANES),
            };
            // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked; each
            // plane writes its own sums, and each slot its own scratch.
            unsafe { (tier.depthwise_gradient)(&task) }
        }
    });
    for (c, row) in dw.chunks_exact_mut(taps).enumerate() {
        for (tap, v) in row.iter_mut().enumerate() {
            let of = |image: usize| sums[((image * count + c / LANES) * taps + tap) * LANES + c % LANES];
            *v = (0..images).map(of).sum();
        }
    }
}

/// Input gradient for any window. `weights` are channels×kh×kw; `dx` is overwritten.
///
/// # Panics
/// Where a buffer's length does not fit.
#[expect(clippy::too_many_arguments, reason = "the layer's sizes and its three tensors")]
pub fn inputs(
    isa: Isa,
    pool: &Pool,
    channels: usize,
    images: usize,
    geometry: Geometry,
    weights: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let tier = Tier::of(isa);
    geometry.check();
    let [x_len, y_len] = geometry.pixels().map(|pixels| volume(&[pixels, LANES]));
    let (count, taps) = (blocks(channels), taps(&geometry));
    let lens = (volume(&[images, count, x_len]), volume(&[images, count, y_len]));
    assert_eq!((dx.len(), dy.len()), lens, "depthwise buffers");
    assert_eq!(weights.len(), channels * taps, "weights of {channels}×{:?}", geometry.kernel);
    let packed = pack::panels(channels, taps, 1, |c, tap| weights[c * taps + tap]);
    let tasks = wanted(pool, images * count * y_len * taps).min(images * count);
    let dx = Shared::new(dx);
    for_each(pool, tasks, |task, _slot| {
        for plane in piece(images * count, 1, tasks, task) {
            let task = Task {
                geometry,
                x: std::ptr::null(),
                prologue: None,
                plane: std::ptr::null_mut(),
                dy: dy[plane * y_len..].as_ptr(),
                weights: packed[plane % count * taps * LANES..].as_ptr(),
                out: dx.at(plane * x_len),
            };
            // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked; each
            // plane writes its own part of `dx`.
            unsafe { (tier.depthwise_gradient)(&task) }
        }
    });
}

/// One plane: of the weights' gradient, or, where `x` is null, of the input's.
pub(crate) struct Task {
    geometry: Geometry,
    x: *const f32,
    prologue: Option<Lanewise>,
    /// Room for the plane behind the prologue.
    plane: *mut f32,
    dy: *const f32,
    weights: *const f32,
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
    let g = &t.geometry;
    let columns: [std::ops::Range<usize>; K] = std::array::from_fn(|kw| outputs_of(g, 1, kw));
    let inner = columns[0].start..columns[K - 1].end;
    // SAFETY: only outputs and inputs inside the images are touched.
    unsafe {
        let mut acc = [L::splat(0.0); K];
        for oh in outputs_of(g, 0, kh) {
            let ih = oh * g.stride[0] + kh * g.dilation[0] - g.before[0];
            let line = x.wrapping_add(ih * g.input[1] * LANES).wrapping_sub(g.before[1] * LANES);
            let dy = t.dy.add(oh * g.output[1] * LANES);
            for ow in inner.clone() {
                let d = L::load(dy.add(ow * LANES));
                for (kw, acc) in acc.iter_mut().enumerate() {
                    *acc = L::load(line.wrapping_add((ow * g.stride[1] + kw) * LANES)).mul_add(d, *acc);
                }
            }
            for (kw, acc) in acc.iter_mut().enumerate() {
                for ow in columns[kw].clone().filter(|ow| !inner.contains(ow)) {
                    let d = L::load(dy.add(ow * LANES));
                    *acc = L::load(line.wrapping_add((ow * g.stride[1] + kw) * LANES)).mul_add(d, *acc);
                }
            }
        }
        for (kw, acc) in acc.into_iter().enumerate() {
            acc.store(t.out.add((kh * K + kw) * LANES));
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
            L::splat(0.0).store(t.out.add(p * LANES));
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
