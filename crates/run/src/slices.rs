//! Which blocks run in slices of rows, so that their expanded tensors never exist (MobileNetV2, §5.1).
//!
//! A block is a depthwise step between pointwise ones that nothing else reads from: every inverted residual without
//! squeeze-and-excite, and in V1, which has no expansions, also a pointwise convolution with the next depthwise one and its
//! pointwise one. Slices give equal bits, so the choice is one of speed and memory alone. Measured on two cores of a Granite Rapids (2 MiB of L2 each), against the
//! layers one by one: 0.83 of the time at 112×112 pixels and 0.97 to 1.03 below on one thread, where they only spare the
//! way to the L3 cache; 0.74 to 0.95 from 14×14 pixels on upwards on two, where they spare forks, too. From three quarters of the L2 cache on, for weights and the block's ends take their part of
//! it: with that limit in place of the whole cache, V2 takes 0.985 of the time on one thread.

use mobilenet_kernels::cpu::Caches;
use mobilenet_kernels::inverted_residual::Layers;
use mobilenet_kernels::layout::blocked_len;

use crate::arena::StepSizes;
use crate::compile::{Compiled, Kernel, Step};
use crate::memory::ValueId;

/// What memory is spent for. Both give the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryUse {
    /// Speed: blocks run in slices where that is faster.
    #[default]
    Fast,
    /// As little as possible: blocks run in slices wherever they can.
    Low,
}

impl MemoryUse {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            MemoryUse::Fast => "fast",
            MemoryUse::Low => "low",
        }
    }
}

/// The steps of a block: places in the program's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The expansion, where the block has one, else the depthwise step.
    pub first: usize,
    pub depthwise: usize,
    /// The last.
    pub project: usize,
}

impl Block {
    pub fn layers<'a>(&self, steps: &'a [Step]) -> Layers<'a> {
        let pointwise = |step: usize| match &steps[step].kernel {
            Kernel::Pointwise(layer) => layer,
            _ => unreachable!("blocks begin and end with pointwise steps"),
        };
        let Kernel::Depthwise(depthwise, _) = &steps[self.depthwise].kernel else {
            unreachable!("between them is a depthwise step");
        };
        let expand = (self.first < self.depthwise).then(|| pointwise(self.first));
        Layers { expand, depthwise, project: pointwise(self.project) }
    }

    /// The values that slices do without.
    pub fn inner<'a>(&self, steps: &'a [Step]) -> impl Iterator<Item = ValueId> + 'a {
        steps[self.first..self.project].iter().map(|step| step.output)
    }

    /// Bytes that an image's inner values take.
    fn inner_bytes(&self, sizes: &[StepSizes]) -> usize {
        let of_image = |step: usize| blocked_len(1, sizes[step].output.c, sizes[step].output.h, sizes[step].output.w);
        (self.first..self.project).map(of_image).sum::<usize>() * size_of::<f32>()
    }

    /// Whether slices are faster than the layers one by one.
    pub fn is_faster(&self, steps: &[Step], sizes: &[StepSizes], threads: usize, caches: Caches) -> bool {
        // Three forks become one where every thread gets rows of an image.
        let shares = threads > 1 && self.layers(steps).parts(1, &sizes[self.depthwise].geometry, threads) >= threads;
        self.inner_bytes(sizes) > caches.l2 / 4 * 3 || shares
    }

    fn overlaps(&self, other: &Block) -> bool {
        self.first <= other.project && other.first <= self.project
    }
}

/// The blocks of a program, in order.
pub(crate) fn blocks(compiled: &Compiled, sizes: &[StepSizes]) -> Vec<Block> {
    let steps = &compiled.steps;
    let is_inner = |step: usize| {
        let value = steps[step].output;
        let reads = |s: &Step| s.inputs.iter().chain(&s.residual).chain(&s.gate).filter(|&&v| v == value).count();
        let is_output = compiled.outputs.iter().any(|(_, v)| *v == value);
        let next_reads = steps.get(step + 1).is_some_and(|next| next.inputs == [value]);
        !is_output && next_reads && steps.iter().map(reads).sum::<usize>() == 1 && steps[step].residual.is_none()
    };
    let is_pointwise = |step: usize| matches!(steps[step].kernel, Kernel::Pointwise(_)) && steps[step].gate.is_none();
    let is_block = |depthwise: usize| {
        let is_depthwise = matches!(steps[depthwise].kernel, Kernel::Depthwise(..)) && steps[depthwise].sums.is_none();
        is_depthwise && is_inner(depthwise) && is_pointwise(depthwise + 1)
    };
    let mut candidates: Vec<Block> = Vec::new();
    for depthwise in (0..steps.len()).filter(|&step| is_block(step)) {
        let has_expand = depthwise > 0 && is_pointwise(depthwise - 1) && is_inner(depthwise - 1);
        let firsts = if has_expand { depthwise - 1..depthwise + 1 } else { depthwise..depthwise + 1 };
        candidates.extend(firsts.map(|first| Block { first, depthwise, project: depthwise + 1 }));
    }
    // In V1 every pointwise convolution ends a block and may begin the next: the largest tensors go first.
    candidates.sort_by_key(|block| std::cmp::Reverse(block.inner_bytes(sizes)));
    let mut blocks: Vec<Block> = Vec::new();
    for block in candidates {
        if !blocks.iter().any(|other| other.overlaps(&block)) {
            blocks.push(block);
        }
    }
    blocks.sort_by_key(|block| block.first);
    blocks
}
