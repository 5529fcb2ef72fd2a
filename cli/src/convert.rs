//! `mobilenet convert`: any weights file to a self-describing one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mobilenet::net::{DType, Origin, file};
use mobilenet::run::convert::{Conversion, convert};
use serde::Serialize;

use crate::args::{KnownArgs, PhotoArgs, PrecisionArg, fraction, weights_file};
use crate::failure::Failure;
use crate::{inputs, print};

/// Write weights as a self-describing file, under other names or in half the bytes
#[derive(Args)]
#[command(
    after_help = "The new file is safetensors and says all that commands need to know: network, preprocessing, class
names, and three checked pairs for `mobilenet verify`. What had to be guessed of the old file is certain in the new one,
so give what you know better.

Examples:
  mobilenet convert mobilenet_v2.pth mine.safetensors
  mobilenet convert mine.safetensors small.safetensors --precision f16
  mobilenet convert mine.safetensors for-torchvision.safetensors --names torchvision"
)]
pub struct Convert {
    /// Weights in any format that is read
    #[arg(value_hint = clap::ValueHint::FilePath, value_parser = weights_file())]
    input: PathBuf,
    /// The new file: .safetensors
    #[arg(value_hint = clap::ValueHint::FilePath)]
    output: PathBuf,
    /// Whose names the tensors get
    #[arg(long, default_value = "mobilenet")]
    names: NamesArg,
    /// How weights of layers are stored; biases and batch norms stay f32
    #[arg(long, default_value = "f32")]
    precision: PrecisionArg,
    /// Where the weights are from
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Under which terms they may be used
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// Answer that a photo is unknown where its likeliest class is less probable
    #[arg(long, value_name = "PROBABILITY", value_parser = fraction::<f32>)]
    threshold: Option<f32>,
    /// Leave out the features of photos, up to 2 MB, by which strange photos and classes that are added are told
    #[arg(long)]
    without_exemplars: bool,
    /// Take a file whose own checked pairs do not hold
    #[arg(long)]
    despite_pairs: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    photo: PhotoArgs,
    #[command(flatten)]
    known: KnownArgs,
}

/// A library whose names can be written.
#[derive(Clone, Copy, ValueEnum)]
enum NamesArg {
    /// Our own: the graph's names
    Mobilenet,
    /// torchvision's
    Torchvision,
    /// timm's
    Timm,
}

#[derive(Serialize)]
struct Report<'a> {
    input: String,
    output: String,
    names: &'a str,
    /// The file's size.
    bytes: u64,
    /// What the new file says otherwise.
    changes: &'a [String],
    /// The largest change of a logit, relative to the largest one; null without a classifier.
    error: Option<f64>,
}

impl Convert {
    pub fn run(self) -> Result<(), Failure> {
        let Convert { input, output, .. } = &self;
        if !output.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors")) {
            return Err(Failure::bad(format!("{}: only .safetensors is written; give such a name", output.display())));
        }
        inputs::expect_other(output, [&**input])?;
        file::check(output)?;
        let network = self.known.overrides()?;
        let conversion = Conversion {
            names: match self.names {
                NamesArg::Mobilenet => Origin::Ours,
                NamesArg::Torchvision => Origin::Torchvision,
                NamesArg::Timm => Origin::Timm,
            },
            dtype: match self.precision {
                PrecisionArg::F32 => DType::F32,
                PrecisionArg::F16 => DType::F16,
                PrecisionArg::Bf16 => DType::Bf16,
            },
            network,
            preprocessing: self.photo.overrides(),
            labels: self.photo.labels.clone(),
            source: self.source.clone(),
            licence: self.licence.clone(),
            threshold: self.threshold,
            without_exemplars: self.without_exemplars,
            despite_pairs: self.despite_pairs,
        };
        let converted = convert(input, output, &conversion)?;
        converted.guesses.iter().for_each(|guess| note!("guessed {guess}"));
        converted.warnings.iter().for_each(|warning| note!("warning: {warning}"));
        let bytes = std::fs::metadata(output)?.len();
        let report = Report {
            input: input.display().to_string(),
            output: output.display().to_string(),
            names: conversion.names.name(),
            bytes,
            changes: &converted.changes,
            error: converted.error,
        };
        if self.json {
            return print::json(&report);
        }
        let kept = match converted.error {
            _ if !converted.changes.is_empty() => format!("answers change; {}", converted.changes.join("; ")),
            None => "without checked pairs, which need a classifier of photos".to_owned(),
            Some(0.0) => "every logit as before".to_owned(),
            Some(error) => format!("logits change by at most {error:.1e} of the largest"),
        };
        print::line(format!("{}: {:.2} MB, {kept}", report.output, bytes as f64 / 1e6))
    }
}
