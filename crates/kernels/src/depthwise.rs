//! Depthwise convolution: one filter a channel, sixteen channels at once.
//!
//! A tile is a run of output columns of one row. Per kernel row its weights stay in registers, and each input pixel is
//! loaded once for all the columns that see it. On Zen 4 1×7 pixels of blocked layout reach 94–109 of 117.6 GFLOP/s,
//! where one pixel at a time in NHWC reaches 21–37. Taps outside the image are skipped, so nothing is padded or copied.

use std::ops::Range;

use crate::aligned::AlignedBuf;
use crate::cpu::Isa;
use crate::epilogue::{Activation, finish};
use crate::isa::{Lanes, Tier};
use crate::layout::{LANES, blocks, volume};
use crate::norm::{self, MOMENTS};
use crate::pack;
use crate::pool::Pool;
use crate::prologue::{Lanewise, Prologue};
use crate::split::{Shared, for_each, piece, wanted};
use crate::window::{Geometry, next_tile};

/// A depthwise convolution with packed weights.
pub struct Depthwise {
    tier: &'static Tier,
    channels: usize,
    kernel: [usize; 2],
    weights: AlignedBuf,
    bias: AlignedBuf,
    activation: Activation,
}

/// What one call works on.
pub struct Call<'a> {
    /// Images.
    pub images: usize,
    /// The window; its kernel is the layer's.
    pub geometry: Geometry,
    /// Blocked input.
    pub x: &'a [f32],
    /// Blocked output.
    pub y: &'a mut [f32],
    /// Added after the activation; laid out as the output.
    pub residual: Option<&'a [f32]>,
    /// Where sums over the output's pixels go, for squeeze-and-excite: [`Depthwise::sums`] values,
    /// `[image][block][shard][16]`.
    pub sums: Option<&'a mut [f32]>,
    /// Where moments of the output go, for batch norm: `[image][block][value][16]` with the values of
    /// [`Sum::Moments`](crate::norm::Sum::Moments).
    pub moments: Option<&'a mut [f32]>,
    /// Applied to the input on its way in.
    pub prologue: Prologue<'a>,
    /// At least [`Depthwise::scratch`] values; untouched where the prologue does nothing.
    pub scratch: &'a mut [f32],
}

impl Depthwise {
    /// Packs `weights` (channels×kh×kw, row-major) and `bias` (empty for none).
    pub fn new(
        isa: Isa,
        channels: usize,
        kernel: [usize; 2],
        weights: &[f32],
        bias: &[f32],
        activation: Activation,
    ) -> Depthwise {
        let taps = kernel[0] * kernel[1];
        assert_eq!(weights.len(), channels * taps, "weights of {channels}×{kernel:?}");
        Depthwise {
            tier: Tier::of(isa),
            channels,
            kernel,
            weights: pack::panels(channels, taps, 1, |c, tap| weights[c * taps + tap]),
            bias: pack::bias(channels, bias, activation),
            activation,
        }
    }

    /// Replaces the weights (channels×kh×kw, row-major) and the bias (empty to leave it), in place.
    pub fn set(&mut self, weights: &[f32], bias: &[f32]) {
        let taps = self.kernel[0] * self.kernel[1];
        assert_eq!(weights.len(), self.channels * taps, "weights of {}×{taps}", self.channels);
        pack::fill(&mut self.weights, self.channels, taps, 1, |c, tap| weights[c * taps + tap]);
        pack::set_bias(&mut self.bias, self.channels, bias);
    }

    /// As [`Depthwise::set`], flipped: at stride 1 the layer then gives the input gradient of the one with `weights`.
    pub fn set_flipped(&mut self, weights: &[f32]) {
        let taps = self.kernel[0] * self.kernel[1];
        assert_eq!(weights.len(), self.channels * taps, "weights of {}×{taps}", self.channels);
        pack::fill(&mut self.weights, self.channels, taps, 1, |c, tap| weights[c * taps + taps - 1 - tap]);
    }

    /// Rows of output that a task behind a prologue works on: their input fits the L1 cache with room to spare.
    fn rows(&self, g: &Geometry) -> usize {
        const ROWS_BYTES: usize = 24 << 10;
        let fit = ROWS_BYTES / (g.input[1] * LANES * size_of::<f32>());
        let reach = (g.kernel[0] - 1) * g.dilation[0];
        // Few rows would mean to fill most of them twice.
        (fit.saturating_sub(reach) / g.stride[0]).max(2 * g.kernel[0]).min(g.output[0])
    }

