//! Gradients against finite differences of a second implementation in double precision: every operator in small graphs,
//! every registered network, with the batch's statistics and the running ones, on every instruction set.
//!
//! A small graph is checked value by value: the gradient of every parameter, and, as the first layer is always another
//! than the one in question, what flows through its input. Activations' inputs keep a distance from corners, where a
//! rounding error would change a derivative.

mod common;

use std::sync::Arc;

use common::{Random, Truth};
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::arch::{self, Spec};
use mobilenet_net::graph::{Activation, Graph, NodeId, Op, Padding, Parameter, Role, Window};
use mobilenet_net::{Params, Tensor};
use mobilenet_train::{Forward, Statistics, TrainOptions, TrainProgram};

/// Half the difference's step: below it rounding of the loss shows, above it the third derivative.
const STEP: f64 = 1e-6;
const BATCH: Statistics = Statistics::Batch { momentum: 0.1 };
const DROPOUT: Option<u64> = Some(5);

/// A graph in the making: operators follow each other.
struct Net {
    graph: Graph,
    at: NodeId,
}

impl Net {
    /// An input of `channels` and a 3×3 convolution to `out` channels.
    fn new(channels: usize, out: usize) -> Net {
        let mut graph = Graph::default();
        let at = graph.input(channels);
        Net { graph, at }.dense(3, 1, out, false)
    }

    fn push(mut self, op: Op) -> Net {
        let name = format!("node{}", self.graph.nodes.len());
        self.at = self.graph.push(name, op, &[self.at]);
        self
    }

    fn join(mut self, op: Op, first: NodeId) -> Net {
        let name = format!("node{}", self.graph.nodes.len());
        self.at = self.graph.push(name, op, &[first, self.at]);
        self
    }

    fn dense(self, kernel: usize, stride: usize, out: usize, bias: bool) -> Net {
        let window = Window::square(kernel, stride, 1, Padding::Symmetric);
        self.push(Op::Convolution { window, out, bias })
    }

    fn pointwise(self, out: usize, bias: bool) -> Net {
        self.dense(1, 1, out, bias)
    }

    fn depthwise(self, kernel: usize, stride: usize, padding: Padding, bias: bool) -> Net {
        self.push(Op::Depthwise { window: Window::square(kernel, stride, 1, padding), bias })
    }

    fn norm(self) -> Net {
        self.push(Op::BatchNorm { epsilon: 1e-3 })
    }

    fn activate(self, activation: Activation) -> Net {
        self.push(Op::Activation(activation))
    }

    /// Squeeze to `reduced` channels and excitation, as V3 has them.
    fn squeeze_and_excite(self, reduced: usize, gate: Activation) -> Net {
        let (from, channels) = (self.at, self.graph[self.at].channels);
        let squeezed = self.push(Op::GlobalAveragePool).pointwise(reduced, true).activate(Activation::Relu);
        squeezed.pointwise(channels, true).activate(gate).join(Op::Excite, from)
    }

    fn graph(mut self) -> Graph {
        self.graph.outputs.push(("logits".into(), self.at));
        self.graph
    }
}

/// Random parameters in the graph's order. Weights keep the size of what passes through them.
fn parameters(graph: &Graph, random: &mut Random) -> Vec<Vec<f64>> {
    let of = graph.parameters().into_iter().map(|p| {
        let range = match p.role {
            Role::Weight => {
                let fan_in: usize = p.shape[1..].iter().product();
                let bound = (4.0 / fan_in as f64).sqrt();
                [-bound, bound]
            }
            Role::Bias | Role::Beta | Role::Mean => [-0.5, 0.5],
            Role::Gamma => [0.5, 2.0],
            Role::Variance => [0.5, 1.5],
        };
        random.values(p.shape.iter().product(), range)
    });
    of.collect()
}

/// A graph at a size with parameters, an input, and weights of the results in the loss, which is their sum.
struct Case<'a> {
    truth: Truth<'a>,
    parameters: Vec<Vec<f64>>,
    input: Vec<f64>,
    projection: Vec<f64>,
    /// Every node's result.
    results: Vec<Vec<f64>>,
}

