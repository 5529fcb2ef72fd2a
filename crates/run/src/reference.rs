//! The slow truth: a graph as it stands, batch norm and all, node by node through the scalar kernels.

use mobilenet_kernels::layout::Dims;
use mobilenet_kernels::pool2d::Kind;
use mobilenet_kernels::{Activation, reference};
use mobilenet_net::error::Error;
use mobilenet_net::graph::{Graph, NodeId, Op, Padding, PoolKind, Role, Shape, Window};
use mobilenet_net::tensor::Params;

use crate::arena::window_geometry;
use crate::compile::kernel_activation;

/// Every node's result, in NCHW, for an input of `n` images of `h`×`w` pixels.
///
/// # Errors
/// [`Error`] where the size does not fit or a parameter is missing.
pub fn run(
    graph: &Graph,
    params: &Params,
    input: &[f32],
    n: usize,
    h: usize,
    w: usize,
) -> Result<Vec<Vec<f32>>, Error> {
    let shapes = graph.infer(n, h, w)?;
    let mut results: Vec<Vec<f32>> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.ids().zip(&graph.nodes) {
        let parameter = |role: Role| -> Result<Vec<f32>, Error> {
            let name = format!("{}.{}", node.name, role.suffix());
            let found = params.tensors.get(&name).cloned();
            found.map(|t| t.into_f32()).ok_or_else(|| Error::Config(format!("tensor {name} is missing")))
        };
        let optional = |has: bool| if has { parameter(Role::Bias) } else { Ok(Vec::new()) };
        let of = |i: usize| -> (&[f32], Shape) { (&results[node.inputs[i].0], shapes[node.inputs[i]]) };
        let out = shapes[id];
        let layer = |groups: usize, window: Window, bias: bool| -> Result<Vec<f32>, Error> {
            let (x, shape) = of(0);
            let (weights, bias) = (parameter(Role::Weight)?, optional(bias)?);
            let g = window_geometry(window, shape, out);
            Ok(reference::convolution(n, [shape.c, out.c], groups, &g, x, &weights, &bias, Activation::Linear))
        };
        let result = match node.op {
            Op::Input => input.to_vec(),
            Op::Convolution { window, bias, .. } => layer(1, window, bias)?,
            Op::Depthwise { window, bias } => layer(out.c, window, bias)?,
            Op::FullyConnected { .. } => layer(1, Window::square(1, 1, 1, Padding::Symmetric), true)?,
            Op::BatchNorm { epsilon } => {
                let [gamma, beta] = [parameter(Role::Gamma)?, parameter(Role::Beta)?];
                let [mean, variance] = [parameter(Role::Mean)?, parameter(Role::Variance)?];
                per_channel(of(0).0, out, |c, x| {
                    let unit = (x - f64::from(mean[c])) / (f64::from(variance[c]) + f64::from(epsilon)).sqrt();
                    unit * f64::from(gamma[c]) + f64::from(beta[c])
                })
            }
            Op::Activation(activation) => {
                per_channel(of(0).0, out, |_, x| reference::activate(kernel_activation(activation), x))
            }
            Op::GlobalAveragePool => reference::global_average(of(0).1.h * of(0).1.w, of(0).0),
            Op::Pool { kind, window } => {
                let kind = if kind == PoolKind::Max { Kind::Max } else { Kind::Average };
                reference::pool(kind, n * out.c, &window_geometry(window, of(0).1, out), of(0).0)
            }
            Op::Dropout { .. } => of(0).0.to_vec(),
            Op::Add => of(0).0.iter().zip(of(1).0).map(|(a, b)| a + b).collect(),
            Op::Excite => reference::gate(Dims { n, c: out.c, h: out.h, w: out.w }, of(0).0, of(1).0),
            Op::Concat => concat(n, &node.inputs, &results),
            Op::Resize { align_corners } => {
                let input = of(0).1;
                reference::bilinear(n * out.c, [input.h, input.w], [out.h, out.w], align_corners, of(0).0)
            }
        };
        results.push(result);
    }
    Ok(results)
}

fn per_channel(x: &[f32], shape: Shape, f: impl Fn(usize, f64) -> f64) -> Vec<f32> {
    let pixels = shape.h * shape.w;
    x.iter().enumerate().map(|(i, &v)| f(i / pixels % shape.c, f64::from(v)) as f32).collect()
}

fn concat(n: usize, inputs: &[NodeId], results: &[Vec<f32>]) -> Vec<f32> {
    let image = |i: usize, input: &NodeId| {
        let all = &results[input.0];
        let len = all.len() / n;
        all[i * len..(i + 1) * len].to_vec()
    };
    (0..n).flat_map(|i| inputs.iter().flat_map(move |input| image(i, input))).collect()
}
