//! When to say 'I do not know': the largest probability as the measure (Hendrycks and Gimpel, arXiv 1610.02136).

use mobilenet_net::About;
use serde::Serialize;

use super::Predictions;

/// Thresholds of a curve: 0, 0.01 … 1.
const THRESHOLDS: usize = 101;

/// How far a threshold stays below the least sure photo that is to be answered: single precision on another machine, with
/// other threads or by another batch, differs by less.
const MARGIN: f64 = 1e-5;

/// What a threshold does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Refusal {
    /// Photos whose likeliest class has a smaller probability, or that are less similar, are answered 'unknown'.
    pub threshold: f64,
    /// Share of the photos of known classes that are.
    pub known_refused: f64,
    /// Share of the photos of unknown classes that are, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_found: Option<f64>,
}

impl Predictions {
    /// What every threshold of 0, 0.01 … 1 does to these photos, and to `unknown` ones, whose classes the network does not
    /// know and whose targets are not looked at.
    pub fn refusals(&self, unknown: Option<&Predictions>) -> Vec<Refusal> {
        let thresholds = (0..THRESHOLDS).map(|i| i as f64 / (THRESHOLDS - 1) as f64);
        self.refusals_at(unknown, thresholds)
    }

    /// As [`refusals`](Self::refusals), at these thresholds.
    pub fn refusals_at(
        &self,
        unknown: Option<&Predictions>,
        thresholds: impl IntoIterator<Item = f64>,
    ) -> Vec<Refusal> {
        let unknown = unknown.map(Predictions::sorted_sureness);
        refusals(&self.sorted_sureness(), unknown.as_deref(), thresholds)
    }

    /// The same by the [similarity](Self::similarities) to a file's exemplars, at those that refuse at most these shares
    /// (0 … 1) of these photos; none where similarities are not known.
    pub fn refusals_by_similarity(&self, unknown: &Predictions, shares: &[f64]) -> Vec<Refusal> {
        let [known, unknown] = [self, unknown].map(|photos| sorted(photos.similarities.iter().copied().map(f64::from)));
        let least = |share: &f64| least_but(known.iter().copied(), *share);
        refusals(&known, Some(&unknown), shares.iter().filter_map(least))
    }

    /// The share of these photos that a file's own rule answers 'unknown': [`About::is_unknown`].
    pub fn refused_by(&self, about: &About) -> f64 {
        let similarities = self.similarities.iter().copied().map(Some).chain(std::iter::repeat(None));
        let photos = self.sureness().zip(similarities);
        photos.filter(|&(sureness, similarity)| about.is_unknown(sureness, || similarity)).count() as f64
            / self.len() as f64
    }

    /// The largest threshold that refuses at most this share (0 … 1) of these photos, a hair below the probability of the
    /// first photo that is to be answered. Where many photos have the same probability, it refuses fewer.
    pub fn threshold(&self, share_refused: f64) -> f64 {
        least_but(self.sureness(), share_refused).unwrap_or(1.0)
    }

    fn sorted_sureness(&self) -> Vec<f64> {
        sorted(self.sureness())
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// What thresholds do to sorted measures.
fn refusals(known: &[f64], unknown: Option<&[f64]>, thresholds: impl IntoIterator<Item = f64>) -> Vec<Refusal> {
    let share = |sorted: &[f64], threshold: f64| {
        sorted.partition_point(|&measure| measure < threshold) as f64 / sorted.len() as f64
    };
    let refusal = |threshold| Refusal {
        threshold,
        known_refused: share(known, threshold),
        unknown_found: unknown.map(|unknown| share(unknown, threshold)),
    };
    thresholds.into_iter().map(refusal).collect()
}

/// A hair less than the least of `values` but for at most a share (0 … 1) of them; none where that is all.
pub(crate) fn least_but(values: impl Iterator<Item = f64>, share: f64) -> Option<f64> {
    let sorted = sorted(values);
    let place = (share.clamp(0.0, 1.0) * sorted.len() as f64 + 1e-9) as usize;
    sorted.get(place).map(|least| least - MARGIN * least.abs())
}

/// How well sureness tells `known` photos from `unknown` ones whatever the threshold: the probability that of one of each
/// the known one is the surer, half a point where they are equal (the area under the ROC curve; arXiv 1610.02136, section
/// 2). 0.5 is chance.
pub fn auroc(known: &Predictions, unknown: &Predictions) -> f64 {
    let (known, unknown) = (known.sorted_sureness(), unknown.sorted_sureness());
    let below = |sureness: f64| unknown.partition_point(|&other| other < sureness);
    let not_above = |sureness: f64| unknown.partition_point(|&other| other <= sureness);
    let points: f64 = known.iter().map(|&sureness| (below(sureness) + not_above(sureness)) as f64 / 2.0).sum();
    points / (known.len() * unknown.len()) as f64
}
