//! Files in PyTorch's format of before 1.6, good, damaged and hostile. `fixtures/make_legacy.py` made the good one.

mod common;

use common::{View, dict, ints, open, pickle, refused, text};
use mobilenet_net::{Tensor, weights};

/// The pickled magic number.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Pickled: protocol 1001.
const PROTOCOL: &[u8] = b"\x80\x02M\xe9\x03.";

/// Pickled: the keys of one storage, `0`.
const KEYS: &[u8] = b"\x80\x02]X\x01\0\0\x000a.";

fn system(is_little: bool) -> Vec<u8> {
    pickle(&dict(&[("little_endian", vec![if is_little { 0x88 } else { 0x89 }])]))
}

/// A file of this state dict and the floats 1, 2 and 3 as storage `0`.
fn legacy(state: &[u8]) -> Vec<u8> {
    let storage: Vec<u8> = [1f32, 2., 3.].iter().flat_map(|x| x.to_le_bytes()).collect();
    [MAGIC, PROTOCOL, &system(true), &pickle(state), KEYS, &3u64.to_le_bytes(), &storage].concat()
}

/// A state dict of one tensor, `weight`.
fn one(view: &View) -> Vec<u8> {
    dict(&[("weight", view.instructions())])
}

fn weight(file: &[u8]) -> Tensor {
    open("w.pth", file).unwrap().tensors.remove("weight").unwrap()
}

#[test]
fn torchs_file_has_the_tensors_that_torch_gave_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let found = weights::open(format!("{folder}/legacy.pth")).unwrap();
    assert_eq!(found, weights::open(format!("{folder}/legacy.safetensors")).unwrap());
    assert_eq!(found.tensors.len(), 14);
}

#[test]
fn a_state_dict_is_read() {
    assert_eq!(weight(&legacy(&one(&View::default()))), Tensor::from_f32(&[3], vec![1.0, 2.0, 3.0]));
    let transposed = View { shape: &[1, 2], strides: &[1, 2], ..View::default() };
    assert_eq!(weight(&legacy(&one(&transposed))), Tensor::from_f32(&[1, 2], vec![1.0, 3.0]));
}

/// Instructions of a tensor of two floats in a part of the storage that begins at `start`, as torch before 0.4 has it.
fn in_part(start: i32) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        b"K\x03(".to_vec(),
        text("1"),
        common::int(start),
        b"K\x02ttQK\0".to_vec(),
        ints(&[2]),
        ints(&[1]),
        b"tR".to_vec(),
    ]
    .concat()
}

#[test]
fn parts_of_storages_are_read_within_the_storage() {
    let file = |start| legacy(&dict(&[("weight", in_part(start))]));
    assert_eq!(weight(&file(1)), Tensor::from_f32(&[2], vec![2.0, 3.0]));
    refused("w.pth", &file(2), "tensor weight of shape [2] and strides [1] leaves its storage of 3");
    refused("w.pth", &file(-1), "the pickle refers to what is no storage");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = legacy(&one(&View::default()));
    for cut in 0..whole.len() {
        assert!(open("w.pth", &whole[..cut]).is_err(), "cut at {cut}");
    }
    refused("w.pth", MAGIC, "the pickle ends in the middle of an instruction");
    refused(
        "w.pth",
        &whole[..whole.len() - 1],
        "storage 0 of 3 elements does not fit into the file: it is cut short or damaged",
    );
}

#[test]
fn hostile_files_are_refused() {
    let file = |system: &[u8], state: &[u8], keys: &[u8], storages: &[u8]| {
        [MAGIC, PROTOCOL, system, state, keys, storages].concat()
    };
    let (system, state) = (system(true), pickle(&one(&View::default())));
    let of = |elements: u64| [&elements.to_le_bytes()[..], &[0; 12]].concat();
    for elements in [4, 1 << 62, u64::MAX] {
        refused(
            "w.pth",
            &file(&system, &state, KEYS, &of(elements)),
            &format!("storage 0 of {elements} elements does not fit into the file: it is cut short or damaged"),
        );
    }
    refused(
        "w.pth",
        &file(&system, &state, KEYS, &of(2)),
        "tensor weight claims a storage of 3 elements; it has 8 bytes",
    );
    refused("w.pth", &file(&system, &state, b"\x80\x02].", &of(3)), "it has no storage 0");
    refused("w.pth", &file(&system, &state, b"\x80\x02N.", &of(3)), "it does not list its storages");
    refused(
        "w.pth",
        &file(&system, &state, b"\x80\x02]X\x01\0\0\x007a.", &of(3)),
        "it lists storage 7, which nothing uses",
    );
    let half = View { storage: "HalfStorage", ..View::default() };
    let two_types = pickle(&dict(&[("a", View::default().instructions()), ("b", half.instructions())]));
    refused("w.pth", &file(&system, &two_types, KEYS, &of(3)), "it gives storage 0 two types");
    refused(
        "w.pth",
        &file(&self::system(false), &state, KEYS, &of(3)),
        "was written on a big-endian machine; only little-endian files are read",
    );
    refused(
        "w.pth",
        &[MAGIC, b"\x80\x02K\x01.", &system, &state, KEYS, &of(3)].concat(),
        "has PyTorch's old format in another protocol than 1001",
    );
    refused(
        "evil.pth",
        &file(&system, b"\x80\x02cos\nsystem\n.", KEYS, &of(3)),
        "the pickle asks for os.system; only tensors, dictionaries, lists, numbers and strings are read. \
         Nothing was executed.",
    );
}
