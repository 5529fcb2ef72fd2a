//! Batch norm's statistics, estimated anew under weights that stand still.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::photos::{photos, recipe, run};
use common::{Random, Truth, moments};
use mobilenet_data::{Batch, Loader, Target};
use mobilenet_kernels::Pool;
use mobilenet_net::arch::{self, Spec};
use mobilenet_net::graph::{Op, Role};
use mobilenet_net::{Params, Tensor, init, weights};
use mobilenet_testing::difference;
use mobilenet_train::reestimate::reestimate;
use mobilenet_train::trainer::MODEL;
use mobilenet_train::{Statistics, TrainProgram};

#[test]
fn statistics_are_those_of_a_direct_computation() {
    let spec = Spec { width: 0.35, classes: 5, total_stride: 8, ..Spec::default() };
    let graph = arch::find("mobilenet_v3_small").unwrap().graph(&spec).unwrap();
    let mut program = TrainProgram::compile(&graph, &init::random(&graph, 4), Default::default()).unwrap();
    let (mut random, mut batches) = (Random(1), Vec::new());
    for (value, p) in program.values_mut().0.iter_mut().zip(graph.parameters()) {
        if p.role == Role::Beta {
            *value = random.values(value.len(), [-0.5, 0.5]).into_iter().map(|x| x as f32).collect();
        }
    }
    let parameters: Vec<Vec<f64>> = program.values().iter().map(|v| v.iter().map(|&x| x.into()).collect()).collect();
    // Each channel's sums of means and of mean squares, by node.
    let mut sums: BTreeMap<usize, Vec<[f64; 2]>> = BTreeMap::new();
    for photos in [6, 3] {
        let input = random.values(photos * 3 * 32 * 32, [-2.0, 2.0]);
        let truth = Truth::new(&graph, [photos, 32, 32], Statistics::Batch { momentum: 0.1 }, None);
        let results = truth.run(&parameters, &input);
        for (id, node) in graph.ids().zip(&graph.nodes).filter(|(_, node)| matches!(node.op, Op::BatchNorm { .. })) {
            let sums = sums.entry(id.0).or_insert_with(|| vec![[0.0; 2]; node.channels]);
            for (c, sums) in sums.iter_mut().enumerate() {
                let [mean, variance] = moments(truth.shapes[id], &results[node.inputs[0].0], c);
                sums[0] += photos as f64 * mean;
                sums[1] += photos as f64 * (mean * mean + variance);
            }
        }
        let images = input.iter().map(|&x| x as f32).collect();
        let targets = vec![Target::Class(0); photos];
        batches.push(Ok(Batch { images, size: [32; 2], targets, ..Batch::default() }));
    }
    let before = program.values().to_vec();
    assert_eq!(reestimate(&mut program, batches, &Arc::new(Pool::new(2))).unwrap(), 9);
    for ((p, found), before) in program.parameters().iter().zip(program.values()).zip(&before) {
        let want: Vec<f32> = match p.role {
            Role::Mean => sums[&p.node.0].iter().map(|s| (s[0] / 9.0) as f32).collect(),
            Role::Variance => sums[&p.node.0].iter().map(|s| (s[1] / 9.0 - (s[0] / 9.0).powi(2)) as f32).collect(),
            _ => before.clone(),
        };
        let apart = difference(found, &want);
        assert!(apart < if p.role.is_learned() { 1e-30 } else { 1e-4 }, "{} is off by {apart}", p.name);
    }
}

#[test]
fn without_batches_nothing_changes() {
    let graph = arch::find("mobilenet_v2").unwrap().graph(&Spec { width: 0.25, ..Spec::default() }).unwrap();
    let mut program = TrainProgram::compile(&graph, &init::random(&graph, 4), Default::default()).unwrap();
    let before = program.values().to_vec();
    assert_eq!(reestimate(&mut program, [], &Arc::new(Pool::new(1))).unwrap(), 0);
    assert!(program.values() == before);
}

/// The tensors that are learned, or the statistics.
fn part(tensors: &BTreeMap<String, Tensor>, statistics: bool) -> BTreeMap<String, Tensor> {
    let mut part = tensors.clone();
    part.retain(|name, _| name.contains(".running_") == statistics);
    part
}

#[test]
fn after_the_last_epoch_the_weights_that_count_have_their_own_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    for average in ["none", "0.8"] {
        let train = |name: &str, photos: &str, stops: &[u64]| {
            let folder = folder.path().join(format!("{name} {average}"));
            run(&recipe(&[("average", average), ("bn_reestimate", photos)]), &data, &folder, stops);
            weights::open(folder.join(MODEL)).unwrap().tensors
        };
        let (running, estimated) = (train("running", "0", &[]), train("estimated", "20", &[]));
        assert!(part(&running, false) == part(&estimated, false), "the weights themselves stay");
        assert!(part(&running, true) != part(&estimated, true), "the statistics are others");
        // Twelve steps: the last stop comes after the last step, before the statistics.
        assert!(estimated == train("stopped", "20", &[5, 7]), "stopping changed the statistics");

        let recipe = recipe(&[]);
        let graph = arch::find("mobilenet_v2").unwrap();
        let spec = Spec { width: 0.25, total_stride: 8, classes: 3, ..Spec::default() };
        let graph = arch::Table { dropout: 0.0, ..graph }.graph(&spec).unwrap();
        let params = Params { tensors: running, ..Params::default() };
        let mut program = TrainProgram::compile(&graph, &params, Default::default()).unwrap();
        let loader = Loader::new(data.clone(), recipe.estimation_photos(1));
        // Twenty photos are in three batches of eight; two epochs came before.
        reestimate(&mut program, loader.epoch(2, 0).take(3), &Arc::new(Pool::new(1))).unwrap();
        assert!(program.params().tensors == estimated, "the statistics are those of the function for itself");
    }
}
