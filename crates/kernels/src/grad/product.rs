//! Weight gradients of products: `∂W[o][i]` = Σ over images and pixels of `∂y[o]` · `x[i]`.
//!
//! A tile is some channels of one operand, its rows, × blocks of the other, its columns; inside, one step a pixel: a row's
//! value is broadcast against the columns' lanes. The operand that fills its blocks better is the columns.

use crate::cpu::Isa;
use crate::isa::{Lanes, Tier};
use crate::layout::{LANES, blocks, volume};
use crate::pool::Pool;
use crate::prefetch::Ahead;
use crate::split::{Shared, for_each, piece, wanted};

/// Pixels of a strip, for which the accumulators are loaded and stored once: both operands of a tile stay in L1.
const STRIP: usize = 64;

/// Which operand is the columns, and the sizes that follow.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Whether the inputs are the columns.
    inputs_are_columns: bool,
    /// Channels of the rows and of the columns.
    pub rows: usize,
    pub columns: usize,
}

impl Shape {
    pub fn of([inputs, outputs]: [usize; 2]) -> Shape {
        /// Rows that every instruction set's tiles divide.
        const ROWS: usize = 8;
        let size = |rows: usize, columns: usize| rows.next_multiple_of(ROWS) * blocks(columns) * LANES;
        let inputs_are_columns = size(outputs, inputs) < size(inputs, outputs);
        let (rows, columns) = if inputs_are_columns { (outputs, inputs) } else { (inputs, outputs) };
        Shape { inputs_are_columns, rows, columns }
    }

    /// Rows and columns, of the input and the output's gradient.
    pub fn rows_and_columns<T>(&self, x: T, dy: T) -> [T; 2] {
        if self.inputs_are_columns { [dy, x] } else { [x, dy] }
    }

    /// Values of the sums, `[block of columns][row][16]`.
    pub fn len(&self) -> usize {
        blocks(self.columns) * self.rows * LANES
    }
}

/// Values of scratch memory of a fully connected layer.
pub fn scratch(channels: [usize; 2]) -> usize {
    Shape::of(channels).len()
}

/// Weight gradient of a fully connected layer: its images are the sum's steps.
///
/// # Panics
/// Where a buffer's length does not fit.
#[expect(clippy::too_many_arguments, reason = "the layer's sizes and its four buffers")]
pub fn fully_connected(
    isa: Isa,
    pool: &Pool,
    [inputs, outputs]: [usize; 2],
    images: usize,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    let (x_pixel, y_pixel) = (blocks(inputs) * LANES, blocks(outputs) * LANES);
    let lens = (volume(&[images, x_pixel]), volume(&[images, y_pixel]));
    assert_eq!((x.len(), dy.len()), lens, "product buffers");
    assert_eq!(dw.len(), inputs * outputs, "weight gradient of {outputs}×{inputs}");
    assert!(scratch.len() >= self::scratch([inputs, outputs]), "scratch for the gradient");
    let (tier, shape) = (Tier::of(isa), Shape::of([inputs, outputs]));
    let sums = &mut scratch[..shape.len()];
    let count = blocks(shape.columns);
    let groups = wanted(pool.threads(), images * inputs * outputs).min(count.div_ceil(tier.gradient_blocks));
    let shared = Shared::new(sums);
    for_each(pool, groups, |group, _slot| {
        let operand = |v: &[f32], pixel| Operand { first: v.as_ptr(), block: LANES, pixel };
        let [rows, columns] = shape.rows_and_columns(operand(x, x_pixel), operand(dy, y_pixel));
        let here = piece(count, tier.gradient_blocks, groups, group);
        let task = Task {
            rows,
            columns: Operand { first: columns.first.wrapping_add(here.start * LANES), ..columns },
            sums: shared.at(here.start * shape.rows * LANES),
            row_count: shape.rows,
            pixels: images,
            blocks: here.len(),
            is_first: true,
            ahead: [Ahead::NONE; 2],
        };
        // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked; tasks
        // differ in their blocks, so each writes its own sums.
        unsafe { (tier.weight_gradient)(&task) }
    });
    gather(pool, sums, 1, shape, dw);
}

/// Adds up `shards` shards of sums, in order, and writes them as outputs×inputs.
pub(crate) fn gather(pool: &Pool, sums: &[f32], shards: usize, shape: Shape, dw: &mut [f32]) {
    let Shape { rows, columns, inputs_are_columns } = shape;
    let tasks = wanted(pool.threads(), 4 * shards * shape.len()).min(blocks(columns));
    let dw = Shared::new(dw);
    for_each(pool, tasks, |task, _slot| {
        for block in piece(blocks(columns), 1, tasks, task) {
            let used = LANES.min(columns - block * LANES);
            for row in 0..rows {
                let at = (block * rows + row) * LANES;
                let mut total: [f32; LANES] = std::array::from_fn(|lane| sums[at + lane]);
                for shard in 1..shards {
                    let values = &sums[shard * shape.len() + at..][..LANES];
                    total.iter_mut().zip(values).for_each(|(t, v)| *t += v);
                }
                for (lane, total) in total.into_iter().enumerate().take(used) {
                    let column = block * LANES + lane;
                    let at = if inputs_are_columns { row * columns + column } else { column * rows + row };
                    // SAFETY: below rows · columns, and of a column of this task's block.
                    unsafe { *dw.at(at) = total };
                }
            }
        }
    });
}

