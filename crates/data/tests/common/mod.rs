//! What several tests need: small photos and data sets of them.

#![allow(dead_code, reason = "every test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A photo of one colour as a BMP file's bytes, which need no encoder: `[red, green, blue]`, 2×2 pixels.
pub fn photo([red, green, blue]: [u8; 3]) -> Vec<u8> {
    let row = [blue, green, red, blue, green, red, 0, 0];
    let pixels = [row, row].concat();
    let mut bytes = b"BM".to_vec();
    bytes.extend(((54 + pixels.len()) as u32).to_le_bytes());
    bytes.extend([0; 4]);
    for number in [54u32, 40, 2, 2] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend(pixels);
    bytes
}

/// A folder with files in it, by path.
pub fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        write(folder.path(), name, bytes);
    }
    folder
}

/// Writes a file into a folder, and the folders above it.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A tar with these members.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Gzipped.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// An error's text without the folder's path.
pub fn text(error: &mobilenet_data::Error, folder: &TempDir) -> String {
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

/// The classification sets of the shared folder, if it is here.
pub fn shared() -> Option<PathBuf> {
    let given = std::env::var_os("MOBILENET_TEST_DATA");
    let folder = given.map_or_else(|| PathBuf::from("../../../shared"), PathBuf::from).join("data/classification");
    if !folder.is_dir() {
        println!("SKIPPED: no {}; set MOBILENET_TEST_DATA to the shared folder", folder.display());
        return None;
    }
    Some(folder)
}
