//! Safetensors files, good and bad, and files of other kinds.

mod common;

use common::{local, open, refused, safetensors};
use mobilenet_net::{Data, Params, Tensor, weights};
use mobilenet_testing::data;

const ONE: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

fn sample() -> Params {
    let mut params = Params::default();
    let half = [1.5, -2.0].map(half::f16::from_f32).to_vec();
    for (name, tensor) in [
        ("stem.conv.weight", Tensor::from_f32(&[2, 1, 1, 1], vec![0.25, -7.0])),
        ("a.half", Tensor::new(vec![2], Data::F16(half))),
        ("a.brain", Tensor::new(vec![1], Data::Bf16(vec![half::bf16::from_f32(3.0)]))),
        ("a.byte", Tensor::new(vec![3], Data::U8(vec![1, 2, 255]))),
        ("a.signed", Tensor::new(vec![], Data::I8(vec![-1]))),
        ("a.int", Tensor::new(vec![1], Data::I32(vec![-5]))),
        ("a.long", Tensor::new(vec![1], Data::I64(vec![1 << 40]))),
        ("a.empty", Tensor::from_f32(&[0, 3], vec![])),
    ] {
        params.tensors.insert(name.into(), tensor);
    }
    params.metadata.insert("family".into(), "mobilenet_v2 \"quoted\" ✓".into());
    params
}

#[test]
fn what_is_saved_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.safetensors");
    weights::save(&path, &sample()).unwrap();
    assert_eq!(weights::open(&path).unwrap(), sample());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file is gone");
}

#[test]
fn saving_replaces_and_gives_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.safetensors");
    std::fs::write(&path, "old").unwrap();
    weights::save(&path, &sample()).unwrap();
    let first = std::fs::read(&path).unwrap();
    weights::save(&path, &sample()).unwrap();
    assert_eq!(first, std::fs::read(&path).unwrap());
}

#[test]
fn the_safetensors_crate_reads_what_we_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.safetensors");
    weights::save(&path, &sample()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), sample().tensors.len());
    assert_eq!(theirs.tensor("a.int").unwrap().data(), (-5i32).to_le_bytes());
}

#[test]
fn reference_tensors_and_counters_are_left_out_unless_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
        "golden.input":{"dtype":"F64","shape":[0],"data_offsets":[1,1]},
        "bn.num_batches_tracked":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},
        "golden.output.logits":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#;
    std::fs::write(&path, safetensors(header, &[1, 2, 3])).unwrap();
    let names = |params: Params| params.tensors.into_keys().collect::<Vec<_>>();
    assert_eq!(names(weights::open(&path).unwrap()), ["a"]);
    let golden = weights::open_where(&path, |name| name == "golden.output.logits").unwrap();
    assert_eq!(names(golden), ["golden.output.logits"]);
}

/// What is said of a file that no reader claims.
const READ: &str = "weights are read from safetensors, Keras (.h5), Keras (.keras), PyTorch (.pth), TensorFlow.js \
                    (model.json) and TensorFlow Lite";

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = safetensors(ONE, &[0; 8]);
    assert!(open("w.safetensors", &whole).is_ok());
    for cut in 0..whole.len() {
        assert!(open("w.safetensors", &whole[..cut]).is_err(), "cut at {cut}");
    }
    refused("w.safetensors", &whole[..0], "the file is empty");
    refused("w.safetensors", &whole[..7], &format!("has no known format; {READ}"));
    refused(
        "w.safetensors",
        &whole[..40],
        "its header claims 54 bytes, and the file has 32 after the length: it is cut short or damaged",
    );
    refused(
        "w.safetensors",
        &whole[..66],
        "tensor a lies at 0..8, and the file holds 4 bytes of data: it is cut short or damaged",
    );
}

