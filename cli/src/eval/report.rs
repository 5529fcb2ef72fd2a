//! What is said of one network.

use mobilenet::train::assess::{Bin, Calibration, Cell, ClassFigures, Refusal, auroc};
use mobilenet::train::{Evaluation, Predictions};
use serde::Serialize;

use super::pictures::Wrong;
use super::tested::{ClassesBy, Tested};
use crate::text::{Grid, Side};

/// Shares of known photos that a table of thresholds is made for.
const REFUSED: [f64; 7] = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3];

/// What is printed.
#[derive(Serialize)]
pub struct Report<'a> {
    #[serde(flatten)]
    figures: Evaluation,
    unreadable: usize,
    classes_by: ClassesBy,
    calibration: Calibrated,
    /// What the file's own rule for 'unknown' does.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<Class<'a>>>,
    /// What is not 0 of the matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    confusion: Option<Vec<Cell>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mistakes: Option<&'a [Wrong<'a>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<Unknown>,
}

#[derive(Serialize)]
struct Calibrated {
    /// The expected calibration error.
    error: f64,
    /// What dividing logits by makes the loss on these photos least.
    temperature: f64,
    /// The error then.
    error_at_temperature: f64,
    bins: Vec<Bin>,
}

#[derive(Serialize)]
struct Class<'a> {
    label: &'a str,
    #[serde(flatten)]
    figures: ClassFigures,
    #[serde(skip)]
    confused: Option<&'a str>,
}

/// When a network says that it does not know, and of which photos.
#[derive(Serialize)]
struct Rule {
    /// Where the likeliest class is less probable.
    threshold: Option<f32>,
    /// Where the photo is less similar to the file's exemplars.
    familiarity: Option<f32>,
    /// Of these photos.
    known_refused: f64,
    /// Of photos of unknown classes.
    unknown_found: Option<f64>,
}

/// Photos of classes that the network does not know.
#[derive(Serialize)]
struct Unknown {
    photos: usize,
    /// Area under the ROC curve.
    auroc: f64,
    /// At the thresholds that refuse some shares of the known photos.
    at: Vec<Refusal>,
    /// At every threshold.
    curve: Vec<Refusal>,
    /// By the similarity to the file's exemplars, where it has some: at those that refuse the same shares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_similarity: Vec<Refusal>,
}

impl<'a> Report<'a> {
    /// Of a network: `each` of its classes, its confusion `matrix`, its mistakes, and its answers on unknown photos, where
    /// they are wanted.
    pub fn new(
        tested: &'a Tested,
        each: bool,
        matrix: bool,
        mistakes: Option<&'a [Wrong<'a>]>,
        unknown: Option<&Predictions>,
    ) -> Report<'a> {
        let predictions = &tested.predictions;
        Report {
            figures: predictions.evaluation(),
            unreadable: tested.unreadable(),
            classes_by: tested.classes_by,
            calibration: Calibrated::new(predictions),
            rule: Rule::new(tested, unknown),
            classes: each.then(|| classes(predictions, tested.names())),
            confusion: predictions.confusion().ok().filter(|_| matrix).map(|confusion| confusion.cells().collect()),
            mistakes,
            unknown: unknown.map(|unknown| Unknown::new(predictions, unknown)),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let figures = &self.figures;
        let mut parts = vec![format!("{figures}  of {} photos\n{}", figures.photos, self.calibration.text())];
        parts[0].extend(self.rule.iter().map(Rule::text));
        parts.extend(self.classes.as_deref().map(table));
        parts.extend(self.unknown.as_ref().map(Unknown::text));
        parts.join("\n\n")
    }
}

impl Rule {
    fn new(tested: &Tested, unknown: Option<&Predictions>) -> Option<Rule> {
        let about = &tested.recognised.about;
        let (threshold, familiarity) = (about.threshold, about.familiarity);
        (threshold.is_some() || familiarity.is_some()).then(|| Rule {
            threshold,
            familiarity,
            known_refused: tested.predictions.refused_by(about),
            unknown_found: unknown.map(|unknown| unknown.refused_by(about)),
        })
    }

