//! Folded weights: recognised, and brought back to true statistics without a change of what they compute.

use std::sync::Arc;

use mobilenet_data::{Batch, Dataset, Loader, LoaderOptions, Target};
use mobilenet_kernels::Pool;
use mobilenet_net::arch::{self, Spec};
use mobilenet_net::graph::{Graph, Op, Role};
use mobilenet_net::{Params, Tensor, init};
use mobilenet_run::classify::top_k;
use mobilenet_run::{Labels, Program};
use mobilenet_testing::{data, difference};
use mobilenet_train::folded::{is_folded, unfold};
use mobilenet_train::loss::{CrossEntropy, Targets};
use mobilenet_train::optim::{Optimizer, OptimizerKind, Settings};
use mobilenet_train::{Forward, Statistics, TrainArena, TrainProgram};

/// The batch's statistics alone.
const WHOLE: Statistics = Statistics::Batch { momentum: 1.0 };

/// Numbers in −1 … 1 (Marsaglia's xorshift64).
fn random(len: usize, state: &mut u64) -> Vec<f32> {
    let mut next = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Fresh weights whose batch norms have random β, and all else as folding leaves it.
fn folded(graph: &Graph, state: &mut u64) -> Params {
    let mut params = init::random(graph, 1);
    for p in graph.parameters() {
        let Op::BatchNorm { epsilon } = graph[p.node].op else { continue };
        let values = match p.role {
            Role::Beta => random(p.shape[0], state).iter().map(|x| 0.3 * x).collect(),
            Role::Variance => vec![1.0 - epsilon; p.shape[0]],
            _ => continue,
        };
        params.tensors.insert(p.name, Tensor::from_f32(&p.shape, values));
    }
    params
}

fn logits(graph: &Graph, params: &Params, batch: &Batch) -> Vec<f32> {
    let program = Program::compile(graph, params.clone(), &Default::default()).unwrap();
    let [h, w] = batch.size;
    let mut arena = program.arena(batch.len(), h, w, &Arc::new(Pool::new(2))).unwrap();
    arena.input_mut().copy_from_slice(&batch.images);
    program.run(&mut arena);
    arena.output("logits").unwrap().to_vec()
}

/// Batches of one class, of random pixels.
fn batch(n: usize, side: usize, state: &mut u64) -> Batch {
    let images = random(n * 3 * side * side, state);
    Batch { images, size: [side; 2], targets: vec![Target::Class(0); n], ..Batch::default() }
}

#[test]
fn unfolding_keeps_the_function_and_finds_the_photos_statistics() {
    for name in ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"] {
        let spec = Spec { width: 0.35, classes: 10, total_stride: 8, ..Spec::default() };
        let graph = arch::find(name).unwrap().graph(&spec).unwrap();
        let mut state = 7;
        let batch = batch(14, 32, &mut state);
        let mut params = folded(&graph, &mut state);
        let before = logits(&graph, &params, &batch);

        assert!(is_folded(&graph, &params));
        let pool = Arc::new(Pool::new(2));
        assert_eq!(unfold(&graph, &mut params, [Ok(batch.clone())], &(&pool).into()).unwrap(), 14);
        assert!(!is_folded(&graph, &params));
        let apart = difference(&logits(&graph, &params, &batch), &before);
        assert!(apart < 1e-4, "{name}: logits moved by {apart}");

        // Normalised by the same photos' statistics it is still the same function, and these are the statistics.
        let mut program = TrainProgram::compile(&graph, &params, Default::default()).unwrap();
        let mut arena = program.arena(14, 32, 32, &pool).unwrap();
        arena.input_mut().copy_from_slice(&batch.images);
        let known = program.values().to_vec();
        program.forward(&mut arena, Forward { statistics: WHOLE, dropout: None });
        let apart = difference(arena.result(), &before);
        assert!(apart < 1e-3, "{name}: with the batch's statistics logits moved by {apart}");
        let shapes = graph.infer(14, 32, 32).unwrap();
        for ((p, found), known) in program.parameters().iter().zip(program.values()).zip(&known) {
            let count = (14 * shapes[p.node].h * shapes[p.node].w) as f32;
            let biased: Vec<f32> = match p.role {
                Role::Variance => found.iter().map(|v| v * (count - 1.0) / count).collect(),
                _ => found.clone(),
            };
            let apart = difference(known, &biased);
            assert!(apart < 1e-3, "{name}: {} is off by {apart}", p.name);
        }
    }
}

