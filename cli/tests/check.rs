//! `check`: every planted fault is found, and nothing in a clean set.

mod common;

use std::path::Path;
use std::process::Command;

use common::Folder;
use mobilenet::Image;
use mobilenet::net::preprocessing::Filter;
use mobilenet::run::resize::resize;
use serde_json::Value;

/// A photo like no other: patches of random colors, smooth between them.
fn scene(seed: u64) -> Image {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut level = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let patches = Image::from_rgb(8, 6, (0..8 * 6 * 3).map(|_| level()).collect()).unwrap();
    resize(&patches, [96, 128], Filter::Bilinear)
}

/// Two classes, ten photos each to learn from and three to check with.
fn clean(folder: &Folder, name: &str) {
    let mut seed = 0;
    for (part, count) in [("train", 10), ("val", 3)] {
        for class in ["cat", "dog"] {
            let place = folder.path(name).join(part).join(class);
            std::fs::create_dir_all(&place).unwrap();
            for i in 0..count {
                seed += 1;
                scene(seed).save(place.join(format!("{i}.jpg"))).unwrap();
            }
        }
    }
}

/// The report, and the exit code.
fn check(folder: &Folder, data: &str) -> (Value, i32) {
    let ended = folder.run(&format!("check {data} --json"));
    (serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}")), ended.code)
}

fn of_kind<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    report["faults"].as_array().unwrap().iter().filter(|fault| fault["kind"] == kind).collect()
}

#[test]
fn nothing_is_wrong_with_a_clean_set() {
    let folder = Folder::new();
    clean(&folder, "photos");
    let (report, code) = check(&folder, "photos");
    assert_eq!((code, &report["faults"]), (0, &serde_json::json!([])));
    assert_eq!((&report["train"], &report["validation"]), (&20.into(), &6.into()));
    assert_eq!(report["short_sides"], serde_json::json!([96, 96, 96]));
    let ended = folder.run("check photos");
    assert!(ended.code == 0 && ended.out.ends_with("\nnothing is wrong\n"), "{ended:?}");
    // Without a split, and whatever the threads.
    let one = folder.run("check photos/train --json --threads 1");
    assert_eq!((one.code, &one), (0, &folder.run("check photos/train --json --threads 3")));
}

#[test]
fn every_planted_fault_is_found() {
    let folder = Folder::new();
    clean(&folder, "photos");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/faulty-photos");
    let planting = Command::new("python3").arg(script).args([folder.path("photos"), folder.path("faulty")]).status();
    assert!(planting.expect("python3 runs the script that plants faults").success());
    let planted: Vec<(String, String)> =
        serde_json::from_slice(&std::fs::read(folder.path("faulty/planted.json")).unwrap()).unwrap();
    assert_eq!(planted.len(), 10);
    let (report, code) = check(&folder, "faulty");
    assert_eq!(code, 1);
    for (kind, what) in &planted {
        let tells =
            |fault: &&Value| fault["photos"].to_string().contains(what) || fault["what"].to_string().contains(what);
        let found = of_kind(&report, kind);
        assert_eq!(found.iter().filter(|fault| tells(fault)).count(), 1, "{kind} {what}: {report:#}");
    }
    // And little else: the single photo's class is never checked, and is small.
    let known: Vec<&str> = planted.iter().map(|(kind, _)| kind.as_str()).chain(["unchecked", "imbalance"]).collect();
    for fault in report["faults"].as_array().unwrap() {
        assert!(known.contains(&fault["kind"].as_str().unwrap()), "{fault:#}");
    }
    let ended = folder.run("check faulty");
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("planted_empty.jpg: the file is empty"), "{}", ended.out);
}

#[test]
fn copies_of_another_size_or_quality_are_found_across_parts() {
    let folder = Folder::new();
    clean(&folder, "photos");
    let photo = Image::open(folder.path("photos/train/cat/3.jpg")).unwrap();
    resize(&photo, [60, 80], Filter::Bicubic).save(folder.path("photos/val/cat/small.jpg")).unwrap();
    let photo = Image::open(folder.path("photos/train/dog/3.jpg")).unwrap();
    resize(&photo, [144, 192], Filter::Bilinear).save(folder.path("photos/train/dog/large.webp")).unwrap();
    let photo = Image::open(folder.path("photos/train/cat/5.jpg")).unwrap();
    resize(&photo, [60, 80], Filter::Bicubic).save(folder.path("photos/train/dog/other.jpg")).unwrap();
    scene(900).save(folder.path("photos/train/loose.jpg")).unwrap();
    let (report, code) = check(&folder, "photos");
    assert_eq!(code, 1);
    let [contradiction] = of_kind(&report, "near_contradiction")[..] else { panic!("{report:#}") };
    assert_eq!(contradiction["what"], "2 photos are almost the same, as cat and as dog");
    assert_eq!(of_kind(&report, "loose_photo").len(), 1);
    let names = |fault: &Value| fault["photos"].to_string();
    let [leak] = of_kind(&report, "near_leak")[..] else { panic!("{report:#}") };
    assert!(names(leak).contains("train/cat/3.jpg") && names(leak).contains("val/cat/small.jpg"), "{leak}");
    let [double] = of_kind(&report, "near_duplicate")[..] else { panic!("{report:#}") };
    assert!(names(double).contains("train/dog/3.jpg") && names(double).contains("train/dog/large.webp"), "{double}");
}

#[test]
fn names_and_numbers_of_classes_are_looked_at() {
    let folder = Folder::new();
    let classes = [("Cat", 12), ("cat", 2), ("New folder", 3), ("owl", 30), ("nothing", 0)];
    let mut seed = 100;
    for (class, count) in classes {
        std::fs::create_dir_all(folder.path("photos").join(class)).unwrap();
        for i in 0..count {
            seed += 1;
            scene(seed).save(folder.path("photos").join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    let (report, code) = check(&folder, "photos");
    assert_eq!(code, 1);
    for (kind, what) in [
        ("alike_names", "classes are called `Cat` and `cat`"),
        ("odd_name", "a class is called `New folder`"),
        ("empty_class", "class `nothing` has no photos to learn from"),
        ("imbalance", "class `owl` has 30 photos, and `cat` has 2"),
    ] {
        let [fault] = of_kind(&report, kind)[..] else { panic!("{kind}: {report:#}") };
        assert_eq!(fault["what"], what);
    }
}

#[test]
fn what_is_no_data_set_is_refused() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("empty")).unwrap();
    folder
        .refused("check empty", "empty: no photos here; a data set is a folder with a folder per class, photos inside");
    folder.refused("check missing", "missing: No such file or directory (os error 2)");
}
