//! Bad flags, variables, tensors and outputs: the exact text, the exit code, no panic and no hang.

mod common;

use common::{Folder, noise, photo, small};
use mobilenet::net::Data;
use mobilenet::{Isa, Tensor};

/// A folder with good weights, tensors and photos.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    folder.tensor("in.safetensors", noise(&[1, 3, 64, 64]));
    folder.write("photo.bmp", photo(40, 30, 1));
    folder
}

#[test]
fn usage_that_is_wrong_is_refused() {
    let folder = folder();
    folder.refused_usage(
        "bench --speed 1",
        "unexpected argument '--speed' found\n\n  tip: to pass '--speed' as a value, use '-- --speed'\n\nUsage: \
         mobilenet bench [OPTIONS] [MODEL]",
    );
    folder.refused_usage(
        "run --weights w.safetensors",
        "the following required arguments were not provided:\n  --input <FILE>\n  --output <FILE>\n\nUsage: \
         mobilenet run --weights <FILE> --input <FILE> --output <FILE>",
    );
    folder.refused_usage("guess photo.bmp", "unrecognized subcommand 'guess'\n\nUsage: mobilenet <COMMAND>");
}

#[test]
fn nonsense_in_flags_is_refused() {
    let folder = folder();
    for (flags, text) in [
        ("--width 0", "width is 0; give a number above 0, at most 16"),
        ("--width -1", "width is -1; give a number above 0, at most 16"),
        ("--width nan", "width is NaN; give a number above 0, at most 16"),
        ("--width 1e9", "width is 1000000000; give a number above 0, at most 16"),
        ("--classes 0", "the network has no classifier: it gives 1280 features, `pooled`"),
        ("--classes 1000001", "1000001 classes; give at most 1000000, 0 for a network without a classifier"),
        ("--input-channels 0", "0 input channels; give 1 to 4096"),
        ("--bn-epsilon -1", "batch-norm epsilon is -1; give a number above 0, at most 1"),
        ("--output-stride 7", "output stride is 7; give 32, 16 or 8"),
        ("--total-stride 64", "total stride is 64; give 32, 16 or 8"),
        (
            "--resolution 32768 --batch 4096",
            "4096×32768×32768 pixels do not fit the network: at input, its output is larger than 2^30 elements",
        ),
        (
            "--resolution 32768x1 --batch 4096",
            "4096×32768×1 pixels do not fit the network: at stem.conv, its output is larger than 2^30 elements",
        ),
    ] {
        folder.refused(&format!("bench mobilenet_v2 --seconds 0 {flags}"), text);
    }
    for (arguments, text) in [
        (
            "bench mobilenet_v2 --resolution 0",
            "invalid value '0' for '--resolution <RESOLUTION>': give one number from 1 to 32768, or HEIGHTxWIDTH",
        ),
        (
            "bench mobilenet_v2 --resolution 99999999999999999999",
            "invalid value '99999999999999999999' for '--resolution <RESOLUTION>': give one number from 1 to 32768, \
             or HEIGHTxWIDTH",
        ),
        (
            "bench mobilenet_v2 --resolution 224x",
            "invalid value '224x' for '--resolution <RESOLUTION>': give one number from 1 to 32768, or HEIGHTxWIDTH",
        ),
        ("bench mobilenet_v2 --batch 0", "invalid value '0' for '--batch <BATCH>': 0 is not in 1..=4096"),
        ("bench mobilenet_v2 --batch 65536", "invalid value '65536' for '--batch <BATCH>': 65536 is not in 1..=4096"),
        ("bench mobilenet_v2 --threads 0", "invalid value '0' for '--threads <N>': 0 is not in 1..=64"),
        (
            "bench mobilenet_v2 --seconds -1",
            "invalid value '-1' for '--seconds <SECONDS>': give a number from 0 to 3600",
        ),
        ("bench mobilenet_v2 --width wide", "invalid value 'wide' for '--width <FACTOR>': invalid float literal"),
        (
            "bench mobilenet_v2 --padding valid",
            "invalid value 'valid' for '--padding <PADDING>': valid is no padding; give symmetric or same",
        ),
        (
            "bench mobilenet_v2 --width-rule slim",
            "invalid value 'slim' for '--width-rule <RULE>': there is no width rule \"slim\"; there are \
             tensorflow, timm, torchvision, keras",
        ),
        (
            "bench mobilenet_v2 --activation gelu",
            "invalid value 'gelu' for '--activation <NAME>': there is no activation \"gelu\"; there are relu, \
             relu6, h-swish, hard-sigmoid, sigmoid, swish",
        ),
        ("classify photo.bmp --top 0", "invalid value '0' for '--top <K>': 0 is not in 1..=1000000"),
        (
            "classify photo.bmp --crop 0",
            "invalid value '0' for '--crop <SIZE>': give one number from 1 to 32768, or HEIGHTxWIDTH",
        ),
        (
            "classify photo.bmp --resize 0",
            "invalid value '0' for '--resize <PIXELS|squash>': give 1 to 8192 pixels, or squash",
        ),
        ("classify photo.bmp --std 0", "invalid value '0' for '--std <R,G,B>': give numbers above 0"),
        (
            "classify photo.bmp --mean 1,2",
            "invalid value '1,2' for '--mean <R,G,B>': give three numbers with commas between, or one for all",
        ),
        (
            "classify photo.bmp --filter nearest",
            "invalid value 'nearest' for '--filter <FILTER>': give bilinear or bicubic",
        ),
    ] {
        folder.refused_usage(arguments, text);
    }
    let ended = folder.run("bench mobilenet_v2 --precision f64");
    let text = "error: invalid value 'f64' for '--precision <PRECISION>'\n  [possible values: f32, f16, bf16]\n\n\
                For more information, try '--help'.\n";
    assert_eq!((ended.code, ended.err.as_str()), (2, text));
}

