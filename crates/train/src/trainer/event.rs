//! What training tells whoever watches, and what is answered.

use serde::Serialize;

use super::Plan;
use crate::calibrate::Calibrated;
use crate::evaluate::Evaluation;

/// What the trainer tells whoever watches.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The weights to begin with had their batch norms folded; photos have given them true statistics, and the network
    /// computes what it did. See [`folded`](crate::folded).
    Unfolded {
        /// Photos that the statistics are of.
        photos: usize,
    },
    /// The classifier is being learned first: one pass over photos gives the features that it learns from.
    Features {
        /// Photos that are done.
        done: usize,
        /// Photos that are wanted.
        of: usize,
    },
    /// The classifier has been learned on kept features, and everything below is as it was.
    Head {
        /// Photos whose features it has learned from.
        photos: usize,
        /// On the validation photos, where there are any.
        validation: Option<Evaluation>,
        /// Seconds that it took.
        seconds: f64,
    },
    /// Training begins.
    Start(Box<Plan>),
    /// A step was made.
    Step {
        /// Epochs so far, with a fraction.
        epoch: f64,
        /// Mean loss of the step's photos.
        loss: f64,
        /// Share of them whose largest logit is their label.
        top1: f64,
        /// The learning rate.
        lr: f64,
        /// Since this run began.
        images_per_second: f64,
        /// Until the last step.
        seconds_left: f64,
    },
    /// The finished network's scores agree with the validation photos, and it knows what it does not know.
    Calibrated(Calibrated),
    /// It could not be calibrated, and is as training left it.
    Uncalibrated {
        /// What stood against it.
        reason: String,
    },
    /// An epoch is complete.
    Epoch {
        /// Epochs so far, with a fraction where the last one was cut short.
        epoch: f64,
        /// Mean over the epoch's steps in this run; none where it had no step left.
        training_loss: Option<f64>,
        /// Share of those steps' photos, as training shows them, whose largest logit is their label.
        training_top1: Option<f64>,
        /// On the validation photos, where there are any.
        validation: Option<Evaluation>,
        /// Seconds of this run.
        seconds: f64,
    },
}

/// What the watcher wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// More steps.
    Continue,
    /// A checkpoint, and an end for now.
    Stop,
}

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After its last epoch.
    Done,
    /// When it was told to; the checkpoint goes on from there.
    Stopped,
}