/// A blocked tensor, or a part of one.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    pub first: *const f32,
    /// Values between its blocks, and between its pixels.
    pub block: usize,
    pub pixel: usize,
}

/// Some blocks of the columns.
pub(crate) struct Task {
    pub rows: Operand,
    pub columns: Operand,
    /// `[block][row][16]`.
    pub sums: *mut f32,
    pub row_count: usize,
    pub pixels: usize,
    pub blocks: usize,
    /// Whether the sums begin at zero.
    pub is_first: bool,
    /// Prefetched pixel by pixel as the task's own.
    pub ahead: [Ahead; 2],
}

impl Task {
    /// The `n`th block of all that is ahead.
    #[inline(always)]
    fn ahead_of(&self, n: usize) -> Option<*const f32> {
        let [first, second] = &self.ahead;
        first.block(n).or_else(|| second.block(n.wrapping_sub(first.blocks())))
    }
}

/// # Safety
/// The task's pointers cover its pixels and blocks.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes, const R: usize, const B: usize>(t: &Task) {
    for first in (0..t.pixels).step_by(STRIP) {
        let count = STRIP.min(t.pixels - first);
        let is_first = t.is_first && first == 0;
        let mut prefetched = 0;
        for block in (0..t.blocks).step_by(B) {
            for row in (0..t.row_count).step_by(R) {
                let ahead = [0, 1].map(|n| t.ahead_of(prefetched + n).map(|p| p.wrapping_add(first * LANES)));
                prefetched += ahead.len();
                // A tile without anything ahead asks for what it reads in any case.
                let ahead = ahead.map(|p| p.unwrap_or(t.columns.first));
                let at = At { first, count, block, row, ahead };
                // SAFETY: the caller's.
                unsafe {
                    match (B.min(t.blocks - block), is_first) {
                        (1, true) => tile::<L, R, 1, true>(t, at),
                        (1, false) => tile::<L, R, 1, false>(t, at),
                        (2, true) if B > 2 => tile::<L, R, 2, true>(t, at),
                        (2, false) if B > 2 => tile::<L, R, 2, false>(t, at),
                        (_, true) => tile::<L, R, B, true>(t, at),
                        (_, false) => tile::<L, R, B, false>(t, at),
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct At {
    first: usize,
    count: usize,
    block: usize,
    row: usize,
    /// Prefetched a pixel at a time beside the tile's own.
    ahead: [*const f32; 2],
}

/// `R` rows × `B` blocks of columns. `R` divides sixteen, so that a tile's rows lie within a block; those beyond the last
/// are computed and dropped.
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize, const B: usize, const FIRST: bool>(t: &Task, at: At) {
    // SAFETY: the caller's channels and pixels exist; lanes beyond the last channel are readable.
    unsafe {
        let used = R.min(t.row_count - at.row);
        let sum = |r: usize, b: usize| t.sums.add(((at.block + b) * t.row_count + at.row + r) * LANES);
        let mut acc = [[L::splat(0.0); B]; R];
        if !FIRST {
            for (r, acc) in acc.iter_mut().enumerate() {
                if r < used {
                    for (b, acc) in acc.iter_mut().enumerate() {
                        *acc = L::load(sum(r, b));
                    }
                }
            }
        }
        let mut rows = t.rows.first.add(at.first * t.rows.pixel + at.row / LANES * t.rows.block + at.row % LANES);
        let mut columns = t.columns.first.add(at.block * t.columns.block + at.first * t.columns.pixel);
        for pixel in 0..at.count {
            at.ahead.iter().for_each(|a| L::prefetch(a.wrapping_add(pixel * LANES)));
            let lanes: [L; B] = std::array::from_fn(|b| L::load(columns.add(b * t.columns.block)));
            for (r, acc) in acc.iter_mut().enumerate() {
                let value = L::splat(*rows.add(r));
                for b in 0..B {
                    acc[b] = value.mul_add(lanes[b], acc[b]);
                }
            }
            rows = rows.add(t.rows.pixel);
            columns = columns.add(t.columns.pixel);
        }
        for (r, acc) in acc.iter().enumerate() {
            if r < used {
                for (b, acc) in acc.iter().enumerate() {
                    acc.store(sum(r, b));
                }
            }
        }
    }
}
