//! Tables as TOML files, in the papers' columns. `examples/tables/` in the repository holds one per ablation.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::check::MAX_ROWS;
use super::table::{Expansion, Family, Operator, Row, Shortcut, Table};
use crate::error::Error;
use crate::graph::Activation;

/// Largest table file; the papers' have 2 kB.
const MAX_FILE: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableForm {
    name: String,
    family: String,
    dropout: Option<f32>,
    rows: Vec<toml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a row such as { operator = \"pool\" }")]
struct RowForm {
    input: Option<[usize; 2]>,
    operator: String,
    kernel: Option<usize>,
    factor: Option<usize>,
    expansion: Option<usize>,
    out: Option<usize>,
    repeat: Option<usize>,
    se: Option<bool>,
    activation: Option<String>,
    stride: Option<usize>,
    shortcut: Option<String>,
    projection: Option<String>,
    shrinks: Option<bool>,
}

impl Table {
    /// Reads a table from TOML text.
    ///
    /// # Errors
    /// [`Error::Config`], naming the line or the row.
    pub fn from_toml(text: &str) -> Result<Table, Error> {
        read(text).map_err(Error::Config)
    }

    /// Reads a table from a TOML file of at most 1 MiB.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] naming the file and the line or row.
    pub fn from_file(path: &Path) -> Result<Table, Error> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(Error::io(path))?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::format(path, "larger than 1 MiB, which no table of a network is"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| Error::format(path, "not a text file (UTF-8)"))?;
        read(text).map_err(|reason| Error::format(path, reason))
    }

    /// The table as TOML, a row a line: [`Table::from_toml`] reads it back. A start for one's own network.
    pub fn to_toml(&self) -> String {
        let mut text = format!("name = {}\n", quoted(&self.name));
        // Writing into a string cannot fail.
        let _ = writeln!(text, "family = \"{}\"\ndropout = {:?}\nrows = [", self.family.name(), self.dropout);
        for row in &self.rows {
            let _ = writeln!(text, "  {{ {} }},", row_columns(row).join(", "));
        }
        text + "]\n"
    }
}

fn read(text: &str) -> Result<Table, String> {
    let form: TableForm = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    if form.name.is_empty() || form.name.len() > 100 || form.name.chars().any(char::is_control) {
        return Err("name is empty, longer than 100 bytes or not printable".into());
    }
    let family = named(Family::ALL, Family::name, "family", &form.family)?;
    if form.rows.len() > MAX_ROWS {
        return Err(format!("{} rows; give 1 to {MAX_ROWS}", form.rows.len()));
    }
    let mut rows = Vec::with_capacity(form.rows.len());
    for (i, value) in form.rows.into_iter().enumerate() {
        let row = RowForm::deserialize(value).map_err(|e| e.message().to_owned()).and_then(row);
        rows.push(row.map_err(|reason| format!("row {}: {reason}", i + 1))?);
    }
    let table = Table { name: form.name, family, dropout: form.dropout.unwrap_or(0.2), rows };
    table.check()?;
    Ok(table)
}

/// The one of `all` that is called `name`.
fn named<T: Copy, const N: usize>(all: [T; N], of: fn(T) -> &'static str, what: &str, name: &str) -> Result<T, String> {
    all.into_iter()
        .find(|&x| of(x) == name)
        .ok_or_else(|| format!("there is no {what} {name:?}; there are {}", all.map(of).join(", ")))
}

fn row(form: RowForm) -> Result<Row, String> {
    let operator = named(Operator::ALL, Operator::name, "operator", &form.operator)?;
    let activation = |name: &str| named(Activation::ALL, Activation::name, "activation", name);
    let new = Row::new(operator);
    let convolves = matches!(operator, Operator::Convolution | Operator::Separable | Operator::Bottleneck);
    let bottleneck = operator == Operator::Bottleneck;
    // Which columns an operator needs, and which it may have.
    let columns = [
        ("kernel", form.kernel.is_some(), convolves, convolves),
        ("out", form.out.is_some(), new.has_activation(), new.has_activation()),
        ("activation", form.activation.is_some(), new.has_activation(), new.has_activation()),
        ("repeat", form.repeat.is_some(), false, convolves),
        ("stride", form.stride.is_some(), false, convolves),
        (
            "factor",
            form.factor.is_some(),
            bottleneck && form.expansion.is_none(),
            bottleneck && form.expansion.is_none(),
        ),
        ("expansion", form.expansion.is_some(), false, bottleneck),
        ("se", form.se.is_some(), false, bottleneck),
        ("shortcut", form.shortcut.is_some(), false, bottleneck),
        ("projection", form.projection.is_some(), false, bottleneck),
        ("shrinks", form.shrinks.is_some(), false, operator == Operator::Convolution),
    ];
    for (name, given, needed, allowed) in columns {
        if name == "factor" && given && form.expansion.is_some() {
            return Err("factor and expansion; give one of them".into());
        }
        if name == "factor" && needed && !given {
            return Err("a bneck needs factor (times its input) or expansion (channels)".into());
        }
        if needed && !given {
            return Err(format!("a {} needs {name}", operator.name()));
        }
        if given && !allowed {
            return Err(format!("a {} has no {name}", operator.name()));
        }
    }
    let expansion = form.expansion.map(Expansion::Channels).or(form.factor.map(Expansion::Factor));
    Ok(Row {
        input: form.input,
        operator,
        kernel: form.kernel.unwrap_or(new.kernel),
        expansion: expansion.unwrap_or(new.expansion),
        out: form.out.unwrap_or(new.out),
        repeat: form.repeat.unwrap_or(new.repeat),
        squeeze_excite: form.se.unwrap_or(new.squeeze_excite),
        activation: form.activation.as_deref().map(activation).transpose()?.unwrap_or(new.activation),
        stride: form.stride.unwrap_or(new.stride),
        shortcut: match &form.shortcut {
            Some(name) => named(Shortcut::ALL, Shortcut::name, "shortcut", name)?,
            None => new.shortcut,
        },
        projection: form.projection.as_deref().map(activation).transpose()?,
        shrinks: form.shrinks.unwrap_or(new.shrinks),
    })
}

/// The columns of a row that its operator has and that are not the default.
fn row_columns(row: &Row) -> Vec<String> {
    let new = Row::new(row.operator);
    let mut columns = Vec::new();
    if let Some([size, channels]) = row.input {
        columns.push(format!("input = [{size}, {channels}]"));
    }
    columns.push(format!("operator = \"{}\"", row.operator.name()));
    if row.has_activation() {
        if row.operator != Operator::Hidden {
            columns.push(format!("kernel = {}", row.kernel));
        }
        if row.operator == Operator::Bottleneck {
            columns.push(match row.expansion {
                Expansion::Factor(t) => format!("factor = {t}"),
                Expansion::Channels(c) => format!("expansion = {c}"),
            });
        }
        columns.push(format!("out = {}", row.out));
        columns.push(format!("activation = \"{}\"", row.activation));
    }
    let mut unusual = |differs: bool, column: String| {
        if differs {
            columns.push(column);
        }
    };
    unusual(row.squeeze_excite, "se = true".into());
    unusual(row.stride != new.stride, format!("stride = {}", row.stride));
    unusual(row.repeat != new.repeat, format!("repeat = {}", row.repeat));
    unusual(row.shortcut != new.shortcut, format!("shortcut = \"{}\"", row.shortcut.name()));
    unusual(!row.shrinks, "shrinks = false".into());
    if let Some(activation) = row.projection {
        columns.push(format!("projection = \"{activation}\""));
    }
    columns
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
