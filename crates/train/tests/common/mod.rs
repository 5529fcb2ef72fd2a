//! A second opinion on networks: the graph computed node by node in double precision, with the textbook's loops. It
//! shares no code with the kernels and knows nothing of gradients; they are taken from it by finite differences.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod photos;
pub mod ranks;

use mobilenet_net::graph::{Activation, Graph, Node, NodeId, Op, Shape, Shapes, Window};
use mobilenet_train::Statistics;

/// Numbers from a seed, by SplitMix64 (Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Between `low` and `high`, rounded to single precision: both sides then compute with the same numbers.
    pub fn values(&mut self, len: usize, [low, high]: [f64; 2]) -> Vec<f64> {
        (0..len).map(|_| f64::from((low + (high - low) * self.unit()) as f32)).collect()
    }
}

/// A graph at one size, in one mode.
pub struct Truth<'a> {
    pub graph: &'a Graph,
    pub shapes: Shapes,
    pub statistics: Statistics,
    /// Dropout's seed.
    pub dropout: Option<u64>,
    /// Place of each node's first parameter.
    firsts: Vec<usize>,
}

impl<'a> Truth<'a> {
    pub fn new(graph: &'a Graph, [n, h, w]: [usize; 3], statistics: Statistics, dropout: Option<u64>) -> Truth<'a> {
        let shapes = graph.infer(n, h, w).unwrap();
        let mut next = 0;
        let firsts = graph.ids().map(|id| (next, next += graph.parameters_of(id).len()).0).collect();
        Truth { graph, shapes, statistics, dropout, firsts }
    }

    /// Every node's result in NCHW. `parameters` are in the graph's order.
    pub fn run(&self, parameters: &[Vec<f64>], input: &[f64]) -> Vec<Vec<f64>> {
        let mut results = vec![input.to_vec()];
        self.run_from(NodeId(1), parameters, &mut results);
        results
    }

    /// Computes the results of `start` and all nodes after it anew.
    pub fn run_from(&self, start: NodeId, parameters: &[Vec<f64>], results: &mut Vec<Vec<f64>>) {
        results.truncate(start.0);
        for id in self.graph.ids().skip(start.0) {
            let result = self.node(id, &parameters[self.firsts[id.0]..], results);
            results.push(result);
        }
    }

    /// Gives every batch norm the statistics of `input` as running ones, rounded to single precision, so that values keep
    /// their size in deep networks.
    pub fn fit_statistics(&self, parameters: &mut [Vec<f64>], input: &[f64]) {
        let mut results = vec![input.to_vec()];
        for id in self.graph.ids().skip(1) {
            let reads = self.graph[id].inputs[0];
            if let Op::BatchNorm { .. } = self.graph[id].op {
                let statistics = parameters[self.firsts[id.0] + 2..][..2].iter_mut();
                for (which, values) in statistics.enumerate() {
                    for (c, value) in values.iter_mut().enumerate() {
                        *value = f64::from(moments(self.shapes[reads], &results[reads.0], c)[which] as f32);
                    }
                }
            }
            results.push(self.node(id, &parameters[self.firsts[id.0]..], &results));
        }
    }

    fn node(&self, id: NodeId, p: &[Vec<f64>], results: &[Vec<f64>]) -> Vec<f64> {
        let Node { op, inputs, .. } = &self.graph[id];
        let of = |i: usize| &results[inputs[i].0];
        let (out, before) = (self.shapes[id], self.shapes[inputs[0]]);
        let bias = |has: bool| if has { &p[1][..] } else { &[] };
        match *op {
            Op::Input => unreachable!("it is given"),
            Op::Convolution { window, bias: b, .. } => convolution([before, out], 1, window, of(0), &p[0], bias(b)),
            Op::Depthwise { window, bias: b } => convolution([before, out], out.c, window, of(0), &p[0], bias(b)),
            Op::FullyConnected { .. } => {
                let row = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
                let image = |x| p[0].chunks(before.c).zip(&p[1]).map(move |(w, b)| row(x, w) + b);
                of(0).chunks(before.c).flat_map(image).collect()
            }
            Op::BatchNorm { epsilon } => self.batch_norm(out, f64::from(epsilon), of(0), p),
            Op::Activation(activation) => of(0).iter().map(|&x| activate(activation, x)).collect(),
            Op::GlobalAveragePool => {
                let pixels = before.h * before.w;
                of(0).chunks(pixels).map(|plane| plane.iter().sum::<f64>() / pixels as f64).collect()
            }
            Op::Dropout { rate } => {
                let Some(seed) = self.dropout else { return of(0).clone() };
                let keep = f64::from(1.0 / (1.0 - rate));
                let dropped = |i: usize| is_dropped(seed, blocked_index(i, out), rate);
                of(0).iter().enumerate().map(|(i, x)| if dropped(i) { 0.0 } else { x * keep }).collect()
            }
            Op::Add => of(0).iter().zip(of(1)).map(|(a, b)| a + b).collect(),
            Op::Excite => of(0).iter().enumerate().map(|(i, x)| x * of(1)[i / (out.h * out.w)]).collect(),
            Op::Pool { .. } | Op::Concat | Op::Resize { .. } => unreachable!("the trainer refuses it"),
        }
    }

    fn batch_norm(&self, shape: Shape, epsilon: f64, x: &[f64], p: &[Vec<f64>]) -> Vec<f64> {
        let mut y = vec![0.0; x.len()];
        for (c, (gamma, beta)) in p[0].iter().zip(&p[1]).enumerate() {
            let [mean, variance] = match self.statistics {
                Statistics::Running => [p[2][c], p[3][c]],
                Statistics::Batch { .. } => moments(shape, x, c),
            };
            for i in channel(shape, c) {
                y[i] = (x[i] - mean) / (variance + epsilon).sqrt() * gamma + beta;
            }
        }
        y
    }

    /// The least distance of an activation's input from one of its corners, in single precision's sense: relative to the
    /// size of the node's values where that is above one.
    pub fn corner_distance(&self, results: &[Vec<f64>]) -> f64 {
        let activated = self.graph.nodes.iter().filter_map(|node| match node.op {
            Op::Activation(activation) => Some((corners(activation), &results[node.inputs[0].0])),
            _ => None,
        });
        let distance = |(corners, x): (&[f64], &Vec<f64>)| {
            let size = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt().max(1.0);
            let distances = corners.iter().flat_map(|c| x.iter().map(move |x| (x - c).abs()));
            distances.fold(f64::INFINITY, f64::min) / size
        };
        activated.map(distance).fold(f64::INFINITY, f64::min)
    }
}

/// Places of a channel's values in NCHW.
fn channel(shape: Shape, c: usize) -> impl Iterator<Item = usize> {
    let pixels = shape.h * shape.w;
    (0..shape.n).flat_map(move |n| (n * shape.c + c) * pixels..(n * shape.c + c + 1) * pixels)
}

/// Mean and biased variance of a channel.
pub fn moments(shape: Shape, x: &[f64], c: usize) -> [f64; 2] {
    let count = (shape.n * shape.h * shape.w) as f64;
    let mean = channel(shape, c).map(|i| x[i]).sum::<f64>() / count;
    [mean, channel(shape, c).map(|i| (x[i] - mean).powi(2)).sum::<f64>() / count]
}

fn convolution([x_shape, y_shape]: [Shape; 2], groups: usize, w: Window, x: &[f64], f: &[f64], b: &[f64]) -> Vec<f64> {
    let [kh, kw] = w.kernel;
    let size = [x_shape.h, x_shape.w];
    let before = [0, 1].map(|i| w.padding.amount(size[i], w.kernel[i], w.stride[i], w.dilation[i]).0);
    let inside = |i: usize, out: usize, tap: usize| {
        (out * w.stride[i] + tap * w.dilation[i]).checked_sub(before[i]).filter(|&at| at < size[i])
    };
    let per_group = x_shape.c / groups;
    let mut y = Vec::with_capacity(y_shape.elements());
    for n in 0..y_shape.n {
        for o in 0..y_shape.c {
            let first = o / (y_shape.c / groups) * per_group;
            for (oh, ow) in (0..y_shape.h).flat_map(|oh| (0..y_shape.w).map(move |ow| (oh, ow))) {
                let mut sum = b.get(o).copied().unwrap_or(0.0);
                for (i, (th, tw)) in
                    (0..per_group).flat_map(|i| (0..kh).flat_map(move |th| (0..kw).map(move |tw| (i, (th, tw)))))
                {
                    if let (Some(h), Some(v)) = (inside(0, oh, th), inside(1, ow, tw)) {
                        sum += x[((n * x_shape.c + first + i) * x_shape.h + h) * x_shape.w + v]
                            * f[((o * per_group + i) * kh + th) * kw + tw];
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

fn activate(activation: Activation, x: f64) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    let hard_sigmoid = (x + 3.0).clamp(0.0, 6.0) / 6.0;
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::HSwish => x * hard_sigmoid,
        Activation::HardSigmoid => hard_sigmoid,
        Activation::Sigmoid => sigmoid,
        Activation::Swish => x * sigmoid,
    }
}

/// Where the derivative jumps.
fn corners(activation: Activation) -> &'static [f64] {
    match activation {
        Activation::Relu => &[0.0],
        Activation::Relu6 => &[0.0, 6.0],
        Activation::HSwish | Activation::HardSigmoid => &[-3.0, 3.0],
        Activation::Sigmoid | Activation::Swish => &[],
    }
}

/// The place in the blocked layout, `[N][⌈C/16⌉][H][W][16]`, of a value in NCHW: dropout's numbers follow it.
fn blocked_index(i: usize, shape: Shape) -> u64 {
    let pixels = shape.h * shape.w;
    let (n, c, pixel) = (i / pixels / shape.c, i / pixels % shape.c, i % pixels);
    (((n * shape.c.div_ceil(16) + c / 16) * pixels + pixel) * 16 + c % 16) as u64
}

/// Whether dropout zeroes the value of that place.
fn is_dropped(seed: u64, index: u64, rate: f32) -> bool {
    let before = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Random(before).unit() < f64::from(rate)
}
