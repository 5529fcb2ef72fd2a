//! `run`, from tensors to tensors.

mod common;

use std::sync::Arc;

use common::{Folder, noise, small};
use mobilenet::net::{Overrides, Padding, load, weights};
use mobilenet::run::Options;
use mobilenet::{Params, Pool, Program, Tensor};
use mobilenet_testing::{data, difference};

const RUN: &str = "run --weights w.safetensors --output out.safetensors --input";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    folder
}

/// Runs the program on `input` and opens what it wrote.
#[track_caller]
fn outputs(folder: &Folder, input: &Tensor, flags: &str) -> Params {
    folder.tensor("in.safetensors", input.clone());
    let ended = folder.run(&format!("{RUN} in.safetensors {flags}"));
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "", ""), "{flags}");
    weights::open(folder.path("out.safetensors")).unwrap()
}

/// What the library computes.
fn expected(folder: &Folder, input: &Tensor, names: &[&str]) -> Vec<Vec<f32>> {
    let loaded = load(folder.path("w.safetensors"), &Overrides::default()).unwrap();
    let outputs = names.iter().map(|name| name.to_string()).collect();
    let options = Options { outputs, ..Options::default() };
    let program = Program::compile(&loaded.graph, loaded.params, &options).unwrap();
    let [n, _, h, w] = *input.shape() else { panic!("four axes") };
    let mut arena = program.arena(n, h, w, &Arc::new(Pool::new(1))).unwrap();
    arena.input_mut().copy_from_slice(&input.clone().into_f32());
    program.run(&mut arena);
    names.iter().map(|name| arena.output(name).unwrap().to_vec()).collect()
}

#[test]
fn logits_and_features_are_written_and_equal_the_librarys() {
    let folder = folder();
    let input = noise(&[2, 3, 64, 96]);
    let params = outputs(&folder, &input, "");
    let shapes: Vec<_> = params.tensors.iter().map(|(name, t)| (name.as_str(), t.shape().to_vec())).collect();
    assert_eq!(shapes, [("features", vec![2, 200, 2, 3]), ("logits", vec![2, 4])]);
    for (name, want) in ["logits", "features"].iter().zip(expected(&folder, &input, &["logits", "features"])) {
        assert_eq!(params.tensors[*name].clone().into_f32(), want, "{name}");
    }
}

#[test]
fn taps_are_named_after_blocks() {
    let folder = folder();
    let names = ["stem", "block1", "block3.expand", "block3.depthwise", "block11", "head", "pooled", "hidden"];
    let flags: String = names.iter().map(|name| format!("--tap {name} ")).collect();
    let input = noise(&[1, 3, 65, 64]);
    let params = outputs(&folder, &input, &flags);
    let want = expected(&folder, &input, &names);
    let shapes = [
        vec![1, 8, 33, 32],
        vec![1, 8, 17, 16],
        vec![1, 32, 9, 8],
        vec![1, 32, 9, 8],
        vec![1, 32, 3, 2],
        vec![1, 200, 3, 2],
        vec![1, 200],
        vec![1, 1024],
    ];
    for ((name, want), shape) in names.iter().zip(want).zip(shapes) {
        let tensor = params.tensors[*name].clone();
        assert_eq!(tensor.shape(), shape, "{name}");
        assert!(difference(&tensor.into_f32(), &want) < 1e-5, "{name}");
    }
    assert_eq!(params.tensors.len(), names.len() + 2);
}

#[test]
fn one_image_may_come_without_the_batchs_axis() {
    let folder = folder();
    let whole = outputs(&folder, &noise(&[1, 3, 40, 56]), "");
    assert_eq!(outputs(&folder, &noise(&[3, 40, 56]), ""), whole);
}

#[test]
fn half_precision_input_is_read() {
    let folder = folder();
    let halves = mobilenet::net::Data::F16(vec![Default::default(); 3 * 32 * 32]);
    let params = outputs(&folder, &Tensor::new(vec![3, 32, 32], halves), "");
    assert_eq!(params, outputs(&folder, &Tensor::from_f32(&[3, 32, 32], vec![0.0; 3 * 32 * 32]), ""));
}

#[test]
fn odd_thin_and_tiny_inputs_give_results() {
    let folder = folder();
    for padding in ["symmetric", "same"] {
        for shape in [[1, 3, 1, 1], [1, 3, 1, 5000], [1, 3, 5000, 1], [3, 3, 2, 3], [1, 3, 7, 31], [5, 3, 33, 1]] {
            let params = outputs(&folder, &noise(&shape), &format!("--padding {padding}"));
            assert_eq!(params.tensors["logits"].shape(), [shape[0], 4], "{shape:?}");
            let is_finite = params.tensors["logits"].clone().into_f32().iter().all(|v| v.is_finite());
            assert!(is_finite, "{shape:?} {padding}");
        }
    }
}

