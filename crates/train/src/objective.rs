//! What a recipe minimises: a batch's loss by its logits, with the gradient.

use std::sync::Arc;

use mobilenet_data::{Batch, Dataset, Target};
use mobilenet_kernels::Pool;

use crate::error::Error;
use crate::group::Group;
use crate::loss::{CrossEntropy, Targets, balanced_weights, binary_cross_entropy};
use crate::recipe::{ClassWeights, LossKind, Recipe};
use crate::teacher::Teacher;
use crate::trainer::Machine;

/// What a batch's logits are worth, all ranks' where a group learns the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Mean over the photos.
    pub loss: f64,
    /// Photos whose largest logit is one of their labels; of mixed photos, the larger part's.
    pub right: usize,
    /// Photos of the whole batch, of which the logits may be a part.
    pub photos: usize,
}

/// A recipe's loss for data of some classes.
pub(crate) struct Objective {
    classes: usize,
    kind: LossKind,
    cross_entropy: CrossEntropy,
    teacher: Option<Teacher>,
    /// Others that learn parts of the same batches.
    group: Option<Arc<dyn Group>>,
    buffers: Buffers,
}

/// A batch's targets in the loss's terms: memory that is used again.
#[derive(Default)]
struct Buffers {
    classes: Vec<usize>,
    pairs: Vec<(usize, usize, f32)>,
    rows: Vec<f32>,
}

impl Objective {
    /// The loss of `recipe` for photos like those of `dataset`.
    ///
    /// # Errors
    /// [`Error::Labels`] where the loss is of one class a photo and `dataset` is not; a teacher that cannot be opened or
    /// has other classes.
    pub fn new(recipe: &Recipe, dataset: &Dataset, machine: &Machine) -> Result<Objective, Error> {
        if recipe.loss == LossKind::CrossEntropy {
            expect_one_label(dataset)?;
        }
        let classes = dataset.classes().len();
        let weights = (recipe.class_weights == ClassWeights::Balanced).then(|| balanced_weights(&counts(dataset)));
        Ok(Objective {
            classes,
            kind: recipe.loss,
            cross_entropy: CrossEntropy { smoothing: recipe.label_smoothing as f32, weights },
            teacher: recipe
                .teacher
                .as_ref()
                .map(|t| Teacher::open(t, recipe, dataset.classes(), machine.isa))
                .transpose()?,
            group: machine.group.clone(),
            buffers: Buffers::default(),
        })
    }

    /// Logits of a photo.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// A batch's outcome; `gradient` receives the loss's derivatives by the logits. Allocates nothing once a batch as large
    /// was seen. In a group the batch is this rank's part, which may be empty, and the loss is that of the whole.
    pub fn run(
        &mut self,
        batch: &Batch,
        logits: &[f32],
        gradient: &mut [f32],
        pool: &Arc<Pool>,
    ) -> Result<Outcome, Error> {
        let photos = batch.len();
        let Some(group) = self.group.clone() else {
            let loss = self.loss(batch, logits, gradient, pool, 1.0)?;
            return Ok(Outcome { loss, right: right(batch, logits, self.classes), photos });
        };
        let own = [self.weight(batch), photos as f64];
        let mut all = own;
        group.sum(&mut all);
        let share = own[1] / all[1];
        let mut outcome = [0.0; 2];
        if photos > 0 {
            // Of all classes' weights against of all photos: where classes count the same, it is 1.
            let weighted = if all[0] > 0.0 { own[0] / all[0] / share } else { 1.0 };
            let loss = self.loss(batch, logits, gradient, pool, weighted)?;
            gradient.iter_mut().for_each(|g| *g *= share as f32);
            outcome = [loss * share, right(batch, logits, self.classes) as f64];
        }
        group.sum(&mut outcome);
        let [loss, right] = outcome;
        Ok(Outcome { loss, right: right as usize, photos: all[1] as usize })
    }

