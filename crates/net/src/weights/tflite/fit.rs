//! Which registered network a chain of steps is: the one whose graph it follows node by node.

use super::model::Model;
use super::steps::{Convolution, Kind, Step, Steps, label};
use crate::arch::{self, Operator, Spec, Table, WidthRule};
use crate::graph::{Activation, Graph, Node, NodeId, Op, Window};
use crate::recognise;

/// A network, and where each of its layers lies in the file.
pub(super) struct Fit<'a> {
    pub table: Table,
    pub spec: Spec,
    pub graph: Graph,
    pub layers: Vec<(NodeId, &'a Convolution)>,
}

/// A step that is not the network's.
struct Departure {
    /// How many nodes fitted before.
    after: usize,
    reason: String,
}

/// Finds the registered network that the steps between input and answer are.
///
/// # Errors
/// The first step that departs from the closest network.
pub(super) fn fit<'a>(model: &Model, steps: &'a Steps) -> Result<Fit<'a>, String> {
    let network = network(&steps.steps);
    let Some(pool) = network.iter().rposition(|step| step.kind == Kind::Pool) else {
        return Err("does not pool its last map to one pixel, as MobileNet classifiers do".into());
    };
    let convolutions = |steps: &'a [Step]| -> Vec<&Convolution> {
        steps.iter().filter_map(|step| if let Kind::Convolution(c) = &step.kind { Some(c) } else { None }).collect()
    };
    // Nothing follows a classifier; features come from a pool or a non-linearity.
    let classes = match &network[network.len() - 1].kind {
        Kind::Convolution(classifier) => classifier.shape[0],
        _ => 0,
    };
    let stem = convolutions(network).first().map(|stem| stem.shape[0]);
    let input_channels = convolutions(network).first().map_or(3, |stem| stem.shape[1]);
    let first = network.iter().find_map(|step| if let Kind::Activation(a) = step.kind { Some(a) } else { None });
    let mut closest: Option<Departure> = None;
    for table in tables(first) {
        // Before the pool stands the last block's last convolution, or the head behind it.
        let is_head =
            |rows: &[arch::Row]| rows[0].operator == Operator::Convolution && rows[1].operator == Operator::Pool;
        let behind = usize::from(table.rows.windows(2).any(is_head));
        let last = convolutions(&network[..pool]).iter().rev().nth(behind).map(|c| c.shape[0]);
        let nominal = table.blocks().last().map(|block| block.out);
        for width in recognise::widths(None, None, nominal.zip(last)) {
            for width_rule in WidthRule::ALL {
                if steps.pads_end.is_some_and(|file| file != width_rule.pads_end(table.family)) {
                    continue;
                }
                // Departs at the stem already, and is not built: there are hundreds of such.
                if closest.is_some() && Some(width_rule.stem(table.family, table.rows[0].out, width)) != stem {
                    continue;
                }
                let spec =
                    Spec { width, width_rule, classes, input_channels, padding: steps.padding, ..Spec::default() };
                // A width may be too large for the table; another may still fit.
                let Ok(graph) = table.graph(&spec) else { continue };
                match follow(model, &table, &spec, &graph, network) {
                    Ok(layers) => return Ok(Fit { table, spec, graph, layers }),
                    Err(departure) if closest.as_ref().is_none_or(|c| departure.after > c.after) => {
                        closest = Some(departure);
                    }
                    Err(_) => {}
                }
            }
        }
    }
    Err(closest.map_or_else(|| "fits no registered network".into(), |departure| departure.reason))
}

/// The steps without the input's scaling before them and the answer's softmax behind.
fn network(steps: &[Step]) -> &[Step] {
    let is_scaling = |step: &&Step| matches!(step.kind, Kind::Scale(_) | Kind::Shift(_));
    let is_answer = |step: &&Step| matches!(step.kind, Kind::Softmax | Kind::Sigmoid);
    let start = steps.iter().take_while(is_scaling).count();
    let end = steps.iter().rev().take_while(is_answer).count().min(steps.len() - start);
    &steps[start..steps.len() - end]
}

/// The registered tables, and those with the file's first non-linearity where they have a single one. V3 comes with
/// its hidden layer or without, as features and where it was given another head.
fn tables(first: Option<Activation>) -> Vec<Table> {
    let mut tables = Vec::new();
    for model in arch::models() {
        let table = (model.table)();
        let mut activations = table.rows.iter().filter(|row| row.has_activation()).map(|row| row.activation);
        let own = activations.next();
        let is_single = activations.all(|activation| Some(activation) == own);
        if let Some(other) = first.filter(|_| is_single && first != own) {
            let rows = table.rows.iter().map(|&row| arch::Row { activation: other, ..row });
            tables.push(Table { rows: rows.collect(), ..table.clone() });
        }
        let short = table.clone().without_hidden();
        if short != table {
            tables.push(short);
        }
        tables.push(table);
    }
    tables
}

