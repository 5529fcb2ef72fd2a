//! Expansion, depthwise convolution and projection in slices of rows, so that the expanded tensor never exists as a whole
//! (MobileNetV2, arXiv 1801.04381, §5.1; slices of rows in place of channels, whose halves would still be planes).
//!
//! A task keeps a window of expanded rows, computes the rows that the next slice of output lacks, filters the slice and
//! projects it, all of it in the L2 cache. Sums have the same order as in the three layers one by one: equal bits.

use std::ops::Range;

use crate::depthwise::Depthwise;
use crate::layout::{LANES, blocked_len, blocks, volume};
use crate::pointwise::{PixelStrip, Pointwise};
use crate::pool::Pool;
use crate::prefetch::Ahead;
use crate::split::{Shared, for_each, piece, wanted};
use crate::window::Geometry;

/// Bytes of a slice, expanded and filtered: part of a small L2 cache.
const SLICE_BYTES: usize = 288 << 10;
/// Fewest rows of output in a task: each expands the rows around its own once more.
const FEWEST_ROWS: usize = 7;

/// The layers of a block that run as one. None of them has a prologue.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    /// The expansion; without, the depthwise convolution reads the block's input.
    pub expand: Option<&'a Pointwise>,
    /// The depthwise convolution.
    pub depthwise: &'a Depthwise,
    /// The projection.
    pub project: &'a Pointwise,
}

/// What one call works on.
pub struct Call<'a> {
    /// Images.
    pub images: usize,
    /// The depthwise convolution's window.
    pub geometry: Geometry,
    /// Blocked input.
    pub x: &'a [f32],
    /// Blocked output.
    pub y: &'a mut [f32],
    /// Added after the projection; laid out as the output.
    pub residual: Option<&'a [f32]>,
    /// At least [`Layers::scratch`] values.
    pub scratch: &'a mut [f32],
}

/// The sizes of a slice.
#[derive(Clone, Copy)]
struct Slice {
    /// Rows of output.
    rows: usize,
    /// Rows of the window of expanded rows; none where there is no expansion.
    window: usize,
    /// Blocks of the expanded tensor, and values of one of its rows, before and behind the depthwise convolution.
    blocks: usize,
    line: [usize; 2],
}

impl Slice {
    fn of(layers: &Layers, g: &Geometry) -> Slice {
        let blocks = blocks(layers.depthwise.channels());
        let line = [g.input[1], g.output[1]].map(|width| width * LANES);
        let reach = (g.kernel[0] - 1) * g.dilation[0] + 1;
        // Rows that a further row of output needs.
        let row_bytes = blocks * (g.stride[0] * line[0] + line[1]) * size_of::<f32>();
        let first_bytes = blocks * reach.saturating_sub(g.stride[0]) * line[0] * size_of::<f32>();
        let rows = (SLICE_BYTES.saturating_sub(first_bytes) / row_bytes).clamp(1, g.output[0].max(1));
        let window = layers.expand.map_or(0, |_| ((rows - 1) * g.stride[0] + reach).min(g.input[0]));
        Slice { rows, window, blocks, line }
    }

    /// Values of the window and of the filtered slice.
    fn lens(&self) -> [usize; 2] {
        [self.blocks * self.window * self.line[0], self.blocks * self.rows * self.line[1]]
    }
}

impl Layers<'_> {
    /// Values of scratch memory for `threads` threads.
    pub fn scratch(&self, geometry: &Geometry, threads: usize) -> usize {
        let of_pointwise = self.expand.iter().chain([&self.project]).map(|layer| layer.scratch_for(false, 1)).max();
        threads * (Slice::of(self, geometry).lens().iter().sum::<usize>() + of_pointwise.unwrap_or(0))
    }

    /// Tasks that an image is cut into for `threads` threads.
    pub fn parts(&self, images: usize, geometry: &Geometry, threads: usize) -> usize {
        let ([in_pixels, out_pixels], expanded) = (geometry.pixels(), self.depthwise.channels());
        let expansion = self.expand.map_or(0, |layer| in_pixels * layer.inputs());
        let filter = geometry.kernel.iter().product::<usize>() + self.project.outputs();
        let work = images * expanded * (expansion + out_pixels * filter);
        wanted(threads, work).div_ceil(images.max(1)).min(geometry.output[0] / FEWEST_ROWS).max(1)
    }

    /// Runs the block.
    ///
    /// # Panics
    /// Where a buffer's length or a layer does not fit.
    pub fn run(&self, pool: &Pool, call: Call) {
        let Call { images, geometry, x, y, residual, scratch } = call;
        geometry.check();
        let [in_pixels, out_pixels] = geometry.pixels();
        let expanded = self.depthwise.channels();
        let inputs = self.expand.map_or(expanded, Pointwise::inputs);
        assert!(self.expand.is_none_or(|layer| layer.outputs() == expanded), "the expansion's outputs");
        assert_eq!(self.project.inputs(), expanded, "the projection's inputs");
        let (x_image, y_image) =
            (blocked_len(1, inputs, in_pixels, 1), blocked_len(1, self.project.outputs(), out_pixels, 1));
        let lens = (volume(&[images, x_image]), volume(&[images, y_image]));
        assert_eq!((x.len(), y.len()), lens, "buffers of an inverted residual");
        assert!(residual.is_none_or(|r| r.len() == y.len()), "the residual lies as the output does");
        assert!(scratch.len() >= self.scratch(&geometry, pool.threads()), "scratch for every thread");
        let slice = Slice::of(self, &geometry);
        let parts = self.parts(images, &geometry, pool.threads());
        let ([window_len, filtered_len], slot_len) = (slice.lens(), self.scratch(&geometry, 1));
        let (y, scratch) = (Shared::new(y), Shared::new(scratch));
        for_each(pool, images * parts, |task, slot| {
            let (image, part) = (task / parts, task % parts);
            let window = scratch.at(slot * slot_len);
            let at = image * y_image;
            let task = Task {
                layers: *self,
                geometry,
                slice,
                x: x[image * x_image..].as_ptr(),
                y: y.at(at),
                residual: residual.map_or(std::ptr::null(), |r| r[at..].as_ptr()),
                window,
                filtered: window.wrapping_add(window_len),
                scratch: window.wrapping_add(window_len + filtered_len),
            };
            // SAFETY: all pointers lie in buffers whose lengths were checked above; tasks differ in image or rows, so
            // each writes its own part of `y`, and each slot its own part of `scratch`.
            unsafe { task.run(piece(geometry.output[0], 1, parts, part)) }
        });
    }
}

