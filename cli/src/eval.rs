//! `mobilenet eval`: how good is a network on these photos?

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use mobilenet::Program;
use mobilenet::data::{Dataset, LoaderOptions};
use mobilenet::run::program::Options;
use mobilenet::train::evaluate;

use crate::args::{MAX_BATCH, RunArgs, SpecArgs};
use crate::failure::Failure;
use crate::print;

/// Measure a network's accuracy on labelled photos
#[derive(Args)]
#[command(after_help = "Where the weights name their classes, the data's classes are matched by name.

Example:
  mobilenet eval runs/train/model.safetensors photos/val")]
pub struct Eval {
    /// Weights
    weights: PathBuf,
    /// Labelled photos: a folder per class, or a CSV beside its archive
    data: PathBuf,
    /// Photos in a call
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: u64,
    /// Print one JSON object: photos, top1, top5 (or mean_average_precision for photos of several labels), loss
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Eval {
    pub fn run(self) -> Result<(), Failure> {
        let loaded = mobilenet::net::load(&self.weights, &self.spec.overrides(None))?;
        loaded.recognised.guesses.iter().for_each(|guess| note!("guessed {guess}"));
        let dataset = match &loaded.recognised.labels {
            Some(labels) => Dataset::open_as(&self.data, labels)?,
            None => Dataset::open(&self.data)?,
        };
        let (classes, has) = (dataset.classes().len(), loaded.recognised.spec.classes);
        if classes > has {
            return Err(Failure::bad(format!("{}: {classes} classes; the weights have {has}", self.data.display())));
        }
        let options = Options { isa: self.run.isa()?, ..Options::default() };
        let program = Program::compile(&loaded.graph, loaded.params, &options)?;
        let photos = LoaderOptions::evaluation(self.batch as usize, loaded.recognised.preprocessing);
        let figures = evaluate(&program, &Arc::new(dataset), photos, &self.run.pool())?;
        if self.json {
            return print::json(&figures);
        }
        print::line(format!("{figures}  of {} photos", figures.photos))
    }
}
