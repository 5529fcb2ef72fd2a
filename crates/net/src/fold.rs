//! Graph → graph: batch norm into the weights before it, dropout away. What is left is what inference computes.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::graph::{Graph, Node, NodeId, Op, Padding, Role, Window};
use crate::tensor::{Params, Tensor};

/// A folded graph, whose weights are multiplied when they are taken: until then they lie as they were read, so that a
/// network is never in memory twice.
#[derive(Debug)]
pub struct Folded {
    /// The graph.
    pub graph: Graph,
    tensors: BTreeMap<String, Tensor>,
    /// A factor for every output channel, by the weights' names.
    scales: BTreeMap<String, Vec<f64>>,
}

impl Folded {
    /// Takes a parameter out, by the graph's name for it; none that is taken already.
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        let tensor = self.tensors.remove(name)?;
        let shape = tensor.shape().to_vec();
        let mut values = tensor.into_f32();
        if let Some(scales) = self.scales.remove(name) {
            let per_channel = values.len() / scales.len();
            for (channel, scale) in values.chunks_exact_mut(per_channel.max(1)).zip(&scales) {
                channel.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
            }
        }
        Some(Tensor::from_f32(&shape, values))
    }
}

/// Folds every batch norm of `graph` into the layer before it and drops dropout.
///
/// A layer's weights are multiplied by γ / √(variance + ε) per output channel and its bias becomes
/// (bias − mean) · γ / √(variance + ε) + β, in double precision. A batch norm that follows no such layer, or one whose
/// result others read too, becomes a 1×1 depthwise convolution. Weights are taken as `f32`. Names stay; outputs and
/// taps of a removed node point to the node that took its place.
///
/// # Errors
/// [`Error::Config`] where a parameter is missing, misshapen or damaged so that a batch norm divides by no number.
pub fn fold(graph: &Graph, mut params: Params) -> Result<Folded, Error> {
    let mut read_by = vec![0usize; graph.nodes.len()];
    for node in &graph.nodes {
        node.inputs.iter().for_each(|i| read_by[i.0] += 1);
    }
    for (_, id) in graph.outputs.iter().chain(&graph.taps) {
        // A tap on a bare convolution would show values that folding changes; none of ours is, but a table may differ.
        if matches!(graph[*id].op, Op::Convolution { .. } | Op::Depthwise { .. } | Op::FullyConnected { .. }) {
            read_by[id.0] += 1;
        }
    }
    let mut folded = Folded { graph: Graph::default(), tensors: BTreeMap::new(), scales: BTreeMap::new() };
    // Where each node of the old graph is in the new one.
    let mut place: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.ids().zip(&graph.nodes) {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|i| place[i.0]).collect();
        let new = match node.op {
            Op::Input => folded.graph.input(node.channels),
            Op::Dropout { .. } => inputs[0],
            Op::BatchNorm { epsilon } => {
                let norm = Norm::take(&mut params, node, epsilon)?;
                let before = &graph[node.inputs[0]];
                let foldable = matches!(before.op, Op::Convolution { .. } | Op::Depthwise { .. });
                if foldable && read_by[node.inputs[0].0] == 1 {
                    norm.into_layer(&mut folded, inputs[0]);
                    inputs[0]
                } else {
                    norm.into_depthwise(&mut folded, node, inputs[0])
                }
            }
            op => {
                for parameter in graph.parameters_of(id) {
                    let tensor = take(&mut params, &parameter.name, &parameter.shape)?;
                    folded.tensors.insert(parameter.name, tensor);
                }
                folded.graph.push(node.name.clone(), op, &inputs)
            }
        };
        place.push(new);
    }
    let moved = |named: &[(String, NodeId)]| named.iter().map(|(n, id)| (n.clone(), place[id.0])).collect();
    (folded.graph.outputs, folded.graph.taps) = (moved(&graph.outputs), moved(&graph.taps));
    Ok(folded)
}

/// Takes a tensor out of `params`.
fn take(params: &mut Params, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
    let tensor = params.tensors.remove(name).ok_or_else(|| Error::Config(format!("tensor {name} is missing")))?;
    if tensor.shape() != shape {
        let has = tensor.shape();
        return Err(Error::Config(format!("tensor {name} has shape {has:?}; the network needs {shape:?}")));
    }
    Ok(tensor)
}

