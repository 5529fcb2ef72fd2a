//! Files that are not photos, or not whole: an error that names the file, what is wrong and what to do; never a panic.

mod common;

use std::io::Write;

use common::bytes;
use mobilenet_run::Image;
use proptest::prelude::*;

const READABLE: [&str; 14] = [
    "baseline_420.jpg",
    "baseline_422.jpg",
    "progressive.jpg",
    "restart.jpg",
    "grey.jpg",
    "cmyk.jpg",
    "orientation_6.jpg",
    "orientation_6.png",
    "palette.png",
    "rgb16.png",
    "lossy_alpha.webp",
    "lossless.webp",
    "palette_8bit.bmp",
    "animated.gif",
];

fn text(data: &[u8]) -> String {
    Image::decode(data, "photo").expect_err("an error").to_string()
}

/// A PNG that claims a size, with a right checksum and no pixels behind it.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let crc = header.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    });
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(header);
    png.extend((!crc).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    png
}

/// A JPEG whose frame header is rewritten to another size.
fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
    let mut data = bytes("baseline_444.jpg");
    let frame = data.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    data[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    data[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    data
}

#[test]
fn what_is_no_photo_is_named() {
    let readable = "photos are read from JPEG, PNG, WebP, BMP and GIF";
    let video = "a video (cut it into photos first, as by ffmpeg -i FILE frame-%05d.png)";
    for (data, found) in [
        (&b"hello, I am a text\n"[..], "a text file"),
        (b"BMW is a car", "a text file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"  <svg xmlns=", "an SVG drawing or another XML file"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photo"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "a HEIC photo"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF picture"),
        (b"\0\0\0\x1cftypisom\0\0\0\0", video),
        (b"\x1aE\xdf\xa3\x01\0\0\0", video),
        (b"RIFF\x10\0\0\0AVI LIST", video),
        (b"FLV\x01\x05", video),
        (b"\0\0\x01\xba\x44", video),
        (b"II*\0\x08\0\0\0", "a TIFF picture or a camera's raw photo"),
        (b"MM\0*\0\0\0\x08", "a TIFF picture or a camera's raw photo"),
        (b"\xff\x0a\xfa\x7f", "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"PK\x03\x04\x14\0", "a zip archive (or a PyTorch weights file)"),
        (b"RIFF\x10\0\0\0WAVE", "a RIFF file (sound or video)"),
        (b"\x7fELF\x02\x01\x01", "no photo format that is known"),
        (b"\0", "no photo format that is known"),
    ] {
        assert_eq!(text(data), format!("photo: this is {found}; {readable}"));
    }
}

#[test]
fn empty_and_missing_files_are_named() {
    assert_eq!(text(b""), "photo: the file is empty");
    let missing = Image::open("no/such.jpg").unwrap_err();
    assert_eq!(missing.to_string(), "no/such.jpg: No such file or directory (os error 2)");
    let folder = tempfile::tempdir().unwrap();
    let error = Image::open(folder.path()).unwrap_err().to_string();
    assert_eq!(error, format!("{}: Is a directory (os error 21)", folder.path().display()));
}

#[test]
fn a_file_that_is_too_long_is_not_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.jpg");
    // Sparse: takes no room on the disk.
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"\xff\xd8\xff\xe0").unwrap();
    file.set_len(1 << 40).unwrap();
    let error = Image::open(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{}: the file is larger than 256 MiB, the most a photo may have", path.display()));
}

#[test]
fn what_is_no_photo_is_known_by_its_beginning_however_long_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"\0\0\0\x1cftypisom").unwrap();
    file.set_len(1 << 40).unwrap();
    let error = Image::open(&path).unwrap_err().to_string();
    assert!(error.contains("this is a video"), "{error}");
}

