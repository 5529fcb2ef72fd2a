//! Keras's names (keras@3.15.1 applications/mobilenet.py, mobilenet_v2.py, mobilenet_v3.py): a table each family. Keras 2's
//! V3 has slashes instead; the readers of its files replace them.

use std::collections::BTreeMap;

use super::{Names, Origin};
use crate::arch::{Family, Table};
use crate::error::Error;
use crate::graph::{Graph, Op, Role};

/// Outside blocks, and in them: ours, Keras's. Norms are called as the convolution before them, and more.
struct Scheme {
    outside: &'static [(&'static str, &'static str)],
    /// In blocks; `{b}` is the block's prefix.
    layers: &'static [(&'static str, &'static str)],
    /// A block's prefix by its number from 1.
    block: fn(usize) -> String,
}

#[rustfmt::skip]
const V1: Scheme = Scheme {
    outside: &[
        ("stem.conv",      "conv1"),
        ("stem.norm",      "conv1_bn"),
        ("classifier",     "conv_preds"),
    ],
    layers: &[
        ("depthwise.conv", "conv_dw_{b}"),
        ("depthwise.norm", "conv_dw_{b}_bn"),
        ("pointwise.conv", "conv_pw_{b}"),
        ("pointwise.norm", "conv_pw_{b}_bn"),
    ],
    block: |number| number.to_string(),
};

#[rustfmt::skip]
const V2: Scheme = Scheme {
    outside: &[
        ("stem.conv",      "Conv1"),
        ("stem.norm",      "bn_Conv1"),
        ("head.conv",      "Conv_1"),
        ("head.norm",      "Conv_1_bn"),
        ("classifier",     "predictions"),
    ],
    layers: &[
        ("expand.conv",    "{b}expand"),
        ("expand.norm",    "{b}expand_BN"),
        ("depthwise.conv", "{b}depthwise"),
        ("depthwise.norm", "{b}depthwise_BN"),
        ("project.conv",   "{b}project"),
        ("project.norm",   "{b}project_BN"),
    ],
    block: |number| if number == 1 { "expanded_conv_".into() } else { format!("block_{}_", number - 1) },
};

#[rustfmt::skip]
const V3: Scheme = Scheme {
    outside: &[
        ("stem.conv",      "conv"),
        ("stem.norm",      "conv_bn"),
        ("head.conv",      "conv_1"),
        ("head.norm",      "conv_1_bn"),
        ("hidden",         "conv_2"),
        ("classifier",     "logits"),
    ],
    layers: &[
        ("expand.conv",    "{b}expand"),
        ("expand.norm",    "{b}expand_bn"),
        ("depthwise.conv", "{b}depthwise"),
        ("depthwise.norm", "{b}depthwise_bn"),
        ("excite.reduce",  "{b}squeeze_excite_conv"),
        ("excite.expand",  "{b}squeeze_excite_conv_1"),
        ("project.conv",   "{b}project"),
        ("project.norm",   "{b}project_bn"),
    ],
    block: |number| if number == 1 { "expanded_conv_".into() } else { format!("expanded_conv_{}_", number - 1) },
};

/// A tensor that each family has, to know Keras's files by.
pub(super) const STEMS: [&str; 3] = ["conv1/kernel", "Conv1/kernel", "conv/kernel"];

/// The names of the parameters of `graph`, which was built from `table`.
pub(super) fn names(table: &Table, graph: &Graph) -> Result<Names, Error> {
    let scheme = match table.family {
        Family::V1 => V1,
        Family::V2 => V2,
        Family::V3 => V3,
    };
    let names = graph.parameters().into_iter().map(|parameter| {
        let node = &graph[parameter.node];
        let layer = scheme.layer(&node.name).ok_or_else(|| super::unnamed(Origin::Keras, table, &node.name))?;
        Ok((parameter.name, format!("{layer}/{}", variable(&node.op, parameter.role))))
    });
    names.collect::<Result<BTreeMap<_, _>, _>>().map(Names)
}

impl Scheme {
    fn layer(&self, node: &str) -> Option<String> {
        let find = |layers: &[(&str, &'static str)], ours: &str| {
            layers.iter().find(|(node, _)| *node == ours).map(|(_, theirs)| *theirs)
        };
        if let Some(layer) = find(self.outside, node) {
            return Some(layer.to_owned());
        }
        let (number, ours) = node.strip_prefix("block")?.split_once('.')?;
        Some(find(self.layers, ours)?.replace("{b}", &(self.block)(number.parse().ok()?)))
    }
}

/// What a layer calls its variable.
fn variable(op: &Op, role: Role) -> &'static str {
    match (op, role) {
        (Op::Depthwise { .. }, Role::Weight) => "depthwise_kernel",
        (_, Role::Weight) => "kernel",
        (_, Role::Bias) => "bias",
        (_, Role::Gamma) => "gamma",
        (_, Role::Beta) => "beta",
        (_, Role::Mean) => "moving_mean",
        (_, Role::Variance) => "moving_variance",
    }
}