    /// The mean loss over the batch's photos, that of the labels times `weighted`.
    fn loss(
        &mut self,
        batch: &Batch,
        logits: &[f32],
        gradient: &mut [f32],
        pool: &Arc<Pool>,
        weighted: f64,
    ) -> Result<f64, Error> {
        let mut loss = match self.kind {
            LossKind::CrossEntropy => {
                self.cross_entropy.run(logits, self.classes, self.buffers.targets(batch), gradient)
            }
            LossKind::Binary => {
                let CrossEntropy { smoothing, weights } = &self.cross_entropy;
                let targets = self.buffers.rows(batch, self.classes, *smoothing);
                binary_cross_entropy(logits, self.classes, targets, weights.as_deref(), gradient)
            }
        };
        if weighted != 1.0 {
            loss *= weighted;
            gradient.iter_mut().for_each(|g| *g *= weighted as f32);
        }
        let Some(teacher) = &mut self.teacher else { return Ok(loss) };
        let distillation = teacher.distillation;
        let word = teacher.logits(batch, pool)?;
        Ok(distillation.mix(logits, word, self.classes, loss, gradient))
    }

    /// What the labels' loss is a mean over: photos, or their classes' weights. See [`CrossEntropy::run`].
    fn weight(&self, batch: &Batch) -> f64 {
        match &self.cross_entropy.weights {
            Some(weights) if self.kind == LossKind::CrossEntropy && batch.mixed.is_none() => {
                batch.targets.iter().map(|target| f64::from(weights[target.labels()[0] as usize])).sum()
            }
            _ => batch.len() as f64,
        }
    }
}

/// [`Outcome::right`].
fn right(batch: &Batch, logits: &[f32], classes: usize) -> usize {
    let is_right = |(photo, logits): &(usize, &[f32])| {
        let others = batch.mixed.as_ref().filter(|mixed| mixed.shares[*photo] < 0.5).map(|mixed| &mixed.others);
        let labels = others.unwrap_or(&batch.targets)[*photo].labels();
        // Of equals the first, as in evaluation.
        let largest = logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
        largest.is_some_and(|(class, _)| labels.contains(&(class as u32)))
    };
    logits.chunks_exact(classes).enumerate().filter(is_right).count()
}

impl Buffers {
    /// For photos of one class each.
    fn targets(&mut self, batch: &Batch) -> Targets<'_> {
        let class = |target: &Target| target.labels()[0] as usize;
        match &batch.mixed {
            None => {
                self.classes.clear();
                self.classes.extend(batch.targets.iter().map(class));
                Targets::Classes(&self.classes)
            }
            Some(mixed) => {
                self.pairs.clear();
                let others = mixed.others.iter().zip(&mixed.shares);
                let pairs = batch.targets.iter().zip(others).map(|(a, (b, &share))| (class(a), class(b), share));
                self.pairs.extend(pairs);
                Targets::Pairs(&self.pairs)
            }
        }
    }

    /// A target for each logit: ones for a photo's labels, mixed and smoothed as timm 1.0.31 does it
    /// (`data/mixup.py`, `loss/binary_cross_entropy.py`): y · (1 − s) + s / classes.
    fn rows(&mut self, batch: &Batch, classes: usize, smoothing: f32) -> &[f32] {
        self.rows.clear();
        self.rows.resize(batch.len() * classes, smoothing / classes as f32);
        for (photo, row) in self.rows.chunks_exact_mut(classes).enumerate() {
            let mut add = |target: &Target, share: f32| {
                target.labels().iter().for_each(|&label| row[label as usize] += share * (1.0 - smoothing));
            };
            let share = batch.mixed.as_ref().map_or(1.0, |mixed| mixed.shares[photo]);
            add(&batch.targets[photo], share);
            if let Some(mixed) = &batch.mixed {
                add(&mixed.others[photo], 1.0 - share);
            }
        }
        &self.rows
    }
}

/// Refuses photos with several labels or none.
///
/// # Errors
/// [`Error::Labels`], naming the first.
pub(crate) fn expect_one_label(dataset: &Dataset) -> Result<(), Error> {
    let other = dataset.items().iter().position(|item| item.target.labels().len() != 1);
    let refuse = |i: usize| Error::Labels { photo: dataset.name(i), labels: dataset.items()[i].target.labels().len() };
    other.map_or(Ok(()), |i| Err(refuse(i)))
}

