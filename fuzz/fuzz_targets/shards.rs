#![no_main]

use std::fs;

use mobilenet_data::Dataset;

/// Where a header has the sum of its bytes, which counts itself as spaces.
const SUM: std::ops::Range<usize> = 148..156;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut shard = bytes.to_vec();
    // Nothing is read behind a header whose sum is wrong, which chance never gets right.
    for block in shard.chunks_exact_mut(512).filter(|block| block[0] != 0) {
        block[SUM].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let folder = tempfile::tempdir().expect("a folder for the shard");
    fs::write(folder.path().join("0.tar"), shard).expect("room for the bytes");
    if let Ok(dataset) = Dataset::open(folder.path()) {
        let _ = dataset.read(0);
    }
});
