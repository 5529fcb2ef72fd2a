//! PNG, WebP, BMP and GIF, by the `image` crate.

use super::{Error, Format, Image, MAX_PIXELS, check_expansion, check_size, most_decoded, webp};
use ::image::metadata::Orientation;
use ::image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use std::error::Error as _;
use std::io::{self, Cursor};

/// Most bytes that a decoder may take: twice the largest photo with 16-bit alpha.
const MAX_ALLOC: u64 = MAX_PIXELS * 16;

/// Bytes a pixel that the decoders of WebP and GIF work on, whatever comes out; the others', one at least.
fn working(format: Format) -> u64 {
    if matches!(format, Format::WebP | Format::Gif) { 4 } else { 1 }
}

pub(super) fn decode(bytes: &[u8], format: Format, name: &str) -> Result<(Image, Orientation), Error> {
    let check = |(width, height)| {
        check_size(width, height, name)?;
        check_expansion(u64::from(width) * u64::from(height) * working(format), bytes.len(), name)
    };
    claimed_size(bytes, format).map_or(Ok(()), check)?;
    if format == Format::WebP {
        webp::frames(bytes).into_iter().try_for_each(check)?;
    }
    let translate = |error| translate(error, bytes, format, name);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), codec(format));
    let mut limits = Limits::no_limits();
    // A GIF's frame may claim to be larger than the picture.
    limits.max_alloc = Some(MAX_ALLOC.min(most_decoded(bytes.len())));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(translate)?;

    let (width, height) = decoder.dimensions();
    check((width, height))?;
    check_expansion(decoder.total_bytes().max(u64::from(width) * u64::from(height) * 3), bytes.len(), name)?;
    // Metadata that cannot be read leave the photo as it is.
    let has_metadata = format != Format::WebP || webp::is_whole(bytes);
    let orientation = if has_metadata { decoder.orientation().ok() } else { None };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let color = decoder.color_type();
    let mut samples = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut samples).map_err(translate)?;

    let rgb = match color {
        ColorType::Rgb8 => samples,
        ColorType::L8 | ColorType::La8 | ColorType::Rgba8 => to_rgb(&samples, color, |pixel, channel| pixel[channel]),
        // The high byte, as Pillow reads 16-bit colour. (Its grey of 16 bits saturates at 255: not followed.)
        _ => to_rgb(&samples, color, |pixel, channel| {
            (u16::from_ne_bytes([pixel[2 * channel], pixel[2 * channel + 1]]) >> 8) as u8
        }),
    };
    Ok((Image { width: width as usize, height: height as usize, rgb }, orientation))
}

/// The size that stands at a fixed place in PNG and GIF: their decoders refuse or misread absurd ones in words of their
/// own before they tell it.
fn claimed_size(bytes: &[u8], format: Format) -> Option<(u32, u32)> {
    match (format, bytes) {
        (Format::Png, [_, _, _, _, _, _, _, _, _, _, _, _, b'I', b'H', b'D', b'R', rest @ ..]) => {
            let (width, rest) = rest.split_first_chunk()?;
            Some((u32::from_be_bytes(*width), u32::from_be_bytes(*rest.first_chunk()?)))
        }
        (Format::Gif, &[_, _, _, _, _, _, w0, w1, h0, h1, ..]) => {
            Some((u16::from_le_bytes([w0, w1]).into(), u16::from_le_bytes([h0, h1]).into()))
        }
        _ => None,
    }
}

fn codec(format: Format) -> ImageFormat {
    match format {
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Png => ImageFormat::Png,
        Format::WebP => ImageFormat::WebP,
        Format::Bmp => ImageFormat::Bmp,
        Format::Gif => ImageFormat::Gif,
    }
}

/// Grey thrice or colour as it is; alpha is left out.
fn to_rgb(samples: &[u8], color: ColorType, level: impl Fn(&[u8], usize) -> u8) -> Vec<u8> {
    let channels = if color.has_color() { [0, 1, 2] } else { [0; 3] };
    samples
        .chunks_exact(usize::from(color.bytes_per_pixel()))
        .flat_map(|pixel| channels.map(|channel| level(pixel, channel)))
        .collect()
}

fn translate(error: ImageError, bytes: &[u8], format: Format, name: &str) -> Error {
    let name = name.to_owned();
    if ends_early(&error) || format == Format::WebP && misses_bytes(bytes) {
        return Error::Truncated { name, format, bytes: bytes.len() };
    }
    let reason = match &error {
        ImageError::Decoding(_) => error.source().map_or_else(|| error.to_string(), ToString::to_string),
        _ => error.to_string(),
    };
    Error::Damaged { name, format, reason }
}

/// Whether a RIFF file is shorter than its header says: the WebP decoder calls what it then meets corrupt.
fn misses_bytes(bytes: &[u8]) -> bool {
    let claimed = bytes.get(4..).and_then(|rest| rest.first_chunk());
    claimed.is_none_or(|size| bytes.len() as u64 - 8 < u64::from(u32::from_le_bytes(*size)))
}

/// Whether the data ran out, whichever of the decoders says so.
fn ends_early(error: &ImageError) -> bool {
    if let ImageError::IoError(error) = error {
        return error.kind() == io::ErrorKind::UnexpectedEof;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        // The second is how the GIF decoder puts it, whose error type is not re-exported.
        if io.is_some_and(|e| e.kind() == io::ErrorKind::UnexpectedEof) || error.to_string() == "Unexpected End of File"
        {
            return true;
        }
        cause = error.source();
    }
    false
}
