//! `train` and `eval` from the command line to what they print: the plan, going on with other settings, figures.

mod common;

use std::fs;

use common::{Ended, Folder, TINY, fresh};
use mobilenet::arch::Spec;
use mobilenet::net::weights;
use mobilenet::train::Recipe;
use mobilenet_testing::photos::{CLASSES, photo};
use serde_json::{Value, json};

/// A folder with photos of three classes, four each, and a run of one epoch on them.
fn trained() -> Folder {
    let folder = Folder::new();
    folder.photos("photos", 4);
    folder.train("photos -o run --epochs 1");
    folder
}

/// Copies a run's folder, so that every case begins alike.
fn copy(folder: &Folder, from: &str, to: &str) {
    fs::create_dir(folder.path(to)).unwrap();
    for entry in fs::read_dir(folder.path(from)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path(to).join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_run_says_what_it_will_do_and_where_its_weights_come_from() {
    let folder = Folder::new();
    folder.photos("photos", 4);
    folder.photos("val", 2);
    let ended = folder.run(&format!("train photos --validation val -o run --epochs 2 --json {TINY}"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let events: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let plan = json!({
        "event": "start", "model": "mobilenet_v2", "width": 0.25, "total_stride": 8, "parameters": 241_955, "photos": 12,
        "validation_photos": 6, "classes": 3, "class_names": ["blue sky", "grün", "red"], "resolution": 16, "batch": 8, "epochs": 2.0, "steps_per_epoch": 2,
        "ranks": 1, "threads": 1, "memory": "fast", "memory_bytes": events[0]["memory_bytes"], "teacher": null,
        "folder": "run",
        "weights": {"from": "fresh"}
    });
    assert_eq!(events[0], plan);
    let megabytes = events[0]["memory_bytes"].as_u64().unwrap().div_ceil(1_000_000);
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "epoch", "epoch"]);
    assert_eq!((&events[2]["epoch"], &events[2]["validation"]["top5"]), (&json!(2.0), &Value::Null));
    let log = fs::read_to_string(folder.path("run/log.jsonl")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(log.lines().next().unwrap()).unwrap(), plan);
    assert_eq!(fs::read_to_string(folder.path("run/log.csv")).unwrap().lines().count(), 3);
    let names = fs::read_dir(folder.path("run")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.filter_map(|name| name.into_string().ok()).any(|name| name.starts_with("events.out.tfevents.")));
    let report = fs::read_to_string(folder.path("run/report.html")).unwrap();
    assert!(report.contains("12 photos of 3 classes") && report.contains("top-1 of 6 validation photos"));
    let said = format!(
        "training mobilenet_v2 (width 0.25, total stride 8, 241955 parameters) on 12 photos of 3 classes, validation on \
         6\n16×16 pixels, batches of 8, 2 epochs of 2 steps, threads: 1, memory: {megabytes} MB, folder: run\nclasses: \
         blue sky, grün, red\nweights: fresh\ndone: mobilenet classify photo.jpg --weights run/model.safetensors\n"
    );
    assert_eq!(ended.err, said);

    let text = folder.train("photos -o run --epochs 3 --resume");
    assert!(text.contains("\nweights: run/checkpoint.safetensors, at epoch 2.00 of 3\n"), "{text}");
    let warning = "warning: the checkpoint was checked with 6 validation photos, and now there are none\n";
    assert!(text.contains(warning) && text.contains("validation on 0 (give --validation, or a folder val"), "{text}");
    // The same network with as many classes, and with others.
    let text = folder.train("photos -o again --epochs 1 --from run/model.safetensors");
    assert!(text.contains("\nweights: run/model.safetensors, took 262 of 262 tensors\n"), "{text}");
    fs::remove_dir_all(folder.path("photos/red")).unwrap();
    let text = folder.train("photos -o other --epochs 1 --from run/model.safetensors");
    let line = "\nweights: run/model.safetensors, took 260 of 262 tensors; fresh: classifier.weight, classifier.bias (3 \
                classes there, 2 here)\n";
    assert!(text.contains(line), "{text}");
    let text = folder.train("photos -o other --epochs 2 --from run/model.safetensors --resume");
    assert!(text.contains("\nweights: other/checkpoint.safetensors, at epoch 1.00 of 2\n"), "{text}");
}

#[test]
fn the_conventions_of_foreign_weights_hold_and_are_kept_on_resume() {
    let folder = Folder::new();
    folder.photos("photos", 4);
    let spec = Spec { width: 0.25, bn_epsilon: 1e-5, padding: mobilenet::net::Padding::Same, ..Spec::default() };
    weights::save(folder.path("w.safetensors"), &fresh("mobilenet_v2", &spec)).unwrap();
    folder.train("photos -o run --epochs 1 --from w.safetensors");
    fs::remove_file(folder.path("w.safetensors")).unwrap();
    // With and without the flag, even when the file is gone.
    folder.train("photos -o run --epochs 2 --from w.safetensors --resume");
    folder.train("photos -o run --epochs 3 --resume");
    let params = weights::open(folder.path("run/model.safetensors")).unwrap();
    assert_eq!((params.metadata["bn_epsilon"].as_str(), params.metadata["padding"].as_str()), ("0.00001", "same"));
}

#[test]
fn a_network_of_ones_own_table_is_begun_with_and_gone_on_with() {
    let folder = Folder::new();
    folder.photos("photos", 4);
    let table = folder.run("summary mobilenet_v2 --toml").out.replace("mobilenet_v2", "mine");
    folder.write("mine.toml", table);
    folder.train("photos -o run --epochs 1 --model mine.toml");
    let ended = folder.run("train photos -o run --epochs 2 --resume --threads 1");
    assert_eq!(ended.code, 0, "{ended:?}");
    folder.refused(
        "train photos -o next --from run/model.safetensors",
        "--from holds mine (width 0.25), and mobilenet_v2 (width 0.25) is to be trained: give its table as --model, or \
         leave out --from",
    );
    let from = "photos -o next --from run/model.safetensors --model mine.toml";
    let text = folder.train(&format!("{from} --epochs 1"));
    assert!(text.contains(", took 262 of 262 tensors\n"), "{text}");
    folder.train(&format!("{from} --epochs 2 --resume"));
    // The checkpoint holds all that a run needs.
    fs::remove_file(folder.path("mine.toml")).unwrap();
    fs::remove_file(folder.path("run/recipe.toml")).unwrap();
    let text = folder.run("train photos -o run --epochs 3 --resume --threads 1").err;
    assert!(text.contains("training mine (width 0.25,"), "{text}");
}

#[test]
fn files_that_are_passed_over_are_counted_by_their_kind() {
    let folder = Folder::new();
    folder.photos("photos", 4);
    for file in
        ["photos/red/a.heic", "photos/red/b.HEIC", "photos/red/notes.txt", "photos/grün/README", "photos/loose.jpg"]
    {
        folder.write(file, "no matter");
    }
    let text = folder.train("photos -o run --epochs 1");
    let line = "passed over: 2 .heic (convert to JPEG or PNG), 1 .txt, 1 beside the class folders, 1 without an ending; \
                the first is photos/loose.jpg\n";
    assert!(text.contains(line), "{text}");
    let ended = folder.run("eval run/model.safetensors photos");
    assert!(ended.err.contains(line), "{ended:?}");
}

#[test]
fn settings_that_a_run_keeps_are_refused_when_it_goes_on() {
    let folder = trained();
    let kept = |key: &str, then: &str, now: &str| {
        format!(
            "run/checkpoint.safetensors: {key} is {then} in the checkpoint and {now} now, and a run keeps it: set it back, \
             or begin another run in another folder (-o)"
        )
    };
    folder.refused("train photos -o run --resume --seed 4", &kept("seed", "3", "4"));
    folder.refused(
        "train photos -o run --resume --epochs 0.5",
        "run/checkpoint.safetensors: epochs is 0.5, and 1.0 are made already: it counts from the run's beginning",
    );
    folder.refused("train photos -o run --resume --optimizer adamw", &kept("optimizer.kind", "sgd", "adamw"));
    folder.refused(
        "train photos -o run --resume --width 0.5",
        "run/checkpoint.safetensors: the checkpoint is of mobilenet_v2 (width 0.25, 3 classes, total stride 8), and \
         mobilenet_v2 (width 0.5, 3 classes, total stride 8) is to be trained: begin another run in another folder (-o)",
    );
    let other = |what: &str| {
        format!(
            "run holds a checkpoint of a run with other {what}: add --resume to go on from it all the same, or give another \
             folder with -o"
        )
    };
    folder.refused("train photos -o run --lr 0.3", &other("settings or classes"));
    // Nor does the same command go on with settings that another one left in the folder.
    let recipe = fs::read_to_string(folder.path("run/recipe.toml")).unwrap();
    folder.write("run/recipe.toml", recipe.replace("weight_decay = ", "weight_decay = 1"));
    folder.refused("train photos -o run", &other("settings or classes"));
    folder.write("run/recipe.toml", recipe);
    folder.write("photos/red/more.bmp", photo(20, CLASSES[2].1, 99));
    let ended = folder.run("train photos -o run");
    assert_eq!((ended.code, ended.err.lines().last().unwrap()), (2, &*format!("error: {}", other("photos"))));
    fs::remove_file(folder.path("photos/red/more.bmp")).unwrap();
    let again = folder.run("train photos -o run");
    assert!(again.code == 0 && again.err.contains("goes on with the run in run; another folder"), "{again:?}");
    fs::rename(folder.path("photos/red"), folder.path("photos/rot")).unwrap();
    folder.refused(
        "train photos -o run --resume",
        "run/checkpoint.safetensors: the checkpoint's classes are not the data's: the checkpoint alone has `red`, the \
         data alone has `rot`; give the same data, or another folder",
    );
    fs::remove_dir_all(folder.path("photos/rot")).unwrap();
    folder.refused(
        "train photos -o run --resume",
        "run/checkpoint.safetensors: the checkpoint's classes are not the data's: the checkpoint alone has `red`; give \
         the same data, or another folder",
    );
}

#[test]
fn settings_that_may_change_go_on_and_are_named() {
    let folder = trained();
    for (flags, warning, changed) in [
        ("--epochs 2 --lr 0.01", None, "epochs 1 → 2, lr 0.05 → 0.01"),
        (
            "--epochs 2 --batch 4",
            Some("batch is 8 in the checkpoint and 4 now: epochs go on as counted"),
            "batch 8 → 4, epochs 1 → 2",
        ),
        ("--epochs 2 --set average=0.9", None, "average none → 0.9, epochs 1 → 2"),
        (
            "--epochs 2 --schedule constant --resolution 24",
            None,
            "epochs 1 → 2, resolution 16 → 24, schedule.kind cosine → constant",
        ),
    ] {
        let run = flags.replace(['-', ' '], "");
        copy(&folder, "run", &run);
        let ended = folder.run(&format!("train photos -o {run} --resume --json --threads 1 {flags}"));
        assert_eq!(ended.code, 0, "{flags}: {ended:?}");
        let mut lines = ended.err.lines();
        if let Some(warning) = warning {
            assert_eq!(lines.next(), Some(format!("warning: {warning}").as_str()), "{flags}");
        }
        assert_eq!(lines.next(), Some(format!("changed since the checkpoint: {changed}").as_str()), "{flags}");
        let last: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
        assert_eq!((&last["event"], &last["epoch"]), (&json!("epoch"), &json!(2.0)), "{flags}");
    }
    // As it was: nothing to say.
    let text = folder.train("photos -o run --resume --epochs 1");
    assert!(!text.contains("warning") && !text.contains("changed"), "{text}");
}

#[test]
fn other_photos_are_warned_of_and_epochs_stay_epochs() {
    let folder = trained();
    copy(&folder, "run", "renamed");
    fs::rename(folder.path("photos/red/0 photo.bmp"), folder.path("photos/red/0 foto.bmp")).unwrap();
    let seen = "an epoch that is under way sees some photos twice, and some not at all";
    let text = folder.train("photos -o renamed --resume --epochs 2");
    let first = "warning: the photos have other names, sizes or classes than those that the checkpoint was trained on";
    assert_eq!(text.lines().next(), Some(format!("{first}: {seen}").as_str()));
    for i in 10..22 {
        folder.write(&format!("photos/red/{i}.bmp"), photo(20, CLASSES[2].1, i));
    }
    let ended = folder.run(&format!("train photos -o run --resume --epochs 2 --json {TINY}"));
    let first = "warning: there are 24 photos, and the checkpoint was trained on 12";
    assert_eq!(ended.err.lines().next(), Some(format!("{first}: {seen}").as_str()));
    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["steps_per_epoch"], &lines[1]["epoch"]), (2, &json!(3), &json!(2.0)));
    // Wherever they lie, they are the same photos.
    fs::rename(folder.path("photos"), folder.path("moved")).unwrap();
    let text = folder.train("moved -o run --resume --epochs 3");
    assert!(!text.contains("warning"), "{text}");
}

