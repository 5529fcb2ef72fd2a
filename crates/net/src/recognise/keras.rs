//! What the description of a Keras model says, held to the network that its names and shapes fit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Says;
use crate::arch::{Family, Spec, Table};
use crate::error::Error;
use crate::graph::{Activation, Op, Role};
use crate::names::{Names, Origin};
use crate::preprocessing::Preprocessing;
use crate::tensor::Params;
use crate::weights::keras::{Input, LIMITS, WINDOWS};

/// What the description of a Keras model says of its photos. Weights alone say nothing.
pub(super) fn input(
    says: &Says,
    spec: &Spec,
    origin: Preprocessing,
    guesses: &mut Vec<String>,
) -> Result<Preprocessing, Error> {
    let Input { size, rescaling } = says.json(Input::KEY)?.unwrap_or_default();
    let [h, w] = size.unwrap_or(origin.size);
    if size.is_none() {
        guesses.push(format!("size: {h}×{w} pixels (the file does not say; --crop otherwise)"));
    }
    let (mut mean, mut std) = (origin.mean, origin.std);
    match rescaling {
        // The network's value is x · scale + offset for x of 0 to 255; ours is (x / 255 − mean) / std.
        Some([scale, offset]) => {
            let divisor = 1.0 / (255.0 * scale);
            (mean, std) = ([(-offset * divisor) as f32; 3], [divisor as f32; 3]);
        }
        None => guesses.push("values: −1 to 1, as preprocess_input makes them (--mean and --std otherwise)".into()),
    }
    let (resize, guess) = origin.resize_of_tensorflow([h, w], spec.classes);
    guesses.push(guess);
    let input = Preprocessing { resize, size: [h, w], mean, std, ..origin };
    let reason = "its description has an input size or a rescaling that is none";
    input.checked().ok_or_else(|| Error::format(says.path, reason))
}

/// The non-linearity that the description of a Keras model gives V1 and V2, unless the user knows better. (V3's is put
/// together of several layers.)
pub(super) fn activation(says: &Says, family: Family, spec: &mut Spec) -> Result<(), Error> {
    let limits: Vec<Option<String>> = says.json(LIMITS)?.unwrap_or_default();
    if family == Family::V3 || spec.activation.is_some() {
        return Ok(());
    }
    match limits.iter().map(Option::as_deref).collect::<Vec<_>>()[..] {
        [] | [Some("6")] => {}
        [None] => spec.activation = Some(Activation::Relu),
        _ => {
            let reason = "its ReLUs have other limits than 6, or several; --activation says which is meant";
            return Err(Error::format(says.path, reason));
        }
    }
    Ok(())
}

/// Compares the strides and dilations that the description of a Keras model gives with the network's, of which early ones
/// may be left out.
pub(super) fn windows(says: &Says, table: &Table, spec: &mut Spec, given: Option<usize>) -> Result<(), Error> {
    let windows: BTreeMap<String, [usize; 2]> = says.json(WINDOWS)?.unwrap_or_default();
    let mut first = None;
    for total_stride in given.map_or_else(|| vec![32, 16, 8], |given| vec![given]) {
        let tried = Spec { total_stride, ..spec.clone() };
        let graph = table.graph(&tried)?;
        let names = Names::new(Origin::Keras, table, &graph)?;
        let departs = graph.parameters().into_iter().filter(|p| p.role == Role::Weight).find_map(|parameter| {
            let (Op::Convolution { window, .. } | Op::Depthwise { window, .. }) = graph[parameter.node].op else {
                return None;
            };
            let (layer, _) = names.get(&parameter.name)?.rsplit_once('/')?;
            let &[stride, dilation] = windows.get(layer)?;
            let needs = [window.stride[0], window.dilation[0]];
            (needs != [stride, dilation]).then(|| {
                format!(
                    "its layer {layer} has stride {stride} and dilation {dilation}; {} has {} and {} there",
                    table.name, needs[0], needs[1]
                )
            })
        });
        match departs {
            None => {
                *spec = tried;
                return Ok(());
            }
            Some(reason) => _ = first.get_or_insert(reason),
        }
    }
    Err(Error::format(says.path, first.expect("at least one total stride was tried")))
}

/// The hidden layer of Keras's V3.
pub(super) const HIDDEN: &str = "conv_2/kernel";

/// Refuses a Keras model whose classifier is not its network's, and says what it has. One without any gives features.
pub(super) fn check_head(path: &Path, params: &Params, table: &Table, spec: &Spec) -> Result<(), Error> {
    let graph = table.graph(spec)?;
    let names = Names::new(Origin::Keras, table, &graph)?;
    if names.get("classifier.weight").is_some_and(|name| params.tensors.contains_key(name)) {
        return Ok(());
    }
    let own: BTreeSet<_> = graph.parameters().iter().filter_map(|p| names.get(&p.name)).map(str::to_owned).collect();
    let others = params.tensors.iter().filter(|(name, _)| !own.contains(*name));
    let dense = others.filter_map(|(name, tensor)| match (name.strip_suffix("/kernel"), tensor.shape()) {
        (Some(layer), [from, to]) => Some(format!("{layer} ({from} to {to})")),
        _ => None,
    });
    let dense: Vec<_> = dense.take(8).collect();
    if dense.is_empty() {
        return Ok(());
    }
    let reason = format!(
        "is a {} by Keras's names, but behind the features it has fully connected layers of its own: {}; one is read, as \
         the classifier",
        table.name,
        dense.join(", ")
    );
    Err(Error::format(path, reason))
}
