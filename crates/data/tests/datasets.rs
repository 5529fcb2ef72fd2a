//! Folders, CSVs and archives, good and bad.

mod common;

use common::{folder, gzip, photo, shared, tar, text, write};
use mobilenet_data::{Dataset, Error, Source, Splits, Target};
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

const RED: [u8; 3] = [200, 0, 0];
const BLUE: [u8; 3] = [0, 0, 200];

fn classes(set: &Dataset) -> Vec<&str> {
    set.classes().iter().map(String::as_str).collect()
}

fn targets(set: &Dataset) -> Vec<u32> {
    let class = |item: &mobilenet_data::Item| match item.target {
        Target::Class(class) => class,
        _ => panic!("photos with one class each"),
    };
    set.items().iter().map(class).collect()
}

fn refused(folder: &TempDir, name: &str) -> String {
    text(&Dataset::open(folder.path().join(name)).unwrap_err(), folder)
}

#[test]
fn a_folder_per_class_is_numbered_by_name_with_spaces_and_unicode() {
    let (red, blue) = (photo(RED), photo(BLUE));
    let dir = folder(&[
        ("set/größer als 1/ä ö.BMP", &red),
        ("set/Zebra/b.bmp", &red),
        ("set/Zebra/a.bmp", &blue),
        ("set/Zebra/inner/c.jpg", &blue),
        ("set/Zebra/notes.txt", b"hello"),
        ("set/Zebra/.hidden.jpg", b"hello"),
        ("set/.git/x.jpg", b"hello"),
        ("set/readme.md", b"hello"),
        ("set/犬/x y.bmp", &blue),
    ]);
    let set = Dataset::open(dir.path().join("set")).unwrap();
    assert_eq!(classes(&set), ["Zebra", "größer als 1", "犬"]);
    assert_eq!(targets(&set), [0, 0, 0, 1, 2]);
    assert_eq!(set.ignored(), ["set/readme.md", "set/Zebra/notes.txt"].map(|file| dir.path().join(file)));
    assert_eq!(set.items()[3].source, Source::File(dir.path().join("set/größer als 1/ä ö.BMP")));
    assert_eq!(set.read(0).unwrap().rgb[..3], BLUE);
    assert_eq!(set.read(3).unwrap().rgb[..3], RED);
    assert!(set.name(4).ends_with("犬/x y.bmp"));
}

#[test]
fn folders_that_cannot_be_trained_on_are_refused_with_the_remedy() {
    let red = photo(RED);
    let dir =
        folder(&[("loose/a.jpg", &red), ("one/cat/a.jpg", &red), ("hollow/cat/a.jpg", &red), ("text/a.txt", b"")]);
    for empty in ["empty", "hollow/dog", "bare/cat", "bare/dog"] {
        fs::create_dir_all(dir.path().join(empty)).unwrap();
    }
    let hint = "a data set is a folder with a folder per class, photos inside";
    assert_eq!(refused(&dir, "empty"), format!("empty: no photos here; {hint}"));
    assert_eq!(refused(&dir, "text"), format!("text: no photos here; {hint}"));
    assert_eq!(refused(&dir, "bare"), format!("bare: no photos here; {hint}"));
    assert_eq!(
        refused(&dir, "loose"),
        "loose: the photos lie outside any class; put those of each class into a folder of its name"
    );
    assert_eq!(refused(&dir, "one"), "one: there is one class only, `cat`; training needs two or more");
    assert_eq!(refused(&dir, "hollow"), "hollow: class `dog` has no photos; add some, or remove the class");
    assert_eq!(refused(&dir, "nowhere"), "nowhere: No such file or directory (os error 2)");
    assert_eq!(
        refused(&dir, "text/a.txt"),
        "text/a.txt: this is no data set; give a folder with a folder per class, a .csv, a .tar or a .tar.gz"
    );
}

