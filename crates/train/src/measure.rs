//! Latencies of training steps, and where their time goes.

use std::sync::Arc;
use std::time::Instant;

use mobilenet_kernels::{Pool, peak};
use mobilenet_net::count::Summary;
use mobilenet_net::{Graph, init};
use mobilenet_run::measure::{Profile, StepTime, median};

use crate::arena::TrainArena;
use crate::error::Error;
use crate::loss::{CrossEntropy, Targets};
use crate::optim::{Optimizer, OptimizerKind, Settings};
use crate::program::{Forward, Statistics, TrainOptions, TrainProgram};
use crate::steps::{Step, Steps};

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
    size: [usize; 3],
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
        Ok(Bench { program, arena, optimizer, targets, classes, size: [n, h, w] })
    }

    /// A step on these images, N×3×H×W, and their classes.
    ///
    /// # Panics
    /// Where there are not as many as the bench was made for.
    pub fn step_on(&mut self, images: &[f32], classes: &[usize]) {
        self.arena.input_mut().copy_from_slice(images);
        self.targets.copy_from_slice(classes);
        self.step();
    }

    /// Forward, cross-entropy, back and a step of SGD with momentum.
    fn step(&mut self) {
        self.step_watched(|| {});
    }

    fn loss(&mut self) {
        let (logits, gradient) = self.arena.result_and_gradient_mut();
        let targets = Targets::Classes(&self.targets);
        CrossEntropy::default().run(logits, self.classes, targets, gradient);
    }

    fn update(&mut self) {
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

    /// Where a step's time goes, measured for about `seconds`: the packing of changed weights, every step forward and back,
    /// the loss and the update.
    ///
    /// # Errors
    /// None for a network and a size that [`Bench::new`] accepted.
    pub fn profile(&mut self, seconds: f64) -> Result<Profile, Error> {
        let core_peak_gflops = peak::gflops(self.program.options.isa);
        let memory_gbytes_per_second = peak::memory_gbytes_per_second(&self.arena.pool);
        let whole = self.latencies_ms(seconds / 2.0);
        let mut steps = self.parts()?;
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); steps.len()];
        let start = Instant::now();
        while times[0].is_empty() || start.elapsed().as_secs_f64() < seconds / 2.0 {
            let (mut last, mut at) = (Instant::now(), 0);
            self.step_watched(|| {
                times[at].push(last.elapsed().as_secs_f64() * 1e6);
                at += 1;
                last = Instant::now();
            });
        }
        steps.iter_mut().zip(&times).for_each(|(step, times)| step.microseconds = median(times));
        Ok(Profile {
            steps,
            total_microseconds: median(&whole) * 1e3,
            core_peak_gflops,
            memory_gbytes_per_second,
            threads: self.arena.pool.threads(),
        })
    }

    /// All parts of a step in the order in which [`Bench::step_watched`] tells of them, without their times.
    fn parts(&self) -> Result<Vec<StepTime>, Error> {
        let Bench { program, arena, .. } = self;
        let [n, h, w] = self.size;
        let counts = Summary::new(program.graph(), h, w)?;
        let weights: usize = program.values().iter().map(|v| size_of_val(&v[..])).sum();
        let of_all = |kernel, bytes: usize| StepTime {
            name: "all weights".into(),
            kernel,
            microseconds: 0.0,
            multiply_adds: 0,
            bytes: bytes as u64,
        };
        let of_step = |step: &Step| {
            let (node, kernel) = program.kernel(*step);
            let layer = step.layer().and_then(|_| counts.layers.iter().find(|l| l.name == program.graph()[node].name));
            let products = step.products();
            StepTime {
                name: program.graph()[node].name.clone(),
                kernel,
                microseconds: 0.0,
                multiply_adds: layer.map_or(0, |l| products * l.multiply_adds * n as u64),
                bytes: arena.bytes_of(*step) as u64
                    + layer.map_or(0, |l| products * l.weights * size_of::<f32>() as u64),
            }
        };
        let Steps { forward, backward, .. } = &program.steps;
        // Packed once as they are and once turned round; the update reads weight, gradient and momentum and writes two.
        let mut parts = vec![of_all("pack", 3 * weights)];
        parts.extend(forward.iter().map(of_step));
        parts.push(StepTime { name: "logits".into(), ..of_all("loss", 2 * size_of_val(arena.result())) });
        parts.extend(backward.iter().map(of_step));
        parts.push(of_all("update", 5 * weights));
        Ok(parts)
    }

    /// A step, calling `watch` after each of its parts.
    fn step_watched(&mut self, mut watch: impl FnMut()) {
        self.program.begin(&mut self.arena, FORWARD);
        watch();
        for i in 0..self.program.steps.forward.len() {
            self.program.step(self.program.steps.forward[i], &mut self.arena);
            watch();
        }
        self.loss();
        watch();
        for i in 0..self.program.steps.backward.len() {
            self.program.step(self.program.steps.backward[i], &mut self.arena);
            watch();
        }
        self.update();
        watch();
    }
}

#[cfg(test)]
mod tests {
    use mobilenet_net::arch;

    use super::*;

    #[test]
    fn every_part_of_a_step_is_timed_and_backward_costs_twice_forward() {
        let spec = arch::Spec { width: 0.35, classes: 10, ..Default::default() };
        let graph = arch::find("mobilenet_v3_small").unwrap().graph(&spec).unwrap();
        let pool = Arc::new(Pool::new(1));
        let mut bench = Bench::new(&graph, TrainOptions::default(), [2, 32, 32], &pool).unwrap();
        let profile = bench.profile(0.01).unwrap();
        assert!(profile.steps.iter().all(|s| s.microseconds > 0.0 && s.bytes > 0), "{:?}", profile.steps);
        let forward = 2 * Summary::new(&graph, 32, 32).unwrap().multiply_adds;
        // Images need no gradient, so the stem is computed twice, all else three times.
        let stem = profile.steps.iter().find(|s| s.kernel == "dense").unwrap().multiply_adds;
        assert_eq!(profile.multiply_adds(), 3 * forward - stem);
        let ends = [&profile.steps[0], profile.steps.last().unwrap()].map(|s| s.kernel);
        assert_eq!(ends, ["pack", "update"]);
    }
}