impl<'a> Case<'a> {
    /// From the first seed, beginning at `seed`, by which activations' inputs stay `distance` away from corners; with `fit` running statistics
    /// are the input's.
    fn new(
        graph: &'a Graph,
        size: [usize; 3],
        statistics: Statistics,
        distance: f64,
        seed: u64,
        fit: bool,
    ) -> Case<'a> {
        let truth = Truth::new(graph, size, statistics, DROPOUT);
        let logits = truth.shapes[graph.find("logits").unwrap()].elements();
        let input = truth.shapes[NodeId(0)].elements();
        for seed in seed..seed + 200 {
            let mut random = Random(seed << 32);
            let (mut parameters, input) = (parameters(graph, &mut random), random.values(input, [-3.0, 3.0]));
            if fit {
                truth.fit_statistics(&mut parameters, &input);
            }
            let projection = random.values(logits, [-1.0, 1.0]);
            let results = truth.run(&parameters, &input);
            if truth.corner_distance(&results) > distance {
                return Case { truth, parameters, input, projection, results };
            }
        }
        panic!("every seed brings an activation near a corner");
    }

    fn logits<'b>(&self, results: &'b [Vec<f64>]) -> &'b [f64] {
        &results[self.truth.graph.find("logits").unwrap().0]
    }

    /// The slope of the loss along `direction` in the space of one parameter.
    fn slope(&self, parameter: usize, node: NodeId, direction: impl Fn(usize) -> f64) -> f64 {
        let mut results = self.results.clone();
        let mut parameters = self.parameters.clone();
        let mut loss = |step: f64| {
            for (i, (moved, value)) in parameters[parameter].iter_mut().zip(&self.parameters[parameter]).enumerate() {
                *moved = value + step * direction(i);
            }
            self.truth.run_from(node, &parameters, &mut results);
            // The difference of every result, not of their sums: fewer digits cancel.
            self.logits(&results).to_vec()
        };
        let (above, below) = (loss(STEP), loss(-STEP));
        let pairs = above.iter().zip(&below).zip(&self.projection);
        pairs.map(|((above, below), p)| (above - below) / (2.0 * STEP) * p).sum()
    }

    /// The results and gradients of the program on an instruction set.
    fn program(&self, isa: Isa) -> (Vec<f32>, Vec<Vec<f32>>) {
        let single = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let graph = self.truth.graph;
        let tensors = graph.parameters().into_iter().zip(&self.parameters);
        let tensors = tensors.map(|(p, v)| (p.name, Tensor::from_f32(&p.shape, single(v)))).collect();
        let params = Params { tensors, ..Params::default() };
        let mut program = TrainProgram::compile(graph, &params, TrainOptions { isa, ..Default::default() }).unwrap();
        let shape = self.truth.shapes[NodeId(0)];
        let mut arena = program.arena(shape.n, shape.h, shape.w, &Arc::new(Pool::new(2))).unwrap();
        arena.input_mut().copy_from_slice(&single(&self.input));
        program.forward(&mut arena, Forward { statistics: self.truth.statistics, dropout: self.truth.dropout });
        let results = arena.result().to_vec();
        arena.result_gradient_mut().copy_from_slice(&single(&self.projection));
        program.backward(&mut arena);
        (results, program.gradients().to_vec())
    }

    /// Results within `tolerance` of the largest.
    fn check_results(&self, name: &str, got: &[f32], tolerance: f64) {
        let want = self.logits(&self.results);
        let largest = want.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        let apart = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
        assert!(apart <= tolerance * largest, "{name}: results differ by {apart} of {largest}");
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Compares every value of every gradient. A tensor may be off by 10⁻⁴ of its norm; one whose gradient vanishes, such as
/// a bias before a batch norm, by 5·10⁻⁶ of the largest norm.
fn check_every_value(name: &str, graph: &Graph, size: [usize; 3], statistics: Statistics) {
    let case = Case::new(graph, size, statistics, 2e-5, 0, false);
    let learned: Vec<_> = graph.parameters().into_iter().enumerate().filter(|(_, p)| p.role.is_learned()).collect();
    let wanted: Vec<Vec<f64>> = learned
        .iter()
        .map(|(place, p)| {
            let one = |at: usize| case.slope(*place, p.node, |i| f64::from(u8::from(i == at)));
            (0..case.parameters[*place].len()).map(one).collect()
        })
        .collect();
    let largest = wanted.iter().map(|v| norm(v.iter().copied())).fold(0.0, f64::max);
    for isa in Isa::available() {
        let name = format!("{name} at {size:?} with {statistics:?} on {isa}");
        let (results, gradients) = case.program(isa);
        case.check_results(&name, &results, 1e-5);
        for ((place, p), want) in learned.iter().zip(&wanted) {
            let apart = norm(gradients[*place].iter().zip(want).map(|(g, w)| f64::from(*g) - w));
            let scale = norm(want.iter().copied());
            let (parameter, share) = (&p.name, apart / scale);
            assert!(
                apart <= 1e-4 * scale.max(5e-2 * largest),
                "{name}: the gradient of {parameter} is off by {apart}, {share} of its norm"
            );
        }
    }
}

/// Both statistics, a photo alone and three, odd sizes.
fn check(name: &str, net: impl Fn() -> Net) {
    check_at(&[[1, 9, 9], [3, 7, 5], [3, 1, 1], [1, 1, 1]], name, net);
}

fn check_at(sizes: &[[usize; 3]], name: &str, net: impl Fn() -> Net) {
    let graph = net().graph();
    for &size in sizes {
        let has_norm = graph.nodes.iter().any(|n| matches!(n.op, Op::BatchNorm { .. }));
        // The variance of a single value is zero, and so is every gradient through it.
        let is_single = size == [1, 1, 1];
        if has_norm && !is_single {
            check_every_value(name, &graph, size, BATCH);
        }
        check_every_value(name, &graph, size, Statistics::Running);
    }
}

#[test]
fn layers_of_every_shape() {
    for [inputs, outputs] in [[3, 5], [17, 24], [24, 17]] {
        check(&format!("pointwise {inputs} to {outputs}"), || Net::new(3, inputs).pointwise(outputs, false));
        check("pointwise with bias", || Net::new(3, inputs).pointwise(outputs, true));
    }
    for [inputs, outputs] in [[3, 5], [17, 3]] {
        for stride in [1, 2] {
            check("3×3 convolution", || Net::new(5, inputs).dense(3, stride, outputs, stride == 2));
        }
        check("fully connected", || {
            Net::new(3, inputs).push(Op::GlobalAveragePool).push(Op::FullyConnected { out: outputs })
        });
    }
    for channels in [3, 17, 24] {
        for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            // At stride 1 both paddings are the same.
            let paddings = [Padding::Same, Padding::Symmetric];
            for padding in paddings.into_iter().take(stride) {
                let name = format!("depthwise {kernel}×{kernel} at stride {stride}, {padding}, {channels} channels");
                check(&name, || Net::new(3, channels).depthwise(kernel, stride, padding, channels == 17));
            }
        }
    }
}

