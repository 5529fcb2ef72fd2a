//! The kernels of a layer with weights: forward, and back to its input.

use mobilenet_kernels::dense::Dense;
use mobilenet_kernels::depthwise::Depthwise;
use mobilenet_kernels::fc::FullyConnected;
use mobilenet_kernels::pointwise::Pointwise;
use mobilenet_kernels::{Activation, Isa};
use mobilenet_net::graph::{Graph, Op, Window};

use crate::steps::Layer;

/// A layer's forward kernel with packed weights, and the one that gives its input gradient.
pub(crate) enum LayerKernels {
    Pointwise {
        forward: Pointwise,
        back: Option<Pointwise>,
    },
    /// At stride 1 the same stencil flipped goes back.
    Depthwise {
        forward: Depthwise,
        flipped: Option<Depthwise>,
        window: Window,
    },
    Dense {
        forward: Dense,
        window: Window,
    },
    FullyConnected {
        forward: FullyConnected,
        back: Option<FullyConnected>,
    },
}

/// What a layer's steps are called: forward, all gradients in one pass, the input's, the weights'.
pub(crate) struct Names {
    pub forward: &'static str,
    pub both: &'static str,
    pub input: &'static str,
    pub weight: &'static str,
}

impl LayerKernels {
    pub fn new(graph: &Graph, layer: &Layer, values: &[Vec<f32>], isa: Isa) -> LayerKernels {
        let (inputs, outputs) = (graph[layer.reads].channels, graph[layer.node].channels);
        let (weights, bias) = Self::values(layer, values);
        let linear = Activation::Linear;
        let has_back = layer.has_input_gradient;
        // Packed anew below, in the order that each needs.
        let transposed = vec![0.0; weights.len()];
        let mut kernels = match graph[layer.node].op {
            Op::Convolution { window, .. } if (window.kernel, window.stride) == ([1; 2], [1; 2]) => {
                LayerKernels::Pointwise {
                    forward: Pointwise::new(isa, inputs, outputs, weights, bias, linear),
                    back: has_back.then(|| Pointwise::new(isa, outputs, inputs, &transposed, &[], linear)),
                }
            }
            Op::Convolution { window, .. } => LayerKernels::Dense {
                forward: Dense::new(isa, [inputs, outputs], window.kernel, weights, bias, linear),
                window,
            },
            Op::Depthwise { window, .. } => {
                let new = |bias: &[f32]| Depthwise::new(isa, outputs, window.kernel, weights, bias, linear);
                let flipped = (has_back && window.stride == [1; 2]).then(|| new(&[]));
                LayerKernels::Depthwise { forward: new(bias), flipped, window }
            }
            _ => LayerKernels::FullyConnected {
                forward: FullyConnected::new(isa, inputs, outputs, weights, bias, linear),
                back: has_back.then(|| FullyConnected::new(isa, outputs, inputs, &transposed, &[], linear)),
            },
        };
        kernels.set(layer, values);
        kernels
    }

    /// What its steps are called.
    pub fn names(&self) -> Names {
        macro_rules! names {
            ($layer:literal) => {
                Names {
                    forward: $layer,
                    both: concat!($layer, " gradients"),
                    input: concat!($layer, " input gradient"),
                    weight: concat!($layer, " weight gradient"),
                }
            };
        }
        match self {
            LayerKernels::Pointwise { .. } => names!("pointwise"),
            LayerKernels::Depthwise { .. } => names!("depthwise"),
            LayerKernels::Dense { .. } => names!("dense"),
            LayerKernels::FullyConnected { .. } => names!("fully_connected"),
        }
    }

    /// Packs the weights anew.
    pub fn set(&mut self, layer: &Layer, values: &[Vec<f32>]) {
        let (weights, bias) = Self::values(layer, values);
        match self {
            LayerKernels::Pointwise { forward, back } => {
                forward.set(weights, bias);
                back.iter_mut().for_each(|b| b.set_transposed(weights));
            }
            LayerKernels::Depthwise { forward, flipped, .. } => {
                forward.set(weights, bias);
                flipped.iter_mut().for_each(|b| b.set_flipped(weights));
            }
            LayerKernels::Dense { forward, .. } => forward.set(weights, bias),
            LayerKernels::FullyConnected { forward, back } => {
                forward.set(weights, bias);
                back.iter_mut().for_each(|b| b.set_transposed(weights));
            }
        }
    }

    /// A layer's weights and bias.
    pub fn values<'a>(layer: &Layer, values: &'a [Vec<f32>]) -> (&'a [f32], &'a [f32]) {
        (&values[layer.weight], layer.bias.map_or(&[], |b| &values[b][..]))
    }
}
