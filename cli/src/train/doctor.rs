//! What is wrong with the photos, told before a training whose settings are chosen.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use mobilenet::data::check::{Kind, Severity, check};

use crate::failure::Failure;
use crate::print;

/// With more photos, looking at all would take minutes that nobody asked for.
const MOST: usize = 10_000;

/// Says in a line for each kind of error or warning what `check` finds, with an example.
pub fn look(data: &Path, validation: Option<&Path>, photos: usize, threads: usize) -> Result<(), Failure> {
    let command = format!("mobilenet check {}", print::quoted(data));
    if photos > MOST {
        note!("{photos} photos are not looked through: `{command}` does it");
        return Ok(());
    }
    let bar = ProgressBar::new(photos as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos} of {len} photos checked").expect("a valid template"));
    let report = check(data, validation, threads, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    let report = report?.expect("nothing ends it");
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