    /// Values of scratch memory that `threads` threads need for a prologue.
    pub fn scratch(&self, geometry: &Geometry, threads: usize) -> usize {
        threads * self.strip(geometry)
    }

    fn strip(&self, g: &Geometry) -> usize {
        let rows = (self.rows(g) - 1) * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + 1;
        rows.min(g.input[0]) * g.input[1] * LANES
    }

    /// Parts of the rows whose sums are kept apart: a number that follows from the layer alone, so that the order of
    /// every sum is the same for any number of threads.
    pub fn shards(&self, output: [usize; 2]) -> usize {
        const ENOUGH_TASKS: usize = 32;
        ENOUGH_TASKS.div_ceil(blocks(self.channels)).min(output[0])
    }

    /// Values that the sums of `images` images take.
    pub fn sums(&self, images: usize, output: [usize; 2]) -> usize {
        images * blocks(self.channels) * self.shards(output) * LANES
    }

    /// Runs the layer.
    ///
    /// # Panics
    /// Where a buffer's length does not fit.
    pub fn run(&self, pool: &Pool, call: Call) {
        let Call { images, geometry, x, y, residual, sums, moments, prologue, scratch } = call;
        geometry.check();
        let [x_len, y_len] = geometry.pixels().map(|pixels| volume(&[pixels, LANES]));
        let count = blocks(self.channels);
        assert_eq!(geometry.kernel, self.kernel, "the layer's kernel");
        let lens = (volume(&[images, count, x_len]), volume(&[images, count, y_len]));
        assert_eq!((x.len(), y.len()), lens, "depthwise buffers");
        assert!(residual.is_none_or(|r| r.len() == y.len()), "the residual lies as the output does");
        let shards = self.shards(geometry.output);
        if let Some(s) = &sums {
            assert_eq!(s.len(), self.sums(images, geometry.output), "depthwise sums");
        }
        let has_prologue = !prologue.is_identity();
        prologue.check(images, count * LANES);
        assert!(!has_prologue || scratch.len() >= self.scratch(&geometry, pool.threads()), "scratch for every thread");
        assert!(!has_prologue || sums.is_none(), "sums go without a prologue");
        let taps = self.kernel[0] * self.kernel[1];
        let parts = match &sums {
            Some(_) => shards,
            None if has_prologue => geometry.output[0].div_ceil(self.rows(&geometry)),
            None => {
                wanted(pool.threads(), images * count * y_len * taps).div_ceil(images * count).min(geometry.output[0])
            }
        };
        let alone = wanted(pool.threads(), images * count * y_len * taps) == 1;
        let moments_len = volume(&[images, count, MOMENTS, LANES]);
        assert!(moments.as_ref().is_none_or(|m| m.len() == moments_len), "moments of every plane");
        let y = Shared::new(y);
        let (sums, moments) = (sums.map(Shared::new), moments.map(Shared::new));
        let (scratch, strip) = (Shared::new(scratch), self.strip(&geometry));
        let tasks = images * count * parts;
        let one = |task: usize, slot: usize| {
            let (plane, part) = (task / parts, task % parts);
            let (image, block) = (plane / count, plane % count);
            let task = Task {
                geometry,
                rows: piece(geometry.output[0], 1, parts, part),
                x: x[plane * x_len..].as_ptr(),
                weights: self.weights[block * taps * LANES..].as_ptr(),
                bias: self.bias[block * LANES..].as_ptr(),
                y: y.at(plane * y_len),
                residual: residual.map_or(std::ptr::null(), |r| r[plane * y_len..].as_ptr()),
                sums: sums.map_or(std::ptr::null_mut(), |s| s.at(task * LANES)),
                activation: self.activation,
                prologue: has_prologue.then(|| prologue.at(image * count * LANES, block * LANES)),
                scratch: scratch.at(slot * strip),
            };
            // SAFETY: the tier was handed out by detection. The plane's pointers lie in buffers whose lengths were
            // checked above; tasks differ in plane or rows, so each writes its own rows of `y` and its own sums.
            unsafe { (self.tier.depthwise)(&task) }
        };
        let Some(moments) = moments else {
            return if alone { (0..tasks).for_each(|task| one(task, 0)) } else { for_each(pool, tasks, one) };
        };
        // A plane's moments are taken while it lies in the cache.
        let plane = |plane: usize, slot: usize| {
            (0..parts).for_each(|part| one(plane * parts + part, slot));
            let (y, sums) = (y.at(plane * y_len), moments.at(plane * MOMENTS * LANES));
            // SAFETY: as above; every plane has moments of its own.
            unsafe { (self.tier.plane)(&norm::Task::moments(y, geometry.pixels()[1], sums, false)) }
        };
        if alone { (0..images * count).for_each(|i| plane(i, 0)) } else { for_each(pool, images * count, plane) }
    }