#[test]
fn validation_photos_are_numbered_by_the_training_photos_classes() {
    let red = photo(RED);
    for name in ["val", "valid", "validation", "test", "Val", "testing"] {
        let dir = folder(&[("train/a/1.bmp", &red), ("train/b/1.bmp", &red), ("train/c/1.bmp", &red)]);
        // Class 0 is missing here, so that numbering by folder would be off by one.
        write(dir.path(), &format!("{name}/b/2.bmp"), &red);
        write(dir.path(), &format!("{name}/c/2.bmp"), &red);
        let splits = Splits::open(dir.path()).unwrap();
        let validation = splits.validation.unwrap();
        assert_eq!(validation.classes(), splits.train.classes());
        assert_eq!(targets(&validation), [1, 2]);
        assert_eq!(validation.path(), dir.path().join(name));
    }
}

#[test]
fn a_model_is_evaluated_on_the_validation_photos_of_a_split_or_on_all_photos() {
    let red = photo(RED);
    let dir = folder(&[("split/train/a/1.bmp", &red), ("split/train/b/1.bmp", &red), ("split/valid/b/2.bmp", &red)]);
    write(dir.path(), "all/b/3.bmp", &red);
    let model = ["a".to_owned(), "b".to_owned()];
    let opened = |name: &str| Splits::open_validation_as(dir.path().join(name), &model).unwrap();
    assert_eq!((opened("split").path(), targets(&opened("split"))), (&*dir.path().join("split/valid"), vec![1]));
    assert_eq!((opened("all").path(), targets(&opened("all"))), (&*dir.path().join("all"), vec![1]));
    write(dir.path(), "split/val/a/2.bmp", &red);
    let error = Splits::open_validation_as(dir.path().join("split"), &model).unwrap_err();
    assert!(text(&error, &dir).ends_with("both `val` and `valid` could hold the validation photos; keep one of them"));
}

#[test]
fn the_test_folder_validates_only_where_there_is_no_other() {
    let red = photo(RED);
    let dir =
        folder(&[("train/a/1.bmp", &red), ("train/b/1.bmp", &red), ("test/a/1.bmp", &red), ("val/b/1.bmp", &red)]);
    assert_eq!(Splits::open(dir.path()).unwrap().validation.unwrap().path(), dir.path().join("val"));
    write(dir.path(), "valid/a/1.bmp", &red);
    let error = Splits::open(dir.path()).unwrap_err();
    assert!(text(&error, &dir).ends_with("both `val` and `valid` could hold the validation photos; keep one of them"));
}

#[test]
fn unknown_classes_of_the_validation_photos_are_refused_by_name() {
    let red = photo(RED);
    let dir = folder(&[("train/a/1.bmp", &red), ("train/b/1.bmp", &red), ("val/Ä b/1.bmp", &red)]);
    assert_eq!(
        text(&Splits::open(dir.path()).unwrap_err(), &dir),
        "val: class `Ä b` is not among the 2 classes of the training data or model"
    );
}

#[test]
fn a_class_called_train_is_no_split_and_two_training_folders_are_refused() {
    let (red, blue) = (photo(RED), photo(BLUE));
    let dir = folder(&[("set/bus/a.bmp", &red), ("set/train/b.bmp", &blue)]);
    let Splits { train, validation } = Splits::open(dir.path().join("set")).unwrap();
    assert_eq!((classes(&train), validation.is_none()), (vec!["bus", "train"], true));
    let both = ["train", "Training"]
        .map(|folder| [(format!("set/{folder}/x/a.bmp"), &red), (format!("set/{folder}/y/b.bmp"), &blue)]);
    let named: Vec<(&str, &[u8])> =
        both.iter().flatten().map(|(name, photo)| (name.as_str(), photo.as_slice())).collect();
    let dir = folder(&named);
    let error = Splits::open(dir.path().join("set")).unwrap_err();
    assert_eq!(text(&error, &dir), "set: both `Training` and `train` could hold the training photos; keep one of them");
}

