//! Keras's files: what Keras computed with them, and a V1 of Keras on photos. scripts/keras-goldens writes the files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mobilenet_kernels::Pool;
use mobilenet_kernels::layout::Order;
use mobilenet_net::recognise::Overrides;
use mobilenet_net::{Loaded, Tensor, load, weights};
use mobilenet_run::program::Options;
use mobilenet_run::{Program, reference};
use mobilenet_testing::{data, difference};

/// Largest difference over largest reference value.
const LIMIT: f64 = 1e-4;

/// What Keras computed with a file.
struct Golden {
    /// The file, relative to the folder.
    file: String,
    input: Tensor,
    /// `logits`, or `pooled` of networks without a classifier.
    output: String,
    values: Vec<f32>,
}

impl Golden {
    /// From a tensor called `logits/SIZE/FILE` or `pooled/SIZE/FILE`.
    fn of(tensors: &BTreeMap<String, Tensor>, name: &str) -> Option<Golden> {
        let (output, rest) = name.split_once('/').filter(|(output, _)| ["logits", "pooled"].contains(output))?;
        let (size, file) = rest.split_once('/')?;
        let input = tensors[&format!("input/{size}")].clone();
        let values = tensors[name].clone().into_f32();
        Some(Golden { file: file.to_owned(), input, output: output.to_owned(), values })
    }
}

/// The results in a folder.
fn goldens(folder: &Path) -> Vec<Golden> {
    let tensors = weights::open_where(folder.join("goldens.safetensors"), |_| true).unwrap().tensors;
    tensors.keys().filter_map(|name| Golden::of(&tensors, name)).collect()
}

/// How far the network in `path` is from Keras, compiled and by the scalar reference.
fn errors(path: &Path, golden: &Golden, with_reference: bool) -> f64 {
    let Loaded { graph, params, .. } = load(path, &Overrides::default()).unwrap();
    let [n, _, h, w] = golden.input.shape().try_into().expect("an input of four axes");
    let input = golden.input.clone().into_f32();
    let mut error = 0.0;
    if with_reference {
        let results = reference::run(&graph, &params, &input, n, h, w).unwrap();
        error = difference(&results[graph.find(&golden.output).unwrap().0], &golden.values);
    }
    let outputs = vec![golden.output.clone()];
    let program =
        Program::compile(&graph, params, &Options { order: Order::Nchw, outputs, ..Options::default() }).unwrap();
    let mut arena = program.arena(n, h, w, &Arc::new(Pool::new(2))).unwrap();
    arena.input_mut().copy_from_slice(&input);
    program.run(&mut arena);
    difference(arena.output(&golden.output).unwrap(), &golden.values).max(error)
}

/// The files of the repository are compressed: HDF5 is full of zeros.
fn unpacked(folder: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in walk(folder) {
        let name = file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        let mut bytes = std::fs::read(&file).unwrap();
        let place = to.path().join(name.trim_end_matches(".gz"));
        if name.ends_with(".gz") {
            let packed = std::mem::take(&mut bytes);
            flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
        }
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, bytes).unwrap();
    }
    to
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn tiny_files_of_keras_give_its_logits() {
    let folder = unpacked(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../net/tests/fixtures/keras"));
    let goldens = goldens(folder.path());
    assert_eq!(goldens.len(), 12);
    for golden in goldens {
        let error = errors(&folder.path().join(&golden.file), &golden, true);
        println!("{:44} {error:.1e}", golden.file);
        assert!(error <= LIMIT, "{}: {error:.1e}", golden.file);
    }
}

#[test]
fn all_files_of_keras_give_its_logits() {
    let Some(folder) = std::env::var_os("MOBILENET_KERAS_GOLDENS").map(PathBuf::from) else {
        // Gigabytes that a script writes, beyond the test data: the fixtures above stand for them.
        return eprintln!("not run: MOBILENET_KERAS_GOLDENS names no folder that scripts/keras-goldens wrote");
    };
    let mut bad = Vec::new();
    for golden in goldens(&folder) {
        let error = errors(&folder.join(&golden.file), &golden, false);
        println!("{:44} {error:.1e}", golden.file);
        if error > LIMIT {
            bad.push(golden.file);
        }
    }
    assert!(bad.is_empty(), "{bad:?}");
}

/// The logits of Keras's V1 at width 0.25 with ImageNet's weights, by ONNX Runtime.
#[test]
fn keras_v1_gives_onnx_runtimes_logits() {
    let Some(data) = data() else { return };
    let prefix = "output/mobilenet_v1_0.25_224_keras_unfolded_f32/";
    let wanted = |name: &str| name.starts_with("input/224/") || name.starts_with(prefix);
    let golden = weights::open_where(data.join("data/golden/golden.safetensors"), wanted).unwrap().tensors;
    let v1 = data.join("data/models/mobilenet_v1_0.25_224_keras_unfolded_f32.safetensors");
    let Loaded { graph, params, .. } = load(v1, &Overrides::default()).unwrap();
    let program = Program::compile(&graph, params, &Options { order: Order::Nhwc, ..Options::default() }).unwrap();
    let mut arena = program.arena(1, 224, 224, &Arc::new(Pool::new(2))).unwrap();
    for photo in ["cat", "grace_hopper"] {
        let levels = golden[&format!("input/224/{photo}")].clone().into_f32();
        arena.input_mut().iter_mut().zip(&levels).for_each(|(to, level)| *to = level / 127.5 - 1.0);
        program.run(&mut arena);
        let want = golden[&format!("{prefix}{photo}")].clone().into_f32();
        let got = arena.output("logits").unwrap();
        // Keras's network ends in its softmax.
        let error = difference(&softmax(got), &want).min(difference(got, &want));
        println!("{photo}: {error:.1e}");
        assert!(error <= LIMIT, "{photo}: {error:.1e}");
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