#[test]
fn bad_headers_are_refused() {
    let claims = |n: u64| [&n.to_le_bytes()[..], b"{}"].concat();
    refused("w", &claims(u64::MAX), "its header claims 18446744073709551615 bytes; the format allows 100000000");
    refused(
        "w",
        &claims(99_999_999),
        "its header claims 99999999 bytes, and the file has 2 after the length: it is cut short or damaged",
    );
    refused("w", &safetensors("{]", &[]), "its header: key must be a string at line 1 column 2");
    refused(
        "w",
        &safetensors("{\"\u{0}\":1}", &[]),
        "its header: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 3",
    );
    let mut not_text = safetensors(ONE, &[0; 8]);
    not_text[10] = 0xff;
    refused("w", &not_text, "its header: invalid unicode code point at line 1 column 3");
    refused(
        "w",
        &safetensors(r#"{"__metadata__":{"width":1}}"#, &[]),
        "its metadata must map strings to strings: invalid type: integer `1`, expected a string at line 1 column 10",
    );
}

#[test]
fn a_sparse_file_of_a_terabyte_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let header = r#"{"a":{"dtype":"F32","shape":[1048576,262144],"data_offsets":[0,1099511627776]}}"#;
    std::fs::write(&path, safetensors(header, &[])).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(8 + header.len() as u64 + (1 << 40)).unwrap();
    assert_eq!(
        local(&weights::open(&path).unwrap_err().to_string(), folder.path()),
        "w.safetensors: tensor a has 1099511627776 bytes; 4294967296 are allowed"
    );
}

#[test]
fn bad_entries_are_refused() {
    let case = |header: &str, data: usize, text: &str| refused("w", &safetensors(header, &vec![0; data]), text);
    case(
        r#"{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#,
        8,
        "tensor a has type F64; F32, F16, BF16, I8, U8, I32 and I64 are read",
    );
    case(
        r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
        8,
        "tensor a of shape [3] and type F32 lies on 8 bytes",
    );
    case(
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#,
        8,
        "tensor a of shape [4294967296, 4294967296] and type F32 lies on 8 bytes",
    );
    case(
        r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,8]}}"#,
        8,
        "tensor a: invalid value: integer `-1`, expected usize at line 1 column 25",
    );
    case(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}"#, 1, "tensor a ends at 0, before its start at 1");
    case(
        r#"{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}"#,
        8,
        "tensor a lies at 0..9, and the file holds 8 bytes of data: it is cut short or damaged",
    );
    case(
        r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
        3,
        "tensor b at 1..3 overlaps the one before, up to 2",
    );
    case(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, 2, "bytes 0..1 of its data belong to no tensor");
    case(ONE, 9, "bytes 8..9 of its data belong to no tensor");
    case(
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
        1,
        "its header names a twice",
    );
}

#[test]
fn other_kinds_of_files_are_named() {
    for (bytes, what) in [
        (
            &b"sys_info\0\0\0\0\0\0\0\0"[..],
            "is PyTorch's first format, a tar archive of before version 0.1.10: save it again with torch.save",
        ),
        (b"\x08\x08\x12\x07pytorch", "looks like an ONNX model"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "is a Git LFS pointer, not the file itself: run `git lfs pull`",
        ),
        (b"<!DOCTYPE html>", "is a web page, not the file that its link promised"),
        (b"\x1f\x8b\x08\0", "is compressed with gzip: unpack it first"),
        (b"\xff\xd8\xff\xe0 a photo", "has no known format"),
    ] {
        refused("w.bin", bytes, &format!("{what}; {READ}"));
    }
}

#[test]
fn missing_files_and_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path| local(&weights::open(path).unwrap_err().to_string(), folder.path());
    let missing = folder.path().join("no.safetensors");
    assert_eq!(error(&missing), "no.safetensors: No such file or directory (os error 2)");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    assert_eq!(error(&inner), "inner: is a folder; give the weights file itself");
    let through = folder.path().join("w/x");
    std::fs::write(folder.path().join("w"), "").unwrap();
    assert_eq!(error(&through), "w/x: Not a directory (os error 20)");
    #[cfg(unix)]
    assert_eq!(weights::open("/dev/zero").unwrap_err().to_string(), "/dev/zero: is not a regular file");
}

#[test]
fn an_unwritable_output_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path| local(&weights::save(path, &sample()).unwrap_err().to_string(), folder.path());
    let nowhere = folder.path().join("no/w.safetensors");
    assert_eq!(error(&nowhere), "no/w.safetensors: there is no directory no; make it first");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    assert_eq!(error(&inner), "inner: a directory; give a file");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn every_reference_file_is_read() {
    let Some(data) = data() else { return };
    for entry in std::fs::read_dir(data.join("golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            let params = weights::open(&path).unwrap();
            assert!(params.tensors.len() > 100 && params.metadata.contains_key("family"), "{}", path.display());
            assert!(params.tensors.keys().all(|name| !name.starts_with("golden.")));
        }
    }
}
