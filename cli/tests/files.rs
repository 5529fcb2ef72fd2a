//! Weights files that say everything: `info`, `verify`, `convert`.

mod common;

use std::collections::BTreeMap;

use common::{Ended, Folder, photo, small};
use mobilenet::arch::Spec;
use mobilenet::net::{DType, Data, weights};
use mobilenet::{Params, Tensor};
use serde_json::{Value, json};

const LABELS: &str = "ash\nbirch\ncherry\ndogwood\n";

/// A folder with `a.safetensors`, converted from fresh weights of V2, and photos.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.weights("fresh.safetensors", "mobilenet_v2", &small());
    folder.write("labels.txt", LABELS);
    let ended =
        folder.run("convert fresh.safetensors a.safetensors --labels labels.txt --licence CC0-1.0 --source here");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    assert!(ended.out.contains("every logit as before"), "{ended:?}");
    for i in 0..3 {
        folder.write(&format!("p{i}.bmp"), photo(90, 70, 3 * i + 1));
    }
    folder
}

/// All tensors of a file, and its metadata.
fn read(folder: &Folder, name: &str) -> Params {
    weights::open_where(folder.path(name), |_| true).unwrap()
}

/// A copy of `a.safetensors` with one entry of its metadata changed.
fn changed(folder: &Folder, name: &str, change: impl Fn(&mut BTreeMap<String, String>)) {
    let mut params = read(folder, "a.safetensors");
    change(&mut params.metadata);
    weights::save(folder.path(name), &params).unwrap();
}

fn set(metadata: &mut BTreeMap<String, String>, key: &str, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_str(&metadata[key]).unwrap();
    change(&mut value);
    metadata.insert(key.into(), value.to_string());
}

#[track_caller]
fn wrong(folder: &Folder, file: &str, faults: &[&str]) {
    let ended = folder.run(&format!("verify {file} --json"));
    assert_eq!((ended.code, ended.err.as_str()), (1, ""), "{ended:?}");
    let found: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(found["faults"], json!(faults), "{found}");
    assert_eq!(folder.run(&format!("verify {file}")).out.lines().count(), 1 + faults.len());
}

