//! `train FOLDER` where nobody gave a recipe: what is chosen, the classifier first, calibration, 'unknown', and classes that
//! are added, renamed and dropped.

mod common;

use std::fs;

use common::{Ended, Folder, fresh};
use mobilenet::arch::Spec;
use mobilenet::net::weights;
use mobilenet_testing::photos::{CLASSES, bmp};
use serde_json::Value;

/// What makes a training small.
const SMALL: &str = "--resolution 32 --threads 1 --set augmentation.color_jitter=0";

/// A photo of squares around a colour, unlike every other.
fn scene(color: [u8; 3], seed: usize) -> Vec<u8> {
    bmp(24, 24, |x, y| {
        let square = (x / 4 + 6 * (y / 4) + 36 * seed) as u64;
        let mixed = (square ^ square << 21).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shade = ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 58) as u8;
        color.map(|c| c.saturating_sub(32).saturating_add(shade))
    })
}

/// Photos of three classes, and weights to begin with.
fn folder(each: usize) -> Folder {
    let folder = Folder::new();
    CLASSES.iter().for_each(|(name, color)| class(&folder, &format!("photos/{name}"), *color, each));
    let spec = Spec { width: 0.25, ..Spec::default() };
    weights::save(folder.path("w.safetensors"), &fresh("mobilenet_v2", &spec)).unwrap();
    folder
}

/// A class of its own colour.
fn class(folder: &Folder, name: &str, color: [u8; 3], photos: usize) {
    fs::create_dir_all(folder.path(name)).unwrap();
    (0..photos).for_each(|seed| folder.write(&format!("{name}/{seed}.bmp"), scene(color, 100 + seed)));
}

#[track_caller]
fn done(ended: Ended) -> Ended {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended
}

fn events(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn recipe(folder: &Folder, run: &str) -> mobilenet::train::Recipe {
    mobilenet::train::Recipe::from_file(&folder.path(run).join("recipe.toml")).unwrap()
}

#[test]
fn settings_are_chosen_and_the_run_goes_on_by_them() {
    let folder = folder(80);
    let ended = done(folder.run(&format!("train photos --from w.safetensors -o run --epochs 2 --json {SMALL}")));
    assert!(
        ended.err.contains("chosen: 32×32 pixels, 2 epochs, batches of 16, a rate of 0.01: about "),
        "{}",
        ended.err
    );
    assert!(ended.err.contains(" photos of 3 classes, validation on "), "{}", ended.err);
    let kinds: Vec<_> = events(&ended).iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["start", "head", "epoch", "epoch", "calibrated"]);
    let recipe = recipe(&folder, "run");
    assert!(recipe.head_first && recipe.validation_share == 0.15 && recipe.width == 0.25, "{recipe:?}");
    for file in ["model.safetensors", "report.html", "log.csv", "log.jsonl", "recipe.toml"] {
        assert!(folder.path("run").join(file).is_file(), "{file}");
    }
    // Nothing is left to do; the split is the same.
    let again = done(folder.run(&format!("train photos --from w.safetensors -o run --epochs 2 {SMALL}")));
    assert!(!again.err.contains("warning"), "{}", again.err);
    let more = done(folder.run("train photos -o run --resume --epochs 3 --json --threads 1"));
    let kinds: Vec<_> = events(&more).iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    // Whether it is calibrated anew depends on whether it is the best.
    assert_eq!(kinds[..2], ["start", "epoch"]);
}

#[test]
fn the_classifier_alone_tells_colours_apart_and_leaves_the_rest_as_it_was() {
    let folder = folder(80);
    let ended = done(folder.run(&format!("train photos --from w.safetensors -o run --head-only --json {SMALL}")));
    let head = events(&ended).into_iter().find(|event| event["event"] == "head").unwrap();
    // The layers below are random numbers.
    assert!(head["validation"]["top1"].as_f64().unwrap() > 0.7, "{head}");
    let open = |file: &str| weights::open(folder.path(file)).unwrap().tensors;
    let (before, after) = (open("w.safetensors"), open("run/model.safetensors"));
    for (name, tensor) in before.iter().filter(|(name, _)| !name.starts_with("classifier.")) {
        assert_eq!(&after[name], tensor, "{name}");
    }
    let eval = done(folder.run("eval run/model.safetensors photos --json")).json();
    assert!(eval[0]["top1"].as_f64().unwrap() > 0.8, "{eval:?}");
}

