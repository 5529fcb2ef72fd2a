//! How answers are printed: for people, as lines of JSON, or as CSV.

use std::path::Path;

use mobilenet::Prediction;
use serde::Serialize;

use crate::failure::Failure;
use crate::print;

/// What is printed for a photo.
#[derive(Clone, Copy)]
pub enum Output {
    /// Its path, and a line a class.
    Text,
    /// An object a line.
    Json,
    /// A record with this many classes, and whether the photo is unknown where that may be.
    Csv {
        /// Classes of a photo.
        classes: usize,
        /// Whether a photo may be unknown.
        is_modest: bool,
    },
}

#[derive(Serialize)]
struct Answer<'a> {
    path: &'a str,
    /// Only where it is so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unknown: bool,
    top: Vec<Class<'a>>,
}

#[derive(Serialize)]
struct Class<'a> {
    class: usize,
    label: &'a str,
    probability: f32,
}

#[derive(Serialize)]
struct Failed<'a> {
    path: &'a str,
    error: &'a str,
}

impl Output {
    /// Prints what comes before all photos.
    pub fn begin(self) -> Result<(), Failure> {
        let Output::Csv { classes, is_modest } = self else { return Ok(()) };
        let mut header = vec!["path".to_owned()];
        for place in 1..=classes {
            header.extend(["class", "label", "probability"].map(|column| format!("{column}_{place}")));
        }
        header.extend(is_modest.then(|| "unknown".into()));
        header.push("error".into());
        record(&header)
    }

    /// Prints a photo's classes.
    pub fn answer(self, path: &Path, top: &[Prediction], is_unknown: bool) -> Result<(), Failure> {
        let path = path.to_string_lossy();
        match self {
            Output::Text => {
                print::line(&path)?;
                if is_unknown {
                    print::line("  unknown; the likeliest are")?;
                }
                top.iter().try_for_each(|p| print::line(format!("  {:5.1} %  {}", p.probability * 100.0, p.label)))
            }
            Output::Json => {
                let class = |p| {
                    let &Prediction { class, ref label, probability } = p;
                    Class { class, label, probability }
                };
                print::json(&Answer { path: &path, unknown: is_unknown, top: top.iter().map(class).collect() })
            }
            Output::Csv { classes, is_modest } => {
                let mut fields = vec![path.into_owned()];
                for place in 0..classes {
                    let cells = |p: &Prediction| [p.class.to_string(), p.label.clone(), p.probability.to_string()];
                    fields.extend(top.get(place).map_or_else(Default::default, cells));
                }
                fields.extend(is_modest.then(|| is_unknown.to_string()));
                fields.push(String::new());
                record(&fields)
            }
        }
    }

    /// Prints why a photo has no classes, where a program reads it; people are told on standard error.
    pub fn failed(self, path: &Path, error: &str) -> Result<(), Failure> {
        let path = path.to_string_lossy();
        match self {
            Output::Text => Ok(()),
            Output::Json => print::json(&Failed { path: &path, error }),
            Output::Csv { classes, is_modest } => {
                let mut fields = vec![path.into_owned()];
                fields.resize(1 + 3 * classes + usize::from(is_modest), String::new());
                fields.push(error.to_owned());
                record(&fields)
            }
        }
    }
}

fn record(fields: &[String]) -> Result<(), Failure> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    writer.write_record(fields)?;
    let bytes = writer.into_inner().map_err(|e| Failure::bad(e.to_string()))?;
    print::line(String::from_utf8_lossy(&bytes).trim_end_matches('\n'))
}
