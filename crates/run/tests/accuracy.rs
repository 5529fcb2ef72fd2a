//! torchvision's V2 weights on 500 photos of ImageNet, against torchvision's own answers.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use mobilenet_kernels::Isa;
use mobilenet_kernels::cpu::Bf16Unit;
use mobilenet_run::classifier::ClassifierOptions;
use mobilenet_run::{Classifier, Image, Precision};
use mobilenet_testing::data;

/// The lines of a CSV file under its header, each cut at commas. Fields in quotes may hold commas: those columns are
/// counted from the end.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// The photos of a tar file, by the places that its CSV gives, with their classes.
fn photos(data: &Path) -> impl Iterator<Item = (String, usize, Image)> {
    let set = data.join("data/classification/imagenet_sample_even.csv");
    let mut tar = File::open(set.with_extension("tar")).unwrap();
    rows(&set).into_iter().map(move |row| {
        let [.., offset, size] = row.as_slice() else { panic!("a row without a place") };
        let mut bytes = vec![0; size.parse().unwrap()];
        tar.seek(SeekFrom::Start(offset.parse().unwrap())).unwrap();
        tar.read_exact(&mut bytes).unwrap();
        (row[0].clone(), row[1].parse().unwrap(), Image::decode(&bytes, &row[0]).unwrap())
    })
}

#[test]
fn torchvisions_v2_is_as_right_as_in_torchvision_and_says_the_same() {
    let Some(data) = data() else { return };
    let classifier = Classifier::open(data.join("data/models/mobilenet_v2_1.0_224_torchvision.pth")).unwrap();
    let theirs = rows(&data.join("golden/tv_v2_even.csv"));
    // Without optimisation a photo takes seconds.
    let step = if cfg!(debug_assertions) { 25 } else { 1 };
    let (mut count, mut right, mut same, mut apart, mut largest) = (0, 0, 0, 0.0, 0f64);
    for ((file, class, image), their) in photos(&data).zip(&theirs).step_by(step) {
        assert_eq!(file, their[0], "the lists name the same photos");
        let [first, ..] = &classifier.classify(&image, 5)[..] else { panic!("no answer") };
        count += 1;
        right += usize::from(first.class == class);
        if first.class.to_string() == their[2] {
            same += 1;
            let difference = (f64::from(first.probability) - their[3].parse::<f64>().unwrap()).abs();
            apart += difference;
            largest = largest.max(difference);
        }
    }
    let percent = |n: usize| 100.0 * n as f64 / count as f64;
    let mean = apart / same as f64;
    println!("{count} photos: {:.1} % right, {:.1} % as torchvision", percent(right), percent(same));
    println!("first probability: {mean:.5} apart in the mean, {largest:.5} at most");
    assert!(percent(same) >= 99.0, "only {same} of {count} as torchvision");
    assert!(mean < 0.005, "probabilities are {mean} apart");
    if step == 1 {
        assert_eq!(count, 500);
        assert!(percent(right) >= 82.4, "only {right} of {count} right; torchvision has 414 of 500");
    }
}

/// Keras itself is right on 291 of these photos (keras@3.15.1; short side 256, middle 224, by Pillow); over both halves of
/// the sample it is 58.8 %.
#[test]
fn keras_v1_is_as_right_as_in_keras() {
    let Some(data) = data() else { return };
    let file = data.join("data/models/mobilenet_v1_0.25_224_keras_unfolded_f32.safetensors");
    let classifier = Classifier::open(file).unwrap();
    // Without optimisation a photo takes seconds.
    let step = if cfg!(debug_assertions) { 25 } else { 1 };
    let (mut count, mut right) = (0, 0);
    for (_, class, image) in photos(&data).step_by(step) {
        count += 1;
        right += usize::from(classifier.classify(&image, 1)[0].class == class);
    }
    println!("{count} photos: {right} right");
    if step == 1 {
        assert!((289..=293).contains(&right), "{right} of {count} right");
    }
}

#[test]
fn bf16_nearly_always_says_the_same_as_single_precision() {
    let Some(data) = data() else { return };
    if Bf16Unit::detect(Isa::detect()).is_none() {
        return eprintln!("not run: this processor has no products of bf16");
    }
    let open = |precision| {
        let options = ClassifierOptions { precision, ..ClassifierOptions::default() };
        Classifier::open_with(data.join("data/models/mobilenet_v2_1.0_224_torchvision.pth"), &options).unwrap()
    };
    let [single, bf16] = [Precision::F32, Precision::Bf16].map(open);
    let step = if cfg!(debug_assertions) { 25 } else { 1 };
    let (mut count, mut same) = (0, 0);
    for (_, _, image) in photos(&data).step_by(step) {
        let [a, b] = [&single, &bf16].map(|classifier| classifier.classify(&image, 1)[0].class);
        count += 1;
        same += usize::from(a == b);
    }
    println!("{same} of {count} photos: the same first class");
    assert!(same * 100 >= count * 98, "only {same} of {count}");
}