#[test]
fn info_prints_what_the_file_says_and_what_was_guessed() {
    let folder = folder();
    let [info] = &folder.run("info a.safetensors --json --threads 1").json()[..] else { panic!("one object") };
    assert_eq!(info["model"], "mobilenet_v2");
    assert_eq!(info["labels"], json!(["ash", "birch", "cherry", "dogwood"]));
    assert_eq!((&info["licence"], &info["source"]), (&json!("CC0-1.0"), &json!("here")));
    assert_eq!((&info["pairs"], &info["guesses"]), (&json!(3), &json!([])));
    assert_eq!(info["preprocessing"]["size"], json!([64, 64]));
    assert_eq!(info["types"]["f32"], info["costs"]["weight_bytes"].as_u64().unwrap() / 4);
    let page = folder.run("info a.safetensors").out;
    for part in ["ash; birch; cherry; dogwood", "CC0-1.0", "padding symmetric", "64×64 from the middle"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // The same network elsewhere; the file stays what it is.
    let costs =
        |flags: &str| folder.run(&format!("info a.safetensors --json --threads 1 {flags}")).json()[0]["costs"].clone();
    let [own, wide, large, half] = ["", "--width 1", "--resolution 128x96", "--precision f16"].map(costs);
    assert!(wide["parameters"].as_u64() > own["parameters"].as_u64());
    assert_eq!(large["resolution"], json!([128, 96]));
    assert!(large["activation_bytes"].as_u64() > own["activation_bytes"].as_u64());
    assert!(half["weight_bytes"].as_u64() < own["weight_bytes"].as_u64());

    let mut params = read(&folder, "a.safetensors");
    params.metadata.clear();
    weights::save(folder.path("bare.safetensors"), &params).unwrap();
    let info = folder.run("info bare.safetensors --json");
    let info: Value = serde_json::from_str(&info.out).unwrap();
    assert_eq!(info["guesses"].as_array().unwrap().len(), 2, "{info}");
}

#[test]
fn a_network_without_a_classifier_is_described_and_converted() {
    let folder = Folder::new();
    folder.weights("features.safetensors", "mobilenet_v3_small", &Spec { classes: 0, ..small() });
    let page = folder.run("info features.safetensors");
    assert_eq!(page.code, 0, "{page:?}");
    assert!(page.out.contains("no classifier") && page.out.contains("checked pairs  none"), "{page:?}");
    let ended = folder.run("convert features.safetensors half.safetensors --precision f16");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    folder.write("p.bmp", photo(90, 70, 1));
    let ended = folder.run("verify features.safetensors half.safetensors p.bmp --tolerance 0.1");
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn verify_names_what_is_wrong() {
    let folder = folder();
    let ended = folder.run("verify a.safetensors");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    assert!(ended.out.starts_with("a.safetensors: sound; 3 pairs, "), "{ended:?}");

    changed(&folder, "mean.safetensors", |m| set(m, "preprocessing", |p| p["mean"] = json!([0.5, 0.456, 0.406])));
    wrong(&folder, "mean.safetensors", &["mean is 0.5, 0.456, 0.406, and was 0.485, 0.456, 0.406"]);
    changed(&folder, "order.safetensors", |m| set(m, "preprocessing", |p| p["channel_order"] = json!("bgr")));
    wrong(&folder, "order.safetensors", &["channel order is bgr, and was rgb"]);
    // Moves every class by one, and no logit.
    changed(&folder, "background.safetensors", |m| {
        set(m, "preprocessing", |p| p["background_class"] = json!(true));
    });
    wrong(&folder, "background.safetensors", &["background class is true, and was false"]);
    changed(&folder, "padding.safetensors", |m| _ = m.insert("padding".into(), "same".into()));
    wrong(&folder, "padding.safetensors", &["padding is same, and was symmetric"]);
    changed(&folder, "stride.safetensors", |m| _ = m.insert("output_stride".into(), "16".into()));
    wrong(&folder, "stride.safetensors", &["output stride is 16, and was 32"]);
    changed(&folder, "outputs.safetensors", |m| _ = m.insert("outputs".into(), "independent".into()));
    wrong(&folder, "outputs.safetensors", &["outputs is independent, and was exclusive"]);
    changed(&folder, "epsilon.safetensors", |m| _ = m.insert("bn_epsilon".into(), "0.05".into()));
    wrong(&folder, "epsilon.safetensors", &["batch-norm epsilon is 0.05, and was 0.001"]);
    changed(&folder, "two.safetensors", |m| {
        set(m, "preprocessing", |p| p["std"] = json!([1.0, 1.0, 1.0]));
        m.insert("padding".into(), "same".into());
    });
    wrong(
        &folder,
        "two.safetensors",
        &["padding is same, and was symmetric", "deviation is 1, 1, 1, and was 0.229, 0.224, 0.225"],
    );

    let mut params = read(&folder, "a.safetensors");
    let tensor = params.tensors.get_mut("block3.expand.conv.weight").unwrap();
    let shape = tensor.shape().to_vec();
    let weights_of: Vec<f32> = tensor.clone().into_f32().iter().map(|w| w * 1.01).collect();
    *tensor = Tensor::from_f32(&shape, weights_of);
    weights::save(folder.path("weight.safetensors"), &params).unwrap();
    wrong(&folder, "weight.safetensors", &["the weights are not those that its pairs were computed with"]);
}

#[test]
fn verify_finds_labels_that_are_shifted() {
    let folder = folder();
    changed(&folder, "shifted.safetensors", |m| {
        set(m, "labels", |labels| labels.as_array_mut().unwrap().rotate_right(1));
    });
    let ended = folder.run("verify shifted.safetensors");
    assert_eq!(ended.code, 1, "{ended:?}");
    let fault = ended.out.lines().nth(1).unwrap();
    assert!(fault.starts_with("  labels: output ") && fault.contains(" is called "), "{fault}");
    let ended = folder.run("verify a.safetensors shifted.safetensors p0.bmp");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.starts_with("labels: output 0 is \"ash\" against "), "{ended:?}");
    assert!(ended.out.contains("first class the same on 0 of 1 photos"), "{ended:?}");
}

#[test]
fn two_files_are_compared_layer_by_layer() {
    let folder = folder();
    let same = folder.run("verify fresh.safetensors a.safetensors p0.bmp p1.bmp p2.bmp");
    assert_eq!((same.code, same.err.as_str()), (0, ""), "{same:?}");
    assert!(same.out.contains("first class the same on 3 of 3 photos"), "{same:?}");

    let departs = |file: &str| -> Value {
        let ended = folder.run(&format!("verify a.safetensors {file} p0.bmp p1.bmp --json"));
        assert_eq!(ended.code, 1, "{ended:?}");
        serde_json::from_str(&ended.out).unwrap()
    };
    changed(&folder, "mean.safetensors", |m| set(m, "preprocessing", |p| p["mean"] = json!([0.5, 0.456, 0.406])));
    let found = departs("mean.safetensors");
    assert_eq!(found["departs"], "input");
    assert_eq!(found["settings"], json!(["mean: 0.485, 0.456, 0.406 against 0.5, 0.456, 0.406"]));
    changed(&folder, "padding.safetensors", |m| _ = m.insert("padding".into(), "same".into()));
    let found = departs("padding.safetensors");
    assert_eq!((&found["departs"], &found["settings"]), (&json!("stem"), &json!(["padding: symmetric against same"])));

    let mut params = read(&folder, "a.safetensors");
    let tensor = params.tensors.get_mut("block4.depthwise.conv.weight").unwrap();
    let shape = tensor.shape().to_vec();
    let moved: Vec<f32> = tensor.clone().into_f32().iter().map(|w| w * 1.5).collect();
    *tensor = Tensor::from_f32(&shape, moved);
    weights::save(folder.path("weight.safetensors"), &params).unwrap();
    let found = departs("weight.safetensors");
    assert_eq!((&found["departs"], &found["settings"]), (&json!("block4.depthwise"), &json!([])));
}

#[test]
fn what_a_files_pairs_disprove_is_not_converted_unless_asked_for() {
    let folder = folder();
    changed(&folder, "mean.safetensors", |m| set(m, "preprocessing", |p| p["mean"] = json!([0.5, 0.456, 0.406])));
    folder.refused(
        "convert mean.safetensors new.safetensors",
        "mean.safetensors: it is not what its checked pairs prove: mean is 0.5, 0.456, 0.406, and was 0.485, 0.456, \
         0.406; mend it, or take it as it is with --despite-pairs",
    );
    assert_eq!(folder.run("convert mean.safetensors new.safetensors --despite-pairs").code, 0);
    // A setting that the user gives changes answers, and that is said.
    let ended = folder.run("convert a.safetensors same.safetensors --padding same");
    assert!(ended.out.ends_with("answers change; padding: symmetric against same\n"), "{ended:?}");
}

#[test]
fn verify_looks_at_the_names_that_are_given_and_at_those_that_a_library_implies() {
    let folder = folder();
    folder.write("moved.txt", "birch\ncherry\ndogwood\nash\n");
    let ended = folder.run("verify a.safetensors --labels moved.txt");
    assert!(ended.code == 1 && ended.out.contains("; all names are shifted by -1"), "{ended:?}");
    let bare = read(&folder, "a.safetensors");
    let mut bare = Params { metadata: BTreeMap::new(), ..bare };
    bare.tensors.retain(|name, _| !name.starts_with("golden."));
    let nan = bare.tensors.get_mut("stem.conv.weight").unwrap();
    let (shape, mut values) = (nan.shape().to_vec(), nan.clone().into_f32());
    values[3] = f32::NAN;
    *nan = Tensor::from_f32(&shape, values);
    weights::save(folder.path("nan.safetensors"), &bare).unwrap();
    folder.refused(
        "info nan.safetensors",
        "nan.safetensors: tensor stem.conv.weight holds values that are no finite numbers",
    );
}

#[test]
fn every_form_and_back_gives_the_same_bits() {
    let folder = folder();
    for names in ["torchvision", "timm"] {
        let there = folder.run(&format!("convert a.safetensors {names}.safetensors --names {names}"));
        // Neither library has V2 with this epsilon.
        let warning =
            format!("warning: {names}'s networks pad or normalise otherwise than this one (padding symmetric, ");
        assert!(there.code == 0 && there.err.starts_with(&warning), "{there:?}");
        let back = folder.run(&format!("convert {names}.safetensors back.safetensors"));
        assert_eq!((back.code, back.err.as_str()), (0, ""), "{back:?}");
        // Not `assert_eq!`, which would print every weight.
        assert!(read(&folder, "back.safetensors").tensors == read(&folder, "a.safetensors").tensors, "{names}");
        assert_eq!(folder.run(&format!("verify {names}.safetensors")).code, 0);
    }
    assert!(read(&folder, "torchvision.safetensors").tensors.contains_key("features.0.0.weight"));
    assert!(read(&folder, "timm.safetensors").tensors.contains_key("conv_stem.weight"));
    // A file is what it holds, not what it is called.
    std::fs::rename(folder.path("timm.safetensors"), folder.path("photo.jpg")).unwrap();
    assert_eq!(folder.run("verify photo.jpg").code, 0);
    let text = "torchvision has no name for mobilenet_v1's layer block1.pointwise.conv; only our own files can hold it";
    folder.weights("v1.safetensors", "mobilenet_v1", &small());
    folder.refused("convert v1.safetensors new.safetensors --names torchvision", text);
}

#[test]
fn halves_take_half_and_are_checked_as_they_are() {
    let folder = folder();
    let size = |name: &str| std::fs::metadata(folder.path(name)).unwrap().len();
    for (precision, dtype, most) in [("f16", DType::F16, 2e-2), ("bf16", DType::Bf16, 1e-1)] {
        let name = format!("{precision}.safetensors");
        let ended = folder.run(&format!("convert a.safetensors {name} --precision {precision} --json"));
        let [report] = &ended.json()[..] else { panic!("one object") };
        let error = report["error"].as_f64().unwrap();
        assert!(error > 0.0 && error < most, "{precision}: {error}");
        assert!(size(&name) < size("a.safetensors") * 7 / 10);
        let params = read(&folder, &name);
        assert_eq!(params.tensors["head.conv.weight"].dtype(), dtype);
        assert_eq!(params.tensors["head.norm.running_var"].dtype(), DType::F32);
        assert_eq!(folder.run(&format!("verify {name}")).code, 0);
    }
    let mut params = read(&folder, "a.safetensors");
    let tensor = params.tensors.get_mut("classifier.weight").unwrap();
    let shape = tensor.shape().to_vec();
    let mut large = tensor.clone().into_f32();
    large[0] = 1e5;
    *tensor = Tensor::from_f32(&shape, large);
    weights::save(folder.path("large.safetensors"), &params).unwrap();
    folder.refused(
        "convert large.safetensors new.safetensors --precision f16",
        "a weight of classifier.weight is beyond the range of half precision; bf16 has the range of f32",
    );
    assert_eq!(folder.run("convert large.safetensors new.safetensors --precision bf16").code, 0);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let folder = folder();
    let before = folder.names();
    folder.refused(
        "convert a.safetensors a.safetensors",
        "a.safetensors: the output would replace what is read; give another name",
    );
    folder.refused("convert a.safetensors a.pth", "a.pth: only .safetensors is written; give such a name");
    folder.refused(
        "verify fresh.safetensors",
        "fresh.safetensors: it carries no checked pairs; `mobilenet convert fresh.safetensors NEW.safetensors` writes a \
         file that does, and `mobilenet verify A B PHOTOS` compares two files",
    );
    folder.refused(
        "verify a.safetensors fresh.safetensors",
        "two files are compared over photos: give some, or a folder of them",
    );
    assert_eq!(folder.names(), before);
    changed(&folder, "newer.safetensors", |m| _ = m.insert("format".into(), "mobilenet 2".into()));
    folder.refused(
        "info newer.safetensors",
        "newer.safetensors: it is of version 2 of this program's format, and version 1 is read: use a newer mobilenet",
    );
    for (change, text) in [
        (("golden.1.logits", None), "golden.1.photo has no golden.1.logits"),
        (
            ("golden.0.photo", Some(Tensor::new(vec![0, 4, 3], Data::U8(Vec::new())))),
            "golden.0.photo of shape [0, 4, 3] is no photo",
        ),
        (("golden.2.photo", None), "2 pairs, 3 labels"),
    ] {
        let mut params = read(&folder, "a.safetensors");
        let (name, tensor) = change;
        params.tensors.remove(name);
        params.tensors.extend(tensor.map(|tensor| (name.to_owned(), tensor)));
        weights::save(folder.path("bad.safetensors"), &params).unwrap();
        folder.refused("verify bad.safetensors", &format!("bad.safetensors: its checked pairs: {text}"));
    }
}

#[test]
fn a_trained_file_proves_itself_and_says_how_it_was_trained() {
    let folder = Folder::new();
    folder.photos("photos", 6);
    folder.train("photos -o run --epochs 2");
    let verdict = folder.run("verify run/model.safetensors");
    assert_eq!((verdict.code, verdict.err.as_str()), (0, ""), "{verdict:?}");
    let [info] = &folder.run("info run/model.safetensors --json").json()[..] else { panic!("one object") };
    let training = &info["training"];
    assert_eq!((&training["epochs"], &training["photos"]), (&json!(2), &json!(18)), "{training}");
    assert!(training["recipe"].as_str().unwrap().contains("model = "), "{training}");
    assert_eq!(info["guesses"], json!([]));
    // A converted file keeps the record, the photos of the pairs, and the answers.
    assert_eq!(folder.run("convert run/model.safetensors half.safetensors --precision f16").code, 0);
    let [half] = &folder.run("info half.safetensors --json").json()[..] else { panic!("one object") };
    assert_eq!(half["training"], *training);
    let pairs = |name: &str| read(&folder, name).tensors["golden.0.photo"].clone();
    assert!(pairs("half.safetensors") == pairs("run/model.safetensors"));
    let Ended { code, out, .. } = folder.run("verify run/model.safetensors half.safetensors photos --tolerance 0.05");
    assert_eq!(code, 0, "{out}");
}
