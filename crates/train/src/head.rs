//! The classifier alone, learned on kept features: seconds in place of minutes, and the beginning for fine-tuning, whose
//! first gradients would otherwise come from random numbers and spoil what the layers below know (arXiv 2202.10054).

use std::sync::Arc;

use mobilenet_data::{Batch, Random};
use mobilenet_kernels::Pool;
use mobilenet_kernels::layout::LANES;
use mobilenet_net::graph::{Graph, Op};
use mobilenet_net::{Params, Tensor};
use mobilenet_run::classify::top_k;

use crate::arena::TrainArena;
use crate::error::Error;
use crate::features::Features;
use crate::kept::Kept;
use crate::objective::Objective;
use crate::optim::{Optimizer, OptimizerKind, Settings};
use crate::program::{Forward, TrainOptions, TrainProgram};
use crate::scale::Scale;
use crate::trainer::Machine;

/// The layer's name in every network.
pub(crate) const CLASSIFIER: &str = "classifier";

/// Whether a tensor is the classifier's.
pub(crate) fn is_classifier(name: &str) -> bool {
    name.split('.').next() == Some(CLASSIFIER)
}

/// Rows of a step.
const BATCH: usize = 64;
/// Steps at least; with more rows than these reach, each is seen [`PASSES`] times.
const STEPS: usize = 1500;
const PASSES: usize = 5;
/// Highest rate, for rows of mean square length 1, where the loss's curvature is far below 1.
const RATE: f64 = 4.0;
/// Weight decays that are tried. The validation photos choose.
const DECAYS: [f64; 4] = [3e-5, 3e-4, 1e-3, 3e-3];
/// Without validation photos.
const DECAY: f64 = 1e-3;

/// A classifier's weights.
pub struct Head {
    /// Classes × features.
    pub weight: Vec<f32>,
    /// One a class.
    pub bias: Vec<f32>,
}

impl Head {
    /// The classifier in `params`; `None` where there is none.
    pub(crate) fn of(params: &Params) -> Option<Head> {
        let tensor =
            |suffix: &str| params.tensors.get(&format!("{CLASSIFIER}.{suffix}")).cloned().map(Tensor::into_f32);
        Some(Head { weight: tensor("weight")?, bias: tensor("bias")? })
    }

    /// Features that it reads.
    pub(crate) fn features(&self) -> usize {
        self.weight.len() / self.bias.len()
    }

    /// A row's logits.
    pub(crate) fn logits(&self, row: &[f32]) -> Vec<f32> {
        let product = |weights: &[f32]| row.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>();
        self.weight.chunks_exact(row.len()).zip(&self.bias).map(|(weights, bias)| product(weights) + bias).collect()
    }

    /// A row's class.
    pub(crate) fn answer(&self, row: &[f32]) -> usize {
        top_k(&self.logits(row), 1)[0].0
    }

    /// The classifier of the classes at these places.
    pub(crate) fn arranged(&self, places: &[usize]) -> Head {
        let features = self.features();
        let row = |&place: &usize| &self.weight[place * features..][..features];
        Head {
            weight: places.iter().flat_map(row).copied().collect(),
            bias: places.iter().map(|&place| self.bias[place]).collect(),
        }
    }

    /// This classifier with the classes of another behind its own.
    pub(crate) fn with(&self, more: Head) -> Head {
        let join = |a: &[f32], b: Vec<f32>| a.iter().copied().chain(b).collect();
        Head { weight: join(&self.weight, more.weight), bias: join(&self.bias, more.bias) }
    }

    /// Its two tensors by their names in the graph.
    pub fn tensors(self) -> [(String, Tensor); 2] {
        let (classes, features) = (self.bias.len(), self.features());
        [
            (format!("{CLASSIFIER}.weight"), Tensor::from_f32(&[classes, features], self.weight)),
            (format!("{CLASSIFIER}.bias"), Tensor::from_f32(&[classes], self.bias)),
        ]
    }
}

/// Learns the classifier that minimises `objective` on `features`, by SGD with Nesterov's momentum on a cosine, with the
/// weight decay whose loss on `validation` is least. Every random choice follows from `seed`.
///
/// # Errors
/// A loss that is no number.
pub(crate) fn learn(
    features: &Features,
    validation: Option<&Features>,
    objective: &mut Objective,
    seed: u64,
    machine: &Machine,
) -> Result<Head, Error> {
    let scale = Scale::of(features.rows.chunks_exact(features.len), features.len);
    let rows = scaled(features, &scale);
    let Some(validation) = validation.filter(|validation| validation.photos() > 0) else {
        return Ok(scale.undo(Run::new(&rows, objective.classes(), DECAY, machine)?.learn(objective, seed)?));
    };
    let held_out = scaled(validation, &scale);
    let mut best: Option<(f64, Head)> = None;
    for decay in DECAYS {
        let mut run = Run::new(&rows, objective.classes(), decay, machine)?;
        let head = run.learn(objective, seed)?;
        let loss = run.loss(&held_out, objective)?;
        if best.as_ref().is_none_or(|(least, _)| loss < *least) {
            best = Some((loss, head));
        }
    }
    let (_, head) = best.expect("there are decays");
    Ok(scale.undo(head))
}

/// Scaled rows, with zeros up to whole blocks, as the layer reads them.
fn scaled(features: &Features, scale: &Scale) -> Features {
    let len = features.len.next_multiple_of(LANES);
    let mut rows = vec![0.0; features.photos() * len];
    for (row, out) in features.rows.chunks_exact(features.len).zip(rows.chunks_exact_mut(len)) {
        out.iter_mut().zip(scale.apply(row)).for_each(|(out, x)| *out = x);
    }
    Features { rows, targets: features.targets.clone(), len }
}

