//! Features and explanations against torchvision's own, over real weights and photos; `scripts/torchvision-reference`
//! computed them.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use mobilenet_kernels::Pool;
use mobilenet_net::{Params, weights};
use mobilenet_run::program::Options;
use mobilenet_run::{Embedder, Features, Image, Program, preprocess};
use mobilenet_testing::difference;
use mobilenet_train::explain::Explainer;

const WEIGHTS: &str = "data/models/mobilenet_v2_1.0_224_torchvision.pth";

fn reference_file() -> Params {
    weights::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torchvision_v2.safetensors")).unwrap()
}

/// The reference, a photo each: its name, class, features and map.
fn references() -> Vec<(String, usize, Vec<f32>, Vec<f32>)> {
    let Params { tensors, metadata } = reference_file();
    let photo = |(key, class): (&String, &String)| {
        let name = key.strip_suffix(".class")?;
        let tensor = |what: &str| tensors[&format!("{name}.{what}")].clone().into_f32();
        Some((name.to_owned(), class.parse().unwrap(), tensor("pooled"), tensor("map")))
    };
    metadata.iter().filter_map(photo).collect()
}

#[test]
fn features_and_explanations_are_torchvisions() {
    let Some(data) = mobilenet_testing::data() else { return };
    let weights = data.join(WEIGHTS);
    let embedder = Embedder::open(&weights, Features::Pooled, &Default::default()).unwrap();
    let loaded = mobilenet_net::load(&weights, &Default::default()).unwrap();
    let how = loaded.recognised.preprocessing;
    let mut explainer = Explainer::new(&loaded.graph, &loaded.params, how.size, &Arc::new(Pool::new(1))).unwrap();
    let references = references();
    assert!(references.len() >= 3, "{} photos", references.len());
    for (name, class, pooled, map) in references {
        let photo = data.join("data/photos").join(&name);
        let mut found = Vec::new();
        let take = |_: &Path, vector: Result<Vec<f32>, _>| {
            found = vector.unwrap();
            ControlFlow::Continue(())
        };
        embedder.each(std::iter::once(&*photo), |photo| Image::open(photo), take).unwrap();
        let error = difference(&found, &pooled);
        let mut input = vec![0.0; 3 * how.size[0] * how.size[1]];
        preprocess(&Image::open(&photo).unwrap(), &how, &mut input);
        let explanation = explainer.explain(&input, class).unwrap();
        let likeliest = mobilenet_run::classify::top_k(&explanation.logits, 1)[0].0;
        let r = correlation(&explanation.map.values, &map);
        println!("{name}: class {class}, features differ by {error:.1e}, maps correlate by {r:.6}");
        assert_eq!(likeliest, class, "{name}");
        // Decoders and resizers differ by a level here and there.
        assert!(error <= 2e-2, "{name}: features differ by {error}");
        assert!(r >= 0.99, "{name}: maps correlate by {r}");
    }
}

#[test]
fn features_of_a_tensor_are_torchvisions_to_a_ten_thousandth() {
    let Some(data) = mobilenet_testing::data() else { return };
    let loaded = mobilenet_net::load(data.join(WEIGHTS), &Default::default()).unwrap();
    let options = Options { outputs: vec!["pooled".into()], ..Options::default() };
    let program = Program::compile(&loaded.graph, loaded.params, &options).unwrap();
    let mut arena = program.arena(1, 224, 224, &Arc::new(Pool::new(1))).unwrap();
    arena.input_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i * 37 % 101) as f32 / 50.0 - 1.0);
    program.run(&mut arena);
    let right = reference_file().tensors["pattern.pooled"].clone().into_f32();
    let error = difference(arena.output("pooled").unwrap(), &right);
    println!("features differ by {error:.1e}");
    assert!(error <= 1e-4, "{error}");
}

/// Pearson's.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| {
        a.iter().zip(b).map(|(&x, &y)| f(f64::from(x) - ma, f64::from(y) - mb)).sum::<f64>()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}
