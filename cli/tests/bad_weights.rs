//! Bad weights of every kind: the exact text, the exit code, no panic and no hang.

mod common;

use std::io::{Cursor, Write};

use common::{Folder, fresh, noise, photo, small};
use mobilenet::Tensor;
use mobilenet::net::{Data, weights};

/// A folder with good weights, tensors and photos.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    folder.tensor("in.safetensors", noise(&[1, 3, 64, 64]));
    folder.write("photo.bmp", photo(40, 30, 1));
    folder
}

/// A safetensors file of this header and data.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A `.pth` file around a pickle.
fn pth(pickle: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", stored).unwrap();
    zip.write_all(pickle).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn damaged_weights_are_refused() {
    let folder = folder();
    let good = std::fs::read(folder.path("w.safetensors")).unwrap();
    let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let huge = r#"{"stem.conv.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    let large = r#"{"stem.conv.weight":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}"#;
    let double = r#"{"stem.conv.weight":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#;
    for (name, bytes, text) in [
        ("empty.safetensors", vec![], "the file is empty"),
        (
            "header.safetensors",
            good[..500].to_vec(),
            "its header claims 19256 bytes, and the file has 492 after the length: it is cut short or damaged",
        ),
        (
            "cut.safetensors",
            good[..good.len() - 100].to_vec(),
            "tensor stem.norm.bias lies at 1366704..1366736, and the file holds 1366732 bytes of data: it is cut \
             short or damaged",
        ),
        (
            "noise.safetensors",
            noise,
            "has no known format; weights are read from safetensors, Keras (.h5), Keras (.keras), PyTorch (.pth), \
             TensorFlow.js (model.json) and TensorFlow Lite",
        ),
        (
            "claim.safetensors",
            [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
            "its header claims 18446744073709551615 bytes; the format allows 100000000",
        ),
        (
            "beyond.safetensors",
            [&5000u64.to_le_bytes()[..], b"{\"a\":1}"].concat(),
            "its header claims 5000 bytes, and the file has 7 after the length: it is cut short or damaged",
        ),
        ("json.safetensors", safetensors("{\"a\":", b""), "its header: EOF while parsing a value at line 1 column 5"),
        (
            "huge.safetensors",
            safetensors(huge, b""),
            "tensor stem.conv.weight of shape [4294967296, 4294967296] and type F32 lies on 0 bytes",
        ),
        (
            "large.safetensors",
            safetensors(large, b""),
            "tensor stem.conv.weight lies at 0..4294967296, and the file holds 0 bytes of data: it is cut short or \
             damaged",
        ),
        (
            "double.safetensors",
            safetensors(double, &[0; 8]),
            "tensor stem.conv.weight has type F64; F32, F16, BF16, I8, U8, I32 and I64 are read",
        ),
        (
            "hostile.pth",
            pth(b"\x80\x02cos\nsystem\nX\x04\0\0\0ls /\x85R."),
            "the pickle asks for os.system; only tensors, dictionaries, lists, numbers and strings are read. \
             Nothing was executed.",
        ),
        ("endless.pth", pth(b"\x80\x02(((((((("), "the pickle ends in the middle of an instruction"),
        (
            "cut.pth",
            pth(b"\x80\x02}.")[..60].to_vec(),
            "is a damaged or truncated zip archive: invalid Zip archive: Could not find EOCD",
        ),
        (
            "page.pth",
            b"<!DOCTYPE html>".to_vec(),
            "is a web page, not the file that its link promised; weights are read from safetensors, Keras (.h5), \
             Keras (.keras), PyTorch (.pth), TensorFlow.js (model.json) and TensorFlow Lite",
        ),
    ] {
        folder.write(name, bytes);
        folder.refused(&format!("classify photo.bmp --weights {name}"), &format!("{name}: {text}"));
    }
    folder.refused("classify photo.bmp --weights none.pth", "none.pth: No such file or directory (os error 2)");
    std::fs::create_dir(folder.path("dir.pth")).unwrap();
    folder.refused("classify photo.bmp --weights dir.pth", "dir.pth: is a folder; give the weights file itself");
}

#[test]
fn weights_of_another_network_are_refused() {
    let folder = folder();
    let run = "run --weights w.safetensors --input in.safetensors --output out.safetensors";
    folder.refused(
        &format!("{run} --classes 5"),
        "w.safetensors: tensor classifier.weight has shape [4, 1024]; mobilenet_v3_small (width 0.35) needs [5, \
         1024]\nw.safetensors: tensor classifier.bias has shape [4]; mobilenet_v3_small (width 0.35) needs [5]",
    );
    folder.refused(
        &format!("{run} --width 0.3"),
        "w.safetensors: tensor head.conv.weight has shape [200, 32, 1, 1]; mobilenet_v3_small (width 0.3) needs \
         [176, 32, 1, 1]\nw.safetensors: tensor head.norm.weight has shape [200]; mobilenet_v3_small (width 0.3) \
         needs [176]\nw.safetensors: tensor head.norm.bias has shape [200]; mobilenet_v3_small (width 0.3) needs \
         [176]\nw.safetensors: tensor head.norm.running_mean has shape [200]; mobilenet_v3_small (width 0.3) needs \
         [176]\nw.safetensors: tensor head.norm.running_var has shape [200]; mobilenet_v3_small (width 0.3) needs \
         [176]\nw.safetensors: tensor hidden.weight has shape [1024, 200]; mobilenet_v3_small (width 0.3) needs \
         [1024, 176]",
    );
    folder.refused(
        &format!("{run} --model mobilenet_v9"),
        "there is no network \"mobilenet_v9\"; did you mean mobilenet_v1? give one of mobilenet_v1, mobilenet_v2, \
         mobilenet_v3_large, mobilenet_v3_small, mobilenet_v3_large_minimal, mobilenet_v3_small_minimal, or a file \
         ending in .toml",
    );
    let ended = folder.run(&format!("{run} --model mobilenet_v2"));
    // Eight of those that do not fit, that are missing and that are too many, and how many more there are of each.
    assert_eq!((ended.code, ended.out.as_str(), ended.err.lines().count()), (2, "", 27));
    let first = "error: w.safetensors: tensor stem.conv.weight has shape [8, 3, 3, 3]; mobilenet_v2 (width 1.0) \
                 needs [32, 3, 3, 3]";
    assert_eq!(ended.err.lines().next(), Some(first));
    assert_eq!(ended.err.lines().last(), Some("w.safetensors: 30 more tensors are no part of it"));

    let mut params = fresh("mobilenet_v3_small", &small());
    let stem = params.tensors["stem.conv.weight"].clone();
    let integers = Tensor::new(stem.shape().to_vec(), Data::I32(vec![1; stem.data().len()]));
    params.tensors.insert("stem.conv.weight".into(), integers);
    weights::save(folder.path("integers.safetensors"), &params).unwrap();
    folder.refused(
        "classify photo.bmp --weights integers.safetensors",
        "integers.safetensors: tensor stem.conv.weight holds integers; mobilenet_v3_small (width 0.35) needs floats",
    );
    params.tensors.insert("stem.conv.weight".into(), stem);
    params.metadata.insert("bn_epsilon".into(), "nan".into());
    weights::save(folder.path("metadata.safetensors"), &params).unwrap();
    folder.refused(
        "classify photo.bmp --weights metadata.safetensors",
        "metadata.safetensors: its metadata says bn_epsilon is \"nan\"; it must be a number above 0, at most 1",
    );
    folder.tensor("other.safetensors", noise(&[2]));
    folder.refused(
        "bench other.safetensors",
        "other.safetensors: its tensors are not named as torchvision, timm, Keras or this project name those of a \
         MobileNet classifier (input, …)",
    );
    let grey = mobilenet::arch::Spec { input_channels: 1, ..small() };
    folder.weights("grey.safetensors", "mobilenet_v3_small", &grey);
    folder.refused(
        "classify photo.bmp --weights grey.safetensors",
        "mobilenet_v3_small takes 1 input channels; photos have 3 (use `run` with a tensor)",
    );
    assert!(!folder.path("out.safetensors").exists());
}

#[test]
fn missing_and_double_weights_are_refused() {
    let folder = folder();
    folder.refused("bench", "no network: give a name, see `mobilenet models`, or --weights");
    folder.refused(
        "bench w.safetensors --weights w.safetensors",
        "two weights files: give a network's name with --weights w.safetensors",
    );
}