/// Some rows of one image.
struct Task<'a> {
    layers: Layers<'a>,
    geometry: Geometry,
    slice: Slice,
    x: *const f32,
    y: *mut f32,
    residual: *const f32,
    /// Expanded rows `[block][row]`, and the filtered slice `[block][row]`.
    window: *mut f32,
    filtered: *mut f32,
    /// For the pointwise layers.
    scratch: *mut f32,
}

impl Task<'_> {
    /// # Safety
    /// The task's pointers cover its image.
    unsafe fn run(&self, rows: Range<usize>) {
        let g = &self.geometry;
        // Rows of the input that the window holds.
        let mut held = 0..0;
        for first in rows.clone().step_by(self.slice.rows) {
            let slice = first..(first + self.slice.rows).min(rows.end);
            let start = g.start(0, slice.start).max(0) as usize;
            let end = g.start(0, slice.end - 1) + ((g.kernel[0] - 1) * g.dilation[0]) as isize + 1;
            let needed = start.min(g.input[0])..(end.max(0) as usize).min(g.input[0]);
            // SAFETY: the caller's.
            unsafe {
                if let Some(expand) = self.layers.expand {
                    self.expand(expand, &mut held, needed);
                }
                self.filter(slice.clone(), held.start);
                self.project(slice);
            }
        }
    }

    /// Moves the window to the `needed` rows: keeps those that it holds, computes the others.
    unsafe fn expand(&self, layer: &Pointwise, held: &mut Range<usize>, needed: Range<usize>) {
        let ([in_line, _], plane) = (self.slice.line, self.slice.window * self.slice.line[0]);
        let kept = needed.start.max(held.start)..held.end.max(needed.start);
        let missing = kept.end..needed.end.max(kept.end);
        // SAFETY: rows lie inside the window, which holds as many as a slice needs; the input's inside the image.
        unsafe {
            if !kept.is_empty() && kept.start > held.start {
                for block in 0..self.slice.blocks {
                    let to = self.window.add(block * plane);
                    std::ptr::copy(to.add((kept.start - held.start) * in_line), to, kept.len() * in_line);
                }
            }
            if !missing.is_empty() {
                layer.run_strip(PixelStrip {
                    x: self.x.add(missing.start * in_line),
                    x_block: self.geometry.pixels()[0] * LANES,
                    ahead: Ahead::NONE,
                    y: self.window.add((missing.start - needed.start) * in_line),
                    y_block: plane,
                    residual: std::ptr::null(),
                    pixels: missing.len() * self.geometry.input[1],
                    scratch: self.scratch,
                });
            }
        }
        *held = needed.start..missing.end;
    }

    /// The depthwise convolution of a slice of output rows; the window begins at row `held`.
    unsafe fn filter(&self, slice: Range<usize>, held: usize) {
        let [in_line, out_line] = self.slice.line;
        for block in 0..self.slice.blocks {
            let x = match self.layers.expand {
                // The rows above the window are not read.
                Some(_) => self.window.wrapping_add(block * self.slice.window * in_line).wrapping_sub(held * in_line),
                None => self.x.wrapping_add(block * self.geometry.input[0] * in_line).cast_mut(),
            };
            let y = self.filtered.wrapping_add(block * self.slice.rows * out_line).wrapping_sub(slice.start * out_line);
            // SAFETY: the window holds all rows that the slice sees, and the filtered slice has room for it.
            unsafe { self.layers.depthwise.rows_of_plane(self.geometry, slice.clone(), block, x, y, std::ptr::null()) }
        }
    }

    unsafe fn project(&self, slice: Range<usize>) {
        let out_line = self.slice.line[1];
        let at = slice.start * out_line;
        let strip = PixelStrip {
            x: self.filtered,
            x_block: self.slice.rows * out_line,
            ahead: Ahead::NONE,
            y: self.y.wrapping_add(at),
            y_block: self.geometry.pixels()[1] * LANES,
            residual: if self.residual.is_null() { self.residual } else { self.residual.wrapping_add(at) },
            pixels: slice.len() * self.geometry.output[1],
            scratch: self.scratch,
        };
        // SAFETY: the slice lies inside the output, as its filtered rows do in theirs.
        unsafe { self.layers.project.run_strip(strip) }
    }
}