#[test]
fn fresh_and_trained_weights_are_not_folded() {
    let graph = arch::find("mobilenet_v2").unwrap().graph(&Spec { width: 0.35, ..Spec::default() }).unwrap();
    assert!(!is_folded(&graph, &init::random(&graph, 1)));
    for (tensor, value) in [("weight", 1.1), ("running_mean", 0.1), ("running_var", 0.9)] {
        let mut params = folded(&graph, &mut 3);
        assert!(is_folded(&graph, &params));
        let name = format!("block5.depthwise.norm.{tensor}");
        let mut values = params.tensors[&name].clone().into_f32();
        values[3] = value;
        params.tensors.insert(name, Tensor::from_f32(&[values.len()], values));
        assert!(!is_folded(&graph, &params), "{tensor}");
    }
}

/// Shares of photos whose class comes first: in the forward pass, and after its step in evaluation.
fn step(graph: &Graph, params: &Params, batches: &[Batch], arena: &mut Option<TrainArena>) -> [f64; 2] {
    let mut right = [0usize; 2];
    let pool = Arc::new(Pool::new(2));
    for batch in batches {
        let mut program = TrainProgram::compile(graph, params, Default::default()).unwrap();
        let settings = Settings::new(OptimizerKind::Sgd);
        let mut optimizer = Optimizer::new(OptimizerKind::Sgd, settings, program.parameters(), graph);
        let arena = arena.get_or_insert_with(|| program.arena(batch.len(), 224, 224, &pool).unwrap());
        arena.input_mut().copy_from_slice(&batch.images);
        let targets: Vec<usize> = batch.targets.iter().map(|t| t.labels()[0] as usize).collect();
        let count = |logits: &[f32]| {
            logits.chunks(1000).zip(&targets).filter(|(row, target)| top_k(row, 1)[0].0 == **target).count()
        };
        program.forward(arena, Forward { statistics: Statistics::Batch { momentum: 0.1 }, dropout: None });
        let logits = arena.result().to_vec();
        right[0] += count(&logits);
        CrossEntropy::default().run(&logits, 1000, Targets::Classes(&targets), arena.result_gradient_mut());
        program.backward(arena);
        let (values, gradients) = program.values_mut();
        optimizer.step(values, gradients, 1e-3);
        program.forward(arena, Forward::EVALUATION);
        right[1] += count(arena.result());
    }
    let photos: usize = batches.iter().map(Batch::len).sum();
    right.map(|right| right as f64 / photos as f64)
}

#[test]
fn the_folded_v2_keeps_its_accuracy_through_a_step_once_unfolded() {
    let Some(data) = data() else { return };
    let loaded =
        mobilenet_net::load(data.join("data/models/mobilenet_v2_1.0_224_torchvision.pth"), &Default::default());
    let loaded = loaded.unwrap();
    let names: Vec<String> = Labels::imagenet().iter().map(str::to_owned).collect();
    let photos = Dataset::open_as(data.join("data/classification/imagenet_sample_even.csv"), &names).unwrap();
    let preprocessing = loaded.recognised.preprocessing;
    let loader = Loader::new(Arc::new(photos), LoaderOptions::evaluation(32, preprocessing));
    let batches: Vec<Batch> = loader.epoch(0, 0).take(2).map(Result::unwrap).collect();

    assert!(is_folded(&loaded.graph, &loaded.params));
    let mut arena = None;
    let [folded, _] = step(&loaded.graph, &loaded.params, &batches, &mut arena);
    let mut params = loaded.params.clone();
    let seen = loader.epoch(0, 2).take(6);
    assert_eq!(unfold(&loaded.graph, &mut params, seen, &(&Arc::new(Pool::new(2))).into()).unwrap(), 192);
    let [forward, after] = step(&loaded.graph, &params, &batches, &mut arena);
    println!("top-1 with batch statistics: folded {folded}, unfolded {forward}, after a step {after}");
    assert!(folded < 0.3, "folded weights with the batch's statistics: {folded}");
    assert!(forward > 0.6 && after > 0.75, "unfolded weights: {forward}, after a step {after}");
}
