//! A network compiled for training: forward with the batch's statistics and back, as two planned lists of steps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mobilenet_kernels::layout::Order;
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::graph::{Graph, NodeId, Parameter};
use mobilenet_net::tensor::{Params, Tensor};
use mobilenet_run::MemoryUse;

use crate::arena::TrainArena;
use crate::differentiate::differentiate;
use crate::error::Error;
use crate::layer::LayerKernels;
use crate::norm::NormState;
use crate::steps::{Step, Steps};
use crate::together::Together;

/// What a training program is compiled for.
#[derive(Clone, Copy, Debug)]
pub struct TrainOptions {
    /// The instruction set.
    pub isa: Isa,
    /// Order of axes of the input.
    pub order: Order,
    /// What is kept for the way back: every layer's output, or thin tensors alone, from which expanded ones are computed
    /// anew, to the same bits (arXiv 1604.06174).
    pub memory: MemoryUse,
}

impl Default for TrainOptions {
    /// The best instruction set that this processor has, and PyTorch's order.
    fn default() -> TrainOptions {
        TrainOptions { isa: Isa::detect(), order: Order::Nchw, memory: MemoryUse::Fast }
    }
}

/// Whose mean and variance batch norm uses, and what becomes of the running ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistics {
    /// The batch's. The running ones move towards them by this share (PyTorch's momentum), the variance unbiased.
    Batch {
        /// The share.
        momentum: f32,
    },
    /// The running ones, left as they are.
    Running,
}

/// How the network is run forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forward {
    /// For batch norm.
    pub statistics: Statistics,
    /// Dropout's random zeros follow from this number; without it nothing is dropped.
    pub dropout: Option<u64>,
}

impl Forward {
    /// As when the network is used.
    pub const EVALUATION: Forward = Forward { statistics: Statistics::Running, dropout: None };
}

/// A network ready to be trained at any batch and resolution.
///
/// ```
/// # use mobilenet_net::{arch, init};
/// # use mobilenet_train::program::{Forward, Statistics, TrainProgram};
/// # use mobilenet_kernels::Pool;
/// # use std::sync::Arc;
/// let graph = arch::find("mobilenet_v2")?.graph(&arch::Spec { width: 0.35, classes: 10, ..Default::default() })?;
/// let mut program = TrainProgram::compile(&graph, &init::random(&graph, 1), Default::default())?;
/// let mut arena = program.arena(8, 32, 32, &Arc::new(Pool::new(2)))?;
/// arena.input_mut().fill(0.5);
/// program.forward(&mut arena, Forward { statistics: Statistics::Batch { momentum: 0.1 }, dropout: Some(1) });
/// arena.result_gradient_mut().fill(0.1); // ∂loss/∂logits
/// program.backward(&mut arena);
/// assert_eq!(program.gradients().len(), program.parameters().len());
/// # Ok::<(), mobilenet_train::Error>(())
/// ```
pub struct TrainProgram {
    pub(crate) graph: Graph,
    pub(crate) steps: Steps,
    pub(crate) options: TrainOptions,
    parameters: Vec<Parameter>,
    pub(crate) values: Vec<Vec<f32>>,
    pub(crate) gradients: Vec<Vec<f32>>,
    layers: Vec<Mutex<LayerKernels>>,
    pub(crate) norms: Vec<NormState>,
    /// Whether weights changed since they were packed.
    is_stale: bool,
    pub(crate) statistics: Statistics,
    /// Where other ranks learn parts of every batch.
    pub(crate) together: Option<Together>,
}

impl TrainProgram {
    /// Differentiates `graph` and takes its weights, as `f32`, from `params`.
    ///
    /// # Errors
    /// Where an operator cannot be trained, or a parameter is missing or misshapen.
    pub fn compile(graph: &Graph, params: &Params, options: TrainOptions) -> Result<TrainProgram, Error> {
        let steps = differentiate(graph, options.memory)?;
        let parameters = graph.parameters();
        let mut values = Vec::with_capacity(parameters.len());
        for parameter in &parameters {
            let found = params.tensors.get(&parameter.name).filter(|t| t.shape() == parameter.shape);
            let tensor = found.cloned().ok_or_else(|| {
                let Parameter { name, shape, .. } = parameter;
                mobilenet_net::Error::Config(format!("the weights have no tensor {name} of shape {shape:?}"))
            })?;
            values.push(tensor.into_f32());
        }
        let gradients = values.iter().map(|v| vec![0.0; v.len()]).collect();
        let layers =
            steps.layers.iter().map(|l| Mutex::new(LayerKernels::new(graph, l, &values, options.isa))).collect();
        let norms = steps.norms.iter().map(|n| NormState::new(graph[n.node].channels)).collect();
        let graph = graph.clone();
        let statistics = Statistics::Running;
        Ok(TrainProgram {
            graph,
            steps,
            options,
            parameters,
            values,
            gradients,
            layers,
            norms,
            is_stale: false,
            statistics,
            together: None,
        })
    }

    /// Memory for batches of `n` images of `h`×`w` pixels, worked on by the threads of `pool`.
    ///
    /// # Errors
    /// Where the network cannot take that size, or the system has no memory for it.
    pub fn arena(&self, n: usize, h: usize, w: usize, pool: &Arc<Pool>) -> Result<TrainArena, Error> {
        TrainArena::new(self, n, h, w, pool)
    }

