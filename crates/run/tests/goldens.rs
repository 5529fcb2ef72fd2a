//! Reference files: what torchvision and timm computed, on every instruction set. Whatever lies in the folder is tested,
//! its network taken from the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mobilenet_kernels::layout::Order;
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::recognise::Overrides;
use mobilenet_net::{Loaded, Params, Tensor, arch, load, weights};
use mobilenet_run::program::Options;
use mobilenet_run::{Program, reference};
use mobilenet_testing::{data, difference};

/// Largest difference over largest reference value.
const LIMIT: f64 = 1e-4;

/// What a library computed with the weights of a file.
struct Golden {
    path: PathBuf,
    metadata: BTreeMap<String, String>,
    /// N, channels, height, width.
    shape: [usize; 4],
    input: Vec<f32>,
    logits: Vec<f32>,
}

impl Golden {
    /// `None` for a file of another kind: no registered network, or no logits before any training.
    fn open(path: PathBuf) -> Option<Golden> {
        let Params { mut tensors, metadata } = weights::open_where(&path, |name| name.starts_with("golden.")).unwrap();
        arch::find(metadata.get("family")?).ok()?;
        let logits = tensors.remove("golden.output.logits")?.into_f32();
        let input = tensors.remove("golden.input").expect("outputs come with their input");
        let shape = input.shape().try_into().expect("an input of four axes");
        Some(Golden { path, metadata, shape, input: input.into_f32(), logits })
    }

    /// The input in `order`.
    fn input(&self, order: Order) -> Vec<f32> {
        let [n, c, h, w] = self.shape;
        let at = |i: usize| match order {
            Order::Nchw => i,
            Order::Nhwc => {
                let (image, pixel, channel) = (i / (c * h * w), i / c % (h * w), i % c);
                (image * c + channel) * h * w + pixel
            }
        };
        (0..n * c * h * w).map(|i| self.input[at(i)]).collect()
    }

    fn name(&self) -> String {
        self.path.file_stem().unwrap().to_string_lossy().into_owned()
    }
}

fn goldens(data: &Path) -> Vec<Golden> {
    let entries = std::fs::read_dir(data.join("golden")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort();
    let all: Vec<Golden> = files.into_iter().filter_map(Golden::open).collect();
    assert!(!all.is_empty(), "no reference file of a registered network in {}", data.display());
    all
}

/// The network of `loaded` against `golden`, with 1 and 2 threads.
fn compare(golden: &Golden, loaded: Loaded, isa: Isa, order: Order) {
    let options = Options { isa, order, ..Options::default() };
    let program = Program::compile(&loaded.graph, loaded.params, &options).unwrap();
    let [n, _, h, w] = golden.shape;
    for threads in [1, 2] {
        let mut arena = program.arena(n, h, w, &Arc::new(Pool::new(threads))).unwrap();
        arena.input_mut().copy_from_slice(&golden.input(order));
        program.run(&mut arena);
        let error = difference(arena.output("logits").unwrap(), &golden.logits);
        let what = format!("{:40} {isa:8} {order:?} {threads} thread(s): {error:.1e}", golden.name());
        println!("{what}");
        assert!(error <= LIMIT, "{what}");
    }
}

#[test]
fn reference_files_are_matched_on_every_instruction_set() {
    let Some(data) = data() else { return };
    for golden in goldens(&data) {
        for isa in Isa::available() {
            for order in [Order::Nchw, Order::Nhwc] {
                compare(&golden, load(&golden.path, &Overrides::default()).unwrap(), isa, order);
            }
        }
    }
}

/// The unfused graph through the scalar kernels: the truth that every instruction set is held to elsewhere.
#[test]
fn reference_files_are_matched_by_the_scalar_reference() {
    let Some(data) = data() else { return };
    for golden in goldens(&data) {
        let Loaded { graph, params, .. } = load(&golden.path, &Overrides::default()).unwrap();
        let [n, _, h, w] = golden.shape;
        let results = reference::run(&graph, &params, &golden.input, n, h, w).unwrap();
        let error = difference(&results[graph.find("logits").unwrap().0], &golden.logits);
        println!("{:40} reference: {error:.1e}", golden.name());
        assert!(error <= LIMIT, "{}: {error:.1e}", golden.name());
    }
}

/// As a user says it: `--model --width --width-rule --classes --padding --bn-epsilon`.
#[test]
fn reference_files_are_matched_without_metadata_by_what_the_user_says() {
    let Some(data) = data() else { return };
    for golden in goldens(&data) {
        let says = |key: &str| golden.metadata[key].as_str();
        let user = Overrides {
            table: Some(arch::find(says("family")).unwrap()),
            width: Some(says("width").parse().unwrap()),
            width_rule: Some(says("width_rule").parse().unwrap()),
            classes: Some(says("classes").parse().unwrap()),
            padding: Some(says("padding").parse().unwrap()),
            bn_epsilon: Some(says("bn_epsilon").parse().unwrap()),
            ..Overrides::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        weights::save(&path, &Params { metadata: BTreeMap::new(), ..weights::open(&golden.path).unwrap() }).unwrap();
        // Half of it said is enough, too: the rest follows from the shapes.
        let half = Overrides { table: None, width: None, width_rule: None, classes: None, ..user.clone() };
        for overrides in [user, half] {
            compare(&golden, load(&path, &overrides).unwrap(), Isa::detect(), Order::Nchw);
        }
    }
}

/// Logits that ONNX Runtime computed with the V2 weights, batch norm folded.
#[test]
fn torchvisions_v2_gives_onnx_runtimes_logits() {
    let Some(data) = data() else { return };
    let prefix = "output/mobilenet_v2_1.0_224_torchvision_folded_f32/";
    let wanted = |name: &str| name.starts_with("input/224/") || name.starts_with(prefix);
    let golden = weights::open_where(data.join("data/golden/golden.safetensors"), wanted).unwrap().tensors;
    let v2 = data.join("data/models/mobilenet_v2_1.0_224_torchvision.pth");
    let Loaded { graph, params, .. } = load(v2, &Overrides::default()).unwrap();
    let options = Options { order: Order::Nhwc, outputs: vec!["logits".into(), "pooled".into()], ..Options::default() };
    let program = Program::compile(&graph, params, &options).unwrap();
    let mut arena = program.arena(1, 224, 224, &Arc::new(Pool::new(2))).unwrap();
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    for photo in ["cat", "grace_hopper"] {
        let levels = golden[&format!("input/224/{photo}")].clone().into_f32();
        let normal = levels.iter().enumerate().map(|(i, level)| (level / 255.0 - mean[i % 3]) / std[i % 3]);
        arena.input_mut().iter_mut().zip(normal).for_each(|(to, from)| *to = from);
        program.run(&mut arena);
        for output in ["logits", "pooled"] {
            let want = golden.get(&format!("{prefix}{photo}/{output}")).cloned().map(Tensor::into_f32).unwrap();
            let error = difference(arena.output(output).unwrap(), &want);
            println!("{photo} {output}: {error:.1e}");
            assert!(error <= LIMIT, "{photo} {output}: {error:.1e}");
        }
    }
}