#[test]
fn the_stem_at_stride_2_on_plain_input() {
    for channels in [1, 3, 5] {
        let mut graph = Graph::default();
        let at = graph.input(channels);
        check("stem", || Net { graph: graph.clone(), at }.dense(3, 2, 17, true));
        check("stem with norm", || Net { graph: graph.clone(), at }.dense(3, 2, 8, false).norm());
    }
}

#[test]
fn every_activation_with_and_without_norm_before_every_reader() {
    for activation in Activation::ALL {
        let check = |name: &str, net: &dyn Fn() -> Net| check_at(&[[1, 7, 5], [3, 3, 5], [3, 1, 1]], name, net);
        for channels in [5, 17] {
            let net = |has_norm: bool| {
                let net = Net::new(3, channels);
                (if has_norm { net.norm() } else { net }).activate(activation)
            };
            for has_norm in [false, true] {
                check(&format!("{activation}"), &|| net(has_norm));
                check(&format!("{activation}, pointwise"), &|| net(has_norm).pointwise(17, false));
                check(&format!("{activation}, depthwise"), &|| net(has_norm).depthwise(3, 2, Padding::Same, false));
                check(&format!("{activation}, pool"), &|| net(has_norm).push(Op::GlobalAveragePool));
            }
            check(&format!("{activation}, 3×3 convolution"), &|| net(true).dense(3, 2, 4, false));
            check(&format!("{activation} of a biased layer"), &|| {
                Net::new(3, channels).pointwise(7, true).activate(activation)
            });
        }
    }
}