    /// Whether the layer has so many channels and such a window, and no activation.
    pub(crate) fn fits(&self, channels: usize, geometry: &Geometry) -> bool {
        (self.channels, self.kernel, self.activation) == (channels, geometry.kernel, Activation::Linear)
    }

    /// The packed weights of `block`.
    pub(crate) fn weights(&self, block: usize) -> *const f32 {
        self.weights[block * self.kernel[0] * self.kernel[1] * LANES..].as_ptr()
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Some rows of one plane of `block`, without prologue, from `x` to `y`, which point to where the plane's first rows are
    /// or would be; `residual` lies as `y` does and is added unless null.
    ///
    /// # Safety
    /// `y` and `residual` cover these rows of a plane of `geometry`, and `x` the rows that they see.
    pub(crate) unsafe fn rows_of_plane(
        &self,
        geometry: Geometry,
        rows: Range<usize>,
        block: usize,
        x: *const f32,
        y: *mut f32,
        residual: *const f32,
    ) {
        let task = Task {
            geometry,
            rows,
            x,
            weights: self.weights(block),
            bias: self.bias[block * LANES..].as_ptr(),
            y,
            residual,
            sums: std::ptr::null_mut(),
            activation: self.activation,
            prologue: None,
            scratch: std::ptr::null_mut(),
        };
        // SAFETY: the tier was handed out by detection; the rest is the caller's.
        unsafe { (self.tier.depthwise)(&task) }
    }
}

/// Some rows of one plane: a block of one image.
pub(crate) struct Task {
    geometry: Geometry,
    rows: Range<usize>,
    x: *const f32,
    weights: *const f32,
    bias: *const f32,
    y: *mut f32,
    residual: *const f32,
    /// Sixteen sums; null where none are wanted.
    sums: *mut f32,
    activation: Activation,
    prologue: Option<Lanewise>,
    scratch: *mut f32,
}

/// # Safety
/// The task's pointers cover its plane.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes, const Q: usize>(t: &Task) {
    let g = &t.geometry;
    // SAFETY: the caller's.
    unsafe {
        let filled;
        let mut t = t;
        if let Some(prologue) = t.prologue {
            let first = (g.start(0, t.rows.start).max(0) as usize).min(g.input[0]);
            let last = g.start(0, t.rows.end - 1) + ((g.kernel[0] - 1) * g.dilation[0]) as isize;
            let rows = (last + 1).clamp(first as isize, g.input[0] as isize) as usize - first;
            let line = g.input[1] * LANES;
            prologue.fill::<L>(0, t.x.add(first * line), t.scratch, rows * g.input[1]);
            // The rows above the strip do not exist, and are not read.
            filled = Task { x: t.scratch.wrapping_sub(first * line), rows: t.rows.clone(), ..*t };
            t = &filled;
        }
        match (g.kernel, g.stride[1], g.dilation) {
            ([3, 3], 1, [1, 1]) => rows::<L, 3, 1, Q>(t),
            ([3, 3], 2, [1, 1]) => rows::<L, 3, 2, Q>(t),
            ([5, 5], 1, [1, 1]) => rows::<L, 5, 1, Q>(t),
            ([5, 5], 2, [1, 1]) => rows::<L, 5, 2, Q>(t),
            _ => rows::<L, 0, 0, Q>(t),
        }
    }
}

/// The task's rows, for kernels of `K`×`K` at stride `S`; `K` = 0 stands for any window.
#[inline(always)]
unsafe fn rows<L: Lanes, const K: usize, const S: usize, const Q: usize>(t: &Task) {
    let width = t.geometry.output[1];
    let mut sum = L::splat(0.0);
    for row in t.rows.clone() {
        let mut column = 0;
        while column < width {
            let (start, columns) = next_tile(column, width, Q);
            // SAFETY: the tile lies inside the row. Constants guard tiles that Q rules out.
            unsafe {
                match columns {
                    4 if Q > 4 => any_tile::<L, K, S, 4>(t, row, start),
                    2 if Q > 2 => any_tile::<L, K, S, 2>(t, row, start),
                    1 => any_tile::<L, K, S, 1>(t, row, start),
                    _ => any_tile::<L, K, S, Q>(t, row, start),
                }
            }
            column = start + columns;
        }
        if !t.sums.is_null() {
            for column in 0..width {
                // SAFETY: inside the row just written.
                sum = sum.add(unsafe { L::load(t.y.wrapping_add((row * width + column) * LANES)) });
            }
        }
    }
    if !t.sums.is_null() {
        // SAFETY: sixteen values of the task's own.
        unsafe { sum.store(t.sums) }
    }
}

