//! How good a network is over a data set: top-1, top-5 and loss, or, where photos have any number of labels, mean average
//! precision and loss.

use std::sync::Arc;

use mobilenet_data::Loader;
use mobilenet_kernels::Pool;
use mobilenet_run::Program;
use mobilenet_run::classify::top_k;
use serde::Serialize;

use crate::assess::{Predictions, Reading, predict};
use crate::error::Error;
use crate::loss::{Softmax, binary_cross_entropy};

/// How many of the likeliest classes the second figure looks at.
const FIVE: usize = 5;

/// Figures over a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Photos that were counted.
    pub photos: usize,
    /// Share whose class came first; none, and absent from JSON, where photos have any number of labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
    /// Share whose class was among the first five; none where there are no more classes than that, or any number of
    /// labels a photo.
    pub top5: Option<f64>,
    /// Where photos have any number of labels: the mean over all labels that some photo has of the
    /// [average precision](average_precision).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
    /// Mean cross-entropy; with labels, the mean over photos and labels of binary cross-entropy.
    pub loss: f64,
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let figures =
            [("mean average precision", self.mean_average_precision), ("top-1", self.top1), ("top-5", self.top5)];
        for (name, figure) in figures {
            figure.map_or(Ok(()), |figure| write!(f, "{name} {:.2} %  ", figure * 100.0))?;
        }
        write!(f, "loss {:.4}", self.loss)
    }
}

/// Runs `program`, compiled for its logits, over all readable photos of `loader`, which is made for evaluation. It takes the
/// memory of [`Predictions`].
///
/// # Errors
/// Where the network cannot take the photos' size, or none can be read.
pub fn evaluate(program: &Program, loader: &Loader, pool: &Arc<Pool>) -> Result<Evaluation, Error> {
    let reading = Reading { by_labels: loader.dataset().has_labels(), ..Reading::default() };
    Ok(predict(program, loader, reading, pool)?.evaluation())
}

impl Predictions {
    /// The figures of all photos.
    pub fn evaluation(&self) -> Evaluation {
        if self.reading().by_labels { self.of_labels() } else { self.of_classes() }
    }

    fn of_classes(&self) -> Evaluation {
        let (mut top1, mut top5, mut loss) = (0, 0, 0.0);
        for (row, target) in self.logits().zip(self.targets()) {
            let class = target.labels()[0] as usize;
            loss -= Softmax::new(row, 1.0).log(row[class]);
            let place = top_k(row, FIVE).iter().position(|(answer, _)| *answer == class);
            top1 += usize::from(place == Some(0));
            top5 += usize::from(place.is_some());
        }
        let n = self.len() as f64;
        let share = |count: usize| count as f64 / n;
        Evaluation {
            photos: self.len(),
            top1: Some(share(top1)),
            top5: (self.classes() > FIVE).then(|| share(top5)),
            mean_average_precision: None,
            loss: loss / n,
        }
    }

    fn of_labels(&self) -> Evaluation {
        let classes = self.classes();
        let (mut loss, mut unused) = (0.0, vec![0.0; classes]);
        for (row, target) in self.logits().zip(self.targets()) {
            let mut truth = vec![0.0; classes];
            target.labels().iter().for_each(|&label| truth[label as usize] = 1.0);
            loss += binary_cross_entropy(row, classes, &truth, None, &mut unused);
        }
        let figures = self.class_figures();
        let precisions: Vec<f64> = figures.iter().filter_map(|label| label.average_precision).collect();
        let mean = precisions.iter().sum::<f64>() / precisions.len().max(1) as f64;
        Evaluation {
            photos: self.len(),
            top1: None,
            top5: None,
            mean_average_precision: Some(mean),
            loss: loss / self.len() as f64,
        }
    }
}

/// The average precision of scores with their truths, which are brought into order: Σ (Rₙ − Rₙ₋₁) · Pₙ over the
/// thresholds, from the highest score down, with precision P and recall R, as scikit-learn 1.9's
/// `average_precision_score` has it; equal scores share a threshold. `None` where nothing is true.
pub fn average_precision(scores: &mut [(f32, bool)]) -> Option<f64> {
    let all = scores.iter().filter(|(_, is_true)| *is_true).count();
    scores.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut seen, mut found, mut sum) = (0, 0, 0.0);
    for equal in scores.chunk_by(|a, b| a.0 == b.0) {
        let new = equal.iter().filter(|(_, is_true)| *is_true).count();
        (seen, found) = (seen + equal.len(), found + new);
        sum += new as f64 / all as f64 * found as f64 / seen as f64;
    }
    (all > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::average_precision;

    /// `average_precision_score(y, s)` gives these: 0.8333…, 0.5833…, 0.4166… and 1.
    #[test]
    fn average_precision_is_scikit_learns() {
        let precision = |scores: &[(f32, bool)]| average_precision(&mut scores.to_vec());
        let near = |found: Option<f64>, right: f64| assert!((found.unwrap() - right).abs() < 1e-12, "{found:?}");
        near(precision(&[(0.1, false), (0.4, false), (0.35, true), (0.8, true)]), 5.0 / 6.0);
        near(precision(&[(3.0, false), (2.0, true), (1.0, true)]), (0.5 + 2.0 / 3.0) / 2.0);
        near(precision(&[(1.0, true), (1.0, false), (1.0, false), (0.0, true)]), 0.5 / 3.0 + 0.25);
        near(precision(&[(-1.0, true)]), 1.0);
        assert_eq!(precision(&[(1.0, false)]), None);
    }
}
