//! `classify`, from photos to lines.

mod common;

use common::{Folder, photo, small};
use mobilenet::arch::Spec;
use mobilenet::{Classifier, Image};
use mobilenet_testing::data;
use serde_json::Value;

/// Weights of four classes, two photos, and a folder with two more and a file that is none.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    folder.write("a.bmp", photo(90, 70, 3));
    folder.write("b.bmp", photo(64, 64, 11));
    std::fs::create_dir_all(folder.path("photos/deep")).unwrap();
    folder.write("photos/z.bmp", photo(50, 80, 5));
    folder.write("photos/deep/y.BMP", photo(80, 50, 7));
    folder.write("photos/notes.txt", "no photo");
    folder
}

fn paths(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["path"].as_str().unwrap()).collect()
}

fn classes(line: &Value) -> Vec<u64> {
    line["top"].as_array().unwrap().iter().map(|c| c["class"].as_u64().unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn json_is_one_object_a_photo_and_line_with_what_the_library_says() {
    let folder = folder();
    let lines = folder.run("classify a.bmp b.bmp --weights w.safetensors --top 3 --json").json();
    assert_eq!(paths(&lines), ["a.bmp", "b.bmp"]);
    let classifier = Classifier::open(folder.path("w.safetensors")).unwrap();
    for line in &lines {
        assert_eq!(keys(line), ["path", "top"]);
        let image = Image::open(folder.path(line["path"].as_str().unwrap())).unwrap();
        let top = line["top"].as_array().unwrap();
        let expected = classifier.classify(&image, 3);
        assert_eq!((top.len(), expected.len()), (3, 3));
        for (class, expected) in top.iter().zip(expected) {
            assert_eq!(keys(class), ["class", "label", "probability"]);
            assert_eq!(class["class"], expected.class);
            assert_eq!(class["label"], expected.label);
            assert_eq!(class["probability"].as_f64().unwrap() as f32, expected.probability);
        }
    }
}

#[test]
fn probabilities_fall_and_make_one_together() {
    let folder = folder();
    let lines = folder.run("classify a.bmp --weights w.safetensors --top 100 --json").json();
    let top = lines[0]["top"].as_array().unwrap();
    let probabilities: Vec<f64> = top.iter().map(|c| c["probability"].as_f64().unwrap()).collect();
    assert_eq!(probabilities.len(), 4);
    assert!(probabilities.is_sorted_by(|a, b| a >= b), "{probabilities:?}");
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{probabilities:?}");
}

#[test]
fn a_folder_is_read_by_name_with_its_subfolders() {
    let folder = folder();
    folder.write("photos/.hidden.bmp", photo(50, 80, 5));
    let ended = folder.run("classify photos a.bmp --weights w.safetensors --json");
    assert_eq!((ended.code, ended.err.as_str()), (0, "passed over: 1 .txt; the first is photos/notes.txt\n"));
    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(paths(&lines), ["photos/deep/y.BMP", "photos/z.bmp", "a.bmp"]);
}

#[test]
fn one_bad_photo_is_reported_and_the_rest_is_done() {
    let folder = folder();
    folder.write("photos/bad.jpg", b"no photo");
    let ended = folder.run("classify photos none.bmp a.bmp --weights w.safetensors --json");
    assert_eq!(ended.code, 1);
    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(paths(&lines), ["photos/bad.jpg", "photos/deep/y.BMP", "photos/z.bmp", "none.bmp", "a.bmp"]);
    for (line, error) in [
        (&lines[0], "this is a text file; photos are read from JPEG, PNG, WebP, BMP and GIF"),
        (&lines[3], "No such file or directory (os error 2)"),
    ] {
        assert_eq!((keys(line), line["error"].as_str()), (vec!["error", "path"], Some(error)));
    }
    assert_eq!(
        ended.err,
        "passed over: 1 .txt; the first is photos/notes.txt\n\
         error: photos/bad.jpg: this is a text file; photos are read from JPEG, PNG, WebP, BMP and GIF\n\
         error: none.bmp: No such file or directory (os error 2)\n"
    );
}

#[test]
fn standard_input_gives_what_the_file_gives() {
    let folder = folder();
    let bytes = std::fs::read(folder.path("a.bmp")).unwrap();
    let piped = folder.run_with("classify - --weights w.safetensors --json", &[], &bytes).json();
    let read = folder.run("classify a.bmp --weights w.safetensors --json").json();
    assert_eq!(paths(&piped), ["-"]);
    assert_eq!(piped[0]["top"], read[0]["top"]);
}

#[test]
fn text_names_the_photo_and_its_classes() {
    let folder = folder();
    folder.write("names.txt", "cat\ndog\nowl\nbear\n");
    let ended = folder.run("classify a.bmp --weights w.safetensors --labels names.txt --top 2");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "a.bmp"));
    for line in &lines[1..] {
        let (percent, name) = line.split_once(" %  ").unwrap();
        assert!((0.0..=100.0).contains(&percent.trim().parse::<f64>().unwrap()), "{line}");
        assert!(["cat", "dog", "owl", "bear"].contains(&name), "{line}");
    }
}

