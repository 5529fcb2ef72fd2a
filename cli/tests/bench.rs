//! `bench`, and what every command's help has.

mod common;

use common::{Folder, fresh, noise, small};
use mobilenet::net::weights;
use mobilenet::{Isa, Params, Tensor};
use serde_json::Value;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Weights with a reference input and output; `logits` may be wrong.
fn with_golden(folder: &Folder, name: &str, change: impl Fn(&mut [f32])) {
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    folder.tensor("in.safetensors", noise(&[2, 3, 64, 64]));
    let run = "run --weights w.safetensors --input in.safetensors --output out.safetensors";
    assert_eq!(folder.run(run).code, 0);
    let mut logits = weights::open(folder.path("out.safetensors")).unwrap().tensors["logits"].clone().into_f32();
    change(&mut logits);
    let mut params: Params = fresh("mobilenet_v3_small", &small());
    params.tensors.insert("golden.input".into(), noise(&[2, 3, 64, 64]));
    params.tensors.insert("golden.output.logits".into(), Tensor::from_f32(&[2, 4], logits));
    weights::save(folder.path(name), &params).unwrap();
}

#[test]
fn json_has_the_promised_keys() {
    let folder = Folder::new();
    let call = "bench mobilenet_v3_small --width 0.35 --resolution 64x96 --batch 2 --threads 1 --seconds 0.05 --json";
    let reports = folder.run(call).json();
    let [report] = reports.as_slice() else { panic!("one object: {reports:?}") };
    let all =
        ["batch", "instruction_set", "latencies_ms", "network", "peak_rss_bytes", "resolution", "threads", "width"];
    assert_eq!(keys(report), all);
    let latencies = report["latencies_ms"].as_array().unwrap();
    assert!(!latencies.is_empty() && latencies.iter().all(|ms| ms.as_f64().unwrap() > 0.0));
    assert!(report["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(report["instruction_set"], Isa::detect().name());
    assert_eq!((&report["threads"], &report["batch"]), (&1.into(), &2.into()));
    assert_eq!((&report["width"], &report["resolution"]), (&0.35.into(), &"64x96".into()));
}

#[test]
fn an_instruction_set_can_be_forced() {
    for isa in Isa::available() {
        let call = "bench mobilenet_v3_small --width 0.35 --resolution 32 --seconds 0 --json";
        let report = Folder::new().run_with(call, &[("MOBILENET_ISA", isa.name())], b"").json();
        assert_eq!(report[0]["instruction_set"], isa.name());
    }
}

#[test]
fn no_seconds_are_one_call() {
    let report = Folder::new().run("bench mobilenet_v3_small --resolution 32 --seconds 0 --json").json();
    assert_eq!(report[0]["latencies_ms"].as_array().unwrap().len(), 1);
}

#[test]
fn the_error_against_golden_outputs_is_reported_however_the_file_is_given() {
    let folder = Folder::new();
    with_golden(&folder, "golden.safetensors", |_| {});
    for call in [
        "bench --weights golden.safetensors",
        "bench golden.safetensors",
        "bench mobilenet_v3_small --width 0.35 --weights golden.safetensors",
        "bench golden.safetensors --batch 2",
        "bench golden.safetensors --batch 3",
    ] {
        let report = folder.run(&format!("{call} --seconds 0 --json")).json();
        assert!(report[0]["error"].as_f64().unwrap() < 1e-5, "{call}: {}", report[0]["error"]);
    }
    let other = folder.run("bench golden.safetensors --resolution 96 --seconds 0 --json").json();
    assert!(other[0].get("error").is_none(), "another size than the reference's");
}

#[test]
fn a_wrong_output_and_one_that_is_no_number_show_as_errors() {
    let folder = Folder::new();
    with_golden(&folder, "wrong.safetensors", |logits| logits[0] += 10.0);
    with_golden(&folder, "nan.safetensors", |logits| logits[1] = f32::NAN);
    for name in ["wrong", "nan"] {
        let report = folder.run(&format!("bench {name}.safetensors --seconds 0 --json")).json();
        assert!(report[0]["error"].as_f64().unwrap() > 0.1, "{name}: {}", report[0]["error"]);
    }
}

#[test]
fn text_gives_the_median_and_the_speed() {
    let ended = Folder::new().run("bench mobilenet_v1 --width 0.25 --resolution 64 --seconds 0 --threads 1");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let lines: Vec<&str> = ended.out.lines().collect();
    assert!(lines[0].starts_with("mobilenet_v1 0.25 at 64x64, batch 1, 1 thread(s), "), "{}", lines[0]);
    for (line, start) in lines[1..].iter().zip(["  median ", "  speed ", "  memory "]) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn every_command_has_a_help_with_an_example() {
    for command in ["classify", "summary", "run", "bench", "profile", "models", "completions"] {
        let ended = Folder::new().run(&format!("{command} --help"));
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{command}");
        assert!(ended.out.contains("Example"), "{command} has no example");
        assert!(ended.out.contains(&format!("mobilenet {command}")), "{command}");
    }
}
