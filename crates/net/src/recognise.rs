//! Which network a weights file holds: the file alone is enough.
//!
//! Names tell the origin and the network, shapes the width, the width rule, the classes and the input's channels.
//! Padding and epsilon leave no trace in either: where the origin has only one, that one holds; otherwise the metadata
//! says, and without it a guess is made and listed. Metadata is a hint about what shapes can show, never a proof.

mod keras;

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::arch::{self, Family, Spec, Table, WidthRule};
use crate::error::Error;
use crate::graph::{Activation, Padding};
use crate::layout;
use crate::load::same_shape;
use crate::model_file;
use crate::names::{Names, Origin};
use crate::preprocessing::Preprocessing;
use crate::tensor::Params;

/// The metadata key that marks a checkpoint, a file to go on training from and no network.
pub const CHECKPOINT: &str = "mobilenet_checkpoint";

/// What a user knows better than the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// The network.
    pub table: Option<Table>,
    /// The width multiplier.
    pub width: Option<f64>,
    /// Whose rounding of channels.
    pub width_rule: Option<WidthRule>,
    /// Outputs of the classifier.
    pub classes: Option<usize>,
    /// Where convolutions pad.
    pub padding: Option<Padding>,
    /// Batch norm's ε.
    pub bn_epsilon: Option<f32>,
    /// Dilation in place of late strides; see [`Spec::output_stride`].
    pub output_stride: Option<usize>,
    /// Early strides left out; see [`Spec::total_stride`].
    pub total_stride: Option<usize>,
    /// The non-linearity; see [`Spec::activation`].
    pub activation: Option<Activation>,
}

/// How a classifier's logits are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outputs {
    /// A photo shows one class: their softmax.
    #[default]
    Exclusive,
    /// A photo shows any number of labels: the sigmoid of each.
    Independent,
}

impl FromStr for Outputs {
    type Err = String;
    fn from_str(text: &str) -> Result<Outputs, String> {
        match text {
            "exclusive" => Ok(Outputs::Exclusive),
            "independent" => Ok(Outputs::Independent),
            _ => Err(format!("{text} is no kind of outputs; give exclusive or independent")),
        }
    }
}

impl std::fmt::Display for Outputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Outputs::Exclusive => "exclusive",
            Outputs::Independent => "independent",
        })
    }
}

/// What a weights file says of itself beside its network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// The probability of the likeliest class below which the answer is that the network does not know.
    pub threshold: Option<f32>,
    /// The similarity to the file's nearest [exemplar](crate::exemplars) below which the answer is that the network does not
    /// know.
    pub familiarity: Option<f32>,
    /// Where the weights are from.
    pub source: Option<String>,
    /// Under which terms they may be used.
    pub licence: Option<String>,
    /// How they were trained: photos, epochs, accuracy, recipe.
    pub training: Option<serde_json::Value>,
}

impl About {
    /// Whether the answer for a photo is that the network does not know: its likeliest class has a probability below the
    /// threshold, or its similarity to the nearest exemplar, where there are any, is below the familiarity.
    pub fn is_unknown(&self, probability: f64, similarity: impl FnOnce() -> Option<f32>) -> bool {
        self.threshold.is_some_and(|threshold| probability < f64::from(threshold))
            || self.familiarity.is_some_and(|least| similarity().is_some_and(|similarity| similarity < least))
    }
}

/// What a weights file was found to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognised {
    /// Whose names and conventions it follows.
    pub origin: Origin,
    /// Its network.
    pub table: Table,
    /// The network's parameters.
    pub spec: Spec,
    /// How photos become its input.
    pub preprocessing: Preprocessing,
    /// Names of the classes, where the file has them.
    pub labels: Option<Vec<String>>,
    /// How the logits are to be read.
    pub outputs: Outputs,
    /// What the file says of itself that no computation needs.
    pub about: About,
    /// What could not be known, a line each for the user to see.
    pub guesses: Vec<String>,
}

impl Recognised {
    /// A network of ours: nothing is guessed. It has no class names yet, and its outputs exclude each other.
    pub fn ours(table: Table, spec: Spec, preprocessing: Preprocessing) -> Recognised {
        Recognised {
            origin: Origin::Ours,
            table,
            spec,
            preprocessing,
            labels: None,
            outputs: Outputs::Exclusive,
            about: About::default(),
            guesses: Vec::new(),
        }
    }
}

