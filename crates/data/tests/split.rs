//! Photos put aside to check with, by their content.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use common::{folder, photo, shared, tar, write};
use mobilenet_data::{ByContent, Dataset, Scenes, Splits};
use mobilenet_testing::photos::{bmp, write_classes};
use tempfile::TempDir;

const GO_ON: fn(usize, usize) -> ControlFlow<()> = |_, _| ControlFlow::Continue(());

fn split_with(path: &Path, how: ByContent) -> Splits {
    Splits::by_content(Dataset::open(path).unwrap(), &how, &mut { GO_ON }).unwrap().unwrap()
}

fn split(path: &Path) -> Splits {
    split_with(path, ByContent::new(3))
}

/// Class and content of every photo.
fn contents(set: &Dataset) -> BTreeSet<(String, Vec<u8>)> {
    let content = |i: usize| {
        let class = &set.classes()[set.items()[i].target.labels()[0] as usize];
        (class.clone(), set.read(i).unwrap().rgb)
    };
    (0..set.len()).map(content).collect()
}

/// `count` photos of `class`, all different; `first` makes them differ from others.
fn add(dir: &TempDir, class: &str, first: usize, count: usize) {
    for number in first..first + count {
        write(dir.path(), &format!("{class}/{number}.bmp"), &photo([number as u8, (number >> 8) as u8, 77]));
    }
}

#[test]
fn sides_follow_from_content_and_not_from_names_order_or_threads() {
    let here = folder(&[]);
    add(&here, "cat", 0, 60);
    add(&here, "dog", 60, 60);
    let there = folder(&[]);
    for (class, first) in [("cat", 0), ("dog", 60)] {
        for number in first..first + 60 {
            let bytes = fs::read(here.path().join(format!("{class}/{number}.bmp"))).unwrap();
            write(there.path(), &format!("{class}/of/{}.jpg", 999 - number), &bytes);
        }
    }
    let (one, other) = (split(here.path()), split_with(there.path(), ByContent::new(1)));
    let [aside, aside_there] = [&one, &other].map(|splits| contents(splits.validation.as_ref().unwrap()));
    assert_eq!(aside, aside_there);
    assert_eq!(contents(&one.train), contents(&other.train));
    assert!(aside.is_disjoint(&contents(&one.train)));
    assert_eq!(aside.len() + one.train.len(), 120);
    assert_eq!(one.validation.unwrap().classes(), one.train.classes());
}

#[test]
fn the_same_photos_are_put_aside_as_ever() {
    let dir = folder(&[]);
    add(&dir, "cat", 0, 20);
    add(&dir, "dog", 20, 20);
    let aside = split(dir.path()).validation.unwrap();
    let names: Vec<_> =
        (0..aside.len()).map(|i| aside.name(i)[dir.path().display().to_string().len()..].to_owned()).collect();
    // The same on every machine and with every version: places follow from hash and generator alone.
    assert_eq!(names, ["/cat/4.bmp", "/dog/29.bmp"]);
}

#[test]
fn each_class_gives_about_its_share() {
    let dir = folder(&[]);
    add(&dir, "cat", 0, 2000);
    add(&dir, "dog", 2000, 1000);
    for share in [0.05, 0.15, 0.5] {
        let splits = split_with(dir.path(), ByContent { share, ..ByContent::new(2) });
        for (count, all) in splits.validation.unwrap().photos_by_class().into_iter().zip([2000.0, 1000.0]) {
            let deviation = f64::sqrt(all * share * (1.0 - share));
            assert!((count as f64 - all * share).abs() < 3.0 * deviation, "{count} of {all} for {share}");
        }
    }
}

#[test]
fn a_class_of_several_gives_one_and_keeps_one_and_a_single_photo_stays() {
    for share in [1e-9, 0.15, 1.0 - 1e-9] {
        let dir = folder(&[]);
        (1..=5).for_each(|count| add(&dir, &format!("{count}"), 100 * count, count));
        let splits = split_with(dir.path(), ByContent { share, ..ByContent::new(2) });
        let (train, aside) = (splits.train.photos_by_class(), splits.validation.unwrap().photos_by_class());
        assert_eq!((train[0], aside[0]), (1, 0), "{share}");
        for class in 1..5 {
            assert!(train[class] > 0 && aside[class] > 0, "{share}: {train:?} {aside:?}");
        }
    }
}

