//! Tar shards through the program: looked through, trained on and evaluated like folders.

mod common;

use common::Folder;
use mobilenet_testing::photos::{CLASSES, photo};
use serde_json::Value;

/// Two shards to learn from and one to check with, each photo with its class's name.
fn folder() -> Folder {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("shards")).unwrap();
    for (shard, seeds) in [("train-000", 0..6), ("train-001", 6..12), ("val-000", 12..16)] {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: String, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        for seed in seeds {
            for (class, (name, color)) in CLASSES.iter().enumerate() {
                add(format!("{class}-{seed}.bmp"), &photo(20, *color, seed));
                add(format!("{class}-{seed}.txt"), name.as_bytes());
            }
        }
        folder.write(&format!("shards/{shard}.tar"), tar.into_inner().unwrap());
    }
    folder
}

#[test]
fn shards_are_looked_through_trained_on_and_evaluated() {
    let folder = folder();
    let found = folder.run("check shards --json");
    let report: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!((&report["train"], &report["validation"]), (&36.into(), &12.into()), "{found:?}");

    let flags = "--recipe default --width 0.25 --total-stride 8 --resolution 16 --set batch=12 --threads 1 --lr 0.1 \
                 --set augmentation.crop=padded --set augmentation.padding=2 --set bn_momentum=0.5";
    let trained = folder.run(&format!("train shards -o run --epochs 8 {flags}"));
    assert!(trained.code == 0 && trained.err.contains("on 36 photos of 3 classes, validation on 12"), "{trained:?}");
    let eval = folder.run("eval run/model.safetensors shards/val-000.tar --json");
    let figures: Value = serde_json::from_str(&eval.out).unwrap();
    assert_eq!((eval.code, &figures["photos"]), (0, &12.into()), "{eval:?}");
    assert!(figures["top1"].as_f64().unwrap() > 0.6, "{figures}");
}
