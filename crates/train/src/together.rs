//! A training program whose batches are learned by a [`Group`]: gradients are summed over its ranks while the way back is
//! still under way, and a rank without photos takes part in every sum.

use std::sync::Arc;

use crate::arena::TrainArena;
use crate::group::Group;
use crate::norm::{NormValues, Sums};
use crate::program::{Forward, Statistics, TrainProgram};
use crate::steps::{Step, Steps};

/// Gradients that are summed in one go: large enough for the network's bandwidth to matter more than its latency, small
/// enough for most to be under way before the last is computed.
const BUCKET: usize = 1 << 20 >> 2;

/// The ranks, and how gradients travel between them.
pub(crate) struct Together {
    pub group: Arc<dyn Group>,
    plan: Vec<Bucket>,
    memory: Vec<Vec<f32>>,
}

/// Gradients that become final one after another.
struct Bucket {
    /// Parameters, by their place.
    members: Vec<usize>,
    /// The step back after which all are final.
    ready: usize,
}

impl Together {
    fn new(group: Arc<dyn Group>, steps: &Steps, gradients: &[Vec<f32>]) -> Together {
        let plan = plan(steps, gradients);
        let len = |bucket: &Bucket| bucket.members.iter().map(|&p| gradients[p].len()).sum();
        let memory = plan.iter().map(|bucket| vec![0.0; len(bucket)]).collect();
        Together { group, plan, memory }
    }
}

/// All parameters whose gradients a step writes, in the order in which they become final.
fn plan(steps: &Steps, gradients: &[Vec<f32>]) -> Vec<Bucket> {
    let mut last: Vec<Option<usize>> = vec![None; gradients.len()];
    for (i, step) in steps.backward.iter().enumerate() {
        written(steps, *step).into_iter().flatten().for_each(|parameter| last[parameter] = Some(i));
    }
    let mut order: Vec<(usize, usize)> = last.iter().enumerate().filter_map(|(p, last)| Some(((*last)?, p))).collect();
    order.sort_unstable();
    let mut plan: Vec<Bucket> = Vec::new();
    let mut room = 0;
    for (ready, parameter) in order {
        let len = gradients[parameter].len();
        match plan.last_mut().filter(|_| len <= room) {
            Some(bucket) => {
                bucket.members.push(parameter);
                (bucket.ready, room) = (ready, room - len);
            }
            None => {
                plan.push(Bucket { members: vec![parameter], ready });
                room = BUCKET.saturating_sub(len);
            }
        }
    }
    plan
}

/// The parameters whose gradients a step writes.
fn written(steps: &Steps, step: Step) -> [Option<usize>; 3] {
    match step {
        Step::NormGradient { view, bias, .. } => {
            let gamma = view.norm.map(|norm| steps.norms[norm].gamma);
            [gamma, gamma.map(|first| first + 1), bias.and_then(|layer| steps.layers[layer].bias)]
        }
        Step::LayerGradient { layer, .. } | Step::WeightGradient { layer, .. } => {
            [Some(steps.layers[layer].weight), None, None]
        }
        _ => [None; 3],
    }
}

impl TrainProgram {
    /// Learns every batch with the other ranks of `group` from here on: each runs its part of it.
    pub(crate) fn join(&mut self, group: Arc<dyn Group>) {
        self.together = Some(Together::new(group, &self.steps, &self.gradients));
    }

    /// Does `work` without the other ranks.
    pub(crate) fn alone<R>(&mut self, work: impl FnOnce(&mut TrainProgram) -> R) -> R {
        let together = self.together.take();
        let result = work(self);
        self.together = together;
        result
    }

    /// As [`TrainProgram::forward`] for a rank whose part of the batch is empty: batch norms get the others' statistics.
    pub(crate) fn forward_nothing(&mut self, forward: Forward) {
        self.statistics = forward.statistics;
        for i in 0..self.steps.forward.len() {
            self.step_of_nothing(self.steps.forward[i]);
        }
    }