/// Lays the steps beside the graph's nodes; the steps of its layers.
fn follow<'a>(
    model: &Model,
    table: &Table,
    spec: &Spec,
    graph: &Graph,
    steps: &'a [Step],
) -> Result<Vec<(NodeId, &'a Convolution)>, Departure> {
    let network = format!("{} (width {:?})", table.name, spec.width);
    let mut layers = Vec::new();
    // The file's tensor that each node makes, where it makes one.
    let mut tensors: Vec<Option<usize>> = Vec::with_capacity(graph.nodes.len());
    let mut rest = steps.iter();
    for id in graph.ids() {
        let node = &graph[id];
        if let Op::Input | Op::BatchNorm { .. } | Op::Dropout { .. } = node.op {
            tensors.push(node.inputs.first().and_then(|input| tensors[input.0]));
            continue;
        }
        let needs =
            || format!("{network}, the closest network, has {} here, {}", node.name, describe_node(graph, node));
        let Some(step) = rest.next() else {
            return Err(Departure { after: id.0, reason: format!("ends too early: {}", needs()) });
        };
        if !is_same(graph, node, &step.kind, &tensors) {
            let label = label(model, step.operator);
            let reason = format!("{label} is {}; {}", describe(&step.kind), needs());
            return Err(Departure { after: id.0, reason });
        }
        if let Kind::Convolution(convolution) = &step.kind {
            layers.push((id, convolution));
        }
        tensors.push(step.output);
    }
    match rest.next() {
        None => Ok(layers),
        Some(step) => {
            let reason = format!("{} goes on where {network}, the closest network, ends", label(model, step.operator));
            Err(Departure { after: graph.nodes.len(), reason })
        }
    }
}

/// Whether a step computes what a node does.
fn is_same(graph: &Graph, node: &Node, kind: &Kind, tensors: &[Option<usize>]) -> bool {
    let reads = |index: usize| graph[node.inputs[index]].channels;
    match (node.op, kind) {
        (Op::Convolution { window: Window { kernel: [kh, kw], stride, .. }, out, .. }, Kind::Convolution(c)) => {
            !c.is_depthwise && c.shape == [out, reads(0), kh, kw] && c.stride == stride
        }
        (Op::Depthwise { window: Window { kernel: [kh, kw], stride, .. }, .. }, Kind::Convolution(c)) => {
            c.is_depthwise && c.shape == [node.channels, 1, kh, kw] && c.stride == stride
        }
        (Op::FullyConnected { out }, Kind::Convolution(c)) => {
            !c.is_depthwise && c.shape == [out, reads(0), 1, 1] && c.stride == [1, 1]
        }
        (Op::Activation(activation), Kind::Activation(found)) => activation == *found,
        (Op::GlobalAveragePool, Kind::Pool) => true,
        // The chain itself is the second input; the first comes from further back.
        (Op::Add, Kind::Add(other)) | (Op::Excite, Kind::Multiply(other)) => tensors[node.inputs[0].0] == Some(*other),
        _ => false,
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Convolution(c) => layer(c.is_depthwise, c.shape, c.stride),
        Kind::Activation(activation) => activation.to_string(),
        Kind::Scale(by) => format!("a product with {by:?}"),
        Kind::Shift(by) => format!("a sum with {by:?}"),
        Kind::Pool => "a pool of the whole map".into(),
        Kind::Add(_) => "a shortcut".into(),
        Kind::Multiply(_) => "a gate".into(),
        Kind::Softmax => "a softmax".into(),
        Kind::Sigmoid => "a sigmoid".into(),
    }
}

fn describe_node(graph: &Graph, node: &Node) -> String {
    let inputs = node.inputs.first().map_or(0, |&input| graph[input].channels);
    match node.op {
        Op::Convolution { window, out, .. } => {
            let [kh, kw] = window.kernel;
            layer(false, [out, inputs, kh, kw], window.stride)
        }
        Op::Depthwise { window, .. } => {
            let [kh, kw] = window.kernel;
            layer(true, [node.channels, 1, kh, kw], window.stride)
        }
        Op::FullyConnected { out } => layer(false, [out, inputs, 1, 1], [1, 1]),
        Op::Activation(activation) => activation.to_string(),
        Op::GlobalAveragePool => describe(&Kind::Pool),
        Op::Add => "a shortcut".into(),
        _ => "a gate".into(),
    }
}

fn layer(is_depthwise: bool, [out, inputs, kh, kw]: [usize; 4], [stride, _]: [usize; 2]) -> String {
    match is_depthwise {
        true => format!("a depthwise {kh}×{kw} convolution of {out} channels, stride {stride}"),
        false => format!("a {kh}×{kw} convolution from {inputs} to {out} channels, stride {stride}"),
    }
}
