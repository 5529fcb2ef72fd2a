//! A training step allocates nothing once one of its size was made: forward, loss, back, optimizer and average, with any
//! number of threads. One test alone in its process, for the counter sees every thread.

mod common;

use std::sync::Arc;

use common::photos::{photos, recipe};
use mobilenet_data::{Batch, Loader, LoaderOptions};
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::arch::{self, Spec};
use mobilenet_net::init;
use mobilenet_testing::allocations::Counting;
use mobilenet_train::average::Average;
use mobilenet_train::loss::{CrossEntropy, Targets};
use mobilenet_train::optim::{Optimizer, OptimizerKind, Settings};
use mobilenet_train::{Forward, Statistics, TrainOptions, TrainProgram, Trainer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator in each of three runs of `step`.
fn calls(mut step: impl FnMut()) -> [usize; 3] {
    [(); 3].map(|()| Counting::calls(&mut step))
}

/// Every network's program with optimizer, loss and average.
fn programs() {
    // V1 with full convolutions (paper, Table 4) goes back through these, too.
    let full = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tables/v1_full_convolution.toml");
    for name in arch::models().iter().map(|model| model.name).chain([full]) {
        let spec = Spec { width: 0.5, classes: 10, total_stride: 16, ..Spec::default() };
        let graph = arch::find(name).unwrap().graph(&spec).unwrap();
        for isa in Isa::available() {
            for (threads, kind) in [(1, OptimizerKind::Adamw), (2, OptimizerKind::RmspropTf)] {
                let options = TrainOptions { isa, ..TrainOptions::default() };
                let mut program = TrainProgram::compile(&graph, &init::random(&graph, 1), options).unwrap();
                let settings = Settings { clip_norm: Some(1.0), ..Settings::new(kind) };
                let mut optimizer = Optimizer::new(kind, settings, program.parameters(), &graph);
                let values = program.values().iter().map(Vec::as_slice);
                let mut average = Average::new(0.9, true, program.parameters(), values);
                let mut arena = program.arena(3, 33, 47, &Arc::new(Pool::new(threads))).unwrap();
                arena.input_mut().fill(0.5);
                let loss = CrossEntropy { smoothing: 0.1, weights: Some(vec![1.0; 10]) };
                let forward = Forward { statistics: Statistics::Batch { momentum: 0.1 }, dropout: Some(1) };
                let step = || {
                    program.forward(&mut arena, forward);
                    let (logits, gradient) = arena.result_and_gradient_mut();
                    loss.run(logits, 10, Targets::Classes(&[0, 4, 9]), gradient);
                    program.backward(&mut arena);
                    let (values, gradients) = program.values_mut();
                    optimizer.step(values, gradients, 0.01);
                    average.update(program.values().iter().map(Vec::as_slice));
                };
                assert_eq!(calls(step), [0; 3], "{name} on {isa}, {threads} thread(s)");
            }
        }
    }
}

/// The trainer's steps, which remember the size of the batches.
fn trainers() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let cases: [&[(&str, &str)]; 4] = [
        &[("average", "0.9"), ("clip_norm", "1"), ("class_weights", "balanced"), ("dropout", "0.2")],
        &[("augmentation.mixup", "0.2"), ("label_smoothing", "0.1")],
        &[("loss", "binary"), ("augmentation.cutmix", "1")],
        &[("accumulate", "2"), ("bn_statistics", "frozen")],
    ];
    for keys in cases {
        let recipe = recipe(keys);
        let options = LoaderOptions { workers: 0, ..recipe.training_photos(0, 1) };
        let loader = Loader::new(data.clone(), options);
        let batches: Vec<Batch> = loader.epoch(0, 0).take(2).map(Result::unwrap).collect();
        let pool = Arc::new(Pool::new(2));
        let mut trainer = Trainer::new(recipe.clone(), data.clone(), None, folder.path(), &pool, None).unwrap();
        let mut step = || {
            batches.iter().take(recipe.accumulate).for_each(|batch| _ = trainer.learn(batch).unwrap());
            trainer.update(1e-3);
        };
        step();
        assert_eq!(calls(step), [0; 3], "{keys:?}");
    }
}

#[test]
fn a_training_step_allocates_nothing() {
    programs();
    trainers();
}