/// Finds out which network `params`, read from `path`, belong to. Tensors that do not fit are not reported here but by
/// [`check`](crate::load::check): the closest network is taken.
///
/// # Errors
/// Where the names are of no known library, fit no network at all, or the metadata is nonsense.
pub fn recognise(path: &Path, params: &Params, overrides: &Overrides) -> Result<Recognised, Error> {
    if params.metadata.contains_key(CHECKPOINT) {
        let reason = "a checkpoint, to go on training from; the network is in model.safetensors beside it";
        return Err(Error::format(path, reason));
    }
    model_file::check_version(path, params)?;
    let says = Says { path, params };
    let hints = Hints::read(path, params, overrides)?;
    let origin = Origin::find(|name| params.tensors.contains_key(name)).ok_or_else(|| unknown(path, params))?;
    let is_lite = params.metadata.get("library").is_some_and(|library| library == Origin::TensorFlowLite.name());
    let origin = if origin == Origin::Ours && is_lite { Origin::TensorFlowLite } else { origin };
    let table = match &overrides.table {
        Some(table) => table.clone(),
        None => match params.metadata.get("table") {
            Some(table) => Table::from_toml(table).map_err(|e| Error::format(path, format!("its table: {e}")))?,
            None => closest_table(path, params, origin)?,
        },
    };
    // Keras's V3 without its top, or with another one, ends before the hidden layer.
    let table = match origin {
        Origin::Keras if !params.tensors.contains_key(keras::HIDDEN) => table.without_hidden(),
        _ => table,
    };
    let mut guesses = Vec::new();
    let padding = hints.padding.unwrap_or_else(|| guess_padding(path, origin, &mut guesses));
    let bn_epsilon = hints.bn_epsilon.unwrap_or_else(|| guess_epsilon(origin, table.family, padding, &mut guesses));
    let spec = Spec {
        padding,
        bn_epsilon,
        output_stride: overrides.output_stride.or(hints.output_stride).unwrap_or(32),
        total_stride: overrides.total_stride.or(hints.total_stride).unwrap_or(32),
        activation: overrides.activation.or(hints.activation),
        ..Spec::default()
    };
    let mut spec = closest_spec(path, params, origin, &table, spec, overrides, &hints)?;
    if origin == Origin::Keras {
        keras::check_head(path, params, &table, &spec)?;
        keras::activation(&says, table.family, &mut spec)?;
        keras::windows(&says, &table, &mut spec, overrides.total_stride)?;
    }
    if let Some(width) = hints.width.filter(|&width| width != spec.width) {
        guesses.push(format!("width: {:?} by the shapes, although the metadata says {width:?}", spec.width));
    }
    let preprocessing = match says.json("preprocessing")? {
        Some(preprocessing) => Preprocessing::checked(preprocessing)
            .ok_or_else(|| Error::format(path, "its preprocessing has sizes or deviations that are none"))?,
        None => {
            let two_recipes =
                origin == Origin::Torchvision && matches!(table.name.as_str(), "mobilenet_v2" | "mobilenet_v3_large");
            if two_recipes && hints.resolution.is_none() {
                guesses.push("resize: 256 (torchvision's second weights want --resize 232)".into());
            }
            let preprocessing = Preprocessing::for_origin(origin, spec.padding, spec.classes, hints.resolution);
            match origin {
                Origin::Keras => keras::input(&says, &spec, preprocessing, &mut guesses)?,
                _ => preprocessing,
            }
        }
    };
    if origin == Origin::TensorFlowLite {
        guesses.extend(says.json::<Vec<String>>("guesses")?.unwrap_or_default());
    }
    let labels: Option<Vec<String>> = says.json("labels")?;
    if let Some(labels) = labels.as_ref().filter(|l| l.len() != spec.classes) {
        let reason = format!("it names {} classes and has {}", labels.len(), spec.classes);
        return Err(Error::format(path, reason));
    }
    let outputs = says.value("outputs", |_| true, "exclusive or independent")?.unwrap_or_default();
    let about = About {
        threshold: says.value("threshold", |t: &f32| (0.0..=1.0).contains(t), "a number from 0 to 1")?,
        familiarity: says.value("familiarity", |s: &f32| (-1.0..=1.0).contains(s), "a number from -1 to 1")?,
        source: says.text("source"),
        licence: says.text("licence"),
        training: says.json("training")?,
    };
    Ok(Recognised { origin, table, spec, preprocessing, labels, outputs, about, guesses })
}

