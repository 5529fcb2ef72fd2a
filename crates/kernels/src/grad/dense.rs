//! Gradients of dense convolution: the stem's weights, and, for networks with full convolutions, inputs too.
//!
//! Weights: `∂w[tap][i]` = Σ over images and pixels of ∂y · x at that tap, a vector of output channels for each tap and
//! input channel. Inputs: every output gradient is scattered over the inputs that it came from, a vector of input
//! channels at a time.

use crate::cpu::Isa;
use crate::dense::Source;
use crate::isa::{Lanes, Tier};
use crate::layout::{LANES, Order, blocked_len, blocks, volume};
use crate::pool::Pool;
use crate::split::{Shared, for_each, wanted};
use crate::window::Geometry;

use super::{add_shards, shards};

/// What one call works on.
pub struct Call<'a> {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Images.
    pub images: usize,
    /// The window.
    pub geometry: Geometry,
    /// How the input lies.
    pub source: Source,
    /// Input.
    pub x: &'a [f32],
    /// Gradient of the blocked output.
    pub dy: &'a [f32],
    /// Gradient of the weights, outputs×inputs×kh×kw.
    pub dw: &'a mut [f32],
    /// At least [`scratch`] values.
    pub scratch: &'a mut [f32],
}

/// Values of scratch memory that either gradient needs.
pub fn scratch([inputs, outputs]: [usize; 2], images: usize, geometry: &Geometry) -> usize {
    (shards(images) * partial([inputs, outputs], geometry)).max(packed_len([inputs, outputs], geometry))
}

/// Values of the weights in the order that the input gradient reads: [input block][tap][output][16 inputs].
fn packed_len([inputs, outputs]: [usize; 2], geometry: &Geometry) -> usize {
    blocks(inputs) * geometry.kernel[0] * geometry.kernel[1] * outputs * LANES
}

fn partial([inputs, outputs]: [usize; 2], geometry: &Geometry) -> usize {
    blocks(outputs) * geometry.kernel[0] * geometry.kernel[1] * inputs * LANES
}

/// Weight gradient.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn weights(isa: Isa, pool: &Pool, call: Call) {
    let Call { channels: [inputs, outputs], images, geometry, source, x, dy, dw, scratch } = call;
    let tier = Tier::of(isa);
    geometry.check();
    let [x_pixels, y_pixels] = geometry.pixels();
    let taps = geometry.kernel[0] * geometry.kernel[1];
    let (x_image, x_pixel, group, group_len) = match source {
        Source::Blocked => (blocked_len(1, inputs, x_pixels, 1), LANES, x_pixels * LANES, LANES),
        Source::Plain(Order::Nchw) => (volume(&[inputs, x_pixels]), 1, x_pixels, 1),
        Source::Plain(Order::Nhwc) => (volume(&[inputs, x_pixels]), inputs, 0, inputs),
    };
    let y_plane = volume(&[y_pixels, LANES]);
    let y_image = volume(&[blocks(outputs), y_plane]);
    let lens = (volume(&[images, x_image]), volume(&[images, y_image]));
    assert_eq!((x.len(), dy.len()), lens, "dense buffers");
    assert_eq!(dw.len(), outputs * inputs * taps, "weight gradient of {outputs}×{inputs}×{:?}", geometry.kernel);
    assert!(scratch.len() >= self::scratch([inputs, outputs], images, &geometry), "scratch for the gradient");
    let (shards, partial) = (shards(images), partial([inputs, outputs], &geometry));
    let sums = &mut scratch[..shards * partial];
    let is_alone = wanted(pool.threads(), images * y_pixels * taps * inputs * outputs) == 1;
    let shared = Shared::new(sums);
    let tasks = shards * blocks(outputs);
    let one = |task: usize, _slot: usize| {
        let (shard, block) = (task / blocks(outputs), task % blocks(outputs));
        for (n, image) in crate::split::piece(images, 1, shards, shard).enumerate() {
            let task = Task {
                geometry,
                x: x[image * x_image..].as_ptr(),
                x_pixel,
                group,
                group_len,
                inputs,
                dy: dy[image * y_image + block * y_plane..].as_ptr(),
                weights: std::ptr::null(),
                outputs,
                out: shared.at(shard * partial + block * taps * inputs * LANES),
                is_first: n == 0,
            };
            // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked;
            // tasks differ in shard or block, so each writes its own sums.
            unsafe { (tier.dense_gradient)(&task) }
        }
    };
    if is_alone {
        (0..tasks).for_each(|task| one(task, 0))
    } else {
        for_each(pool, tasks, one)
    }
    add_shards(sums, partial, shards);
    for (o, filter) in dw.chunks_exact_mut(inputs * taps).enumerate() {
        for (at, v) in filter.iter_mut().enumerate() {
            let (i, tap) = (at / taps, at % taps);
            *v = sums[((o / LANES * taps + tap) * inputs + i) * LANES + o % LANES];
        }
    }
}

