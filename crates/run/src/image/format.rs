//! Which format a file has, by its first bytes.

use super::Error;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A format that photos are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG: baseline and progressive; grey, YCbCr, RGB, CMYK, YCCK.
    Jpeg,
    /// PNG, all depths and colour types; of an animation the default picture.
    Png,
    /// WebP, lossy and lossless; of an animation the first frame.
    WebP,
    /// Windows bitmap.
    Bmp,
    /// GIF; of an animation the first frame.
    Gif,
}

impl Format {
    /// The format of a file, of which only the beginning is read.
    ///
    /// # Errors
    /// As [`of`](Self::of); [`Error::Io`].
    pub fn of_file(path: &Path) -> Result<Format, Error> {
        let name = path.display().to_string();
        let io = |source| Error::Io { name: name.clone(), source };
        let mut head = Vec::new();
        File::open(path).map_err(io)?.take(HEAD as u64).read_to_end(&mut head).map_err(io)?;
        Format::of(&head, &name)
    }

    /// The format of a file's bytes, which errors call `name`.
    ///
    /// The first 512 bytes tell as much as all.
    ///
    /// # Errors
    /// [`Error::Empty`], or [`Error::Unsupported`] with what it is instead.
    pub fn of(bytes: &[u8], name: &str) -> Result<Format, Error> {
        if bytes.is_empty() {
            return Err(Error::Empty { name: name.to_owned() });
        }
        let format = if bytes.starts_with(b"\xff\xd8") {
            Format::Jpeg
        } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Format::Png
        } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Format::WebP
        } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
            Format::Gif
        } else if is_bmp(bytes) {
            Format::Bmp
        } else {
            return Err(Error::Unsupported { name: name.to_owned(), found: foreign(bytes) });
        };
        Ok(format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
            Format::Bmp => "BMP",
            Format::Gif => "GIF",
        })
    }
}

/// Bytes that tell a file's format, or what it is instead.
pub(super) const HEAD: usize = 512;

/// What users hand us by mistake, by leading bytes.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"II*\0", "a TIFF picture or a camera's raw photo"),
    (b"MM\0*", "a TIFF picture or a camera's raw photo"),
    (b"II+\0", "a TIFF picture"),
    (b"MM\0+", "a TIFF picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\x01\0", "a Windows icon"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive (or a PyTorch weights file)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x1aE\xdf\xa3", VIDEO),
    (b"FLV\x01", VIDEO),
    (b"\0\0\x01\xba", VIDEO),
    (b"\0\0\x01\xb3", VIDEO),
];

const VIDEO: &str = "a video (cut it into photos first, as by ffmpeg -i FILE frame-%05d.png)";

/// What follows `ftyp` at byte 4 of files of the MP4 family.
const BRANDS: &[(&[u8], &str)] = &[
    (b"hei", "a HEIC photo"),
    (b"hev", "a HEIC photo"),
    (b"mif1", "a HEIC photo"),
    (b"msf1", "a HEIC photo"),
    (b"avi", "an AVIF picture"),
    (b"crx ", "a camera's raw photo"),
];

/// `BM` alone also begins text; the size of the header that follows tells them apart.
fn is_bmp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"BM")
        && bytes.get(14..18).is_some_and(|size| matches!(size, [12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]))
}

/// A name for content that is not read.
fn foreign(bytes: &[u8]) -> &'static str {
    if let Some((_, found)) = FOREIGN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return found;
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        let brand = &bytes[8..];
        return BRANDS.iter().find(|(magic, _)| brand.starts_with(magic)).map_or(VIDEO, |(_, found)| found);
    }
    if bytes.starts_with(b"RIFF") {
        return if bytes.get(8..11) == Some(b"AVI") { VIDEO } else { "a RIFF file (sound or video)" };
    }
    let start = &bytes[..bytes.len().min(HEAD)];
    if start.iter().any(|&b| b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r' | b'\x0c')) {
        return "no photo format that is known";
    }
    let start = start.trim_ascii_start().to_ascii_lowercase();
    if start.starts_with(b"<svg") || start.starts_with(b"<?xml") {
        "an SVG drawing or another XML file"
    } else if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") {
        "a web page"
    } else {
        "a text file"
    }
}
