//! A network compiled for training: forward with the batch's statistics and back, as two planned lists of steps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mobilenet_kernels::layout::Order;
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::graph::{Graph, Parameter};
use mobilenet_net::tensor::{Params, Tensor};

use crate::arena::TrainArena;
use crate::differentiate::{Step, Steps, differentiate};
use crate::error::Error;
use crate::layer::LayerKernels;
use crate::norm::NormState;

/// What a training program is compiled for.
#[derive(Clone, Copy, Debug)]
pub struct TrainOptions {
    /// The instruction set.
    pub isa: Isa,
    /// Order of axes of the input.
    pub order: Order,
}

impl Default for TrainOptions {
    /// The best instruction set that this processor has, and PyTorch's order.
    fn default() -> TrainOptions {
        TrainOptions { isa: Isa::detect(), order: Order::Nchw }
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
}

impl TrainProgram {
    /// Differentiates `graph` and takes its weights, as `f32`, from `params`.
    ///
    /// # Errors
    /// Where an operator cannot be trained, or a parameter is missing or misshapen.
    pub fn compile(graph: &Graph, params: &Params, options: TrainOptions) -> Result<TrainProgram, Error> {
        let steps = differentiate(graph)?;
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
        })
    }

    /// Memory for batches of `n` images of `h`×`w` pixels, worked on by the threads of `pool`.
    ///
    /// # Errors
    /// Where the network cannot take that size.
    pub fn arena(&self, n: usize, h: usize, w: usize, pool: &Arc<Pool>) -> Result<TrainArena, Error> {
        TrainArena::new(self, n, h, w, pool)
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

    /// Their values to be changed, beside the gradients.
    pub fn values_mut(&mut self) -> (&mut [Vec<f32>], &[Vec<f32>]) {
        self.is_stale = true;
        (&mut self.values, &self.gradients)
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
    pub fn forward(&mut self, arena: &mut TrainArena, forward: Forward) {
        self.begin(arena, forward);
        for i in 0..self.steps.forward.len() {
            self.step(self.steps.forward[i], arena);
        }
    }

    /// From the gradient of the arena's result, as the last [`TrainProgram::forward`] gave it, to all gradients.
    pub fn backward(&mut self, arena: &mut TrainArena) {
        for i in 0..self.steps.backward.len() {
            self.step(self.steps.backward[i], arena);
        }
    }

    /// As a forward and a backward pass, calling `observe` with the name of each step after it. The result's gradient is
    /// what the arena holds; the weights are those that were packed last.
    pub fn step_observed(&mut self, arena: &mut TrainArena, forward: Forward, mut observe: impl FnMut(String)) {
        self.begin(arena, forward);
        for step in self.steps.forward.clone().into_iter().chain(self.steps.backward.clone()) {
            self.step(step, arena);
            observe(self.describe(step));
        }
    }

    /// Packs weights that have changed, and notes how the pass is to be run.
    fn begin(&mut self, arena: &mut TrainArena, forward: Forward) {
        if std::mem::take(&mut self.is_stale) {
            let layers = &self.layers;
            arena.pool.run(layers.len(), |i, _slot| lock(&layers[i]).set(&self.steps.layers[i], &self.values));
        }
        self.statistics = forward.statistics;
        arena.dropout = forward.dropout;
    }

    pub(crate) fn layer(&self, layer: usize) -> MutexGuard<'_, LayerKernels> {
        lock(&self.layers[layer])
    }

    /// What a step is, and of which node.
    fn describe(&self, step: Step) -> String {
        let layer = |l: usize| &self.graph[self.steps.layers[l].node].name;
        let value = |v: usize| &self.graph[self.steps.values[v].node()].name;
        match step {
            Step::Layer { layer: l, .. } => format!("forward {}", layer(l)),
            Step::WeightGradient { layer: l, .. } => format!("weight gradient {}", layer(l)),
            Step::InputGradient { layer: l, .. } => format!("input gradient {}", layer(l)),
            Step::Statistics { value: v, .. } => format!("statistics {}", value(v)),
            Step::ViewGradient { output, .. } => format!("normalise back {}", value(output)),
            Step::WriteOut { output, .. } => format!("write out {}", value(output)),
            Step::Pool { output, .. } => format!("pool {}", value(output)),
            Step::GateGradient { output, .. } => format!("gate gradient {}", value(output)),
            Step::Dropout { output, .. } | Step::DropoutGradient { output, .. } => format!("dropout {}", value(output)),
            Step::PoolGradient { output, .. } => format!("pool gradient {}", value(output)),
            Step::Add { output, .. } => format!("add {}", value(output)),
            Step::ToPlain { output, .. } | Step::FromPlain { output, .. } => format!("convert {}", value(output)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