#[test]
fn values_that_are_no_numbers_go_through() {
    let folder = folder();
    let mut values = noise(&[1, 3, 32, 32]).into_f32();
    values[..2000].fill(f32::NAN);
    let params = outputs(&folder, &Tensor::from_f32(&[1, 3, 32, 32], values), "");
    assert_eq!(params.tensors["logits"].shape(), [1, 4]);
}

#[test]
fn threads_change_no_bit() {
    let folder = folder();
    let input = noise(&[1, 3, 96, 96]);
    let one = outputs(&folder, &input, "--threads 1");
    for threads in [2, 3, 7] {
        assert_eq!(outputs(&folder, &input, &format!("--threads {threads}")), one, "{threads}");
    }
}

#[test]
fn what_the_user_says_replaces_what_the_file_says() {
    let folder = folder();
    let input = noise(&[1, 3, 64, 64]);
    let own = outputs(&folder, &input, "");
    assert_eq!(outputs(&folder, &input, "--model mobilenet_v3_small --width 0.35 --width-rule tensorflow"), own);
    assert_eq!(outputs(&folder, &input, "--classes 4 --padding symmetric --bn-epsilon 0.001"), own);
    for flags in ["--padding same", "--bn-epsilon 0.5", "--output-stride 16", "--total-stride 16"] {
        assert_ne!(outputs(&folder, &input, flags).tensors["logits"], own.tensors["logits"], "{flags}");
    }
    let dilated = outputs(&folder, &input, "--output-stride 8");
    assert_eq!(dilated.tensors["features"].shape(), [1, 200, 8, 8]);
}

#[test]
fn a_table_of_ones_own_runs_on_weights_of_its_names() {
    let folder = folder();
    let table = mobilenet::arch::find("mobilenet_v3_small").unwrap();
    folder.write("my.toml", table.to_toml());
    let input = noise(&[1, 3, 64, 64]);
    let own = outputs(&folder, &input, "");
    assert_eq!(outputs(&folder, &input, "--model my.toml"), own);
}

#[test]
fn an_output_that_is_a_device_stays_one_and_a_link_stays_a_link() {
    let folder = folder();
    folder.tensor("in.safetensors", noise(&[3, 32, 32]));
    let run = "run --weights w.safetensors --input in.safetensors --output";
    let piped = folder.run(&format!("{run} /dev/null"));
    assert_eq!((piped.code, piped.err.as_str()), (0, ""));
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    folder.write("file", "old");
    std::os::unix::fs::symlink(folder.path("file"), folder.path("link")).unwrap();
    assert_eq!(folder.run(&format!("{run} link")).code, 0);
    assert!(folder.path("link").is_symlink());
    assert_eq!(weights::open(folder.path("file")).unwrap().tensors.len(), 2);
    assert_eq!(folder.names(), ["file", "in.safetensors", "link", "w.safetensors"]);
}

/// `--model M --width W [--padding same …]` from the metadata, as the reference files are checked from outside.
#[test]
fn reference_files_are_matched_from_the_command_line() {
    let Some(data) = data() else { return };
    let folder = Folder::new();
    let mut count = 0;
    for entry in std::fs::read_dir(data.join("golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "safetensors") {
            continue;
        }
        let golden = weights::open_where(&path, |name| name == "golden.output.logits").unwrap();
        let Some(logits) = golden.tensors.get("golden.output.logits") else { continue };
        let says = |key: &str| golden.metadata[key].as_str();
        let padding: Padding = says("padding").parse().unwrap();
        let file = path.display();
        let call = format!(
            "run --model {} --width {} --weights {file} --input {file} --input-name golden.input --output out \
             --padding {padding} --classes {}",
            says("family"),
            says("width"),
            says("classes"),
        );
        for rule in [String::new(), format!(" --width-rule {}", says("width_rule"))] {
            let ended = folder.run(&format!("{call}{rule}"));
            assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "", ""), "{call}{rule}");
            let ours = weights::open(folder.path("out")).unwrap().tensors["logits"].clone();
            assert_eq!(ours.shape(), logits.shape());
            assert!(difference(&ours.into_f32(), &logits.clone().into_f32()) <= 1e-4, "{call}{rule}");
        }
        count += 1;
    }
    assert!(count > 0);
}
