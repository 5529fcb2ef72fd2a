//! Photos from files: JPEG, PNG, WebP, BMP and GIF, upright and as 8-bit RGB; pictures to files.
//!
//! The format is found by content; a file's name plays no part. Alpha is dropped, not blended, as Pillow's
//! `convert("RGB")` does, which torchvision's loader calls. Unlike that loader we turn photos as their EXIF orientation
//! says. Colour profiles are ignored, as both of them do.

mod error;
mod format;
mod jpeg;
mod orientation;
mod other;
mod save;
mod webp;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::image::metadata::Orientation;

pub use error::Error;
pub use format::Format;
pub use save::check_writable;

/// Largest file that [`Image::open`] reads, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Largest photo that is decoded, in pixels.
pub const MAX_PIXELS: u64 = 100_000_000;

/// Longest side of a photo that is decoded, in pixels: JPEG's own limit.
pub const MAX_SIDE: u32 = 65_535;

/// Most bytes that decoding a file of less than a megabyte may take: 20 megapixels of RGB.
pub const MAX_DECODED: u64 = 60_000_000;

/// Most bytes that it may take for each byte of a larger file. Photos have a bit a pixel and more, which are 24 bytes.
pub const MAX_EXPANSION: u64 = 300;

/// Where files are no longer small.
const SMALL_FILE: u64 = 1_000_000;

/// A photo in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row; at least 1.
    pub width: usize,
    /// Rows; at least 1.
    pub height: usize,
    /// Red, green, blue of every pixel, row by row from the top left: `height · width · 3` bytes.
    pub rgb: Vec<u8>,
}

/// A photo, and what its file says beside the pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The photo, upright.
    pub image: Image,
    /// The file's format, by its content.
    pub format: Format,
    /// Whether the file's pixels lie otherwise, and EXIF data says how to turn them.
    pub is_turned: bool,
}

impl Decoded {
    /// As [`Image::open`].
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Decoded, Error> {
        let path = path.as_ref();
        let bytes = read(path)?;
        Decoded::from_bytes(&bytes, &path.display().to_string())
    }

    /// As [`Image::decode`].
    ///
    /// # Errors
    /// As [`Image::decode`].
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Decoded, Error> {
        let format = Format::of(bytes, name)?;
        let (image, orientation) = match format {
            Format::Jpeg => jpeg::decode(bytes, name)?,
            format => other::decode(bytes, format, name)?,
        };
        let is_turned = orientation != Orientation::NoTransforms;
        Ok(Decoded { image: orientation::upright(image, orientation), format, is_turned })
    }
}

impl Image {
    /// A photo from `height · width · 3` bytes, red, green, blue, row by row.
    ///
    /// # Errors
    /// [`Error::Zero`] if there are no pixels, [`Error::Bytes`] if `rgb` has another length.
    pub fn from_rgb(width: usize, height: usize, rgb: Vec<u8>) -> Result<Image, Error> {
        let name = "image".to_owned();
        if width == 0 || height == 0 {
            return Err(Error::Zero { name });
        }
        if width.checked_mul(height).and_then(|n| n.checked_mul(3)) != Some(rgb.len()) {
            return Err(Error::Bytes { name, width, height, bytes: rgb.len() });
        }
        Ok(Image { width, height, rgb })
    }

    /// Reads and decodes the photo at `path`.
    ///
    /// # Errors
    /// As [`Image::decode`]; also [`Error::Io`], and [`Error::FileSize`] above [`MAX_FILE_BYTES`].
    pub fn open(path: impl AsRef<Path>) -> Result<Image, Error> {
        Ok(Decoded::open(path)?.image)
    }

    /// Decodes a photo from a file's bytes. `name` is what errors call it.
    ///
    /// # Errors
    /// Empty, truncated or damaged data; a format that is not read; a photo without pixels, or with more than
    /// [`MAX_PIXELS`], a side above [`MAX_SIDE`] or more than so small a file should have ([`MAX_EXPANSION`]), which is
    /// found in the header before anything is allocated.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Image, Error> {
        Ok(Decoded::from_bytes(bytes, name)?.image)
    }
}

/// Reads the bytes of the photo at `path`.
///
/// # Errors
/// [`Error::Io`]; by its first bytes [`Error::Empty`] or [`Error::Unsupported`]; [`Error::FileSize`] above
/// [`MAX_FILE_BYTES`].
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let name = path.display().to_string();
    let io = |source| Error::Io { name: name.clone(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    // What is no photo need not be read: videos are large.
    file.by_ref().take(format::HEAD as u64).read_to_end(&mut bytes).map_err(io)?;
    Format::of(&bytes, &name)?;
    // Not the size in the metadata: a pipe or a device has none.
    file.take(MAX_FILE_BYTES + 1 - bytes.len() as u64).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::FileSize { name });
    }
    Ok(bytes)
}

/// Most bytes that decoding a file of this size may take.
fn most_decoded(encoded: usize) -> u64 {
    if (encoded as u64) < SMALL_FILE { MAX_DECODED } else { encoded as u64 * MAX_EXPANSION }
}

/// Refuses what would become many times its size, before memory is taken for it.
fn check_expansion(decoded: u64, encoded: usize, name: &str) -> Result<(), Error> {
    if decoded > most_decoded(encoded) {
        return Err(Error::Expansion { name: name.to_owned(), encoded, decoded });
    }
    Ok(())
}

/// Refuses a size before memory is taken for it.
pub(crate) fn check_size(width: u32, height: u32, name: &str) -> Result<(), Error> {
    if width == 0 || height == 0 {
        return Err(Error::Zero { name: name.to_owned() });
    }
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::TooLarge { name: name.to_owned(), width, height });
    }
    Ok(())
}