#[test]
fn of_1001_classes_the_first_is_background_and_not_counted() {
    let folder = folder();
    folder.weights("tf.safetensors", "mobilenet_v3_small", &Spec { classes: 1001, ..small() });
    let top = |flags: &str| {
        let call = format!("classify a.bmp --weights tf.safetensors --top 2000 --json {flags}");
        folder.run(&call).json().remove(0)
    };
    let (without, with) = (top(""), top("--background false"));
    assert_eq!((classes(&without).len(), classes(&with).len()), (1000, 1001));
    // The same outputs, shifted by the background.
    let shifted: Vec<u64> = classes(&with).into_iter().filter(|&class| class != 0).map(|class| class - 1).collect();
    assert_eq!(classes(&without), shifted);
    let sum: f64 = without["top"].as_array().unwrap().iter().map(|c| c["probability"].as_f64().unwrap()).sum();
    assert!(sum < 1.0 - 1e-6, "the background has its share: {sum}");
    // A list of 1001 names that starts with the background fits, and so does one of 1000.
    let names: Vec<String> = (0..1000).map(|class| format!("name {class}")).collect();
    folder.write("1000.txt", names.join("\n"));
    folder.write("1001.txt", format!("background\n{}", names.join("\n")));
    for list in ["1000.txt", "1001.txt"] {
        let line = top(&format!("--labels {list}"));
        for class in line["top"].as_array().unwrap() {
            assert_eq!(class["label"], format!("name {}", class["class"]), "{list}");
        }
    }
}

#[test]
fn preprocessing_flags_change_what_the_network_sees() {
    let folder = folder();
    let first = |flags: &str| {
        let call = format!("classify a.bmp --weights w.safetensors --json {flags}");
        folder.run(&call).json()[0]["top"][0]["probability"].clone()
    };
    let own = first("");
    // The file says 64 pixels and symmetric padding: short side 73, ImageNet's mean and deviation.
    let same = "--resize 73 --crop 64 --filter bilinear --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225";
    assert_eq!(first(same), own);
    for flags in ["--resize squash", "--crop 96x64", "--filter bicubic", "--mean 0", "--std 0.5,0.5,0.5"] {
        assert_ne!(first(flags), own, "{flags}");
    }
}

#[test]
fn what_had_to_be_guessed_is_said_on_standard_error() {
    let folder = folder();
    let mut params = common::fresh("mobilenet_v3_small", &small());
    params.metadata.clear();
    mobilenet::net::weights::save(folder.path("bare.safetensors"), &params).unwrap();
    let ended = folder.run("classify a.bmp --weights bare.safetensors --crop 64 --json");
    assert_eq!((ended.code, ended.out.lines().count()), (0, 1));
    assert_eq!(
        ended.err,
        "guessed padding: symmetric (the file does not say; --padding same otherwise)\n\
         guessed batch-norm epsilon: 0.001 (the file does not say; --bn-epsilon otherwise)\n"
    );
    let told = folder.run("classify a.bmp --weights bare.safetensors --crop 64 --padding same --bn-epsilon 0.001");
    assert_eq!((told.code, told.err.as_str()), (0, ""));
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let folder = folder();
    let mut command = std::process::Command::new("sh");
    let call = format!("{} classify photos a.bmp b.bmp --weights w.safetensors | true", common::PROGRAM);
    command.args(["-c", &call]);
    let ended = folder.end(command, b"");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[test]
fn below_the_threshold_a_photo_is_unknown_unless_always_asked() {
    let folder = Folder::new();
    folder.weights("fresh.safetensors", "mobilenet_v3_small", &small());
    folder.write("photo.bmp", photo(40, 30, 1));
    let threshold =
        |value: &str| folder.run(&format!("convert fresh.safetensors w{value}.safetensors --threshold {value}"));
    assert_eq!([threshold("0.999"), threshold("0.0")].map(|ended| ended.code), [0, 0]);
    let classify = |flags: &str| folder.run(&format!("classify photo.bmp {flags}"));
    let unknown = classify("--weights w0.999.safetensors");
    assert!(unknown.code == 0 && unknown.out.starts_with("photo.bmp\n  unknown; the likeliest are\n"), "{unknown:?}");
    let [json] = &classify("--weights w0.999.safetensors --json").json()[..] else { panic!("one object") };
    assert_eq!((&json["unknown"], json["top"].as_array().unwrap().len()), (&true.into(), 4));
    for flags in ["--weights w0.999.safetensors --always", "--weights w0.0.safetensors", "--weights fresh.safetensors"]
    {
        let [json] = &classify(&format!("{flags} --json")).json()[..] else { panic!("one object") };
        assert!(json.get("unknown").is_none(), "{flags}: {json}");
    }
    let csv = classify("--weights w0.999.safetensors --csv --top 1").out;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].ends_with(",probability_1,unknown,error") && lines[1].ends_with(",true,"), "{csv}");
    folder.refused(
        "convert fresh.safetensors x.safetensors --threshold 2",
        "invalid value '2' for '--threshold <PROBABILITY>': give a number from 0 to 1\n\nFor more information, try '--help'.",
    );
}

#[test]
fn torchvisions_weights_name_a_cat() {
    let Some(data) = data() else { return };
    let (photo, weights) =
        (data.join("data/photos/cat.png"), data.join("data/models/mobilenet_v2_1.0_224_torchvision.pth"));
    let call = format!("classify {} --weights {} --json", photo.display(), weights.display());
    let ended = Folder::new().run(&call);
    // Two recipes of torchvision share these names.
    let guesses = "guessed resize: 256 (torchvision's second weights want --resize 232)\n\
                   guessed labels: ImageNet's, for 1000 classes (the file has none; --labels otherwise)\n";
    assert_eq!(ended.err, guesses);
    let top = &serde_json::from_str::<serde_json::Value>(&ended.out).unwrap()["top"];
    assert_eq!(top.as_array().unwrap().len(), 5);
    let label = top[0]["label"].as_str().unwrap();
    assert!(label.contains("cat"), "{label}");
}
