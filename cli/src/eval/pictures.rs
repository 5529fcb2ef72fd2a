//! What is drawn of one network: its confusion matrix, its surest mistakes.

use std::path::Path;

use mobilenet::net::file;
use mobilenet::run::ContactSheet;
use serde::Serialize;

use super::tested::Tested;
use crate::failure::Failure;
use crate::inputs;

/// Mistakes on a sheet, photos in a row, and their height and width in pixels.
const MISTAKES: usize = 48;
const COLUMNS: usize = 6;
const CELL: [usize; 2] = [192, 192];

const RED: [u8; 3] = [200, 30, 30];

/// A mistake, with names.
#[derive(Serialize)]
pub struct Wrong<'a> {
    path: String,
    /// What the photo shows.
    labels: Vec<&'a str>,
    /// What was answered; or, where `missed`, the label of the photo that was not.
    answered: &'a str,
    missed: bool,
    probability: f64,
}

/// Draws the confusion matrix.
pub fn confusion(tested: &Tested, weights: &Path, path: &Path) -> Result<(), Failure> {
    let figures = tested.predictions.evaluation();
    let title = format!("{}: {figures}", inputs::name(weights));
    let picture = tested.predictions.confusion()?.svg(tested.names(), &title);
    Ok(file::write(path, picture.as_bytes())?)
}

/// Draws the surest mistakes, a photo each with what it shows and what was answered, and tells them. Where nothing is
/// wrong, that is said, and no picture is drawn.
pub fn mistakes<'a>(tested: &'a Tested, path: &Path) -> Result<Vec<Wrong<'a>>, Failure> {
    let (dataset, names, predictions) = (tested.loader.dataset(), tested.names(), &tested.predictions);
    let mut sheet = ContactSheet::new(COLUMNS, CELL);
    let mut told = Vec::new();
    for mistake in predictions.worst(MISTAKES) {
        let photo = predictions.photos()[mistake.place];
        let labels = predictions.targets()[mistake.place].labels();
        let wrong = Wrong {
            path: dataset.name(photo),
            labels: labels.iter().map(|&label| &*names[label as usize]).collect(),
            answered: &names[mistake.class],
            missed: mistake.is_missed,
            probability: mistake.probability,
        };
        // One that has vanished since is told of all the same.
        if let Ok(image) = dataset.read(photo) {
            sheet.add(&image, &wrong.caption(), Some(RED));
        }
        told.push(wrong);
    }
    if sheet.is_empty() {
        note!("{}: not drawn, for there is no mistake", path.display());
    } else {
        sheet.save(path)?;
    }
    Ok(told)
}

impl Wrong<'_> {
    /// What the photo shows, and what was answered.
    fn caption(&self) -> [String; 2] {
        let Wrong { labels, answered, missed, probability, .. } = self;
        let labels = if labels.is_empty() { "no label".into() } else { labels.join(", ") };
        let verb = if *missed { "not" } else { "→" };
        [labels, format!("{verb} {answered}  {:.1} %", probability * 100.0)]
    }
}