/// A batch norm as one factor and one summand a channel.
struct Norm {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Norm {
    fn take(params: &mut Params, node: &Node, epsilon: f32) -> Result<Norm, Error> {
        let mut one = |role: Role| {
            let name = format!("{}.{}", node.name, role.suffix());
            take(params, &name, &[node.channels]).map(Tensor::into_f32)
        };
        let (gamma, beta) = (one(Role::Gamma)?, one(Role::Beta)?);
        let (mean, variance) = (one(Role::Mean)?, one(Role::Variance)?);
        let damaged = |role: Role, what: &str| {
            let tensor = format!("{}.{}", node.name, role.suffix());
            Error::Config(format!("tensor {tensor} has {what}; the weights are damaged"))
        };
        let factor = |(&g, &v): (&f32, &f32)| {
            let scale = f64::from(g) / (f64::from(v) + f64::from(epsilon)).sqrt();
            match scale.is_finite() {
                true => Ok(scale),
                false if !g.is_finite() => Err(damaged(Role::Gamma, &format!("a factor of {g}"))),
                false if v < 0.0 => Err(damaged(Role::Variance, "a variance below zero")),
                false => Err(damaged(Role::Variance, &format!("a variance of {v}"))),
            }
        };
        let scale: Vec<f64> = gamma.iter().zip(&variance).map(factor).collect::<Result<_, _>>()?;
        let summand = |((&b, &m), s): ((&f32, &f32), &f64)| f64::from(b) - f64::from(m) * s;
        let shift = beta.iter().zip(&mean).zip(&scale).map(summand).collect();
        Ok(Norm { scale, shift })
    }

    /// Multiplies into the weights of `layer`, which gets a bias where it had none.
    fn into_layer(self, folded: &mut Folded, layer: NodeId) {
        let node = &mut folded.graph.nodes[layer.0];
        if let Op::Convolution { bias, .. } | Op::Depthwise { bias, .. } = &mut node.op {
            *bias = true;
        }
        let [weight, bias] = [Role::Weight, Role::Bias].map(|role| format!("{}.{}", node.name, role.suffix()));
        let tensors = &mut folded.tensors;
        let old = tensors.remove(&bias).map_or(vec![0.0; self.scale.len()], Tensor::into_f32);
        let new = old.iter().zip(self.scale.iter().zip(&self.shift)).map(|(&b, (s, t))| (f64::from(b) * s + t) as f32);
        tensors.insert(bias, Tensor::from_f32(&[self.scale.len()], new.collect()));
        folded.scales.insert(weight, self.scale);
    }

    /// A depthwise convolution in place of the batch norm `node`.
    fn into_depthwise(self, folded: &mut Folded, node: &Node, input: NodeId) -> NodeId {
        let single = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let weight = Tensor::from_f32(&[node.channels, 1, 1, 1], single(self.scale));
        let bias = Tensor::from_f32(&[node.channels], single(self.shift));
        for (role, tensor) in [(Role::Weight, weight), (Role::Bias, bias)] {
            folded.tensors.insert(format!("{}.{}", node.name, role.suffix()), tensor);
        }
        let window = Window::square(1, 1, 1, Padding::Symmetric);
        folded.graph.push(node.name.clone(), Op::Depthwise { window, bias: true }, &[input])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{self, Spec};

    #[test]
    fn batch_norms_that_divide_by_no_number_are_refused() {
        let graph = arch::v2::table().graph(&Spec::default()).unwrap();
        let folded = |name: &str, last: f32| {
            let mut params = Params::default();
            for p in graph.parameters() {
                let mut values = vec![1.0; p.shape.iter().product()];
                if p.name == name {
                    *values.last_mut().unwrap() = last;
                }
                params.tensors.insert(p.name, Tensor::from_f32(&p.shape, values));
            }
            fold(&graph, params).map(drop).map_err(|e| e.to_string())
        };
        let variance = "block3.expand.norm.running_var";
        // Rounding leaves such variances behind.
        assert!(folded(variance, -1e-9).is_ok());
        for (name, value, what) in [
            (variance, -1.0, "a variance below zero"),
            (variance, f32::NAN, "a variance of NaN"),
            ("block3.expand.norm.weight", f32::INFINITY, "a factor of inf"),
        ] {
            let text = format!("tensor {name} has {what}; the weights are damaged");
            assert_eq!(folded(name, value).unwrap_err(), text);
        }
    }
}