#[test]
fn a_folder_without_splits_is_all_training() {
    let red = photo(RED);
    let dir = folder(&[("a/1.bmp", &red), ("b/1.bmp", &red)]);
    let splits = Splits::open(dir.path()).unwrap();
    assert_eq!((splits.train.len(), splits.validation.is_none()), (2, true));
}

const CSV: &str = "file,class,name\ncats/ä 1.bmp,0,\"cat, \"\"tom\"\"\"\r\n\"dogs/1, b.bmp\",1,dog\n";

#[test]
fn csv_and_archive_find_each_other() {
    let (red, blue) = (photo(RED), photo(BLUE));
    let members: &[(&str, &[u8])] = &[("./cats/ä 1.bmp", &red), ("unlisted", b"x"), ("dogs/1, b.bmp", &blue)];
    for (name, bytes) in [("x.tar", tar(members)), ("x.tar.gz", gzip(&tar(members))), ("x.tgz", gzip(&tar(members)))] {
        let dir = folder(&[("x.csv", CSV.as_bytes()), (name, &bytes)]);
        for given in ["x.csv", name] {
            let set = Dataset::open(dir.path().join(given)).unwrap();
            assert_eq!(classes(&set), ["cat, \"tom\"", "dog"]);
            assert_eq!(targets(&set), [0, 1]);
            assert_eq!(set.read(0).unwrap().rgb[..3], RED, "{name}");
            assert_eq!(set.read(1).unwrap().rgb[..3], BLUE, "{name}");
            assert!(set.name(1).ends_with(&format!("{name}: dogs/1, b.bmp")), "{}", set.name(1));
        }
        fs::rename(dir.path().join(name), dir.path().join(format!("other.{name}"))).unwrap();
        let moved = dir.path().join(format!("other.{name}"));
        assert_eq!(Dataset::open_csv(dir.path().join("x.csv"), moved, None).unwrap().len(), 2);
    }
}

#[test]
fn a_tar_is_read_at_the_places_that_the_csv_gives() {
    let (red, blue) = (photo(RED), photo(BLUE));
    let bytes = [red.as_slice(), &blue].concat();
    let csv = format!("file,label,offset,size\nr,red,0,{0}\nb,blue,{0},{1}\n", red.len(), blue.len());
    let dir = folder(&[("x.csv", csv.as_bytes()), ("x.tar", &bytes)]);
    let set = Dataset::open(dir.path().join("x.csv")).unwrap();
    assert_eq!(classes(&set), ["blue", "red"]);
    assert_eq!(set.read(1).unwrap().rgb[..3], BLUE);
    fs::write(dir.path().join("x.tar"), &bytes[..100]).unwrap();
    assert_eq!(refused(&dir, "x.csv"), "x.csv: line 3: 70 bytes from 70 reach beyond the archive's 100");
    fs::write(dir.path().join("x.csv"), csv.replace(",70,70", ",70,18446744073709551615")).unwrap();
    assert!(refused(&dir, "x.csv").starts_with("x.csv: line 3: 18446744073709551615 bytes are more than a photo"));
}

fn labels(set: &Dataset) -> Vec<Vec<u32>> {
    assert!(set.has_labels());
    set.items().iter().map(|item| item.target.labels().to_vec()).collect()
}

