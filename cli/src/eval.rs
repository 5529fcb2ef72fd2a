//! `mobilenet eval`: how good is a network on these photos, where is it wrong, and is it as sure as it should be?

mod compare;
mod pictures;
mod report;
mod tested;

use std::path::{Path, PathBuf};

use clap::Args;
use mobilenet::net::file;
use mobilenet::run::image::check_writable;

use self::report::Report;
use crate::args::{KnownArgs, MAX_BATCH, PrecisionArg, RunArgs, seconds, weights_file};
use crate::failure::Failure;
use crate::print;

/// Up to so many classes each has its line unasked.
const FEW_CLASSES: usize = 20;

/// Measure networks' accuracy on labelled photos
#[derive(Args)]
#[command(
    after_help = "Where the weights name their classes, the data's classes are matched by name; otherwise by their
order, which is said. Of a folder with train/ and val/, the validation photos are taken.
Several weights files are compared in one table, with the median latency of one photo here.

Examples:
  mobilenet eval runs/photos/model.safetensors photos/val
  mobilenet eval runs/photos/model.safetensors photos/ --json
  mobilenet eval runs/photos/model.safetensors photos/ --confusion confusion.svg --mistakes mistakes.jpg
  mobilenet eval runs/photos/model.safetensors photos/ --unknown other-photos/
  mobilenet eval runs/a/model.safetensors runs/b/model.safetensors photos/"
)]
pub struct Eval {
    /// Weights: a file, or several to compare
    #[arg(required = true, num_args = 1.., value_name = "FILE", value_parser = weights_file())]
    weights: Vec<PathBuf>,
    /// Labelled photos: a folder per class, train/ and val/ with such folders, or a CSV beside its archive
    #[arg(required = true)]
    data: PathBuf,
    /// Print each class's figures, the worst first [default: where there are 20 classes or fewer]
    #[arg(long)]
    classes: bool,
    /// Draw the confusion matrix into this file
    #[arg(long, value_name = "FILE.svg", value_hint = clap::ValueHint::FilePath)]
    confusion: Option<PathBuf>,
    /// Draw the surest mistakes as a contact sheet: .png, .jpg or .webp
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    mistakes: Option<PathBuf>,
    /// Photos of classes that the network does not know: print which share of them each threshold for 'unknown' finds, and
    /// which share of the known ones it refuses
    #[arg(long, value_name = "DATA", value_hint = clap::ValueHint::AnyPath)]
    unknown: Option<PathBuf>,
    /// Photos in a call
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: u64,
    /// How weights are stored
    #[arg(long, default_value = "f32")]
    precision: PrecisionArg,
    /// How long to measure the latency of each of several networks
    #[arg(long, default_value = "1", value_parser = seconds, allow_negative_numbers = true)]
    seconds: f64,
    /// Print one JSON object a weights file: photos, unreadable, top1 and top5 (or mean_average_precision for photos of
    /// several labels), loss, classes_by, calibration …
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    known: KnownArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Eval {
    pub fn run(self) -> Result<(), Failure> {
        match &self.weights[..] {
            [weights] => self.one(weights),
            several => self.compare(several),
        }
    }

    fn one(&self, weights: &Path) -> Result<(), Failure> {
        // What cannot be written fails before the time is spent.
        self.confusion.as_deref().map_or(Ok(()), file::check)?;
        self.mistakes.as_deref().map_or(Ok(()), check_writable)?;
        let mut network = self.load(weights)?;
        let dataset = self.photos(weights, &network)?;
        self.expect_harmless(weights, &dataset.0)?;
        let unknown = self.unknown.as_deref().map(mobilenet::data::Dataset::open_photos).transpose()?;
        let program = self.compile(&mut network)?;
        print::ignored(&dataset.0);
        let tested = self.test(weights, network, &program, dataset)?;
        tested.say_unreadable();
        let unknown = unknown.map(|photos| self.unknown(&tested, &program, photos)).transpose()?;
        self.confusion.as_deref().map_or(Ok(()), |path| pictures::confusion(&tested, weights, path))?;
        let mistakes = self.mistakes.as_deref().map(|path| pictures::mistakes(&tested, path)).transpose()?;
        let each = self.classes || tested.names().len() <= FEW_CLASSES;
        let report = Report::new(&tested, each, self.confusion.is_some(), mistakes.as_deref(), unknown.as_ref());
        if self.json { print::json(&report) } else { print::line(report.text()) }
    }
}
