//! Augmentation's operations against torchvision 0.29.2 on Pillow 13: `fixtures/make_fixtures.py`.

use mobilenet_data::affine::Sampling;
use mobilenet_data::auto::{ALL, Auto, Canvas, Op};
use mobilenet_data::color::{self, Jitter};
use mobilenet_data::crop::Border;
use mobilenet_data::mix::Erase;
use mobilenet_data::{Augment, Random, augment::Crop};
use mobilenet_net::graph::Padding;
use mobilenet_net::names::Origin;
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_run::{Image, preprocess};

const OPS: &str = include_str!("fixtures/ops.txt");
const MAGNITUDES: &str = include_str!("fixtures/magnitudes.txt");

fn fixture(name: &str) -> Image {
    Image::open(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn op(name: &str) -> Op {
    let all = ALL.into_iter().chain([Op::Invert]);
    all.into_iter().find(|op| format!("{op:?}") == name).unwrap()
}

fn preprocessing(height: usize, width: usize) -> Preprocessing {
    let origin = Preprocessing::for_origin(Origin::Torchvision, Padding::Symmetric, 1000, Some(height.min(width)));
    Preprocessing { size: [height, width], ..origin }
}

#[test]
fn every_operation_equals_torchvisions_in_every_byte() {
    let source = fixture("source.png");
    let expected = fixture("ops.png");
    assert_eq!(OPS.lines().count() * source.height, expected.height);
    for (line, expected) in OPS.lines().zip(expected.rgb.chunks_exact(source.rgb.len())) {
        let words: Vec<&str> = line.split(' ').collect();
        let parameter: f64 = words[1].parse().unwrap();
        let sampling = if words[2] == "bilinear" { Sampling::Bilinear } else { Sampling::Nearest };
        let mut image = source.clone();
        match words[0] {
            "Hue" => color::hue(&mut image, parameter),
            name => op(name).apply(&mut image, parameter, Canvas { sampling, fill: [10, 20, 30] }),
        }
        let different = image.rgb.iter().zip(expected).filter(|(a, b)| a != b).count();
        assert_eq!(different, 0, "{line}: bytes differ");
    }
}

#[test]
fn every_magnitude_equals_torchvisions() {
    for line in MAGNITUDES.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<usize>().unwrap();
        let image = Image { width: number(1), height: number(2), rgb: vec![] };
        let op = op(words[3]);
        assert_eq!(op.is_signed(), number(4) == 1, "{line}");
        for (bin, expected) in words[5..].iter().enumerate() {
            let (found, expected) = (op.magnitude(bin, number(0), &image), expected.parse::<f64>().unwrap());
            assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1e-3), "{op:?} {bin}: {found} {expected}");
            assert_eq!(found as i64, expected as i64, "{op:?} {bin}");
        }
    }
}

#[test]
fn every_augmentation_runs_on_photos_of_one_pixel_and_other_odd_sizes() {
    let autos = [Auto::ImageNet, Auto::Cifar10, Auto::Rand { count: 3, magnitude: 30 }].map(Some);
    let full = Augment {
        flip: 0.5,
        jitter: Some(Jitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.5 }),
        erase: Some(Erase { probability: 1.0, noise: true, ..Erase::default() }),
        ..Augment::none()
    };
    let crops = [
        Crop::Evaluation,
        Crop::RandomResized { scale: [0.08, 1.0], ratio: [0.75, 1.33] },
        Crop::Padded { pad: 4, border: Border::Zero },
        Crop::Padded { pad: 4, border: Border::Reflect },
    ];
    for (width, height) in [(1, 1), (1, 9), (7, 2), (40, 40)] {
        let image = Image { width, height, rgb: (0..width * height * 3).map(|i| (i * 37) as u8).collect() };
        for auto in autos.into_iter().chain([None]) {
            for crop in crops {
                for size in [[1, 1], [5, 3], [16, 16]] {
                    let mut out = vec![f32::NAN; 3 * size[0] * size[1]];
                    for round in 0..20 {
                        let augment = Augment { auto, crop, ..full };
                        let p = preprocessing(size[0], size[1]);
                        augment.apply(&image, &p, &mut Random::new(round, 0, 0), &mut out);
                        assert!(out.iter().all(|value| value.is_finite()));
                    }
                }
            }
        }
    }
}

