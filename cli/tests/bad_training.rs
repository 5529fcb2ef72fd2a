//! Photos and settings that training cannot do with, or must do with all the same: the exact text, the exit code, no panic
//! and nothing half-written.

mod common;

use std::fs;

use common::{Ended, Folder, TINY, noise, small};
use mobilenet_testing::photos::{CLASSES, photo};
use serde_json::Value;

/// A folder of `name/class/i.bmp`, as many photos a class as given, of `side`×`side` pixels.
fn photos(folder: &Folder, name: &str, side: usize, counts: &[usize]) {
    for ((class, colour), &count) in CLASSES.iter().zip(counts) {
        fs::create_dir_all(folder.path(&format!("{name}/{class}"))).unwrap();
        for i in 0..count {
            folder.write(&format!("{name}/{class}/{i}.bmp"), photo(side, *colour, i));
        }
    }
}

/// The losses of a training that must succeed.
#[track_caller]
fn losses(folder: &Folder, arguments: &str) -> Vec<f64> {
    let ended = folder.run(&format!("train {TINY} --json {arguments}"));
    assert_eq!(ended.code, 0, "{arguments}: {ended:?}");
    let events = ended.out.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.map(|event| event["training_loss"].as_f64().expect("a number")).collect()
}

#[test]
fn photos_that_cannot_be_trained_on_are_refused_with_the_remedy() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("empty")).unwrap();
    photos(&folder, "hollow", 20, &[2, 0]);
    photos(&folder, "bare", 20, &[0, 0]);
    photos(&folder, "one class", 20, &[2]);
    photos(&folder, "one", 20, &[1]);
    folder.write("photo.bmp", photo(20, [1, 2, 3], 1));
    folder.write("loose.bmp", "");
    let nothing = "no photos here; a data set is a folder with a folder per class, photos inside";
    for (data, text) in [
        ("none", "none: No such file or directory (os error 2)".to_owned()),
        ("empty", format!("empty: {nothing}")),
        ("bare", format!("bare: {nothing}")),
        ("hollow", "hollow: class `grün` has no photos; add some, or remove the class".into()),
        ("one", "one: there is one class only, `blue sky`; training needs two or more".into()),
        ("one class", "one class: there is one class only, `blue sky`; training needs two or more".into()),
        (
            "one/blue sky",
            "one/blue sky: the photos lie outside any class; put those of each class into a folder of its name".into(),
        ),
        (
            "photo.bmp",
            "photo.bmp: this is no data set; give a folder with a folder per class, a .csv, a .tar or a .tar.gz".into(),
        ),
    ] {
        let ended = folder.call(&["train", data, "-o", "run"]);
        assert_eq!(ended, Ended { code: 2, out: String::new(), err: format!("error: {text}\n") }, "{data}");
    }
    assert!(!folder.path("run").exists());
}

#[test]
fn few_and_small_photos_train() {
    let folder = Folder::new();
    // Nine photos: a last batch of one in batches of eight, of four and of two.
    photos(&folder, "nine", 20, &[3, 3, 3]);
    for batch in [8, 4, 2] {
        let losses = losses(&folder, &format!("nine -o nine{batch} --epochs 2 --set batch={batch}"));
        assert!(losses.iter().all(|loss| loss.is_finite()), "{batch}: {losses:?}");
    }
    // Batches of one at a single pixel, where a batch has no variance, and of two, over which the gradient of a batch norm
    // is either nothing or enormous.
    photos(&folder, "two", 20, &[1, 1]);
    for batch in [1, 8] {
        let batch_flags = format!("--set batch={batch} --set clip_norm=1");
        let flags = format!("two -o two{batch} --epochs 3 --set total_stride=32 {batch_flags} --validation two");
        let losses = losses(&folder, &flags);
        assert!(losses.iter().all(|loss| loss.is_finite()), "{batch}: {losses:?}");
        let figures = folder.run(&format!("eval two{batch}/model.safetensors two --json")).json();
        assert!(figures[0]["loss"].as_f64().unwrap().is_finite(), "{batch}: {figures:?}");
    }
    photos(&folder, "pixels", 1, &[4, 4]);
    for crop in ["random_resized", "padded", "none"] {
        let losses = losses(&folder, &format!("pixels -o {crop} --epochs 2 --set augmentation.crop={crop}"));
        assert!(losses.iter().all(|loss| loss.is_finite()), "{crop}: {losses:?}");
    }
}

