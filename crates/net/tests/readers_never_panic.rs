//! Random and mutated files: readers answer or refuse; they never panic, and never hand out more than the file holds.

mod common;

use common::{View, dict, int, open, pickle, pth, pth_of, safetensors};
use proptest::prelude::*;

/// Opens the file; whatever was read fits into a few times its size.
fn survives(bytes: &[u8]) {
    if let Ok(params) = open("w", bytes) {
        let read: usize = params.tensors.values().map(|t| t.data().len() * t.dtype().size()).sum();
        assert!(read <= 4 * bytes.len(), "{read} bytes of tensors from a file of {}", bytes.len());
    }
}

fn valid_files() -> impl Strategy<Value = Vec<u8>> {
    let header = r#"{"__metadata__":{"width":"0.5"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[3],"data_offsets":[8,14]}}"#;
    let wrapped = dict(&[("epoch", int(3)), ("state_dict", dict(&[("module.w", View::default().instructions())]))]);
    prop::sample::select(vec![
        safetensors(header, &[1; 14]),
        pth_of(&View { shape: &[1, 3], strides: &[3, 1], ..View::default() }),
        pth(&pickle(&wrapped)),
        fixture("legacy.pth"),
    ])
}

/// A file in `fixtures/`.
fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn mutated_files(
        mut file in valid_files(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.map_or(file.len(), |cut| cut.index(file.len())));
        survives(&file);
    }

    #[test]
    fn mutated_models(
        name in prop::sample::select(vec!["v1.tflite", "v3_small_features_f16.tflite"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = fixture(name);
        // Tables lie among the weights: nine changes of ten go where offsets and sizes are.
        let tables: Vec<usize> = (3..file.len()).filter(|&at| file[at] == 0 && file[at - 1] == 0).collect();
        for (i, (at, byte)) in changes.into_iter().enumerate() {
            let at = if i % 10 == 0 { at.index(file.len()) } else { tables[at.index(tables.len())] - at.index(4) };
            file[at] = byte;
        }
        file.truncate(cut.map_or(file.len(), |cut| cut.index(file.len())));
        survives(&file);
    }

    #[test]
    fn random_pickles(body in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&pth(&pickle(&body)));
    }

    #[test]
    fn random_instructions(body in prop::collection::vec(prop::sample::select(instructions()), 0..60)) {
        survives(&pth(&pickle(&body.concat())));
    }

    #[test]
    fn random_headers(header in "\\{(\"[ab]\":(\\{\"dtype\":\"(F32|U8|I4)\",\"shape\":\\[[0-9]{0,12}(,[0-9]{1,20}){0,3}\\],\"data_offsets\":\\[[0-9]{1,20},[0-9]{1,20}\\]\\}|[0-9]+),?){0,3}\\}") {
        survives(&safetensors(&header, &[0; 32]));
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survives(&bytes);
    }
}

/// Instructions that make sense on their own, so that random programs get far.
fn instructions() -> Vec<Vec<u8>> {
    let plain = [
        &b"("[..],
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"]",
        b"}",
        b")",
        b"a",
        b"e",
        b"s",
        b"u",
        b"d",
        b"l",
        b"b",
        b"R",
        b"Q",
    ];
    let more =
        [&b"q\0"[..], b"h\0", b"q\x01", b"h\x01", b"\x94", b"0", b"1", b"2", b"N", b"\x88", b"K\x02", b"X\x01\0\0\0w"];
    let globals = [&b"ccollections\nOrderedDict\n"[..], b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nSize\n"];
    let tensor = View::default().instructions();
    plain.iter().chain(&more).chain(&globals).map(|s| s.to_vec()).chain([tensor]).collect()
}
