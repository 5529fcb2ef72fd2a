//! Why this class? Grad-CAM (arXiv 1610.02391): how much each place of the last feature map speaks for a class.
//!
//! αₖ, the weight of channel k, is the mean over places of ∂ logit / ∂ Aₖ; the map is ReLU(Σₖ αₖ Aₖ) (equations 1 and 2).
//! A is the last feature map before the pool: behind V3's pool stands a layer with h-swish, where nothing has a place.

use mobilenet_net::graph::{Graph, NodeId, Op, Padding, Role, Window};
use mobilenet_net::tensor::{Params, Tensor};
use mobilenet_run::Program;
use mobilenet_run::program::Options;

use crate::error::Error;
use crate::program::{Forward, TrainOptions, TrainProgram};
use crate::trainer::Machine;

/// A layer put behind the last feature map that changes nothing: the gradient of its bias is that of the map, summed over
/// places.
const PROBE: &str = "features.probe";

/// A network whose answers are to be explained, at one input size.
pub struct Explainer {
    program: Program,
    arena: mobilenet_run::Arena,
    gradients: TrainProgram,
    gradient_arena: crate::TrainArena,
    /// The place of the probe's bias among the parameters.
    bias: usize,
}

/// A heat map of the last feature map's size.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Rows and columns.
    pub size: [usize; 2],
    /// Row by row; the largest is 1, where anything speaks for the class at all.
    pub values: Vec<f32>,
}

/// What an explanation found.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The network's outputs.
    pub logits: Vec<f32>,
    /// Where.
    pub map: HeatMap,
}

impl Explainer {
    /// For one image of `size`, height and width, on a pool of threads, with its best instruction set or another.
    ///
    /// # Errors
    /// Where the network has no classifier behind a pooled map, or does not take that size.
    pub fn new(
        graph: &Graph,
        params: &Params,
        size: [usize; 2],
        machine: impl Into<Machine>,
    ) -> Result<Explainer, Error> {
        let Machine { pool, isa, .. } = machine.into();
        let [h, w] = size;
        let outputs = vec!["features".to_owned(), "logits".to_owned()];
        let program = Program::compile(graph, params.clone(), &Options { isa, outputs, ..Options::default() })?;
        let (probed, params) = probe(graph, params)?;
        let gradients = TrainProgram::compile(&probed, &params, TrainOptions { isa, ..TrainOptions::default() })?;
        let is_bias = |p: &mobilenet_net::graph::Parameter| p.role == Role::Bias && probed[p.node].name == PROBE;
        let bias = gradients.parameters().iter().position(is_bias).expect("the probe has a bias");
        let arena = program.arena(1, h, w, &pool)?;
        let gradient_arena = gradients.arena(1, h, w, &pool)?;
        Ok(Explainer { program, arena, gradients, gradient_arena, bias })
    }

    /// Explains one `output` for an input of 3×H×W values.
    ///
    /// # Errors
    /// Where there is no such output.
    ///
    /// # Panics
    /// Where `input` has another length.
    pub fn explain(&mut self, input: &[f32], output: usize) -> Result<Explanation, Error> {
        self.arena.input_mut().copy_from_slice(input);
        self.program.run(&mut self.arena);
        let logits = self.arena.output("logits").unwrap_or_default().to_vec();
        if output >= logits.len() {
            let text = format!("there is no output {output}: the network has {}", logits.len());
            return Err(mobilenet_net::Error::Config(text).into());
        }
        self.gradient_arena.input_mut().copy_from_slice(input);
        self.gradients.forward(&mut self.gradient_arena, Forward::EVALUATION);
        let gradient = self.gradient_arena.result_gradient_mut();
        gradient.fill(0.0);
        gradient[output] = 1.0;
        self.gradients.backward(&mut self.gradient_arena);
        let alpha = &self.gradients.gradients()[self.bias];

        let (_, shape) = self.arena.outputs().find(|(name, _)| *name == "features").expect("compiled for it");
        let places = shape.h * shape.w;
        let features = self.arena.output("features").unwrap_or_default();
        let mut values = vec![0.0f32; places];
        for (channel, alpha) in features.chunks_exact(places).zip(alpha) {
            values.iter_mut().zip(channel).for_each(|(value, a)| *value += alpha * a);
        }
        let largest = values.iter().fold(0.0f32, |a, &b| a.max(b));
        let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
        values.iter_mut().for_each(|value| *value = value.max(0.0) * scale);
        Ok(Explanation { logits, map: HeatMap { size: [shape.h, shape.w], values } })
    }
}

