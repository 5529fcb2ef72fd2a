//! Folded graph + weights → steps: what is fused, which kernel runs it, its weights packed.
//!
//! Fused are: a layer with its activation and the shortcut added after it; squeeze-and-excite's gate with the pointwise
//! convolution that reads the gated tensor (its prologue); and its squeeze with the depthwise convolution before it
//! (sums in the epilogue).

use mobilenet_kernels::cpu::Bf16Unit;
use mobilenet_kernels::dense::Dense;
use mobilenet_kernels::depthwise::Depthwise;
use mobilenet_kernels::fc::FullyConnected;
use mobilenet_kernels::pointwise::Pointwise;
use mobilenet_kernels::pool2d::Kind;
use mobilenet_kernels::{Activation, Isa, f16};
use mobilenet_net::error::Error;
use mobilenet_net::fold::Folded;
use mobilenet_net::graph::{Activation as NetActivation, Graph, NodeId, Op, PoolKind, Role, Window};
use mobilenet_net::tensor::Tensor;

use crate::memory::ValueId;
use crate::program::Precision;

/// How a value lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The blocked layout.
    Blocked,
    /// The caller's order of axes.
    Plain,
    /// Partial sums of the depthwise step that writes the value of this index.
    SumsOf(ValueId),
}

/// A value: a node's result in some form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub node: NodeId,
    pub form: Form,
}

/// What a step runs.
pub(crate) enum Kernel {
    Dense(Dense, Window),
    Pointwise(Pointwise),
    Depthwise(Depthwise, Window),
    FullyConnected(FullyConnected),
    GlobalAverage,
    MeanOfSums,
    Pool(Kind, Window),
    Activate(Activation),
    Add,
    Gate,
    Concat,
    Resize { align_corners: bool },
    ToBlocked,
    ToPlain,
}

/// One call of a kernel.
pub(crate) struct Step {
    /// The node that it computes first, e.g. `block3.expand.conv`.
    pub name: String,
    /// That node.
    pub node: NodeId,
    pub kernel: Kernel,
    pub inputs: Vec<ValueId>,
    pub output: ValueId,
    pub residual: Option<ValueId>,
    pub gate: Option<ValueId>,
    pub sums: Option<ValueId>,
}

/// What the compiler hands to the program.
pub(crate) struct Compiled {
    pub steps: Vec<Step>,
    pub values: Vec<Value>,
    pub input: ValueId,
    pub outputs: Vec<(String, ValueId)>,
}

/// Compiles the part of the graph that `outputs` need; returns the graph, too.
pub(crate) fn compile(
    mut folded: Folded,
    outputs: &[String],
    how: (Isa, Precision),
) -> Result<(Graph, Compiled), Error> {
    let graph = std::mem::take(&mut folded.graph);
    let compiled = compile_graph(&graph, folded, outputs, how)?;
    Ok((graph, compiled))
}

fn compile_graph(graph: &Graph, folded: Folded, outputs: &[String], how: (Isa, Precision)) -> Result<Compiled, Error> {
    let mut wanted = Vec::new();
    for name in outputs {
        let node = graph.find(name).ok_or_else(|| Error::Config(unknown_output(graph, name)))?;
        wanted.push((name.clone(), node));
    }
    let mut compiler = Compiler::new(graph, folded, how, &wanted);
    for id in graph.ids() {
        if compiler.is_needed[id.0] && !compiler.is_done(id) {
            compiler.node(id)?;
        }
    }
    let outputs = wanted.into_iter().map(|(name, node)| (name, compiler.plain(node))).collect();
    let Compiler { steps, values, input, .. } = compiler;
    Ok(Compiled { steps, values, input, outputs })
}

fn unknown_output(graph: &Graph, name: &str) -> String {
    if name == "logits" {
        return format!("the network {}", graph.no_classifier());
    }
    let known: Vec<&str> = graph.outputs.iter().chain(&graph.taps).map(|(n, _)| n.as_str()).collect();
    format!("the network has no output or tap named {name}; it has {}", known.join(", "))
}

