//! Where a network is wrong and does not know it.

use serde::Serialize;

use super::{Predictions, SAID};

/// A wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// The photo's place among the predictions; [`Predictions::photos`] has its index in the data set.
    pub place: usize,
    /// What was answered, or, where a label was missed, that label.
    pub class: usize,
    /// The probability that the network gives it.
    pub probability: f64,
    /// Whether the photo has this label and the network denies it. Never where photos have one class each.
    pub is_missed: bool,
}

impl Mistake {
    /// How sure the network is of what is wrong.
    fn sureness(&self) -> f64 {
        if self.is_missed { 1.0 - self.probability } else { self.probability }
    }
}

impl Predictions {
    /// The `n` mistakes that the network is surest of, surest first, the earlier photo first among equals: photos whose
    /// likeliest output is not their class, or labels that were said of photos that lack them and denied to photos that
    /// have them. Photos that are labelled wrongly are found here, too.
    pub fn worst(&self, n: usize) -> Vec<Mistake> {
        let mut mistakes = if self.reading.by_labels { self.wrong_labels() } else { self.wrong_classes() };
        mistakes.sort_by(|a, b| b.sureness().total_cmp(&a.sureness()));
        mistakes.truncate(n);
        mistakes
    }

    fn wrong_classes(&self) -> Vec<Mistake> {
        let wrong = self
            .rows()
            .zip(self.answers())
            .enumerate()
            .filter(|(_, ((_, labels), (class, _)))| labels[0] as usize != *class);
        wrong
            .map(|(place, (_, (class, probability)))| Mistake { place, class, probability, is_missed: false })
            .collect()
    }

    fn wrong_labels(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (place, (row, labels)) in self.rows().enumerate() {
            for (class, probability) in self.probabilities(row, false).into_iter().enumerate() {
                let (probability, has) = (super::number(probability), labels.contains(&(class as u32)));
                if has != (probability >= SAID) {
                    mistakes.push(Mistake { place, class, probability, is_missed: has });
                }
            }
        }
        mistakes
    }
}
