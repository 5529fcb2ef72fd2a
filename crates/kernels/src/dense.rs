//! Dense convolution: every input channel with every output channel, in any window.
//!
//! The networks' stem reads the caller's tensor where it lies, planar or with channels last, so it needs no blocked copy
//! of an image of three channels. A tile is a run of output columns of one row × output blocks; inside, one step a tap
//! and input channel, as in `pointwise`. Taps outside the image are skipped.

use crate::aligned::AlignedBuf;
use crate::cpu::Isa;
use crate::epilogue::{Activation, finish};
use crate::isa::{Lanes, Tier};
use crate::layout::{LANES, Order, blocked_len, blocks, volume};
use crate::pack;
use crate::pool::Pool;
use crate::split::{Shared, for_each, piece, wanted};
use crate::window::{Geometry, next_tile};

/// A dense convolution with packed weights.
pub struct Dense {
    tier: &'static Tier,
    inputs: usize,
    outputs: usize,
    kernel: [usize; 2],
    panels: AlignedBuf,
    bias: AlignedBuf,
    activation: Activation,
}

/// How the input lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// As everything inside a program.
    Blocked,
    /// As the caller gave it.
    Plain(Order),
}

/// What one call works on.
pub struct Call<'a> {
    /// Images.
    pub images: usize,
    /// The window; its kernel is the layer's.
    pub geometry: Geometry,
    /// How the input lies.
    pub source: Source,
    /// Input.
    pub x: &'a [f32],
    /// Blocked output.
    pub y: &'a mut [f32],
    /// Added after the activation; laid out as the output.
    pub residual: Option<&'a [f32]>,
}

impl Dense {
    /// Packs `weights` (outputs×inputs×kh×kw, row-major) and `bias` (empty for none).
    pub fn new(
        isa: Isa,
        [inputs, outputs]: [usize; 2],
        kernel: [usize; 2],
        weights: &[f32],
        bias: &[f32],
        activation: Activation,
    ) -> Dense {
        let taps = kernel[0] * kernel[1];
        assert_eq!(weights.len(), outputs * inputs * taps, "weights of {outputs}×{inputs}×{kernel:?}");
        let tier = Tier::of(isa);
        let panels = pack::panels(outputs, taps * inputs, tier.panel_blocks, |o, step| {
            weights[(o * inputs + step % inputs) * taps + step / inputs]
        });
        Dense { tier, inputs, outputs, kernel, panels, bias: pack::bias(outputs, bias, activation), activation }
    }

    /// Replaces the weights (outputs×inputs×kh×kw, row-major) and the bias (empty to leave it), in place.
    pub fn set(&mut self, weights: &[f32], bias: &[f32]) {
        let (inputs, taps) = (self.inputs, self.kernel[0] * self.kernel[1]);
        assert_eq!(weights.len(), self.outputs * inputs * taps, "weights of {}×{inputs}×{taps}", self.outputs);
        let weight = |o: usize, step: usize| weights[(o * inputs + step % inputs) * taps + step / inputs];
        pack::fill(&mut self.panels, self.outputs, taps * inputs, self.tier.panel_blocks, weight);
        pack::set_bias(&mut self.bias, self.outputs, bias);
    }

    /// Runs the layer.
    ///
    /// # Panics
    /// Where a buffer's length does not fit.
    pub fn run(&self, pool: &Pool, call: Call) {
        let Call { images, geometry, source, x, y, residual } = call;
        geometry.check();
        let [x_pixels, y_pixels] = geometry.pixels();
        let (x_image, x_pixel, group, group_len) = match source {
            Source::Blocked => (blocked_len(1, self.inputs, x_pixels, 1), LANES, x_pixels * LANES, LANES),
            Source::Plain(Order::Nchw) => (volume(&[self.inputs, x_pixels]), 1, x_pixels, 1),
            Source::Plain(Order::Nhwc) => (volume(&[self.inputs, x_pixels]), self.inputs, 0, self.inputs),
        };
        let y_image = blocked_len(1, self.outputs, y_pixels, 1);
        assert_eq!(geometry.kernel, self.kernel, "the layer's kernel");
        let lens = (volume(&[images, x_image]), volume(&[images, y_image]));
        assert_eq!((x.len(), y.len()), lens, "dense buffers");
        assert!(residual.is_none_or(|r| r.len() == y.len()), "the residual lies as the output does");

        let steps = self.kernel[0] * self.kernel[1] * self.inputs;
        let wanted = wanted(pool.threads(), images * y_pixels * steps * self.outputs).div_ceil(images);
        let parts = wanted.min(geometry.output[0]);
        let groups = wanted.div_ceil(parts).min(blocks(self.outputs).div_ceil(self.tier.panel_blocks));
        let y = Shared::new(y);
        for_each(pool, images * parts * groups, |task, _slot| {
            let (image, part, group_index) = (task / (parts * groups), task / groups % parts, task % groups);
            let here = piece(blocks(self.outputs), self.tier.panel_blocks, groups, group_index);
            let y_at = image * y_image + here.start * y_pixels * LANES;
            let task = Task {
                geometry,
                rows: piece(geometry.output[0], 1, parts, part),
                x: x[image * x_image..].as_ptr(),
                x_pixel,
                group,
                group_len,
                inputs: self.inputs,
                panels: self.panels[here.start * LANES * steps..].as_ptr(),
                bias: self.bias[here.start * LANES..].as_ptr(),
                y: y.at(y_at),
                residual: residual.map_or(std::ptr::null(), |r| r[y_at..].as_ptr()),
                blocks: here.len(),
                activation: self.activation,
            };
            // SAFETY: the tier was handed out by detection. All pointers lie in buffers whose lengths were checked
            // above; tasks differ in image, rows or blocks, so each writes its own part of `y`.
            unsafe { (self.tier.dense)(&task) }
        });
    }
}

