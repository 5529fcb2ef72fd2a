//! `mobilenet eval`: how good is a network on these photos?

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use mobilenet::Program;
use mobilenet::data::{Dataset, Loader, LoaderOptions, Splits};
use mobilenet::run::labels::Labels;
use mobilenet::run::program::Options;
use mobilenet::train::{Evaluation, evaluate};
use serde::Serialize;

use crate::args::{KnownArgs, MAX_BATCH, PrecisionArg, RunArgs, weights_file};
use crate::failure::Failure;
use crate::print;

/// Measure a network's accuracy on labelled photos
#[derive(Args)]
#[command(
    after_help = "Where the weights name their classes, the data's classes are matched by name; otherwise by their
order, which is said. Of a folder with train/ and val/, the validation photos are taken.

Examples:
  mobilenet eval runs/train/model.safetensors photos/val
  mobilenet eval runs/train/model.safetensors photos/ --json"
)]
pub struct Eval {
    /// Weights
    #[arg(value_parser = weights_file())]
    weights: PathBuf,
    /// Labelled photos: a folder per class, train/ and val/ with such folders, or a CSV beside its archive
    data: PathBuf,
    /// Photos in a call
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: u64,
    /// How weights are stored
    #[arg(long, default_value = "f32")]
    precision: PrecisionArg,
    /// Print one JSON object: photos, unreadable, top1 and top5 (or mean_average_precision for photos of several labels),
    /// loss, classes_by
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    known: KnownArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// How the data's classes were found among the network's.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum ClassesBy {
    Name,
    Order,
}

/// What is printed.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    figures: Evaluation,
    unreadable: usize,
    classes_by: ClassesBy,
}

impl Eval {
    pub fn run(self) -> Result<(), Failure> {
        let loaded = mobilenet::net::load(&self.weights, &self.known.overrides()?)?;
        loaded.expect_classifier(&self.weights)?;
        loaded.recognised.guesses.iter().for_each(|guess| note!("guessed {guess}"));
        let has = loaded.recognised.spec.classes;
        Labels::guess(&loaded.recognised).iter().for_each(|guess| note!("guessed {guess}"));
        let labels = Labels::of_outputs(&loaded.recognised, None)?;
        let (dataset, classes_by) = self.photos(labels.as_deref(), has)?;
        let (isa, precision) = (self.run.isa()?, self.precision.into());
        let options = Options { isa, precision, ..Options::default() };
        let program = Program::compile(&loaded.graph, loaded.params, &options)?;
        print::ignored(&dataset);
        let photos = LoaderOptions::evaluation(self.batch as usize, loaded.recognised.preprocessing);
        let loader = Loader::new(Arc::new(dataset), photos);
        let figures = evaluate(&program, &loader, &self.run.pool())?;
        let unreadable: Vec<_> = loader.unreadable().into_iter().map(|u| u.message).collect();
        print::unreadable(&unreadable, loader.dataset().len());
        if self.json {
            return print::json(&Report { figures, unreadable: unreadable.len(), classes_by });
        }
        print::line(format!("{figures}  of {} photos", figures.photos))
    }

    /// The photos, their classes numbered as the network's `has` outputs are.
    fn photos(&self, labels: Option<&[String]>, has: usize) -> Result<(Dataset, ClassesBy), Failure> {
        if let Some(labels) = labels {
            let dataset = Splits::open_validation_as(&self.data, labels)?;
            if dataset.is_by_number() {
                let (data, weights) = (self.data.display(), self.weights.display());
                note!("{data} numbers its classes and does not name them: taken in the order of {weights}");
                return Ok((dataset, ClassesBy::Order));
            }
            return Ok((dataset, ClassesBy::Name));
        }
        let Splits { train, validation } = Splits::open(&self.data)?;
        let classes = train.classes().len();
        if classes != has {
            let (data, weights) = (self.data.display(), self.weights.display());
            return Err(Failure::bad(format!(
                "{data}: {classes} classes, and {weights} has {has} without names: give photos of its classes, all of them"
            )));
        }
        let (weights, names) = (self.weights.display(), train.classes());
        let (first, last) = (&names[0], &names[has - 1]);
        note!("{weights} does not name its classes: taken in the data's order, from `{first}` to `{last}`");
        Ok((validation.unwrap_or(train), ClassesBy::Order))
    }
}
