//! Latencies of training steps, and where their time goes.

use std::sync::Arc;
use std::time::Instant;

use mobilenet_kernels::Pool;
use mobilenet_net::{Graph, init};

use crate::arena::TrainArena;
use crate::error::Error;
use crate::loss::{CrossEntropy, Targets};
use crate::optim::{Optimizer, OptimizerKind, Settings};
use crate::program::{Forward, Statistics, TrainOptions, TrainProgram};

/// As in training: the batch's statistics, PyTorch's default share of them in the running ones.
const FORWARD: Forward = Forward { statistics: Statistics::Batch { momentum: 0.1 }, dropout: Some(1) };
const WARM_UP_STEPS: usize = 2;

/// A network with fresh weights and a random batch, ready to be timed.
pub struct Bench {
    program: TrainProgram,
    arena: TrainArena,
    optimizer: Optimizer,
    targets: Vec<usize>,
    classes: usize,
}

impl Bench {
    /// For batches of `n` images of `h`×`w` pixels.
    ///
    /// # Errors
    /// Where the network cannot be trained or cannot take that size.
    pub fn new(graph: &Graph, options: TrainOptions, [n, h, w]: [usize; 3], pool: &Arc<Pool>) -> Result<Bench, Error> {
        let program = TrainProgram::compile(graph, &init::random(graph, 1), options)?;
        let mut arena = program.arena(n, h, w, pool)?;
        arena.input_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 255) as f32 / 127.0 - 1.0);
        let classes = arena.result().len() / n;
        let settings = Settings { weight_decay: 4e-5, ..Settings::new(OptimizerKind::Sgd) };
        let optimizer = Optimizer::new(OptimizerKind::Sgd, settings, program.parameters(), graph);
        let targets = (0..n).map(|i| i % classes).collect();
        Ok(Bench { program, arena, optimizer, targets, classes })
    }

    /// Forward, cross-entropy, back and a step of SGD with momentum.
    fn step(&mut self) {
        self.program.forward(&mut self.arena, FORWARD);
        let logits = self.arena.result().to_vec();
        let targets = Targets::Classes(&self.targets);
        CrossEntropy::default().run(&logits, self.classes, targets, self.arena.result_gradient_mut());
        self.program.backward(&mut self.arena);
        let (values, gradients) = self.program.values_mut();
        // A rate at which a random batch can be seen for hours without running away.
        self.optimizer.step(values, gradients, 1e-3);
    }

    /// Latencies of whole steps in milliseconds, for about `seconds` and at least one.
    pub fn latencies_ms(&mut self, seconds: f64) -> Vec<f64> {
        (0..WARM_UP_STEPS).for_each(|_| self.step());
        let mut latencies = Vec::new();
        let start = Instant::now();
        while latencies.is_empty() || start.elapsed().as_secs_f64() < seconds {
            let step = Instant::now();
            self.step();
            latencies.push(step.elapsed().as_secs_f64() * 1e3);
        }
        latencies
    }

    /// Milliseconds of each part of a step, the least over some steps within about `seconds`: `forward block1.…`,
    /// `weight gradient …` and so on.
    pub fn profile(&mut self, seconds: f64) -> Vec<(String, f64)> {
        let mut parts: Vec<(String, f64)> = Vec::new();
        let start = Instant::now();
        self.step();
        while parts.is_empty() || start.elapsed().as_secs_f64() < seconds {
            let (mut at, mut last) = (0, Instant::now());
            self.program.step_observed(&mut self.arena, FORWARD, |name| {
                let time = last.elapsed().as_secs_f64() * 1e3;
                match parts.get_mut(at) {
                    Some((_, least)) => *least = least.min(time),
                    None => parts.push((name, time)),
                }
                at += 1;
                last = Instant::now();
            });
        }
        parts
    }
}