/// Some rows × some panels of one image.
pub(crate) struct Task {
    geometry: Geometry,
    rows: std::ops::Range<usize>,
    x: *const f32,
    /// Distance between neighbouring input pixels.
    x_pixel: usize,
    /// Channels whose values are neighbours, and the distance between two such groups.
    group_len: usize,
    group: usize,
    inputs: usize,
    panels: *const f32,
    bias: *const f32,
    y: *mut f32,
    residual: *const f32,
    blocks: usize,
    activation: Activation,
}

/// # Safety
/// The task's pointers cover its rows and blocks.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes, const P: usize, const B: usize>(t: &Task) {
    let width = t.geometry.output[1];
    for block in (0..t.blocks).step_by(B) {
        for row in t.rows.clone() {
            let mut column = 0;
            while column < width {
                let (start, columns) = next_tile(column, width, P);
                let at = At { row, column: start, block };
                // SAFETY: the tile lies inside the task. Constants guard tiles that P and B rule out.
                unsafe {
                    match (columns, B.min(t.blocks - block)) {
                        (1, 1) => any_tile::<L, 1, 1>(t, at),
                        (1, 2) if B >= 2 => any_tile::<L, 1, 2>(t, at),
                        (2, 1) if P > 2 => any_tile::<L, 2, 1>(t, at),
                        (2, 2) if P > 2 && B >= 2 => any_tile::<L, 2, 2>(t, at),
                        (4, 1) if P > 4 => any_tile::<L, 4, 1>(t, at),
                        (4, 2) if P > 4 && B >= 2 => any_tile::<L, 4, 2>(t, at),
                        (7, 1) if P > 7 => any_tile::<L, 7, 1>(t, at),
                        (7, 2) if P > 7 && B >= 2 => any_tile::<L, 7, 2>(t, at),
                        (_, 1) => any_tile::<L, P, 1>(t, at),
                        _ => any_tile::<L, P, B>(t, at),
                    }
                }
                column = start + columns;
            }
        }
    }
}

#[derive(Clone, Copy)]
struct At {
    row: usize,
    column: usize,
    block: usize,
}

/// Picks the tile for the distance between its pixels, a constant where it is common, and for the image's edges.
#[inline(always)]
unsafe fn any_tile<L: Lanes, const P: usize, const B: usize>(t: &Task, at: At) {
    let g = &t.geometry;
    let start = g.start(1, at.column);
    let span = (P - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
    let inside = start >= 0 && start as usize + span <= g.input[1];
    // SAFETY: the caller's.
    unsafe {
        match (inside, g.stride[1] * t.x_pixel) {
            (false, _) => tile::<L, P, B, 0, true>(t, at),
            (true, 2) => tile::<L, P, B, 2, false>(t, at),
            (true, LANES) => tile::<L, P, B, LANES, false>(t, at),
            (true, _) => tile::<L, P, B, 0, false>(t, at),
        }
    }
}

/// `P` columns × `B` blocks. `STEP` is the distance between the columns' inputs, 0 for any. `EDGE` tiles look at each
/// column whether it lies inside the image.
#[inline(always)]
unsafe fn tile<L: Lanes, const P: usize, const B: usize, const STEP: usize, const EDGE: bool>(t: &Task, at: At) {
    let g = &t.geometry;
    let (top, left) = (g.start(0, at.row), g.start(1, at.column));
    let step = if STEP == 0 { g.stride[1] * t.x_pixel } else { STEP };
    let taps = g.kernel[0] * g.kernel[1];
    // SAFETY: only rows and columns inside the image are read; the output's columns and blocks exist.
    unsafe {
        let bias: [L; B] = std::array::from_fn(|b| L::load(t.bias.add((at.block + b) * LANES)));
        let mut acc = [bias; P];
        let panel = t.panels.add(at.block * LANES * taps * t.inputs);
        for kh in g.taps(0, at.row) {
            let line = (top + (kh * g.dilation[0]) as isize) * g.input[1] as isize;
            for kw in 0..g.kernel[1] {
                let first = left + (kw * g.dilation[1]) as isize;
                let inside = |p: usize| (0..g.input[1] as isize).contains(&(first + (p * g.stride[1]) as isize));
                let valid: [bool; P] = std::array::from_fn(|p| !EDGE || inside(p));
                let mut x = t.x.wrapping_offset((line + first) * t.x_pixel as isize);
                let mut w = panel.add((kh * g.kernel[1] + kw) * t.inputs * B * LANES);
                let mut channels = t.inputs;
                while channels > 0 {
                    let lanes = channels.min(t.group_len);
                    for lane in 0..lanes {
                        let row: [L; B] = std::array::from_fn(|b| L::load(w.add(b * LANES)));
                        for p in 0..P {
                            if valid[p] {
                                let value = L::splat(*x.wrapping_add(p * step + lane));
                                for b in 0..B {
                                    acc[p][b] = value.mul_add(row[b], acc[p][b]);
                                }
                            }
                        }
                        w = w.add(B * LANES);
                    }
                    x = x.wrapping_add(t.group);
                    channels -= lanes;
                }
            }
        }
        let block = g.output[0] * g.output[1] * LANES;
        let y = at.block * block + (at.row * g.output[1] + at.column) * LANES;
        let residual = if t.residual.is_null() { t.residual } else { t.residual.add(y) };
        finish(&acc, t.activation, residual, t.y.add(y), block);
    }
}
