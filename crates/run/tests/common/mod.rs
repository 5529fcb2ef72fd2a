//! Fixtures (made by `fixtures/make_fixtures.py`) and how pictures are compared.

#![allow(dead_code, reason = "each test file uses a part")]

use mobilenet_run::Image;
use std::path::{Path, PathBuf};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

pub fn open(name: &str) -> Image {
    Image::open(fixture(name)).unwrap_or_else(|e| panic!("{e}"))
}

/// Largest difference in levels, and the share of bytes that differ at all.
pub fn difference(a: &Image, b: &Image) -> (u8, f64) {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let pairs = || a.rgb.iter().zip(&b.rgb);
    let largest = pairs().map(|(x, y)| x.abs_diff(*y)).max().unwrap_or(0);
    (largest, pairs().filter(|(x, y)| x != y).count() as f64 / a.rgb.len() as f64)
}
