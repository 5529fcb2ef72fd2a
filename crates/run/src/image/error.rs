//! What can be wrong with a photo.

use super::{Format, MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE};

/// Why a photo cannot be used. `name` is the file's path, or what the caller named the bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{name}: {source}")]
    Io {
        /// The photo.
        name: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file of zero bytes.
    #[error("{name}: the file is empty")]
    Empty {
        /// The photo.
        name: String,
    },
    /// A file above [`MAX_FILE_BYTES`].
    #[error("{name}: the file is larger than {} MiB, the most a photo may have", MAX_FILE_BYTES >> 20)]
    FileSize {
        /// The photo.
        name: String,
    },
    /// Not a photo, or not in a format that is read.
    #[error("{name}: this is {found}; photos are read from JPEG, PNG, WebP, BMP and GIF")]
    Unsupported {
        /// The photo.
        name: String,
        /// What the content looks like.
        found: &'static str,
    },
    /// More pixels than [`MAX_PIXELS`], or a side above [`MAX_SIDE`].
    #[error(
        "{name}: {width}×{height} pixels are more than a photo may have ({} megapixels, {MAX_SIDE} a side); make it \
         smaller first",
        MAX_PIXELS / 1_000_000
    )]
    TooLarge {
        /// The photo.
        name: String,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// More pixels than a file of this size should have; see [`MAX_EXPANSION`](super::MAX_EXPANSION).
    #[error(
        "{name}: the file has {encoded} bytes, and its pixels would take {decoded}: so much is taken of larger files only, \
         as memory is easily exhausted so; make the picture smaller first"
    )]
    Expansion {
        /// The photo.
        name: String,
        /// The file's length.
        encoded: usize,
        /// Bytes of the decoded photo.
        decoded: u64,
    },
    /// No pixels.
    #[error("{name}: the photo is 0 pixels wide or high")]
    Zero {
        /// The photo.
        name: String,
    },
    /// The file stops before the photo does.
    #[error(
        "{name}: the file ends after {bytes} bytes, before its {format} data does; the photo is truncated, copy or \
         download it again"
    )]
    Truncated {
        /// The photo.
        name: String,
        /// Its format.
        format: Format,
        /// The file's length.
        bytes: usize,
    },
    /// Data that break the format's rules.
    #[error("{name}: the {format} data are damaged ({reason}); copy or download the photo again")]
    Damaged {
        /// The photo.
        name: String,
        /// Its format.
        format: Format,
        /// The decoder's word.
        reason: String,
    },
    /// A buffer whose length does not fit the size it is said to have.
    #[error("{name}: {width}×{height} RGB pixels need 3 bytes each, not {bytes} in all")]
    Bytes {
        /// The photo.
        name: String,
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes that were given.
        bytes: usize,
    },
    /// A name whose ending is none of a format that is written.
    #[error("{name}: pictures are written as .png, .jpg or .webp; give such a name")]
    Ending {
        /// The picture.
        name: String,
    },
    /// A picture that a format cannot hold.
    #[error("{name}: cannot be written as {format}: {reason}")]
    Encode {
        /// The picture.
        name: String,
        /// The format.
        format: Format,
        /// The encoder's word.
        reason: String,
    },
    /// A picture that cannot be written.
    #[error(transparent)]
    Write(#[from] mobilenet_net::Error),
}