    /// As [`TrainProgram::backward`] after [`TrainProgram::forward_nothing`].
    pub(crate) fn backward_nothing(&mut self) {
        self.gradients.iter_mut().for_each(|gradient| gradient.fill(0.0));
        self.backward_together(None);
    }

    /// The way back, if there are photos, and the sums of all gradients over the ranks.
    pub(crate) fn backward_together(&mut self, mut arena: Option<&mut TrainArena>) {
        let Some(Together { group, plan, mut memory }) = self.together.take() else { return };
        // The batch norms' steps look for it.
        self.together = Some(Together { group: Arc::clone(&group), plan: Vec::new(), memory: Vec::new() });
        group.sum_while(&mut memory, &mut |sums| {
            let mut buckets = plan.iter().peekable();
            for i in 0..self.steps.backward.len() {
                match &mut arena {
                    Some(arena) => self.step(self.steps.backward[i], arena),
                    None => self.step_of_nothing(self.steps.backward[i]),
                }
                while let Some(bucket) = buckets.next_if(|bucket| bucket.ready == i) {
                    sums.start(&mut |mut memory| {
                        for &parameter in &bucket.members {
                            let gradient = &self.gradients[parameter];
                            let (place, rest) = std::mem::take(&mut memory).split_at_mut(gradient.len());
                            place.copy_from_slice(gradient);
                            memory = rest;
                        }
                    });
                }
            }
        });
        for (bucket, memory) in plan.iter().zip(&memory) {
            let mut rest = &memory[..];
            for &parameter in &bucket.members {
                let gradient = &mut self.gradients[parameter];
                let (sum, after) = rest.split_at(gradient.len());
                gradient.copy_from_slice(sum);
                rest = after;
            }
        }
        self.together = Some(Together { group, plan, memory });
    }

    /// What a step of no photos does: takes part in batch norm's sums.
    fn step_of_nothing(&mut self, step: Step) {
        let group = self.together.as_ref().map(|together| &*together.group);
        match step {
            Step::Statistics { norm, .. } if self.statistics != Statistics::Running => {
                let of = self.steps.norms[norm];
                let values = NormValues::of(&mut self.values, &of);
                let sums = Sums::moments(&[], self.graph[of.node].channels);
                self.norms[norm].forward(sums, of.epsilon, self.statistics, values, group);
            }
            Step::NormGradient { view, .. } => {
                let Some(norm) = view.norm else { return };
                let of = self.steps.norms[norm];
                let [gamma, beta] = &mut self.gradients[of.gamma..of.gamma + 2] else { unreachable!("γ and β") };
                let sums = Sums::backward(&[], self.graph[of.node].channels);
                self.norms[norm].backward(sums, 0, self.statistics, [gamma, beta], group);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use mobilenet_net::{arch, init};

    use super::*;

    #[test]
    fn every_learned_parameter_is_in_one_bucket_and_most_are_ready_early() {
        for name in ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"] {
            let graph = arch::find(name).unwrap().graph(&arch::Spec::default()).unwrap();
            let program = TrainProgram::compile(&graph, &init::random(&graph, 1), Default::default()).unwrap();
            let plan = plan(&program.steps, program.gradients());
            let mut members: Vec<usize> = plan.iter().flat_map(|bucket| bucket.members.iter().copied()).collect();
            members.sort_unstable();
            let learned = program.parameters().iter().enumerate().filter(|(_, p)| p.role.is_learned());
            assert_eq!(members, learned.map(|(i, _)| i).collect::<Vec<_>>(), "{name}");
            assert!(plan.is_sorted_by_key(|bucket| bucket.ready), "{name}");
            let len = |bucket: &Bucket| bucket.members.iter().map(|&p| program.gradients()[p].len()).sum::<usize>();
            let half = program.steps.backward.len() / 2;
            let early: usize = plan.iter().filter(|bucket| bucket.ready < half).map(len).sum();
            assert!(2 * early > plan.iter().map(len).sum(), "{name}: {early} numbers are final half-way");
            assert!(plan.len() > 4, "{name}: {} buckets", plan.len());
        }
    }
}