#[test]
fn one_photo_a_class_leaves_nothing_to_check_with() {
    let dir = folder(&[]);
    add(&dir, "cat", 0, 1);
    add(&dir, "dog", 1, 1);
    let splits = split(dir.path());
    assert!(splits.validation.is_none());
    assert_eq!(splits.train.len(), 2);
}

#[test]
fn photos_that_are_added_move_no_others() {
    let dir = folder(&[]);
    add(&dir, "cat", 0, 100);
    add(&dir, "dog", 100, 100);
    let before = split(dir.path());
    add(&dir, "cat", 200, 100);
    add(&dir, "owl", 300, 3);
    let after = split(dir.path());
    let [before_aside, after_aside] = [before.validation, after.validation].map(|aside| contents(&aside.unwrap()));
    assert!(before_aside.len() > 10 && before_aside.is_subset(&after_aside));
    assert!(contents(&before.train).is_subset(&contents(&after.train)));
}

#[test]
fn files_of_the_same_bytes_are_on_one_side_also_across_classes() {
    let dir = folder(&[]);
    add(&dir, "cat", 0, 80);
    for number in 0..80 {
        let bytes = fs::read(dir.path().join(format!("cat/{number}.bmp"))).unwrap();
        write(dir.path(), &format!("cat/copy of {number}.bmp"), &bytes);
        write(dir.path(), &format!("dog/{number}.bmp"), &bytes);
    }
    let splits = split(dir.path());
    let pixels = |set: &Dataset| -> BTreeSet<Vec<u8>> { contents(set).into_iter().map(|(_, rgb)| rgb).collect() };
    let aside = splits.validation.unwrap();
    assert!(pixels(&aside).is_disjoint(&pixels(&splits.train)));
    assert_eq!(aside.photos_by_class()[0], 2 * aside.photos_by_class()[1]);
    assert!(aside.len() > 9);
}

#[test]
fn almost_equal_photos_are_on_one_side_where_asked_for() {
    let dir = folder(&[]);
    // Waves of another direction each, and a copy one level brighter.
    for (class, first) in [("cat", 2), ("dog", 22)] {
        for number in first..first + 20 {
            let (a, b) = (0.04 * (number % 7) as f64, 0.04 * (number / 7) as f64);
            let level = |x: usize, y: usize| (128.0 + 100.0 * (a * x as f64 + b * y as f64).sin()) as u8;
            for brighter in [0, 1] {
                let bytes = bmp(64, 64, |x, y| [level(x, y) + brighter; 3]);
                write(dir.path(), &format!("{class}/{number}.{brighter}.bmp"), &bytes);
            }
        }
    }
    let alike = split_with(dir.path(), ByContent { share: 0.3, scenes: Scenes::Alike, threads: 2 });
    let pairs = |set: &Dataset| -> BTreeSet<String> {
        (0..set.len()).map(|i| set.name(i)).map(|name| name[..name.len() - ".0.bmp".len()].to_owned()).collect()
    };
    let aside = alike.validation.unwrap();
    assert!(pairs(&aside).is_disjoint(&pairs(&alike.train)));
    let by_bytes = split_with(dir.path(), ByContent { share: 0.3, ..ByContent::new(2) });
    assert!(!pairs(&by_bytes.validation.unwrap()).is_disjoint(&pairs(&by_bytes.train)), "or the test says nothing");
}

#[test]
fn unreadable_photos_stay_with_those_to_learn_from_and_count_for_none() {
    let dir = folder(&[("cat/empty.bmp", b""), ("cat/text.jpg", b"hello"), ("cat/1.bmp", &photo([1, 2, 3]))]);
    add(&dir, "dog", 0, 40);
    let share = 1.0 - 1e-9;
    let splits = split_with(dir.path(), ByContent { share, ..ByContent::new(2) });
    assert_eq!(splits.train.photos_by_class(), [3, 1]);
    // Cut short behind its header, which only decoding finds.
    write(dir.path(), "cat/cut.bmp", &photo([4, 5, 6])[..60]);
    let splits = split_with(dir.path(), ByContent { share, scenes: Scenes::Alike, threads: 2 });
    assert_eq!(splits.train.photos_by_class()[0], 4);
}