struct Compiler<'a> {
    graph: &'a Graph,
    folded: Folded,
    isa: Isa,
    precision: Precision,
    is_needed: Vec<bool>,
    /// How many needed nodes and outputs read each node.
    readers: Vec<Vec<Reader>>,
    /// The blocked value of each node, once there is one.
    blocked: Vec<Option<ValueId>>,
    /// Nodes whose work a fused step has taken over.
    is_fused: Vec<bool>,
    steps: Vec<Step>,
    values: Vec<Value>,
    input: ValueId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Node(NodeId),
    Output,
}

impl<'a> Compiler<'a> {
    fn new(
        graph: &'a Graph,
        folded: Folded,
        (isa, precision): (Isa, Precision),
        wanted: &[(String, NodeId)],
    ) -> Compiler<'a> {
        let count = graph.nodes.len();
        let mut is_needed = vec![false; count];
        let mut readers = vec![Vec::new(); count];
        for (_, node) in wanted {
            is_needed[node.0] = true;
            readers[node.0].push(Reader::Output);
        }
        for id in graph.ids().collect::<Vec<_>>().into_iter().rev().filter(|id| id.0 < count) {
            if is_needed[id.0] {
                for input in &graph[id].inputs {
                    is_needed[input.0] = true;
                    readers[input.0].push(Reader::Node(id));
                }
            }
        }
        let input = Value { node: NodeId(0), form: Form::Plain };
        Compiler {
            graph,
            folded,
            isa,
            precision,
            is_needed,
            readers,
            blocked: vec![None; count],
            is_fused: vec![false; count],
            steps: Vec::new(),
            values: vec![input],
            input: 0,
        }
    }

    fn is_done(&self, id: NodeId) -> bool {
        self.is_fused[id.0] || self.blocked[id.0].is_some() || self.graph[id].op == Op::Input
    }

    fn value(&mut self, node: NodeId, form: Form) -> ValueId {
        self.values.push(Value { node, form });
        self.values.len() - 1
    }

    /// The only node that reads `id`, where there is just one and `id` is no output.
    fn only_reader(&self, id: NodeId) -> Option<NodeId> {
        match self.readers[id.0][..] {
            [Reader::Node(reader)] => Some(reader),
            _ => None,
        }
    }

    /// The blocked value of `id`; the input is converted when it is first needed so.
    fn blocked(&mut self, id: NodeId) -> ValueId {
        if let Some(value) = self.blocked[id.0] {
            return value;
        }
        assert_eq!(self.graph[id].op, Op::Input, "nodes are compiled in order");
        let output = self.value(id, Form::Blocked);
        self.push("input".into(), id, Kernel::ToBlocked, vec![self.input], output);
        self.blocked[id.0] = Some(output);
        output
    }

    /// The value of `id` in the caller's order.
    fn plain(&mut self, id: NodeId) -> ValueId {
        let input = self.blocked(id);
        let output = self.value(id, Form::Plain);
        self.push(format!("{} out", self.graph[id].name), id, Kernel::ToPlain, vec![input], output);
        output
    }

    fn push(&mut self, name: String, node: NodeId, kernel: Kernel, inputs: Vec<ValueId>, output: ValueId) {
        self.steps.push(Step { name, node, kernel, inputs, output, residual: None, gate: None, sums: None });
    }

    fn take(&mut self, id: NodeId, role: Role) -> Result<Vec<f32>, Error> {
        let parameter = self.graph.parameters_of(id).into_iter().find(|p| p.role == role);
        let Some(parameter) = parameter else { return Ok(Vec::new()) };
        match self.folded.take(&parameter.name) {
            Some(tensor) if tensor.shape() == parameter.shape => Ok(Tensor::into_f32(tensor)),
            Some(tensor) => Err(Error::Config(format!(
                "tensor {} has shape {:?}; the network needs {:?}",
                parameter.name,
                tensor.shape(),
                parameter.shape
            ))),
            None => Err(Error::Config(format!("tensor {} is missing", parameter.name))),
        }
    }

    /// Compiles one node and those that fuse with it.
    fn node(&mut self, id: NodeId) -> Result<(), Error> {
        let graph = self.graph;
        let node = &graph[id];
        match node.op {
            Op::Convolution { .. } | Op::Depthwise { .. } | Op::FullyConnected { .. } => return self.layer(id),
            Op::BatchNorm { .. } => {
                return Err(Error::Config(format!(
                    "{} is a batch norm: fold the graph before compiling it",
                    node.name
                )));
            }
            Op::Excite if self.gated_by_prologue(id) => {
                self.is_fused[id.0] = true;
                return Ok(());
            }
            Op::Dropout { .. } => {
                let input = self.blocked(node.inputs[0]);
                self.blocked[id.0] = Some(input);
                return Ok(());
            }
            _ => {}
        }
        let sums = (node.op == Op::GlobalAveragePool).then(|| self.sums_of(node.inputs[0])).flatten();
        let inputs = match sums {
            Some(sums) => vec![sums],
            None => node.inputs.iter().map(|&i| self.blocked(i)).collect(),
        };
        let kernel = match node.op {
            Op::GlobalAveragePool if sums.is_some() => Kernel::MeanOfSums,
            Op::GlobalAveragePool => Kernel::GlobalAverage,
            Op::Pool { kind: PoolKind::Average, window } => Kernel::Pool(Kind::Average, window),
            Op::Pool { kind: PoolKind::Max, window } => Kernel::Pool(Kind::Max, window),
            Op::Activation(activation) => Kernel::Activate(kernel_activation(activation)),
            Op::Add => Kernel::Add,
            Op::Excite => Kernel::Gate,
            Op::Concat => Kernel::Concat,
            Op::Resize { align_corners } => Kernel::Resize { align_corners },
            Op::Input
            | Op::Convolution { .. }
            | Op::Depthwise { .. }
            | Op::FullyConnected { .. }
            | Op::BatchNorm { .. }
            | Op::Dropout { .. } => unreachable!("handled above"),
        };
        let output = self.value(id, Form::Blocked);
        self.push(node.name.clone(), id, kernel, inputs, output);
        self.blocked[id.0] = Some(output);
        Ok(())
    }

    /// Compiles a layer with weights, its activation and its shortcut.
    fn layer(&mut self, id: NodeId) -> Result<(), Error> {
        let graph = self.graph;
        let (mut weights, bias) = (self.take(id, Role::Weight)?, self.take(id, Role::Bias)?);
        // Products round their weights as they store them; the few of other layers are rounded alike, and lie as they are.
        if self.precision == Precision::F16 && !is_product(graph[id].op) {
            weights.iter_mut().for_each(|w| *w = f16::round(*w));
        }
        let mut last = id;
        let mut activation = Activation::Linear;
        let fuses = !matches!(graph[id].op, Op::FullyConnected { .. });
        if let Some(reader) = self.only_reader(last)
            && let Op::Activation(a) = graph[reader].op
        {
            (activation, last) = (kernel_activation(a), reader);
        }
        let mut residual = None;
        if let Some(reader) = self.only_reader(last).filter(|_| fuses)
            && graph[reader].op == Op::Add
            && let Some(&other) = graph[reader].inputs.iter().find(|&&i| i != last)
            && other < id
        {
            residual = Some(self.blocked(other));
            last = reader;
        }
        for fused in [id, last] {
            self.is_fused[fused.0] = true;
        }
        if let Some(reader) = self.only_reader(id) {
            self.is_fused[reader.0] |= last != id;
        }

        let reads = graph[id].inputs[0];
        let (inputs, outputs) = (graph[reads].channels, graph[id].channels);
        let (isa, mut gate) = (self.isa, None);
        let mut input = reads;
        let kernel = match graph[id].op {
            Op::Convolution { window, .. } if is_pointwise(window) => {
                if self.is_fused[reads.0] && graph[reads].op == Op::Excite {
                    input = graph[reads].inputs[0];
                    gate = Some(self.blocked(graph[reads].inputs[1]));
                }
                let layer = Pointwise::new(isa, inputs, outputs, &weights, &bias, activation);
                Kernel::Pointwise(match self.precision {
                    Precision::F32 => layer,
                    Precision::F16 => layer.in_f16(),
                    Precision::Bf16 => layer.in_bf16(bf16_unit(isa)?),
                })
            }
            Op::Convolution { window, .. } => {
                Kernel::Dense(Dense::new(isa, [inputs, outputs], window.kernel, &weights, &bias, activation), window)
            }
            Op::Depthwise { window, .. } => {
                Kernel::Depthwise(Depthwise::new(isa, outputs, window.kernel, &weights, &bias, activation), window)
            }
            _ => {
                let layer = FullyConnected::new(isa, inputs, outputs, &weights, &bias, activation);
                Kernel::FullyConnected(match self.precision {
                    Precision::F32 => layer,
                    Precision::F16 => layer.in_f16(),
                    Precision::Bf16 => layer.in_bf16(),
                })
            }
        };
        let reads_plain = matches!(kernel, Kernel::Dense(..)) && graph[input].op == Op::Input;
        let input = if reads_plain { self.input } else { self.blocked(input) };
        let output = self.value(last, Form::Blocked);
        self.blocked[last.0] = Some(output);
        let is_squeezed = matches!(kernel, Kernel::Depthwise(..))
            && self.readers[last.0]
                .iter()
                .any(|r| matches!(r, Reader::Node(n) if graph[*n].op == Op::GlobalAveragePool));
        let sums = is_squeezed.then(|| self.value(last, Form::SumsOf(output)));
        let name = graph[id].name.clone();
        self.steps.push(Step { name, node: id, kernel, inputs: vec![input], output, residual, gate, sums });
        Ok(())
    }

    /// Whether the gated tensor is read by one pointwise convolution alone, which then applies the gate itself.
    fn gated_by_prologue(&self, excite: NodeId) -> bool {
        let reader = self.only_reader(excite).map(|r| self.graph[r].op);
        matches!(reader, Some(Op::Convolution { window, .. }) if is_pointwise(window))
    }

    /// The sums that a depthwise step left of `id`.
    fn sums_of(&self, id: NodeId) -> Option<ValueId> {
        self.steps.iter().find(|s| Some(s.output) == self.blocked[id.0]).and_then(|s| s.sums)
    }
}

fn bf16_unit(isa: Isa) -> Result<Bf16Unit, Error> {
    Bf16Unit::detect(isa).ok_or_else(|| {
        Error::Config(format!(
            "precision bf16 needs a processor with AVX-512 BF16, and this run is on {isa}: choose f16, which halves the \
             memory for weights anywhere, or f32"
        ))
    })
}

/// Whether the layer is a matrix product: its weights lie in panels of any precision.
fn is_product(op: Op) -> bool {
    match op {
        Op::Convolution { window, .. } => is_pointwise(window),
        Op::FullyConnected { .. } => true,
        _ => false,
    }
}

fn is_pointwise(window: Window) -> bool {
    window.kernel == [1, 1] && window.stride == [1, 1]
}

/// An activation in the kernels' words.
pub fn kernel_activation(activation: NetActivation) -> Activation {
    match activation {
        NetActivation::Relu => Activation::Relu,
        NetActivation::Relu6 => Activation::Relu6,
        NetActivation::HSwish => Activation::HSwish,
        NetActivation::HardSigmoid => Activation::HardSigmoid,
        NetActivation::Sigmoid => Activation::Sigmoid,
        NetActivation::Swish => Activation::Swish,
    }
}