/// One learning of the layer.
struct Run<'a> {
    features: &'a Features,
    program: TrainProgram,
    optimizer: Optimizer,
    arena: Kept<TrainArena>,
    pool: &'a Arc<Pool>,
    batch: Batch,
}

impl<'a> Run<'a> {
    fn new(features: &'a Features, classes: usize, decay: f64, machine: &'a Machine) -> Result<Run<'a>, Error> {
        let mut graph = Graph::default();
        let input = graph.input(features.len);
        let classifier = graph.push(CLASSIFIER, Op::FullyConnected { out: classes }, &[input]);
        graph.outputs.push(("logits".into(), classifier));
        let zeros = Head { weight: vec![0.0; classes * features.len], bias: vec![0.0; classes] };
        let params = Params { tensors: zeros.tensors().into(), ..Params::default() };
        let program = TrainProgram::compile(&graph, &params, TrainOptions { isa: machine.isa, ..Default::default() })?;
        let settings = Settings { nesterov: true, weight_decay: decay, ..Settings::new(OptimizerKind::Sgd) };
        let optimizer = Optimizer::new(OptimizerKind::Sgd, settings, program.parameters(), &graph);
        Ok(Run { features, program, optimizer, arena: Kept::none(), pool: &machine.pool, batch: Batch::default() })
    }

    fn learn(&mut self, objective: &mut Objective, seed: u64) -> Result<Head, Error> {
        let photos = self.features.photos();
        let batch = BATCH.min(photos);
        let steps = STEPS.max(PASSES * photos / batch);
        let mut order: Vec<usize> = (0..photos).collect();
        let mut random = Random::new(seed, 0, 0);
        for step in 0..steps {
            let at = step * batch % photos;
            if at < batch {
                random.shuffle(&mut order);
            }
            let rows = (0..batch).map(|i| order[(at + i) % photos]);
            self.forward(self.features, rows, objective)?;
            let fall = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
            let arena = self.arena.of([batch, 1, 1], |[n, h, w]| self.program.arena(n, h, w, self.pool))?;
            self.program.backward(arena);
            let (values, gradients) = self.program.values_mut();
            self.optimizer.step(values, gradients, (RATE * fall) as f32);
        }
        let [weight, bias] = self.program.values() else { unreachable!("a layer has two tensors") };
        Ok(Head { weight: weight.clone(), bias: bias.clone() })
    }

    /// The mean loss over all rows.
    fn loss(&mut self, features: &Features, objective: &mut Objective) -> Result<f64, Error> {
        let photos = features.photos();
        let mut sum = 0.0;
        for first in (0..photos).step_by(BATCH) {
            let rows = first..(first + BATCH).min(photos);
            sum += rows.len() as f64 * self.forward(features, rows, objective)?;
        }
        Ok(sum / photos as f64)
    }

    /// The loss of some rows; the arena holds its gradient.
    fn forward(
        &mut self,
        features: &Features,
        rows: impl ExactSizeIterator<Item = usize> + Clone,
        objective: &mut Objective,
    ) -> Result<f64, Error> {
        let arena = self.arena.of([rows.len(), 1, 1], |[n, h, w]| self.program.arena(n, h, w, self.pool))?;
        self.batch.targets.clear();
        for (row, out) in rows.zip(arena.input_mut().chunks_exact_mut(features.len)) {
            out.copy_from_slice(features.row(row));
            self.batch.targets.push(features.targets[row].clone());
        }
        self.program.forward(arena, Forward::EVALUATION);
        let (logits, gradient) = arena.result_and_gradient_mut();
        Ok(objective.run(&self.batch, logits, gradient, self.pool)?.loss)
    }
}

#[cfg(test)]
mod tests {
    use mobilenet_data::Target;

    use super::*;

    /// Rows around a centre for each class, far from zero and of another size than 1.
    fn features(photos: usize, seed: u64) -> Features {
        let mut random = Random::new(seed, 0, 0);
        let mut features = Features { len: 20, rows: Vec::new(), targets: Vec::new() };
        for photo in 0..photos {
            let class = photo % 3;
            let value = |i: usize| 40.0 + 5.0 * random.normal() + if i % 3 == class { 10.0 } else { 0.0 };
            features.rows.extend((0..20).map(value));
            features.targets.push(Target::Class(class as u32));
        }
        features
    }

    fn right(head: &Head, features: &Features) -> usize {
        let is_right =
            |photo: &usize| head.answer(features.row(*photo)) == features.targets[*photo].labels()[0] as usize;
        (0..features.photos()).filter(is_right).count()
    }

    #[test]
    fn classes_with_a_centre_each_are_told_apart() {
        let (train, held_out, new) = (features(90, 1), features(30, 2), features(300, 3));
        let machine = Machine::from(&Arc::new(Pool::new(2)));
        let mut objective = Objective::of_classes(3);
        let with = learn(&train, Some(&held_out), &mut objective, 7, &machine).unwrap();
        let without = learn(&train, None, &mut objective, 7, &machine).unwrap();
        assert!(right(&with, &new) >= 290, "{}", right(&with, &new));
        assert!(right(&without, &new) >= 285, "{}", right(&without, &new));
        let again = learn(&train, Some(&held_out), &mut objective, 7, &machine).unwrap();
        assert_eq!(with.weight, again.weight);
    }
}
