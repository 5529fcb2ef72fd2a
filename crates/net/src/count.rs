//! Parameters and multiply-adds, layer by layer, as the papers count them.
//!
//! One multiplication and one addition are one multiply-add. Convolutions and fully connected layers count, those of
//! squeeze-and-excite included; biases, batch norm, pools, products and non-linearities do not. Parameters are what is
//! learned: weights, biases and batch norm's γ and β.

use serde::Serialize;

use crate::error::Error;
use crate::graph::{Graph, NodeId, Op, Role, Shape, Window};

/// The kinds of layer that V1's table 2 tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A 1×1 convolution.
    Pointwise,
    /// One filter a channel.
    Depthwise,
    /// Any larger convolution.
    Convolution,
    /// The classifier, V3's hidden layer, squeeze-and-excite.
    FullyConnected,
}

/// A layer with weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Its node.
    pub name: String,
    /// In the paper's words: `dw3x3, s2`.
    pub operator: String,
    /// What V1's table 2 counts it as.
    pub kind: Kind,
    /// Height, width, channels.
    pub input: [usize; 3],
    /// Height, width, channels.
    pub output: [usize; 3],
    /// Learned numbers: weights, bias, and γ and β of the batch norm behind it.
    pub parameters: u64,
    /// Weights alone.
    pub weights: u64,
    /// Multiply-adds.
    pub multiply_adds: u64,
    /// For a depthwise layer with a 1×1 convolution behind it: the full convolution that the pair stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_convolution: Option<AsConvolution>,
}

/// What depthwise and pointwise cost against the full convolution that they replace (V1 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AsConvolution {
    /// Of the full convolution.
    pub multiply_adds: u64,
    /// What the pair costs of it: 1/N + 1/k², for N output channels.
    pub factor: f64,
}

/// A kind's part in the whole, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Share {
    /// Of all multiply-adds.
    pub multiply_adds: f64,
    /// Of all weights, without biases and batch norm, as V1's table 2 counts.
    pub parameters: f64,
}

/// V1's table 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// 1×1 convolutions.
    pub pointwise: Share,
    /// Depthwise convolutions.
    pub depthwise: Share,
    /// Other convolutions.
    pub convolution: Share,
    /// Fully connected layers.
    pub fully_connected: Share,
}

/// The costs of a network at one input size, for one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// All learned numbers.
    pub parameters: u64,
    /// All multiply-adds.
    pub multiply_adds: u64,
    /// Layers with weights, in order.
    pub layers: Vec<Layer>,
    /// By kind of layer.
    pub share: Shares,
}

impl Summary {
    /// Counts `graph` for an image of `h`×`w` pixels.
    ///
    /// # Errors
    /// As [`Graph::infer`].
    pub fn new(graph: &Graph, h: usize, w: usize) -> Result<Summary, Error> {
        let shapes = graph.infer(1, h, w)?;
        let mut learned = vec![0u64; graph.nodes.len()];
        let mut weights = vec![0u64; graph.nodes.len()];
        for parameter in graph.parameters() {
            let count = product(&parameter.shape);
            if parameter.role.is_learned() {
                learned[parameter.node.0] += count;
            }
            if parameter.role == Role::Weight {
                weights[parameter.node.0] += count;
            }
        }
        let mut layers: Vec<Layer> = Vec::new();
        for id in graph.ids() {
            let node = &graph[id];
            let Some((kind, operator)) = describe(&node.op) else { continue };
            let (input, output) = (shapes[node.inputs[0]], shapes[id]);
            let norms = followers(graph, id).filter(|&n| matches!(graph[n].op, Op::BatchNorm { .. }));
            layers.push(Layer {
                name: node.name.clone(),
                operator,
                kind,
                input: size(input),
                output: size(output),
                parameters: learned[id.0] + norms.map(|n| learned[n.0]).sum::<u64>(),
                weights: weights[id.0],
                // Every weight is used once per output position.
                multiply_adds: weights[id.0].saturating_mul(product(&[output.h, output.w])),
                as_convolution: as_convolution(graph, id, output),
            });
        }
        let multiply_adds = layers.iter().fold(0u64, |sum, l| sum.saturating_add(l.multiply_adds));
        let share = share(&layers, multiply_adds);
        Ok(Summary { parameters: learned.iter().sum(), multiply_adds, layers, share })
    }
}

/// The product of sizes whose tensor has at most `MAX_ELEMENTS`, or of a network's weights; it stays in range even
/// where `usize` has 32 bits.
pub(crate) fn product(sizes: &[usize]) -> u64 {
    sizes.iter().fold(1, |p: u64, &s| p.saturating_mul(s as u64))
}

fn size(shape: Shape) -> [usize; 3] {
    [shape.h, shape.w, shape.c]
}

/// The nodes whose first input is `id`.
fn followers(graph: &Graph, id: NodeId) -> impl Iterator<Item = NodeId> {
    graph.ids().skip(id.0 + 1).filter(move |&n| graph[n].inputs.first() == Some(&id))
}

/// Kind and the paper's words, for layers with weights.
fn describe(op: &Op) -> Option<(Kind, String)> {
    let words = |operator: &str, window: Window| {
        let [kh, kw] = window.kernel;
        let [s, _] = window.stride;
        let [d, _] = window.dilation;
        let stride = if s > 1 { format!(", s{s}") } else { String::new() };
        let dilation = if d > 1 { format!(", d{d}") } else { String::new() };
        format!("{operator}{kh}x{kw}{stride}{dilation}")
    };
    match *op {
        Op::Convolution { window, .. } => {
            let kind = if window.kernel == [1, 1] { Kind::Pointwise } else { Kind::Convolution };
            Some((kind, words("conv2d ", window)))
        }
        Op::Depthwise { window, .. } => Some((Kind::Depthwise, words("dw", window))),
        Op::FullyConnected { .. } => Some((Kind::FullyConnected, "fc".into())),
        _ => None,
    }
}

/// The full convolution that `id` stands for together with the 1×1 convolution behind it.
fn as_convolution(graph: &Graph, id: NodeId, output: Shape) -> Option<AsConvolution> {
    let Op::Depthwise { window: Window { kernel: [kh, kw], .. }, .. } = graph[id].op else { return None };
    let mut at = id;
    for next in graph.ids().skip(id.0 + 1) {
        if graph[next].inputs.first() != Some(&at) {
            continue;
        }
        match graph[next].op {
            Op::BatchNorm { .. } | Op::Activation(_) | Op::Excite => at = next,
            Op::Convolution { window: Window { kernel: [1, 1], .. }, out, .. } => {
                return Some(AsConvolution {
                    multiply_adds: product(&[kh, kw, output.c, out, output.h, output.w]),
                    factor: 1.0 / out as f64 + 1.0 / (kh * kw) as f64,
                });
            }
            _ => {}
        }
    }
    None
}

fn share(layers: &[Layer], multiply_adds: u64) -> Shares {
    let weights = layers.iter().fold(0u64, |sum, l| sum.saturating_add(l.weights));
    let percent = |part: u64, whole: u64| if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    let of = |kind: Kind| {
        let own = || layers.iter().filter(|l| l.kind == kind);
        Share {
            multiply_adds: percent(own().fold(0u64, |s, l| s.saturating_add(l.multiply_adds)), multiply_adds),
            parameters: percent(own().fold(0u64, |s, l| s.saturating_add(l.weights)), weights),
        }
    };
    Shares {
        pointwise: of(Kind::Pointwise),
        depthwise: of(Kind::Depthwise),
        convolution: of(Kind::Convolution),
        fully_connected: of(Kind::FullyConnected),
    }
}
