//! Graph → steps forward and back: what is kept, what is computed anew, where gradients flow.
//!
//! A layer with its batch norm and non-linearity is a *unit*. Only the layer's raw output is kept; whoever reads the unit
//! reads it through a [`View`], a prologue that normalises on the way in. Results with several readers are written out
//! (*tensors*): in MobileNets these are the thin bottlenecks. Going back, the tape of the forward pass is read in
//! reverse. Every value is written by one step; the planner gives them memory. Where memory is scarce, raw outputs of
//! depthwise layers and of expansions are not kept but computed anew from the thin tensor before them.

mod back;

use mobilenet_kernels::Activation;
use mobilenet_kernels::layout::LANES;
use mobilenet_kernels::norm::MOMENTS;
use mobilenet_net::graph::{Graph, NodeId, Op, Role};
use mobilenet_run::memory::ValueId;
use mobilenet_run::{MemoryUse, kernel_activation};

use crate::error::Error;
use crate::steps::{Layer, LayerId, Norm, Size, Step, Steps, View};

type UnitId = usize;
type TensorId = usize;

/// Something that a node may read.
#[derive(Clone, Copy, Debug)]
enum Operand {
    Input,
    Unit(UnitId),
    Tensor(TensorId),
}

struct Unit {
    view: View,
    node: NodeId,
    /// What its raw value is computed from once more, where it is not kept.
    anew: Option<Source>,
    gradient: Option<ValueId>,
    spread: Option<ValueId>,
    /// Sums of the gradient, where the kernel that gave it has left them.
    sums: Option<ValueId>,
}

/// A layer and what it reads.
#[derive(Clone, Copy)]
struct Source {
    layer: LayerId,
    input: Operand,
    view: View,
}

struct Tensor {
    value: ValueId,
    node: NodeId,
    gradient: Option<ValueId>,
}

/// What the forward pass did, to be undone in reverse.
#[derive(Clone, Copy)]
enum Taped {
    Layer {
        source: Source,
        unit: UnitId,
    },
    /// A unit over a tensor, without a layer.
    Activate {
        input: TensorId,
        unit: UnitId,
    },
    Gate {
        unit: UnitId,
        gate: TensorId,
        before: View,
    },
    WriteOut {
        unit: UnitId,
        add: Option<TensorId>,
        output: TensorId,
    },
    Add {
        a: TensorId,
        b: TensorId,
        output: TensorId,
    },
    Pool {
        input: Operand,
        output: TensorId,
    },
    Dropout {
        input: TensorId,
        output: TensorId,
        mask: ValueId,
    },
}

/// Differentiates `graph` from its input to the output `logits`.
///
/// # Errors
/// Without such an output; [`Error::Operator`] for operators that no classifier trains through: windows of pooling, concatenation, resize.
pub(crate) fn differentiate(graph: &Graph, memory: MemoryUse) -> Result<Steps, Error> {
    let missing = || mobilenet_net::Error::Config("the network has no output `logits`".into());
    let result = graph.find("logits").ok_or_else(missing)?;
    let mut d = Differentiator {
        graph,
        memory,
        steps: Steps { values: vec![Size::Plain(NodeId(0))], ..Steps::default() },
        operands: vec![None; graph.nodes.len()],
        readers: vec![Vec::new(); graph.nodes.len()],
        first_parameter: first_parameters(graph),
        units: Vec::new(),
        tensors: Vec::new(),
        tape: Vec::new(),
    };
    let mut needed = vec![false; graph.nodes.len()];
    needed[result.0] = true;
    for id in (0..graph.nodes.len()).rev().map(NodeId).filter(|id| id.0 <= result.0) {
        if needed[id.0] {
            for input in &graph[id].inputs {
                needed[input.0] = true;
                d.readers[input.0].push(id);
            }
        }
    }
    for id in graph.ids().filter(|id| needed[id.0]) {
        let operand = d.node(id)?;
        d.operands[id.0] = Some(operand);
    }
    d.finish(result);
    Ok(d.steps)
}

/// The place of each node's first parameter among the graph's.
fn first_parameters(graph: &Graph) -> Vec<usize> {
    let mut firsts = Vec::with_capacity(graph.nodes.len());
    let mut next = 0;
    for id in graph.ids() {
        firsts.push(next);
        next += graph.parameters_of(id).len();
    }
    firsts
}

struct Differentiator<'a> {
    graph: &'a Graph,
    memory: MemoryUse,
    steps: Steps,
    operands: Vec<Option<Operand>>,
    /// Needed nodes that read each node.
    readers: Vec<Vec<NodeId>>,
    first_parameter: Vec<usize>,
    units: Vec<Unit>,
    tensors: Vec<Tensor>,
    tape: Vec<Taped>,
}

