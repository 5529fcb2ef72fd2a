//! What each library calls our nodes: one table a scheme, ours on the left.
//!
//! A parameter keeps its last part (`weight`, `bias`, `running_mean`, `running_var`); only the node's name is translated.

mod keras;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::arch::Table;
use crate::error::Error;
use crate::graph::Graph;

/// Whose names a weights file uses, and with them whose conventions: epsilon, padding, preprocessing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Our own: the graph's names as they are.
    Ours,
    /// torchvision's (torchvision@0.29 models/mobilenetv2.py, mobilenetv3.py).
    Torchvision,
    /// timm's (timm@1.0.31 models/mobilenetv3.py, efficientnet.py).
    Timm,
    /// Keras's, of `keras.applications` in Keras 2 and 3 and in TensorFlow.js.
    Keras,
    /// TensorFlow Lite's, whose layers the reader calls as we do: their own names mean nothing.
    TensorFlowLite,
}

impl Origin {
    /// The origins that names tell apart.
    pub const ALL: [Origin; 4] = [Origin::Torchvision, Origin::Timm, Origin::Keras, Origin::Ours];

    /// Its name, as metadata has it.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Ours => "mobilenet",
            Origin::Torchvision => "torchvision",
            Origin::Timm => "timm",
            Origin::Keras => "keras",
            Origin::TensorFlowLite => "TensorFlow Lite",
        }
    }

    /// The origin whose stem is among the tensors that `has` knows.
    pub fn find(has: impl Fn(&str) -> bool) -> Option<Origin> {
        Origin::ALL.into_iter().find(|origin| {
            let stems: &[&str] = match origin {
                Origin::Ours | Origin::TensorFlowLite => &["stem.conv.weight"],
                Origin::Torchvision => &["features.0.0.weight"],
                Origin::Timm => &["conv_stem.weight"],
                Origin::Keras => &keras::STEMS,
            };
            stems.iter().any(|stem| has(stem))
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A library's names for the nodes of a network. Placeholders:
/// - `{b}` block, from 1; `{h}` the number after the last block's;
/// - `{s}` stage, from 0; `{i}` place in the stage, from 0; `{t}` the number after the last stage's;
/// - `{p}` place of the projection in its block, from 0, counting squeeze-and-excite.
struct Scheme {
    /// Nodes outside blocks: ours, theirs.
    outside: &'static [(&'static str, &'static str)],
    /// What stands before the names in a block.
    block: &'static str,
    /// Nodes in blocks: ours, theirs in a block with expansion, theirs in a block without.
    layers: &'static [(&'static str, &'static str, &'static str)],
}

#[rustfmt::skip]
const TORCHVISION_V2: Scheme = Scheme {
    outside: &[
        ("stem.conv",      "features.0.0"),
        ("stem.norm",      "features.0.1"),
        ("head.conv",      "features.{h}.0"),
        ("head.norm",      "features.{h}.1"),
        ("classifier",     "classifier.1"),
    ],
    block: "features.{b}.conv.",
    layers: &[
        ("expand.conv",    "0.0", ""),
        ("expand.norm",    "0.1", ""),
        ("depthwise.conv", "1.0", "0.0"),
        ("depthwise.norm", "1.1", "0.1"),
        ("project.conv",   "2",   "1"),
        ("project.norm",   "3",   "2"),
    ],
};

#[rustfmt::skip]
const TORCHVISION_V3: Scheme = Scheme {
    outside: &[
        ("stem.conv",      "features.0.0"),
        ("stem.norm",      "features.0.1"),
        ("head.conv",      "features.{h}.0"),
        ("head.norm",      "features.{h}.1"),
        ("hidden",         "classifier.0"),
        ("classifier",     "classifier.3"),
    ],
    block: "features.{b}.block.",
    layers: &[
        ("expand.conv",    "0.0",   ""),
        ("expand.norm",    "0.1",   ""),
        ("depthwise.conv", "1.0",   "0.0"),
        ("depthwise.norm", "1.1",   "0.1"),
        ("excite.reduce",  "2.fc1", "1.fc1"),
        ("excite.expand",  "2.fc2", "1.fc2"),
        ("project.conv",   "{p}.0", "{p}.0"),
        ("project.norm",   "{p}.1", "{p}.1"),
    ],
};

/// V1's pairs are blocks without expansion, and there is no head.
#[rustfmt::skip]
const TIMM_V1_V2: Scheme = Scheme {
    outside: &[
        ("stem.conv",      "conv_stem"),
        ("stem.norm",      "bn1"),
        ("head.conv",      "conv_head"),
        ("head.norm",      "bn2"),
        ("classifier",     "classifier"),
    ],
    block: "blocks.{s}.{i}.",
    layers: TIMM_LAYERS,
};

#[rustfmt::skip]
const TIMM_V3: Scheme = Scheme {
    outside: &[
        ("stem.conv",      "conv_stem"),
        ("stem.norm",      "bn1"),
        ("head.conv",      "blocks.{t}.0.conv"),
        ("head.norm",      "blocks.{t}.0.bn1"),
        ("hidden",         "conv_head"),
        ("classifier",     "classifier"),
    ],
    block: "blocks.{s}.{i}.",
    layers: TIMM_LAYERS,
};

#[rustfmt::skip]
const TIMM_LAYERS: &[(&str, &str, &str)] = &[
    ("expand.conv",    "conv_pw",        ""),
    ("expand.norm",    "bn1",            ""),
    ("depthwise.conv", "conv_dw",        "conv_dw"),
    ("depthwise.norm", "bn2",            "bn1"),
    ("excite.reduce",  "se.conv_reduce", "se.conv_reduce"),
    ("excite.expand",  "se.conv_expand", "se.conv_expand"),
    ("project.conv",   "conv_pwl",       "conv_pw"),
    ("project.norm",   "bn3",            "bn2"),
    ("pointwise.conv", "",               "conv_pw"),
    ("pointwise.norm", "",               "bn2"),
];

/// The names that a file gives the parameters of one graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// The names by `origin` of the parameters of `graph`, which was built from `table`.
    ///
    /// # Errors
    /// [`Error::Config`] where the origin has no such layer, as torchvision has no V1.
    pub fn new(origin: Origin, table: &Table, graph: &Graph) -> Result<Names, Error> {
        let nodes: HashSet<&str> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
        let has = |node: &str| nodes.contains(node);
        let scheme = match (origin, has("hidden")) {
            (Origin::Ours | Origin::TensorFlowLite, _) => {
                let same = graph.parameters().into_iter().map(|p| (p.name.clone(), p.name));
                return Ok(Names(same.collect()));
            }
            (Origin::Keras, _) => return keras::names(table, graph),
            (Origin::Torchvision, false) => &TORCHVISION_V2,
            (Origin::Torchvision, true) => &TORCHVISION_V3,
            (Origin::Timm, false) => &TIMM_V1_V2,
            (Origin::Timm, true) => &TIMM_V3,
        };
        let rules = scheme.spelled_out(table, has);
        let names = graph.parameters().into_iter().map(|parameter| {
            let node = &graph[parameter.node].name;
            let theirs = rules.get(node).ok_or_else(|| unnamed(origin, table, node))?;
            let theirs = format!("{theirs}.{}", parameter.role.suffix());
            Ok((parameter.name, theirs))
        });
        names.collect::<Result<_, Error>>().map(Names)
    }

    /// The file's name of the parameter that the graph calls `ours`.
    pub fn get(&self, ours: &str) -> Option<&str> {
        self.0.get(ours).map(String::as_str)
    }
}

