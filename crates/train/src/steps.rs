//! What a network in training computes: a list of steps over values that the planner gives memory.

use mobilenet_kernels::Activation;
use mobilenet_net::graph::NodeId;
use mobilenet_run::memory::ValueId;

pub(crate) type LayerId = usize;
pub(crate) type NormId = usize;

/// How a unit's raw value is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub value: ValueId,
    pub norm: Option<NormId>,
    pub activation: Activation,
    /// Squeeze-and-excite's factors.
    pub gate: Option<ValueId>,
}

impl View {
    pub fn plain(value: ValueId) -> View {
        View { value, norm: None, activation: Activation::Linear, gate: None }
    }

    pub fn is_plain(&self) -> bool {
        self.norm.is_none() && self.activation == Activation::Linear && self.gate.is_none()
    }
}

/// The size of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Blocked, of a node's result.
    Map(NodeId),
    /// Blocked, a value a channel of every image of a node's result.
    Vector(NodeId),
    /// In the caller's order, of a node's result.
    Plain(NodeId),
    /// Sums a lane of every part of every image of a node's result, as a kernel leaves them: so many values for each.
    Sums {
        /// The node.
        node: NodeId,
        /// Whether images are taken in parts, as pointwise kernels do.
        has_parts: bool,
        /// Values a lane.
        each: usize,
    },
}

/// A layer with weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub node: NodeId,
    /// The node that it reads.
    pub reads: NodeId,
    /// Parameters, by their place among the graph's.
    pub weight: usize,
    pub bias: Option<usize>,
    /// Whether its input's gradient is wanted.
    pub has_input_gradient: bool,
}

/// A batch norm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub node: NodeId,
    /// Place of γ; β, mean and variance follow it.
    pub gamma: usize,
    pub epsilon: f32,
}

/// What is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The layer's raw output, and its moments where wanted.
    Layer { layer: LayerId, input: View, output: ValueId, moments: Option<ValueId> },
    /// The batch's mean and variance, from moments where the layer has left them, or the running ones.
    Statistics { norm: NormId, value: ValueId, moments: Option<ValueId> },
    /// A view written out, plus another tensor where given.
    WriteOut { view: View, add: Option<ValueId>, output: ValueId },
    /// Mean over the pixels of a view.
    Pool { view: View, output: ValueId },
    /// Random zeros.
    Dropout { rate: f32, input: ValueId, mask: ValueId, output: ValueId },
    /// Sum of two tensors.
    Add { a: ValueId, b: ValueId, output: ValueId },
    /// The result, to the caller's order.
    ToPlain { input: ValueId, output: ValueId },
    /// The result's gradient, from the caller's order.
    FromPlain { input: ValueId, output: ValueId },
    /// Gradient of a view's gate.
    GateGradient { view: View, gradient: ValueId, output: ValueId },
    /// Gradients of γ and β, or of the layer's bias, from sums where a kernel has left them.
    NormGradient {
        view: View,
        bias: Option<LayerId>,
        gradient: Option<ValueId>,
        spread: Option<ValueId>,
        sums: Option<ValueId>,
    },
    /// Back through a view: gradient of the raw value.
    ViewGradient { view: View, gradient: Option<ValueId>, spread: Option<ValueId>, output: ValueId },
    /// Back through a view and its layer in one pass: gradients of the layer's weights and, where wanted, of its input,
    /// plus another gradient where given, with the sums that the input's batch norm needs.
    LayerGradient {
        layer: LayerId,
        view: View,
        gradient: Option<ValueId>,
        spread: Option<ValueId>,
        input: View,
        add: Option<ValueId>,
        output: Option<ValueId>,
        sums: Option<ValueId>,
    },
    /// Gradient of a layer's weights.
    WeightGradient { layer: LayerId, input: View, gradient: ValueId },
    /// Gradient of a layer's input, plus another gradient where given.
    InputGradient { layer: LayerId, gradient: ValueId, add: Option<ValueId>, output: ValueId },
    /// What every pixel gets of a mean's gradient.
    PoolGradient { gradient: ValueId, pooled: NodeId, output: ValueId },
    /// Zeros where dropout put them.
    DropoutGradient { mask: ValueId, gradient: ValueId, output: ValueId },
}

/// A network as steps.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub layers: Vec<Layer>,
    pub norms: Vec<Norm>,
    pub values: Vec<Size>,
    pub forward: Vec<Step>,
    pub backward: Vec<Step>,
    /// The network's input and result, and the result's gradient, in the caller's order.
    pub input: ValueId,
    pub result: ValueId,
    pub result_gradient: ValueId,
}

impl Size {
    /// The node whose result's size it follows.
    pub fn node(self) -> NodeId {
        match self {
            Size::Map(node) | Size::Vector(node) | Size::Plain(node) | Size::Sums { node, .. } => node,
        }
    }
}

impl View {
    fn values(self) -> [Option<ValueId>; 2] {
        [Some(self.value), self.gate]
    }
}

impl Step {
    /// The layer that the step multiplies with.
    pub fn layer(self) -> Option<LayerId> {
        match self {
            Step::Layer { layer, .. }
            | Step::LayerGradient { layer, .. }
            | Step::InputGradient { layer, .. }
            | Step::WeightGradient { layer, .. } => Some(layer),
            _ => None,
        }
    }

    /// How often it does as many multiply-adds as the layer itself.
    pub fn products(self) -> u64 {
        match self {
            Step::LayerGradient { output: Some(_), .. } => 2,
            _ => u64::from(self.layer().is_some()),
        }
    }

    /// Every value that the step reads or writes.
    pub fn values(self) -> impl Iterator<Item = ValueId> {
        let mut all = [None; 10];
        let mut add = |values: &[Option<ValueId>]| {
            for value in values.iter().filter(|v| v.is_some()) {
                let free = all.iter_mut().find(|v| v.is_none());
                *free.expect("ten values at most") = *value;
            }
        };
        match self {
            Step::Layer { input, output, moments, .. } => {
                add(&[Some(output), moments]);
                add(&input.values());
            }
            Step::Pool { view, output } => {
                add(&[Some(output)]);
                add(&view.values());
            }
            Step::Statistics { value, moments, .. } => add(&[Some(value), moments]),
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
            Step::NormGradient { view, gradient, spread, sums, .. } => {
                add(&[gradient, spread, sums]);
                add(&view.values());
            }
            Step::ViewGradient { view, gradient, spread, output } => {
                add(&[gradient, spread, Some(output)]);
                add(&view.values());
            }
            Step::LayerGradient { view, gradient, spread, input, add: other, output, sums, .. } => {
                add(&[gradient, spread, other, output, sums]);
                add(&view.values());
                add(&input.values());
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