#[test]
fn a_csv_may_give_any_number_of_labels() {
    let red = photo(RED);
    let open = |csv: &str| {
        let dir = folder(&[("set/x.csv", csv.as_bytes()), ("set/a.bmp", &red), ("set/b.bmp", &red)]);
        let archive = folder(&[("x.csv", csv.as_bytes()), ("x.tar", &tar(&[("a.bmp", &red), ("b.bmp", &red)]))]);
        let set = Dataset::open(archive.path().join("x.tar")).unwrap();
        for path in ["set", "set/x.csv"] {
            let beside = Dataset::open(dir.path().join(path)).unwrap();
            assert_eq!((classes(&beside), labels(&beside)), (classes(&set), labels(&set)), "{csv}");
            assert_eq!(beside.read(1).unwrap().rgb[..3], RED);
        }
        (classes(&set).join(" "), labels(&set))
    };
    let [both, one] = [("cat dog".to_owned(), vec![vec![0, 1], vec![1]]), ("cat".to_owned(), vec![vec![0], vec![]])];
    assert_eq!(open("file,label,label\na.bmp,dog,cat\nb.bmp,dog,\n"), both);
    assert_eq!(open("file,label,label\na.bmp,dog,cat,dog\nb.bmp,dog\n"), both);
    assert_eq!(open("file,label\na.bmp,cat, dog\nb.bmp,dog\n"), both);
    assert_eq!(open("file,label\na.bmp,cat\nb.bmp\n"), one);
    assert_eq!(open("file,label\na.bmp,cat\nb.bmp,\n"), one);
    let numbers = vec![vec![0, 2], vec![1]];
    assert_eq!(open("file,label\na.bmp,2,0\nb.bmp,1\n"), ("class 0 class 1 class 2".into(), numbers));
}

#[test]
fn labels_that_make_no_sense_are_refused_and_known_classes_hold() {
    let red = photo(RED);
    let set = |csv: &str| folder(&[("x.csv", csv.as_bytes()), ("a.bmp", &red), ("b.bmp", &red)]);
    for (csv, message) in [
        (
            "file,label\na.bmp\nb.bmp",
            "no photo has a label; name those that a photo shows after its file: file,label,label",
        ),
        ("file,label,label,size,offset\na.bmp,x,y", "line 2: 3 fields, but the first line names 5"),
        ("file,size,label\na.bmp,1,x,y\nb.bmp", "line 3: 1 fields, but the first line names 3"),
        ("file,label\na.bmp,x,y\n,x", "line 3: no file is named"),
    ] {
        assert_eq!(refused(&set(csv), "x.csv"), format!("x.csv: {message}"), "{csv:?}");
    }
    let known = ["dog".to_owned(), "cat".to_owned()];
    let dir = set("file,label\na.bmp,cat,dog\nb.bmp\n");
    assert_eq!(labels(&Dataset::open_as(dir.path().join("x.csv"), &known).unwrap()), [vec![0, 1], vec![]]);
    let error = Dataset::open_as(dir.path().join("x.csv"), &known[..1]).unwrap_err();
    assert_eq!(text(&error, &dir), "x.csv: class `cat` is not among the 1 classes of the training data or model");
}

#[test]
fn class_folders_beside_another_csv_stay_class_folders() {
    let red = photo(RED);
    let dir = folder(&[("set/a/1.bmp", &red), ("set/b/1.bmp", &red), ("set/notes.csv", b"who,when\nme,today\n")]);
    assert_eq!(targets(&Dataset::open(dir.path().join("set")).unwrap()), [0, 1]);
}

#[test]
fn photos_may_lie_beside_the_csv() {
    let red = photo(RED);
    let dir = folder(&[("x.csv", CSV.as_bytes()), ("cats/ä 1.bmp", &red), ("dogs/1, b.bmp", &red)]);
    assert_eq!(Dataset::open(dir.path().join("x.csv")).unwrap().read(1).unwrap().width, 2);
}

#[test]
fn photos_whose_classes_do_not_matter_open_from_any_layout() {
    let red = photo([200, 0, 0]);
    let folder = folder(&[
        ("loose/a.bmp", &red),
        ("loose/deep/b.bmp", &red),
        ("loose/notes.txt", b""),
        ("list/a.bmp", &red),
        ("list/b.bmp", &red),
        ("list/gaps.csv", b"file,class\na.bmp,2\nb.bmp,4000000000\n"),
        ("bare/notes.txt", b""),
    ]);
    for (name, photos) in [("loose", 2), ("list", 2), ("list/gaps.csv", 2)] {
        let set = Dataset::open_photos(folder.path().join(name)).unwrap();
        assert_eq!((targets(&set), set.has_labels()), (vec![0; photos], false), "{name}");
        assert!(set.read(photos - 1).is_ok(), "{name}");
    }
    let error = |name: &str| text(&Dataset::open_photos(folder.path().join(name)).unwrap_err(), &folder);
    assert!(error("bare").starts_with("bare: no photos here"), "{}", error("bare"));
    assert!(error("loose/notes.txt").starts_with("loose/notes.txt: this is no data set"));
    assert!(error("none").starts_with("none: No such file"));
}

