//! Losses on logits, `n` rows of `classes`, with their gradients. A batch has few logits, so everything is `f64` inside.

#[cfg(test)]
mod tests;

/// What a photo shows.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// The class of each photo.
    Classes(&'a [usize]),
    /// Two classes of each photo and the first one's share: mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899).
    Pairs(&'a [(usize, usize, f32)]),
    /// A distribution over the classes for each photo.
    Distributions(&'a [f32]),
}

/// Cross-entropy as `torch.nn.CrossEntropyLoss` defines it: the mean over photos, weighted by their classes' weights
/// where each has a single class, plain otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// Share of the target that is spread over all classes (arXiv 1512.00567).
    pub smoothing: f32,
    /// A weight for each class.
    pub weights: Option<Vec<f32>>,
}

impl CrossEntropy {
    /// The mean loss; `gradient` receives its derivatives by the logits. Where all weights of a batch's classes are
    /// zero, so is the loss.
    ///
    /// # Panics
    /// Where a length or a class does not fit.
    pub fn run(&self, logits: &[f32], classes: usize, targets: Targets, gradient: &mut [f32]) -> f64 {
        let rows = rows(logits, classes, gradient.len());
        if let Some(weights) = &self.weights {
            assert_eq!(weights.len(), classes, "every class needs a weight");
        }
        let weight = |class: usize| self.weights.as_ref().map_or(1.0, |w| f64::from(w[class]));
        let total = match targets {
            Targets::Classes(of) => of.iter().map(|&class| weight(class)).sum(),
            _ => rows as f64,
        };
        let per_total = if total > 0.0 { 1.0 / total } else { 0.0 };
        let (kept, spread) = (1.0 - f64::from(self.smoothing), f64::from(self.smoothing) / classes as f64);

        let mut loss = 0.0;
        for (row, (x, dx)) in logits.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes)).enumerate() {
            targets.write(row, rows, classes, dx);
            let softmax = Softmax::new(x, 1.0);
            let target = |class: usize, share: f32| weight(class) * (kept * f64::from(share) + spread);
            let mut sum = 0.0;
            for (class, &share) in dx.iter().enumerate() {
                let t = target(class, share);
                sum += t;
                // 0 · ln 0 is 0: a weight of zero silences a class whatever its logit.
                if t != 0.0 {
                    loss -= per_total * t * softmax.log(x[class]);
                }
            }
            for (class, dx) in dx.iter_mut().enumerate() {
                *dx = (per_total * (sum * softmax.log(x[class]).exp() - target(class, *dx))) as f32;
            }
        }
        loss
    }
}

impl Targets<'_> {
    /// Writes the distribution of photo `row` of `rows`.
    fn write(self, row: usize, rows: usize, classes: usize, out: &mut [f32]) {
        match self {
            Targets::Classes(of) => {
                assert_eq!(of.len(), rows, "every photo needs a class");
                out.fill(0.0);
                out[of[row]] = 1.0;
            }
            Targets::Pairs(of) => {
                assert_eq!(of.len(), rows, "every photo needs a pair of classes");
                let (a, b, share) = of[row];
                out.fill(0.0);
                out[a] += share;
                out[b] += 1.0 - share;
            }
            Targets::Distributions(of) => {
                assert_eq!(of.len(), rows * classes, "every photo needs a distribution");
                out.copy_from_slice(&of[row * classes..][..classes]);
            }
        }
    }
}

/// Learning from a teacher's logits (arXiv 1503.02531): (1 − `mix`) · loss + `mix` · T² · KL(teacher ‖ student), both
/// softened by T. T² keeps the gradient's size whatever the temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    /// T, what logits are divided by.
    pub temperature: f32,
    /// The teacher's share.
    pub mix: f32,
}

