//! How good a network is, in all the ways that a report shows.

use mobilenet_net::About;
use mobilenet_run::classify::top_k;

use crate::assess::{Calibration, ClassFigures, Confusion, Predictions, Refusal};
use crate::evaluate::Evaluation;

/// Figures over validation photos.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Top-1, top-5 and loss, or mean average precision and loss.
    pub evaluation: Evaluation,
    /// The classes' names.
    pub names: Vec<String>,
    /// A line a class.
    pub figures: Vec<ClassFigures>,
    /// What is taken for what; none where photos have any number of labels.
    pub confusion: Option<Confusion>,
    /// Whether probabilities are what they say.
    pub calibration: Calibration,
    /// What each threshold below which the answer is 'unknown' would do.
    pub refusals: Vec<Refusal>,
    /// How often what is then still answered is right; empty where photos have any number of labels.
    pub answered: Vec<Answered>,
    /// The threshold that the network's file has.
    pub threshold: Option<f64>,
    /// The similarity to its photos below which it answers 'unknown' as well.
    pub familiarity: Option<f64>,
}

/// What a threshold leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answered {
    /// The threshold.
    pub threshold: f64,
    /// Share of the photos at or above it whose answer is right.
    pub right: f64,
}

impl Assessment {
    /// Of predictions for photos of known classes, and of `unknown` classes, where there are such photos.
    ///
    /// # Panics
    /// Where `names` are not as many as the network's outputs.
    pub fn new(
        predictions: &Predictions,
        unknown: Option<&Predictions>,
        names: Vec<String>,
        about: &About,
    ) -> Assessment {
        assert_eq!(names.len(), predictions.classes(), "every class needs a name");
        let refusals = predictions.refusals(unknown);
        Assessment {
            evaluation: predictions.evaluation(),
            names,
            figures: predictions.class_figures(),
            confusion: predictions.confusion().ok(),
            calibration: predictions.calibration(1.0),
            answered: answered(predictions, &refusals),
            refusals,
            threshold: about.threshold.map(f64::from),
            familiarity: about.familiarity.map(f64::from),
        }
    }
}

fn answered(predictions: &Predictions, refusals: &[Refusal]) -> Vec<Answered> {
    if predictions.reading().by_labels {
        return Vec::new();
    }
    let is_right = predictions
        .logits()
        .zip(predictions.targets())
        .map(|(row, target)| top_k(row, 1)[0].0 == target.labels()[0] as usize);
    let mut photos: Vec<(f64, bool)> = predictions.sureness().zip(is_right).collect();
    photos.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |threshold: f64| {
        let left = &photos[photos.partition_point(|(sureness, _)| *sureness < threshold)..];
        let right = left.iter().filter(|(_, is_right)| *is_right).count();
        (!left.is_empty()).then(|| Answered { threshold, right: right as f64 / left.len() as f64 })
    };
    refusals.iter().filter_map(|refusal| at(refusal.threshold)).collect()
}
