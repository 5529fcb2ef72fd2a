//! Tar shards in WebDataset's form, good and bad.

mod common;

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use common::{folder, gzip, photo, tar, text, write};
use mobilenet_data::check::check;
use mobilenet_data::mix::Mix;
use mobilenet_data::{
    Augment, Batch, ByContent, Dataset, Error, Loader, LoaderOptions, Part, Sampling, Splits, Target,
};
use mobilenet_net::preprocessing::{ChannelOrder, Filter, Preprocessing, Resize};
use proptest::prelude::*;
use tempfile::TempDir;

const RED: [u8; 3] = [200, 0, 0];
const BLUE: [u8; 3] = [0, 0, 200];

fn classes(set: &Dataset) -> Vec<&str> {
    set.classes().iter().map(String::as_str).collect()
}

fn labels(set: &Dataset) -> Vec<Vec<u32>> {
    set.items().iter().map(|item| item.target.labels().to_vec()).collect()
}

/// A shard with a red and a blue photo and these labels.
fn two(ending: &str, red: &str, blue: &str) -> Vec<u8> {
    tar(&[
        ("red.bmp", &photo(RED)),
        (&format!("red.{ending}"), red.as_bytes()),
        ("blue.bmp", &photo(BLUE)),
        (&format!("blue.{ending}"), blue.as_bytes()),
    ])
}

fn refused(dir: &TempDir, name: &str) -> String {
    text(&Dataset::open(dir.path().join(name)).unwrap_err(), dir)
}

/// What is said of a single shard `s/x.tar`.
fn refused_shard(bytes: &[u8]) -> String {
    refused(&folder(&[("s/x.tar", bytes)]), "s")
}

#[test]
fn members_that_share_a_name_are_a_sample_in_any_order_and_folder() {
    let members: [(&str, &[u8]); 8] = [
        ("./a/0001.cls", b"1\n"),
        ("./a/0001.JPG", &photo(RED)),
        ("./a/0001.txt", b"a caption that the number outdoes"),
        ("b/0001.seg.png", b"of another ending"),
        ("b/0001.bmp", &photo(BLUE)),
        ("b/0001.cls", b" 0"),
        ("readme", b"no sample"),
        (".hidden.jpg", b"no sample"),
    ];
    let dir = folder(&[("s/x.tar", &tar(&members)), ("s/classes.txt", b"dog\ncat\n")]);
    let set = Dataset::open(dir.path().join("s")).unwrap();
    assert_eq!(classes(&set), ["dog", "cat"]);
    assert_eq!(labels(&set), [[1], [0]]);
    assert_eq!((&set.read(0).unwrap().rgb[..3], &set.read(1).unwrap().rgb[..3]), (&RED[..], &BLUE[..]));
    assert_eq!(set.name(0), format!("{}: a/0001.JPG", dir.path().join("s/x.tar").display()));
    assert!(!set.is_by_number());
}

