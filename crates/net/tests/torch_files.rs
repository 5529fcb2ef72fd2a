//! PyTorch files, good, damaged and hostile.

mod common;

use common::{View, dict, int, open, pickle, pth, pth_of, refused, text, zip};
use mobilenet_net::{Params, Tensor, weights};
use mobilenet_testing::data;

/// The one tensor of [`pth_of`].
fn weight(file: &[u8]) -> Tensor {
    let Params { mut tensors, .. } = open("w.pth", file).unwrap();
    assert_eq!(tensors.len(), 1);
    tensors.remove("weight").expect("weight")
}

fn evil(body: &[u8], text: &str) {
    refused("evil.pth", &pth(&pickle(body)), text);
}

fn bad_view(view: View, text: &str) {
    refused("w.pth", &pth_of(&view), &format!("tensor weight {text}"));
}

#[test]
fn a_state_dict_is_read() {
    assert_eq!(weight(&pth_of(&View::default())), Tensor::from_f32(&[3], vec![1.0, 2.0, 3.0]));
}

#[test]
fn wrapped_state_dicts_are_found_and_prefixes_stripped() {
    let tensor = View::default().instructions();
    for wrapper in ["state_dict", "model", "model_ema", "ema"] {
        let inner = dict(&[("module.weight", tensor.clone()), ("module.n_averaged", tensor.clone())]);
        let file = pth(&pickle(&dict(&[("epoch", int(3)), (wrapper, inner)])));
        assert_eq!(weight(&file).shape(), [3], "{wrapper}");
    }
    let twice = dict(&[("module.weight", tensor.clone()), ("weight", tensor)]);
    evil(&twice, "it holds tensor weight twice");
}

#[test]
fn averaged_weights_come_first() {
    let of = |offset| dict(&[("weight", View { offset, shape: &[1], ..View::default() }.instructions())]);
    let file = pth(&pickle(&dict(&[("model", of(0)), ("model_ema", of(2))])));
    assert_eq!(weight(&file), Tensor::from_f32(&[1], vec![3.0]));
}

#[test]
fn parameters_and_attributes_of_dictionaries_are_understood() {
    let parameter = [b"ctorch._utils\n_rebuild_parameter\n(", &View::default().instructions()[..], b"\x88}tR"].concat();
    let body = [
        b"ccollections\nOrderedDict\n)R(".to_vec(),
        text("weight"),
        parameter,
        b"u".to_vec(),
        dict(&[("_metadata", b"N".to_vec())]),
        b"b".to_vec(),
    ];
    assert_eq!(weight(&pth(&pickle(&body.concat()))).shape(), [3]);
}

#[test]
fn protocol_4_is_understood() {
    let body = View::default().instructions();
    let file = [b"\x80\x04\x95\0\0\0\0\0\0\0\0}\x94\x8c\x06weight\x94", &body[..], b"s."].concat();
    assert_eq!(weight(&pth(&file)).shape(), [3]);
    let global = b"\x80\x04\x8c\x02os\x8c\x06system\x93.";
    refused(
        "evil.pth",
        &pth(global),
        "the pickle asks for os.system; only tensors, dictionaries, lists, numbers and strings are read. \
         Nothing was executed.",
    );
}