#[test]
fn norms_after_every_layer() {
    check("identity", || Net::new(3, 17).norm());
    check("pointwise", || Net::new(3, 5).norm().pointwise(24, true).norm().pointwise(3, false));
    check("depthwise", || Net::new(3, 17).norm().depthwise(5, 1, Padding::Symmetric, true).norm().pointwise(3, false));
    check("strided depthwise", || Net::new(3, 24).norm().depthwise(3, 2, Padding::Symmetric, false).norm());
    check("3×3 convolution", || Net::new(3, 5).norm().dense(3, 1, 17, true).norm().pointwise(3, true));
}

#[test]
fn squeeze_and_excite_with_every_gate() {
    for gate in [Activation::HardSigmoid, Activation::Sigmoid] {
        for activation in [Activation::Relu, Activation::HSwish] {
            let excited = || {
                Net::new(3, 17)
                    .norm()
                    .activate(activation)
                    .depthwise(3, 1, Padding::Symmetric, false)
                    .norm()
                    .activate(activation)
                    .squeeze_and_excite(8, gate)
            };
            check("squeeze and excite", excited);
            check("squeeze and excite, pointwise", || excited().pointwise(5, false).norm());
        }
        check("a pooled excitation", || {
            let excited = Net::new(3, 17).norm().squeeze_and_excite(8, gate);
            excited.push(Op::GlobalAveragePool).push(Op::FullyConnected { out: 3 })
        });
        check("squeeze and excite of a bare layer", || Net::new(3, 5).squeeze_and_excite(3, gate).pointwise(3, true));
    }
}

#[test]
fn a_map_that_is_pooled_or_gated_after_its_excitation_is_refused() {
    let compile = |net: Net| {
        let graph = net.graph();
        let params = mobilenet_net::init::for_training(&graph, 1);
        TrainProgram::compile(&graph, &params, TrainOptions::default()).err().expect("no gradient").to_string()
    };
    let excited = |map: Net| {
        let at = map.at;
        (map.squeeze_and_excite(8, Activation::Sigmoid), at)
    };
    let (net, map) = excited(Net::new(3, 17).norm());
    let first = net.push(Op::GlobalAveragePool);
    let pooled = first.at;
    let later = Net { at: map, ..first }.push(Op::GlobalAveragePool).join(Op::Add, pooled);
    assert!(compile(later.push(Op::FullyConnected { out: 3 })).contains("Excite"));
    let (net, _) = excited(Net::new(3, 17).norm());
    let (twice, _) = excited(net);
    assert!(compile(twice.pointwise(3, true)).contains("Excite"));
}