impl Distillation {
    /// Mixes the teacher's word into `loss` and `gradient`, which the student's own loss has given.
    ///
    /// # Panics
    /// Where a length does not fit.
    pub fn mix(&self, logits: &[f32], teacher: &[f32], classes: usize, loss: f64, gradient: &mut [f32]) -> f64 {
        let rows = rows(logits, classes, gradient.len());
        assert_eq!(teacher.len(), logits.len(), "the teacher has other outputs than the student");
        let (t, mix) = (f64::from(self.temperature), f64::from(self.mix));
        let mut divergence = 0.0;
        for ((x, y), dx) in
            logits.chunks_exact(classes).zip(teacher.chunks_exact(classes)).zip(gradient.chunks_exact_mut(classes))
        {
            let (student, teacher) = (Softmax::new(x, t), Softmax::new(y, t));
            for ((&x, &y), dx) in x.iter().zip(y).zip(dx) {
                let (log_q, log_p) = (student.log(x), teacher.log(y));
                let p = log_p.exp();
                if p > 0.0 {
                    divergence += p * (log_p - log_q);
                }
                let pull = mix * t * (log_q.exp() - p) / rows as f64;
                *dx = ((1.0 - mix) * f64::from(*dx) + pull) as f32;
            }
        }
        (1.0 - mix) * loss + mix * t * t * divergence / rows as f64
    }
}

/// Binary cross-entropy of every logit with its target in [0, 1], for photos of several labels: the mean over photos and
/// classes, as `torch.nn.BCEWithLogitsLoss` has it. `weights` multiply the classes' losses.
///
/// # Panics
/// Where a length does not fit.
pub fn binary_cross_entropy(
    logits: &[f32],
    classes: usize,
    targets: &[f32],
    weights: Option<&[f32]>,
    gradient: &mut [f32],
) -> f64 {
    rows(logits, classes, gradient.len());
    assert_eq!(targets.len(), logits.len(), "every logit needs a target");
    assert!(weights.is_none_or(|w| w.len() == classes), "every class needs a weight");
    let mut loss = 0.0;
    for (i, ((&x, &y), dx)) in logits.iter().zip(targets).zip(gradient).enumerate() {
        let (x, y) = (f64::from(x), f64::from(y));
        let share = weights.map_or(1.0, |w| f64::from(w[i % classes])) / logits.len() as f64;
        // −y ln σ(x) − (1 − y) ln(1 − σ(x)), without a power that overflows.
        loss += share * (x.max(0.0) - x * y + (-x.abs()).exp().ln_1p());
        *dx = (share * (1.0 / (1.0 + (-x).exp()) - y)) as f32;
    }
    loss
}

/// Weights that make every class count the same in a data set: photos / (classes with photos · photos of the class), and 0
/// for a class without any.
pub fn balanced_weights(counts: &[usize]) -> Vec<f32> {
    let photos: usize = counts.iter().sum();
    let present = counts.iter().filter(|&&n| n > 0).count();
    let weight = |&n: &usize| if n == 0 { 0.0 } else { (photos as f64 / (present * n) as f64) as f32 };
    counts.iter().map(weight).collect()
}

/// The softmax of one row at a temperature.
pub(crate) struct Softmax {
    temperature: f64,
    /// Logarithm of the sum of the powers.
    log_sum: f64,
}

impl Softmax {
    pub fn new(logits: &[f32], temperature: f64) -> Softmax {
        // NaN must come through, which `f64::max` would hide: then the sum is NaN.
        let largest = logits.iter().fold(f64::NEG_INFINITY, |a, &x| a.max(f64::from(x)));
        let sum: f64 = logits.iter().map(|&x| ((f64::from(x) - largest) / temperature).exp()).sum();
        Softmax { temperature, log_sum: largest / temperature + sum.ln() }
    }

    /// Logarithm of the probability of a logit of the row.
    pub fn log(&self, logit: f32) -> f64 {
        f64::from(logit) / self.temperature - self.log_sum
    }
}

/// How many photos there are.
fn rows(logits: &[f32], classes: usize, gradient: usize) -> usize {
    assert!(classes > 0 && !logits.is_empty() && logits.len().is_multiple_of(classes), "no rows of {classes} logits");
    assert_eq!(logits.len(), gradient, "every logit needs a place for its gradient");
    logits.len() / classes
}
