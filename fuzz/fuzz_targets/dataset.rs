#![no_main]

use std::fs;

use mobilenet_data::Dataset;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for the table");
    let path = folder.path().join("photos.csv");
    fs::write(&path, bytes).expect("room for the bytes");
    if let Ok(dataset) = Dataset::open(&path) {
        let _ = dataset.read(0);
    }
});
