//! Graph → steps forward and back: what is kept, what is computed anew, where gradients flow.
//!
//! A layer with its batch norm and non-linearity is a *unit*. Only the layer's raw output is kept; whoever reads the unit
//! reads it through a [`View`], a prologue that normalises on the way in. Results with several readers are written out
//! (*tensors*): in MobileNets these are the thin bottlenecks. Going back, the tape of the forward pass is read in
//! reverse. Every value is written by one step; the planner gives them memory.

use mobilenet_kernels::Activation;
use mobilenet_net::graph::{Graph, NodeId, Op, Role};
use mobilenet_run::kernel_activation;
use mobilenet_run::memory::ValueId;

use crate::error::Error;

pub(crate) type LayerId = usize;
pub(crate) type NormId = usize;
type UnitId = usize;
type TensorId = usize;

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
    fn plain(value: ValueId) -> View {
        View { value, norm: None, activation: Activation::Linear, gate: None }
    }

    fn is_plain(&self) -> bool {
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
    /// The layer's raw output.
    Layer { layer: LayerId, input: View, output: ValueId },
    /// The batch's mean and variance, or the running ones.
    Statistics { norm: NormId, value: ValueId },
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
    /// Back through a view: gradients of γ and β, or of the layer's bias, and of the raw value.
    ViewGradient {
        view: View,
        bias: Option<LayerId>,
        gradient: Option<ValueId>,
        spread: Option<ValueId>,
        output: ValueId,
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
    gradient: Option<ValueId>,
    spread: Option<ValueId>,
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
        layer: LayerId,
        input: Operand,
        view: View,
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
/// [`Error::Operator`] for operators that no classifier trains through: windows of pooling, concatenation, resize.
pub(crate) fn differentiate(graph: &Graph) -> Result<Steps, Error> {
    let result = graph.find("logits").expect("a classifier has logits");
    let mut d = Differentiator {
        graph,
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
        self.units.push(Unit { view, node, gradient: None, spread: None });
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
                let view = &mut self.units[unit].view;
                view.norm = Some(norm);
                self.steps.forward.push(Step::Statistics { norm, value: view.value });
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

    /// A unit stays one while a single node reads it, or pooling and excitation together do.
    fn settled(&mut self, id: NodeId, operand: Operand) -> Operand {
        let Operand::Unit(unit) = operand else { return operand };
        let is_squeezed = self.readers[id.0].iter().all(|r| match self.graph[*r].op {
            Op::GlobalAveragePool => true,
            Op::Excite => self.graph[*r].inputs[0] == id,
            _ => false,
        });
        if self.readers[id.0].len() <= 1 || is_squeezed {
            return operand;
        }
        Operand::Tensor(self.write_out(unit, id, None))
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
        // Pointwise and depthwise kernels normalise on the way in; the others read what is written out.
        let takes_views = match self.graph[id].op {
            Op::Convolution { window, .. } => (window.kernel, window.stride) == ([1; 2], [1; 2]),
            Op::Depthwise { .. } => true,
            _ => false,
        };
        let input = match self.operand(reads) {
            Operand::Input => Operand::Input,
            operand if takes_views => operand,
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
        self.steps.forward.push(Step::Layer { layer, input: view, output });
        let unit = self.new_unit(id, View::plain(output));
        self.tape.push(Taped::Layer { layer, input, view, unit });
        Operand::Unit(unit)
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

    /// The result's conversions, and the way back.
    fn finish(&mut self, result: NodeId) {
        let tensor = self.tensor(result);
        self.steps.result = self.value(Size::Plain(result));
        self.steps.result_gradient = self.value(Size::Plain(result));
        self.steps.forward.push(Step::ToPlain { input: self.tensors[tensor].value, output: self.steps.result });
        let gradient = self.value(Size::Map(result));
        self.steps.backward.push(Step::FromPlain { input: self.steps.result_gradient, output: gradient });
        self.tensors[tensor].gradient = Some(gradient);
        for taped in std::mem::take(&mut self.tape).into_iter().rev() {
            self.back(taped);
        }
    }

    fn back(&mut self, taped: Taped) {
        match taped {
            Taped::Layer { layer, input, view, unit } => self.back_layer(layer, input, view, unit),
            Taped::Activate { input, unit } => {
                if let Some(output) = self.back_view(unit, None) {
                    self.contribute(input, output);
                }
            }
            Taped::Gate { unit, gate, before } => {
                if let Some(gradient) = self.units[unit].gradient {
                    let output = self.value(Size::Map(self.tensors[gate].node));
                    self.steps.backward.push(Step::GateGradient { view: before, gradient, output });
                    self.contribute(gate, output);
                }
            }
            Taped::WriteOut { unit, add, output } => {
                if let Some(gradient) = self.tensors[output].gradient {
                    self.units[unit].gradient = Some(gradient);
                    if let Some(add) = add {
                        self.contribute(add, gradient);
                    }
                }
            }
            Taped::Add { a, b, output } => {
                if let Some(gradient) = self.tensors[output].gradient {
                    self.contribute(a, gradient);
                    self.contribute(b, gradient);
                }
            }
            Taped::Pool { input, output } => self.back_pool(input, output),
            Taped::Dropout { input, output, mask } => {
                if let Some(gradient) = self.tensors[output].gradient {
                    let output = self.value(Size::Map(self.tensors[input].node));
                    self.steps.backward.push(Step::DropoutGradient { mask, gradient, output });
                    self.contribute(input, output);
                }
            }
        }
    }

    fn back_layer(&mut self, layer: LayerId, input: Operand, view: View, unit: UnitId) {
        let Some(gradient) = self.back_view(unit, Some(layer)) else { return };
        self.steps.backward.push(Step::WeightGradient { layer, input: view, gradient });
        if let Operand::Input = input {
            return;
        }
        let add = match input {
            Operand::Tensor(tensor) => self.tensors[tensor].gradient,
            _ => None,
        };
        let output = self.value(Size::Map(self.steps.layers[layer].reads));
        self.steps.backward.push(Step::InputGradient { layer, gradient, add, output });
        match input {
            Operand::Unit(unit) => self.units[unit].gradient = Some(output),
            Operand::Tensor(tensor) => self.tensors[tensor].gradient = Some(output),
            Operand::Input => unreachable!("returned above"),
        }
    }

    /// The gradient of a unit's raw value; `None` where nothing flows back to it.
    fn back_view(&mut self, unit: UnitId, layer: Option<LayerId>) -> Option<ValueId> {
        let Unit { view, node, gradient, spread } = self.units[unit];
        if gradient.is_none() && spread.is_none() {
            return None;
        }
        let bias = layer.filter(|&l| self.steps.layers[l].bias.is_some());
        if let (true, None, None, Some(gradient)) = (view.is_plain(), bias, spread, gradient) {
            return Some(gradient);
        }
        let output = self.value(Size::Map(node));
        self.steps.backward.push(Step::ViewGradient { view, bias, gradient, spread, output });
        Some(output)
    }

    fn back_pool(&mut self, input: Operand, output: TensorId) {
        let Some(gradient) = self.tensors[output].gradient else { return };
        let pooled = match input {
            Operand::Unit(unit) => self.units[unit].node,
            Operand::Tensor(tensor) => self.tensors[tensor].node,
            Operand::Input => return,
        };
        let spread = self.value(Size::Vector(pooled));
        self.steps.backward.push(Step::PoolGradient { gradient, pooled, output: spread });
        match input {
            Operand::Unit(unit) => self.units[unit].spread = Some(spread),
            Operand::Tensor(tensor) => {
                let (view, add) = (View::plain(self.tensors[tensor].value), self.tensors[tensor].gradient);
                let output = self.value(Size::Map(pooled));
                let spread = Some(spread);
                self.steps.backward.push(Step::ViewGradient { view, bias: None, gradient: add, spread, output });
                self.tensors[tensor].gradient = Some(output);
            }
            Operand::Input => {}
        }
    }

    /// Adds `gradient` to what a tensor has.
    fn contribute(&mut self, tensor: TensorId, gradient: ValueId) {
        let sum = match self.tensors[tensor].gradient {
            None => gradient,
            Some(other) => {
                let output = self.value(Size::Map(self.tensors[tensor].node));
                self.steps.backward.push(Step::Add { a: other, b: gradient, output });
                output
            }
        };
        self.tensors[tensor].gradient = Some(sum);
    }
}