#[test]
fn half_an_epoch_is_half_an_epoch_when_a_run_goes_on() {
    let folder = Folder::new();
    folder.photos("photos", 8);
    let epochs = |ended: &Ended| -> Vec<f64> {
        let lines = ended.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|event| event["event"] == "epoch").map(|event| event["epoch"].as_f64().unwrap()).collect()
    };
    let train = format!("train photos -o run --json {TINY}");
    let first = folder.run(&format!("{train} --epochs 1.3"));
    assert_eq!(epochs(&first), [1.0, 4.0 / 3.0]);
    let second = folder.run(&format!("{train} --epochs 3 --resume"));
    assert_eq!(epochs(&second), [2.0, 3.0]);
}

#[test]
fn the_help_gives_every_flags_default() {
    let help = Folder::new().run("train --help").out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for (flag, key) in [
        ("model", "model"),
        ("width", "width"),
        ("total-stride", "total_stride"),
        ("resolution", "resolution"),
        ("batch", "batch"),
        ("epochs", "epochs"),
        ("optimizer", "optimizer.kind"),
        ("lr", "lr"),
        ("schedule", "schedule.kind"),
        ("seed", "seed"),
        ("checkpoint-every", "checkpoint_every"),
        ("memory", "memory"),
    ] {
        let (_, text) = help.split_once(&format!("--{flag} <")).expect(flag);
        let (_, default) = text.split_once("[default: ").expect(flag);
        assert_eq!(default.split_once(']').unwrap().0, Recipe::default().get(key).unwrap(), "{flag}");
    }
    // Every other key has the flag of its name.
    for key in Recipe::keys() {
        let default = Recipe::default().get(&key).unwrap();
        let flag = key.replace(['.', '_'], "-");
        let is_there = help.contains(&format!("--{flag} <VALUE> {key} [default: {default}]"));
        let has_own = ["optimizer-kind", "schedule-kind", "teacher-weights"].contains(&flag.as_str())
            || help.contains(&format!("--{flag} <")) && !help.contains(&format!("--{flag} <VALUE>"));
        assert!(is_there || has_own, "{key}");
    }
    for heading in ["Photos and folder:", "Network:", "Training:", "Settings:", "Running:"] {
        assert!(help.contains(heading), "{heading}");
    }
}