impl Differentiator<'_> {
    fn value(&mut self, size: Size) -> ValueId {
        self.steps.values.push(size);
        self.steps.values.len() - 1
    }

    fn operand(&self, id: NodeId) -> Operand {
        self.operands[id.0].expect("nodes come after those that they read")
    }

    fn new_tensor(&mut self, node: NodeId, value: ValueId) -> TensorId {
        self.tensors.push(Tensor { value, node, gradient: None });
        self.tensors.len() - 1
    }

    fn new_unit(&mut self, node: NodeId, view: View) -> UnitId {
        self.units.push(Unit { view, node, anew: None, gradient: None, spread: None, sums: None });
        self.units.len() - 1
    }

    /// The operand of `id` as a tensor, written out where it is a unit yet.
    fn tensor(&mut self, id: NodeId) -> TensorId {
        match self.operand(id) {
            Operand::Tensor(tensor) => tensor,
            Operand::Unit(unit) => {
                let tensor = self.write_out(unit, id, None);
                self.operands[id.0] = Some(Operand::Tensor(tensor));
                tensor
            }
            Operand::Input => unreachable!("only layers read the input"),
        }
    }

    fn write_out(&mut self, unit: UnitId, node: NodeId, add: Option<TensorId>) -> TensorId {
        let view = self.units[unit].view;
        let output = if view.is_plain() && add.is_none() {
            view.value
        } else {
            let output = self.value(Size::Map(node));
            let add = add.map(|t| self.tensors[t].value);
            self.steps.forward.push(Step::WriteOut { view, add, output });
            output
        };
        let tensor = self.new_tensor(node, output);
        self.tape.push(Taped::WriteOut { unit, add, output: tensor });
        tensor
    }

    fn node(&mut self, id: NodeId) -> Result<Operand, Error> {
        let graph = self.graph;
        let node = &graph[id];
        let refuse = || Err(Error::Operator { node: node.name.clone(), what: format!("{:?}", node.op) });
        // Images come in the caller's order, which the kernels of larger convolutions alone read. A fully connected layer
        // reads one pixel, whose order is the same in every layout where its channels fill the blocks.
        let reads_images = match node.op {
            Op::Convolution { .. } => !self.takes_views(id),
            Op::FullyConnected { .. } => graph[node.inputs[0]].channels.is_multiple_of(LANES),
            _ => false,
        };
        if !reads_images && node.inputs.iter().any(|&input| matches!(self.operand(input), Operand::Input)) {
            return refuse();
        }
        let operand = match node.op {
            Op::Input => return Ok(Operand::Input),
            Op::Convolution { .. } | Op::Depthwise { .. } | Op::FullyConnected { .. } => self.layer(id),
            Op::BatchNorm { epsilon } => {
                let Operand::Unit(unit) = self.operand(node.inputs[0]) else { return refuse() };
                if !self.units[unit].view.is_plain() {
                    return refuse();
                }
                self.steps.norms.push(Norm { node: id, gamma: self.first_parameter[id.0], epsilon });
                let norm = self.steps.norms.len() - 1;
                self.units[unit].view.norm = Some(norm);
                let moments = self.moments(unit);
                self.steps.forward.push(Step::Statistics { norm, value: self.units[unit].view.value, moments });
                Operand::Unit(unit)
            }
            Op::Activation(activation) => self.activate(node.inputs[0], id, kernel_activation(activation)),
            Op::GlobalAveragePool => {
                let input = self.operand(node.inputs[0]);
                let view = self.view(input);
                let output = self.value(Size::Map(id));
                self.steps.forward.push(Step::Pool { view, output });
                let tensor = self.new_tensor(id, output);
                self.tape.push(Taped::Pool { input, output: tensor });
                Operand::Tensor(tensor)
            }
            Op::Dropout { rate } => {
                let input = self.tensor(node.inputs[0]);
                let (mask, output) = (self.value(Size::Map(id)), self.value(Size::Map(id)));
                self.steps.forward.push(Step::Dropout { rate, input: self.tensors[input].value, mask, output });
                let tensor = self.new_tensor(id, output);
                self.tape.push(Taped::Dropout { input, output: tensor, mask });
                Operand::Tensor(tensor)
            }
            Op::Add => self.add(id),
            Op::Excite => {
                let gate = self.tensor(node.inputs[1]);
                let Operand::Unit(unit) = self.operand(node.inputs[0]) else { return refuse() };
                let before = self.units[unit].view;
                self.units[unit].view.gate = Some(self.tensors[gate].value);
                self.tape.push(Taped::Gate { unit, gate, before });
                Operand::Unit(unit)
            }
            Op::Pool { .. } | Op::Concat | Op::Resize { .. } => return refuse(),
        };
        Ok(self.settled(id, operand))
    }

    /// Has the kernel of a unit's layer leave moments of its output, where it can.
    fn moments(&mut self, unit: UnitId) -> Option<ValueId> {
        let Some(Step::Layer { layer, output, .. }) = self.steps.forward.last().copied() else { return None };
        let node = self.steps.layers[layer].node;
        if output != self.units[unit].view.value || !self.takes_views(node) {
            return None;
        }
        let value = self.value(Size::Sums { node, has_parts: self.has_parts(layer), each: MOMENTS });
        if let Some(Step::Layer { moments, .. }) = self.steps.forward.last_mut() {
            *moments = Some(value);
        }
        Some(value)
    }

    /// Whether the kernels of a node normalise on the way in and leave sums on the way out: pointwise and depthwise ones.
    fn takes_views(&self, node: NodeId) -> bool {
        match self.graph[node].op {
            Op::Convolution { window, .. } => (window.kernel, window.stride) == ([1; 2], [1; 2]),
            Op::Depthwise { .. } => true,
            _ => false,
        }
    }

    /// Whether a layer's kernels sum up images part by part.
    fn has_parts(&self, layer: LayerId) -> bool {
        matches!(self.graph[self.steps.layers[layer].node].op, Op::Convolution { .. })
    }

    /// A unit stays one while a single node reads it, or pooling and then excitation do. One with a gate is neither pooled
    /// nor gated once more: a unit has one gate, the gradient of one reader, and what pooling spreads.
    fn settled(&mut self, id: NodeId, operand: Operand) -> Operand {
        let Operand::Unit(unit) = operand else { return operand };
        let is_pool = |reader: NodeId| self.graph[reader].op == Op::GlobalAveragePool;
        let is_excite = |reader: NodeId| self.graph[reader].op == Op::Excite && self.graph[reader].inputs[0] == id;
        let has_gate = self.units[unit].view.gate.is_some();
        let stays = match self.readers[id.0][..] {
            [] => true,
            [only] => !(has_gate && (is_pool(only) || is_excite(only))),
            // The later reader comes first.
            [later, earlier] => !has_gate && is_excite(later) && is_pool(earlier),
            _ => false,
        };
        if stays { operand } else { Operand::Tensor(self.write_out(unit, id, None)) }
    }

    fn view(&self, operand: Operand) -> View {
        match operand {
            Operand::Input => View::plain(self.steps.input),
            Operand::Unit(unit) => self.units[unit].view,
            Operand::Tensor(tensor) => View::plain(self.tensors[tensor].value),
        }
    }

    fn layer(&mut self, id: NodeId) -> Operand {
        let reads = self.graph[id].inputs[0];
        let input = match self.operand(reads) {
            Operand::Input => Operand::Input,
            operand if self.takes_views(id) => operand,
            // The other kernels read what is written out.
            _ => Operand::Tensor(self.tensor(reads)),
        };
        let weight = self.first_parameter[id.0];
        let has_bias = self.graph.parameters_of(id).iter().any(|p| p.role == Role::Bias);
        self.steps.layers.push(Layer {
            node: id,
            reads,
            weight,
            bias: has_bias.then_some(weight + 1),
            has_input_gradient: !matches!(input, Operand::Input),
        });
        let layer = self.steps.layers.len() - 1;
        let (view, output) = (self.view(input), self.value(Size::Map(id)));
        self.steps.forward.push(Step::Layer { layer, input: view, output, moments: None });
        let unit = self.new_unit(id, View::plain(output));
        let source = Source { layer, input, view };
        if self.memory == MemoryUse::Low && self.is_expanded(id, input) {
            self.units[unit].anew = Some(source);
        }
        self.tape.push(Taped::Layer { source, unit });
        Operand::Unit(unit)
    }

    /// Whether a layer's output is large beside what it is computed from, and cheap: of depthwise layers, and of
    /// expansions of a tensor, which is kept.
    fn is_expanded(&self, id: NodeId, input: Operand) -> bool {
        match (self.graph[id].op, input) {
            (Op::Depthwise { .. }, Operand::Unit(_) | Operand::Tensor(_)) => true,
            (Op::Convolution { .. }, Operand::Tensor(_)) => {
                self.takes_views(id) && self.graph[id].channels > self.graph[self.graph[id].inputs[0]].channels
            }
            _ => false,
        }
    }

    fn activate(&mut self, reads: NodeId, id: NodeId, activation: Activation) -> Operand {
        if let Operand::Unit(unit) = self.operand(reads) {
            let view = &mut self.units[unit].view;
            if view.activation == Activation::Linear && view.gate.is_none() {
                view.activation = activation;
                return Operand::Unit(unit);
            }
        }
        let input = self.tensor(reads);
        let view = View { activation, ..View::plain(self.tensors[input].value) };
        let unit = self.new_unit(id, view);
        self.tape.push(Taped::Activate { input, unit });
        Operand::Unit(unit)
    }

    fn add(&mut self, id: NodeId) -> Operand {
        let [a, b] = [0, 1].map(|i| self.graph[id].inputs[i]);
        for (first, second) in [(a, b), (b, a)] {
            if let Operand::Unit(unit) = self.operand(first) {
                let other = self.tensor(second);
                return Operand::Tensor(self.write_out(unit, id, Some(other)));
            }
        }
        let (a, b) = (self.tensor(a), self.tensor(b));
        let output = self.value(Size::Map(id));
        self.steps.forward.push(Step::Add { a: self.tensors[a].value, b: self.tensors[b].value, output });
        let output = self.new_tensor(id, output);
        self.tape.push(Taped::Add { a, b, output });
        Operand::Tensor(output)
    }
}
