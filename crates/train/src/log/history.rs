//! What a run's log tells of its past: figures by epoch, whatever interrupted it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::JSON_LINES;
use crate::error::Error;
use crate::trainer::Origin;

/// A run so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// What the run began with.
    pub origin: Option<Origin>,
    /// Some of its steps.
    pub steps: Vec<Step>,
    /// Its epochs.
    pub epochs: Vec<Epoch>,
    /// Seconds up to the last epoch that each sitting completed, all together.
    pub seconds: f64,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Step {
    /// Epochs before it, with a fraction.
    pub epoch: f64,
    /// Mean loss of its photos.
    pub loss: f64,
}

/// An epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Epoch {
    /// Epochs up to its end.
    pub epoch: f64,
    /// Mean over its steps.
    pub training_loss: Option<f64>,
    /// Share of its photos, as training shows them, whose largest logit is their label.
    pub training_top1: Option<f64>,
    /// On the validation photos, where there are any.
    pub validation: Option<Figures>,
    /// Seconds from the beginning of the sitting.
    pub seconds: f64,
}

/// As [`Evaluation`](crate::Evaluation) has them; a loss that is no number is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Mean loss.
    pub loss: Option<f64>,
    /// Share whose class came first.
    pub top1: Option<f64>,
    /// Share whose class was among the first five.
    pub top5: Option<f64>,
    /// Where photos have any number of labels.
    pub mean_average_precision: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
enum Line {
    Start {
        weights: Origin,
    },
    Step(Step),
    Epoch(Epoch),
    #[serde(other)]
    Other,
}

impl History {
    /// Reads the log in a run's folder; an empty history where there is none, or where it is no file but a device, which may
    /// have no end. Lines that a full disk cut short are passed over.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(folder: &Path) -> Result<History, Error> {
        let path = folder.join(JSON_LINES);
        let io = mobilenet_net::Error::io;
        // What is no file, as a device, may have no end.
        if !path.is_file() {
            return Ok(History::default());
        }
        let file = File::open(&path).map_err(io(&path))?;
        let mut reader = Reader::default();
        for line in BufReader::new(file).split(b'\n') {
            if let Ok(line) = serde_json::from_slice(&line.map_err(io(&path))?) {
                reader.add(line);
            }
        }
        reader.end_sitting();
        Ok(reader.history)
    }
}

/// A history, line by line.
#[derive(Default)]
struct Reader {
    history: History,
    /// Seconds of the sitting so far.
    sitting: f64,
}

impl Reader {
    fn add(&mut self, line: Line) {
        match line {
            Line::Start { weights: Origin::Checkpoint { epoch, .. } } => {
                self.end_sitting();
                // What came after the checkpoint is done again.
                self.history.steps.retain(|step| step.epoch < epoch);
                self.history.epochs.retain(|done| done.epoch <= epoch);
            }
            Line::Start { weights } => {
                *self = Reader { history: History { origin: Some(weights), ..History::default() }, sitting: 0.0 };
            }
            Line::Step(step) => self.history.steps.push(step),
            Line::Epoch(epoch) => {
                self.sitting = epoch.seconds;
                self.history.epochs.push(epoch);
            }
            Line::Other => {}
        }
    }

    fn end_sitting(&mut self) {
        self.history.seconds += std::mem::take(&mut self.sitting);
    }
}