#[test]
fn a_classifier_of_other_classes_is_none_and_one_in_another_order_is_put_in_order() {
    let folder = folder(20);
    done(folder.run(&format!("train photos --from w.safetensors -o run --head-only {SMALL}")));
    // As many classes, of the same photos and other names.
    for (i, (name, color)) in CLASSES.iter().enumerate() {
        class(&folder, &format!("others/{}", ["c", "b", "a"][i]), *color, 20);
        class(&folder, &format!("same/{name}"), *color, 20);
    }
    let others =
        done(folder.run(&format!("train others --from run/model.safetensors -o others-run --head-only {SMALL}")));
    assert!(others.err.contains("fresh: classifier.weight, classifier.bias"), "{}", others.err);
    let eval = done(folder.run("eval others-run/model.safetensors others --json"));
    assert!(events(&eval)[0]["top1"].as_f64().unwrap() > 0.8, "{eval:?}");
    // The same classes, learned anew all the same.
    let same =
        done(folder.run(&format!("train same --from run/model.safetensors -o same-run --head-only --json {SMALL}")));
    assert!(same.err.contains("took 262 of 262 tensors") && same.out.contains("\"event\":\"head\""), "{same:?}");
}

#[test]
fn what_the_validation_photos_never_showed_is_unknown() {
    let folder = folder(80);
    done(folder.run(&format!("train photos --from w.safetensors -o run --head-only {SMALL}")));
    let metadata = weights::open(folder.path("run/model.safetensors")).unwrap().metadata;
    let threshold: f64 = metadata["threshold"].parse().unwrap();
    assert!(threshold > 0.0 && threshold < 1.0, "{threshold}");
    let training: Value = serde_json::from_str(&metadata["training"]).unwrap();
    assert!((training["calibration"]["threshold"].as_f64().unwrap() - threshold).abs() < 1e-6, "{training}");
    // `classify` and `eval` refuse the same photos, by the file's own rule and by any other.
    class(&folder, "strange", [128, 128, 128], 10);
    let count = |folder: &Folder, photos: &str| {
        let answers = done(folder.run(&format!("classify {photos} --weights other.safetensors --json")));
        events(&answers).iter().filter(|answer| answer["unknown"] == true).count()
    };
    let mut found = Vec::new();
    for familiarity in ["-1", &metadata["familiarity"], "1"] {
        let mut params = weights::open_where(folder.path("run/model.safetensors"), |_| true).unwrap();
        params.metadata.insert("familiarity".into(), familiarity.into());
        weights::save(folder.path("other.safetensors"), &params).unwrap();
        let eval = done(folder.run("eval other.safetensors photos --unknown strange --json"));
        let rule = &events(&eval)[0]["rule"];
        let shares = [("known_refused", "photos", 240.0), ("unknown_found", "strange", 10.0)];
        for (key, photos, of) in shares {
            assert_eq!((rule[key].as_f64().unwrap() * of).round() as usize, count(&folder, photos), "{rule}");
        }
        found.push([count(&folder, "photos"), count(&folder, "strange")]);
    }
    assert!(found.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1]), "{found:?}");
    assert!(found[1][0] <= 60 && found[2][1] == 10, "{found:?}");
    let always = done(folder.run("classify strange --weights other.safetensors --json --always"));
    assert!(!always.out.contains("unknown"), "{always:?}");
    // Without the features there is the threshold of probability alone.
    done(folder.run("convert run/model.safetensors light.safetensors --without-exemplars"));
    let light = weights::open_where(folder.path("light.safetensors"), |_| true).unwrap();
    assert!(light.metadata.contains_key("threshold") && !light.metadata.contains_key("familiarity"));
    assert!(!light.metadata.contains_key("exemplars") && !light.tensors.contains_key("exemplars.features"));
    done(folder.run("classify strange --weights light.safetensors"));
}

