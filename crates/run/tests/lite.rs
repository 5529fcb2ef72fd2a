//! TensorFlow Lite's float networks against what LiteRT's reference kernels computed with them.

use mobilenet_kernels::Pool;
use mobilenet_kernels::layout::Order;
use mobilenet_net::{Loaded, Overrides, Recognised, Tensor, load, weights};
use mobilenet_run::Program;
use mobilenet_run::program::Options;
use mobilenet_testing::{data, difference};
use std::path::Path;
use std::sync::Arc;

/// Largest difference over largest reference value.
const LIMIT: f64 = 1e-4;

/// Largest difference from the references of both photos.
fn error(data: &Path, file: &str, side: usize, output: &str) -> f64 {
    let golden = weights::open_where(data.join("data/golden/golden.safetensors"), |name| {
        name.starts_with(&format!("output/{file}/")) || name.starts_with(&format!("input/{side}/"))
    });
    let golden = golden.unwrap().tensors;
    let Loaded { recognised: Recognised { preprocessing, .. }, graph, params } =
        load(data.join(format!("data/models/{file}.tflite")), &Overrides::default()).unwrap();
    assert_eq!(preprocessing.size, [side; 2]);
    let options = Options { order: Order::Nhwc, outputs: vec![output.into()], ..Options::default() };
    let program = Program::compile(&graph, params, &options).unwrap();
    let mut arena = program.arena(1, side, side, &Arc::new(Pool::new(2))).unwrap();
    let mut worst: f64 = 0.0;
    for photo in ["cat", "grace_hopper"] {
        let levels = golden[&format!("input/{side}/{photo}")].clone().into_f32();
        let [mean, std] = [preprocessing.mean, preprocessing.std];
        let normal = levels.iter().enumerate().map(|(i, level)| (level / 255.0 - mean[i % 3]) / std[i % 3]);
        arena.input_mut().iter_mut().zip(normal).for_each(|(to, from)| *to = from);
        program.run(&mut arena);
        let mut got = arena.output(output).unwrap().to_vec();
        if output == "logits" {
            softmax(&mut got);
        }
        let want = golden.get(&format!("output/{file}/{photo}")).cloned().map(Tensor::into_f32).unwrap();
        let error = difference(&got, &want);
        println!("{file} {photo}: {error:.1e}");
        worst = worst.max(error);
    }
    worst
}

/// These files' last operator.
fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::MIN, f32::max);
    values.iter_mut().for_each(|v| *v = (*v - largest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|v| *v /= sum);
}

#[test]
fn float_files_give_litert_s_outputs() {
    let Some(data) = data() else { return };
    for (file, side, output) in [
        ("mobilenet_v1_0.25_224_float", 224, "logits"),
        ("mobilenet_v1_0.25_96_vww_float", 96, "logits"),
        ("mobilenet_v3_small_0.75_224_embedder_float", 224, "hidden"),
    ] {
        let error = error(&data, file, side, output);
        assert!(error <= LIMIT, "{file}: {error:.1e}");
    }
}
