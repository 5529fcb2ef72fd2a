//! Preprocessing against torchvision 0.29's own tensors.

mod common;

use common::{bytes, open};
use mobilenet_net::preprocessing::{ChannelOrder, Filter, Preprocessing, Resize};
use mobilenet_run::{Image, preprocess};

fn torchvision(short: usize, crop: usize) -> Preprocessing {
    Preprocessing {
        resize: Resize::ShortSide(short),
        size: [crop, crop],
        filter: Filter::Bilinear,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        channel_order: ChannelOrder::Rgb,
        background_class: false,
    }
}

fn run(image: &Image, how: &Preprocessing) -> Vec<f32> {
    // NaN, so that a value that is not written shows.
    let mut out = vec![f32::NAN; 3 * how.size[0] * how.size[1]];
    preprocess(image, how, &mut out);
    out
}

#[test]
fn tensors_match_torchvision_with_crop_and_with_padding() {
    for (short, crop) in [(32, 24), (20, 28)] {
        let expected: Vec<f32> = bytes(&format!("preprocessed_{short}_{crop}.f32"))
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let tensor = run(&open("source.png"), &torchvision(short, crop));
        assert_eq!(tensor.len(), expected.len());
        // One level is 1 / (255 · 0.224) = 0.0175; all else is equal to the bit.
        let differ = tensor.iter().zip(&expected).filter(|(a, b)| a != b).count();
        let largest = tensor.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 0.018 && differ * 100 <= expected.len(), "{short}, {crop}: {differ} differ, by {largest}");
    }
}

#[test]
fn range_minus_1_to_1_is_mean_and_deviation_one_half() {
    let image = Image::from_rgb(2, 1, vec![0, 51, 255, 255, 0, 102]).unwrap();
    let how =
        Preprocessing { resize: Resize::Squash, size: [1, 2], mean: [0.5; 3], std: [0.5; 3], ..torchvision(1, 1) };
    let expected = [-1.0, 1.0, -0.6, -1.0, 1.0, -0.2];
    let tensor = run(&image, &how);
    assert!(tensor.iter().zip(expected).all(|(a, b): (_, f32)| (a - b).abs() < 1e-6), "{tensor:?}");
}

#[test]
fn squash_and_central_fraction_fill_the_input() {
    let source = open("source.png");
    for resize in [Resize::Squash, Resize::CentralFraction(0.875)] {
        for size in [[20, 33], [96, 96]] {
            let how = Preprocessing { resize, size, filter: Filter::Bicubic, ..torchvision(1, 1) };
            assert!(run(&source, &how).iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn extreme_photos_fill_the_input_without_the_memory_of_the_whole() {
    // Whole, the short side at 256 would make 256 × 16,776,960 pixels of the last two.
    for (width, height) in [(1, 1), (1, 5000), (5000, 1), (65_535, 1), (1, 65_535)] {
        let image = Image { width, height, rgb: vec![200; width * height * 3] };
        let tensor = run(&image, &torchvision(256, 224));
        let value = (200.0f32 / 255.0 - 0.485) / 0.229;
        assert!(tensor[..224 * 224].iter().all(|x| *x == value), "{width}×{height}");
    }
}
