//! What is wrong with the photos, told before a training whose settings are chosen.

use std::collections::BTreeMap;
use std::path::Path;

use mobilenet::data::check::{Kind, Severity};

use crate::failure::Failure;
use crate::{check, print};

/// With more photos, looking at all would take minutes that nobody asked for.
pub const MOST: usize = 10_000;

/// Says in a line for each kind of error or warning what `check` finds, with an example.
pub fn look(data: &Path, validation: Option<&Path>, photos: usize, threads: usize) -> Result<(), Failure> {
    let command = format!("mobilenet check {}", print::quoted(data));
    if photos > MOST {
        note!("{photos} photos are not looked through: `{command}` does it");
        return Ok(());
    }
    let report = check::look(data, validation, threads)?;
    let mut kinds: BTreeMap<Kind, (usize, String)> = BTreeMap::new();
    for fault in report.faults.iter().filter(|fault| fault.kind.severity() != Severity::Note) {
        let example = fault.photos.first().map_or_else(String::new, |photo| format!("{photo}: "));
        kinds.entry(fault.kind).or_insert_with(|| (0, format!("{example}{}", fault.what))).0 += 1;
    }
    for (kind, (count, example)) in &kinds {
        let more = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        note!("{} ({kind}): {example}{more}", kind.severity());
    }
    if !kinds.is_empty() {
        note!("{command} tells of all, with remedies");
    }
    Ok(())
}
