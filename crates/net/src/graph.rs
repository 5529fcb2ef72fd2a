//! The network as data. Counting, compiling, training and exporting all read this one description.
//!
//! A [`Graph`] holds no sizes: height, width and batch belong to [`Graph::infer`]. Nodes are in topological order, and
//! an operator's parameters are named after its node (see [`Graph::parameters`]).

pub use crate::activation::Activation;
use crate::error::Error;

/// Index of a node in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Where the zeros around a convolution's input lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Padding {
    /// PyTorch's: `dilation · (kernel − 1) / 2` on every side, whatever the input's size.
    #[default]
    Symmetric,
    /// TensorFlow's SAME: as much as the output size ⌈input / stride⌉ needs, the odd one at the end.
    Same,
    /// Half of the reach, all at the end: what Keras's V1 does to depthwise convolutions of stride 2, and SAME for even sizes.
    End,
}

impl Padding {
    /// Those that a network as a whole may have.
    pub const ALL: [Padding; 2] = [Padding::Symmetric, Padding::Same];

    /// Zeros before and after an axis of `input` elements.
    pub fn amount(self, input: usize, kernel: usize, stride: usize, dilation: usize) -> (usize, usize) {
        let reach = dilation * (kernel - 1);
        match self {
            Padding::Symmetric => (reach / 2, reach / 2),
            Padding::Same => {
                let total = ((input.div_ceil(stride) - 1) * stride + reach + 1).saturating_sub(input);
                (total / 2, total - total / 2)
            }
            Padding::End => (0, reach / 2),
        }
    }
}

impl std::str::FromStr for Padding {
    type Err = String;
    fn from_str(text: &str) -> Result<Padding, String> {
        match text {
            "symmetric" => Ok(Padding::Symmetric),
            "same" => Ok(Padding::Same),
            _ => Err(format!("{text} is no padding; give symmetric or same")),
        }
    }
}

impl std::fmt::Display for Padding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Padding::Symmetric => "symmetric",
            Padding::Same => "same",
            Padding::End => "end",
        })
    }
}

/// A window that slides over height and width. Pairs are height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Distance between the window's taps.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
}

impl Window {
    /// A square window.
    pub fn square(kernel: usize, stride: usize, dilation: usize, padding: Padding) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [dilation; 2], padding }
    }

    /// Whether a kernel, stride or dilation is zero, which is no window.
    fn is_empty(&self) -> bool {
        [self.kernel, self.stride, self.dilation].as_flattened().contains(&0)
    }

    /// Output height and width for an input of `size`; `None` where the window does not fit.
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let axis = |i: usize| {
            let (before, after) = self.padding.amount(size[i], self.kernel[i], self.stride[i], self.dilation[i]);
            let span = self.dilation[i] * (self.kernel[i] - 1) + 1;
            Some((size[i] + before + after).checked_sub(span)? / self.stride[i] + 1)
        };
        Some([axis(0)?, axis(1)?])
    }
}

/// What a pooling window computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Mean over the taps that lie inside the input.
    Average,
    /// Largest tap.
    Max,
}

/// What a node computes. Closed on purpose: the compiler lists every place that a new operator touches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// The network's input, N×C×H×W.
    Input,
    /// Convolution of every input channel with every output channel. A 1×1 window is the papers' pointwise convolution.
    Convolution {
        /// Its window.
        window: Window,
        /// Output channels.
        out: usize,
        /// Whether it adds a bias.
        bias: bool,
    },
    /// One filter per channel.
    Depthwise {
        /// Its window.
        window: Window,
        /// Whether it adds a bias.
        bias: bool,
    },
    /// (x − mean) / √(variance + ε) · γ + β, per channel.
    BatchNorm {
        /// ε, a property of the weights' origin.
        epsilon: f32,
    },
    /// A non-linearity.
    Activation(Activation),
    /// Mean over height and width: N×C×1×1.
    GlobalAveragePool,
    /// Pooling in windows.
    Pool {
        /// What is computed.
        kind: PoolKind,
        /// Its window.
        window: Window,
    },
    /// Matrix product over channels at 1×1, with bias.
    FullyConnected {
        /// Output channels.
        out: usize,
    },
    /// Random zeros in training; nothing otherwise.
    Dropout {
        /// Share of zeros.
        rate: f32,
    },
    /// Sum of two inputs of equal shape: the shortcut.
    Add,
    /// First input times the second, a gate of N×C×1×1: the end of squeeze-and-excite.
    Excite,
    /// Inputs one after another along the channels.
    Concat,
    /// Bilinear resize of the first input to the height and width of the second.
    Resize {
        /// Whether corner pixels map onto each other; otherwise pixels are areas (half-pixel centres).
        align_corners: bool,
    },
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique; parameters are named after it.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Where its inputs come from; all before this node.
    pub inputs: Vec<NodeId>,
    /// Output channels.
    pub channels: usize,
}

