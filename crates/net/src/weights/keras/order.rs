//! Layers that a file only numbers: `conv2d_5` is the sixth convolution. Keras numbers each class in the model's order,
//! which is our graph's, so that the MobileNet with as many layers of each class gives them their names.

use std::collections::{BTreeMap, BTreeSet};

use super::layers::Weight;
use crate::arch::{self, Family, Spec, Table};
use crate::graph::Op;
use crate::names::{Names, Origin};

/// The name of the layer of a class that has so many before it.
pub(super) fn name(class: &str, before: usize) -> String {
    if before == 0 { class.to_owned() } else { format!("{class}_{before}") }
}

/// Gives layers that are called by class and number the names that Keras gives the layers of a MobileNet with as many of
/// each class. Where there is none they stay.
pub(super) fn rename<P>(weights: &mut [Weight<P>]) {
    let layers: BTreeSet<&str> = weights.iter().map(|weight| weight.layer.as_str()).collect();
    let fits = |names: &BTreeMap<String, String>| names.keys().map(String::as_str).eq(layers.iter().copied());
    if let Some(names) = candidates().find(fits) {
        for weight in weights {
            names[&weight.layer].clone_into(&mut weight.layer);
        }
    }
}

/// What a network ends in.
#[derive(Clone, Copy, PartialEq)]
enum Top {
    /// What Keras gives it.
    Own,
    /// A fully connected layer right behind the pool.
    Dense,
    /// Its features.
    None,
}

/// The layers of every registered network with every top, from the name by class and number to Keras's.
fn candidates() -> impl Iterator<Item = BTreeMap<String, String>> {
    let all = |top| arch::models().iter().filter_map(move |model| layers((model.table)(), top));
    [Top::Own, Top::Dense, Top::None].into_iter().flat_map(all)
}

fn layers(table: Table, top: Top) -> Option<BTreeMap<String, String>> {
    let table = if top == Top::Own { table } else { table.without_hidden() };
    let spec = Spec { classes: if top == Top::None { 0 } else { Spec::default().classes }, ..Spec::default() };
    let graph = table.graph(&spec).ok()?;
    let names = Names::new(Origin::Keras, &table, &graph).ok()?;
    let (mut layers, mut counts) = (BTreeMap::new(), BTreeMap::new());
    for (id, node) in graph.ids().zip(&graph.nodes) {
        let Some(parameter) = graph.parameters_of(id).into_iter().next() else { continue };
        let (theirs, _) = names.get(&parameter.name)?.rsplit_once('/')?;
        let dense = node.name == "classifier" && (top == Top::Dense || table.family == Family::V2);
        let class = match node.op {
            Op::FullyConnected { .. } if dense => "dense",
            Op::Convolution { .. } | Op::FullyConnected { .. } => "conv2d",
            Op::Depthwise { .. } => "depthwise_conv2d",
            _ => "batch_normalization",
        };
        let before = counts.entry(class).or_insert(0usize);
        layers.insert(name(class, *before), theirs.to_owned());
        *before += 1;
    }
    Some(layers)
}