#[test]
fn csvs_that_make_no_sense_are_refused_with_the_line() {
    let table: &[(&str, &str)] = &[
        ("", "x.csv: no photos here; a data set is a folder with a folder per class, photos inside"),
        ("file,class\n", "x.csv: no photos here; a data set is a folder with a folder per class, photos inside"),
        (
            "path,class\na,0",
            "x.csv: the first line names no column `file`; `file,class,name` is needed, or `file,label`",
        ),
        (
            "file,size\na,0",
            "x.csv: the first line names no column `class`; `file,class,name` is needed, or `file,label`",
        ),
        ("file,class\na,0\nb", "x.csv: line 3: 1 fields, but the first line names 2"),
        ("file,class\n\n\"a,0\nb", "x.csv: line 3: a quote is opened and never closed"),
        ("file,class\na,0\n,1", "x.csv: line 3: no file is named"),
        ("file,class\na,0\nb, ", "x.csv: line 3: no class is given"),
        ("file,class,name\na,0,x\nb,-1,y", "x.csv: line 3: class `-1` is no number from 0"),
        ("file,class,name\na,0,x\nb,0,y", "x.csv: line 3: class 0 is called `y` here and `x` further up"),
        ("file,class,offset,size\na,0,0,1\nb,1,x,1", "x.csv: line 3: `x` is no number of bytes"),
        ("file,class\na,0\nb,4000000000", "x.csv: class `class 1` has no photos; add some, or remove the class"),
        ("file,class\na,0\nb,0", "x.csv: there is one class only, `class 0`; training needs two or more"),
        ("file,label\na,cat\nb,cat", "x.csv: there is one class only, `cat`; training needs two or more"),
        ("file,class\na,0\nc,1", "x.tar: has no member `c`, which line 3 of the CSV names"),
    ];
    for (csv, message) in table {
        let dir = folder(&[("x.csv", csv.as_bytes()), ("x.tar", &tar(&[("a", b"?"), ("b", b"?")]))]);
        assert_eq!(&refused(&dir, "x.csv"), message, "{csv:?}");
    }
}

#[test]
fn what_is_missing_beside_is_named() {
    let dir = folder(&[("x.csv", CSV.as_bytes()), ("y.tar.gz", b"")]);
    assert_eq!(
        refused(&dir, "x.csv"),
        "x.csv: no archive lies beside it; x.tar or x.tar.gz is needed, or the photos under the CSV's names"
    );
    assert_eq!(
        refused(&dir, "y.tar.gz"),
        "y.tar.gz: no CSV lies beside it; y.csv is needed, with columns `file,class,name`"
    );
}