#[test]
fn an_instruction_set_that_is_none_or_not_here_is_refused() {
    let folder = folder();
    let asked = |name| folder.run_with("bench mobilenet_v3_small --seconds 0", &[("MOBILENET_ISA", name)], b"");
    let ended = asked("nonsense");
    let text = "error: MOBILENET_ISA=nonsense names no instruction set; valid: portable, avx2, avx512\n";
    assert_eq!((ended.code, ended.err.as_str()), (2, text));
    if Isa::detect() < Isa::Avx512 {
        let ended = asked("avx512");
        assert_eq!(ended.code, 2);
        let text = "error: MOBILENET_ISA=avx512 needs more than this processor has; valid here: portable";
        assert!(ended.err.starts_with(text), "{}", ended.err);
    }
}

/// Half a gigabyte of address space: a request for more is refused by the system.
#[test]
#[cfg(target_os = "linux")]
fn more_memory_than_there_is_is_an_error() {
    let mut command = std::process::Command::new("sh");
    let bench =
        format!("ulimit -v 524288; {} bench mobilenet_v2 --resolution 4096 --threads 1 --memory low", common::PROGRAM);
    command.args(["-c", &bench]);
    let ended = Folder::new().end(command, b"");
    let text = "error: 1×4096×4096 pixels need 962 MiB of memory, which the system does not give; take fewer\n";
    assert_eq!((ended.code, ended.err.as_str()), (2, text));
}

#[test]
fn bad_input_tensors_are_refused() {
    let folder = folder();
    let run = "run --weights w.safetensors --output out.safetensors --input";
    folder.refused(&format!("{run} none.safetensors"), "none.safetensors: No such file or directory (os error 2)");
    folder.refused(
        &format!("{run} in.safetensors --input-name x"),
        "in.safetensors: there is no tensor named x; --input-name gives another",
    );
    folder.refused(
        &format!("{run} photo.bmp"),
        "photo.bmp: has no known format; weights are read from safetensors, Keras (.h5), Keras (.keras), PyTorch (.pth), \
         TensorFlow.js (model.json) and TensorFlow Lite",
    );
    for (name, tensor, text) in [
        ("flat", noise(&[3, 64]), "flat: input has shape [3, 64]; N×C×H×W or C×H×W is needed"),
        ("deep", noise(&[1, 1, 3, 8, 8]), "deep: input has shape [1, 1, 3, 8, 8]; N×C×H×W or C×H×W is needed"),
        ("four", noise(&[1, 4, 64, 64]), "four: input has 4 channels; the network takes 3"),
        ("last", noise(&[1, 64, 64, 3]), "last: input has 64 channels; the network takes 3"),
        ("none", noise(&[0, 3, 64, 64]), "0×64×64 pixels do not fit the network: at input, a size is zero"),
        ("thin", noise(&[1, 3, 0, 64]), "1×0×64 pixels do not fit the network: at input, a size is zero"),
        (
            "bytes",
            Tensor::new(vec![3, 8, 8], Data::U8(vec![7; 192])),
            "bytes: input holds integers; floats are needed, as the network was trained",
        ),
    ] {
        folder.tensor(name, tensor);
        folder.refused(&format!("{run} {name}"), text);
    }
    folder.refused(
        &format!("{run} in.safetensors --tap block99"),
        "the network has no output or tap named block99; it has features, logits, stem, block1.depthwise, block1, \
         block2.expand, block2.depthwise, block2, block3.expand, block3.depthwise, block3, block4.expand, \
         block4.depthwise, block4, block5.expand, block5.depthwise, block5, block6.expand, block6.depthwise, \
         block6, block7.expand, block7.depthwise, block7, block8.expand, block8.depthwise, block8, block9.expand, \
         block9.depthwise, block9, block10.expand, block10.depthwise, block10, block11.expand, block11.depthwise, \
         block11, head, pooled, hidden",
    );
    assert!(!folder.path("out.safetensors").exists());
}

#[test]
fn an_output_that_cannot_be_written_is_refused_and_nothing_is_left() {
    let folder = folder();
    std::fs::create_dir(folder.path("dir")).unwrap();
    let before = folder.names();
    let run = "run --weights w.safetensors --input in.safetensors --output";
    folder.refused(
        &format!("{run} none/out.safetensors"),
        "none/out.safetensors: there is no directory none; make it first",
    );
    folder.refused(&format!("{run} dir"), "dir: a directory; give a file");
    folder.refused(
        &format!("{run} photo.bmp/out.safetensors"),
        "photo.bmp/out.safetensors: cannot be written: Not a directory (os error 20)",
    );
    if cfg!(target_os = "linux") {
        // Not even root may make files there; it is told otherwise than others.
        let ended = folder.run(&format!("{run} /proc/out.safetensors"));
        let texts = ["No such file or directory (os error 2)", "Permission denied (os error 13)"];
        let is_said =
            texts.iter().any(|text| ended.err == format!("error: /proc/out.safetensors: cannot be written: {text}\n"));
        assert!(ended.code == 2 && is_said, "{ended:?}");
    }
    assert_eq!(folder.names(), before);
    // A file that is there already survives a failing run.
    folder.write("out.safetensors", "old");
    assert_eq!(folder.run(&format!("{run} out.safetensors --tap block99")).code, 2);
    assert_eq!(std::fs::read(folder.path("out.safetensors")).unwrap(), b"old");
    assert_eq!(folder.names().len(), before.len() + 1);
}
