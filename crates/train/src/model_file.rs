//! The trained network as a file that runs at once: weights with everything that `classify` needs to know.

use std::path::Path;

use mobilenet_net::arch::{Spec, Table};
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_net::recognise::Outputs;
use mobilenet_net::{Error, Params, weights};

/// Writes `params` with the network's description, preprocessing, class names and what the outputs are beside them.
///
/// # Errors
/// [`Error::Write`] where the file cannot be written; nothing half-written is left.
pub fn save(
    path: &Path,
    mut params: Params,
    table: &Table,
    spec: &Spec,
    preprocessing: &Preprocessing,
    classes: &[String],
    outputs: Outputs,
) -> Result<(), Error> {
    let mut say = |key: &str, value: String| params.metadata.insert(key.to_owned(), value);
    say("format", "mobilenet 1".into());
    say("table", table.to_toml());
    say("family", table.name.clone());
    say("width", spec.width.to_string());
    say("width_rule", spec.width_rule.to_string());
    say("classes", spec.classes.to_string());
    say("padding", spec.padding.to_string());
    say("bn_epsilon", spec.bn_epsilon.to_string());
    say("total_stride", spec.total_stride.to_string());
    say("preprocessing", serde_json::to_string(preprocessing).expect("numbers and names are JSON"));
    say("outputs", outputs.to_string());
    say("labels", serde_json::to_string(classes).expect("strings are JSON"));
    weights::save(path, &params)
}
