//! `mobilenet check`: what is wrong with photos, before anything is trained on them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mobilenet::data::check::{Class, Fault, Kind, Report, Severity, check};
use serde::Serialize;

use crate::args::RunArgs;
use crate::failure::Failure;
use crate::print;
use crate::text::{Grid, Side, thousands};

/// Look for what is wrong with photos before training: broken, double and leaked ones, classes too small
#[derive(Args)]
#[command(
    after_help = "Photos that are almost the same are found too: of another size, quality or format. What is wrong is
named with a remedy; errors make training fail or its figures wrong, warnings make it worse, notes are good to know.

Exit codes: 0 nothing but notes, 1 errors or warnings, 2 no data set.

Examples:
  mobilenet check photos/
  mobilenet check train.csv --validation test.csv --json"
)]
pub struct Check {
    /// A folder with a folder of photos per class (or train/ and val/ with such folders), or a CSV beside its archive
    data: PathBuf,
    /// Photos to check with, where DATA has none of its own
    #[arg(long, value_name = "DATA")]
    validation: Option<PathBuf>,
    /// Photos that are named for each kind of fault; JSON names all
    #[arg(long, value_name = "N", default_value_t = 5)]
    show: usize,
    /// Print one JSON object: train, validation, classes, short_sides, faults
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: RunArgs,
}

#[derive(Serialize)]
struct Json<'a> {
    train: usize,
    validation: Option<usize>,
    /// The least, the median and the most, in pixels.
    short_sides: Option<[usize; 3]>,
    classes: Vec<JsonClass<'a>>,
    faults: Vec<JsonFault<'a>>,
}

#[derive(Serialize)]
struct JsonClass<'a> {
    name: &'a str,
    train: usize,
    validation: usize,
}

#[derive(Serialize)]
struct JsonFault<'a> {
    kind: &'a str,
    severity: String,
    what: &'a str,
    photos: &'a [String],
    remedy: &'a str,
}

impl Check {
    pub fn run(self) -> Result<(), Failure> {
        let report = look(&self.data, self.validation.as_deref(), self.running.threads())?;
        if self.json {
            print::json(&json(&report))?
        } else {
            self.print(&report)?
        }
        match report.faults.iter().all(|fault| fault.kind.severity() == Severity::Note) {
            true => Ok(()),
            false => Err(Failure::Some),
        }
    }

    fn print(&self, report: &Report) -> Result<(), Failure> {
        print::line(head(report))?;
        print::line(format!("{}\n", classes(report)))?;
        let mut kinds: BTreeMap<Kind, Vec<&Fault>> = BTreeMap::new();
        report.faults.iter().for_each(|fault| kinds.entry(fault.kind).or_default().push(fault));
        for (kind, faults) in &kinds {
            print::line(format!("{} ({kind}): {}", kind.severity(), kind.remedy()))?;
            for fault in faults.iter().take(self.show) {
                print::line(format!("  {}", self.fault(fault)))?;
            }
            if faults.len() > self.show {
                print::line(format!("  and {} more", faults.len() - self.show))?;
            }
        }
        let count = |severity| report.faults.iter().filter(|fault| fault.kind.severity() == severity).count();
        print::line(match report.faults[..] {
            [] => "nothing is wrong".to_owned(),
            _ => format!(
                "errors: {}, warnings: {}, notes: {}",
                count(Severity::Error),
                count(Severity::Warning),
                count(Severity::Note)
            ),
        })
    }

    /// A fault in a line: its photos, then what was seen of them.
    fn fault(&self, Fault { photos, what, .. }: &Fault) -> String {
        let shown = photos.iter().take(self.show).cloned().collect::<Vec<_>>().join(", ");
        let more = photos.len().saturating_sub(self.show);
        match (photos.len(), more) {
            (0, _) => what.clone(),
            (_, 0) => format!("{shown}: {what}"),
            _ => format!("{shown} and {more} more: {what}"),
        }
    }
}

/// Looks at all photos, with a progress bar.
pub fn look(data: &Path, validation: Option<&Path>, threads: usize) -> Result<Report, Failure> {
    let bar = bar();
    let report = check(data, validation, threads, &mut |done, total| {
        show(&bar, done, total);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    Ok(report?.expect("nothing ends it"))
}

/// A progress bar over photos that are read.
pub fn bar() -> ProgressBar {
    let template = ProgressStyle::with_template("{bar:30} {pos} of {len} photos, {eta} left");
    ProgressBar::no_length().with_style(template.expect("a valid template"))
}

/// Shows how many of them are.
pub fn show(bar: &ProgressBar, done: usize, total: usize) {
    bar.set_length(total as u64);
    bar.set_position(done as u64);
}

fn head(report: &Report) -> String {
    let Report { train, validation, short_sides, .. } = report;
    let train = thousands(*train as u64);
    let photos = match validation {
        Some(validation) => format!("{train} photos to learn from, {} to check with", thousands(*validation as u64)),
        None => format!("{train} photos, with no split"),
    };
    match short_sides {
        Some([least, median, most]) => {
            format!("{photos}; shorter sides of {least} to {most} pixels, median {median}")
        }
        None => photos,
    }
}

/// Class by class, the largest first.
fn classes(report: &Report) -> String {
    /// Classes that are listed.
    const LISTED: usize = 20;
    let mut classes: Vec<_> = report.classes.iter().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.train));
    let mut grid = Grid::new([("class", Side::Left), ("train", Side::Right), ("validation", Side::Right)]);
    for class in classes.iter().take(LISTED) {
        let validation = report.validation.map_or_else(String::new, |_| thousands(class.validation as u64));
        grid.row([class.name.clone(), thousands(class.train as u64), validation]);
    }
    let more = classes.len().saturating_sub(LISTED);
    if more == 0 { grid.to_string() } else { format!("{grid}\nand {more} smaller classes") }
}

fn json<'a>(report: &'a Report) -> Json<'a> {
    let &Report { train, validation, ref classes, short_sides, ref faults } = report;
    let class = |class: &'a Class| JsonClass { name: &class.name, train: class.train, validation: class.validation };
    let fault = |Fault { kind, photos, what }: &'a Fault| {
        let severity = kind.severity().to_string();
        JsonFault { kind: kind.name(), severity, what, photos, remedy: kind.remedy() }
    };
    let (classes, faults) = (classes.iter().map(class).collect(), faults.iter().map(fault).collect());
    Json { train, validation, short_sides, classes, faults }
}