#[test]
fn strided_views_are_read_within_their_storage() {
    let view = |offset, shape, strides| weight(&pth_of(&View { offset, shape, strides, ..View::default() }));
    assert_eq!(view(0, &[2], &[2]), Tensor::from_f32(&[2], vec![1.0, 3.0]));
    assert_eq!(view(1, &[1, 2], &[9, 1]), Tensor::from_f32(&[1, 2], vec![2.0, 3.0]));
    assert_eq!(view(0, &[3, 1], &[1, 1]), Tensor::from_f32(&[3, 1], vec![1.0, 2.0, 3.0]));
    assert_eq!(view(2, &[], &[]), Tensor::from_f32(&[], vec![3.0]));
    assert_eq!(view(0, &[0], &[1]), Tensor::from_f32(&[0], vec![]));
    let storage: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let transposed = View { elements: 6, shape: &[3, 2], strides: &[1, 3], ..View::default() };
    let file = pickle(&dict(&[("weight", transposed.instructions())]));
    let file = zip(&[("a/data.pkl", &file), ("a/data/0", &storage)]);
    assert_eq!(weight(&file), Tensor::from_f32(&[3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
}

#[test]
fn views_outside_their_storage_are_refused() {
    let view = |offset, shape, strides| View { offset, shape, strides, ..View::default() };
    bad_view(view(1, &[3], &[1]), "of shape [3] and strides [1] leaves its storage of 3");
    bad_view(view(0, &[2], &[3]), "of shape [2] and strides [3] leaves its storage of 3");
    bad_view(view(0, &[4], &[0]), "of shape [4] and strides [0] leaves its storage of 3");
    bad_view(view(4, &[1], &[1]), "of shape [1] and strides [1] leaves its storage of 3");
    let huge = [i32::MAX; 4];
    bad_view(
        view(0, &huge, &huge),
        "of shape [2147483647, 2147483647, 2147483647, 2147483647] and strides [2147483647, 2147483647, 2147483647, \
         2147483647] leaves its storage of 3",
    );
    let lie = View { elements: 4, ..View::default() };
    bad_view(lie, "claims a storage of 4 elements; it has 12 bytes");
    evil(&View { offset: -1, ..View::default() }.instructions(), "the pickle describes a tensor wrongly");
    evil(&View { shape: &[3, 1], ..View::default() }.instructions(), "the pickle describes a tensor wrongly");
}

#[test]
fn storages_are_sought_in_the_archive_only() {
    bad_view(
        View { key: "../../../etc/passwd", ..View::default() },
        "lies in storage \"../../../etc/passwd\", which is not a plain name",
    );
    refused("w.pth", &pth_of(&View { key: "7", ..View::default() }), "its archive has no entry data/7");
    bad_view(
        View { storage: "DoubleStorage", elements: 1, shape: &[1], ..View::default() },
        "lies in a DoubleStorage, whose type is not read",
    );
    evil(
        &View { storage: "EvilStorage", ..View::default() }.instructions(),
        "the pickle asks for torch.EvilStorage; only tensors, dictionaries, lists, numbers and strings are read. \
         Nothing was executed.",
    );
}

#[test]
fn code_is_refused_by_name() {
    for (import, name) in [
        ("cos\nsystem\n", "os.system"),
        ("cposix\nsystem\n", "posix.system"),
        ("cbuiltins\neval\n", "builtins.eval"),
        ("c__builtin__\ngetattr\n", "__builtin__.getattr"),
        ("csubprocess\nPopen\n", "subprocess.Popen"),
        ("ctorch.hub\nload\n", "torch.hub.load"),
        ("ctorch._utils\n_rebuild_tensor_v2.__globals__\n", "torch._utils._rebuild_tensor_v2.__globals__"),
    ] {
        let body = [import.as_bytes(), b"(", &text("echo pwned"), b"tR"].concat();
        evil(
            &body,
            &format!(
                "the pickle asks for {name}; only tensors, dictionaries, lists, numbers and strings are read. \
                 Nothing was executed."
            ),
        );
    }
    for instruction in [b'i', b'o', 0x81, 0x92, 0x82, 0x8f, 0x97] {
        evil(
            &[instruction],
            &format!(
                "the pickle uses the instruction {instruction:#04x}, which plain state dicts do not need. \
                 Nothing was executed."
            ),
        );
    }
}

#[test]
fn nonsense_pickles_are_refused() {
    evil(b"", "the pickle takes a value from an empty stack");
    evil(b"(0", "the pickle takes a value from an empty stack");
    evil(b"t", "the pickle takes a value from an empty stack");
    evil(b"N(b", "the pickle takes a value from an empty stack");
    evil(b"h\x05", "the pickle fetches memo 5, which it never stored");
    evil(b"j\xff\xff\xff\xff", "the pickle fetches memo 4294967295, which it never stored");
    evil(b"Nr\xff\xff\xff\xff", "the pickle stores memo 4294967295; the limit is 1048576");
    evil(b"\x8a\xff", "the pickle ends in the middle of an instruction");
    evil(&[b"\x8a\x09", &[1; 9][..]].concat(), "the pickle holds an integer of more than 64 bits");
    evil(b"X\xff\xff\xff\xffabc", "the pickle ends in the middle of an instruction");
    evil(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", "the pickle ends in the middle of an instruction");
    evil(b"X\x01\0\0\0\xff", "the pickle holds text that is not UTF-8");
    evil(b"\x80\x07", "the pickle has protocol 7; 2 to 5 are read");
    evil(b"NNR", "the pickle calls what is no function");
    evil(b"ccollections\nOrderedDict\nNR", "the pickle calls what is no function");
    evil(b"ccollections\nOrderedDict\nN\x85R", "the pickle makes a dictionary of what are no pairs");
    evil(b"ctorch._utils\n_rebuild_parameter\nN\x85R", "the pickle calls a function with wrong arguments");
    evil(b"NQ", "the pickle refers to what is no storage");
    evil(b"NNb", "the pickle sets attributes of what is no dictionary");
    evil(b"NNa", "the pickle appends to what is no list");
    evil(b"}(Nu", "the pickle sets a key without a value");
    evil(
        b"N",
        "holds no state dict: it is no dictionary; tensors are sought there or under model_ema, state_dict_ema, ema, state_dict, model",
    );
    evil(
        &dict(&[("epoch", int(1)), ("args", b"}".to_vec())]),
        "holds no state dict: it is a dictionary of epoch, args; tensors are sought there or under model_ema, \
         state_dict_ema, ema, state_dict, model",
    );
    refused("w.pth", &pth(&b"\x80\x02}"[..]), "the pickle ends in the middle of an instruction");
}

#[test]
fn pickles_without_bounds_are_refused() {
    evil(&vec![b'('; 2000], "the pickle nests deeper than 1024 levels");
    evil(&vec![b'N'; 100_000], "the pickle's stack grows beyond 65536 values");
    evil(&b"N0".repeat((1 << 20) + 1), "the pickle makes more than 1048576 values");
    // A list that contains itself, and lists of lists that a recursive reader would never finish.
    evil(
        b"]q\0h\0a",
        "holds no state dict: it is no dictionary; tensors are sought there or under model_ema, state_dict_ema, ema, state_dict, model",
    );
    let nested = b"]\x85".repeat(20_000);
    assert!(open("w.pth", &pth(&pickle(&nested))).unwrap_err().starts_with("w.pth: holds no state dict"));
    let mut large = vec![b'X'];
    large.extend_from_slice(&(17u32 << 20).to_le_bytes());
    large.resize(17 << 20, b'a');
    refused("w.pth", &pth(&large), "its entry data.pkl has 17825792 bytes; the limit is 16777216");
}

#[test]
fn what_instructions_copy_is_bounded() {
    let key = |length| View { key: &"7".repeat(length), ..View::default() }.instructions();
    evil(&key(65), "the pickle names a storage by 65 bytes; 64 are allowed");
    let longest = format!("its archive has no entry data/{}", "7".repeat(64));
    refused("w.pth", &pth(&pickle(&dict(&[("weight", key(64))]))), &longest);
    for (shape, strides) in [(&[1; 9][..], &[1; 9][..]), (&[1; 9], &[1]), (&[1], &[1; 9])] {
        evil(
            &View { shape, strides, ..View::default() }.instructions(),
            "the pickle describes a tensor of 9 dimensions; 8 are allowed",
        );
    }
    // A list of 30000 pairs, made into a dictionary over and over.
    let list = [&b"NN\x86q\x010]q\0("[..], &b"h\x01".repeat(30_000), b"e0"].concat();
    let dicts = |n| [&list[..], &b"ccollections\nOrderedDict\nh\0\x85R0".repeat(n)].concat();
    evil(&dicts(35), "the pickle makes more than 1048576 values");
    evil(&dicts(34), "the pickle takes a value from an empty stack");
}

#[test]
fn many_views_of_one_storage_do_not_exhaust_memory() {
    // A storage of 4 kB under two hundred names.
    let view = View { elements: 1024, shape: &[1024], ..View::default() };
    let mut body = [b"}(".to_vec(), text("t0"), view.instructions(), b"q\0".to_vec()].concat();
    for i in 1..200 {
        body.extend([text(&format!("t{i}")), b"h\0".to_vec()].concat());
    }
    body.push(b'u');
    let file = zip(&[("a/data.pkl", &pickle(&body)), ("a/data/0", &[0; 4096])]);
    let error = open("w.pth", &file).unwrap_err();
    assert!(error.ends_with("is one of many that share storages: together they are over 4 times the file"), "{error}");
}

#[test]
fn damaged_archives_are_refused() {
    let whole = pth_of(&View::default());
    for cut in 0..whole.len() {
        assert!(open("w.pth", &whole[..cut]).is_err(), "cut at {cut}");
    }
    refused(
        "w.pth",
        &whole[..whole.len() / 2],
        "is a damaged or truncated zip archive: invalid Zip archive: Could not find EOCD",
    );
    refused("w.npz", &zip(&[("x.npy", b"")]), "is a zip archive without data.pkl, so it was not written by torch.save");
    refused(
        "w.pt",
        &zip(&[("m/data.pkl", b""), ("m/constants.pkl", b"")]),
        "is a TorchScript program; save its state_dict() instead",
    );
    refused(
        "w.pth",
        &zip(&[("m/data.pkl", b""), ("m/byteorder", b"big")]),
        "was written on a big-endian machine; only little-endian files are read",
    );
}

/// Gives the entry `name` another compression method and size where the archive's directory describes it.
fn forge(file: &mut [u8], name: &str, method: u8, size: u32) {
    let directory = file.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let at = directory + file[directory..].windows(name.len()).position(|w| w == name.as_bytes()).unwrap() - 46;
    assert_eq!(&file[at..at + 4], b"PK\x01\x02");
    file[at + 10] = method;
    file[at + 24..at + 28].copy_from_slice(&size.to_le_bytes());
}

#[test]
fn compressed_entries_and_forged_sizes_are_refused() {
    let whole = pth_of(&View::default());
    let mut bomb = whole.clone();
    forge(&mut bomb, "archive/data/0", 8, 4_000_000_000);
    refused("w.pth", &bomb, "its entry archive/data/0 is compressed or encrypted; torch.save does neither");
    let mut forged = whole;
    forge(&mut forged, "archive/data/0", 0, 4_000_000_000);
    refused("w.pth", &forged, "its entry archive/data/0 of 4000000000 bytes does not fit into the file");
}

#[test]
fn bare_pickles_are_refused() {
    refused("w.pkl", b"\x80\x04N.", "is a bare pickle; PyTorch's files are zip archives. Save it with torch.save");
}

/// Puts the zip64 records before the archive's end that torch.save always writes.
fn with_zip64_records(archive: &[u8]) -> Vec<u8> {
    let end = archive.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    let field =
        |at: usize, n: usize| archive[end + at..end + at + n].iter().rev().fold(0, |v, &b| v << 8 | u64::from(b));
    let (entries, size, start) = (field(10, 2), field(12, 4), field(16, 4));
    let record: Vec<u8> = [44, 45 << 16 | 45, 0].iter().flat_map(|v: &u64| v.to_le_bytes()).collect();
    let record = [b"PK\x06\x06", &record[..8], &record[8..12], &[0; 8]].concat();
    let counts: Vec<u8> = [entries, entries, size, start].iter().flat_map(|v| v.to_le_bytes()).collect();
    let locator = [b"PK\x06\x07", &[0; 4][..], &(end as u64).to_le_bytes(), &1u32.to_le_bytes()].concat();
    [&archive[..end], &record, &counts, &locator, &archive[end..]].concat()
}

#[test]
fn the_archives_folder_may_have_a_name_of_any_length() {
    let state = pickle(&dict(&[("weight", View::default().instructions())]));
    for length in 1..60 {
        let folder = "m".repeat(length);
        let (description, storage) = (format!("{folder}/data.pkl"), format!("{folder}/data/0"));
        let archive = zip(&[(&description, &state), (&storage, &[0; 12])]);
        assert_eq!(weight(&with_zip64_records(&archive)).shape(), [3], "{length}");
    }
}

#[test]
fn torchvisions_file_is_read() {
    let Some(data) = data() else { return };
    let params = weights::open(data.join("data/models/mobilenet_v2_1.0_224_torchvision.pth")).unwrap();
    assert_eq!(params.tensors.len(), 262);
    assert_eq!(params.tensors["classifier.1.weight"].shape(), [1000, 1280]);
}
