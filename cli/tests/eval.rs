//! `eval` from weights and photos to figures, pictures and thresholds, and to one table of several networks.

mod common;

use std::fs;

use common::{Folder, photo};
use mobilenet::Image;
use mobilenet::arch::Spec;
use mobilenet_testing::photos::CLASSES;
use serde_json::Value;

/// A folder with `each` photos of three classes and `w.safetensors`, a network of three classes without names that has
/// learned nothing.
fn folder(each: usize) -> Folder {
    let folder = Folder::new();
    folder.photos("photos", each);
    folder.weights("w.safetensors", "mobilenet_v3_small", &Spec { width: 0.25, classes: 3, ..Spec::default() });
    folder
}

/// The objects that a call prints which may say something else beside.
#[track_caller]
fn json(folder: &Folder, arguments: &str) -> Vec<Value> {
    let ended = folder.run(&format!("{arguments} --json"));
    assert_eq!(ended.code, 0, "{arguments}: {ended:?}");
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sum(counts: &Value, key: &str) -> u64 {
    counts.as_array().unwrap().iter().map(|one| one[key].as_u64().unwrap()).sum()
}

#[test]
fn every_class_has_its_figures_the_worst_first() {
    let folder = folder(4);
    let report = &json(&folder, "eval w.safetensors photos")[0];
    let classes = report["classes"].as_array().unwrap();
    let f1: Vec<f64> = classes.iter().map(|class| class["f1"].as_f64().unwrap()).collect();
    assert!(classes.len() == 3 && f1.is_sorted(), "{f1:?}");
    assert_eq!((sum(&report["classes"], "photos"), sum(&report["classes"], "answered")), (12, 12));
    let recall = classes.iter().map(|class| class["recall"].as_f64().unwrap() * 4.0).sum::<f64>() / 12.0;
    assert!((recall - report["top1"].as_f64().unwrap()).abs() < 1e-9, "{report}");
    assert_eq!(sum(&report["calibration"]["bins"], "answers"), 12);
    assert!(report.get("confusion").is_none() && report.get("mistakes").is_none() && report.get("unknown").is_none());

    let text = folder.run("eval w.safetensors photos").out;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("top-1 ") && lines[0].ends_with(" of 12 photos"), "{text}");
    assert!(lines[1].starts_with("calibration error 0."), "{text}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(lines[3]), "class photos precision % recall % F1 % most often taken for", "{text}");
    assert_eq!(lines.len(), 8, "{text}");
    assert!(lines[5].starts_with(classes[0]["label"].as_str().unwrap()), "{text}");
}

#[test]
fn labels_have_an_average_precision_and_no_confusion() {
    let folder = folder(4);
    let mut csv = "file,label,label\n".to_owned();
    for i in 0..4 {
        csv += &format!("red/{i} photo.bmp,red,blue sky\ngrün/{i} photo.bmp,grün\n");
    }
    folder.write("photos/labels.csv", csv);
    let report = &json(&folder, "eval w.safetensors photos")[0];
    let classes = report["classes"].as_array().unwrap();
    let mean = classes.iter().map(|class| class["average_precision"].as_f64().unwrap()).sum::<f64>() / 3.0;
    assert!((mean - report["mean_average_precision"].as_f64().unwrap()).abs() < 1e-9, "{report}");
    assert_eq!(sum(&report["calibration"]["bins"], "answers"), 8 * 3);
    assert!(folder.run("eval w.safetensors photos").out.contains("  average precision %\n"));
    let ended = folder.run("eval w.safetensors photos --confusion c.svg");
    let last = "error: photos with any number of labels have no confusion matrix: labels are not taken for one another";
    assert_eq!((ended.code, ended.err.lines().last()), (2, Some(last)));
    assert!(!folder.path("c.svg").exists());
    let mistakes = json(&folder, "eval w.safetensors photos --mistakes m.png");
    assert!(!mistakes[0]["mistakes"].as_array().unwrap().is_empty());
}

#[test]
fn confusions_and_mistakes_are_told_and_drawn() {
    let folder = folder(4);
    let report = &json(&folder, "eval w.safetensors photos --confusion c.svg --mistakes m.jpg")[0];
    assert_eq!(sum(&report["confusion"], "photos"), 12);
    let mistakes = report["mistakes"].as_array().unwrap();
    let right = (report["top1"].as_f64().unwrap() * 12.0).round() as usize;
    assert_eq!(mistakes.len(), 12 - right);
    let probabilities: Vec<f64> = mistakes.iter().map(|mistake| mistake["probability"].as_f64().unwrap()).collect();
    assert!(probabilities.is_sorted_by(|a, b| a >= b), "{probabilities:?}");
    for mistake in mistakes {
        let (path, labels) = (mistake["path"].as_str().unwrap(), mistake["labels"][0].as_str().unwrap());
        assert!(path.starts_with(&format!("photos/{labels}/")) && mistake["answered"] != labels, "{mistake}");
    }
    let picture = fs::read_to_string(folder.path("c.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && CLASSES.iter().all(|(class, _)| picture.contains(class)), "{picture}");
    let sheet = Image::open(folder.path("m.jpg")).unwrap();
    assert!(sheet.width > 192 && sheet.height > 192);
}

#[test]
fn thresholds_refuse_known_photos_and_find_unknown_ones() {
    let folder = folder(4);
    fs::create_dir_all(folder.path("others/deep")).unwrap();
    for (i, name) in ["a.bmp", "deep/b.bmp"].into_iter().enumerate() {
        folder.write(&format!("others/{name}"), photo(40, 30, i));
    }
    folder.write("others/broken.jpg", "");
    let ended = folder.run("eval w.safetensors photos --unknown others");
    assert!(ended.err.contains("1 of 3 photos could not be read"), "{ended:?}");
    assert!(ended.out.contains("2 photos of unknown classes, area under the curve "), "{ended:?}");
    let unknown = &json(&folder, "eval w.safetensors photos --unknown others")[0]["unknown"];
    assert_eq!(unknown["photos"], 2);
    let shares = |refusals: &Value, key: &str| -> Vec<f64> {
        refusals.as_array().unwrap().iter().map(|refusal| refusal[key].as_f64().unwrap()).collect()
    };
    for key in ["known_refused", "unknown_found", "threshold"] {
        assert!(shares(&unknown["curve"], key).is_sorted() && shares(&unknown["at"], key).is_sorted(), "{key}");
    }
    assert_eq!(shares(&unknown["curve"], "threshold").len(), 101);
    let refused = shares(&unknown["at"], "known_refused");
    let most = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3];
    assert!(refused.iter().zip(most).all(|(refused, most)| *refused <= most), "{refused:?}");
}

#[test]
fn a_files_threshold_refuses_the_photos_that_classify_does_not_know() {
    let folder = folder(4);
    // In the middle of what this network is sure of.
    let sureness: Vec<f64> = classified(&folder, "w.safetensors")
        .iter()
        .map(|answer| answer["top"][0]["probability"].as_f64().unwrap())
        .collect();
    let middle = sureness.iter().sum::<f64>() / sureness.len() as f64;
    let ended = folder.run(&format!("convert w.safetensors t.safetensors --threshold {middle}"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let unknown = classified(&folder, "t.safetensors").iter().filter(|answer| answer["unknown"] == true).count();
    assert!((1..12).contains(&unknown), "{sureness:?}");
    let report = &json(&folder, "eval t.safetensors photos")[0];
    assert_eq!((report["rule"]["known_refused"].as_f64().unwrap() * 12.0).round() as usize, unknown);
    let text = folder.run("eval t.safetensors photos").out;
    assert!(text.contains(&format!("\nunknown by a probability below {middle:.3}: ")), "{text}");
}

fn classified(folder: &Folder, weights: &str) -> Vec<Value> {
    json(folder, &format!("classify photos --weights {weights} --top 1"))
}

#[test]
fn several_networks_are_compared_in_one_table() {
    let folder = folder(2);
    folder.weights("v2.safetensors", "mobilenet_v2", &Spec { width: 0.25, classes: 3, ..Spec::default() });
    let ended = folder.run("eval w.safetensors v2.safetensors photos --seconds 0");
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    let words = lines[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words, "file network MB top-1 % top-5 % loss calibration error ms a photo", "{}", ended.out);
    assert!(lines[2].starts_with("w.safetensors   mobilenet_v3_small 0.25"), "{}", ended.out);
    assert!(lines[3].starts_with("v2.safetensors  mobilenet_v2 0.25"), "{}", ended.out);

    let compared = json(&folder, "eval w.safetensors v2.safetensors photos --seconds 0");
    assert_eq!(compared.len(), 2);
    for line in &compared {
        let alone = &json(&folder, &format!("eval {} photos", line["file"].as_str().unwrap()))[0];
        for key in ["top1", "loss", "photos", "unreadable", "classes_by"] {
            assert_eq!(line[key], alone[key], "{key}");
        }
        assert_eq!(line["calibration_error"], alone["calibration"]["error"]);
        assert!(line["latency_ms"].as_f64().unwrap() > 0.0);
        let bytes = fs::metadata(folder.path(line["file"].as_str().unwrap())).unwrap().len();
        assert_eq!(line["bytes"], bytes);
    }

    // One that cannot be compared is told of.
    folder.write("bad.pth", "no weights");
    let ended = folder.run("eval bad.pth w.safetensors photos --seconds 0");
    assert_eq!((ended.code, ended.out.lines().count()), (1, 5), "{ended:?}");
    assert!(ended.err.starts_with("error: bad.pth: "), "{ended:?}");
    assert_eq!(folder.run("eval bad.pth bad.pth photos").code, 2);
}

#[test]
fn what_cannot_be_evaluated_or_drawn_is_refused_before_the_time_is_spent() {
    let folder = folder(2);
    fs::create_dir(folder.path("empty")).unwrap();
    folder.write("empty/notes.txt", "");
    for (arguments, text) in [
        ("--classes", "--classes is for one network: give one weights file"),
        ("--confusion c.svg", "--confusion is for one network: give one weights file"),
        ("--mistakes m.png", "--mistakes is for one network: give one weights file"),
        ("--unknown photos", "--unknown is for one network: give one weights file"),
    ] {
        folder.refused(&format!("eval w.safetensors w.safetensors photos {arguments}"), text);
    }
    let replaced = "the output would replace what is read; give another name";
    for (arguments, text) in [
        ("--confusion w.safetensors", format!("w.safetensors: {replaced}")),
        ("--unknown nowhere", "nowhere: No such file or directory (os error 2)".into()),
        ("--unknown empty", "empty: no photos here".into()),
        ("--confusion nowhere/c.svg", "nowhere/c.svg: ".into()),
        ("--mistakes mistakes.txt", "mistakes.txt: ".into()),
    ] {
        let ended = folder.run(&format!("eval w.safetensors photos {arguments}"));
        let last = ended.err.lines().last().unwrap_or_default();
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{arguments}: {ended:?}");
        assert!(last.starts_with(&format!("error: {text}")), "{arguments}: {last}");
    }
    folder.write("photos/red/mine.png", photo(40, 30, 1));
    let ended = folder.run("eval w.safetensors photos --mistakes photos/red/mine.png");
    assert!(ended.code == 2 && ended.err.ends_with(&format!("photos/red/mine.png: {replaced}\n")), "{ended:?}");
    assert_eq!(fs::read(folder.path("photos/red/mine.png")).unwrap(), photo(40, 30, 1));
    let ended = folder.run("eval w.safetensors");
    assert!(ended.code == 2 && ended.err.contains("<DATA>"), "{ended:?}");
}