#[test]
fn photos_of_several_labels_leave_every_label_some_to_learn_from() {
    let mut csv = "file,label\n".to_owned();
    let dir = folder(&[]);
    for number in 0..90 {
        write(dir.path(), &format!("{number}.bmp"), &photo([number as u8, 9, 9]));
        let labels = [&["a", "b"][..], &["b", "c"], &["c"], &[], &["a", "b", "c"]][number % 5];
        csv += &format!("{number}.bmp,{}\n", labels.join(","));
    }
    // Two photos of a rare label.
    csv += "x.bmp,rare,a\ny.bmp,rare\n";
    write(dir.path(), "x.bmp", &photo([201, 1, 1]));
    write(dir.path(), "y.bmp", &photo([202, 1, 1]));
    write(dir.path(), "photos.csv", csv.as_bytes());
    let splits = split(dir.path());
    let aside = splits.validation.unwrap();
    assert_eq!(splits.train.len() + aside.len(), 92);
    assert!(aside.has_labels() && splits.train.has_labels());
    assert_eq!(aside.photos_by_class()[3], 1);
    assert!(splits.train.photos_by_class().iter().chain(&aside.photos_by_class()).all(|&count| count > 0));
}

#[test]
fn members_of_an_archive_are_split_as_files_are() {
    let dir = folder(&[]);
    add(&dir, "cat", 0, 30);
    add(&dir, "dog", 30, 30);
    let names: Vec<_> = (0..60).map(|n| format!("{}/{n}.bmp", if n < 30 { "cat" } else { "dog" })).collect();
    let bytes: Vec<_> = names.iter().map(|name| fs::read(dir.path().join(name)).unwrap()).collect();
    let members: Vec<_> = names.iter().zip(&bytes).map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let csv = names.iter().fold("file,class\n".to_owned(), |csv, name| format!("{csv}{name},{}\n", &name[..3]));
    let packed = folder(&[("x.tar", &tar(&members)), ("x.csv", csv.as_bytes())]);
    let [files, members] = [dir.path().to_owned(), packed.path().join("x.csv")].map(|path| split(&path));
    assert_eq!(contents(&files.train), contents(&members.train));
    assert_eq!(contents(&files.validation.unwrap()), contents(&members.validation.unwrap()));
}

#[test]
fn a_share_that_is_none_and_an_end_in_between_are_told() {
    let dir = folder(&[]);
    write_classes(dir.path(), 9);
    for share in [0.0, 1.0, -1.0, f64::NAN] {
        let how = ByContent { share, ..ByContent::new(1) };
        let error = Splits::by_content(Dataset::open(dir.path()).unwrap(), &how, &mut { GO_ON }).unwrap_err();
        let text = common::text(&error, &dir);
        assert!(text.ends_with("cannot be put aside to check with; give one between 0 and 1, such as 0.15"), "{text}");
    }
    let mut told = Vec::new();
    let mut watch = |done, total| {
        told.push((done, total));
        if done == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let ended = Splits::by_content(Dataset::open(dir.path()).unwrap(), &ByContent::new(2), &mut watch).unwrap();
    assert!(ended.is_none());
    assert_eq!(told, (1..=5).map(|done| (done, 27)).collect::<Vec<_>>());
}

#[test]
fn real_photos_are_split_class_by_class() {
    let Some(shared) = shared() else { return };
    let splits = split(&shared.join("clothing_train.csv"));
    let (train, aside) = (splits.train.photos_by_class(), splits.validation.unwrap().photos_by_class());
    let (all, put): (usize, usize) = (train.iter().chain(&aside).sum(), aside.iter().sum());
    assert!((put as f64 / all as f64 - 0.15).abs() < 0.03, "{put} of {all}");
    assert!(aside.iter().all(|&count| count > 0));
}
