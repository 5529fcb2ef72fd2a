//! `mobilenet explain`: which part of a photo speaks for a class?

use std::path::PathBuf;

use clap::Args;
use mobilenet::net::recognise::Outputs;
use mobilenet::net::{Loaded, Origin};
use mobilenet::run::classify::{top_classes, top_labels};
use mobilenet::run::heat::overlay;
use mobilenet::run::image::check_writable;
use mobilenet::run::preprocess;
use mobilenet::train::explain::{Explainer, Explanation};
use mobilenet::{Image, Labels};
use serde::Serialize;

use crate::args::{PhotoArgs, RunArgs, SpecArgs};
use crate::failure::Failure;
use crate::print;

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
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Where the picture goes: .png, .jpg or .webp
    #[arg(long, short, value_name = "PICTURE")]
    output: PathBuf,
    /// A class's name or number [default: the likeliest]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// A registered name or a TOML table, where the weights do not tell
    #[arg(long, value_name = "NAME|TOML")]
    model: Option<String>,
    /// Print one JSON object, with the map's values
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    preprocessing: PhotoArgs,
    #[command(flatten)]
    spec: SpecArgs,
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
        let network = self.spec.overrides(self.model.as_deref().map(mobilenet::arch::find).transpose()?);
        let Loaded { recognised, graph, params } = mobilenet::net::load(&self.weights, &network)?;
        recognised.guesses.iter().for_each(|guess| note!("guessed {guess}"));
        if recognised.spec.input_channels != 3 {
            let channels = recognised.spec.input_channels;
            return Err(Failure::bad(format!("the network takes {channels} input channels; photos have 3")));
        }
        let how = self.preprocessing.overrides().over(recognised.preprocessing);
        let how = how.checked().ok_or_else(|| Failure::bad("preprocessing with sizes or deviations that are none"))?;
        let background = usize::from(how.background_class);
        let classes = recognised.spec.classes - background;
        let labels = match (&self.preprocessing.labels, &recognised.labels) {
            (Some(file), _) => Labels::from_file(file, classes)?,
            (None, Some(names)) => Labels::new(names[background..].to_vec()),
            (None, None) if classes == 1000 && recognised.origin != Origin::Ours => Labels::imagenet(),
            (None, None) => Labels::numbered(classes),
        };
        let class = self.class.as_deref().map(|class| find(&labels, class)).transpose()?;

        let photo = Image::open(&self.photo)?;
        let [h, w] = how.size;
        let mut input = vec![0.0; 3 * h * w];
        preprocess(&photo, &how, &mut input);
        let mut explainer = Explainer::new(&graph, &params, how.size, &self.running.pool())?;
        let probabilities = match recognised.outputs {
            Outputs::Exclusive => top_classes,
            Outputs::Independent => top_labels,
        };
        let class = match class {
            Some(class) => class,
            None => probabilities(&explainer.logits(&input), 1, how.background_class)[0].0,
        };
        let Explanation { logits, map, .. } = explainer.explain(&input, class + background)?;
        let all = probabilities(&logits, classes, how.background_class);
        let probability = all.iter().find(|(found, _)| *found == class).map_or(0.0, |(_, probability)| *probability);
        overlay(&photo, &how, map.size, &map.values).save(&self.output)?;
        let label = labels.get(class).unwrap_or_default();
        if self.json {
            let path = self.photo.display().to_string();
            return print::json(&Report { path, class, label, probability, size: map.size, map: &map.values });
        }
        let output = self.output.display();
        print::line(format!("{output}: what speaks for {label} ({:.1} %)", probability * 100.0))
    }
}

/// A class by its name or its number.
fn find(labels: &Labels, class: &str) -> Result<usize, Failure> {
    if let Some(found) = labels.iter().position(|label| label == class) {
        return Ok(found);
    }
    let number = class.parse().ok().filter(|&number: &usize| number < labels.len());
    number
        .ok_or_else(|| Failure::bad(format!("there is no class {class:?}: give a name, or 0 to {}", labels.len() - 1)))
}