/// Photos with each label.
fn counts(dataset: &Dataset) -> Vec<usize> {
    let mut counts = vec![0; dataset.classes().len()];
    let labels = dataset.items().iter().flat_map(|item| item.target.labels());
    labels.for_each(|&label| counts[label as usize] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use mobilenet_data::Mixed;

    impl Objective {
        /// For photos of one of so many classes each.
        pub(crate) fn of_classes(classes: usize) -> Objective {
            Objective {
                classes,
                kind: LossKind::CrossEntropy,
                cross_entropy: CrossEntropy::default(),
                teacher: None,
                buffers: Buffers::default(),
                group: None,
            }
        }
    }

    /// As in the loss's tests.
    const X: [f32; 12] = [1., -2., 0.5, 3., 0., 0.25, -0.75, 1.5, -1., 4., 2., 0.];

    /// Loss and first gradients of binary cross-entropy with smoothing 0.1.
    fn binary(targets: Vec<Target>, mixed: Option<Mixed>, weights: Option<Vec<f32>>) -> (f64, [f32; 6]) {
        let cross_entropy = CrossEntropy { smoothing: 0.1, weights };
        let (kind, buffers) = (LossKind::Binary, Buffers::default());
        let mut objective = Objective { classes: 4, kind, cross_entropy, teacher: None, group: None, buffers };
        let batch = Batch { targets, mixed, ..Batch::default() };
        let mut gradient = [f32::NAN; 12];
        let outcome = objective.run(&batch, &X, &mut gradient, &Arc::new(Pool::new(1))).unwrap();
        (outcome.loss, *gradient.first_chunk().unwrap())
    }

    #[track_caller]
    fn check((loss, gradient): (f64, [f32; 6]), right_loss: f64, right: [f64; 6]) {
        assert!((loss - right_loss).abs() < 3e-7, "{loss} is not {right_loss}");
        let apart = gradient.iter().zip(right).map(|(&g, right)| (f64::from(g) - right).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-7, "{gradient:?}");
    }

    fn classes(of: [u32; 3]) -> Vec<Target> {
        of.map(Target::Class).into()
    }

    /// `BinaryCrossEntropy(smoothing=0.1)(x, t)`, then with `weight=w`.
    #[test]
    fn one_hot_targets_are_timms() {
        let right = [-0.016161785, 0.0078502437, 0.049788281, 0.077297844, 0.039583333, 0.044764712];
        check(binary(classes([0, 3, 1]), None, None), 0.846601009, right);
        let right = [-0.016161785, 0.015700487, 0.024894141, 0.019324461, 0.039583333, 0.089529425];
        check(binary(classes([0, 3, 1]), None, Some(vec![1.0, 2.0, 0.5, 0.25])), 0.563869178, right);
    }

    /// `BinaryCrossEntropy()(x, mixup_target(t, 4, lam=.7, smoothing=.1))`, which mixes with the photos in reverse.
    #[test]
    fn mixed_targets_are_timms() {
        let mixed = Mixed { others: classes([1, 3, 0]), shares: vec![0.7; 3] };
        let right = [0.0063382187, -0.014649759, 0.049788281, 0.077297844, 0.039583333, 0.044764712];
        check(binary(classes([0, 3, 1]), Some(mixed), None), 1.02660108, right);
    }

    #[test]
    fn the_largest_logit_is_right_where_it_is_a_label_of_the_larger_part() {
        let mut batch = Batch { targets: classes([3, 3, 1]), ..Batch::default() };
        assert_eq!(right(&batch, &X, 4), 3);
        batch.targets[1] = Target::Labels([0, 2].into());
        assert_eq!(right(&batch, &X, 4), 2);
        batch.mixed = Some(Mixed { others: classes([0, 3, 0]), shares: vec![0.9, 0.4, 0.4] });
        assert_eq!(right(&batch, &X, 4), 2);
    }

    #[test]
    fn every_label_is_smoothed_like_a_class() {
        let labels = |of: &[u32]| Target::Labels(of.into());
        let batch = Batch { targets: vec![labels(&[0, 2]), labels(&[]), labels(&[1])], ..Batch::default() };
        let mut memory = Buffers::default();
        assert_eq!(memory.rows(&batch, 4, 0.0), [1., 0., 1., 0., 0., 0., 0., 0., 0., 1., 0., 0.]);
        let (low, high) = (0.2 / 4.0, 1.0 - 0.2 + 0.2 / 4.0);
        let first = &memory.rows(&batch, 4, 0.2)[..4];
        assert!(first.iter().zip([high, low, high, low]).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{first:?}");
    }
}