#[test]
fn photos_that_cannot_be_read_are_named_skipped_and_counted() {
    let folder = Folder::new();
    photos(&folder, "photos", 20, &[5, 5]);
    folder.write("photos/grün/größer als 1.jpg", "no photo");
    folder.write("photos/blue sky/cut.bmp", &photo(20, [1, 2, 3], 1)[..300]);
    let text = folder.train("photos -o run --epochs 1");
    let skipped = "skipped photos/blue sky/cut.bmp: the file ends after 300 bytes, before its BMP data does; the photo is \
                   truncated, copy or download it again\nskipped photos/grün/größer als 1.jpg: this is a text file; photos \
                   are read from JPEG, PNG, WebP, BMP and GIF\n2 of 12 photos could not be read\n";
    assert!(text.contains(skipped), "{text}");
    // Those of the validation photos are told of, too.
    photos(&folder, "good", 20, &[2, 2]);
    let text = folder.train("good -o good-run --epochs 2 --validation photos");
    assert!(text.contains(&skipped.replace("2 of 12", "2 of 16")), "{text}");
    let ended = folder.run("eval run/model.safetensors photos --json");
    assert_eq!((ended.code, ended.err.as_str()), (0, skipped));
    let figures: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&figures["photos"], &figures["unreadable"]), (&10.into(), &2.into()));

    for (class, _) in &CLASSES[..2] {
        fs::create_dir_all(folder.path(&format!("broken/{class}"))).unwrap();
        folder.write(&format!("broken/{class}/a.jpg"), "");
    }
    let ended = folder.run(&format!("train {TINY} broken -o broken-run"));
    let last = "error: none of the 2 photos can be read; the first: broken/blue sky/a.jpg: the file is empty";
    assert_eq!((ended.code, ended.err.lines().last()), (2, Some(last)), "{ended:?}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint() {
    let folder = Folder::new();
    photos(&folder, "photos", 20, &[6, 6]);
    folder.train("photos -o run --epochs 1 --set batch=2");
    let kept =
        || ["model", "checkpoint"].map(|name| fs::read(folder.path(&format!("run/{name}.safetensors"))).unwrap());
    let before = kept();
    for (run, flags, checkpoint) in
        [("run", "--resume", "the last good checkpoint is in run"), ("wild", "", "there is no checkpoint yet")]
    {
        let wild = "--epochs 2 --set batch=2 --set lr=1000 --set weight_decay=1000";
        let ended = folder.run(&format!("train {TINY} photos -o {run} {wild} {flags}"));
        let line = ended.err.lines().last().unwrap_or_default();
        let hint = "is not a number any more: lower the learning rate (--lr) or clip gradients (clip_norm)";
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(line.starts_with("error: at step ") && line.ends_with(&format!(" {hint}; {checkpoint}")), "{line}");
        let layer = line.split(' ').nth(4).unwrap();
        assert!(layer.ends_with(".weight") || layer.contains(".running_"), "no layer is named: {line}");
    }
    assert!(kept() == before, "the last good checkpoint was replaced");
    assert!(!folder.path("wild/model.safetensors").exists());
    folder.train("photos -o run --resume --epochs 2 --set batch=2");
}

#[test]
fn files_that_are_mistaken_for_others_are_told_apart() {
    let folder = Folder::new();
    photos(&folder, "photos", 20, &[3, 3]);
    folder.train("photos -o run --epochs 1");
    let checkpoint = "run/checkpoint.safetensors: a checkpoint, to go on training from; the network is in \
                      model.safetensors beside it";
    folder.refused("classify photos --weights run/checkpoint.safetensors", checkpoint);
    folder.refused("eval run/checkpoint.safetensors photos", checkpoint);
    folder.refused("train photos -o other --from run/checkpoint.safetensors", checkpoint);
    folder.refused("train photos -o other --teacher run/checkpoint.safetensors", checkpoint);
    // The other way round.
    fs::create_dir(folder.path("swapped")).unwrap();
    fs::copy(folder.path("run/model.safetensors"), folder.path("swapped/checkpoint.safetensors")).unwrap();
    folder.refused(
        "train photos -o swapped --resume",
        "swapped/checkpoint.safetensors: a weights file, not a checkpoint; give it as --from",
    );
    folder.tensor("x.safetensors", noise(&[2]));
    folder.refused(
        "train photos -o other --from x.safetensors",
        "x.safetensors: its tensors are not named as torchvision, timm, Keras or this project name those of a MobileNet classifier \
         (input, …)",
    );
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    folder.refused(
        "train photos -o other --from w.safetensors --model mobilenet_v2",
        "--from holds mobilenet_v3_small (width 0.35), and mobilenet_v2 (width 0.35) is to be trained: leave out --model \
         and --width, or --from",
    );
    folder.refused(
        "train photos -o other --teacher w.safetensors",
        "w.safetensors: the teacher has 4 classes, and the data 2",
    );
    assert!(!folder.path("other").exists());
}

#[test]
fn settings_that_are_none_are_refused() {
    let folder = Folder::new();
    photos(&folder, "photos", 20, &[1, 1]);
    folder.write("recipe.toml", "epohcs = 3");
    for (flags, text) in [
        ("--set epohcs=3", "there is no setting epohcs; did you mean epochs?"),
        ("--set epochs", "--set epochs: give KEY=VALUE"),
        ("--epochs -1", "epochs is -1; give a number from 0 to 1000000"),
        ("--batch 0", "batch is 0; give a number above 0, at most 65536"),
        ("--checkpoint-every -1", "checkpoint_every is -1; give a number from 0 to 86400"),
        ("--set accumulate=0", "accumulate is 0; give a number above 0, at most 65536"),
        ("--memory much", "memory cannot be \"much\": unknown variant `much`, expected one of `auto`, `fast`, `low`"),
        ("--recipe recipe.toml", "recipe.toml: line 1: there is no setting epohcs; did you mean epochs?"),
        ("--recipe none.toml", "none.toml: No such file or directory (os error 2)"),
    ] {
        folder.refused(&format!("train photos -o run {flags}"), text);
    }
    let ended = folder.run("train photos -o run --model mobilnet_v2");
    let text = "error: there is no network \"mobilnet_v2\"; did you mean mobilenet_v2? give one of ";
    assert!(ended.code == 2 && ended.err.starts_with(text), "{ended:?}");
    assert!(!folder.path("run").exists());
}

#[cfg(not(feature = "mpi"))]
#[test]
fn several_processes_of_a_program_without_mpi_are_refused() {
    let folder = Folder::new();
    photos(&folder, "photos", 20, &[2, 2]);
    let ended = folder.run_with("train photos -o run", &[("OMPI_COMM_WORLD_SIZE", "2")], b"");
    let text = "error: mpirun has started 2 processes, and this program was built without MPI: build it with `cargo build \
                --release --features mpi` (docs/many-machines.md)\n";
    assert_eq!((ended.code, ended.err.as_str(), ended.out.as_str()), (2, text, ""));
    assert!(!folder.path("run").exists());
}
