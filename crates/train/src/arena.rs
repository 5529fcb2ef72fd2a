//! The memory of one training program at one batch size and resolution.

use std::sync::Arc;

use mobilenet_kernels::layout::{Dims, blocked_len};
use mobilenet_kernels::{Geometry, Pool, grad};
use mobilenet_net::graph::{NodeId, Shape, Shapes, Window};
use mobilenet_run::memory::{Memory, ValueId};
use mobilenet_run::plan::Lifetime;
use mobilenet_run::window_geometry;

use crate::differentiate::{Layer, Size, Step, View};
use crate::error::Error;
use crate::layer::LayerKernels;
use crate::norm::Sums;
use crate::program::TrainProgram;

/// Values of all steps, forward and back, where the plan put them. Made by [`TrainProgram::arena`].
pub struct TrainArena {
    pub(crate) memory: Memory,
    pub(crate) scratch: ValueId,
    pub(crate) shapes: Shapes,
    pub(crate) pool: Arc<Pool>,
    pub(crate) dropout: Option<u64>,
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
        let mut lifetimes: Vec<Lifetime> = steps.values.iter().map(|s| unborn(size_len(*s, &shapes))).collect();
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
        let threads = pool.threads();
        let scratch = all.iter().map(|step| scratch_len(program, &shapes, *step, threads)).max().unwrap_or(0);
        lifetimes.push(Lifetime { len: scratch, first: 0, last: all.len() });
        Ok(TrainArena {
            memory: Memory::new(&lifetimes).map_err(|bytes| mobilenet_net::Error::Memory { n, h, w, bytes })?,
            scratch: steps.values.len(),
            shapes,
            pool: pool.clone(),
            dropout: None,
            input: steps.input,
            result: steps.result,
            result_gradient: steps.result_gradient,
        })
    }

    /// Where the batch goes, in the program's order of axes. Steps leave it as it is.
    pub fn input_mut(&mut self) -> &mut [f32] {
        self.memory.write(self.input)
    }

    /// The last forward pass's logits, N×classes.
    pub fn result(&self) -> &[f32] {
        self.memory.read(self.result)
    }

    /// Both [`result`](Self::result) and [`result_gradient_mut`](Self::result_gradient_mut).
    pub fn result_and_gradient_mut(&mut self) -> (&[f32], &mut [f32]) {
        let ([gradient], [result]) = self.memory.parts([Some(self.result_gradient)], [Some(self.result)]);
        (result, gradient)
    }

    /// Where the gradient of the logits goes before the way back.
    pub fn result_gradient_mut(&mut self) -> &mut [f32] {
        self.memory.write(self.result_gradient)
    }

    /// Bytes of memory that the arena takes.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
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

fn unborn(len: usize) -> Lifetime {
    Lifetime { len, first: usize::MAX, last: 0 }
}

fn size_len(size: Size, shapes: &Shapes) -> usize {
    let Shape { n, c, h, w } = shapes[size.node()];
    match size {
        Size::Map(_) => blocked_len(n, c, h, w),
        Size::Vector(_) => blocked_len(n, c, 1, 1),
        Size::Plain(_) => n * c * h * w,
    }
}

impl Size {
    pub(crate) fn node(self) -> NodeId {
        match self {
            Size::Map(node) | Size::Vector(node) | Size::Plain(node) => node,
        }
    }
}

impl View {
    fn values(self) -> [Option<ValueId>; 2] {
        [Some(self.value), self.gate]
    }
}

impl Step {
    /// Every value that the step reads or writes.
    fn values(self) -> impl Iterator<Item = ValueId> {
        let mut all = [None; 6];
        let mut add = |values: &[Option<ValueId>]| {
            for value in values {
                let free = all.iter_mut().find(|v| v.is_none());
                *free.expect("six values at most") = *value;
            }
        };
        match self {
            Step::Layer { input, output, .. } | Step::Pool { view: input, output } => {
                add(&[Some(output)]);
                add(&input.values());
            }
            Step::Statistics { value, .. } => add(&[Some(value)]),
            Step::WriteOut { view, add: other, output } => {
                add(&[Some(output), other]);
                add(&view.values());
            }
            Step::Dropout { input, mask, output, .. } => add(&[Some(input), Some(mask), Some(output)]),
            Step::Add { a, b, output } => add(&[Some(a), Some(b), Some(output)]),
            Step::ToPlain { input, output } | Step::FromPlain { input, output } => add(&[Some(input), Some(output)]),
            Step::GateGradient { view, gradient, output } => {
                add(&[Some(gradient), Some(output)]);
                add(&view.values());
            }
            Step::ViewGradient { view, gradient, spread, output, .. } => {
                add(&[gradient, spread, Some(output)]);
                add(&view.values());
            }
            Step::WeightGradient { input, gradient, .. } => {
                add(&[Some(gradient)]);
                add(&input.values());
            }
            Step::InputGradient { gradient, add: other, output, .. } => add(&[Some(gradient), other, Some(output)]),
            Step::PoolGradient { gradient, output, .. } => add(&[Some(gradient), Some(output)]),
            Step::DropoutGradient { mask, gradient, output } => add(&[Some(mask), Some(gradient), Some(output)]),
        }
        all.into_iter().flatten()
    }
}

/// Values of scratch memory that a step needs.
fn scratch_len(program: &TrainProgram, shapes: &Shapes, step: Step, threads: usize) -> usize {
    // The way back needs two sums and a value a lane; with one image that is as much as three.
    let sums = |node: NodeId| Sums::len(shapes[node].n, shapes[node].c, 3);
    match step {
        Step::Layer { layer, .. } => {
            let of = &program.steps.layers[layer];
            match &*program.layer(layer) {
                LayerKernels::Pointwise { forward, .. } => forward.scratch(threads),
                LayerKernels::Depthwise { forward, window, .. } => {
                    forward.scratch(&window_geometry(*window, shapes[of.reads], shapes[of.node]), threads)
                }
                LayerKernels::Dense { .. } | LayerKernels::FullyConnected { .. } => 0,
            }
        }
        Step::Statistics { value, .. } => sums(program.steps.values[value].node()),
        Step::ViewGradient { output, .. } => sums(program.steps.values[output].node()),
        Step::WeightGradient { layer, .. } => {
            let of = &program.steps.layers[layer];
            let (reads, node) = (shapes[of.reads], shapes[of.node]);
            let channels = [reads.c, node.c];
            match &*program.layer(layer) {
                LayerKernels::Pointwise { .. } => grad::product::scratch(channels, node.n, threads),
                LayerKernels::FullyConnected { .. } => grad::product::scratch(channels, 1, threads),
                LayerKernels::Depthwise { window, .. } => {
                    grad::depthwise::scratch(node.c, node.n, &window_geometry(*window, reads, node), threads)
                }
                LayerKernels::Dense { window, .. } => {
                    grad::dense::scratch(channels, node.n, &window_geometry(*window, reads, node))
                }
            }
        }
        _ => 0,
    }
}
