#![no_main]

//! Bytes are a manifest, a zero byte, and the shard that lies beside it.

use std::fs;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for the files");
    let (manifest, shard) = bytes.split_at(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
    let path = folder.path().join("model.json");
    fs::write(&path, manifest).expect("room for the bytes");
    fs::write(folder.path().join("group1-shard1of1.bin"), shard.get(1..).unwrap_or_default()).expect("room for the bytes");
    let _ = mobilenet_net::load(&path, &Default::default());
});
