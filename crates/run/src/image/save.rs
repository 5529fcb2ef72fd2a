//! Pictures to files, by what their names end with.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use mobilenet_net::file;

use super::{Error, Format, Image};

/// Of 100. Above it files grow faster than anyone can see.
const JPEG_QUALITY: u8 = 90;

/// Formats and their names' endings.
const ENDINGS: [(&str, Format); 4] =
    [("png", Format::Png), ("jpg", Format::Jpeg), ("jpeg", Format::Jpeg), ("webp", Format::WebP)];

impl Image {
    /// Writes the picture, whole or not at all: PNG, JPEG or WebP (without loss), by the ending of `path`.
    ///
    /// # Errors
    /// As [`check_writable`]; [`Error::Encode`] for a picture that the format cannot hold, such as a WebP with a side
    /// above 16383.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let bytes = self.encode(format(path)?, &path.display().to_string())?;
        Ok(file::write(path, &bytes)?)
    }

    /// The bytes of a JPEG file. `quality` is of 100.
    ///
    /// # Errors
    /// [`Error::Encode`] for a picture with a side above 65535.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>, Error> {
        self.encode_with(Format::Jpeg, quality, "picture")
    }

    fn encode(&self, format: Format, name: &str) -> Result<Vec<u8>, Error> {
        self.encode_with(format, JPEG_QUALITY, name)
    }

    /// `quality` is of 100, and JPEG's alone.
    fn encode_with(&self, format: Format, quality: u8, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let to = Cursor::new(&mut bytes);
        // Sides fit: nothing larger than MAX_SIDE is decoded or drawn.
        let (width, height, color) = (self.width as u32, self.height as u32, ExtendedColorType::Rgb8);
        match format {
            Format::Jpeg => JpegEncoder::new_with_quality(to, quality).write_image(&self.rgb, width, height, color),
            Format::WebP => WebPEncoder::new_lossless(to).write_image(&self.rgb, width, height, color),
            _ => PngEncoder::new(to).write_image(&self.rgb, width, height, color),
        }
        .map_err(|e| Error::Encode { name: name.to_owned(), format, reason: e.to_string() })?;
        Ok(bytes)
    }
}

/// Refuses a path that [`Image::save`] could not write to, for whoever works long before writing.
///
/// # Errors
/// [`Error::Ending`] for another ending than those that are written; [`Error::Write`] where the file cannot be made.
pub fn check_writable(path: impl AsRef<Path>) -> Result<(), Error> {
    format(path.as_ref())?;
    Ok(file::check(path)?)
}

fn format(path: &Path) -> Result<Format, Error> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let found = ENDINGS.iter().find(|(known, _)| ending.as_deref() == Some(known));
    found.map(|(_, format)| *format).ok_or_else(|| Error::Ending { name: path.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Image {
        let rgb = (0..31 * 17 * 3).map(|i| (i / 9 % 256) as u8).collect();
        Image::from_rgb(31, 17, rgb).unwrap()
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        for (name, most) in [("a.png", 0), ("b.webp", 0), ("c.JPG", 24), ("d.jpeg", 24)] {
            let path = folder.path().join(name);
            check_writable(&path).unwrap();
            picture().save(&path).unwrap();
            let read = Image::open(&path).unwrap();
            assert_eq!((read.width, read.height), (31, 17), "{name}");
            let apart = read.rgb.iter().zip(&picture().rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(apart <= most, "{name}: {apart}");
        }
    }

    #[test]
    fn an_ending_that_is_not_written_is_refused_before_and_after() {
        for name in ["sheet.gif", "sheet", "png", "/dev/null"] {
            let text = format!("{name}: pictures are written as .png, .jpg or .webp; give such a name");
            assert_eq!(check_writable(name).unwrap_err().to_string(), text);
            assert_eq!(picture().save(name).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = picture().save("no/such/sheet.png").unwrap_err().to_string();
        assert_eq!(error, "no/such/sheet.png: there is no directory no/such; make it first");
    }

    #[test]
    fn what_a_format_cannot_hold_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.webp");
        let wide = Image::from_rgb(20_000, 1, vec![9; 60_000]).unwrap();
        let error = wide.save(&path).unwrap_err().to_string();
        assert!(error.contains("wide.webp: cannot be written as WebP"), "{error}");
        assert!(!path.exists());
        wide.save(folder.path().join("wide.png")).unwrap();
    }
}
