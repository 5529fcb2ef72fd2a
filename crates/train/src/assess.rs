//! What a network answers on a data set, photo by photo, and everything that can be said of it: figures, confusions,
//! calibration, mistakes, and below which probability it had better say that it does not know.
//!
//! [`predict`] runs the network once; all else is computed from the logits that it kept.

mod calibration;
mod classes;
mod confusion;
mod mistakes;
mod picture;
#[cfg(test)]
mod tests;
mod unknown;

use std::sync::Arc;

use mobilenet_data::{Dataset, Loader, Target};
use mobilenet_kernels::Pool;
use mobilenet_net::recognise::Outputs;
use mobilenet_run::Program;
use mobilenet_run::classify::{class_probabilities, label_probabilities, top_k};
use mobilenet_run::familiar::Familiar;

use crate::error::Error;
use crate::kept::Kept;

pub use calibration::{BINS, Bin, Calibration, MAX_TEMPERATURE, MIN_TEMPERATURE};
pub use classes::{ClassFigures, Confused};
pub use confusion::{Cell, Confusion};
pub use mistakes::Mistake;
pub(crate) use unknown::least_but;
pub use unknown::{Refusal, auroc};

/// From which probability a label counts as said, where a photo may have any number.
pub(crate) const SAID: f64 = 0.5;

/// How logits and targets are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Whether photos have any number of labels; otherwise one class each. Of labels every logit's sigmoid is a
    /// probability, whatever `outputs` says.
    pub by_labels: bool,
    /// How classes' logits become probabilities.
    pub outputs: Outputs,
    /// Whether output 0 is none of the classes, but their background: it may come first in a ranking, and is never what
    /// makes a network sure.
    pub background_class: bool,
}

impl Reading {
    /// For photos of this data set, by the network's outputs.
    pub fn of(dataset: &Dataset, outputs: Outputs) -> Reading {
        Reading { by_labels: dataset.has_labels(), outputs, background_class: false }
    }

    /// Whether every logit is read by itself.
    fn is_independent(self) -> bool {
        self.by_labels || self.outputs == Outputs::Independent
    }
}

/// A network's logits for the photos of a data set, at least one, with what they show.
///
/// It takes photos × outputs × 4 bytes, as much as the logits: 200 MB for ImageNet's 50,000 validation photos.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    reading: Reading,
    /// Outputs of the network.
    classes: usize,
    photos: Vec<usize>,
    targets: Vec<Target>,
    logits: Vec<f32>,
    /// To the nearest exemplar; none where nobody asked for them.
    similarities: Vec<f32>,
}

/// Runs `program`, compiled for its logits, once over all readable photos of `loader`, which is made for evaluation, to be
/// read as `reading` says; whether there is a background class, the loader's preprocessing says.
///
/// # Errors
/// Where the network cannot take the photos' size, or none can be read.
pub fn predict(program: &Program, loader: &Loader, reading: Reading, pool: &Arc<Pool>) -> Result<Predictions, Error> {
    predict_beside(program, loader, reading, None, pool)
}

/// As [`predict`], with each photo's [similarity](Predictions::similarities) where `familiar` tells it: then `program` is
/// compiled for [its features](mobilenet_net::Graph::features_tap) as well.
///
/// # Errors
/// As [`predict`].
pub fn predict_beside(
    program: &Program,
    loader: &Loader,
    reading: Reading,
    familiar: Option<&Familiar>,
    pool: &Arc<Pool>,
) -> Result<Predictions, Error> {
    let tap = program.graph().features_tap();
    let mut similarities = Vec::new();
    let preprocessing = loader.options().preprocessing;
    let [h, w] = preprocessing.size;
    let mut kept = Kept::none();
    let (mut photos, mut targets, mut logits) = (Vec::new(), Vec::new(), Vec::new());
    for batch in loader.epoch(0, 0) {
        let mut batch = batch?;
        let arena = kept.of([batch.len(), h, w], |[n, h, w]| program.arena(n, h, w, pool))?;
        arena.input_mut().copy_from_slice(&batch.images);
        program.run(arena);
        logits.extend_from_slice(arena.output("logits").unwrap_or_default());
        if let Some(familiar) = familiar {
            let features = arena.output(tap).unwrap_or_default();
            let rows = features.chunks_exact((features.len() / batch.len()).max(1));
            similarities.extend(rows.map(|row| familiar.similarity(row)));
        }
        photos.append(&mut batch.indices);
        targets.append(&mut batch.targets);
        loader.recycle(batch);
    }
    let reading = Reading { background_class: preprocessing.background_class, ..reading };
    Ok(Predictions { similarities, ..Predictions::new(reading, photos, targets, logits) })
}

