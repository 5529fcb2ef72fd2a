//! Every format that is read, against Pillow's reading of the same file.

mod common;

use common::{bytes, difference, open};
use mobilenet_run::Image;

#[test]
fn jpeg_and_lossy_webp_are_within_a_few_levels_of_pillow() {
    // Decoders round differently; subsampled colour adds to it. On the 500 photos of `imagenet_sample_even` the mean is
    // 0.011 levels without subsampling and 0.18 with 4:2:0, where 0.002 % of the bytes are more than 3 levels off.
    for (name, limit, often) in [
        ("baseline_444.jpg", 2, 0.02),
        ("baseline_422.jpg", 6, 0.2),
        ("baseline_420.jpg", 6, 0.35),
        ("progressive.jpg", 6, 0.35),
        ("restart.jpg", 6, 0.35),
        ("grey.jpg", 1, 0.02),
        ("rgb.jpg", 1, 0.02),
        ("cmyk.jpg", 1, 0.02),
        ("ycck.jpg", 2, 0.02),
        ("lossy.webp", 0, 0.0),
        ("lossy_alpha.webp", 0, 0.0),
    ] {
        let expected = open(&(name.replace('.', "_") + ".png"));
        let (largest, share) = difference(&open(name), &expected);
        assert!(largest <= limit && share <= often, "{name}: {largest} levels, {share:.3} of the bytes");
    }
}

#[test]
fn formats_without_loss_give_the_photo_and_drop_alpha() {
    let photo = open("photo.png");
    for name in ["alpha.png", "lossless.webp", "plain.bmp", "rgb16.png"] {
        assert!(open(name) == photo, "{name}");
    }
}

#[test]
fn palettes_bits_and_16_bit_grey_match_pillow() {
    for (name, expected) in [
        ("palette.png", "palette_expected.png"),
        ("palette.gif", "palette_expected.png"),
        ("animated.gif", "palette_expected.png"),
        ("palette_8bit.bmp", "palette_expected.png"),
        ("bits.png", "bits_expected.png"),
        ("grey16.png", "grey_expected.png"),
    ] {
        assert!(open(name) == open(expected), "{name}");
    }
}

#[test]
fn all_eight_orientations_come_out_upright() {
    let upright = open("orientation_expected.png");
    for orientation in 1..=8 {
        let (largest, _) = difference(&open(&format!("orientation_{orientation}.jpg")), &upright);
        assert!(largest <= 6, "orientation {orientation}: {largest} levels");
    }
    assert!(open("orientation_6.png") == upright);
    assert!(open("orientation_6.webp") == upright);
}

#[test]
fn the_name_plays_no_part_and_bytes_after_the_end_do_no_harm() {
    for name in ["baseline_420.jpg", "progressive.jpg", "photo.png", "lossless.webp", "plain.bmp", "palette.gif"] {
        let mut data = bytes(name);
        data.extend_from_slice(b"trailing \xff\xd8\xff rubbish");
        assert!(Image::decode(&data, "photo.txt").unwrap() == open(name), "{name}");
    }
}

#[test]
fn one_pixel_and_one_column_are_photos() {
    for (width, height) in [(1, 1), (1, 5000), (5000, 1)] {
        let rgb: Vec<u8> = (0..width * height * 3).map(|i| i as u8).collect();
        let raw = ::image::RgbImage::from_raw(width as u32, height as u32, rgb.clone()).unwrap();
        for format in [::image::ImageFormat::Png, ::image::ImageFormat::Bmp, ::image::ImageFormat::WebP] {
            let mut data = std::io::Cursor::new(Vec::new());
            raw.write_to(&mut data, format).unwrap();
            let image = Image::decode(data.get_ref(), "thin").unwrap();
            assert!(image == Image { width, height, rgb: rgb.clone() }, "{format:?}");
        }
    }
}

#[test]
fn real_photos_decode_at_their_size() {
    let Some(data) = mobilenet_testing::data() else { return };
    let folder = data.join("data/photos");
    for (name, width, height) in [
        ("bird.png", 512, 343),
        ("bird_segmentation_mask.png", 513, 513),
        ("cat.png", 512, 341),
        ("grace_hopper.png", 512, 600),
        ("owl.jpg", 512, 384),
    ] {
        let image = Image::open(folder.join(name)).unwrap();
        assert_eq!((image.width, image.height), (width, height), "{name}");
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        Image::open(entry.unwrap().path()).unwrap();
    }
}
