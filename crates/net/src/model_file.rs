//! Our own file: safetensors whose metadata says everything that a command needs to know, so that the file alone is
//! enough and cannot be used wrongly. `docs/file-format.md` describes it for other readers.
//!
//! [`save`] writes what [`recognise`](crate::recognise::recognise) reads.

use std::path::Path;

use crate::error::Error;
use crate::exemplars::Exemplars;
use crate::golden::Golden;
use crate::graph::Graph;
use crate::names::Names;
use crate::recognise::Recognised;
use crate::tensor::Params;
use crate::weights;

/// The metadata's key for the format and its version.
pub const FORMAT: &str = "format";

/// What stands before the version.
const PREFIX: &str = "mobilenet ";

/// The version that is written. Older ones are read; a newer one is refused, since what it adds may change the meaning.
const VERSION: u32 = 1;

/// What stands beside the weights.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Pairs that prove the file.
    pub golden: Option<Golden>,
    /// What classes that are added later are told from.
    pub exemplars: Option<Exemplars>,
}

/// Writes `params`, under the graph's names, as a file of the network that `what` describes, under the names of
/// [`what.origin`](Recognised::origin). What was guessed of a foreign file is certain from now on.
///
/// # Errors
/// [`Error::Write`] where the file cannot be written: nothing half-written is left. [`Error::Config`] where the origin has
/// no name for a layer.
pub fn save(path: &Path, mut params: Params, graph: &Graph, what: &Recognised, beside: Beside) -> Result<(), Error> {
    let names = Names::new(what.origin, &what.table, graph)?;
    let theirs = |name: String| names.get(&name).map_or(name.clone(), str::to_owned);
    params.tensors = params.tensors.into_iter().map(|(name, tensor)| (theirs(name), tensor)).collect();
    params.metadata.clear();
    let mut say = |key: &str, value: String| params.metadata.insert(key.to_owned(), value);
    let Recognised { table, spec, preprocessing, labels, outputs, about, .. } = what;
    say(FORMAT, format!("{PREFIX}{VERSION}"));
    say("table", table.to_toml());
    say("family", table.name.clone());
    say("width", spec.width.to_string());
    say("width_rule", spec.width_rule.to_string());
    say("classes", spec.classes.to_string());
    say("padding", spec.padding.to_string());
    say("bn_epsilon", spec.bn_epsilon.to_string());
    say("total_stride", spec.total_stride.to_string());
    say("output_stride", spec.output_stride.to_string());
    if let Some(activation) = spec.activation {
        say("activation", activation.to_string());
    }
    say("preprocessing", json(preprocessing));
    say("outputs", outputs.to_string());
    if let Some(labels) = labels {
        say("labels", json(labels));
    }
    if let Some(threshold) = about.threshold {
        say("threshold", threshold.to_string());
    }
    if let Some(familiarity) = about.familiarity {
        say("familiarity", familiarity.to_string());
    }
    for (key, text) in [("source", &about.source), ("licence", &about.licence)] {
        if let Some(text) = text {
            say(key, text.clone());
        }
    }
    if let Some(training) = &about.training {
        say("training", json(training));
    }
    let Beside { golden, exemplars } = beside;
    if let Some(golden) = golden {
        golden.write_into(&mut params);
    }
    if let Some(exemplars) = exemplars {
        exemplars.write_into(&mut params);
    }
    weights::save(path, &params)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("numbers and names are JSON")
}

/// Refuses a file of ours that a newer version of this program wrote; others say nothing of a version.
pub(crate) fn check_version(path: &Path, params: &Params) -> Result<(), Error> {
    let said = params.metadata.get(FORMAT).and_then(|format| format.strip_prefix(PREFIX));
    let Some(version) = said else { return Ok(()) };
    match version.parse::<u32>() {
        Ok(1..=VERSION) => Ok(()),
        Ok(newer) if newer > VERSION => {
            let reason = format!(
                "it is of version {newer} of this program's format, and version {VERSION} is read: use a newer mobilenet"
            );
            Err(Error::format(path, reason))
        }
        _ => {
            let version: String = version.chars().take(40).collect();
            Err(Error::format(path, format!("its metadata says format is \"{PREFIX}{version}\", which is no version")))
        }
    }
}
