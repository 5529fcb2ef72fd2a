//! How good a network is over a data set: top-1, top-5 and loss, or, where photos have any number of labels, mean average
//! precision and loss.

use std::sync::Arc;

use mobilenet_data::{Loader, Target};
use mobilenet_kernels::Pool;
use mobilenet_run::Program;
use mobilenet_run::classify::top_k;
use serde::Serialize;

use crate::error::Error;
use crate::kept::Kept;
use crate::loss::{CrossEntropy, Targets, binary_cross_entropy};

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

/// Runs `program`, compiled for its logits, over all readable photos of `loader`, which is made for evaluation.
///
/// # Errors
/// Where the network cannot take the photos' size, or none can be read.
pub fn evaluate(program: &Program, loader: &Loader, pool: &Arc<Pool>) -> Result<Evaluation, Error> {
    of(program, loader, loader.dataset().has_labels(), pool)
}

/// As [`evaluate`], by labels or by classes whatever the photos have.
pub(crate) fn of(program: &Program, loader: &Loader, by_labels: bool, pool: &Arc<Pool>) -> Result<Evaluation, Error> {
    let [h, w] = loader.options().preprocessing.size;
    let mut kept = Kept::none();
    let mut figures = if by_labels { Figures::Labels(Labels::default()) } else { Figures::Classes(Classes::default()) };
    let mut photos = 0;
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        let arena = kept.of([batch.len(), h, w], |[n, h, w]| program.arena(n, h, w, pool))?;
        arena.input_mut().copy_from_slice(&batch.images);
        program.run(arena);
        let logits = arena.output("logits").unwrap_or_default();
        match &mut figures {
            Figures::Classes(classes) => classes.add(logits, &batch.targets),
            Figures::Labels(labels) => labels.add(logits, &batch.targets),
        }
        photos += batch.len();
        loader.recycle(batch);
    }
    Ok(match figures {
        Figures::Classes(Classes { classes, top1, top5, loss }) => {
            let n = photos as f64;
            let [top1, top5] = [top1, top5].map(|count| count as f64 / n);
            let top5 = (classes > FIVE).then_some(top5);
            Evaluation { photos, top1: Some(top1), top5, mean_average_precision: None, loss: loss / n }
        }
        Figures::Labels(labels) => labels.evaluation(photos),
    })
}

enum Figures {
    Classes(Classes),
    Labels(Labels),
}

/// Sums over photos of one class each.
#[derive(Default)]
struct Classes {
    classes: usize,
    top1: usize,
    top5: usize,
    loss: f64,
}

impl Classes {
    fn add(&mut self, logits: &[f32], targets: &[Target]) {
        let classes = logits.len() / targets.len();
        let targets: Vec<usize> = targets.iter().map(|target| target.labels()[0] as usize).collect();
        let mut unused = vec![0.0; logits.len()];
        let loss = CrossEntropy::default().run(logits, classes, Targets::Classes(&targets), &mut unused);
        self.classes = classes;
        self.loss += loss * targets.len() as f64;
        for (row, &target) in logits.chunks_exact(classes).zip(&targets) {
            let place = top_k(row, FIVE).iter().position(|(class, _)| *class == target);
            self.top1 += usize::from(place == Some(0));
            self.top5 += usize::from(place.is_some());
        }
    }
}

/// Every logit with whether the photo has that label, a list a label.
#[derive(Default)]
struct Labels {
    of: Vec<Vec<(f32, bool)>>,
    loss: f64,
}

impl Labels {
    fn add(&mut self, logits: &[f32], targets: &[Target]) {
        let classes = logits.len() / targets.len();
        self.of.resize(classes, Vec::new());
        let mut rows = vec![0.0; logits.len()];
        for (row, target) in rows.chunks_exact_mut(classes).zip(targets) {
            target.labels().iter().for_each(|&label| row[label as usize] = 1.0);
        }
        let mut unused = vec![0.0; logits.len()];
        self.loss += binary_cross_entropy(logits, classes, &rows, None, &mut unused) * targets.len() as f64;
        for (i, (&logit, &target)) in logits.iter().zip(&rows).enumerate() {
            self.of[i % classes].push((logit, target > 0.0));
        }
    }

    fn evaluation(mut self, photos: usize) -> Evaluation {
        let precisions: Vec<f64> = self.of.iter_mut().filter_map(|scores| average_precision(scores)).collect();
        let mean = precisions.iter().sum::<f64>() / precisions.len().max(1) as f64;
        let loss = self.loss / photos as f64;
        Evaluation { photos, top1: None, top5: None, mean_average_precision: Some(mean), loss }
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