#[test]
fn what_was_trained_classifies_and_evaluates_by_its_own_names() {
    let folder = Folder::new();
    for part in ["train", "val"] {
        folder.photos(&format!("my photos/{part}"), 8);
    }
    let flags: Vec<&str> = TINY.split_whitespace().collect();
    let train = ["train", "my photos", "-o", "my run", "--epochs", "40"];
    // An average at a low rate: every instruction set's last steps, which differ by chance, end at the same answers.
    let steady = ["bn_momentum=0.3", "lr=0.01", "average=0.9"].map(|pair| ["--set", pair]).concat();
    let ended = folder.call(&[&train[..], &flags, &steady].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
    let hint = "done: mobilenet classify photo.jpg --weights 'my run/model.safetensors'";
    assert_eq!(ended.err.lines().last(), Some(hint));
    let weights = "my run/model.safetensors";
    for (class, _) in CLASSES {
        let path = format!("my photos/val/{class}/3 photo.bmp");
        let answer = &folder.call(&["classify", &path, "--weights", weights, "--json"]).json()[0];
        assert_eq!((&answer["path"], &answer["top"][0]["label"]), (&json!(path), &json!(class)));
    }
    // The split's validation photos, or a folder of them.
    let figures = folder.call(&["eval", weights, "my photos", "--json"]).json();
    let keys: Vec<_> = figures[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["calibration", "classes", "classes_by", "loss", "photos", "top1", "top5", "unreadable"]);
    assert_eq!((&figures[0]["photos"], &figures[0]["classes_by"]), (&json!(24), &json!("name")));
    assert_eq!((&figures[0]["top5"], &figures[0]["unreadable"]), (&Value::Null, &json!(0)));
    assert!(figures[0]["top1"].as_f64().unwrap() > 0.9, "{figures:?}");
    assert_eq!(folder.call(&["eval", weights, "my photos/val", "--json"]).json(), figures);
    let text = folder.call(&["eval", weights, "my photos"]).out;
    let line = text.lines().next().unwrap();
    assert!(line.starts_with("top-1 ") && !line.contains("top-5") && line.ends_with("of 24 photos"), "{line}");
}

#[test]
fn weights_without_class_names_are_evaluated_in_order_and_that_is_said() {
    let folder = Folder::new();
    folder.photos("photos", 2);
    for classes in [3, 4] {
        let spec = Spec { width: 0.25, classes, ..Spec::default() };
        folder.weights(&format!("w{classes}.safetensors"), "mobilenet_v3_small", &spec);
    }
    let ended = folder.run("eval w3.safetensors photos --json");
    let text = "w3.safetensors does not name its classes: taken in the data's order, from `blue sky` to `red`\n";
    assert_eq!((ended.code, ended.err.as_str()), (0, text));
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap()["classes_by"], "order");
    folder.refused(
        "eval w4.safetensors photos",
        "photos: 3 classes, and w4.safetensors has 4 without names: give photos of its classes, all of them",
    );
}

#[test]
fn photos_of_classes_that_the_network_does_not_know_are_refused() {
    let folder = trained();
    fs::rename(folder.path("photos/red"), folder.path("photos/rot")).unwrap();
    folder.refused(
        "eval run/model.safetensors photos",
        "photos: class `rot` is not among the 3 classes of the training data or model",
    );
}
