//! TensorFlow Lite's networks against what LiteRT computed with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mobilenet_kernels::Pool;
use mobilenet_kernels::layout::Order;
use mobilenet_net::recognise::Outputs;
use mobilenet_net::{Loaded, Overrides, Tensor, load, weights};
use mobilenet_run::Program;
use mobilenet_run::program::Options;
use mobilenet_testing::{data, difference};

/// Largest difference over largest reference value.
const LIMIT: f64 = 1e-4;

/// What the network of a file gives for a photo of levels from 0 to 255: probabilities, without a classifier features.
fn answer(file: &Path, levels: &[f32]) -> Vec<f32> {
    let Loaded { recognised, graph, params } = load(file, &Overrides::default()).unwrap();
    let preprocessing = recognised.preprocessing;
    let output = if recognised.spec.classes == 0 { "hidden" } else { "logits" };
    let options = Options { order: Order::Nhwc, outputs: vec![output.into()], ..Options::default() };
    let program = Program::compile(&graph, params, &options).unwrap();
    let [h, w] = preprocessing.size;
    assert_eq!(levels.len(), h * w * 3, "{}", file.display());
    let mut arena = program.arena(1, h, w, &Arc::new(Pool::new(2))).unwrap();
    let [mean, std] = [preprocessing.mean, preprocessing.std];
    let normal = levels.iter().enumerate().map(|(i, level)| (level / 255.0 - mean[i % 3]) / std[i % 3]);
    arena.input_mut().iter_mut().zip(normal).for_each(|(to, from)| *to = from);
    program.run(&mut arena);
    let values = arena.output(output).unwrap().to_vec();
    match (output, recognised.outputs) {
        ("hidden", _) => values,
        (_, Outputs::Exclusive) => softmax(&values),
        (_, Outputs::Independent) => values.iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect(),
    }
}

fn softmax(values: &[f32]) -> Vec<f32> {
    let largest = values.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = values.iter().map(|v| (v - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|v| v / sum).collect()
}

#[track_caller]
fn check(file: &Path, levels: Tensor, want: Tensor) {
    let error = difference(&answer(file, &levels.into_f32()), &want.into_f32());
    println!("{}: {error:.1e}", file.display());
    assert!(error <= LIMIT, "{}: {error:.1e}", file.display());
}

#[test]
fn published_float_files_give_litert_s_outputs() {
    let Some(data) = data() else { return };
    for (file, side) in [
        ("mobilenet_v1_0.25_224_float", 224),
        ("mobilenet_v1_0.25_96_vww_float", 96),
        ("mobilenet_v3_small_0.75_224_embedder_float", 224),
    ] {
        let wanted =
            |name: &str| name.starts_with(&format!("output/{file}/")) || name.starts_with(&format!("input/{side}/"));
        let mut golden = weights::open_where(data.join("data/golden/golden.safetensors"), wanted).unwrap().tensors;
        for photo in ["cat", "grace_hopper"] {
            let mut take = |name: String| golden.remove(&name).unwrap();
            let (levels, want) = (take(format!("input/{side}/{photo}")), take(format!("output/{file}/{photo}")));
            check(&data.join(format!("data/models/{file}.tflite")), levels, want);
        }
    }
}

#[test]
fn fixtures_give_litert_s_outputs() {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../net/tests/fixtures"].iter().collect();
    let mut golden = weights::open_where(folder.join("tflite.safetensors"), |_| true).unwrap().tensors;
    // As `make_tflite.py` has it.
    let levels: Vec<f32> = (0..64 * 64 * 3).map(|i| (i * 7919 % 256) as f32).collect();
    for file in ["v1", "v2_f16", "v3_small_features_f16"] {
        let want = golden.remove(&format!("golden.output.{file}")).unwrap();
        let photo = Tensor::from_f32(&[64, 64, 3], levels.clone());
        check(&folder.join(format!("{file}.tflite")), photo, want);
    }
}