    fn text(&self) -> String {
        let limit = |what: &str, limit: Option<f32>| limit.map(|limit| format!("{what} below {limit:.3}"));
        let limits = [limit("a probability", self.threshold), limit("a similarity", self.familiarity)];
        let limits = limits.into_iter().flatten().collect::<Vec<_>>().join(" or ");
        let found = self.unknown_found.map(|found| format!(", {:.1} % of those of unknown classes", found * 100.0));
        let found = found.unwrap_or_default();
        format!("\nunknown by {limits}: {:.1} % of the photos{found}", self.known_refused * 100.0)
    }
}

impl Calibrated {
    fn new(predictions: &Predictions) -> Calibrated {
        let Calibration { error, bins } = predictions.calibration(1.0);
        let temperature = predictions.temperature();
        Calibrated { error, temperature, error_at_temperature: predictions.calibration(temperature).error, bins }
    }

    fn text(&self) -> String {
        let Calibrated { error, temperature, error_at_temperature, .. } = self;
        let own = format!("calibration error {error:.4}");
        if *temperature == 1.0 {
            return own;
        }
        format!("{own}; {error_at_temperature:.4} at a temperature of {temperature:.2}, the best for these photos")
    }
}

/// The classes that photos show, the worst first, and those that were answered all the same.
fn classes<'a>(predictions: &Predictions, names: &'a [String]) -> Vec<Class<'a>> {
    let mut figures = predictions.class_figures();
    figures.retain(|class| class.photos + class.answered > 0);
    let rank = |class: &ClassFigures| match class.photos {
        0 => f64::INFINITY,
        _ => class.average_precision.or(class.f1).unwrap_or(0.0),
    };
    figures.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    let class = |figures: ClassFigures| Class {
        label: &names[figures.class],
        figures,
        confused: figures.confused.map(|confused| &*names[confused.with]),
    };
    figures.into_iter().map(class).collect()
}

fn table(classes: &[Class]) -> String {
    let has_labels = classes.iter().any(|class| class.figures.average_precision.is_some());
    let mut grid = Grid::new([
        ("class", Side::Left),
        ("photos", Side::Right),
        ("precision %", Side::Right),
        ("recall %", Side::Right),
        ("F1 %", Side::Right),
        if has_labels { ("average precision %", Side::Right) } else { ("most often taken for", Side::Left) },
    ]);
    for Class { label, figures, confused } in classes {
        let last = match (has_labels, confused, figures.confused) {
            (true, ..) => percent(figures.average_precision),
            (false, Some(name), Some(confused)) => format!("{name} ({})", confused.photos),
            _ => String::new(),
        };
        let [precision, recall, f1] = [figures.precision, figures.recall, figures.f1].map(percent);
        grid.row([(*label).to_owned(), figures.photos.to_string(), precision, recall, f1, last]);
    }
    grid.to_string()
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1}", share * 100.0))
}

impl Unknown {
    fn new(known: &Predictions, unknown: &Predictions) -> Unknown {
        let thresholds = REFUSED.map(|share| known.threshold(share));
        Unknown {
            photos: unknown.len(),
            auroc: auroc(known, unknown),
            at: known.refusals_at(Some(unknown), thresholds),
            curve: known.refusals(Some(unknown)),
            by_similarity: known.refusals_by_similarity(unknown, &REFUSED),
        }
    }

    fn text(&self) -> String {
        let Unknown { photos, auroc, at, by_similarity, .. } = self;
        let mut text = format!("{photos} photos of unknown classes, area under the curve {auroc:.3}");
        for (measure, refusals) in [("probability", at), ("similarity", by_similarity)] {
            let columns = [measure, "known refused %", "unknown found %"];
            let mut grid = Grid::new(columns.map(|column| (column, Side::Right)));
            for refusal in refusals {
                let [refused, found] = [Some(refusal.known_refused), refusal.unknown_found].map(percent);
                grid.row([format!("{:.3}", refusal.threshold), refused, found]);
            }
            if !refusals.is_empty() {
                text += &format!("\n\n{grid}");
            }
        }
        text
    }
}
