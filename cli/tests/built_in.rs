//! The network inside the program: what works on a fresh machine, without flags and without network.

mod common;

use std::path::Path;

use common::{Folder, photo};
use mobilenet::net::{built_in, weights};
use mobilenet::train::Recipe;
use mobilenet::{Classifier, Image};
use mobilenet_testing::photos::write_classes;
use serde_json::Value;

#[test]
fn a_photo_is_classified_without_a_flag() {
    let folder = Folder::new();
    folder.write("a.bmp", photo(90, 70, 3));
    let ended = folder.run("classify a.bmp --always --json");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("by the built-in network of 200 classes"), "{}", ended.err);
    let line: Value = serde_json::from_str(&ended.out).unwrap();
    let classifier = Classifier::built_in().unwrap();
    let expected = classifier.classify(&Image::open(folder.path("a.bmp")).unwrap(), 5);
    let labels: Vec<_> = line["top"].as_array().unwrap().iter().map(|answer| &answer["label"]).collect();
    assert_eq!(labels, expected.iter().map(|answer| &answer.label).collect::<Vec<_>>());
}

#[test]
fn its_file_is_small_proved_and_says_what_it_is() {
    assert!(weights::size(built_in::NAME).unwrap() <= 5_000_000);
    let folder = Folder::new();
    let verified = folder.run("verify built-in");
    assert_eq!(verified.code, 0, "{verified:?}");
    let info = &folder.run("info built-in --json").json()[0];
    assert_eq!(info["labels"].as_array().unwrap().len(), 200);
    assert!(info["guesses"].as_array().unwrap().is_empty(), "{info}");
    for said in ["source", "licence", "threshold", "training"] {
        assert!(!info[said].is_null(), "{said}");
    }
    assert!(info["licence"].as_str().unwrap().contains("ImageNet"), "{info}");
    // It is the whole training's network, and the second recipe in the repository ended it.
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../recipes/tiny-imagenet-64.toml");
    let recipe = Recipe::from_file(Path::new(recipe)).unwrap();
    let trained = Recipe::from_toml(info["training"]["recipe"].as_str().unwrap()).unwrap();
    assert_eq!(Recipe { teacher: None, ..trained }, Recipe { teacher: None, ..recipe.clone() });
    assert_eq!(info["training"]["epochs"].as_f64(), Some(recipe.epochs));
}

#[test]
fn a_file_of_that_name_is_told_from_it() {
    let folder = Folder::new();
    folder.write("built-in", "no weights");
    folder.write("built-in.card.json", "no card");
    assert_eq!(folder.run("info built-in --json").json()[0]["bytes"], weights::size(built_in::NAME).unwrap());
    folder.refused("info ./built-in", "./built-in: has no known format; weights are read from safetensors, Keras (.h5), Keras (.keras), PyTorch (.pth), TensorFlow.js (model.json) and TensorFlow Lite");
}

#[test]
fn training_begins_with_it_where_nobody_names_a_network() {
    let folder = Folder::new();
    write_classes(&folder.path("photos"), 6);
    let flags = "--resolution 32 --threads 1 --json";
    let ended = folder.run(&format!("train photos -o own --epochs 1 {flags}"));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("weights: built-in, took "), "{}", ended.err);
    assert!(
        ended.err.contains("fresh: classifier.weight, classifier.bias (200 classes there, 3 here)"),
        "{}",
        ended.err
    );
    let head = folder.run(&format!("train photos -o head --head-only {flags}"));
    assert!(head.code == 0 && head.out.contains("\"event\":\"head\""), "{head:?}");
    let small = "--recipe default --model mobilenet_v3_small --width 0.25 --set batch=4 --epochs 1";
    for fresh in [format!("{small} -o a"), "--from random --epochs 1 -o b --set width=0.25".into()] {
        let ended = folder.run(&format!("train photos {fresh} {flags}"));
        assert!(ended.code == 0 && ended.err.contains("weights: fresh"), "{ended:?}");
    }
    folder.refused(
        "train photos --head-only --from random -o c",
        "the classifier is to be learned first, or alone, on features of a network, and random weights have none: give the \
         weights to begin with as --from",
    );
    // A run keeps its place by its data's name, and its file says where its weights are from.
    let named = folder.run(&format!("train photos --head-only {flags}"));
    assert_eq!(named.code, 0, "{named:?}");
    let info = &folder.run("info runs/photos/model.safetensors --json").json()[0];
    let source = info["source"].as_str().unwrap();
    assert!(source.contains("begun with built-in, which is under: ") && source.contains("ImageNet"), "{source}");
}
