//! What the targets share: bytes as a weights file.

use std::io::Write;

use mobilenet_net::weights;

/// Reads `bytes` as a weights file, from names to the network, where their format's name has `format` in it. Others are
/// left to their own targets.
///
/// # Panics
/// Where a reader does.
pub fn weights_file(bytes: &[u8], format: &str) {
    let mut file = tempfile::NamedTempFile::new().expect("a file for the bytes");
    file.write_all(bytes).expect("room for the bytes");
    if weights::format(file.path()).is_ok_and(|found| found.contains(format)) {
        // What is wrong with them does not matter, only that somebody says so.
        let _ = mobilenet_net::load(file.path(), &Default::default());
    }
}
