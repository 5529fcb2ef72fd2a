//! The memory of one training program at one batch size and resolution.

use std::sync::Arc;

use mobilenet_kernels::layout::{Dims, blocked_len};
use mobilenet_kernels::{Geometry, Pool, grad, norm, pointwise};
use mobilenet_net::graph::{NodeId, Shape, Shapes, Window};
use mobilenet_run::memory::{Memory, ValueId};
use mobilenet_run::plan::Lifetime;
use mobilenet_run::window_geometry;

use crate::error::Error;
use crate::layer::LayerKernels;
use crate::norm::Sums;
use crate::program::TrainProgram;
use crate::steps::{Layer, Size, Step};

/// Values of all steps, forward and back, where the plan put them. Made by [`TrainProgram::arena`].
pub struct TrainArena {
    pub(crate) memory: Memory,
    pub(crate) scratch: ValueId,
    pub(crate) shapes: Shapes,
    pub(crate) pool: Arc<Pool>,
    pub(crate) dropout: Option<u64>,
    /// The place of the first photo in the whole batch, of which the arena's may be a part.
    pub(crate) first_photo: usize,
    input: ValueId,
    result: ValueId,
    result_gradient: ValueId,
}

impl TrainArena {
    pub(crate) fn new(
        program: &TrainProgram,
        n: usize,
        h: usize,
        w: usize,
        pool: &Arc<Pool>,
    ) -> Result<TrainArena, Error> {
        let shapes = program.graph.infer(n, h, w)?;
        let steps = &program.steps;
        let lifetimes = lifetimes(program, &shapes, pool.threads());
        Ok(TrainArena {
            memory: Memory::new(&lifetimes).map_err(|bytes| mobilenet_net::Error::Memory { n, h, w, bytes })?,
            scratch: steps.values.len(),
            shapes,
            pool: pool.clone(),
            dropout: None,
            first_photo: 0,
            input: steps.input,
            result: steps.result,
            result_gradient: steps.result_gradient,
        })
    }

    /// Bytes that an arena would take.
    pub(crate) fn bytes_for(
        program: &TrainProgram,
        n: usize,
        h: usize,
        w: usize,
        threads: usize,
    ) -> Result<usize, Error> {
        let shapes = program.graph.infer(n, h, w)?;
        Ok(Memory::bytes_for(&lifetimes(program, &shapes, threads)))
    }

    /// Where the batch goes, N×3×H×W or N×H×W×3 by the program's order of axes. Steps leave it as it is.
    pub fn input_mut(&mut self) -> &mut [f32] {
        self.memory.write(self.input)
    }

    /// The last forward pass's logits, N×classes.
    pub fn result(&self) -> &[f32] {
        self.memory.read(self.result)
    }

    /// Where the gradient of the logits goes before the way back, N×classes.
    pub fn result_gradient_mut(&mut self) -> &mut [f32] {
        self.memory.write(self.result_gradient)
    }

    /// The last forward pass's logits beside the place of their gradient.
    pub fn result_and_gradient_mut(&mut self) -> (&[f32], &mut [f32]) {
        let ([gradient], [result]) = self.memory.parts([Some(self.result_gradient)], [Some(self.result)]);
        (result, gradient)
    }

    /// Bytes of memory that the arena takes.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Bytes of all values that a step reads or writes.
    pub(crate) fn bytes_of(&self, step: Step) -> usize {
        step.values().map(|value| size_of_val(self.memory.read(value))).sum()
    }

    pub(crate) fn dims(&self, node: NodeId) -> Dims {
        dims(self.shapes[node])
    }

    pub(crate) fn geometry(&self, layer: &Layer, window: Window) -> Geometry {
        window_geometry(window, self.shapes[layer.reads], self.shapes[layer.node])
    }
}

pub(crate) fn dims(shape: Shape) -> Dims {
    Dims { n: shape.n, c: shape.c, h: shape.h, w: shape.w }
}

/// When each value is needed; after all others, the scratch memory of the steps.
fn lifetimes(program: &TrainProgram, shapes: &Shapes, threads: usize) -> Vec<Lifetime> {
    let steps = &program.steps;
    let mut lifetimes: Vec<Lifetime> = steps.values.iter().map(|s| unborn(size_len(*s, shapes))).collect();
    let all: Vec<Step> = steps.forward.iter().chain(&steps.backward).copied().collect();
    for (i, step) in all.iter().enumerate() {
        for value in step.values() {
            let lifetime = &mut lifetimes[value];
            *lifetime = Lifetime { len: lifetime.len, first: lifetime.first.min(i), last: lifetime.last.max(i) };
        }
    }
    // What the caller writes and reads stays through all of a step.
    for value in [steps.input, steps.result, steps.result_gradient] {
        (lifetimes[value].first, lifetimes[value].last) = (0, all.len());
    }
    let scratch = all.iter().map(|step| scratch_len(program, shapes, *step, threads)).max().unwrap_or(0);
    lifetimes.push(Lifetime { len: scratch, first: 0, last: all.len() });
    lifetimes
}

fn unborn(len: usize) -> Lifetime {
    Lifetime { len, first: usize::MAX, last: 0 }
}

fn size_len(size: Size, shapes: &Shapes) -> usize {
    let Shape { n, c, h, w } = shapes[size.node()];
    match size {
        Size::Sums { has_parts, each, .. } => {
            let parts = if has_parts { pointwise::parts(n, h * w) } else { 1 };
            Sums::len(n * parts, c, each)
        }
        Size::Map(_) => blocked_len(n, c, h, w),
        Size::Vector(_) => blocked_len(n, c, 1, 1),
        Size::Plain(_) => n * c * h * w,
    }
}

/// Values of scratch memory that a step needs.
fn scratch_len(program: &TrainProgram, shapes: &Shapes, step: Step, threads: usize) -> usize {
    let of = |layer: usize| {
        let Layer { reads, node, .. } = program.steps.layers[layer];
        (shapes[reads], shapes[node])
    };
    match step {
        Step::Layer { layer, .. } => match &*program.layer(layer) {
            LayerKernels::Pointwise { forward, .. } => forward.scratch(threads),
            LayerKernels::Depthwise { forward, window, .. } => {
                let (reads, node) = of(layer);
                forward.scratch(&window_geometry(*window, reads, node), threads)
            }
            LayerKernels::Dense { .. } | LayerKernels::FullyConnected { .. } => 0,
        },
        Step::LayerGradient { layer, .. } => {
            let (reads, node) = of(layer);
            match &*program.layer(layer) {
                LayerKernels::Depthwise { window, .. } => {
                    grad::depthwise::scratch(node.c, node.n, &window_geometry(*window, reads, node), threads)
                }
                _ => grad::pointwise::scratch(dims(reads), node.c, threads),
            }
        }
        Step::Statistics { value, moments: None, .. } => {
            let shape = shapes[program.steps.values[value].node()];
            Sums::len(shape.n, shape.c, norm::MOMENTS)
        }
        // Sums, and a centre of zeros where there is no batch norm.
        Step::NormGradient { view, .. } => {
            let shape = shapes[program.steps.values[view.value].node()];
            Sums::len(shape.n, shape.c, norm::BACKWARD) + Sums::len(1, shape.c, 1)
        }
        Step::WeightGradient { layer, .. } => {
            let (reads, node) = of(layer);
            let channels = [reads.c, node.c];
            match &*program.layer(layer) {
                LayerKernels::Dense { window, .. } => {
                    grad::dense::scratch(channels, node.n, &window_geometry(*window, reads, node))
                }
                _ => grad::product::scratch(channels),
            }
        }
        _ => 0,
    }
}
