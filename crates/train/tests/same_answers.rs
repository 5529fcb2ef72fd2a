//! A trained network gives the same answers wherever it runs: in the trainer, and compiled for inference.

use std::sync::Arc;

use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::arch::{self, Spec};
use mobilenet_net::init;
use mobilenet_run::Program;
use mobilenet_run::program::Options;
use mobilenet_testing::difference;
use mobilenet_train::loss::{CrossEntropy, Targets};
use mobilenet_train::optim::{Optimizer, OptimizerKind, Settings};
use mobilenet_train::{Forward, Statistics, TrainOptions, TrainProgram};

const BATCH: usize = 8;
const SIZE: usize = 32;
const CLASSES: usize = 5;

/// Values between −1 and 1 that look like noise.
fn noise(seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i + seed * 1_000_003).wrapping_mul(2_654_435_761) >> 8 & 0xffff) as f32 / 32768.0 - 1.0;
    (0..BATCH * 3 * SIZE * SIZE).map(value).collect()
}

/// Some steps from fresh weights, so that weights and running statistics are no longer those of the beginning.
fn trained(model: &str, isa: Isa, pool: &Arc<Pool>) -> TrainProgram {
    let spec = Spec { width: 0.35, classes: CLASSES, total_stride: 16, ..Spec::default() };
    let graph = arch::find(model).unwrap().graph(&spec).unwrap();
    let options = TrainOptions { isa, ..TrainOptions::default() };
    let mut program = TrainProgram::compile(&graph, &init::random(&graph, 1), options).unwrap();
    let settings = Settings { momentum: 0.9, ..Settings::new(OptimizerKind::Sgd) };
    let mut optimizer = Optimizer::new(OptimizerKind::Sgd, settings, program.parameters(), &graph);
    let mut arena = program.arena(BATCH, SIZE, SIZE, pool).unwrap();
    let targets: Vec<usize> = (0..BATCH).map(|i| i % CLASSES).collect();
    for step in 0..12 {
        arena.input_mut().copy_from_slice(&noise(step));
        let forward = Forward { statistics: Statistics::Batch { momentum: 0.3 }, dropout: Some(step as u64) };
        program.forward(&mut arena, forward);
        let logits = arena.result().to_vec();
        CrossEntropy::default().run(&logits, CLASSES, Targets::Classes(&targets), arena.result_gradient_mut());
        program.backward(&mut arena);
        let (values, gradients) = program.values_mut();
        optimizer.step(values, gradients, 0.02);
    }
    program
}

#[test]
fn a_trained_network_has_the_trainers_logits_when_it_is_compiled() {
    let pool = Arc::new(Pool::new(2));
    for model in ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"] {
        for isa in Isa::available() {
            let mut training = trained(model, isa, &pool);
            let mut arena = training.arena(BATCH, SIZE, SIZE, &pool).unwrap();
            arena.input_mut().copy_from_slice(&noise(99));
            training.forward(&mut arena, Forward::EVALUATION);
            let want = arena.result().to_vec();

            let options = Options { isa, ..Options::default() };
            let program = Program::compile(training.graph(), training.params(), &options).unwrap();
            let mut arena = program.arena(BATCH, SIZE, SIZE, &pool).unwrap();
            arena.input_mut().copy_from_slice(&noise(99));
            program.run(&mut arena);
            let apart = difference(arena.output("logits").unwrap(), &want);
            assert!(apart < 1e-4, "{model} on {isa}: logits differ by {apart}");
        }
    }
}