/// The graph with the probe between its last feature map and what reads it.
fn probe(graph: &Graph, params: &Params) -> Result<(Graph, Params), Error> {
    let missing = || mobilenet_net::Error::Config("the network has no feature map before its pool".into());
    let features = graph.find("features").ok_or_else(missing)?;
    let mut probed = Graph::default();
    let mut places: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.ids().zip(&graph.nodes) {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| places[input.0]).collect();
        let mut at = match node.op {
            Op::Input => probed.input(node.channels),
            op => probed.push(node.name.clone(), op, &inputs),
        };
        if id == features {
            let window = Window::square(1, 1, 1, Padding::Symmetric);
            at = probed.push(PROBE, Op::Depthwise { window, bias: true }, &[at]);
        }
        places.push(at);
    }
    probed.outputs = graph.outputs.iter().map(|(name, id)| (name.clone(), places[id.0])).collect();
    let channels = graph[features].channels;
    let mut params = params.clone();
    params.tensors.insert(format!("{PROBE}.weight"), Tensor::from_f32(&[channels, 1, 1, 1], vec![1.0; channels]));
    params.tensors.insert(format!("{PROBE}.bias"), Tensor::from_f32(&[channels], vec![0.0; channels]));
    Ok((probed, params))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mobilenet_kernels::Pool;
    use mobilenet_net::arch::{self, Spec};
    use mobilenet_net::init;

    use super::*;

    /// Without a hidden layer α is the classifier's row over the number of places; with one, finite differences of the
    /// pooled vector say the same. Every table is tried.
    #[test]
    fn the_map_follows_the_gradient_of_the_logit() {
        let pool = Arc::new(Pool::new(1));
        for model in arch::models() {
            let spec = Spec { width: 0.25, classes: 5, ..Spec::default() };
            let graph = (model.table)().graph(&spec).unwrap();
            let params = init::random(&graph, 3);
            let input: Vec<f32> = (0..3 * 64 * 96).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
            let mut explainer = Explainer::new(&graph, &params, [64, 96], &pool).unwrap();
            let results = mobilenet_run::reference::run(&graph, &params, &input, 1, 64, 96).unwrap();
            let features = &results[graph.find("features").unwrap().0];
            let pooled = &results[graph.find("pooled").unwrap().0];
            let mut speaking = 0;
            for output in 0..5 {
                let found = explainer.explain(&input, output).unwrap().map;
                assert_eq!(found.size, [2, 3], "{}", model.name);
                let mut right = [0.0f64; 6];
                for (channel, alpha) in features.chunks_exact(6).zip(slopes(&graph, &params, pooled, output)) {
                    right.iter_mut().zip(channel).for_each(|(r, &a)| *r += alpha * f64::from(a));
                }
                let largest = right.iter().fold(0.0f64, |a, &b| a.max(b));
                speaking += usize::from(largest > 0.0);
                for (found, right) in found.values.iter().zip(right) {
                    let right = if largest > 0.0 { right.max(0.0) / largest } else { 0.0 };
                    assert!((f64::from(*found) - right).abs() < 2e-3, "{} {output}: {found} for {right}", model.name);
                }
            }
            assert!(speaking > 0, "{}: nothing speaks for any class, and the test says nothing", model.name);
        }
    }

    /// ∂ logit / ∂ pooled by differences of the layers behind the pool, in double precision.
    fn slopes(graph: &Graph, params: &Params, pooled: &[f32], output: usize) -> Vec<f64> {
        let tensor = |name: &str| params.tensors.get(name).map(|t| t.clone().into_f32());
        let layer = |name: &str, x: &[f64]| -> Vec<f64> {
            let (w, b) = (tensor(&format!("{name}.weight")).unwrap(), tensor(&format!("{name}.bias")).unwrap());
            let row =
                |(w, b): (&[f32], &f32)| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(*b);
            w.chunks_exact(x.len()).zip(&b).map(row).collect()
        };
        let logit = |x: &[f64]| {
            let mut x = x.to_vec();
            if let Some(hidden) = graph.find("hidden") {
                let Op::Activation(activation) = graph[hidden].op else { panic!("hidden ends in a non-linearity") };
                x = layer("hidden", &x);
                let f = |v: f64| match activation {
                    mobilenet_net::Activation::HSwish => v * (v + 3.0).clamp(0.0, 6.0) / 6.0,
                    mobilenet_net::Activation::Relu => v.max(0.0),
                    other => panic!("no formula for {other}"),
                };
                x.iter_mut().for_each(|v| *v = f(*v));
            }
            layer("classifier", &x)[output]
        };
        let at: Vec<f64> = pooled.iter().map(|&v| f64::from(v)).collect();
        let slope = |i: usize| {
            let moved = |by: f64| {
                let mut x = at.clone();
                x[i] += by;
                logit(&x)
            };
            (moved(1e-5) - moved(-1e-5)) / 2e-5
        };
        (0..at.len()).map(slope).collect()
    }
}
