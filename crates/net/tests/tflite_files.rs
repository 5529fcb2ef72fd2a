//! TensorFlow Lite models, good, damaged, hostile and of other kinds. `fixtures/make_tflite.py` made the good ones.

mod common;

use std::path::PathBuf;

use common::{open, refused};
use mobilenet_net::recognise::Outputs;
use mobilenet_net::{Loaded, Origin, Overrides, Padding, Recognised, load};
use mobilenet_testing::data;

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures", name].iter().collect()
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn recognised(name: &str) -> Recognised {
    let Loaded { recognised, graph, params } = load(path(name), &Overrides::default()).unwrap();
    assert_eq!(params.tensors.len(), graph.parameters().len(), "{name}");
    recognised
}

/// The file with `new` in place of the occurrence `index` of `old`.
fn patched(mut file: Vec<u8>, old: &[u8], index: usize, new: &[u8]) -> Vec<u8> {
    let at = file.windows(old.len()).enumerate().filter(|(_, w)| *w == old).nth(index).expect("what is replaced").0;
    file[at..at + new.len()].copy_from_slice(new);
    file
}

fn words(of: &[i32]) -> Vec<u8> {
    of.iter().flat_map(|word| word.to_le_bytes()).collect()
}

const GUESS: &str = "input: -1 to 1 (the file does not say; --mean 0 --std 1 for 0 to 1)";

#[test]
fn v1_is_recognised_with_the_labels_of_its_archive() {
    let found = recognised("v1.tflite");
    assert_eq!((found.origin, found.table.name.as_str()), (Origin::TensorFlowLite, "mobilenet_v1"));
    assert_eq!((found.spec.width, found.spec.classes, found.spec.padding), (0.01, 3, Padding::Same));
    assert_eq!(found.labels.unwrap(), ["cat", "dog", "owl"]);
    let squash = "resize: squash, as Keras's loaders do (--resize 73 for the middle)";
    assert_eq!((found.outputs, found.guesses), (Outputs::Exclusive, vec![GUESS.into(), squash.into()]));
    assert_eq!((found.preprocessing.size, found.preprocessing.mean), ([64, 64], [0.5; 3]));
}

#[test]
fn v2_in_half_precision_is_recognised_with_pytorchs_padding_and_independent_outputs() {
    let found = recognised("v2_f16.tflite");
    assert_eq!((found.table.name.as_str(), found.spec.width, found.spec.classes), ("mobilenet_v2", 0.01, 2));
    assert_eq!((found.spec.padding, found.outputs), (Padding::Symmetric, Outputs::Independent));
}

#[test]
fn v3_without_a_classifier_is_recognised_and_scales_by_itself() {
    let found = recognised("v3_small_features_f16.tflite");
    assert_eq!((found.table.name.as_str(), found.spec.width, found.spec.classes), ("mobilenet_v3_small", 0.01, 0));
    assert_eq!(found.guesses, ["resize: 73 (the file does not say; --resize squash otherwise)"]);
    // The file has its 1/127.5 in half precision.
    for channel in 0..3 {
        assert!((found.preprocessing.mean[channel] - 0.5).abs() < 1e-4, "{:?}", found.preprocessing);
        assert!((found.preprocessing.std[channel] - 0.5).abs() < 1e-4, "{:?}", found.preprocessing);
    }
}

#[test]
fn who_needs_a_classifier_is_told_that_there_is_none() {
    let path = path("v3_small_features_f16.tflite");
    let loaded = load(&path, &Overrides::default()).unwrap();
    let text = loaded.expect_classifier(&path).unwrap_err().to_string();
    assert_eq!(text, format!("{}: has no classifier: it gives 1024 features, `hidden`; use `embed`", path.display()));
}

#[test]
fn published_float_files_are_recognised() {
    let Some(data) = data() else { return };
    let of = |name: &str| load(data.join("data/models").join(name), &Overrides::default()).unwrap().recognised;
    let slim = of("mobilenet_v1_0.25_224_float.tflite");
    assert_eq!((slim.table.name.as_str(), slim.spec.width, slim.spec.classes), ("mobilenet_v1", 0.25, 1001));
    assert!(slim.preprocessing.background_class);
    let middle = |pixels| format!("resize: {pixels} (the file does not say; --resize squash otherwise)");
    assert_eq!((slim.preprocessing.mean, slim.guesses), ([0.5; 3], vec![GUESS.to_owned(), middle(256)]));
    let tiny = of("mobilenet_v1_0.25_96_vww_float.tflite");
    assert_eq!((tiny.spec.classes, tiny.preprocessing.size), (2, [96, 96]));
    assert_eq!((tiny.preprocessing.mean, tiny.preprocessing.std), ([0.0; 3], [1.0; 3]));
    let input = "input: 0 to 1 (V1 with ReLU is MLPerf Tiny's; --mean 0.5 --std 0.5 for -1 to 1)";
    let squash = "resize: squash, as Keras's loaders do (--resize 109 for the middle)";
    assert_eq!(tiny.guesses, [input, squash]);
    let embedder = of("mobilenet_v3_small_0.75_224_embedder_float.tflite");
    assert_eq!((embedder.table.name.as_str(), embedder.spec.width), ("mobilenet_v3_small", 0.75));
    assert_eq!(
        (embedder.spec.classes, embedder.preprocessing.mean, embedder.preprocessing.std),
        (0, [0.5; 3], [0.5; 3])
    );
    assert_eq!(embedder.guesses, [middle(256)]);
}