#[test]
fn a_run_ends_where_epochs_bring_nothing_better_and_keeps_the_best() {
    let folder = folder(80);
    // The classifier is right at once, and nothing else moves.
    let flags = format!("{SMALL} --epochs 20 --patience 2 --lr 1e-9 --json");
    let ended = done(folder.run(&format!("train photos --from w.safetensors -o run {flags}")));
    let events = events(&ended);
    let epochs = events.iter().filter(|event| event["event"] == "epoch").count();
    assert!((2..20).contains(&epochs), "{epochs} epochs");
    let again = done(folder.run("train photos -o run --resume --json --threads 1"));
    assert!(!again.out.contains("\"event\":\"epoch\""), "{again:?}");
    // Figures of photos of another size are no measure.
    let larger = done(folder.run("train photos -o run --resume --resolution 40 --json --threads 1"));
    assert!(larger.out.contains("\"event\":\"epoch\""), "{larger:?}");
}

#[test]
fn classes_are_added_renamed_and_dropped() {
    let folder = folder(80);
    done(folder.run(&format!("train photos --from w.safetensors -o run --head-only {SMALL}")));
    class(&folder, "new/yellow", [20, 220, 230], 12);
    let ended = done(folder.run("train --add new/yellow --from run/model.safetensors -o more --json --threads 1"));
    let changed = &events(&ended)[0];
    assert_eq!(changed["classes"], serde_json::json!(["blue sky", "grün", "red", "yellow"]));
    assert!(changed["held_out_top1"].as_f64() == Some(1.0) && changed["kept"].as_f64() == Some(1.0), "{changed}");
    // The old classes' weights are the same, and a verified file says so.
    let open = |file: &str| weights::open(folder.path(file)).unwrap().tensors;
    let [old, new] =
        ["run", "more"].map(|run| open(&format!("{run}/model.safetensors"))["classifier.weight"].clone().into_f32());
    assert_eq!(old[..], new[..old.len()]);
    done(folder.run("verify more/model.safetensors"));
    let answer = done(folder.run("classify new/yellow/3.bmp --weights more/model.safetensors --json --always"));
    assert_eq!(events(&answer)[0]["top"][0]["label"], "yellow", "{answer:?}");

    let flags = "--rename red=scarlet --drop grün -o less --from more/model.safetensors --threads 1 --json";
    let ended = done(folder.run(&format!("train {flags}")));
    assert_eq!(events(&ended)[0]["classes"], serde_json::json!(["blue sky", "scarlet", "yellow"]));
    done(folder.run("verify less/model.safetensors"));
    let (_, red) = CLASSES[2];
    folder.write("red.bmp", scene(red, 77));
    let answer = done(folder.run("classify red.bmp --weights less/model.safetensors --json --always"));
    assert_eq!(events(&answer)[0]["top"][0]["label"], "scarlet", "{answer:?}");
    // And again from what was changed.
    class(&folder, "black", [5, 5, 5], 12);
    let ended = done(folder.run("train --add black --from less/model.safetensors -o again --threads 1 --json"));
    assert_eq!(events(&ended)[0]["classes"].as_array().unwrap().len(), 4);
}

#[test]
fn changes_that_cannot_be_are_refused() {
    let folder = folder(8);
    done(folder.run(&format!("train photos --from w.safetensors -o run --head-only {SMALL}")));
    let from = "--from run/model.safetensors -o other";
    for (flags, text) in [
        ("--drop pink", "run/model.safetensors: it has no class \"pink\"; it has blue sky, grün, red"),
        ("--rename red=a --rename red=b", "run/model.safetensors: \"red\" is given two names"),
        ("--rename red=grün", "run/model.safetensors: two classes would be called \"grün\""),
        ("--rename red", "--rename red: give OLD=NEW"),
        ("--drop red --drop grün", "run/model.safetensors: without \"grün\" it would have one class"),
        ("--add photos/red", "run/model.safetensors: it has a class \"red\" already"),
        ("--add none", "none: No such file or directory (os error 2)"),
    ] {
        folder.refused(&format!("train {flags} {from}"), text);
    }
    class(&folder, "pink", [200, 180, 250], 6);
    folder.refused(
        "train --add pink --from w.safetensors -o other",
        "w.safetensors: it does not name its classes: `mobilenet convert --labels` writes names into it",
    );
    folder.refused(
        "train --add pink --from run/model.safetensors -o run",
        "run/model.safetensors is there already: give another folder with -o",
    );
    assert!(!folder.path("other/model.safetensors").exists());
    // Photos of the old classes stand in for what the file does not hold.
    done(folder.run("train photos --add pink --from run/model.safetensors -o other --threads 1"));
}
