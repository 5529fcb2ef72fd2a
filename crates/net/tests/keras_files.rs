//! Keras's and TensorFlow.js's files: what is read of them, and what is refused. `fixtures/keras` is by
//! scripts/keras-goldens.

mod common;

use std::io::Read;
use std::path::Path;

use common::{local, open, refused, zip};
use mobilenet_net::preprocessing::Resize;
use mobilenet_net::{DType, Loaded, Origin, Overrides, Padding, load, weights};
use mobilenet_testing::data;
use proptest::prelude::*;

/// A file of `fixtures/keras`, unpacked.
fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keras").join(name);
    let mut bytes = std::fs::read(path).unwrap();
    if name.ends_with(".gz") {
        let packed = std::mem::take(&mut bytes);
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
    }
    bytes
}

fn loaded(name: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    std::fs::write(&path, fixture(name)).unwrap();
    load(&path, &Overrides::default()).unwrap()
}

#[test]
fn a_model_says_its_size_and_everything_but_how_photos_are_resized() {
    for name in ["k2_v1_0.04_32_h5.h5.gz", "k3_v1_0.04_32_gzip.h5.gz", "k3_v1_0.04_32_zip.keras"] {
        let Loaded { recognised, params, .. } = loaded(name);
        let spec = &recognised.spec;
        assert_eq!((recognised.origin, recognised.table.name.as_str()), (Origin::Keras, "mobilenet_v1"), "{name}");
        assert_eq!((spec.width, spec.classes, spec.padding, spec.bn_epsilon), (0.04, 3, Padding::Same, 1e-3), "{name}");
        let input = recognised.preprocessing;
        assert_eq!((input.size, input.resize, input.mean, input.std), ([32; 2], Resize::Squash, [0.5; 3], [0.5; 3]));
        assert_eq!(params.tensors.len(), 137, "{name}");
        assert_eq!(params.tensors["stem.conv.weight"].shape(), [1, 3, 3, 3]);
        assert_eq!(
            recognised.guesses,
            [
                "values: −1 to 1, as preprocess_input makes them (--mean and --std otherwise)",
                "resize: squash, as Keras's loaders do (--resize 36 for the middle)",
            ]
        );
    }
}

#[test]
fn weights_alone_leave_the_size_to_be_guessed() {
    for name in ["k2_v1_0.04_32_weights.weights.h5.gz", "k3_v1_0.04_32_weights.weights.h5.gz"] {
        let Loaded { recognised, .. } = loaded(name);
        assert_eq!((recognised.spec.width, recognised.preprocessing.size), (0.04, [224; 2]), "{name}");
        assert_eq!(recognised.guesses[0], "size: 224×224 pixels (the file does not say; --crop otherwise)");
    }
}

#[test]
fn a_lone_fully_connected_layer_is_the_classifier_whatever_its_name() {
    for name in ["k3_v1_0.04_32_functional.h5.gz", "k3_v1_0.04_32_sequential.h5.gz"] {
        assert_eq!(loaded(name).params.tensors["classifier.weight"].shape(), [3, 40], "{name}");
    }
}

#[test]
fn files_cut_anywhere_are_refused() {
    for name in ["k2_v1_0.04_32_h5.h5.gz", "k3_v1_0.04_32_weights.weights.h5.gz", "k3_v1_0.04_32_zip.keras"] {
        let whole = fixture(name);
        for cut in (1..20).map(|i| whole.len() * i / 20).chain([64, whole.len() - 1]) {
            let error = open("w", &whole[..cut]).map(|_| ()).expect_err(name);
            let kinds = ["is an HDF5 file cut short: ", "is a damaged or truncated "].map(|kind| format!("w: {kind}"));
            assert!(kinds.iter().any(|kind| error.starts_with(kind.as_str())), "{name} cut at {cut}: {error}");
        }
    }
}

#[test]
fn other_archives_and_models_are_refused() {
    refused(
        "w",
        &zip(&[("config.json", b"{}")]),
        "its layer without a name is without a class, which no MobileNet classifier has",
    );
    let model = br#"{"class_name":"Functional","config":{"name":"m","layers":[]}}"#;
    let without = "is a zip archive with a part of a Keras model, but without ";
    refused("w", &zip(&[("config.json", model)]), &format!("{without}model.weights.h5"));
    refused("w", &zip(&[("a/metadata.json", b"{}")]), &format!("{without}config.json"));
    refused(
        "w",
        &zip(&[("config.json", model), ("a/config.json", model)]),
        "is a zip archive with 2 files config.json",
    );
    refused(
        "w",
        &zip(&[("config.json", model), ("model.weights.h5", b"nothing")]),
        "is a damaged or truncated HDF5 file: invalid HDF5 magic bytes",
    );
    refused(
        "w",
        &zip(&[("config.json", b"{\"class_name\":")]),
        "its model's description: EOF while parsing a value at line 1 column 14",
    );
}