#[test]
fn decompression_bombs_are_refused_by_their_header() {
    let limit = "pixels are more than a photo may have (100 megapixels, 65535 a side); make it smaller first";
    assert_eq!(text(&png_of(100_000, 100_000)), format!("photo: 100000×100000 {limit}"));
    assert_eq!(text(&png_of(70_000, 1)), format!("photo: 70000×1 {limit}"));
    assert_eq!(text(&png_of(0x7fff_ffff, 0x7fff_ffff)), format!("photo: 2147483647×2147483647 {limit}"));
    assert_eq!(text(&jpeg_of(65_535, 65_535)), format!("photo: 65535×65535 {limit}"));

    let mut gif = b"GIF89a".to_vec();
    gif.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
    gif.extend(b";");
    assert_eq!(text(&gif), format!("photo: 65535×65535 {limit}"));

    let mut bmp = bytes("plain.bmp");
    bmp[18..22].copy_from_slice(&60_000i32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000i32.to_le_bytes());
    assert_eq!(text(&bmp), format!("photo: 60000×60000 {limit}"));
}

#[test]
fn photos_without_pixels_are_refused() {
    let zero = "photo: the photo is 0 pixels wide or high";
    assert_eq!(text(&jpeg_of(0, 28)), zero);
    assert_eq!(text(&jpeg_of(40, 0)), zero);
    assert_eq!(text(b"GIF89a\0\0\x01\0\0\0\0;"), zero);
    assert_eq!(Image::from_rgb(0, 4, vec![]).unwrap_err().to_string(), zero.replacen("photo", "image", 1));
    assert_eq!(text(&png_of(0, 5)), zero);
}

#[test]
fn a_buffer_of_another_length_is_refused() {
    let error = Image::from_rgb(4, 2, vec![0; 23]).unwrap_err().to_string();
    assert_eq!(error, "image: 4×2 RGB pixels need 3 bytes each, not 23 in all");
    assert!(Image::from_rgb(usize::MAX, 2, vec![]).is_err());
}

#[test]
fn every_beginning_of_a_jpeg_is_truncated() {
    for name in ["baseline_420.jpg", "progressive.jpg", "orientation_6.jpg"] {
        let data = bytes(name);
        for length in 2..data.len() {
            let advice = "before its JPEG data does; the photo is truncated, copy or download it again";
            assert_eq!(text(&data[..length]), format!("photo: the file ends after {length} bytes, {advice}"), "{name}");
        }
    }
}

#[test]
fn half_of_any_other_photo_is_truncated() {
    for (name, format) in [
        ("photo.png", "PNG"),
        ("palette.gif", "GIF"),
        ("plain.bmp", "BMP"),
        ("lossy.webp", "WebP"),
        ("lossless.webp", "WebP"),
    ] {
        let data = bytes(name);
        let half = &data[..data.len() / 2];
        let expected = format!(
            "photo: the file ends after {} bytes, before its {format} data does; the photo is truncated, copy or download \
             it again",
            half.len()
        );
        assert_eq!(text(half), expected, "{name}");
    }
}

#[test]
fn a_jpeg_that_breaks_off_inside_is_damaged_not_half_grey() {
    let mut data = bytes("baseline_420.jpg");
    let scan = data.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
    // Bits that are all 1 begin no code.
    for pair in data[scan + 40..][..40].chunks_exact_mut(2) {
        pair.copy_from_slice(&[0xff, 0x00]);
    }
    let error = text(&data);
    assert!(error.starts_with("photo: the JPEG data are damaged ("), "{error}");
    assert!(error.ends_with("); copy or download the photo again"), "{error}");
}

#[test]
fn spare_bytes_between_the_segments_of_a_jpeg_do_no_harm() {
    let mut data = bytes("baseline_420.jpg");
    let at = data.windows(2).position(|pair| pair == [0xff, 0xdb]).unwrap();
    data.splice(at..at, [0; 9]);
    assert!(Image::decode(&data, "photo").unwrap() == common::open("baseline_420.jpg"));
}

#[test]
fn every_beginning_of_every_format_is_an_answer_or_an_error() {
    for name in READABLE {
        let data = bytes(name);
        for length in 0..data.len() {
            let _ = Image::decode(&data[..length], name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn mutated_photos_never_panic(
        which in 0..READABLE.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        cuts: bool,
    ) {
        let mut data = bytes(READABLE[which]);
        for (at, value) in changes {
            let at = at.index(data.len());
            data[at] = value;
        }
        if cuts {
            data.truncate(cut.index(data.len()));
        }
        if let Ok(image) = Image::decode(&data, "photo") {
            prop_assert_eq!(image.rgb.len(), image.width * image.height * 3);
        }
    }
}