/// The role of a parameter, which decides how it is initialised, decayed and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Weights of a convolution, depthwise convolution or fully connected layer.
    Weight,
    /// Bias of the same.
    Bias,
    /// Batch norm's γ.
    Gamma,
    /// Batch norm's β.
    Beta,
    /// Batch norm's running mean: a statistic, not a parameter.
    Mean,
    /// Batch norm's running variance: a statistic, not a parameter.
    Variance,
}

impl Role {
    /// The last part of the parameter's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Role::Weight | Role::Gamma => "weight",
            Role::Bias | Role::Beta => "bias",
            Role::Mean => "running_mean",
            Role::Variance => "running_var",
        }
    }

    /// Whether it is learned, and so counted as a parameter.
    pub fn is_learned(self) -> bool {
        !matches!(self, Role::Mean | Role::Variance)
    }
}

/// Name and shape of a tensor that the graph needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// `node.suffix`.
    pub name: String,
    /// PyTorch's order: convolution out×in×kh×kw, depthwise c×1×kh×kw, fully connected out×in, the rest c.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
    /// Whose it is.
    pub node: NodeId,
}

/// A shape of four dimensions, N×C×H×W.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Images.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
}

impl Shape {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.n * self.c * self.h * self.w
    }
}

/// The shape of every node's output, by [`NodeId`].
#[derive(Clone, Debug, PartialEq)]
pub struct Shapes(Vec<Shape>);

impl std::ops::Index<NodeId> for Shapes {
    type Output = Shape;
    fn index(&self, id: NodeId) -> &Shape {
        &self.0[id.0]
    }
}

/// A network: nodes in topological order, named outputs and named places to look inside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Every node after those that it reads.
    pub nodes: Vec<Node>,
    /// What the network is run for, e.g. `logits`, `features`.
    pub outputs: Vec<(String, NodeId)>,
    /// Feature taps: `block3` is the output of the third block, `block3.expand` its expansion after the activation.
    pub taps: Vec<(String, NodeId)>,
}

/// Largest number of elements of any tensor that [`Graph::infer`] accepts (4 GiB of f32).
pub const MAX_ELEMENTS: usize = 1 << 30;

impl Graph {
    /// Appends a node and returns its id. Channels follow from the operator and its inputs.
    ///
    /// # Panics
    /// Where the operator and its inputs do not fit: graphs are built by `arch`, which has checked its table.
    pub fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> NodeId {
        let channels = match op {
            Op::Input => panic!("inputs are pushed by Graph::input"),
            Op::Convolution { out, .. } | Op::FullyConnected { out } => out,
            Op::Concat => inputs.iter().map(|&i| self[i].channels).sum(),
            Op::Add | Op::Excite => {
                assert_eq!(self[inputs[0]].channels, self[inputs[1]].channels, "{op:?} of unequal channels");
                self[inputs[0]].channels
            }
            _ => self[inputs[0]].channels,
        };
        self.append(name.into(), op, inputs, channels)
    }

    /// Appends the input node.
    pub fn input(&mut self, channels: usize) -> NodeId {
        self.append("input".into(), Op::Input, &[], channels)
    }

    fn append(&mut self, name: String, op: Op, inputs: &[NodeId], channels: usize) -> NodeId {
        assert!(inputs.iter().all(|i| i.0 < self.nodes.len()), "{name} reads a later node");
        self.nodes.push(Node { name, op, inputs: inputs.to_vec(), channels });
        NodeId(self.nodes.len() - 1)
    }

