//! `mobilenet embed`: photos as vectors.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use mobilenet::run::{Embedder, Embeddings, Features};
use serde::Serialize;

use crate::args::{NetworkArgs, say_built_in};
use crate::failure::Failure;
use crate::inputs::{self, Inputs};
use crate::print;

/// Turn photos into feature vectors, for search, clustering, or a classifier of your own
#[derive(Args)]
#[command(
    after_help = "The file is .npy (names a line each in FILE.npy.txt), .safetensors (tensor `embeddings`, names in the
metadata; what `similar` reads) or .csv.

Examples:
  mobilenet embed photos/ --weights mobilenet_v2.pth -o photos.npy
  mobilenet embed a.jpg b.jpg --weights mobilenet_v3.pth --features hidden -o both.csv"
)]
pub struct Embed {
    /// Photos, and folders of photos
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Where the vectors go: .npy, .safetensors or .csv
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    features: FeatureArgs,
}

/// Which features of which network.
#[derive(Args)]
pub struct FeatureArgs {
    /// Which vector
    #[arg(long, default_value = "pooled")]
    features: FeaturesArg,
    #[command(flatten)]
    network: NetworkArgs,
}

/// Which of a network's two vectors.
#[derive(Clone, Copy, ValueEnum)]
enum FeaturesArg {
    /// The last feature map's mean: 1024 values of V1 and 1280 of V2, 960 of V3-Large, 576 of V3-Small at width 1
    Pooled,
    /// V3's hidden layer behind it: 1280 values of V3-Large, 1024 of V3-Small
    Hidden,
}

impl FeatureArgs {
    /// Opens the network.
    pub fn open(&self) -> Result<Embedder, Failure> {
        let features = match self.features {
            FeaturesArg::Pooled => Features::Pooled,
            FeaturesArg::Hidden => Features::Hidden,
        };
        let embedder = Embedder::open(self.network.weights(), features, &self.network.options()?)?;
        say_built_in(self.network.weights(), embedder.recognised().spec.classes);
        embedder.recognised().guesses.iter().for_each(|guess| note!("guessed {guess}"));
        Ok(embedder)
    }
}

/// The embeddings of all photos that can be read; how many cannot, each reported.
pub fn embed(embedder: &Embedder, photos: &[PathBuf]) -> Result<(Embeddings, usize), Failure> {
    let (mut all, mut failed) = (embedder.embeddings(), 0);
    let take = |photo: &PathBuf, vector: Result<Vec<f32>, String>| {
        match vector {
            Ok(vector) => all.push(photo.display().to_string(), &vector),
            Err(reason) => {
                note!("error: {reason}");
                failed += 1;
            }
        }
        ControlFlow::Continue(())
    };
    embedder.each(photos.iter(), |photo| inputs::read(photo), take)?;
    Ok((all, failed))
}

#[derive(Serialize)]
struct Report {
    output: String,
    photos: usize,
    failed: usize,
    features: usize,
    seconds: f64,
}

impl Embed {
    pub fn run(self) -> Result<(), Failure> {
        Embeddings::check_writable(&self.output)?;
        inputs::expect_other(&self.output, [self.features.network.weights()])?;
        let embedder = self.features.open()?;
        let Inputs { photos, failed: without, passed_over } = Inputs::find(&self.paths);
        for (path, reason) in &without {
            note!("error: {}", inputs::named(path, reason));
        }
        let start = Instant::now();
        let (all, failed) = embed(&embedder, &photos)?;
        let failed = failed + without.len();
        passed_over.say();
        let seconds = start.elapsed().as_secs_f64();
        if all.names.is_empty() {
            return Err(Failure::bad(format!("none of {failed} paths led to a photo that can be read")));
        }
        all.save(&self.output)?;
        let (output, count) = (self.output.display().to_string(), all.names.len());
        if self.json {
            print::json(&Report { output, photos: count, failed, features: all.len, seconds })?;
        } else {
            let rate = count as f64 / seconds;
            print::line(format!("{output}: {count} photos, {} values each ({rate:.1} photos/s)", all.len))?;
        }
        if failed == 0 { Ok(()) } else { Err(Failure::Some) }
    }
}