#[test]
fn labels_are_numbers_or_names_in_any_of_three_members() {
    let cases = [
        (two("cls", "1", "0"), vec!["class 0", "class 1"], [1, 0]),
        (two("txt", "rot\n", "blå"), vec!["blå", "rot"], [1, 0]),
        (two("json", r#"{"label": 0}"#, r#"{"x": 7, "label": 1}"#), vec!["class 0", "class 1"], [0, 1]),
        (two("json", r#"{"class": "rot"}"#, r#"{"class": "blue"}"#), vec!["blue", "rot"], [1, 0]),
    ];
    for (shard, names, numbers) in cases {
        let dir = folder(&[("s/x.tar", &shard)]);
        let set = Dataset::open(dir.path().join("s")).unwrap();
        assert_eq!(classes(&set), names);
        assert_eq!(labels(&set), numbers.map(|number| vec![number]));
        assert!(!set.has_labels());
    }
}

#[test]
fn a_list_of_labels_gives_each_photo_any_number() {
    let shard = two("json", r#"{"labels": ["b", "a", "b"]}"#, r#"{"labels": []}"#);
    let dir = folder(&[("s/x.tar", &shard)]);
    let set = Dataset::open(dir.path().join("s")).unwrap();
    assert_eq!(set.items()[0].target, Target::Labels([0, 1].into()));
    assert_eq!(set.items()[1].target, Target::Labels([].into()));
    assert_eq!(classes(&set), ["a", "b"]);
}

#[test]
fn class_lists_are_json_too() {
    for list in [r#"["dog", "cat"]"#, r#"{"cat": 1, "dog": 0}"#, r#"{"0": "dog", "1": "cat"}"#] {
        let dir = folder(&[("s/x.tar", &two("cls", "0", "1")), ("s/classes.json", list.as_bytes())]);
        assert_eq!(classes(&Dataset::open(dir.path().join("s")).unwrap()), ["dog", "cat"]);
    }
    for (list, reason) in [
        ("[1]", "names no classes; give a list of names: [\"cat\", \"dog\"]"),
        (r#"{"cat": 1, "dog": 2}"#, "names no classes; give a list of names: [\"cat\", \"dog\"]"),
        ("[", "is no JSON: EOF while parsing a list at line 1 column 1"),
        ("[\"dog\"]", "names 1 classes, and a photo has class 1, counted from 0"),
    ] {
        let dir = folder(&[("s/x.tar", &two("cls", "0", "1")), ("s/classes.json", list.as_bytes())]);
        assert_eq!(refused(&dir, "s"), format!("s/classes.json: {reason}"));
    }
}

#[test]
fn a_pattern_names_shards_in_order() {
    let one = |class: &str| tar(&[("x.bmp", &photo(RED)), ("x.txt", class.as_bytes())]);
    let dir = folder(&[("s-08.tar", &one("h")), ("s-09.tar", &one("i")), ("s-10.tar", &one("j")), ("other", b"")]);
    let set = Dataset::open(dir.path().join("s-{08..10}.tar")).unwrap();
    assert_eq!((classes(&set), labels(&set)), (vec!["h", "i", "j"], vec![vec![0], vec![1], vec![2]]));
    assert_eq!(
        refused(&dir, "s-{08..11}.tar"),
        "s-{08..11}.tar: there is no shard s-11.tar; give the range of those there"
    );
    assert_eq!(
        refused(&dir, "s-{9..8}.tar"),
        "s-{9..8}.tar: {9..8} is no range of 1 to 1048576 shards; write it as {000..146}"
    );
    assert_eq!(
        refused(&dir, "s-{0..99999999}.tar"),
        "s-{0..99999999}.tar: {0..99999999} is no range of 1 to 1048576 shards; write it as {000..146}"
    );
    for odd in ["a..b", "0..-1", "+1..2", "..", "1..99999999999999999999"] {
        let message = refused(&dir, &format!("s-{{{odd}}}.tar"));
        assert_eq!(message, format!("s-{{{odd}}}.tar: {{{odd}}} is no range of numbers; write it as {{000..146}}"));
    }
    assert_eq!(refused(&dir, "s-{0}.tar"), "s-{0}.tar: No such file or directory (os error 2)");
}

#[test]
fn parts_are_found_by_folders_and_by_words_in_names() {
    let (both, one) = (two("cls", "0", "1"), tar(&[("x.bmp", &photo(RED)), ("x.cls", b"1")]));
    let folders = folder(&[("train/000.tar", &both), ("val/000.tar", &one), ("classes.txt", b"blue\nred")]);
    let names = folder(&[
        ("set-train-000.tar", &both),
        ("set-train-001.tar", &both),
        ("set_Validation000.tar", &one),
        ("set-test-000.tar", &both),
        ("classes.txt", b"blue\nred"),
    ]);
    for (dir, count) in [(&folders, 2), (&names, 4)] {
        let Splits { train, validation } = Splits::open(dir.path()).unwrap();
        let validation = validation.unwrap();
        assert_eq!((train.len(), labels(&validation)), (count, vec![vec![1]]));
        assert_eq!((classes(&train), classes(&validation)), (vec!["blue", "red"], vec!["blue", "red"]));
        let model = ["red".to_owned(), "green".to_owned(), "blue".to_owned()];
        let evaluated = Splits::open_validation_as(dir.path(), &model).unwrap();
        assert_eq!((labels(&evaluated), evaluated.is_by_number()), (vec![vec![0]], false));
    }
    fs::remove_file(names.path().join("set_Validation000.tar")).unwrap();
    assert_eq!(Splits::open(names.path()).unwrap().validation.unwrap().len(), 2);
    write(names.path(), "val.tar", &one);
    write(names.path(), "valid.tar", &one);
    let error = text(&Splits::open(names.path()).unwrap_err(), &names);
    assert!(
        error.ends_with("both `val-*.tar` and `valid-*.tar` could hold the validation photos; keep one of them"),
        "{error}"
    );
}

#[test]
fn known_classes_are_found_by_name_or_else_by_number() {
    let known = ["red".to_owned(), "blue".to_owned()];
    let dir = folder(&[("n/x.tar", &two("txt", "red", "blue")), ("c/x.tar", &two("cls", "1", "1"))]);
    let named = Dataset::open_as(dir.path().join("n"), &known).unwrap();
    assert_eq!((labels(&named), named.is_by_number()), (vec![vec![0], vec![1]], false));
    let numbered = Dataset::open_as(dir.path().join("c"), &known).unwrap();
    assert_eq!((labels(&numbered), numbered.is_by_number()), (vec![vec![1], vec![1]], true));
    let error = Dataset::open_as(dir.path().join("n"), &known[..1]).unwrap_err();
    assert_eq!(text(&error, &dir), "n: class `blue` is not among the 1 classes of the training data or model");
    let error = Dataset::open_as(dir.path().join("c"), &known[..1]).unwrap_err();
    assert!(error.to_string().ends_with("class `class 1` is not among the 1 classes of the training data or model"));
}

#[test]
fn a_single_tar_is_a_shard_where_no_csv_is_beside_it() {
    let dir = folder(&[("x.tar", &two("cls", "1", "0")), ("y.tar", &tar(&[("a.bmp", &photo(RED))]))]);
    assert_eq!(Dataset::open(dir.path().join("x.tar")).unwrap().len(), 2);
    assert!(matches!(Dataset::open(dir.path().join("y.tar")), Err(Error::MissingCsv { .. })));
}

#[test]
fn files_beside_shards_are_passed_over_and_told() {
    let dir = folder(&[("s/x.tar", &two("cls", "1", "0")), ("s/classes.txt", b"a\nb"), ("s/loose.bmp", &photo(RED))]);
    let set = Dataset::open(dir.path().join("s")).unwrap();
    assert_eq!(set.ignored(), [dir.path().join("s/loose.bmp")]);
    // A list of labels among them says more than any shard.
    write(dir.path(), "s/x.csv", b"file,label\nred.bmp,r\nblue.bmp,b\n");
    assert_eq!(classes(&Dataset::open(dir.path().join("s")).unwrap()), ["b", "r"]);
}

#[test]
fn what_shards_lack_is_told_with_the_remedy() {
    assert_eq!(
        refused_shard(&tar(&[("a.bmp", &photo(RED))])),
        "s/x.tar: photo `a.bmp` has no label; put a `.cls` (number), `.json` (`label`) or `.txt` (name) beside it"
    );
    assert_eq!(
        refused_shard(&two("json", r#"{"label": 1}"#, r#"{"label": "blue"}"#)).split_once("s: ").unwrap().1,
        "some labels are names (`blue`), others numbers (1); use one of both"
    );
    assert_eq!(
        refused_shard(&two("cls", "x", "0")),
        "s/x.tar: member `red.cls`: `x` is no number from 0; names belong into `.txt`"
    );
    assert_eq!(
        refused_shard(&two("cls", "-1", "0")),
        "s/x.tar: member `red.cls`: `-1` is no number from 0; names belong into `.txt`"
    );
    assert_eq!(
        refused_shard(&two("txt", "a\nb", "0")),
        "s/x.tar: member `red.txt`: a class's name in one line is needed"
    );
    assert_eq!(
        refused_shard(&two("json", "{", "0")),
        "s/x.tar: member `red.json`: is no JSON: EOF while parsing an object at line 1 column 1"
    );
    assert_eq!(
        refused_shard(&two("json", r#"{"label": {}}"#, "0")),
        "s/x.tar: member `red.json`: label {} is neither a number nor a name"
    );
    assert_eq!(
        refused_shard(&two("json", r#"{"label": 1.5}"#, "0")),
        "s/x.tar: member `red.json`: label 1.5 is no number from 0"
    );
    assert_eq!(
        refused_shard(&two("txt", &"x".repeat(1025), "0")),
        "s/x.tar: member `red.txt`: a header or label has 1025 bytes, more than the 1024 that are read"
    );
    let gap = refused_shard(&two("cls", "0", "4000000000"));
    assert!(gap.ends_with("class `class 1` has no photos; add some, or remove the class"), "{gap}");
    let empty = folder(&[("s/x.tar", &tar(&[]))]);
    assert!(matches!(Dataset::open(empty.path().join("s")), Err(Error::NoPhotos { .. })));
}

#[test]
fn damaged_and_compressed_shards_are_refused() {
    let whole = two("cls", "0", "1");
    let remedy = "make or download it again";
    let cut = refused_shard(&whole[..512 + 10]);
    assert_eq!(cut, format!("s/x.tar: member `red.bmp` reaches beyond the end of the file: it is cut short; {remedy}"));
    let garbage = refused_shard(&[7; 2048]);
    assert!(garbage.starts_with("s/x.tar: is no tar, or is damaged (") && garbage.ends_with(remedy), "{garbage}");
    let compressed = "compressed shards cannot be read in place, and photos hardly shrink; unpack them with gunzip";
    assert_eq!(refused_shard(&gzip(&whole)), format!("s/x.tar: {compressed}"));
    let dir = folder(&[("s/x.tar.gz", &gzip(&whole))]);
    assert_eq!(refused(&dir, "s"), format!("s/x.tar.gz: {compressed}"));
}

/// A header for `size` bytes that need not follow.
fn header(name: &str, kind: tar::EntryType, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn sizes_and_headers_without_end_take_no_memory() {
    use tar::EntryType;
    for size in [1 << 40, (1 << 62) + 7, u64::MAX - 511, u64::MAX] {
        let shard = header("red.bmp", EntryType::Regular, size);
        let message = refused_shard(&shard);
        assert!(message.starts_with("s/x.tar: "), "{message}");
        for kind in [EntryType::GNULongName, EntryType::XHeader, EntryType::XGlobalHeader, EntryType::Directory] {
            let message = refused_shard(&header("red.bmp", kind, size));
            assert!(message.starts_with("s/x.tar: ") || message.starts_with("s: "), "{message}");
        }
    }
    // Names of 5,000 bytes, and an extended header of 70,000, which are there.
    let mut long = header("././@LongLink", EntryType::GNULongName, 5000);
    long.extend([b'x'; 5120]);
    assert_eq!(refused_shard(&long), "s/x.tar: a header or label has 5000 bytes, more than the 4096 that are read");
    let mut extended = header("x", EntryType::XHeader, 70_000);
    extended.extend([b'x'; 70_144]);
    assert_eq!(
        refused_shard(&extended),
        "s/x.tar: a header or label has 70000 bytes, more than the 65536 that are read"
    );
    let mut sized = header("x", EntryType::XHeader, 12);
    sized.extend(b"12 size=999\n");
    sized.resize(1024, 0);
    assert_eq!(
        refused_shard(&sized),
        "s/x.tar: has a member whose size is beyond the format's own, 8 GB; photos are smaller"
    );
}

#[test]
fn long_names_and_paths_that_lead_elsewhere_are_only_names() {
    let deep = format!("{}/photo", "folder".repeat(40));
    let mut builder = tar::Builder::new(Vec::new());
    for (ending, bytes) in [("bmp", photo(RED)), ("cls", b"0".to_vec())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, format!("{deep}.{ending}"), &bytes[..]).unwrap();
    }
    for (ending, bytes) in [("bmp", photo(BLUE)), ("cls", b"1".to_vec())] {
        let path = format!("14 path=z.{ending}\n");
        let mut extended = tar::Header::new_ustar();
        extended.set_entry_type(tar::EntryType::XHeader);
        extended.set_size(path.len() as u64);
        extended.set_cksum();
        builder.append(&extended, path.as_bytes()).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_path("cut").unwrap();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, &bytes[..]).unwrap();
    }
    // As an attacker writes it, whom the library would refuse.
    let mut shard = builder.into_inner().unwrap();
    shard.truncate(shard.len() - 1024);
    for (name, bytes) in [("../../etc/x.bmp", photo(RED)), ("../../etc/x.cls", b"1".to_vec())] {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        shard.extend(header.as_bytes());
        shard.extend(&bytes);
        shard.resize(shard.len().next_multiple_of(512), 0);
    }
    let dir = folder(&[("s/x.tar", &shard)]);
    let set = Dataset::open(dir.path().join("s")).unwrap();
    assert_eq!(labels(&set), [[0], [1], [1]]);
    assert!(set.name(0).ends_with(&format!("{deep}.bmp")));
    assert!(set.name(1).ends_with(": z.bmp"));
    assert!(set.name(2).ends_with(": ../../etc/x.bmp"));
    assert_eq!(set.read(2).unwrap().rgb[..3], RED);
}

/// A photo of 3000 bytes: with its label and both headers, it takes 4608 of a shard.
fn large(color: [u8; 3]) -> Vec<u8> {
    let mut bytes = photo(color);
    bytes.resize(3000, 0);
    bytes
}

/// `photos` of two classes over three shards.
fn sharded(photos: usize) -> (TempDir, Arc<Dataset>) {
    let dir = folder(&[]);
    for shard in 0..3 {
        let members: Vec<(String, Vec<u8>)> = (0..photos)
            .filter(|i| i * 3 / photos == shard)
            .flat_map(|i| {
                let picture = (format!("{i:04}.bmp"), large([i as u8, (i >> 8) as u8, 9]));
                [picture, (format!("{i:04}.cls"), (i % 2).to_string().into_bytes())]
            })
            .collect();
        let members: Vec<_> = members.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        write(dir.path(), &format!("{shard}.tar"), &tar(&members));
    }
    let set = Dataset::open(dir.path()).unwrap();
    (dir, Arc::new(set))
}

fn options(window_bytes: u64) -> LoaderOptions {
    let preprocessing = Preprocessing {
        resize: Resize::Squash,
        size: [2, 2],
        filter: Filter::Bilinear,
        mean: [0.0; 3],
        std: [1.0 / 255.0; 3],
        channel_order: ChannelOrder::Rgb,
        background_class: false,
    };
    let flip = Augment { flip: 0.5, ..Augment::none() };
    LoaderOptions { cache_bytes: 0, window_bytes, ..LoaderOptions::training(7, 3, preprocessing, flip) }
}

fn all(loader: &Loader, epoch: u64, start: usize) -> Vec<Batch> {
    loader.epoch(epoch, start).map(Result::unwrap).collect()
}

fn indices(batches: &[Batch]) -> Vec<usize> {
    batches.iter().flat_map(|batch| batch.indices.clone()).collect()
}

#[test]
fn streamed_epochs_show_every_photo_once_and_resume_to_the_same_bits() {
    let (_dir, set) = sharded(300);
    // The last in segments of three photos.
    for window in [1, 100_000, 32 * 14_000] {
        let reference = Loader::new(Arc::clone(&set), LoaderOptions { workers: 0, ..options(window) });
        let epochs = [0, 1].map(|epoch| all(&reference, epoch, 0));
        for epoch in &epochs {
            let mut shown = indices(epoch);
            for batch in epoch {
                for (at, &index) in batch.indices.iter().enumerate() {
                    let red = batch.images[at * 12].round() as usize;
                    assert_eq!((red, batch.targets[at].labels()[0] as usize), (index & 255, index % 2));
                }
            }
            shown.sort_unstable();
            assert_eq!(shown, (0..300).collect::<Vec<_>>());
        }
        assert_ne!(indices(&epochs[0]), indices(&epochs[1]));
        for (workers, cache_bytes) in [(1, 0), (3, 0), (2, 600), (0, 1 << 20)] {
            let loader = Loader::new(Arc::clone(&set), LoaderOptions { workers, cache_bytes, ..options(window) });
            for start in [20, 0, 42, 43, 99] {
                assert_eq!(all(&loader, 1, start), epochs[1][start.min(43)..], "{workers} workers from {start}");
            }
        }
    }
}

#[test]
fn parts_of_streamed_and_balanced_epochs_together_are_the_whole_batches() {
    let (_dir, set) = sharded(300);
    let mix = Mix { mixup: 0.4, cutmix: 0.0 };
    for (sampling, mix) in [(Sampling::Natural, Mix::default()), (Sampling::Natural, mix), (Sampling::Balanced, mix)] {
        let augment = Augment { mix, ..options(1).augment };
        let options = LoaderOptions { sampling, augment, ..options(100_000) };
        let whole = all(&Loader::new(Arc::clone(&set), options), 1, 20);
        let part = |index| {
            let options = LoaderOptions { part: Part { index, of: 3 }, ..options };
            all(&Loader::new(Arc::clone(&set), options), 1, 20)
        };
        let parts = [0, 1, 2].map(part);
        for (i, whole) in whole.iter().enumerate() {
            let of_batch = || parts.iter().map(|batches| &batches[i]);
            let images: Vec<f32> = of_batch().flat_map(|batch| batch.images.clone()).collect();
            let shown: Vec<usize> = of_batch().flat_map(|batch| batch.indices.clone()).collect();
            assert_eq!((images, shown), (whole.images.clone(), whole.indices.clone()), "batch {i}");
        }
    }
}

#[test]
fn shards_smaller_than_the_window_are_shuffled_as_files_are() {
    let (_dir, set) = sharded(60);
    let flat = folder(&[]);
    for i in 0..60 {
        write(flat.path(), &format!("{}/{i:04}.bmp", i % 2), &photo([i as u8, 0, 9]));
    }
    let files = Arc::new(Dataset::open(flat.path()).unwrap());
    let [shards, files] = [set, files].map(|set| indices(&all(&Loader::new(set, options(1 << 20)), 0, 0)));
    assert_eq!(shards, files);
}

#[test]
fn evaluation_reads_shards_in_order() {
    let (_dir, set) = sharded(50);
    let evaluation = LoaderOptions { shuffle: false, augment: Augment::none(), ..options(1) };
    assert_eq!(indices(&all(&Loader::new(set, evaluation), 0, 0)), (0..50).collect::<Vec<_>>());
}

#[test]
fn broken_photos_in_shards_are_replaced_and_told() {
    let dir = folder(&[]);
    let members: Vec<(String, Vec<u8>)> = (0..150)
        .flat_map(|i| {
            let bytes = large([i as u8, 0, 9]);
            let end = if i % 10 == 3 { 20 } else { bytes.len() };
            [(format!("{i}.bmp"), bytes[..end].to_vec()), (format!("{i}.cls"), (i % 2).to_string().into_bytes())]
        })
        .collect();
    let members: Vec<_> = members.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    write(dir.path(), "0.tar", &tar(&members));
    let set = Arc::new(Dataset::open(dir.path()).unwrap());
    let loader = Loader::new(Arc::clone(&set), options(32 * 9000));
    let batches = all(&loader, 0, 0);
    assert_eq!(indices(&batches).len(), 150);
    assert_eq!(
        loader.unreadable().iter().map(|u| u.index).collect::<Vec<_>>(),
        (3..150).step_by(10).collect::<Vec<_>>()
    );
    let resumed = Loader::new(set, LoaderOptions { workers: 2, ..options(32 * 9000) });
    assert_eq!(all(&resumed, 0, 9), batches[9..]);
}

#[test]
fn shards_are_split_by_content_and_checked() {
    let (dir, _) = sharded(120);
    let set = Dataset::open(dir.path()).unwrap();
    let go_on = &mut |_, _| ControlFlow::Continue(());
    let splits = Splits::by_content(set, &ByContent::new(2), go_on).unwrap().unwrap();
    let aside = splits.validation.unwrap();
    assert_eq!(splits.train.len() + aside.len(), 120);
    assert!(aside.photos_by_class().iter().all(|&count| count > 2));
    let report = check(dir.path(), None, 2, go_on).unwrap().unwrap();
    assert_eq!((report.train, report.validation), (120, None));
    // Streamed where photos between are of the other part.
    let train = Arc::new(splits.train);
    let loader = Loader::new(Arc::clone(&train), options(32 * 9000));
    for batch in all(&loader, 0, 0) {
        for (at, &index) in batch.indices.iter().enumerate() {
            assert_eq!(batch.images[at * 12].round() as u8, train.read(index).unwrap().rgb[0]);
        }
    }
}

proptest! {
    #[test]
    fn no_shard_makes_opening_panic(
        place in 0usize..5000,
        bytes in prop::collection::vec(any::<u8>(), 1..40),
        cut in 0usize..5000,
        is_summed: bool,
    ) {
        let mut shard = two("json", r#"{"label": 0}"#, r#"{"label": 1}"#);
        let length = shard.len();
        for (at, byte) in bytes.into_iter().enumerate() {
            shard[(place + at) % length] = byte;
        }
        // Every other block is a header, which only counts with the right sum.
        for block in shard.chunks_exact_mut(512).step_by(2).filter(|_| is_summed) {
            let mut header = tar::Header::from_byte_slice(block).clone();
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
        shard.truncate(length - cut % length);
        let dir = folder(&[("x.tar", &shard)]);
        if let Ok(set) = Dataset::open(dir.path()) {
            (0..set.len()).for_each(|i| _ = set.read(i));
        }
    }
}