/// Picks the tile for an interior or an edge position.
#[inline(always)]
unsafe fn any_tile<L: Lanes, const K: usize, const S: usize, const Q: usize>(t: &Task, row: usize, column: usize) {
    let g = &t.geometry;
    let start = g.start(1, column);
    let stride = if K == 0 { g.stride[1] } else { S };
    let reach = if K == 0 { (g.kernel[1] - 1) * g.dilation[1] } else { K - 1 };
    let span = (Q - 1) * stride + reach + 1;
    let inside = start >= 0 && start as usize + span <= g.input[1];
    // SAFETY: the caller's.
    unsafe {
        match (K, inside) {
            (0, _) => tile_any_window::<L, Q>(t, row, column),
            (_, true) => tile::<L, K, S, Q, false>(t, row, column),
            (_, false) => tile::<L, K, S, Q, true>(t, row, column),
        }
    }
}

/// `Q` columns of one row. `EDGE` tiles look at each column whether it lies inside the image.
#[inline(always)]
unsafe fn tile<L: Lanes, const K: usize, const S: usize, const Q: usize, const EDGE: bool>(
    t: &Task,
    row: usize,
    column: usize,
) {
    let g = &t.geometry;
    let (top, left) = (g.start(0, row), g.start(1, column));
    let (low, high) = (-left, g.input[1] as isize - left);
    // SAFETY: only rows and columns inside the image are read; the output's columns exist.
    unsafe {
        let mut acc = [[L::load(t.bias)]; Q];
        for kh in g.taps(0, row) {
            let line = t.x.wrapping_offset(((top + kh as isize) * g.input[1] as isize + left) * LANES as isize);
            let w: [L; K] = std::array::from_fn(|kw| L::load(t.weights.add((kh * K + kw) * LANES)));
            for c in 0..(Q - 1) * S + K {
                if EDGE && ((c as isize) < low || c as isize >= high) {
                    continue;
                }
                let v = L::load(line.wrapping_add(c * LANES));
                for q in 0..Q {
                    if c >= q * S && c - q * S < K {
                        acc[q][0] = v.mul_add(w[c - q * S], acc[q][0]);
                    }
                }
            }
        }
        store(t, row, column, &acc);
    }
}

/// `Q` columns of one row, for any kernel, stride and dilation.
#[inline(always)]
unsafe fn tile_any_window<L: Lanes, const Q: usize>(t: &Task, row: usize, column: usize) {
    let g = &t.geometry;
    let (top, left) = (g.start(0, row), g.start(1, column));
    // SAFETY: only rows and columns inside the image are read; the output's columns exist.
    unsafe {
        let mut acc = [[L::load(t.bias)]; Q];
        for kh in g.taps(0, row) {
            let line = (top + (kh * g.dilation[0]) as isize) * g.input[1] as isize;
            for kw in 0..g.kernel[1] {
                let w = L::load(t.weights.add((kh * g.kernel[1] + kw) * LANES));
                for (q, acc) in acc.iter_mut().enumerate() {
                    let c = left + (q * g.stride[1] + kw * g.dilation[1]) as isize;
                    if c >= 0 && c < g.input[1] as isize {
                        acc[0] = L::load(t.x.wrapping_offset((line + c) * LANES as isize)).mul_add(w, acc[0]);
                    }
                }
            }
        }
        store(t, row, column, &acc);
    }
}

#[inline(always)]
unsafe fn store<L: Lanes, const Q: usize>(t: &Task, row: usize, column: usize, acc: &[[L; 1]; Q]) {
    let at = (row * t.geometry.output[1] + column) * LANES;
    // SAFETY: the caller's columns exist.
    unsafe {
        let residual = if t.residual.is_null() { t.residual } else { t.residual.wrapping_add(at) };
        finish(acc, t.activation, residual, t.y.wrapping_add(at), 0);
    }
}
