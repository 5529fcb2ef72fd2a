//! Fully connected layers: a matrix times a few vectors, at the speed at which the weights stream in.
//!
//! One panel at a time for up to four images. The sum is split over four accumulators, which are added at the end:
//! a single one would wait for its own last step.

use crate::cpu::Isa;
use crate::epilogue::{Activation, apply};
use crate::f16::Weight;
use crate::isa::Lanes;
use crate::layout::{LANES, blocks, volume};
use crate::pack::{Matrix, Stored};
use crate::pool::Pool;
use crate::split::{Shared, for_each, piece, wanted};

/// Images that share one pass over the weights.
const IMAGES: usize = 4;

/// A fully connected layer with packed weights.
pub struct FullyConnected(Matrix);

impl FullyConnected {
    /// Packs `weights` (outputs×inputs, row-major) and `bias` (empty for none).
    pub fn new(
        isa: Isa,
        inputs: usize,
        outputs: usize,
        weights: &[f32],
        bias: &[f32],
        activation: Activation,
    ) -> FullyConnected {
        FullyConnected(Matrix::new(isa, inputs, outputs, weights, bias, activation))
    }

    /// The same layer with its weights rounded to half precision.
    pub fn in_f16(self) -> Self {
        Self(self.0.in_f16())
    }

    /// The same layer with its weights rounded to bf16; inputs and sums stay in single precision.
    pub fn in_bf16(self) -> Self {
        Self(self.0.in_bf16())
    }

    /// Replaces the weights (outputs×inputs, row-major) and the bias (empty to leave it), in place.
    pub fn set(&mut self, weights: &[f32], bias: &[f32]) {
        self.0.set(weights, bias);
    }

    /// As [`FullyConnected::set`], from the weights of the layer whose input gradient this one gives (inputs×outputs here).
    pub fn set_transposed(&mut self, weights: &[f32]) {
        self.0.set_transposed(weights);
    }

    /// Runs the layer on `images` blocked vectors.
    ///
    /// # Panics
    /// Where a buffer's length does not fit.
    pub fn run(&self, pool: &Pool, images: usize, x: &[f32], y: &mut [f32]) {
        let (x_image, y_image) = (blocks(self.0.inputs) * LANES, blocks(self.0.outputs) * LANES);
        let lens = (volume(&[images, x_image]), volume(&[images, y_image]));
        assert_eq!((x.len(), y.len()), lens, "fully connected buffers");
        let panel_count = blocks(self.0.outputs).div_ceil(self.0.tier.panel_blocks);
        let groups = wanted(pool.threads(), images * self.0.inputs * self.0.outputs).min(panel_count);
        let [single, half, bf16] = self.0.tier.fully_connected;
        let function = match self.0.stored() {
            Stored::F32 => single,
            Stored::F16 => half,
            Stored::Bf16 => bf16,
            Stored::Pairs(_) => unreachable!("the pointwise convolution's"),
        };
        let y = Shared::new(y);
        for_each(pool, groups, |group, _slot| {
            let here = piece(blocks(self.0.outputs), self.0.tier.panel_blocks, groups, group);
            let task = Task {
                x: x.as_ptr(),
                panels: self.0.panel(here.start),
                bias: self.0.bias[here.start * LANES..].as_ptr(),
                y: y.at(here.start * LANES),
                images,
                inputs: self.0.inputs,
                blocks: here.len(),
                x_image,
                y_image,
                activation: self.0.activation,
            };
            // SAFETY: the tier was handed out by detection. All pointers lie in buffers whose lengths were checked
            // above; tasks differ in blocks, so each writes its own part of `y`.
            unsafe { function(&task) }
        });
    }
}

/// Some panels, all images.
pub(crate) struct Task {
    x: *const f32,
    /// Of [`Weight`]s.
    panels: *const u8,
    bias: *const f32,
    y: *mut f32,
    images: usize,
    inputs: usize,
    blocks: usize,
    x_image: usize,
    y_image: usize,
    activation: Activation,
}

/// # Safety
/// The task's pointers cover its images and blocks.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes, W: Weight, const B: usize>(t: &Task) {
    for block in (0..t.blocks).step_by(B) {
        for first in (0..t.images).step_by(IMAGES) {
            // SAFETY: inside the task.
            unsafe {
                match (t.blocks - block, t.images - first) {
                    (b, 1) if b >= B => product::<L, W, B, 1>(t, block, first),
                    (b, 2) if b >= B => product::<L, W, B, 2>(t, block, first),
                    (b, 3) if b >= B => product::<L, W, B, 3>(t, block, first),
                    (b, _) if b >= B => product::<L, W, B, IMAGES>(t, block, first),
                    (_, left) => {
                        for image in first..first + left.min(IMAGES) {
                            product::<L, W, 1, 1>(t, block, image);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn product<L: Lanes, W: Weight, const B: usize, const N: usize>(t: &Task, block: usize, first: usize) {
    const WAYS: usize = 4;
    // SAFETY: the caller's images and blocks lie inside the task.
    unsafe {
        let w = t.panels.cast::<W>().add(block * LANES * t.inputs);
        let x = t.x.add(first * t.x_image);
        let mut acc = [[[L::splat(0.0); N]; B]; WAYS];
        let whole = t.inputs / WAYS * WAYS;
        for i in (0..whole).step_by(WAYS) {
            for (way, acc) in acc.iter_mut().enumerate() {
                step::<L, W, B, N>(acc, w.add((i + way) * B * LANES), x.add(i + way), t.x_image);
            }
        }
        for i in whole..t.inputs {
            step::<L, W, B, N>(&mut acc[0], w.add(i * B * LANES), x.add(i), t.x_image);
        }
        let [first_way, second, third, fourth] = acc;
        for b in 0..B {
            let bias = L::load(t.bias.add((block + b) * LANES));
            for n in 0..N {
                let sum = first_way[b][n].add(second[b][n]).add(third[b][n].add(fourth[b][n]));
                let y = t.y.add((first + n) * t.y_image + (block + b) * LANES);
                apply(t.activation, sum.add(bias)).store(y);
            }
        }
    }
}

/// Adds what one input gives: weights `w` of `B` blocks, and its value in `N` images that are `x_image` apart.
#[inline(always)]
unsafe fn step<L: Lanes, W: Weight, const B: usize, const N: usize>(
    acc: &mut [[L; N]; B],
    w: *const W,
    x: *const f32,
    x_image: usize,
) {
    for (b, acc) in acc.iter_mut().enumerate() {
        // SAFETY: the caller's.
        unsafe {
            let row = W::load::<L>(w.add(b * LANES));
            for (n, acc) in acc.iter_mut().enumerate() {
                *acc = L::splat(*x.add(n * x_image)).mul_add(row, *acc);
            }
        }
    }
}
