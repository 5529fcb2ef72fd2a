#![no_main]

use mobilenet_net::Golden;
use mobilenet_run::Embeddings;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = tempfile::NamedTempFile::new().expect("a file for the bytes");
    std::fs::write(file.path(), bytes).expect("room for the bytes");
    let _ = Golden::read(file.path());
    let _ = Embeddings::open(file.path());
});