#[test]
fn without_augmentation_examples_are_what_evaluation_sees() {
    let image = fixture("source.png");
    let p = preprocessing(16, 16);
    let (mut expected, mut out) = (vec![0.0; 768], vec![0.0; 768]);
    preprocess(&image, &p, &mut expected);
    Augment::none().apply(&image, &p, &mut Random::new(0, 0, 0), &mut out);
    assert_eq!(out, expected);
    // By the way of bytes, as with a policy that does nothing here.
    let identity = Augment { auto: Some(Auto::Rand { count: 0, magnitude: 0 }), ..Augment::none() };
    identity.apply(&image, &p, &mut Random::new(0, 0, 0), &mut out);
    assert_eq!(out, expected);
}

#[test]
fn half_of_the_photos_are_flipped_and_every_shift_occurs() {
    let mut rgb = vec![0; 8 * 8 * 3];
    // One white pixel, at column 2 and row 3.
    rgb[(3 * 8 + 2) * 3..][..3].fill(255);
    let image = Image { width: 8, height: 8, rgb };
    let crop = Crop::Padded { pad: 2, border: Border::Zero };
    let augment = Augment { crop, flip: 0.5, ..Augment::none() };
    let mut out = vec![0.0; 3 * 64];
    let mut places = [[0; 8]; 8];
    for index in 0..8000 {
        augment.apply(&image, &preprocessing(8, 8), &mut Random::new(1, 2, index), &mut out);
        let at = out[..64].iter().position(|&value| value > 0.0).unwrap();
        places[at / 8][at % 8] += 1;
    }
    // Unflipped columns 0 to 4, flipped ones 3 to 7; rows 1 to 5; 25 places each, two columns shared.
    for (y, row) in places.iter().enumerate() {
        for (x, &count) in row.iter().enumerate() {
            let shares = usize::from(x <= 4) + usize::from(x >= 3);
            let expected = if (1..=5).contains(&y) { 160 * shares } else { 0 };
            assert!(i64::abs(count - expected as i64) <= 70, "{y} {x}: {count}, not {expected}");
        }
    }
}

#[test]
fn a_reflected_border_is_numpys() {
    let image = Image { width: 3, height: 1, rgb: (0..3).flat_map(|level| [level * 80; 3]).collect() };
    let crop = Crop::Padded { pad: 2, border: Border::Reflect };
    let p = Preprocessing { mean: [0.0; 3], std: [1.0 / 255.0; 3], ..preprocessing(1, 3) };
    let windows = [[160.0, 80.0, 0.0], [80.0, 0.0, 80.0], [0.0, 80.0, 160.0], [80.0, 160.0, 80.0], [160.0, 80.0, 0.0]];
    for index in 0..50 {
        let mut out = [0.0; 9];
        Augment { crop, ..Augment::none() }.apply(&image, &p, &mut Random::new(1, 2, index), &mut out);
        let row = [out[0], out[1], out[2]].map(f32::round);
        assert!(windows.contains(&row), "{row:?}");
    }
}

#[test]
fn erasing_stays_within_its_area() {
    let erase = Erase { probability: 1.0, ..Erase::default() };
    let mut shares = Vec::new();
    for index in 0..500 {
        let mut planes = vec![1.0; 3 * 32 * 32];
        erase.apply(&mut planes, [32, 32], &mut Random::new(1, 2, index));
        let (first, rest) = planes.split_at(1024);
        assert!(rest.chunks_exact(1024).all(|plane| plane == first));
        shares.push(first.iter().filter(|&&value| value == 0.0).count() as f64 / 1024.0);
    }
    assert!(shares.iter().all(|share| (0.01..0.36).contains(share)));
    assert!((shares.iter().sum::<f64>() / 500.0 - 0.175).abs() < 0.02);
}

#[test]
fn jitter_keeps_to_its_factors() {
    let jitter = Jitter { brightness: 0.4, ..Jitter::default() };
    let mut levels = Vec::new();
    for index in 0..500 {
        let mut image = Image { width: 1, height: 1, rgb: vec![100; 3] };
        jitter.apply(&mut image, &mut Random::new(1, 2, index));
        levels.push(image.rgb[0]);
    }
    assert!(levels.iter().all(|level| (60..=140).contains(level)));
    assert!(levels.iter().any(|&level| level < 65) && levels.iter().any(|&level| level > 135));
}