impl Predictions {
    /// Predictions that were made elsewhere: `photos` are indices into a data set, each with its target, and `logits` a row
    /// a photo.
    ///
    /// # Panics
    /// Where there is no photo, lengths do not fit, a target is beyond the logits, or a photo that is not read by labels has
    /// another number of them than one.
    pub fn new(reading: Reading, photos: Vec<usize>, targets: Vec<Target>, logits: Vec<f32>) -> Predictions {
        assert!(!photos.is_empty() && photos.len() == targets.len(), "every photo needs its target");
        assert!(!logits.is_empty() && logits.len().is_multiple_of(photos.len()), "every photo needs its logits");
        let classes = logits.len() / photos.len();
        for labels in targets.iter().map(Target::labels) {
            assert!(labels.iter().all(|&label| (label as usize) < classes), "{labels:?} of {classes} classes");
            assert!(reading.by_labels || labels.len() == 1, "{labels:?} where one class is needed");
        }
        Predictions { reading, classes, photos, targets, logits, similarities: Vec::new() }
    }

    /// How similar each photo is to the nearest of the file's exemplars, from -1 to 1; empty where nobody asked.
    pub fn similarities(&self) -> &[f32] {
        &self.similarities
    }

    /// How logits and targets are read.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Outputs of the network.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many photos there are.
    pub fn len(&self) -> usize {
        self.photos.len()
    }

    /// Whether there are none, which never is.
    pub fn is_empty(&self) -> bool {
        self.photos.is_empty()
    }

    /// The photos' indices in the data set.
    pub fn photos(&self) -> &[usize] {
        &self.photos
    }

    /// What the photos show.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The logits, a row of [`classes`](Self::classes) a photo.
    pub fn logits(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.logits.chunks_exact(self.classes)
    }

    /// Every photo's logits with its labels; where one class is read, the label is one.
    fn rows(&self) -> impl Iterator<Item = (&[f32], &[u32])> {
        self.logits().zip(self.targets.iter().map(Target::labels))
    }

    /// Every photo's likeliest output, the first of equals, with its probability as a classifier would give it: 0 where
    /// logits are not numbers.
    fn answers(&self) -> impl Iterator<Item = (usize, f64)> {
        self.logits().map(|row| {
            let (class, _) = top_k(row, 1)[0];
            (class, number(self.probabilities(row, false)[class]))
        })
    }

    /// How sure the network is of each photo: the probability of the likeliest class, a background apart, which a
    /// classifier holds against its [threshold](mobilenet_net::About::threshold). 0 where logits are not numbers.
    pub fn sureness(&self) -> impl Iterator<Item = f64> {
        self.logits().map(|row| {
            let probabilities = self.probabilities(row, self.reading.background_class);
            probabilities.into_iter().map(number).fold(0.0, f64::max)
        })
    }

    /// The outputs' probabilities, without the first where that is a background to be left out.
    fn probabilities(&self, row: &[f32], background_class: bool) -> Vec<f32> {
        if self.reading.is_independent() {
            label_probabilities(row, background_class)
        } else {
            class_probabilities(row, background_class)
        }
    }
}

/// A probability, 0 in place of what is none.
fn number(probability: f32) -> f64 {
    if probability.is_nan() { 0.0 } else { f64::from(probability) }
}