/// What the user or the metadata says beside the shapes.
struct Hints {
    width: Option<f64>,
    width_rule: Option<WidthRule>,
    padding: Option<Padding>,
    bn_epsilon: Option<f32>,
    resolution: Option<usize>,
    total_stride: Option<usize>,
    output_stride: Option<usize>,
    activation: Option<Activation>,
}

impl Hints {
    /// The user's word first; metadata that it replaces is not even parsed.
    fn read(path: &Path, params: &Params, overrides: &Overrides) -> Result<Hints, Error> {
        let says = Says { path, params };
        Ok(Hints {
            width: or_else(overrides.width, || {
                says.value("width", |&w: &f64| w > 0.0 && w <= 16.0, "a number above 0, at most 16")
            })?,
            width_rule: or_else(overrides.width_rule, || {
                says.value("width_rule", |_| true, "tensorflow, timm, torchvision or keras")
            })?,
            padding: or_else(overrides.padding, || says.value("padding", |_| true, "symmetric or same"))?,
            bn_epsilon: or_else(overrides.bn_epsilon, || {
                says.value("bn_epsilon", |&e: &f32| e > 0.0 && e <= 1.0, "a number above 0, at most 1")
            })?,
            total_stride: says.value("total_stride", |s| [32, 16, 8].contains(s), "32, 16 or 8")?,
            output_stride: says.value("output_stride", |s| [32, 16, 8].contains(s), "32, 16 or 8")?,
            activation: says.value("activation", |_| true, "a non-linearity's name")?,
            resolution: says.value("resolution", |r| (1..=8192).contains(r), "1 to 8192 pixels")?,
        })
    }
}

fn or_else<T>(first: Option<T>, then: impl FnOnce() -> Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    if first.is_some() { Ok(first) } else { then() }
}

/// The file's metadata.
struct Says<'a> {
    path: &'a Path,
    params: &'a Params,
}

impl Says<'_> {
    /// The value of `key`, which is JSON, where there is one.
    fn json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.params.metadata.get(key) else { return Ok(None) };
        let value = serde_json::from_str(text);
        value.map(Some).map_err(|e| Error::format(self.path, format!("its metadata's {key}: {e}")))
    }

    /// The words under `key`, where there are any.
    fn text(&self, key: &str) -> Option<String> {
        self.params.metadata.get(key).cloned()
    }

    /// The value of `key`, where there is one.
    fn value<T: FromStr>(&self, key: &str, valid: impl Fn(&T) -> bool, rule: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.params.metadata.get(key) else { return Ok(None) };
        match text.parse().ok().filter(valid) {
            Some(value) => Ok(Some(value)),
            None => {
                let text: String = text.chars().take(40).collect();
                Err(Error::format(self.path, format!("its metadata says {key} is {text:?}; it must be {rule}")))
            }
        }
    }
}

/// The error for names of no known library.
fn unknown(path: &Path, params: &Params) -> Error {
    let first: Vec<_> = params.tensors.keys().take(3).map(String::as_str).collect();
    let names = if first.is_empty() { "there are none".into() } else { format!("{}, …", first.join(", ")) };
    let called = params.metadata.get("family").map(|family| {
        let family: String = family.chars().take(40).collect();
        format!("; its metadata calls it {family:?}")
    });
    Error::format(
        path,
        format!(
            "its tensors are not named as torchvision, timm, Keras or this project name those of a MobileNet classifier \
             ({names}){}",
            called.unwrap_or_default()
        ),
    )
}

/// The registered network whose names fit best.
fn closest_table(path: &Path, params: &Params, origin: Origin) -> Result<Table, Error> {
    let has: BTreeSet<&str> = params.tensors.keys().map(String::as_str).collect();
    let mut best: Option<(usize, Table, usize, usize)> = None;
    for model in arch::models() {
        let table = (model.table)();
        let graph = table.graph(&Spec::default())?;
        let Ok(names) = Names::new(origin, &table, &graph) else { continue };
        let parameters = graph.parameters();
        let found = parameters.iter().filter(|p| names.get(&p.name).is_some_and(|name| has.contains(name))).count();
        let wrong = parameters.len() + has.len() - 2 * found;
        if best.as_ref().is_none_or(|(least, ..)| wrong < *least) {
            best = Some((wrong, table, found, parameters.len()));
        }
    }
    let (_, table, found, of) = best.expect("every origin names a registered network");
    if found * 2 < of {
        let reason = format!(
            "it fits no registered network: it has {found} of the {of} tensors of {}, the closest by {origin}'s names",
            table.name
        );
        return Err(Error::format(path, reason));
    }
    Ok(table)
}