fn unnamed(origin: Origin, table: &Table, node: &str) -> Error {
    let table = &table.name;
    Error::Config(format!("{origin} has no name for {table}'s layer {node}; only our own files can hold it"))
}

impl Scheme {
    /// Node by node, without placeholders.
    fn spelled_out(&self, table: &Table, has: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let blocks = table.blocks();
        let stages = blocks.last().map_or(0, |block| block.stage);
        let outside = self.outside.iter().map(|(ours, theirs)| {
            let theirs = theirs.replace("{h}", &(blocks.len() + 1).to_string()).replace("{t}", &stages.to_string());
            (ours.to_string(), theirs)
        });
        let mut rules: BTreeMap<String, String> = outside.collect();
        for block in &blocks {
            let ours = |layer: &str| format!("block{}.{layer}", block.index);
            let expanded = has(&ours("expand.conv"));
            let projection = 1 + usize::from(expanded) + usize::from(has(&ours("excite.reduce")));
            let prefix = self
                .block
                .replace("{b}", &block.index.to_string())
                .replace("{s}", &(block.stage - 1).to_string())
                .replace("{i}", &(block.index_in_stage - 1).to_string());
            for (layer, with, without) in self.layers {
                let theirs = if expanded { with } else { without };
                if !theirs.is_empty() {
                    rules.insert(ours(layer), prefix.clone() + &theirs.replace("{p}", &projection.to_string()));
                }
            }
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{self, Spec};

    fn names(origin: Origin, model: &str) -> Result<Names, Error> {
        let table = arch::find(model)?;
        let graph = table.graph(&Spec::default())?;
        Names::new(origin, &table, &graph)
    }

    #[test]
    fn first_and_last_layers_have_their_librarys_names() {
        let cases = [
            (Origin::Torchvision, "mobilenet_v2", "block1.project.norm.bias", "features.1.conv.2.bias"),
            (Origin::Torchvision, "mobilenet_v2", "block17.project.conv.weight", "features.17.conv.2.weight"),
            (Origin::Torchvision, "mobilenet_v2", "head.norm.running_var", "features.18.1.running_var"),
            (Origin::Torchvision, "mobilenet_v3_small", "block1.excite.expand.bias", "features.1.block.1.fc2.bias"),
            (Origin::Torchvision, "mobilenet_v3_small", "block2.project.conv.weight", "features.2.block.2.0.weight"),
            (Origin::Torchvision, "mobilenet_v3_small", "block4.project.conv.weight", "features.4.block.3.0.weight"),
            (Origin::Torchvision, "mobilenet_v3_large", "head.conv.weight", "features.16.0.weight"),
            (Origin::Timm, "mobilenet_v1", "block13.pointwise.norm.weight", "blocks.4.1.bn2.weight"),
            (Origin::Timm, "mobilenet_v2", "block17.project.conv.weight", "blocks.6.0.conv_pwl.weight"),
            (Origin::Timm, "mobilenet_v3_large", "head.norm.bias", "blocks.6.0.bn1.bias"),
            (Origin::Timm, "mobilenet_v3_large", "hidden.weight", "conv_head.weight"),
            (Origin::Keras, "mobilenet_v1", "block13.pointwise.norm.running_var", "conv_pw_13_bn/moving_variance"),
            (Origin::Keras, "mobilenet_v1", "classifier.weight", "conv_preds/kernel"),
            (Origin::Keras, "mobilenet_v2", "stem.norm.weight", "bn_Conv1/gamma"),
            (Origin::Keras, "mobilenet_v2", "block1.project.norm.bias", "expanded_conv_project_BN/beta"),
            (Origin::Keras, "mobilenet_v2", "block17.depthwise.conv.weight", "block_16_depthwise/depthwise_kernel"),
            (
                Origin::Keras,
                "mobilenet_v3_small",
                "block1.excite.reduce.bias",
                "expanded_conv_squeeze_excite_conv/bias",
            ),
            (Origin::Keras, "mobilenet_v3_small", "block11.project.conv.weight", "expanded_conv_10_project/kernel"),
            (Origin::Ours, "mobilenet_v1", "classifier.bias", "classifier.bias"),
        ];
        for (origin, model, ours, theirs) in cases {
            assert_eq!(names(origin, model).unwrap().get(ours), Some(theirs), "{origin} {model}");
        }
    }

    #[test]
    fn no_two_parameters_share_a_name() {
        for model in arch::models() {
            for origin in Origin::ALL {
                let Ok(Names(names)) = names(origin, model.name) else { continue };
                let distinct: std::collections::BTreeSet<_> = names.values().collect();
                assert_eq!(distinct.len(), names.len(), "{origin} {}", model.name);
            }
        }
    }

    #[test]
    fn torchvision_has_no_v1() {
        assert_eq!(
            names(Origin::Torchvision, "mobilenet_v1").unwrap_err().to_string(),
            "torchvision has no name for mobilenet_v1's layer block1.pointwise.conv; only our own files can hold it"
        );
    }
}
