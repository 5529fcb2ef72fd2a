//! Photos for tests, made here: bitmaps need no encoder.

use std::fs;
use std::path::Path;

/// Three classes, with a space and beyond ASCII, and their colours: blue, green, red.
pub const CLASSES: [(&str, [u8; 3]); 3] =
    [("blue sky", [200, 60, 30]), ("grün", [40, 190, 50]), ("red", [30, 40, 210])];

/// A 24-bit BMP file; `pixel` gives blue, green and red at x and y.
pub fn bmp(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let size = row * height;
    let mut bytes = b"BM".to_vec();
    for word in [54 + size, 0, 54, 40, width, height, 1 | 24 << 16, 0, size, 2835, 2835, 0, 0] {
        bytes.extend((word as u32).to_le_bytes());
    }
    for y in 0..height {
        let pixels = (0..width).flat_map(|x| pixel(x, y));
        bytes.extend(pixels.chain([0; 3]).take(row));
    }
    bytes
}

/// A photo of `side`×`side` pixels around a colour; `seed` makes each another.
pub fn photo(side: usize, color: [u8; 3], seed: usize) -> Vec<u8> {
    bmp(side, side, |x, y| {
        let noise = (((y * side + x) * 7 + seed * 13) % 31) as u8;
        color.map(|c| c.saturating_sub(15).saturating_add(noise))
    })
}

/// Writes `each` photos of every class of [`CLASSES`] into `folder`, a folder a class.
///
/// # Panics
/// Where they cannot be written.
pub fn write_classes(folder: &Path, each: usize) {
    for (class, color) in CLASSES {
        fs::create_dir_all(folder.join(class)).unwrap();
        for seed in 0..each {
            fs::write(folder.join(class).join(format!("{seed} photo.bmp")), photo(20, color, seed)).unwrap();
        }
    }
}