    /// Bytes that such an arena takes, for so many threads.
    ///
    /// # Errors
    /// Where the network cannot take that size.
    pub fn arena_bytes(&self, n: usize, h: usize, w: usize, threads: usize) -> Result<usize, Error> {
        TrainArena::bytes_for(self, n, h, w, threads)
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The network's tensors, in the order of all below: weights, and batch norm's running statistics among them.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Their values, in PyTorch's shapes.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// Their values to be changed, beside the gradients; their number is not to change.
    pub fn values_mut(&mut self) -> (&mut [Vec<f32>], &[Vec<f32>]) {
        self.is_stale = true;
        (&mut self.values, &self.gradients)
    }

    /// Puts other values, in the parameters' order and sizes, in place of all.
    pub(crate) fn set_values(&mut self, values: Vec<Vec<f32>>) {
        self.is_stale = true;
        self.values = values;
    }

    /// Gradients of the last [`TrainProgram::backward`]; zero for running statistics.
    pub fn gradients(&self) -> &[Vec<f32>] {
        &self.gradients
    }

    /// The weights and statistics as named tensors.
    pub fn params(&self) -> Params {
        let named = |(p, v): (&Parameter, &Vec<f32>)| (p.name.clone(), Tensor::from_f32(&p.shape, v.clone()));
        Params { tensors: self.parameters.iter().zip(&self.values).map(named).collect(), ..Params::default() }
    }

    /// From the arena's input to its result.
    ///
    /// # Panics
    /// Where the arena is another program's, with values of other sizes.
    pub fn forward(&mut self, arena: &mut TrainArena, forward: Forward) {
        self.begin(arena, forward);
        for i in 0..self.steps.forward.len() {
            self.step(self.steps.forward[i], arena);
        }
    }

    /// From the gradient of the arena's result, of the logits that the last [`TrainProgram::forward`] gave, to all gradients.
    ///
    /// # Panics
    /// As [`TrainProgram::forward`].
    pub fn backward(&mut self, arena: &mut TrainArena) {
        if self.together.is_some() {
            return self.backward_together(Some(arena));
        }
        for i in 0..self.steps.backward.len() {
            self.step(self.steps.backward[i], arena);
        }
    }

    /// Notes how the pass is to be run, and packs weights that have changed.
    pub(crate) fn begin(&mut self, arena: &mut TrainArena, forward: Forward) {
        self.statistics = forward.statistics;
        arena.dropout = forward.dropout;
        if std::mem::take(&mut self.is_stale) {
            let layers = &self.layers;
            arena.pool.run(layers.len(), |i, _slot| lock(&layers[i]).set(&self.steps.layers[i], &self.values));
        }
    }

    pub(crate) fn layer(&self, layer: usize) -> MutexGuard<'_, LayerKernels> {
        lock(&self.layers[layer])
    }

    /// The node that a step is of, and its kernel: `pointwise`, `pointwise gradients`, `statistics`, …
    pub(crate) fn kernel(&self, step: Step) -> (NodeId, &'static str) {
        let layer = |l: usize| (self.steps.layers[l].node, self.layer(l).names());
        let value = |v: usize| self.steps.values[v].node();
        match step {
            Step::Layer { layer: l, .. } => (layer(l).0, layer(l).1.forward),
            Step::LayerGradient { layer: l, .. } => (layer(l).0, layer(l).1.both),
            Step::InputGradient { layer: l, .. } => (layer(l).0, layer(l).1.input),
            Step::WeightGradient { layer: l, .. } => (layer(l).0, layer(l).1.weight),
            Step::Statistics { value: v, .. } => (value(v), "statistics"),
            Step::NormGradient { view, .. } => (value(view.value), "statistics back"),
            Step::ViewGradient { output, .. } => (value(output), "normalise back"),
            Step::WriteOut { output, .. } => (value(output), "write out"),
            Step::Pool { output, .. } => (value(output), "pool"),
            Step::GateGradient { output, .. } => (value(output), "gate gradient"),
            Step::Dropout { output, .. } | Step::DropoutGradient { output, .. } => (value(output), "dropout"),
            Step::PoolGradient { output, .. } => (value(output), "pool gradient"),
            Step::Add { output, .. } => (value(output), "add"),
            Step::ToPlain { output, .. } | Step::FromPlain { output, .. } => (value(output), "convert"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use mobilenet_net::graph::{Node, Op, Padding, Window};
    use mobilenet_net::init;

    use super::*;

    #[test]
    fn a_pointwise_layer_over_the_images_themselves_is_refused_by_name() {
        let node = |name: &str, op, inputs: &[usize], channels| Node {
            name: name.into(),
            op,
            inputs: inputs.iter().map(|&i| NodeId(i)).collect(),
            channels,
        };
        let window = Window { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], padding: Padding::Symmetric };
        let graph = Graph {
            nodes: vec![
                node("input", Op::Input, &[], 3),
                node("first", Op::Convolution { window, out: 4, bias: false }, &[0], 4),
                node("pool", Op::GlobalAveragePool, &[1], 4),
            ],
            outputs: vec![("logits".into(), NodeId(2))],
            taps: Vec::new(),
        };
        let error = TrainProgram::compile(&graph, &init::random(&graph, 1), TrainOptions::default()).err();
        let text = error.expect("such a layer reads blocked memory").to_string();
        assert!(text.starts_with("first: ") && text.ends_with(" cannot be trained"), "{text}");
    }
}