#[test]
fn shortcuts_pools_and_dropout() {
    let bottleneck = |net: Net| {
        let (from, channels) = (net.at, net.graph[net.at].channels);
        let wide = net.pointwise(24, false).norm().activate(Activation::Relu6);
        let wide = wide.depthwise(3, 1, Padding::Symmetric, false).norm().activate(Activation::Relu6);
        wide.pointwise(channels, false).norm().join(Op::Add, from)
    };
    check("a shortcut", || bottleneck(Net::new(3, 5).norm()));
    check("shortcuts in a row", || bottleneck(bottleneck(Net::new(3, 17).norm().activate(Activation::Relu))));
    check("an activation of a shortcut", || {
        bottleneck(Net::new(3, 5)).activate(Activation::HSwish).pointwise(3, false)
    });
    check("a pooled shortcut", || {
        bottleneck(Net::new(3, 5)).push(Op::GlobalAveragePool).push(Op::FullyConnected { out: 3 })
    });
    check("two pools of one map", || {
        let net = Net::new(3, 17).norm().activate(Activation::HSwish);
        let from = net.at;
        let first = net.push(Op::GlobalAveragePool);
        let pooled = first.at;
        let second = Net { at: from, ..first }.push(Op::GlobalAveragePool);
        second.join(Op::Add, pooled).push(Op::FullyConnected { out: 3 })
    });
    check("a sum with itself", || {
        let net = Net::new(3, 5).norm();
        let from = net.at;
        net.join(Op::Add, from).pointwise(3, false)
    });
    check("dropout of a map", || Net::new(3, 17).norm().push(Op::Dropout { rate: 0.3 }).pointwise(5, true));
    check("V3's classifier", || {
        let pooled = Net::new(3, 24).norm().activate(Activation::HSwish).push(Op::GlobalAveragePool);
        let hidden = pooled.pointwise(33, true).activate(Activation::HSwish);
        hidden.push(Op::Dropout { rate: 0.2 }).push(Op::FullyConnected { out: 5 })
    });
}

/// The parameters of `left` whose gradients disagree, and the largest share of its norm by which one is off.
///
/// A tensor is seen along its gradient and a random direction together.
fn disagreeing(case: &Case, left: &[(usize, Parameter)], tolerance: f64) -> (Vec<(usize, Parameter)>, f64) {
    let runs: Vec<_> = Isa::available().map(|isa| case.program(isa)).collect();
    runs.iter().for_each(|(results, _)| case.check_results("a network", results, 1e-3));
    let double = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let largest = runs[0].1.iter().map(|g| norm(double(g).into_iter())).fold(0.0, f64::max);
    let mut worst = 0.0f64;
    let disagrees = |(place, p): &&(usize, Parameter)| {
        let gradient = double(&runs[0].1[*place]);
        let (size, len) = (norm(gradient.iter().copied()).max(1e-30), gradient.len());
        let random = Random(*place as u64).values(len, [-1.0, 1.0]);
        let along = |i: usize| gradient[i] / size + random[i] / (len as f64).sqrt();
        let want = case.slope(*place, p.node, along);
        let apart = runs.iter().map(|(_, gradients)| {
            let got: f64 = double(&gradients[*place]).iter().enumerate().map(|(i, g)| g * along(i)).sum();
            (got - want).abs() / size.max(1e-3 * largest)
        });
        let apart = apart.fold(0.0, f64::max);
        worst = worst.max(apart);
        apart > tolerance
    };
    let left = left.iter().filter(disagrees).cloned().collect();
    (left, worst)
}

/// In a deep network a rounding error can turn some activation's derivative over, which moves gradients by a percent. That
/// is bad luck with one seed; a wrong term is wrong with every seed.
#[test]
fn registered_networks() {
    for model in arch::models() {
        let spec = Spec { width: 0.25, classes: 10, total_stride: 16, ..Spec::default() };
        let graph = (model.table)().graph(&spec).unwrap();
        for statistics in [BATCH, Statistics::Running] {
            let learned = graph.parameters().into_iter().enumerate().filter(|(_, p)| p.role.is_learned());
            let mut left: Vec<_> = learned.collect();
            for seed in (0..12).map(|i| 1000 * i) {
                let case = Case::new(&graph, [2, 32, 32], statistics, 5e-6, seed, true);
                let (disagree, worst) = disagreeing(&case, &left, 2e-3);
                println!("{}, {statistics:?}, {} tensors within {worst:.1e}", model.name, left.len());
                left = disagree;
                if left.is_empty() {
                    break;
                }
            }
            let names: Vec<_> = left.iter().map(|(_, p)| &p.name).collect();
            assert!(left.is_empty(), "{} with {statistics:?}: wrong gradients of {names:?}", model.name);
        }
    }
}