/// `model.json` and a shard of eight bytes; the error's text where it is refused.
fn tfjs(json: &str) -> Result<mobilenet_net::Params, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.bin"), 1f32.to_le_bytes()).unwrap();
    std::fs::write(folder.path().join("b.bin"), 2f32.to_le_bytes()).unwrap();
    let path = folder.path().join("model.json");
    std::fs::write(&path, json).unwrap();
    weights::open(&path).map_err(|e| local(&e.to_string(), folder.path()))
}

fn manifest(paths: &str, weights: &str) -> String {
    format!(r#"{{"weightsManifest":[{{"paths":[{paths}],"weights":[{weights}]}}]}}"#)
}

#[test]
fn shards_are_joined_and_levels_spread() {
    let both = r#""a.bin","b.bin""#;
    let one = tfjs(&manifest(both, r#"{"name":"x/kernel","shape":[2],"dtype":"float32"}"#)).unwrap();
    assert_eq!(one.tensors["x/kernel"].clone().into_f32(), [1.0, 2.0]);
    // The halves of 1 and 2: 0000 3f80 and 0000 4000.
    let levels = r#"{"name":"x","shape":[4],"dtype":"float32","quantization":{"dtype":"uint16","scale":0.5,"min":-1}}"#;
    let levels = tfjs(&manifest(both, levels)).unwrap();
    assert_eq!(levels.tensors["x"].clone().into_f32(), [-1.0, 8127.0, -1.0, 8191.0]);
    let halves = r#"{"name":"x","shape":[4],"dtype":"float32","quantization":{"dtype":"float16"}}"#;
    assert_eq!(tfjs(&manifest(both, halves)).unwrap().tensors["x"].dtype(), DType::F16);
}

/// TensorFlow.js's own `save` and the Python converter lay out the same model in two ways.
#[test]
fn what_a_browser_saved_is_read_as_what_the_converter_wrote() {
    let config = r#"{"class_name":"Sequential","config":{"name":"m","layers":[
        {"class_name":"BatchNormalization","config":{"epsilon":0.25}}]}}"#;
    let weights = r#"[{"name":"x/kernel","shape":[1],"dtype":"float32"}]"#;
    let manifest = |path: &str| format!(r#""weightsManifest":[{{"paths":["{path}"],"weights":{weights}}}]"#);
    let saved = tfjs(&format!(r#"{{"modelTopology":{config},{}}}"#, manifest("./a.bin"))).unwrap();
    let converted = tfjs(&format!(r#"{{"modelTopology":{{"model_config":{config}}},{}}}"#, manifest("a.bin"))).unwrap();
    assert_eq!(saved.metadata["bn_epsilon"], "0.25");
    assert_eq!((saved.metadata, saved.tensors), (converted.metadata, converted.tensors));
}

#[test]
fn bad_manifests_are_refused() {
    let one = r#"{"name":"x","shape":[1],"dtype":"float32"}"#;
    let quantized = |how: &str| format!(r#"{{"name":"x","shape":[4],"dtype":"float32","quantization":{{{how}}}}}"#);
    for (paths, weights, text) in [
        (r#""../a.bin""#, one, r#"its weights are in "../a.bin", which is no plain name of a file beside it"#),
        (r#""/etc/passwd""#, one, r#"its weights are in "/etc/passwd", which is no plain name of a file beside it"#),
        (r#""""#, one, r#"its weights are in "", which is no plain name of a file beside it"#),
        (r#""c.bin""#, one, "its weights are in c.bin, which is not beside it"),
        (r#""a.bin","b.bin""#, one, "its tensors take 4 bytes, and the files a.bin, b.bin have 8"),
        (
            r#""a.bin""#,
            r#"{"name":"x","shape":[4294967296,4294967296],"dtype":"float32"}"#,
            "tensor x has an enormous shape, [4294967296, 4294967296]",
        ),
        (
            r#""a.bin""#,
            r#"{"name":"x","shape":[1],"dtype":"string"}"#,
            r#"tensor x has type "string"; float32, float16, int32, uint8 and bool are read"#,
        ),
        (r#""a.bin""#, &quantized(r#""dtype":"uint8""#), "tensor x is quantized without scale and min"),
        (
            r#""a.bin""#,
            &quantized(r#""dtype":"int4""#),
            r#"tensor x is quantized to "int4"; float16, uint8 and uint16 are read"#,
        ),
        (r#""a.bin","b.bin""#, &format!("{one},{one}"), "it holds tensor x twice"),
    ] {
        assert_eq!(tfjs(&manifest(paths, weights)).unwrap_err(), format!("model.json: {text}"));
    }
    assert_eq!(
        tfjs(r#"{"a": 1}"#).unwrap_err(),
        "model.json: is JSON, but not a model.json of TensorFlow.js: missing field `weightsManifest` at line 1 column 8"
    );
}

/// The layer of a description, in a `model.json` without weights.
fn described(layers: &str) -> Result<mobilenet_net::Params, String> {
    let config = format!(r#"{{"class_name":"Sequential","config":{{"name":"m","layers":[{layers}]}}}}"#);
    tfjs(&format!(r#"{{"modelTopology":{{"model_config":{config}}},"weightsManifest":[]}}"#))
}

#[test]
fn a_description_tells_what_weights_do_not() {
    let says = |layers: &str| described(layers).unwrap().metadata;
    let layers = [
        r#"{"class_name":"InputLayer","config":{"batch_shape":[null,96,128,3]}}"#,
        r#"{"class_name":"Rescaling","config":{"scale":0.5,"offset":1.0}}"#,
        r#"{"class_name":"Rescaling","config":{"scale":2.0,"offset":-3.0}}"#,
        r#"{"class_name":"BatchNormalization","config":{"epsilon":0.01}}"#,
        r#"{"class_name":"Dense","config":{"activation":"sigmoid"}}"#,
    ];
    let metadata = says(&layers.join(","));
    assert_eq!(metadata["keras_input"], r#"{"size":[96,128],"rescaling":[1.0,-1.0]}"#);
    assert_eq!((metadata["bn_epsilon"].as_str(), metadata["outputs"].as_str()), ("0.01", "independent"));
    assert_eq!(metadata["family"], "m");
    let arithmetic = [
        r#"{"class_name":"TrueDivide","config":{"name":"d"},"inbound_nodes":[{"args":[{},128],"kwargs":{}}]}"#,
        r#"{"class_name":"TFOpLambda","config":{"function":"math.subtract"},"inbound_nodes":[["d",0,0,{"y":1.0}]]}"#,
        r#"{"class_name":"Conv2D","config":{}}"#,
        // An activation's, behind the first convolution: none of the photo's.
        r#"{"class_name":"TFOpLambda","config":{"function":"math.multiply"},"inbound_nodes":[["c",0,0,{"y":3.0}]]}"#,
    ];
    assert_eq!(says(&arithmetic.join(","))["keras_input"], r#"{"size":null,"rescaling":[0.0078125,-1.0]}"#);
    for (layers, text) in [
        (
            r#"{"class_name":"GlobalMaxPooling2D","config":{"name":"max_pool"}}"#,
            "its layer max_pool is a GlobalMaxPooling2D, which no MobileNet classifier has",
        ),
        (
            r#"{"class_name":"Rescaling","config":{"name":"r","scale":[1,2,3],"offset":0}}"#,
            "its layer r rescales by something other than one number",
        ),
        (
            r#"{"class_name":"Conv2D","config":{}},{"class_name":"Rescaling","config":{"name":"r","scale":1,"offset":0}}"#,
            "its layer r rescales what is no photo any more",
        ),
        (
            r#"{"class_name":"Conv2D","config":{"name":"c","strides":[1,2]}}"#,
            "its layer c has another stride or dilation for rows than for columns",
        ),
        (
            r#"{"class_name":"GetItem","config":{"name":"get_item"},"inbound_nodes":[]}"#,
            "its layer get_item computes with the photo what is neither a product nor a sum with a number",
        ),
        (
            r#"{"class_name":"BatchNormalization","config":{"epsilon":0.01}},{"class_name":"BatchNormalization","config":{"name":"b"}}"#,
            "its batch norms have different epsilons, 0.01 and, in layer b, 0.001; a MobileNet has one",
        ),
    ] {
        assert_eq!(described(layers).unwrap_err(), format!("model.json: {text}"));
    }
}

#[test]
fn centernet_is_parsed_to_its_last_byte_and_is_no_classifier() {
    let Some(data) = data() else { return };
    let path = data.join("data/models/centernet_mobilenet_v3_large_0.75_coco_f16_tfjs.json");
    let params = weights::open(&path).unwrap();
    let bytes = params.tensors.values().map(|tensor| tensor.data().len() * tensor.dtype().size()).sum::<usize>();
    assert_eq!((params.tensors.len(), bytes), (267, 4_030_290));
    let error = load(&path, &Overrides::default()).unwrap_err().to_string();
    let text =
        "its tensors are not named as torchvision, timm, Keras or this project name those of a MobileNet classifier";
    assert!(error.contains(text) && error.ends_with("its metadata calls it \"graph-model\""), "{error}");
}

fn fixtures() -> impl Strategy<Value = Vec<u8>> {
    let names = ["k2_v1_0.04_32_h5.h5.gz", "k3_v1_0.04_32_gzip.h5.gz", "k3_v1_0.04_32_weights.weights.h5.gz"];
    prop::sample::select(names.map(fixture).into_iter().chain([fixture("k3_v1_0.04_32_zip.keras")]).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// They answer or refuse, and never hand out more than the limits allow. Zeros between HDF5's structures are left.
    #[test]
    fn mutated_files_are_read_or_refused(
        mut file in fixtures(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let used: Vec<usize> = (0..file.len()).filter(|&at| file[at] != 0).collect();
        for (at, byte) in changes {
            file[used[at.index(used.len())]] = byte;
        }
        if let Ok(params) = open("w", &file) {
            let read: usize = params.tensors.values().map(|t| t.data().len() * t.dtype().size()).sum();
            prop_assert!(read <= 16 * file.len(), "{read} bytes of tensors from a file of {}", file.len());
        }
    }
}
