//! `mobilenet explain`: which part of a photo speaks for a class?

use std::path::PathBuf;

use clap::Args;
use mobilenet::net::{Loaded, built_in};
use mobilenet::run::heat::overlay;
use mobilenet::run::image::check_writable;
use mobilenet::run::preprocess;
use mobilenet::run::{ClassifierOptions, Precision};
use mobilenet::train::explain::Explainer;
use mobilenet::train::trainer::Machine;
use mobilenet::{Classifier, Prediction};
use serde::Serialize;

use crate::args::{KnownArgs, PhotoArgs, RunArgs, say_built_in, weights_file};
use crate::failure::Failure;
use crate::{inputs, print};

/// Show which part of a photo speaks for a class (Grad-CAM)
#[derive(Args)]
#[command(
    after_help = "Red places speak for the class; what is darkened lies outside of the network's view. The map is that of
the last feature map before the pool, 7×7 places for 224 pixels.

Examples:
  mobilenet explain photo.jpg --weights mobilenet_v2.pth -o why.png
  mobilenet explain photo.jpg --weights mobilenet_v2.pth --class 'tabby, tabby cat' -o cat.png"
)]
pub struct Explain {
    /// A photo
    photo: PathBuf,
    /// Weights in any format that is read
    #[arg(long, value_name = "FILE", default_value = built_in::NAME, value_parser = weights_file())]
    weights: PathBuf,
    /// Where the picture goes: .png, .jpg or .webp
    #[arg(long, short, value_name = "PICTURE")]
    output: PathBuf,
    /// A class's name or number [default: the likeliest]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Print one JSON object, with the map's values
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    preprocessing: PhotoArgs,
    #[command(flatten)]
    known: KnownArgs,
    #[command(flatten)]
    running: RunArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    path: String,
    class: usize,
    label: &'a str,
    probability: f32,
    /// Rows and columns of the map.
    size: [usize; 2],
    /// Row by row, the largest is 1.
    map: &'a [f32],
}

impl Explain {
    pub fn run(self) -> Result<(), Failure> {
        check_writable(&self.output)?;
        inputs::expect_other(&self.output, [&*self.photo, &*self.weights])?;
        let network = self.known.overrides()?;
        let classifier = Classifier::open_with(
            &self.weights,
            &ClassifierOptions {
                network: network.clone(),
                preprocessing: self.preprocessing.overrides(),
                labels: self.preprocessing.labels.clone(),
                precision: Precision::F32,
                threads: self.running.threads.map(|n| n as usize),
            },
        )?;
        classifier.recognised().guesses.iter().for_each(|guess| note!("guessed {guess}"));
        let labels = classifier.labels();
        say_built_in(&self.weights, labels.len());
        let class = match &self.class {
            Some(class) => Some(labels.find(class)?[0]),
            None => None,
        };
        let photo = inputs::read(&self.photo).map_err(Failure::bad)?;
        let answers = classifier.classify(&photo, labels.len());
        let answer = answers.iter().find(|answer| class.is_none_or(|class| answer.class == class));
        let Prediction { class, label, probability } = answer.expect("every class has its probability");

        let how = classifier.preprocessing();
        let [h, w] = how.size;
        let mut input = vec![0.0; 3 * h * w];
        preprocess(&photo, how, &mut input);
        let Loaded { graph, params, .. } = mobilenet::net::load(&self.weights, &network)?;
        let mut explainer = Explainer::new(
            &graph,
            &params,
            how.size,
            Machine { pool: self.running.pool(), isa: self.running.isa()?, group: None },
        )?;
        let map = explainer.explain(&input, class + usize::from(how.background_class))?.map;
        overlay(&photo, how, map.size, &map.values).save(&self.output)?;
        if self.json {
            let path = self.photo.display().to_string();
            return print::json(&Report {
                path,
                class: *class,
                label,
                probability: *probability,
                size: map.size,
                map: &map.values,
            });
        }
        let output = self.output.display();
        print::line(format!("{output}: what speaks for {label} ({:.1} %)", probability * 100.0))
    }
}