#[test]
fn a_csv_follows_a_given_class_list_by_name_and_by_range() {
    let bytes = tar(&[("a", b"?"), ("b", b"?")]);
    let open = |csv: &str, known: &[&str]| {
        let dir = folder(&[("x.csv", csv.as_bytes()), ("x.tar", &bytes)]);
        let known: Vec<String> = known.iter().map(|&name| name.to_owned()).collect();
        let set = Dataset::open_as(dir.path().join("x.csv"), &known);
        set.map(|set| targets(&set)).map_err(|error| text(&error, &dir))
    };
    assert_eq!(open("file,class,name\na,0,x\nb,1,y", &["y", "z", "x"]), Ok(vec![2, 0]));
    assert_eq!(open("file,class,name\na,0,x\nb,1,x", &["x", "x"]), Ok(vec![0, 1]));
    assert_eq!(open("file,label\na,z\nb,z", &["y", "z"]), Ok(vec![1, 1]));
    assert_eq!(open("file,class\na,1\nb,1", &["y", "z"]), Ok(vec![1, 1]));
    let unknown = "x.csv: class `q` is not among the 2 classes of the training data or model";
    assert_eq!(open("file,class,name\na,0,x\nb,1,q", &["x", "y"]), Err(unknown.into()));
    assert_eq!(open("file,label\na,x\nb,q", &["x", "y"]), Err(unknown.into()));
    let range = "x.csv: line 3: class 2 is out of range, there are 2 classes, from 0";
    assert_eq!(open("file,class\na,0\nb,2", &["x", "y"]), Err(range.into()));
}

#[test]
fn archives_that_are_damaged_or_unpack_without_end_are_refused() {
    let bytes = gzip(&tar(&[("cats/ä 1.bmp", &photo(RED)), ("dogs/1, b.bmp", &photo(BLUE))]));
    let dir = folder(&[("x.csv", CSV.as_bytes()), ("x.tar.gz", &bytes[..bytes.len() / 2])]);
    assert!(matches!(Dataset::open(dir.path().join("x.csv")), Err(Error::Io { .. })));
    write(dir.path(), "x.tar.gz", b"not gzip");
    assert!(matches!(Dataset::open(dir.path().join("x.csv")), Err(Error::Io { .. })));
    write(dir.path(), "x.tar.gz", &gzip(&tar(&[("big", &vec![0; 70 << 20])])));
    assert_eq!(
        refused(&dir, "x.csv"),
        "x.tar.gz: unpacks to more than 67108864 bytes, which its size does not explain; it may be damaged"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_csv_and_archive_make_opening_panic(csv in "(file|class|name|[a0-9,\"\n]){0,12}", cut in 0usize..2000) {
        let bytes = tar(&[("a", b"?"), ("0", b"?")]);
        let dir = folder(&[("x.csv", format!("file,class\n{csv}").as_bytes()), ("x.tar", &bytes[..cut.min(bytes.len())])]);
        let _ = Dataset::open(dir.path().join("x.csv"));
    }
}

#[test]
fn cifar_10_opens_with_50_000_photos_of_10_classes() {
    let Some(shared) = shared() else { return };
    let set = Dataset::open(shared.join("cifar10_train.csv")).unwrap();
    assert_eq!((set.len(), set.classes().len()), (50_000, 10));
    assert_eq!((set.classes()[0].as_str(), set.classes()[9].as_str()), ("airplane", "truck"));
    let image = set.read(49_999).unwrap();
    assert_eq!((image.width, image.height), (32, 32));
    let test = Dataset::open_as(shared.join("cifar10_test_a.tar.gz"), set.classes()).unwrap();
    assert_eq!(targets(&test).iter().filter(|&&class| class == 9).count(), 500);
}

#[test]
fn clothing_is_read_in_place() {
    let Some(shared) = shared() else { return };
    let set = Dataset::open(shared.join("clothing_train.tar")).unwrap();
    assert_eq!((set.len(), set.classes().len()), (1435, 10));
    let image = set.read(1434).unwrap();
    assert_eq!(image.width.min(image.height), 224);
    let missing = Dataset::open(shared.join("imagenet_sample_even.csv")).unwrap_err();
    assert!(missing.to_string().ends_with("class `class 1` has no photos; add some, or remove the class"));
    let labels: Vec<String> = mobilenet_run::Labels::imagenet().iter().map(str::to_owned).collect();
    let sample = Dataset::open_as(shared.join("imagenet_sample_even.csv"), &labels).unwrap();
    assert_eq!(targets(&sample), (0..1000).step_by(2).collect::<Vec<_>>());
}
