//! `mobilenet classify`: what is in these photos?

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use mobilenet::run::ClassifierOptions;
use mobilenet::{Classifier, Prediction};
use serde::Serialize;

use crate::args::{PhotoArgs, PrecisionArg, SpecArgs};
use crate::failure::Failure;
use crate::{photos, print};

/// Say what is in photos
#[derive(Args)]
#[command(
    after_help = "Network, preprocessing and class names follow from the weights; what they cannot tell is guessed and said.

Examples:
  mobilenet classify photo.jpg --weights mobilenet_v2.pth
  mobilenet classify photos/ --weights mobilenet_v2.pth --top 1 --json
  cat photo.jpg | mobilenet classify - --weights mobilenet_v2.pth"
)]
pub struct Classify {
    /// Photos (JPEG, PNG, WebP, BMP, GIF), folders of photos, or - for standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Weights: .safetensors, or PyTorch's .pth, under torchvision's or timm's names
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// A registered name or a TOML table, where the weights do not tell
    #[arg(long, value_name = "NAME|TOML")]
    model: Option<String>,
    /// How many classes to name
    #[arg(long, default_value_t = 5, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    top: u64,
    /// Print one JSON object a photo and line: {"path", "top": [{"class", "label", "probability"}]}
    #[arg(long)]
    json: bool,
    /// How weights are stored
    #[arg(long, default_value = "f32")]
    precision: PrecisionArg,
    /// Threads [default: what quota, affinity and cores allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: Option<u64>,
    #[command(flatten)]
    photo: PhotoArgs,
    #[command(flatten)]
    spec: SpecArgs,
}

#[derive(Serialize)]
struct Answer<'a> {
    path: &'a str,
    top: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    label: String,
    probability: f32,
}

/// Photos whose rate is worth a line.
const MANY: usize = 10;

impl Classify {
    pub fn run(self) -> Result<(), Failure> {
        if self.paths.iter().filter(|path| *path == Path::new("-")).count() > 1 {
            return Err(Failure::bad("standard input holds one photo: give - once"));
        }
        let classifier = self.open()?;
        let (mut done, mut failed) = (0, 0);
        let mut report = |path: &Path, reason: String| {
            failed += 1;
            // Errors of ours begin with the path.
            let path = path.display().to_string();
            note!("error: {}", if reason.starts_with(&path) { reason } else { format!("{path}: {reason}") });
        };
        let mut all = Vec::new();
        for path in &self.paths {
            match photos::list(path) {
                Ok(photos) => all.extend(photos),
                Err(reason) => report(path, reason),
            }
        }
        let top = self.top as usize;
        let mut take = |photo: &Path, found: Result<Vec<Prediction>, String>| {
            match found {
                Ok(found) => {
                    self.answer(photo, found)?;
                    done += 1;
                }
                Err(reason) => report(photo, reason),
            }
            Ok::<(), Failure>(())
        };
        let start = Instant::now();
        if let [photo] = &all[..] {
            take(photo, photos::read(photo).map(|image| classifier.classify(&image, top)))?;
        } else {
            let mut failure = None;
            classifier.classify_each(
                all.len(),
                top,
                |photo| photos::read(&all[photo]),
                |photo, found| {
                    failure = take(&all[photo], found).err();
                    if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            )?;
            failure.map_or(Ok(()), Err)?;
            let seconds = start.elapsed().as_secs_f64();
            if done >= MANY {
                note!("{done} photos in {seconds:.1} s: {:.1} photos/s", done as f64 / seconds);
            }
        }
        match (done, failed) {
            (_, 0) => Ok(()),
            (0, 1) => Err(Failure::Reported),
            (0, _) => Err(Failure::bad(format!("none of {failed} inputs could be classified"))),
            (_, _) => Err(Failure::Some),
        }
    }

    fn open(&self) -> Result<Classifier, Failure> {
        let Some(weights) = &self.weights else {
            return Err(Failure::bad(
                "no weights: --weights FILE takes torchvision's and timm's MobileNets, .pth or .safetensors, for example \
                 https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
            ));
        };
        let table = self.model.as_deref().map(mobilenet::arch::find).transpose()?;
        let classifier = Classifier::open_with(
            weights,
            &ClassifierOptions {
                network: self.spec.overrides(table),
                preprocessing: self.photo.overrides(),
                labels: self.photo.labels.clone(),
                threads: self.threads.map(|n| n as usize),
                precision: self.precision.into(),
            },
        )?;
        classifier.recognised().guesses.iter().for_each(|guess| note!("guessed {guess}"));
        Ok(classifier)
    }

    fn answer(&self, path: &Path, top: Vec<Prediction>) -> Result<(), Failure> {
        let path = path.to_string_lossy();
        if self.json {
            let class = |p: Prediction| Class { class: p.class, label: p.label, probability: p.probability };
            return print::json(&Answer { path: &path, top: top.into_iter().map(class).collect() });
        }
        print::line(&path)?;
        for p in top {
            print::line(format!("  {:5.1} %  {}", p.probability * 100.0, p.label))?;
        }
        Ok(())
    }
}
