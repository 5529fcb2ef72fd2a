//! `classify` on many photos: patterns, CSV, contact sheets, lists of classes, regions, failures at the end.

mod common;

use common::{Ended, Folder, photo, small};
use mobilenet::Image;
use serde_json::Value;

/// Weights of four classes with names, one with a comma, and three photos in folders.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    folder.write("names.txt", "cat\nox, bull\nowl\nbear\n");
    std::fs::create_dir_all(folder.path("photos/deep")).unwrap();
    folder.write("photos/b.bmp", photo(90, 70, 3));
    folder.write("photos/a.bmp", photo(50, 80, 5));
    folder.write("photos/deep/c.bmp", photo(80, 50, 7));
    folder
}

const CLASSIFY: &[&str] = &["classify", "--weights", "w.safetensors", "--labels", "names.txt"];

fn classify(folder: &Folder, arguments: &[&str]) -> Ended {
    folder.call(&[CLASSIFY, arguments].concat())
}

#[track_caller]
fn lines(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn paths(folder: &Folder, arguments: &[&str]) -> Vec<String> {
    let ended = classify(folder, &[arguments, &["--json"]].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{arguments:?}");
    lines(&ended).iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn labels(folder: &Folder, arguments: &[&str]) -> Vec<String> {
    let json = classify(folder, &[&["photos/a.bmp", "--json"], arguments].concat()).json();
    let mut labels: Vec<_> =
        json[0]["top"].as_array().unwrap().iter().map(|c| c["label"].as_str().unwrap().to_owned()).collect();
    labels.sort();
    labels
}

#[test]
fn patterns_mean_what_they_mean_to_a_shell() {
    let folder = folder();
    assert_eq!(paths(&folder, &["photos/*.bmp"]), ["photos/a.bmp", "photos/b.bmp"]);
    assert_eq!(paths(&folder, &["photos/**/*.bmp"]), ["photos/a.bmp", "photos/b.bmp", "photos/deep/c.bmp"]);
    assert_eq!(paths(&folder, &["photos/**/[bc].bmp"]), ["photos/b.bmp", "photos/deep/c.bmp"]);
    // Folders that match are read as folders are, but not twice.
    assert_eq!(paths(&folder, &["photos/d*"]), ["photos/deep/c.bmp"]);
    // A link back must not lead in circles.
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path("photos"), folder.path("photos/deep/loop")).unwrap();
    for all in ["photos/**/*", "photos/**"] {
        assert_eq!(paths(&folder, &[all]), ["photos/a.bmp", "photos/b.bmp", "photos/deep/c.bmp"]);
    }
}

#[test]
fn a_file_that_exists_wins_over_a_pattern() {
    let folder = folder();
    folder.write("photos/[ab].bmp", photo(40, 40, 1));
    assert_eq!(paths(&folder, &["photos/[ab].bmp"]), ["photos/[ab].bmp"]);
}

#[test]
fn patterns_that_match_nothing_are_refused() {
    let folder = folder();
    for (pattern, text) in [
        ("photos/*.jpg", "photos/*.jpg: no file matches this pattern"),
        ("none/**", "none/**: no file matches this pattern"),
        (
            "photos/a**b",
            "photos/a**b: no such file, and no pattern: Pattern syntax error near position 7: recursive wildcards must \
             form a single path component",
        ),
    ] {
        let ended = classify(&folder, &[pattern]);
        assert_eq!(ended, Ended { code: 2, out: String::new(), err: format!("error: {text}\n") });
    }
}

#[test]
fn csv_has_a_line_a_photo_and_says_what_json_says() {
    let folder = folder();
    folder.write("bad, \"photo\".bmp", "no photo");
    let photos = ["photos/a.bmp", "bad, \"photo\".bmp", "photos/b.bmp", "--top", "2"];
    let ended = classify(&folder, &[&photos[..], &["--csv"]].concat());
    assert_eq!(ended.code, 1);
    let json = lines(&classify(&folder, &[&photos[..], &["--json"]].concat()));
    let mut reader = csv::Reader::from_reader(ended.out.as_bytes());
    let header = "path,class_1,label_1,probability_1,class_2,label_2,probability_2,error";
    assert_eq!(reader.headers().unwrap(), header.split(',').collect::<Vec<_>>());
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 3);
    for (record, json) in records.iter().zip(&json) {
        assert_eq!(record[0], json["path"]);
        assert_eq!(record[7], *json["error"].as_str().unwrap_or_default());
        for place in 0..2 {
            let class = &json["top"][place];
            let [number, label, probability] = [0, 1, 2].map(|column| &record[1 + 3 * place + column]);
            if class.is_null() {
                assert_eq!([number, label, probability], [""; 3]);
                continue;
            }
            assert_eq!(number, class["class"].to_string());
            assert_eq!(label, class["label"]);
            assert_eq!(probability.parse::<f32>().unwrap(), class["probability"].as_f64().unwrap() as f32);
        }
    }
    assert_eq!(json[1]["error"], "this is a text file; photos are read from JPEG, PNG, WebP, BMP and GIF");
}

#[test]
fn csv_has_no_more_columns_than_classes() {
    let folder = folder();
    let ended = classify(&folder, &["photos/a.bmp", "--csv", "--top", "1000000"]);
    let columns: Vec<usize> = ended.out.lines().map(|line| line.matches(',').count() + 1).collect();
    // A name has a comma.
    assert_eq!(columns, [1 + 3 * 4 + 1, 1 + 3 * 4 + 1 + 1]);
    let both = folder.run("classify a --csv --json --weights w");
    assert_eq!((both.code, both.err.contains("cannot be used with")), (2, true));
}

#[test]
fn a_contact_sheet_shows_every_photo_that_was_classified() {
    let folder = folder();
    folder.write("bad.bmp", "no photo");
    for name in ["sheet.png", "sheet.jpg", "sheet.webp"] {
        let ended = classify(&folder, &["photos", "bad.bmp", "--json", "--draw", name]);
        assert_eq!(ended.code, 1);
        assert!(ended.err.ends_with(&format!("drawn: {name}\n")), "{}", ended.err);
        let sheet = Image::open(folder.path(name)).unwrap();
        // Three cells of 160 pixels in a row, with two lines of caption.
        assert_eq!((sheet.width, sheet.height > 190 && sheet.height < 230), (3 * 160 + 4 * 8, true), "{name}");
    }
    let names = folder.names();
    classify(&folder, &["bad.bmp", "--draw", "nothing.png"]);
    assert_eq!(folder.names(), names, "a sheet without photos, or a passing file");
}

#[test]
fn a_sheet_that_cannot_be_written_is_refused_before_the_work() {
    let folder = folder();
    for (name, text) in [
        ("sheet.gif", "sheet.gif: pictures are written as .png, .jpg or .webp; give such a name"),
        ("no/sheet.png", "no/sheet.png: there is no directory no; make it first"),
    ] {
        folder.refused(&format!("classify photos --weights none --draw {name}"), text);
    }
}

#[test]
fn only_allowed_classes_are_answers_with_their_probabilities_among_all() {
    let folder = folder();
    let all = classify(&folder, &["photos/a.bmp", "--json"]).json();
    folder.write("list.txt", "\u{feff}owl\r\n\r\nox, bull\r\n");
    for (arguments, answers) in [
        (&["--allow", "ox, bull"][..], &["ox, bull"][..]),
        (&["--allow", "owl,cat"], &["cat", "owl"]),
        (&["--allow", "owl", "--allow", "3"], &["bear", "owl"]),
        (&["--allow", "list.txt"], &["owl", "ox, bull"]),
        (&["--deny", "list.txt"], &["bear", "cat"]),
        (&["--allow", "owl, cat, bear", "--deny", "cat"], &["bear", "owl"]),
    ] {
        assert_eq!(labels(&folder, arguments), answers, "{arguments:?}");
        let some = classify(&folder, &[&["photos/a.bmp", "--json"], arguments].concat()).json();
        let kept: Vec<&Value> = all[0]["top"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|class| answers.contains(&class["label"].as_str().unwrap()))
            .collect();
        assert_eq!(some[0]["top"].as_array().unwrap().iter().collect::<Vec<_>>(), kept, "{arguments:?}");
    }
}

#[test]
fn classes_that_there_are_not_are_refused_with_the_closest_name() {
    let folder = folder();
    folder.write("list.txt", "owl\nkitten\n");
    folder.write("empty.txt", "\n");
    let none = "there is no class";
    let far = "give one of the 4 names as it is written, or a number below 4";
    for (arguments, text) in [
        (["--allow", "bera"], format!("--allow: {none} \"bera\"; did you mean \"bear\"? (nor is there such a file)")),
        (["--deny", "bull"], format!("--deny: {none} \"bull\"; did you mean \"ox, bull\"? (nor is there such a file)")),
        (["--deny", "cat,dogs"], format!("--deny: {none} \"dogs\"; {far}")),
        (["--allow", "4"], format!("--allow: {none} \"4\"; {far} (nor is there such a file)")),
        (["--allow", "list.txt"], format!("list.txt: line 2: {none} \"kitten\"; {far}")),
        (["--allow", "empty.txt"], "empty.txt: no class is named in it; give one a line".into()),
        (["--deny", "0,1,2,3"], "no class is left to answer with: --deny takes away all that there are".into()),
    ] {
        let ended = classify(&folder, &[&["photos/a.bmp"], &arguments[..]].concat());
        assert_eq!(ended, Ended { code: 2, out: String::new(), err: format!("error: {text}\n") }, "{arguments:?}");
    }
}

#[test]
fn a_region_gives_what_a_photo_of_it_gives() {
    let folder = folder();
    let whole = Image::open(folder.path("photos/b.bmp")).unwrap();
    let rows = (7..42).flat_map(|y| whole.rgb[(y * 90 + 9) * 3..(y * 90 + 54) * 3].to_vec()).collect();
    Image::from_rgb(45, 35, rows).unwrap().save(folder.path("part.png")).unwrap();
    let top = |arguments: &[&str]| classify(&folder, &[arguments, &["--json"]].concat()).json()[0]["top"].clone();
    let part = top(&["part.png"]);
    assert_eq!(top(&["photos/b.bmp", "--roi", "9,7,45,35"]), part);
    assert_eq!(top(&["photos/b.bmp", "--roi", "0.1,0.1,0.5,0.5"]), part);
    assert_ne!(top(&["photos/b.bmp"]), part);
}

#[test]
fn a_region_beyond_a_photo_fails_that_photo() {
    let folder = folder();
    let ended = classify(&folder, &["photos/a.bmp", "photos/b.bmp", "--roi", "40,0,20,60", "--json"]);
    let text = "the region 40,0,20,60 reaches beyond the photo, which is 50×80 pixels";
    assert_eq!((ended.code, ended.err.clone()), (1, format!("error: photos/a.bmp: {text}\n")));
    assert_eq!(lines(&ended)[0]["error"], text);
    folder.refused_usage(
        "classify photos --roi 0,0,0,5",
        "invalid value '0,0,0,5' for '--roi <X,Y,W,H>': give edges from 0 on, and a width and height above 0",
    );
}

#[test]
fn of_many_failures_the_first_are_named_at_the_end_and_all_are_counted() {
    let folder = folder();
    for number in 0..25 {
        folder.write(&format!("photos/{number:02}.jpg"), "cut");
    }
    folder.write("photos/clip.mp4", "a video");
    let ended = classify(&folder, &["photos", "--csv", "--top", "1"]);
    assert_eq!(ended.code, 1);
    let lines: Vec<&str> = ended.err.lines().collect();
    assert_eq!(lines[0], "passed over: 1 .mp4; the first is photos/clip.mp4");
    for number in 0..20 {
        assert!(lines[1 + number].starts_with(&format!("error: photos/{number:02}.jpg: this is a text file")));
    }
    assert_eq!(lines[21..], ["error: and 5 more", "25 of 28 inputs failed"]);
    assert_eq!(ended.out.lines().count(), 1 + 28);
}
