//! Gradients of several batches make one step.

mod common;

use std::sync::Arc;

use common::photos::{photos, recipe, run, trainer};
use mobilenet_kernels::Pool;
use mobilenet_net::{Params, init};
use mobilenet_testing::difference;
use mobilenet_train::loss::{CrossEntropy, Targets};
use mobilenet_train::optim::Optimizer;
use mobilenet_train::trainer::{Control, Event};
use mobilenet_train::{Forward, Recipe, Statistics, TrainProgram};

/// The weights after one step. Later ones differ by more than rounding: it turns an activation's derivative over here
/// and there.
fn stepped(recipe: &Recipe) -> Params {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let mut trainer = trainer(recipe, &data, folder.path());
    let watch = &mut |event: &Event| if let Event::Step { .. } = event { Control::Stop } else { Control::Continue };
    trainer.run(watch).unwrap();
    trainer.params()
}

/// The largest difference of two values over the largest of their tensor. Tensors that a batch norm after them makes
/// superfluous hold nothing but rounding: there a difference counts as one of 0.1.
fn largest_difference(got: &Params, want: &Params, statistics: bool) -> f64 {
    let values = |params: &Params| {
        let chosen = params.tensors.iter().filter(|(name, _)| name.contains(".running_") == statistics);
        chosen.map(|(_, tensor)| tensor.clone().into_f32()).collect::<Vec<_>>()
    };
    let apart = values(got).into_iter().zip(values(want)).map(|(mut got, mut want)| {
        got.push(0.1);
        want.push(0.1);
        difference(&got, &want)
    });
    apart.fold(0.0, f64::max)
}

#[test]
fn two_batches_of_four_are_one_of_eight_where_batch_norm_is_frozen() {
    let stepped = |batch, accumulate| {
        stepped(&recipe(&[("bn_statistics", "frozen"), ("batch", batch), ("accumulate", accumulate)]))
    };
    let whole = stepped("8", "1");
    let [apart, other] =
        [stepped("4", "2"), stepped("4", "1")].map(|params| largest_difference(&params, &whole, false));
    assert!(apart < 1e-6 * other.max(1.0) && other > 1e-3, "off by {apart}, a batch of 4 alone by {other}");
}

#[test]
fn steps_are_those_of_a_loop_by_hand() {
    // A rate so small that the second and third step see all but the same weights: what rounding does to the first step
    // must not be amplified, as batch norms over five values would.
    let recipe = recipe(&[("batch", "5"), ("accumulate", "3"), ("epochs", "1"), ("lr", "2e-7")]);
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let mut trainer = trainer(&recipe, &data, folder.path());
    let graph = trainer.graph().clone();
    trainer.run(&mut |_| Control::Continue).unwrap();
    assert_eq!(trainer.position().step, 3, "nine batches");

    let mut program =
        TrainProgram::compile(&graph, &init::for_training(&graph, recipe.seed), Default::default()).unwrap();
    let kind = recipe.optimizer.kind;
    let mut optimizer = Optimizer::new(kind, recipe.settings(), program.parameters(), &graph);
    let statistics = Statistics::Batch { momentum: recipe.bn_momentum as f32 };
    let loader = mobilenet_data::Loader::new(data, recipe.training_photos(0, 1));
    let batches: Vec<_> = loader.epoch(0, 0).map(Result::unwrap).collect();
    for step in batches.chunks(3) {
        let photos: usize = step.iter().map(|b| b.len()).sum();
        let mut sums: Vec<Vec<f32>> = program.values().iter().map(|v| vec![0.0; v.len()]).collect();
        for batch in step {
            let mut arena = program.arena(batch.len(), 16, 16, &Arc::new(Pool::new(1))).unwrap();
            arena.input_mut().copy_from_slice(&batch.images);
            program.forward(&mut arena, Forward { statistics, dropout: None });
            let targets: Vec<usize> = batch.targets.iter().map(|t| t.labels()[0] as usize).collect();
            let logits = arena.result().to_vec();
            CrossEntropy::default().run(&logits, 3, Targets::Classes(&targets), arena.result_gradient_mut());
            program.backward(&mut arena);
            for (sum, gradient) in sums.iter_mut().zip(program.gradients()) {
                sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g * batch.len() as f32 / photos as f32);
            }
        }
        let rate = recipe.schedule().rate(optimizer.steps() as f64 / 3.0, recipe.epochs);
        optimizer.step(program.values_mut().0, &sums, rate as f32);
    }
    let (got, want) = (trainer.params(), program.params());
    let [apart, statistics] = [false, true].map(|statistics| largest_difference(&got, &want, statistics));
    let moved = largest_difference(&got, &init::for_training(&graph, recipe.seed), false);
    println!("weights off by {apart:.1e} of {moved:.1e}, statistics by {statistics:.1e}");
    assert!(apart < 1e-3 * moved && statistics < 1e-4, "off by {apart} of {moved}, statistics by {statistics}");
}

#[test]
fn stopping_inside_an_epoch_changes_no_bit() {
    let recipe = recipe(&[("batch", "4"), ("accumulate", "3"), ("average", "0.8"), ("dropout", "0.2")]);
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let whole = run(&recipe, &data, &folder.path().join("whole"), &[]);
    // Eleven batches are four steps; one stop falls on an epoch's last step.
    assert!(
        whole == run(&recipe, &data, &folder.path().join("stopped"), &[1, 1, 2, 3, 1]),
        "stopping changed the weights"
    );
}
