//! The papers' networks: a table each, one builder, one registry.
//!
//! [`find`] gives a [`Table`] by name or from a TOML file, [`Table::graph`] builds it as a [`Spec`] asks:
//!
//! ```
//! use mobilenet_net::arch::{self, Spec};
//!
//! let graph = arch::find("mobilenet_v2")?.graph(&Spec { width: 0.5, ..Spec::default() })?;
//! assert_eq!(graph.infer(1, 224, 224)?[graph.find("features").unwrap()].c, 1280);
//! # Ok::<(), mobilenet_net::Error>(())
//! ```

mod build;
mod check;
mod form;
mod spec;
pub mod table;
pub mod v1;
pub mod v2;
pub mod v3;

use std::path::Path;

pub use spec::{Spec, WidthRule, make_divisible};
pub use table::{BlockInfo, Expansion, Family, Operator, Row, Shortcut, Table};

use crate::error::Error;

/// A registered network.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// What users call it.
    pub name: &'static str,
    /// Where it comes from, in one line.
    pub about: &'static str,
    /// Its paper's table.
    pub table: fn() -> Table,
}

/// Every built-in network: one line each.
#[rustfmt::skip]
static MODELS: &[Model] = &[
    Model { name: "mobilenet_v1", about: "MobileNets (Howard et al., 2017), table 1", table: v1::table },
    Model { name: "mobilenet_v2", about: "Inverted Residuals and Linear Bottlenecks (Sandler et al., 2018), table 2", table: v2::table },
    Model { name: "mobilenet_v3_large", about: "Searching for MobileNetV3 (Howard et al., 2019), table 1", table: v3::large },
    Model { name: "mobilenet_v3_small", about: "Searching for MobileNetV3 (Howard et al., 2019), table 2", table: v3::small },
    Model { name: "mobilenet_v3_large_minimal", about: "V3-Large without squeeze-and-excite, 5×5 and h-swish (TensorFlow, 2019)", table: v3::large_minimal },
    Model { name: "mobilenet_v3_small_minimal", about: "V3-Small without squeeze-and-excite, 5×5 and h-swish (TensorFlow, 2019)", table: v3::small_minimal },
];

/// Every built-in network.
pub fn models() -> &'static [Model] {
    MODELS
}

/// The table of a registered network, or of a file whose name ends in `.toml`.
///
/// # Errors
/// [`Error::Config`] for an unknown name, with the known ones; [`Error::Io`] and [`Error::Format`] for a bad file.
pub fn find(name_or_path: &str) -> Result<Table, Error> {
    if let Some(model) = MODELS.iter().find(|m| m.name == name_or_path) {
        return Ok((model.table)());
    }
    if name_or_path.to_ascii_lowercase().ends_with(".toml") {
        return Table::from_file(Path::new(name_or_path));
    }
    // Names are short, arguments may not be.
    let asked: String = name_or_path.chars().take(80).collect();
    let (distance, closest) =
        MODELS.iter().map(|m| (strsim::levenshtein(&asked, m.name), m.name)).min().expect("models are registered");
    // A third of the name may be mistyped; beyond that the guess is noise.
    let hint = if distance * 3 <= closest.len() { format!("did you mean {closest}? ") } else { String::new() };
    let known = MODELS.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
    Err(Error::Config(format!("there is no network {asked:?}; {hint}give one of {known}, or a file ending in .toml")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registered_name_is_its_tables_name() {
        for model in models() {
            assert_eq!(find(model.name).unwrap().name, model.name);
        }
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_closest_and_all_names() {
        let text = find("mobilenet-v2").unwrap_err().to_string();
        assert_eq!(
            text,
            "there is no network \"mobilenet-v2\"; did you mean mobilenet_v2? give one of mobilenet_v1, mobilenet_v2, \
             mobilenet_v3_large, mobilenet_v3_small, mobilenet_v3_large_minimal, mobilenet_v3_small_minimal, or a file \
             ending in .toml"
        );
        assert!(!find("resnet").unwrap_err().to_string().contains("did you mean"));
    }
}
