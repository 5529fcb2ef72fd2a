//! Files are recognised from names and shapes alone, and what does not fit is said in one error.

use std::path::{Path, PathBuf};

use mobilenet_net::arch::{self, Spec, WidthRule};
use mobilenet_net::names::Names;
use mobilenet_net::recognise::recognise;
use mobilenet_net::{Activation, Error, Origin, Overrides, Padding, Params, Recognised, Tensor, load, weights};
use mobilenet_testing::data;

/// Parameters of zeros of a network, under an origin's names and in its order of axes.
fn zeros(origin: Origin, model: &str, spec: &Spec) -> Params {
    let table = arch::find(model).unwrap();
    let graph = table.graph(spec).unwrap();
    let names = Names::new(origin, &table, &graph).unwrap();
    let mut params = Params::default();
    for p in graph.parameters() {
        let name = names.get(&p.name).unwrap();
        let shape = match p.shape[..] {
            [c, 1, h, w] if name.ends_with("/depthwise_kernel") => vec![h, w, c, 1],
            [o, i, h, w] if name.ends_with("/kernel") => vec![h, w, i, o],
            [o, i] if name.ends_with("/kernel") => vec![i, o],
            _ => p.shape.clone(),
        };
        params.tensors.insert(name.into(), Tensor::from_f32(&shape, vec![0.0; p.shape.iter().product()]));
    }
    params
}

fn found(params: &Params, overrides: &Overrides) -> Result<Recognised, Error> {
    recognise(Path::new("w.safetensors"), params, overrides)
}

/// Recognises and checks.
fn checked(params: Params, overrides: &Overrides) -> Result<Params, Error> {
    let recognised = found(&params, overrides)?;
    let graph = recognised.table.graph(&recognised.spec)?;
    load::check(Path::new("w.safetensors"), params, &recognised, &graph)
}