    /// All ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The node that a tap or an output names.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.outputs.iter().chain(&self.taps).find(|(n, _)| n == name).map(|(_, id)| *id)
    }

    /// The tap whose features the classifier reads: the hidden layer where there is one, the pooled features otherwise.
    pub fn features_tap(&self) -> &'static str {
        if self.find("hidden").is_some() { "hidden" } else { "pooled" }
    }

    /// What to say of a graph without `logits`.
    pub fn no_classifier(&self) -> String {
        let tap = self.features_tap();
        let channels = self.find(tap).map(|node| self[node].channels);
        let gives = channels.map_or_else(String::new, |channels| format!(": it gives {channels} features, `{tap}`"));
        format!("has no classifier{gives}")
    }

    /// The tensors that the graph needs, in node order.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.ids().flat_map(|id| self.parameters_of(id)).collect()
    }

    /// The tensors that one node needs.
    pub fn parameters_of(&self, node: NodeId) -> Vec<Parameter> {
        let Node { name, op, inputs, channels } = &self[node];
        let reads = inputs.first().map_or(0, |&i| self[i].channels);
        let layer = |weight: &[usize], bias: bool| {
            let bias = bias.then(|| (Role::Bias, vec![*channels]));
            [Some((Role::Weight, weight.to_vec())), bias].into_iter().flatten().collect()
        };
        let tensors: Vec<(Role, Vec<usize>)> = match *op {
            Op::Convolution { window: Window { kernel: [kh, kw], .. }, out, bias } => {
                layer(&[out, reads, kh, kw], bias)
            }
            Op::Depthwise { window: Window { kernel: [kh, kw], .. }, bias } => layer(&[*channels, 1, kh, kw], bias),
            Op::FullyConnected { out } => layer(&[out, reads], true),
            Op::BatchNorm { .. } => {
                [Role::Gamma, Role::Beta, Role::Mean, Role::Variance].map(|role| (role, vec![*channels])).into()
            }
            _ => Vec::new(),
        };
        let named = |(role, shape): (Role, Vec<usize>)| Parameter {
            name: format!("{name}.{}", role.suffix()),
            shape,
            role,
            node,
        };
        tensors.into_iter().map(named).collect()
    }

    /// The shape of every node's output for `n` images of `h`×`w` pixels.
    ///
    /// # Errors
    /// [`Error::Size`] where a size is zero, a window or a node's inputs do not fit, or a tensor would exceed [`MAX_ELEMENTS`].
    pub fn infer(&self, n: usize, h: usize, w: usize) -> Result<Shapes, Error> {
        let mut shapes = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let of = |i: usize| -> Shape { shapes[node.inputs[i].0] };
            let size = |reason: &str| Error::Size { n, h, w, node: node.name.clone(), reason: reason.into() };
            let [h, w] = match node.op {
                Op::Input => [h, w],
                Op::Convolution { window, .. } | Op::Depthwise { window, .. } | Op::Pool { window, .. } => {
                    if window.is_empty() {
                        return Err(size("its window's kernel, stride or dilation is zero"));
                    }
                    window.output([of(0).h, of(0).w]).ok_or_else(|| size("its window is larger than its input"))?
                }
                Op::GlobalAveragePool => [1, 1],
                Op::FullyConnected { .. } if (of(0).h, of(0).w) != (1, 1) => {
                    return Err(size("a fully connected layer needs a pooled input"));
                }
                Op::Add | Op::Concat if (1..node.inputs.len()).any(|i| (of(i).h, of(i).w) != (of(0).h, of(0).w)) => {
                    return Err(size("its inputs have different sizes"));
                }
                Op::Excite if (of(1).h, of(1).w) != (1, 1) => return Err(size("its gate is not 1×1")),
                Op::Resize { .. } => [of(1).h, of(1).w],
                _ => [of(0).h, of(0).w],
            };
            if n == 0 || h == 0 || w == 0 {
                return Err(size("a size is zero"));
            }
            let elements = [n, node.channels, h, w].iter().try_fold(1usize, |a, &b| a.checked_mul(b));
            if elements.is_none_or(|e| e > MAX_ELEMENTS) {
                return Err(size("its output is larger than 2^30 elements"));
            }
            shapes.push(Shape { n, c: node.channels, h, w });
        }
        Ok(Shapes(shapes))
    }
}

impl std::ops::Index<NodeId> for Graph {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error for 1×8×8 pixels of a graph of an input, a pool of stride 2 and `op` over these nodes.
    fn refused(op: Op, inputs: &[usize]) -> String {
        let mut graph = Graph::default();
        let input = graph.input(3);
        let window = Window::square(3, 2, 1, Padding::Symmetric);
        graph.push("half", Op::Pool { kind: PoolKind::Max, window }, &[input]);
        graph.push("bad", op, &inputs.iter().map(|&i| NodeId(i)).collect::<Vec<_>>());
        graph.infer(1, 8, 8).unwrap_err().to_string()
    }

    #[test]
    fn windows_of_zeros_are_refused() {
        for padding in [Padding::Symmetric, Padding::Same] {
            for [kernel, stride, dilation] in [[0, 1, 1], [1, 0, 1], [1, 1, 0]] {
                let window = Window::square(kernel, stride, dilation, padding);
                assert_eq!(
                    refused(Op::Pool { kind: PoolKind::Average, window }, &[0]),
                    "1×8×8 pixels do not fit the network: at bad, its window's kernel, stride or dilation is zero"
                );
            }
        }
    }

    #[test]
    fn inputs_of_different_sizes_are_refused() {
        let different = "1×8×8 pixels do not fit the network: at bad, its inputs have different sizes";
        assert_eq!(refused(Op::Add, &[0, 1]), different);
        assert_eq!(refused(Op::Concat, &[0, 0, 1]), different);
        let gate = "1×8×8 pixels do not fit the network: at bad, its gate is not 1×1";
        assert_eq!(refused(Op::Excite, &[1, 1]), gate);
    }
}
