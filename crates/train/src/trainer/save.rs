//! The network's file in a run's folder: weights, everything that a command needs to know, and pairs that prove it.

use mobilenet_data::Dataset;
use mobilenet_net::model_file::Beside;
use mobilenet_net::{About, Recognised, model_file};
use mobilenet_run::{Image, golden};
use serde::Serialize;

use super::resume::SOURCE;
use super::{MODEL, Network, Trainer};
use crate::error::Error;
use crate::evaluate::Evaluation;

/// What the file says of the training.
#[derive(Serialize)]
struct Record {
    /// Photos that it has learned from.
    photos: usize,
    /// Whole epochs.
    epochs: u64,
    /// Steps of the optimizer.
    steps: u64,
    /// Figures of just these weights, where they were taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<Evaluation>,
    /// Every setting, as TOML.
    recipe: String,
}

impl Trainer {
    /// Writes the network's file.
    pub(super) fn save_network(&self, validation: Option<Evaluation>) -> Result<(), Error> {
        let Network { table, spec } = &self.network;
        let record = Record {
            photos: self.loader.dataset().len(),
            epochs: self.position.epoch,
            steps: self.position.step,
            validation,
            recipe: self.recipe.to_toml(),
        };
        let training = serde_json::to_value(record).expect("a record is JSON");
        let what = Recognised {
            labels: Some(self.classes.clone()),
            outputs: self.reading().outputs,
            about: About { training: Some(training), source: self.extra.get(SOURCE).cloned(), ..About::default() },
            ..Recognised::ours(table.clone(), spec.clone(), self.recipe.preprocessing())
        };
        let params = self.params();
        let golden = golden::make(self.graph(), params.clone(), &what, &self.samples, self.machine.isa)?;
        Ok(model_file::save(
            &self.folder.join(MODEL),
            params,
            self.graph(),
            &what,
            Beside { golden, ..Beside::default() },
        )?)
    }
}

/// Photos that the file is proved with.
pub(crate) const SAMPLES: usize = 3;

/// Some photos of a set, small, from different places in it: it is in the order of its classes. Fewer where they cannot
/// be read.
pub(super) fn samples(dataset: &Dataset) -> Vec<Image> {
    let places = (0..SAMPLES.min(dataset.len())).map(|i| i * dataset.len() / SAMPLES.min(dataset.len()));
    places.filter_map(|place| dataset.read(place).ok()).map(|photo| golden::small(&photo)).collect()
}