#[test]
fn other_models_are_named() {
    let Some(data) = data() else { return };
    let detector = "is a detector (operator TFLite_Detection_PostProcess) with quantized weights";
    let segmenter = "is a segmentation network (operator RESIZE_BILINEAR)";
    for (name, what) in [
        ("coco_ssd_mobilenet_v1_1.0_quant_2018_06_29", format!("{detector} (uint8)")),
        ("ssd_mobilenet_v2_fpnlite_320_coco_dynint8", format!("{detector} (int8)")),
        ("deeplabv3_mnv2_dm05_257_float", segmenter.into()),
        ("deeplabv3_mnv2_pascal_quant", format!("{segmenter} with quantized weights (uint8)")),
        ("selfie_segmentation_f16", segmenter.into()),
        ("selfie_segmentation_landscape_f16", segmenter.into()),
        ("mobilenet_v1_0.25_224_quant", "has quantized weights (uint8)".into()),
        ("mobilenet_v1_0.25_96_vww_int8", "has quantized weights (int8)".into()),
        ("mobilenet_v3_small_1.0_224_uint8", "has quantized weights (uint8)".into()),
        ("tf2_mobilenet_v2_1.0_224_ptq", "has quantized weights (int8)".into()),
    ] {
        let path = data.join(format!("data/models/{name}.tflite"));
        let text = load(&path, &Overrides::default()).unwrap_err().to_string();
        let rest = "classifiers of the MobileNet family are read, in float32 and float16";
        assert_eq!(text, format!("{}: {what}; {rest}", path.display()));
    }
}

#[test]
fn what_departs_from_the_network_is_named() {
    // Strides of 2, height and width, of which one after the other is cut.
    let file = bytes("v1.tflite");
    let (two, one) = (words(&[2, 2]), words(&[1, 1]));
    let count = file.windows(8).filter(|w| *w == two).count();
    let texts = (0..count).filter_map(|i| open("w", &patched(file.clone(), &two, i, &one)).err());
    assert_eq!(
        texts.collect::<Vec<_>>()[0],
        "w: operator 23 (DEPTHWISE_CONV_2D, which makes \"t81\") is a depthwise 3×3 convolution of 8 channels, stride 1; \
         mobilenet_v1 (width 0.01), the closest network, has block12.depthwise.conv here, a depthwise 3×3 convolution of \
         8 channels, stride 2"
    );
    assert_eq!(
        open("w", &with_another_activation(file)).unwrap_err(),
        "w: operator 26 (CONV_2D, which makes \"t84\") is relu; mobilenet_v1 (width 0.01), the closest network, has \
         block13.pointwise.act here, relu6"
    );
}

/// V1 with a plain ReLU behind one of its layers: the options of one layer say 1 in place of 3.
fn with_another_activation(file: Vec<u8>) -> Vec<u8> {
    for at in 0..file.len() {
        if file[at] == 3 {
            let mut changed = file.clone();
            changed[at] = 1;
            if open("w", &changed).is_err_and(|text| text.contains(" is relu; ")) {
                return changed;
            }
        }
    }
    panic!("no byte of the file is an activation");
}

#[test]
fn damaged_and_hostile_files_are_refused() {
    let good = bytes("v1.tflite");
    let with = |at: usize, new: &[u8]| {
        let mut file = good.clone();
        file[at..at + new.len()].copy_from_slice(new);
        file
    };
    refused("w", &good[..8], "its FlatBuffer: the offset at byte 0 leads out of it: it is cut short or damaged");
    let root = u32::from_le_bytes(good[..4].try_into().unwrap()) as usize;
    refused(
        "w",
        &with(root, &words(&[i32::MIN])),
        &format!(
            "its FlatBuffer: 2 bytes at {} lie beyond its end ({} bytes): it is cut short or damaged",
            root as i64 - i64::from(i32::MIN),
            good.len()
        ),
    );
    refused(
        "w",
        &with(root, &words(&[i32::MAX])),
        &format!("its FlatBuffer: the offset at byte {root} leads out of it: it is cut short or damaged"),
    );
    // The stem's weights, 8×3×3×3.
    let stem = words(&[4, 8, 3, 3, 3]);
    for huge in [[4, i32::MAX, i32::MAX, i32::MAX, i32::MAX], [4, i32::MAX, 3, 3, 3], [4, 0, 3, 3, 3], [4, -1, 3, 3, 3]]
    {
        assert!(open("w", &patched(good.clone(), &stem, 0, &words(&huge))).is_err(), "{huge:?}");
    }
    let many = patched(good.clone(), &stem, 0, &words(&[i32::MAX]));
    assert!(
        open("w", &many).unwrap_err().starts_with("w: its FlatBuffer: 8589934588 bytes at "),
        "a vector beyond the end"
    );
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = bytes("v3_small_features_f16.tflite");
    // Every cut of the first kilobytes, where the tables are, and some of the weights.
    for cut in (0..4096).chain((4096..whole.len()).step_by(61)) {
        assert!(open("w", &whole[..cut]).is_err(), "cut at {cut} of {}", whole.len());
    }
}
