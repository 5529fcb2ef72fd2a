//! `mobilenet models`: the registered networks.

use clap::Args;
use mobilenet::arch::{self, Model, Spec};
use mobilenet::net::count::Summary;
use serde::Serialize;

use crate::failure::Failure;
use crate::print;
use crate::text::{Grid, Side, millions, thousands};

const EXAMPLES: &str = "\
Examples:
  mobilenet models
  mobilenet models 'mobilenet_v3_*'
  mobilenet models minimal --json";

/// Size of the images that the multiply-adds are counted for, the papers'.
const RESOLUTION: usize = 224;

/// List the networks that have a name
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Models {
    /// Only names that contain this; with * (any characters) or ? (any one), names that match it as a whole
    pattern: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// A line.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    paper: &'static str,
    parameters: u64,
    /// At 224×224.
    multiply_adds: u64,
}

impl Models {
    pub fn run(self) -> Result<(), Failure> {
        let pattern = self.pattern.unwrap_or_default();
        let found = arch::models().iter().filter(|m| is_match(&pattern, m.name));
        let entries = found.map(entry).collect::<Result<Vec<_>, _>>()?;
        if entries.is_empty() {
            let known = arch::models().iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
            return Err(Failure::bad(format!("no network is called {pattern:?}; there are {known}")));
        }
        if self.json { print::json(&entries) } else { print::line(table(&entries).to_string()) }
    }
}

fn entry(model: &Model) -> Result<Entry, Failure> {
    let graph = (model.table)().graph(&Spec::default())?;
    let Summary { parameters, multiply_adds, .. } = Summary::new(&graph, RESOLUTION, RESOLUTION)?;
    Ok(Entry { name: model.name, paper: model.about, parameters, multiply_adds })
}

fn table(entries: &[Entry]) -> Grid<4> {
    let mut grid = Grid::new([
        ("name", Side::Left),
        ("parameters", Side::Right),
        ("MAdds at 224", Side::Right),
        ("paper", Side::Left),
    ]);
    for entry in entries {
        let multiply_adds = format!("{} M", millions(entry.multiply_adds));
        grid.row([entry.name.into(), thousands(entry.parameters), multiply_adds, entry.paper.into()]);
    }
    grid
}

/// Whether `name` contains `pattern` or, where that has wildcards, is what it describes.
pub fn is_match(pattern: &str, name: &str) -> bool {
    if pattern.contains(['*', '?']) { describes(pattern.as_bytes(), name.as_bytes()) } else { name.contains(pattern) }
}

/// Only the last `*` ever needs to give way, so this takes |pattern| · |name| steps, however many stars there are.
fn describes(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_describe_whole_names_and_other_patterns_parts() {
        for (pattern, name, expected) in [
            ("", "mobilenet_v1", true),
            ("v1", "mobilenet_v1", true),
            ("*v1", "mobilenet_v1", true),
            ("v1*", "mobilenet_v1", false),
            ("mobilenet_v?", "mobilenet_v1", true),
            ("mobilenet_v?", "mobilenet_v3_small", false),
            ("*_v3_*l", "mobilenet_v3_small_minimal", true),
            ("*small", "mobilenet_v3_small_minimal", false),
            ("**m*m**", "mobilenet_v3_small", true),
            ("*", "mobilenet_v1", true),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }
}
