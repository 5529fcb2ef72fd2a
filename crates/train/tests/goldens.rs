//! Losses and gradients against PyTorch: every `train_*` file among the golden ones, whatever network it holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::graph::Parameter;
use mobilenet_net::{load, weights};
use mobilenet_train::{Forward, Statistics, TrainOptions, TrainProgram};

fn data() -> PathBuf {
    std::env::var("MOBILENET_TEST_DATA")
        .map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from)
}

/// Mean cross-entropy with label smoothing, and its gradient.
fn loss(logits: &[f32], targets: &[i64], classes: usize, smoothing: f64, gradient: &mut [f32]) -> f64 {
    let mut total = 0.0;
    for ((row, d), &target) in logits.chunks(classes).zip(gradient.chunks_mut(classes)).zip(targets) {
        let largest = row.iter().fold(f32::MIN, |m, &v| m.max(v));
        let sum: f64 = row.iter().map(|&v| f64::from(v - largest).exp()).sum();
        for (c, (&v, d)) in row.iter().zip(d).enumerate() {
            let log_p = f64::from(v - largest) - sum.ln();
            let wanted = smoothing / classes as f64 + if c == target as usize { 1.0 - smoothing } else { 0.0 };
            total -= wanted * log_p;
            *d = ((log_p.exp() - wanted) / targets.len() as f64) as f32;
        }
    }
    total / targets.len() as f64
}

fn check(path: &Path, isa: Isa, threads: usize) {
    let file = path.file_name().unwrap().to_string_lossy();
    let loaded = load(path, &Default::default()).unwrap();
    let mut golden = weights::open_where(path, |name| name.starts_with("golden.")).unwrap();
    let number = |key: &str| golden.metadata[key].parse::<f64>().unwrap();
    let (lr, momentum, decay) = (number("lr") as f32, number("momentum") as f32, number("weight_decay") as f32);
    let (smoothing, share) = (number("label_smoothing"), number("bn_momentum") as f32);
    let mut take = |name: &str| golden.tensors.remove(&format!("golden.{name}")).unwrap();
    let (input, target, losses) = (take("input"), take("target"), take("losses").into_f32());
    let targets = target.into_f32().iter().map(|&t| t as i64).collect::<Vec<_>>();
    let [n, _, h, w] = *input.shape() else { panic!("input of four dimensions") };
    let input = input.into_f32();

    let options = TrainOptions { isa, ..TrainOptions::default() };
    let mut program = TrainProgram::compile(&loaded.graph, &loaded.params, options).unwrap();
    let mut arena = program.arena(n, h, w, &Arc::new(Pool::new(threads))).unwrap();
    arena.input_mut().copy_from_slice(&input);
    let names =
        mobilenet_net::names::Names::new(loaded.recognised.origin, &loaded.recognised.table, &loaded.graph).unwrap();
    let mut buffers: Vec<Vec<f32>> = Vec::new();
    let (mut worst_loss, mut worst_gradient) = (0f64, 0f64);
    for (step, &want) in losses.iter().enumerate() {
        program.forward(&mut arena, Forward { statistics: Statistics::Batch { momentum: share }, dropout: None });
        let logits = arena.result().to_vec();
        let classes = logits.len() / n;
        let got = loss(&logits, &targets, classes, smoothing, arena.result_gradient_mut());
        program.backward(&mut arena);
        let error = (got - f64::from(want)).abs() / f64::from(want);
        worst_loss = worst_loss.max(error);
        assert!(error < 1e-4, "{file} on {isa}: loss of step {step} is {got}, not {want}");
        if step == 0 {
            let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let theirs = |p: &Parameter| names.get(&p.name).unwrap().to_owned();
            let wanted = |p: &Parameter| golden.tensors[&format!("golden.grad.{}", theirs(p))].clone().into_f32();
            let learned = program.parameters().iter().zip(program.gradients()).filter(|(p, _)| p.role.is_learned());
            let largest = learned.clone().map(|(p, _)| norm(&mut wanted(p).into_iter())).fold(0.0, f64::max);
            for (parameter, gradient) in learned {
                let want = wanted(parameter);
                // β before a pointwise convolution with a batch norm of its own moves nothing: its gradient is zero, and
                // what either side computes is rounding, seven orders below the others.
                let scale = norm(&mut want.iter().copied()).max(1e-5 * largest);
                let error = norm(&mut want.iter().zip(gradient).map(|(a, b)| a - b)) / scale;
                worst_gradient = worst_gradient.max(error);
                let name = theirs(parameter);
                assert!(error < 1e-3, "{file} on {isa}: gradient of {name} differs by {error} of its norm");
            }
        }
        let learned: Vec<bool> = program.parameters().iter().map(|p| p.role.is_learned()).collect();
        let (values, gradients) = program.values_mut();
        buffers.resize(values.len(), Vec::new());
        for (((value, gradient), buffer), learned) in values.iter_mut().zip(gradients).zip(&mut buffers).zip(learned) {
            buffer.resize(value.len(), 0.0);
            for ((v, g), b) in value.iter_mut().zip(gradient).zip(buffer).filter(|_| learned) {
                *b = momentum * *b + g + decay * *v;
                *v -= lr * *b;
            }
        }
    }
    program.forward(&mut arena, Forward::EVALUATION);
    let want = golden.tensors["golden.output.logits_after"].clone().into_f32();
    let scale = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let after = arena.result().iter().zip(&want).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
    println!(
        "{file} {isa} {threads} threads: losses {worst_loss:.1e}, gradients {worst_gradient:.1e}, logits after {after:.1e}"
    );
}

#[test]
fn losses_and_gradients_are_pytorchs() {
    let folder = data().join("golden");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("SKIPPED: losses_and_gradients_are_pytorchs: no test data at {}", folder.display());
        return;
    };
    let files: Vec<PathBuf> = entries
        .map(|e| e.unwrap().path())
        .filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("train_"))
        .collect();
    assert!(!files.is_empty(), "no train_* file in {}", folder.display());
    for path in files {
        for isa in Isa::available() {
            check(&path, isa, 2);
        }
    }
}
