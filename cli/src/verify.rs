//! `mobilenet verify`: is this file what it says, and do two files compute the same?

use std::path::{Path, PathBuf};

use clap::Args;
use mobilenet::run::ClassifierOptions;
use mobilenet::run::compare::{Compared, Comparison, Pairing};
use mobilenet::run::golden::{self, TOLERANCE, Verdict};
use serde::Serialize;

use crate::args::{KnownArgs, PhotoArgs, fraction, weights_file};
use crate::failure::Failure;
use crate::inputs::{self, Inputs};
use crate::print;
use crate::text::{Grid, Side};

/// Check a weights file against its own pairs, or two files against each other, layer by layer
#[derive(Args)]
#[command(
    after_help = "One file: runs the checked pairs that it carries, from photo to logits, and names what is wrong: mean,
padding, epsilon, resize, shifted labels, or the weights themselves.
Two files and photos: what they say otherwise, and the first layer whose result departs.

Exit codes: 0 sound, 1 something is wrong, 2 bad input.

Examples:
  mobilenet verify model.safetensors
  mobilenet verify mobilenet_v2.pth model.safetensors photos/"
)]
pub struct Verify {
    /// A weights file; or two, and photos or folders of photos
    #[arg(required = true, num_args = 1.., value_name = "FILE|PHOTOS", value_parser = weights_file())]
    paths: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Of two files: results are the same up to this part of a layer's largest value
    #[arg(long, value_name = "PART", default_value = "0.001", value_parser = fraction::<f64>, allow_hyphen_values = true)]
    tolerance: f64,
    #[command(flatten)]
    photo: PhotoArgs,
    #[command(flatten)]
    known: KnownArgs,
}

impl Verify {
    pub fn run(self) -> Result<(), Failure> {
        match &self.paths[..] {
            [file] => self.one(file),
            [_, _] => Err(Failure::bad("two files are compared over photos: give some, or a folder of them")),
            [a, b, photos @ ..] => self.two([a, b], photos),
            [] => Err(Failure::bad("give a weights file")),
        }
    }

    /// What is known better than the files tell.
    fn known(&self) -> Result<ClassifierOptions, Failure> {
        Ok(ClassifierOptions {
            network: self.known.overrides()?,
            preprocessing: self.photo.overrides(),
            labels: self.photo.labels.clone(),
            ..ClassifierOptions::default()
        })
    }

    /// A file against its own pairs.
    fn one(&self, file: &Path) -> Result<(), Failure> {
        let Some(verdict) = golden::check(file, &self.known()?)? else {
            let loaded = mobilenet::net::load(file, &self.known.overrides()?)?;
            let file = print::quoted(file);
            if loaded.graph.find("logits").is_none() {
                return Err(Failure::bad(format!(
                    "{file}: it carries no checked pairs, as networks without a classifier have none; `mobilenet verify A B \
                     PHOTOS` compares two files"
                )));
            }
            return Err(Failure::bad(format!(
                "{file}: it carries no checked pairs; `mobilenet convert {file} NEW.safetensors` writes a file that does, \
                 and `mobilenet verify A B PHOTOS` compares two files"
            )));
        };
        let Verdict { pairs, error, faults } = &verdict;
        if self.json {
            print::json(&FileReport { file: file.display().to_string(), pairs: *pairs, error: *error, faults })?;
        } else {
            let found = if faults.is_empty() { "sound" } else { "wrong" };
            print::line(format!(
                "{}: {found}; {pairs} pairs, largest difference {error:.1e} of the largest logit (at most {TOLERANCE:.0e})",
                file.display()
            ))?;
            faults.iter().try_for_each(|fault| print::line(format!("  {fault}")))?;
        }
        if faults.is_empty() { Ok(()) } else { Err(Failure::Some) }
    }

    /// Two files over photos.
    fn two(&self, files: [&PathBuf; 2], paths: &[PathBuf]) -> Result<(), Failure> {
        let mut pairing = Pairing::open(files.map(PathBuf::as_path), &self.known()?)?;
        let mut failed = false;
        for photo in Inputs::find(paths).all()? {
            match inputs::read(&photo) {
                Ok(image) => pairing.compare(&image),
                Err(reason) => {
                    note!("error: {reason}");
                    failed = true;
                }
            }
        }
        let comparison = pairing.finish();
        if comparison.photos == 0 {
            return Err(Failure::bad("none of the photos could be read"));
        }
        let departs = comparison.departs(self.tolerance);
        if self.json {
            print::json(&PairReport::new(files, &comparison, departs))?;
        } else {
            print::line(self.page(&comparison, departs))?;
        }
        let is_same = departs.is_none() && comparison.settings.is_empty();
        if is_same && !failed { Ok(()) } else { Err(Failure::Some) }
    }

    fn page(&self, comparison: &Comparison, departs: Option<&Compared>) -> String {
        let Comparison { settings, layers, photos, same_class } = comparison;
        let mut page = String::new();
        for difference in settings {
            page += &format!("{difference}\n");
        }
        if let Some(same_class) = same_class {
            page += &format!("first class the same on {same_class} of {photos} photos\n");
        }
        match departs {
            None => {
                let worst = layers.iter().map(|layer| layer.error).fold(0.0, f64::max);
                page += &format!("all {} layers the same, to {worst:.1e} of a layer's largest value", layers.len());
            }
            Some(first) => {
                let by = match first.error.is_finite() {
                    true => format!("by {:.1e} of its largest value (at most {:.0e})", first.error, self.tolerance),
                    false => "the shapes differ".into(),
                };
                page += &format!("{} departs first: {by}\n\n", first.layer);
                let mut grid = Grid::new([("layer", Side::Left), ("difference", Side::Right)]);
                for layer in layers {
                    grid.row([layer.layer.clone(), apart(layer.error)]);
                }
                page += &grid.to_string();
            }
        }
        page
    }
}

fn apart(error: f64) -> String {
    if error.is_finite() { format!("{error:.1e}") } else { "other shapes".into() }
}

#[derive(Serialize)]
struct FileReport<'a> {
    file: String,
    pairs: usize,
    error: f64,
    faults: &'a [String],
}

#[derive(Serialize)]
struct PairReport<'a> {
    files: [String; 2],
    photos: usize,
    same_class: Option<usize>,
    settings: Vec<String>,
    departs: Option<&'a str>,
    layers: Vec<Layer<'a>>,
}

#[derive(Serialize)]
struct Layer<'a> {
    layer: &'a str,
    /// Null where the shapes differ.
    error: f64,
}

impl<'a> PairReport<'a> {
    fn new(files: [&PathBuf; 2], comparison: &'a Comparison, departs: Option<&'a Compared>) -> PairReport<'a> {
        let layer = |Compared { layer, error }: &'a Compared| Layer { layer, error: *error };
        PairReport {
            files: files.map(|file| file.display().to_string()),
            photos: comparison.photos,
            same_class: comparison.same_class,
            settings: comparison.settings.iter().map(ToString::to_string).collect(),
            departs: departs.map(|layer| layer.layer.as_str()),
            layers: comparison.layers.iter().map(layer).collect(),
        }
    }
}