/// The reference files of registered networks.
fn references() -> Vec<(PathBuf, Params)> {
    let Some(data) = data() else { return Vec::new() };
    let files = std::fs::read_dir(data.join("golden")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    let opened = files.map(|path| (path.clone(), weights::open(&path).unwrap()));
    opened.filter(|(_, params)| arch::find(&params.metadata["family"]).is_ok()).collect()
}

/// What no file of torchvision's says.
const RESIZE: &str = "resize: 256 (torchvision's second weights want --resize 232)";

#[test]
fn reference_files_are_recognised_without_and_with_their_metadata() {
    for (path, params) in references() {
        let truth = params.metadata.clone();
        let bare = Params { metadata: Default::default(), ..params.clone() };
        for params in [bare, params] {
            let with = !params.metadata.is_empty();
            let found = recognise(&path, &params, &Overrides::default()).unwrap();
            let Recognised { origin, table, spec, .. } = &found;
            let at = format!("{} (metadata: {with})", path.display());
            assert_eq!(table.name, truth["family"], "{at}");
            assert_eq!(origin.name(), truth["library"], "{at}");
            assert_eq!(spec.width, truth["width"].parse::<f64>().unwrap(), "{at}");
            assert_eq!(spec.classes.to_string(), truth["classes"], "{at}");
            assert_eq!(spec.input_channels, 3, "{at}");
            let rule = if spec.width_rule == WidthRule::Timm { "tensorflow" } else { spec.width_rule.name() };
            assert_eq!(rule, truth["width_rule"], "{at}");
            // The reference files' names tell tf_ weights apart, so that every guess is right here.
            assert_eq!(spec.bn_epsilon, truth["bn_epsilon"].parse::<f32>().unwrap(), "{at}");
            assert_eq!(spec.padding == Padding::Same, truth["padding"] == "same", "{at}");
            // torchvision has two recipes for photos of these two networks; timm two paddings and epsilons.
            let two_recipes = ["mobilenet_v2", "mobilenet_v3_large"].contains(&table.name.as_str());
            let certain = with || *origin == Origin::Torchvision && !two_recipes;
            assert_eq!(found.guesses.is_empty(), certain, "{at}: {:?}", found.guesses);

            let graph = table.graph(spec).unwrap();
            let needed = graph.parameters().len();
            assert_eq!(load::check(&path, params, &found, &graph).unwrap().tensors.len(), needed, "{at}");
        }
    }
}

#[test]
fn torchvisions_folded_v2_is_recognised() {
    let Some(data) = data() else { return };
    let path = data.join("data/models/mobilenet_v2_1.0_224_torchvision.pth");
    let loaded = mobilenet_net::load(&path, &Overrides::default()).unwrap();
    let Recognised { origin, table, spec, guesses, .. } = loaded.recognised;
    assert_eq!((origin, table.name.as_str()), (Origin::Torchvision, "mobilenet_v2"));
    assert_eq!(guesses, [RESIZE]);
    assert_eq!((spec.width, spec.classes, spec.bn_epsilon), (1.0, 1000, 1e-5));
    assert_eq!(loaded.params.tensors.len(), 262);
}

#[test]
fn every_family_width_and_rule_is_recognised() {
    for model in arch::models() {
        for origin in Origin::ALL {
            for width in [0.25, 0.35, 0.5, 0.6, 0.75, 1.0, 1.25, 1.4] {
                let rules = match origin {
                    Origin::Torchvision => vec![WidthRule::Torchvision],
                    Origin::Timm => vec![WidthRule::Timm],
                    Origin::Keras => vec![WidthRule::Keras],
                    Origin::Ours | Origin::TensorFlowLite => WidthRule::ALL.to_vec(),
                };
                for width_rule in rules {
                    let spec = Spec { width, width_rule, classes: 7, input_channels: 4, ..Spec::default() };
                    let table = arch::find(model.name).unwrap();
                    let graph = table.graph(&spec).unwrap();
                    if Names::new(origin, &table, &graph).is_err() {
                        continue;
                    }
                    let at = format!("{origin} {} {width} {width_rule}", model.name);
                    let found = found(&zeros(origin, model.name, &spec), &Overrides::default()).unwrap();
                    assert_eq!((found.origin, found.table.name.as_str()), (origin, model.name), "{at}");
                    let as_found = table.graph(&found.spec).unwrap();
                    assert_eq!(as_found.parameters(), graph.parameters(), "{at}");
                    assert_eq!((found.spec.width, found.spec.classes), (width, 7), "{at}");
                }
            }
        }
    }
}

#[test]
fn what_timms_names_do_not_say_is_guessed_and_listed() {
    let params = zeros(Origin::Timm, "mobilenet_v3_small", &Spec::default());
    let plain = found(&params, &Overrides::default()).unwrap();
    assert_eq!((plain.spec.padding, plain.spec.bn_epsilon), (Padding::Symmetric, 1e-5));
    assert_eq!(
        plain.guesses,
        [
            "padding: symmetric (timm's names serve two paddings; --padding same for tf_ weights)",
            "batch-norm epsilon: 0.00001 (timm's; --bn-epsilon 0.001 for tf_ weights)",
        ]
    );
    let tf = recognise(Path::new("a/tf_mobilenetv3_small_100.safetensors"), &params, &Overrides::default()).unwrap();
    assert_eq!((tf.spec.padding, tf.spec.bn_epsilon, tf.guesses.len()), (Padding::Same, 1e-3, 2));
    let known = Overrides { padding: Some(Padding::Same), bn_epsilon: Some(2e-3), ..Overrides::default() };
    let known = found(&params, &known).unwrap();
    assert_eq!((known.spec.padding, known.spec.bn_epsilon, known.guesses.len()), (Padding::Same, 2e-3, 0));
}

#[test]
fn shapes_are_believed_before_metadata() {
    let mut params = zeros(Origin::Torchvision, "mobilenet_v2", &Spec { width: 0.5, ..Spec::default() });
    for (key, value) in [("width", "2"), ("width_rule", "tensorflow"), ("family", "resnet50"), ("classes", "-4")] {
        params.metadata.insert(key.into(), value.into());
    }
    let found = found(&params, &Overrides::default()).unwrap();
    assert_eq!((found.table.name.as_str(), found.spec.width, found.spec.classes), ("mobilenet_v2", 0.5, 1000));
    assert_eq!(found.guesses, ["width: 0.5 by the shapes, although the metadata says 2.0", RESIZE]);
}

#[test]
fn a_width_too_large_to_build_is_passed_over_unless_the_user_gives_it() {
    let mut params = zeros(Origin::Torchvision, "mobilenet_v2", &Spec::default());
    params.metadata.insert("width".into(), "16".into());
    let classes = Some(60_000);
    assert_eq!(found(&params, &Overrides { classes, ..Overrides::default() }).unwrap().spec.width, 1.0);
    let error = found(&params, &Overrides { classes, width: Some(16.0), ..Overrides::default() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "w.safetensors: mobilenet_v2 at width 16.0 with 60000 classes has 1774363232 learned values; at most 1073741824 \
         are built: give a smaller width or fewer classes"
    );
}

#[test]
fn without_the_last_block_only_the_metadatas_width_and_1_are_tried() {
    let mut params = zeros(Origin::Torchvision, "mobilenet_v2", &Spec { width: 0.5, ..Spec::default() });
    params.tensors.remove("features.17.conv.2.weight");
    assert_eq!(found(&params, &Overrides::default()).unwrap().spec.width, 1.0);
    params.metadata.insert("width".into(), "0.5".into());
    assert_eq!(found(&params, &Overrides::default()).unwrap().spec.width, 0.5);
    assert_eq!(
        checked(params, &Overrides::default()).unwrap_err().to_string(),
        "w.safetensors: tensor features.17.conv.2.weight of shape [160, 480, 1, 1] is missing; mobilenet_v2 (width 0.5) \
         needs it"
    );
}

#[test]
fn nonsense_in_metadata_is_refused_unless_overridden() {
    for (key, value, rule) in [
        ("width", "NaN", "a number above 0, at most 16"),
        ("width", "-1", "a number above 0, at most 16"),
        ("width", "1e308", "a number above 0, at most 16"),
        ("width_rule", "slim", "tensorflow, timm, torchvision or keras"),
        ("padding", "VALID", "symmetric or same"),
        ("bn_epsilon", "inf", "a number above 0, at most 1"),
        ("resolution", "99999999999999999999", "1 to 8192 pixels"),
        ("resolution", "0", "1 to 8192 pixels"),
    ] {
        let mut params = zeros(Origin::Timm, "mobilenet_v1", &Spec { width: 0.25, ..Spec::default() });
        params.metadata.insert(key.into(), value.into());
        let text = found(&params, &Overrides::default()).unwrap_err().to_string();
        assert_eq!(text, format!("w.safetensors: its metadata says {key} is {value:?}; it must be {rule}"));
        let all = Overrides {
            width: Some(0.25),
            width_rule: Some(WidthRule::Timm),
            padding: Some(Padding::Same),
            bn_epsilon: Some(1e-3),
            ..Overrides::default()
        };
        assert_eq!(found(&params, &all).is_ok(), key != "resolution");
    }
}

#[test]
fn missing_extra_and_misshapen_tensors_are_one_error() {
    let mut params = zeros(Origin::Torchvision, "mobilenet_v2", &Spec::default());
    params.tensors.remove("features.18.1.bias");
    params.tensors.insert("aux.weight".into(), Tensor::from_f32(&[1, 2], vec![0.0; 2]));
    let misshapen = Tensor::from_f32(&[144, 1, 5, 5], vec![0.0; 144 * 25]);
    params.tensors.insert("features.3.conv.1.0.weight".into(), misshapen);
    let integers = Tensor::new(vec![32], mobilenet_net::Data::I64(vec![0; 32]));
    params.tensors.insert("features.0.1.weight".into(), integers);
    assert_eq!(
        checked(params, &Overrides::default()).unwrap_err().to_string(),
        "w.safetensors: tensor features.0.1.weight holds integers; mobilenet_v2 (width 1.0) needs floats\n\
         w.safetensors: tensor features.3.conv.1.0.weight has shape [144, 1, 5, 5]; mobilenet_v2 (width 1.0) needs \
         [144, 1, 3, 3]\n\
         w.safetensors: tensor features.18.1.bias of shape [1280] is missing; mobilenet_v2 (width 1.0) needs it\n\
         w.safetensors: tensor aux.weight of shape [1, 2] is no part of mobilenet_v2 (width 1.0)"
    );
}

#[test]
fn wrong_overrides_are_one_error() {
    let v2 = || zeros(Origin::Torchvision, "mobilenet_v2", &Spec { classes: 10, ..Spec::default() });
    let error = |overrides| checked(v2(), &overrides).unwrap_err().to_string();
    assert_eq!(
        error(Overrides { classes: Some(1000), ..Overrides::default() }),
        "w.safetensors: tensor classifier.1.weight has shape [10, 1280]; mobilenet_v2 (width 1.0) needs [1000, 1280]\n\
         w.safetensors: tensor classifier.1.bias has shape [10]; mobilenet_v2 (width 1.0) needs [1000]"
    );
    let text = error(Overrides { table: arch::find("mobilenet_v3_small").ok(), ..Overrides::default() });
    assert!(text.starts_with("w.safetensors: tensor features.0.0.weight has shape [32, 3, 3, 3]; mobilenet_v3_small"));
    let tensors = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    // Eight of each kind are named, and the others counted.
    assert_eq!((tensors(" needs ["), tensors(" is missing; "), tensors(" is no part of ")), (5, 8, 8), "{text}");
    let counts: Vec<_> = text.lines().filter(|line| line.contains(" more tensors ")).collect();
    let (missing, extra) = ("w.safetensors: 195 more tensors are missing", " more tensors are no part of it");
    assert!(counts.len() == 2 && counts[0] == missing && counts[1].ends_with(extra), "{text}");
    let text = error(Overrides { width: Some(0.5), ..Overrides::default() });
    assert!(text.contains("mobilenet_v2 (width 0.5) needs [16, 3, 3, 3]"), "{text}");
    assert_eq!(
        error(Overrides { width: Some(f64::NAN), ..Overrides::default() }),
        "w.safetensors: width is NaN; give a number above 0, at most 16"
    );
    assert_eq!(
        error(Overrides { table: arch::find("mobilenet_v1").ok(), ..Overrides::default() }),
        "w.safetensors: torchvision has no name for mobilenet_v1's layer block1.pointwise.conv; only our own files can \
         hold it"
    );
}

#[test]
fn other_networks_are_refused() {
    let of = |names: &[&str]| {
        let one = |name: &&str| (name.to_string(), Tensor::from_f32(&[8], vec![0.0; 8]));
        Params { tensors: names.iter().map(one).collect(), ..Params::default() }
    };
    let error = |params: &Params| found(params, &Overrides::default()).unwrap_err().to_string();
    let unknown = "w.safetensors: its tensors are not named as torchvision, timm, Keras or this project name those of a \
                   MobileNet classifier";
    assert_eq!(error(&of(&[])), format!("{unknown} (there are none)"));
    assert_eq!(error(&of(&["conv1.weight", "bn1.weight"])), format!("{unknown} (bn1.weight, conv1.weight, …)"));
    let mut segmenter = of(&["backbone.0.0.weight"]);
    segmenter.metadata.insert("family".into(), "lraspp_mobilenet_v3_large".into());
    assert_eq!(
        error(&segmenter),
        format!("{unknown} (backbone.0.0.weight, …); its metadata calls it \"lraspp_mobilenet_v3_large\"")
    );
    assert_eq!(
        error(&of(&["features.0.0.weight", "features.0.1.weight"])),
        "w.safetensors: it fits no registered network: it has 2 of the 174 tensors of mobilenet_v3_small_minimal, the \
         closest by torchvision's names"
    );
}

#[test]
fn keras_models_without_top_give_features() {
    for name in ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"] {
        let spec = Spec { width: 0.5, width_rule: WidthRule::Keras, ..Spec::default() };
        let mut params = zeros(Origin::Keras, name, &spec);
        let top = ["predictions/", "conv_preds/", "logits/", "conv_2/"];
        params.tensors.retain(|name, _| !top.iter().any(|top| name.starts_with(top)));
        let recognised = found(&params, &Overrides::default()).unwrap();
        assert_eq!((recognised.table.name.as_str(), recognised.spec.classes), (name, 0));
        let graph = recognised.table.graph(&recognised.spec).unwrap();
        assert!(graph.find("hidden").is_none(), "{name}");
        load::check(Path::new("w"), params, &recognised, &graph).unwrap();
    }
}

#[test]
fn the_description_of_a_keras_model_is_held_to_the_network() {
    let spec = Spec { width: 0.25, width_rule: WidthRule::Keras, ..Spec::default() };
    let with = |key: &str, value: &str| {
        let mut params = zeros(Origin::Keras, "mobilenet_v1", &spec);
        params.metadata.insert(key.into(), value.into());
        found(&params, &Overrides::default())
    };
    let stride = |value: &str| with("keras_windows", value).map(|found| found.spec.total_stride);
    assert_eq!(stride(r#"{"conv1":[2,1],"conv_dw_2":[2,1]}"#).unwrap(), 32);
    // As people change V1 for photos of 32 pixels.
    assert_eq!(stride(r#"{"conv1":[1,1],"conv_dw_2":[2,1],"conv_dw_4":[2,1]}"#).unwrap(), 16);
    assert_eq!(stride(r#"{"conv1":[1,1],"conv_dw_2":[1,1],"conv_dw_4":[2,1]}"#).unwrap(), 8);
    let text = "w.safetensors: its layer conv_dw_4 has stride 1 and dilation 1; mobilenet_v1 has 2 and 1 there";
    assert_eq!(stride(r#"{"conv1":[2,1],"conv_dw_4":[1,1]}"#).unwrap_err().to_string(), text);
    let relu = |value: &str| with("keras_relu_limits", value).map(|found| found.spec.activation);
    assert_eq!(relu(r#"["6"]"#).unwrap(), None);
    assert_eq!(relu("[null]").unwrap(), Some(Activation::Relu));
    assert!(relu(r#"[null,"6"]"#).unwrap_err().to_string().contains("its ReLUs have other limits than 6, or several"));
}

#[test]
fn keras_models_with_several_fully_connected_layers_say_what_they_have() {
    let spec = Spec { width: 0.5, width_rule: WidthRule::Keras, ..Spec::default() };
    let mut params = zeros(Origin::Keras, "mobilenet_v2", &spec);
    params.tensors.retain(|name, _| !name.starts_with("predictions/"));
    for (layer, from, to) in [("dense", 1280, 100), ("dense_1", 100, 5)] {
        params.tensors.insert(format!("{layer}/kernel"), Tensor::from_f32(&[from, to], vec![0.0; from * to]));
    }
    assert_eq!(
        found(&params, &Overrides::default()).unwrap_err().to_string(),
        "w.safetensors: is a mobilenet_v2 by Keras's names, but behind the features it has fully connected layers of its \
         own: dense (1280 to 100), dense_1 (100 to 5); one is read, as the classifier"
    );
}

#[test]
fn a_misshapen_tensor_of_keras_is_told_in_keras_order() {
    let mut params = zeros(Origin::Keras, "mobilenet_v1", &Spec { width: 0.25, ..Spec::default() });
    params.tensors.insert("conv1/kernel".into(), Tensor::from_f32(&[5, 5, 3, 8], vec![0.0; 600]));
    assert_eq!(
        checked(params, &Overrides::default()).unwrap_err().to_string(),
        "w.safetensors: tensor conv1/kernel has shape [5, 5, 3, 8]; mobilenet_v1 (width 0.25) needs [3, 3, 3, 8]"
    );
}