/// Input gradient, blocked; `weights` are outputs×inputs×kh×kw, `dx` is overwritten, `scratch` holds at least [`scratch`]
/// values.
///
/// # Panics
/// Where a buffer's length does not fit.
#[expect(clippy::too_many_arguments, reason = "the layer's sizes, its three tensors and scratch memory")]
pub fn inputs(
    isa: Isa,
    pool: &Pool,
    [inputs, outputs]: [usize; 2],
    images: usize,
    geometry: Geometry,
    weights: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    scratch: &mut [f32],
) {
    let tier = Tier::of(isa);
    geometry.check();
    let [x_plane, y_plane] = geometry.pixels().map(|pixels| volume(&[pixels, LANES]));
    let taps = geometry.kernel[0] * geometry.kernel[1];
    assert_eq!(dx.len(), volume(&[images, blocks(inputs), x_plane]), "dense buffers");
    assert_eq!(dy.len(), volume(&[images, blocks(outputs), y_plane]), "dense buffers");
    assert_eq!(weights.len(), outputs * inputs * taps, "weights of {outputs}×{inputs}×{:?}", geometry.kernel);
    let packed = &mut scratch[..packed_len([inputs, outputs], &geometry)];
    packed.fill(0.0);
    for (at, &w) in weights.iter().enumerate() {
        let (o, i, tap) = (at / (inputs * taps), at / taps % inputs, at % taps);
        packed[((i / LANES * taps + tap) * outputs + o) * LANES + i % LANES] = w;
    }
    let (count, packed) = (blocks(inputs), &*packed);
    let dx = Shared::new(dx);
    for_each(pool, images * count, |task, _slot| {
        let (image, block) = (task / count, task % count);
        let task = Task {
            geometry,
            x: std::ptr::null(),
            x_pixel: LANES,
            group: y_plane,
            group_len: LANES,
            inputs,
            dy: dy[image * blocks(outputs) * y_plane..].as_ptr(),
            weights: packed[block * taps * outputs * LANES..].as_ptr(),
            outputs,
            out: dx.at(task * x_plane),
            is_first: true,
        };
        // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked; each
        // task writes its own plane of `dx`.
        unsafe { (tier.dense_gradient)(&task) }
    });
}

/// One output block of one image's weight gradient, or, where `x` is null, one input block of its input gradient.
pub(crate) struct Task {
    geometry: Geometry,
    x: *const f32,
    x_pixel: usize,
    group_len: usize,
    group: usize,
    inputs: usize,
    dy: *const f32,
    weights: *const f32,
    outputs: usize,
    out: *mut f32,
    is_first: bool,
}

/// # Safety
/// The task's pointers cover its image.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes>(t: &Task) {
    let g = &t.geometry;
    // SAFETY: the caller's.
    unsafe {
        if t.x.is_null() {
            for p in 0..g.pixels()[0] {
                L::splat(0.0).store(t.out.add(p * LANES));
            }
        }
        for kh in 0..g.kernel[0] {
            for kw in 0..g.kernel[1] {
                if t.x.is_null() { scatter::<L>(t, kh, kw) } else { tap::<L>(t, kh, kw) }
            }
        }
    }
}

/// Calls `f(output pixel, input pixel)` for every output whose tap lies inside the image.
#[inline(always)]
fn pairs(g: &Geometry, kh: usize, kw: usize, mut f: impl FnMut(usize, usize)) {
    for oh in 0..g.output[0] {
        let ih = g.start(0, oh) + (kh * g.dilation[0]) as isize;
        if !(0..g.input[0] as isize).contains(&ih) {
            continue;
        }
        for ow in 0..g.output[1] {
            let iw = g.start(1, ow) + (kw * g.dilation[1]) as isize;
            if (0..g.input[1] as isize).contains(&iw) {
                f(oh * g.output[1] + ow, ih as usize * g.input[1] + iw as usize);
            }
        }
    }
}

/// One tap's weight gradients, up to four input channels at once.
#[inline(always)]
unsafe fn tap<L: Lanes>(t: &Task, kh: usize, kw: usize) {
    const CHANNELS: usize = 4;
    let g = &t.geometry;
    for first in (0..t.inputs).step_by(CHANNELS) {
        // SAFETY: only pixels and channels inside the tensors are touched.
        unsafe {
            let used = CHANNELS.min(t.inputs - first);
            let out = |i: usize| t.out.add(((kh * g.kernel[1] + kw) * t.inputs + first + i) * LANES);
            let channel = |i: usize| (first + i) / t.group_len * t.group + (first + i) % t.group_len;
            // Channels beyond the last repeat it, and are dropped.
            let channels: [usize; CHANNELS] = std::array::from_fn(|i| channel(i.min(used - 1)));
            let mut acc = [L::splat(0.0); CHANNELS];
            pairs(g, kh, kw, |y, x| {
                let d = L::load(t.dy.add(y * LANES));
                let pixel = t.x.add(x * t.x_pixel);
                for i in 0..CHANNELS {
                    acc[i] = L::splat(*pixel.add(channels[i])).mul_add(d, acc[i]);
                }
            });
            for (i, acc) in acc.into_iter().enumerate() {
                if i < used {
                    let sum = if t.is_first { acc } else { acc.add(L::load(out(i))) };
                    sum.store(out(i));
                }
            }
        }
    }
}

/// One tap's part of the input gradient.
#[inline(always)]
unsafe fn scatter<L: Lanes>(t: &Task, kh: usize, kw: usize) {
    let g = &t.geometry;
    // SAFETY: only pixels and channels inside the tensors are touched.
    unsafe {
        let weights = t.weights.add((kh * g.kernel[1] + kw) * t.outputs * LANES);
        pairs(g, kh, kw, |y, x| {
            let at = t.out.add(x * LANES);
            let mut acc = L::load(at);
            for o in 0..t.outputs {
                let d = L::splat(*t.dy.add(o / LANES * t.group + y * LANES + o % LANES));
                acc = d.mul_add(L::load(weights.add(o * LANES)), acc);
            }
            acc.store(at);
        });
    }
}
