//! Which network a checkpoint belongs to.

use std::fmt;
use std::path::Path;

use mobilenet_net::arch::{Spec, Table};
use mobilenet_net::{Activation, Error};
use serde::{Deserialize, Serialize};

/// A network by its whole description: a table of one's own needs no file beside the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its rows.
    pub table: Table,
    /// Its width, classes and so on.
    pub spec: Spec,
}

/// A [`Network`] as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    table: String,
    width: f64,
    classes: usize,
    input_channels: usize,
    width_rule: String,
    padding: String,
    bn_epsilon: f32,
    output_stride: usize,
    total_stride: usize,
    activation: Option<String>,
}

impl Network {
    /// As JSON.
    pub(super) fn to_json(&self) -> String {
        let s = &self.spec;
        let form = Form {
            table: self.table.to_toml(),
            width: s.width,
            classes: s.classes,
            input_channels: s.input_channels,
            width_rule: s.width_rule.to_string(),
            padding: s.padding.to_string(),
            bn_epsilon: s.bn_epsilon,
            output_stride: s.output_stride,
            total_stride: s.total_stride,
            activation: s.activation.map(|a| a.to_string()),
        };
        serde_json::to_string(&form).expect("strings and numbers are JSON")
    }

    /// From JSON that `path` holds.
    pub(super) fn from_json(path: &Path, text: &str) -> Result<Network, Error> {
        let wrong = |reason: String| Error::format(path, format!("its network: {reason}"));
        let form: Form = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let spec = Spec {
            width: form.width,
            classes: form.classes,
            input_channels: form.input_channels,
            width_rule: form.width_rule.parse().map_err(|e: Error| wrong(e.to_string()))?,
            padding: form.padding.parse().map_err(wrong)?,
            bn_epsilon: form.bn_epsilon,
            output_stride: form.output_stride,
            total_stride: form.total_stride,
            activation: match form.activation {
                Some(name) => Some(name.parse::<Activation>().map_err(|e| wrong(e.to_string()))?),
                None => None,
            },
        };
        let table = Table::from_toml(&form.table).map_err(|e| wrong(e.to_string()))?;
        Ok(Network { table, spec })
    }

    /// What tells this network from `other`: the same in words for both; `None` where they are equal.
    pub(super) fn difference(&self, other: &Network) -> Option<(String, String)> {
        // Dropout has no weights, and may change.
        let table = Table { dropout: other.table.dropout, ..self.table.clone() };
        if table == other.table && self.spec == other.spec {
            return None;
        }
        let mut words = [self.to_string(), other.to_string()];
        if words[0] == words[1] {
            let rows = |n: &Network| format!("{} with {}", n.table.name, details(&n.spec));
            words = [rows(self), rows(other)];
        }
        if words[0] == words[1] {
            words[0] += " and other rows in its table";
        }
        let [has, needs] = words;
        Some((has, needs))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { width, classes, total_stride, .. } = self.spec;
        write!(f, "{} (width {width:?}, {classes} classes, total stride {total_stride})", self.table.name)
    }
}

/// What [`Network`]'s words leave out.
fn details(s: &Spec) -> String {
    let activation = s.activation.map_or("the table's".into(), |a| a.to_string());
    format!(
        "{} widths, {} padding, epsilon {:?}, output stride {}, {} input channels, {activation} activation",
        s.width_rule, s.padding, s.bn_epsilon, s.output_stride, s.input_channels
    )
}