/// `spec` with the width, rule, classes and input channels under which the fewest tensors have wrong shapes.
fn closest_spec(
    path: &Path,
    params: &Params,
    origin: Origin,
    table: &Table,
    spec: Spec,
    overrides: &Overrides,
    hints: &Hints,
) -> Result<Spec, Error> {
    let graph = table.graph(&spec).map_err(|e| Error::format(path, e.to_string()))?;
    let names = Names::new(origin, table, &graph).map_err(|e| Error::format(path, e.to_string()))?;
    let parameters = graph.parameters();
    let axis = |ours: &str, axis: usize| {
        let tensor = params.tensors.get(names.get(ours)?)?;
        let op = &graph[parameters.iter().find(|p| p.name == ours)?.node].op;
        layout::shape(origin, op, tensor.shape()).get(axis).copied()
    };
    // Without a classifier the network gives features.
    let classes = overrides.classes.or_else(|| axis("classifier.weight", 0)).unwrap_or(0);
    let input_channels = axis("stem.conv.weight", 1).unwrap_or(spec.input_channels);
    let last = table.blocks().last().and_then(|block| {
        let last = ["project.conv", "pointwise.conv", "conv.conv"];
        let found = last.iter().find_map(|layer| axis(&format!("block{}.{layer}.weight", block.index), 0));
        Some((block.out, found?))
    });

    let mut best: Option<(usize, Spec)> = None;
    let mut refused = None;
    for width in widths(overrides.width, hints.width, last) {
        for width_rule in rules(origin, overrides.width_rule, hints.width_rule) {
            let spec = Spec { width, width_rule, classes, input_channels, ..spec.clone() };
            // A width may be too large for the table; another may still fit.
            let built = table.graph(&spec).and_then(|graph| Ok((Names::new(origin, table, &graph)?, graph)));
            let (names, graph) = match built {
                Ok(built) => built,
                Err(error) => {
                    refused = refused.or(Some(error));
                    continue;
                }
            };
            let fits = |p: &crate::graph::Parameter| {
                let tensor = names.get(&p.name).and_then(|name| params.tensors.get(name));
                let ours = |shape: &[usize]| layout::shape(origin, &graph[p.node].op, shape);
                tensor.is_some_and(|tensor| same_shape(&ours(tensor.shape()), &p.shape))
            };
            let wrong = graph.parameters().iter().filter(|p| !fits(p)).count();
            if wrong == 0 {
                return Ok(spec);
            }
            if best.as_ref().is_none_or(|(least, _)| wrong < *least) {
                best = Some((wrong, spec));
            }
        }
    }
    match best {
        Some((_, spec)) => Ok(spec),
        None => Err(Error::format(path, refused.expect("at least one width was tried").to_string())),
    }
}

/// Widths to try, the likely ones first: the metadata's, then those that could give the last block its channels.
/// `last` is its channels at width 1 and in the file; without them every width is as unlikely, and only 1 is tried.
/// Where several widths round to the same shapes, the rounder number is the likelier: quarters, the published
/// 0.35, then twentieths, then hundredths.
pub(crate) fn widths(given: Option<f64>, hint: Option<f64>, last: Option<(usize, usize)>) -> Vec<f64> {
    if let Some(width) = given {
        return vec![width];
    }
    let possible = |&k: &u32| {
        last.is_some_and(|(nominal, found)| {
            let (at_width, found) = (nominal as f64 * f64::from(k) / 100.0, found as f64);
            // Rounding moves a count by 8, and up to 8 where there would be fewer.
            (at_width - found).abs() <= 8.0
        })
    };
    let mut hundredths: Vec<u32> = (1..=400).filter(possible).collect();
    hundredths.sort_by_key(|&k| (k != 100, k % 25 != 0, k != 35, k % 5 != 0, k));
    hint.into_iter().chain(hundredths.into_iter().map(|k| f64::from(k) / 100.0)).chain([1.0]).collect()
}

