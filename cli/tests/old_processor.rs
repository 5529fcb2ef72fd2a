//! The program on an emulated processor from before AVX.

mod common;

use std::process::Command;

use common::{Folder, PROGRAM, noise, photo, small};
use mobilenet::net::weights;
use mobilenet_testing::{difference, skipped};
use serde_json::Value;

/// Debian: `apt-get install qemu-user-static`.
const EMULATOR: &str = "qemu-x86_64-static";

/// Nehalem, of 2008, has SSE 4.2 and nothing newer.
fn emulated(arguments: &str) -> Command {
    let mut command = Command::new(EMULATOR);
    command.args(["-cpu", "Nehalem", PROGRAM]).args(arguments.split(' ')).env_remove("MOBILENET_ISA");
    command
}

fn emulator_is_there() -> bool {
    let there = cfg!(target_arch = "x86_64") && Command::new(EMULATOR).arg("--version").output().is_ok();
    if !there {
        skipped(&format!("there is no {EMULATOR} here (apt-get install qemu-user-static)"));
    }
    there
}

#[test]
fn a_processor_without_avx_gives_the_portable_bits_and_the_same_answers() {
    if !emulator_is_there() {
        return;
    }
    let folder = Folder::new();
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    folder.tensor("in.safetensors", noise(&[2, 3, 64, 64]));
    folder.write("photo.bmp", photo(90, 70, 3));

    let run = "run --weights w.safetensors --input in.safetensors --threads 2 --output";
    let old = folder.end(emulated(&format!("{run} old.safetensors")), b"");
    assert_eq!((old.code, old.err.as_str()), (0, ""));
    assert_eq!(folder.run(&format!("{run} native.safetensors")).code, 0);
    let portable = [("MOBILENET_ISA", "portable")];
    assert_eq!(folder.run_with(&format!("{run} portable.safetensors"), &portable, b"").code, 0);
    let logits = |name: &str| weights::open(folder.path(name)).unwrap().tensors["logits"].clone().into_f32();
    let (old, native, portable) =
        (logits("old.safetensors"), logits("native.safetensors"), logits("portable.safetensors"));
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&old), bits(&portable), "the portable instruction set on either processor");
    let error = difference(&old, &native);
    println!("old against native: {error:.1e}");
    assert!(error <= 1e-4, "{error}");

    let classify = "classify photo.bmp --weights w.safetensors --json";
    let top = |line: &Value| -> Vec<(u64, f64)> {
        let class = |c: &Value| (c["class"].as_u64().unwrap(), c["probability"].as_f64().unwrap());
        line["top"].as_array().unwrap().iter().map(class).collect()
    };
    let old = top(&folder.end(emulated(classify), b"").json()[0]);
    let native = top(&folder.run(classify).json()[0]);
    assert_eq!(old.len(), 4);
    for (old, native) in old.iter().zip(&native) {
        assert_eq!(old.0, native.0, "classes");
        assert!((old.1 - native.1).abs() < 1e-4, "probabilities {} and {}", old.1, native.1);
    }
}

#[test]
fn a_processor_without_avx_refuses_avx2() {
    if !emulator_is_there() {
        return;
    }
    let mut command = emulated("bench mobilenet_v3_small --seconds 0");
    command.env("MOBILENET_ISA", "avx2");
    let ended = Folder::new().end(command, b"");
    let text = "error: MOBILENET_ISA=avx2 needs more than this processor has; valid here: portable\n";
    assert_eq!((ended.code, ended.err.as_str()), (2, text));
}
