//! Whether a network is as often right as it says: calibration error and temperature (Guo et al., arXiv 1706.04599).

use serde::Serialize;

use super::Predictions;
use crate::loss::Softmax;

/// Bins of equal width between 0 and 1 (arXiv 1706.04599, section 5).
pub const BINS: usize = 15;

/// The least temperature that [`Predictions::temperature`] gives.
pub const MIN_TEMPERATURE: f64 = 0.1;

/// The largest temperature that [`Predictions::temperature`] gives.
pub const MAX_TEMPERATURE: f64 = 10.0;

/// The search for a temperature ends at this relative step.
const TOLERANCE: f64 = 1e-9;

/// Newton's steps, and halvings where they leave the bracket, after which the search ends all the same.
const MAX_STEPS: usize = 100;

/// How probabilities agree with what is true.
///
/// Of photos of one class each the probability is that of the likeliest class, and true is that it is right. Of labels it
/// is the probability of every label of every photo, and true is that the photo has it: most are small, and right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// The expected calibration error, between 0 and 1: Σ |accuracy − confidence| · share over the bins (arXiv 1706.04599,
    /// equation 5).
    pub error: f64,
    /// The bins of a reliability diagram, [`BINS`] of equal width: (0, 1/15], (1/15, 2/15] …
    pub bins: Vec<Bin>,
}

/// A bin of probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Answers whose probability is in it.
    pub answers: usize,
    /// Their mean probability; none where the bin is empty.
    pub confidence: Option<f64>,
    /// The share of them that are true; none where the bin is empty.
    pub accuracy: Option<f64>,
}

impl Predictions {
    /// How well the probabilities are calibrated once all logits are divided by `temperature`; 1 leaves them as they are.
    ///
    /// # Panics
    /// Where `temperature` is not above 0.
    pub fn calibration(&self, temperature: f64) -> Calibration {
        assert!(temperature > 0.0, "a temperature of {temperature}");
        let mut sums = [(0usize, 0.0, 0usize); BINS];
        let mut add = |probability: f64, is_true: bool| {
            let probability = if probability.is_nan() { 0.0 } else { probability };
            let bin = ((probability * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            let (answers, confidence, right) = &mut sums[bin];
            (*answers, *confidence, *right) = (*answers + 1, *confidence + probability, *right + usize::from(is_true));
        };
        if self.reading.by_labels {
            for (row, labels) in self.rows() {
                for (label, &logit) in row.iter().enumerate() {
                    add(sigmoid(f64::from(logit) / temperature), labels.contains(&(label as u32)));
                }
            }
        } else {
            for ((row, labels), (class, _)) in self.rows().zip(self.answers()) {
                let probability = if self.reading.is_independent() {
                    sigmoid(f64::from(row[class]) / temperature)
                } else {
                    Softmax::new(row, temperature).log(row[class]).exp()
                };
                add(probability, labels[0] as usize == class);
            }
        }
        let all = sums.iter().map(|sum| sum.0).sum::<usize>() as f64;
        let gap = |&(_, confidence, right): &(usize, f64, usize)| (right as f64 - confidence).abs();
        let bin = |&(answers, confidence, right): &(usize, f64, usize)| {
            let mean = |sum: f64| (answers > 0).then(|| sum / answers as f64);
            Bin { answers, confidence: mean(confidence), accuracy: mean(right as f64) }
        };
        Calibration { error: sums.iter().map(gap).sum::<f64>() / all, bins: sums.iter().map(bin).collect() }
    }

    /// The temperature to divide all logits by so that the loss on these photos is least: cross-entropy, or binary
    /// cross-entropy where every logit is read by itself (arXiv 1706.04599, section 4.2). It changes no ranking. A linear
    /// classifier takes it into its weights and biases.
    ///
    /// The loss is convex in 1/T, so that Newton's method in a bracket finds the least. It is kept between
    /// [`MIN_TEMPERATURE`] and [`MAX_TEMPERATURE`]. Where no answer is wrong, the loss falls without end as T does, and the
    /// photos do not tell a temperature: it is 1. Photos whose logits are not numbers are left out.
    pub fn temperature(&self) -> f64 {
        if self.is_separated() {
            return 1.0;
        }
        let (mut low, mut high) = (1.0 / MAX_TEMPERATURE, 1.0 / MIN_TEMPERATURE);
        if self.slope(low)[0] >= 0.0 {
            return MAX_TEMPERATURE;
        }
        if self.slope(high)[0] <= 0.0 {
            return MIN_TEMPERATURE;
        }
        let mut factor = 1.0;
        for _ in 0..MAX_STEPS {
            let [slope, curvature] = self.slope(factor);
            if slope < 0.0 {
                low = factor
            } else {
                high = factor
            }
            let newton = factor - slope / curvature;
            let next = if low < newton && newton < high { newton } else { (low + high) / 2.0 };
            let step = (next - factor).abs();
            factor = next;
            if step <= TOLERANCE * factor {
                break;
            }
        }
        1.0 / factor
    }

    /// Whether nothing is wrong, by the first of equals: then no temperature is the best.
    fn is_separated(&self) -> bool {
        let is_finite = |(row, _): &(&[f32], _)| row.iter().all(|logit| logit.is_finite());
        self.rows().filter(is_finite).all(|(row, labels)| {
            let has = |class: usize| labels.contains(&(class as u32));
            if self.reading.is_independent() {
                row.iter().enumerate().all(|(class, &logit)| if has(class) { logit > 0.0 } else { logit < 0.0 })
            } else {
                let own = row[labels[0] as usize];
                row.iter().enumerate().all(|(class, &logit)| has(class) || logit < own)
            }
        })
    }

    /// First and second derivative, by `factor`, of the sum of losses of logits that are multiplied by it.
    fn slope(&self, factor: f64) -> [f64; 2] {
        let mut sums = [0.0; 2];
        for (row, labels) in self.rows().filter(|(row, _)| row.iter().all(|logit| logit.is_finite())) {
            let [slope, curvature] = if self.reading.is_independent() {
                independent_slope(row, labels, factor)
            } else {
                exclusive_slope(row, labels[0] as usize, factor)
            };
            sums = [sums[0] + slope, sums[1] + curvature];
        }
        sums
    }
}

/// Of −ln softmax(f·z)ᵧ: the mean of z under the softmax less zᵧ, and its variance.
fn exclusive_slope(row: &[f32], class: usize, factor: f64) -> [f64; 2] {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // By differences to the largest, so that no digits are lost.
    let [mut sum, mut first, mut second] = [0.0; 3];
    for &logit in row {
        let z = f64::from(logit) - f64::from(largest);
        let power = (factor * z).exp();
        (sum, first, second) = (sum + power, first + power * z, second + power * z * z);
    }
    let mean = first / sum;
    [mean - (f64::from(row[class]) - f64::from(largest)), second / sum - mean * mean]
}

/// Of Σ −ln σ(±f·z): Σ (σ(f·z) − y)·z, and Σ σ(f·z)·(1 − σ(f·z))·z².
fn independent_slope(row: &[f32], labels: &[u32], factor: f64) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for (class, &logit) in row.iter().enumerate() {
        let z = f64::from(logit);
        let p = sigmoid(factor * z);
        let y = if labels.contains(&(class as u32)) { 1.0 } else { 0.0 };
        sums = [sums[0] + (p - y) * z, sums[1] + p * (1.0 - p) * z * z];
    }
    sums
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}