/// Rules to try, the likely ones first. timm follows TensorFlow but for the stem.
fn rules(origin: Origin, given: Option<WidthRule>, hint: Option<WidthRule>) -> Vec<WidthRule> {
    match given {
        // timm's documentation and its files' metadata call its rule TensorFlow's.
        Some(WidthRule::TensorFlow) if origin == Origin::Timm => return vec![WidthRule::TensorFlow, WidthRule::Timm],
        Some(rule) => return vec![rule],
        None => {}
    }
    let own: &[WidthRule] = match origin {
        Origin::Torchvision => &[WidthRule::Torchvision, WidthRule::TensorFlow],
        Origin::Timm => &[WidthRule::Timm, WidthRule::TensorFlow],
        Origin::Keras => &[WidthRule::Keras, WidthRule::TensorFlow],
        Origin::Ours | Origin::TensorFlowLite => &WidthRule::ALL,
    };
    // Metadata calls timm's rule TensorFlow's; where both fit they are the same.
    let hint = hint.filter(|&rule| (origin, rule) != (Origin::Timm, WidthRule::TensorFlow));
    hint.into_iter().chain(own.iter().copied()).collect()
}

/// The padding where nothing says it.
fn guess_padding(path: &Path, origin: Origin, guesses: &mut Vec<String>) -> Padding {
    match origin {
        // torchvision has no other.
        Origin::Torchvision => Padding::Symmetric,
        Origin::Keras => Padding::Same,
        Origin::Timm if path.file_name().is_some_and(|name| name.to_string_lossy().contains("tf_")) => {
            guesses.push("padding: same (the file's name has tf_; --padding symmetric otherwise)".into());
            Padding::Same
        }
        Origin::Timm => {
            guesses.push("padding: symmetric (timm's names serve two paddings; --padding same for tf_ weights)".into());
            Padding::Symmetric
        }
        Origin::Ours | Origin::TensorFlowLite => {
            guesses.push("padding: symmetric (the file does not say; --padding same otherwise)".into());
            Padding::Symmetric
        }
    }
}

/// The epsilon where nothing says it. torchvision: models/mobilenetv2.py leaves PyTorch's 1e-5, mobilenetv3.py sets
/// 1e-3 (0.29). timm: 1e-5, its `tf_` networks 1e-3 (1.0.31, layers `BN_EPS_TF_DEFAULT`).
fn guess_epsilon(origin: Origin, family: Family, padding: Padding, guesses: &mut Vec<String>) -> f32 {
    match (origin, family, padding) {
        (Origin::Torchvision, Family::V3, _) => 1e-3,
        (Origin::Torchvision, ..) => 1e-5,
        // The default of layers.BatchNormalization, which V2 and V3 also give (keras@3.15.1 applications).
        (Origin::Keras, ..) => 1e-3,
        (Origin::Timm, _, Padding::Same) => {
            guesses.push("batch-norm epsilon: 0.001 (as timm's tf_ weights have it; --bn-epsilon otherwise)".into());
            1e-3
        }
        (Origin::Timm, ..) => {
            guesses.push("batch-norm epsilon: 0.00001 (timm's; --bn-epsilon 0.001 for tf_ weights)".into());
            1e-5
        }
        (Origin::Ours | Origin::TensorFlowLite, ..) => {
            guesses.push("batch-norm epsilon: 0.001 (the file does not say; --bn-epsilon otherwise)".into());
            1e-3
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_what_is_below_either_limit() {
        let is_unknown = |threshold, familiarity, probability, similarity| {
            About { threshold, familiarity, ..About::default() }.is_unknown(probability, || similarity)
        };
        assert!(!is_unknown(None, None, 0.0, Some(-1.0)));
        assert!(is_unknown(Some(0.5), None, 0.49, None) && !is_unknown(Some(0.5), None, 0.5, None));
        assert!(is_unknown(None, Some(0.3), 1.0, Some(0.29)) && !is_unknown(None, Some(0.3), 1.0, Some(0.3)));
        // Without exemplars there is nothing to be like.
        assert!(!is_unknown(Some(0.5), Some(0.3), 0.6, None));
        let surely = About { threshold: Some(0.5), familiarity: Some(0.3), ..About::default() };
        assert!(surely.is_unknown(0.1, || unreachable!("the probability says it")));
    }
}
