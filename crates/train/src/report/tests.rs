//! The page: whole, closed, and without anything that a name could break.

use mobilenet_data::Target;
use mobilenet_net::About;
use mobilenet_run::Canvas;
use roxmltree::{Document, Node};

use super::*;
use crate::assess::{Predictions, Reading};
use crate::log::history::{Epoch, Figures, Step};
use crate::trainer::Origin;

/// Names that break a page which does not escape them.
const NAMES: [&str; 4] = ["<script>alert(1)</script>", "\"it's\" & ' onload=x", "🦉 owl", "]]> --> </style>"];

fn predictions(by_labels: bool) -> Predictions {
    let logits = (0..12 * 4).map(|i| ((i * 7 + i / 4) % 11) as f32 - 5.0).collect();
    let target = |i: usize| {
        let class = i as u32 % 4;
        if by_labels {
            Target::Labels([class, 3].into_iter().filter(|_| i > 0).collect())
        } else {
            Target::Class(class)
        }
    };
    let reading = Reading { by_labels, ..Reading::default() };
    Predictions::new(reading, (0..12).collect(), (0..12).map(target).collect(), logits)
}

fn picture() -> Picture {
    let image = Canvas::new(8, 4, [200, 20, 20]).unwrap().into_image();
    Picture { width: 8, height: 4, jpeg: image.to_jpeg(80).unwrap() }
}

fn report(by_labels: bool) -> Report {
    let names: Vec<String> = NAMES.map(String::from).to_vec();
    let epoch = |epoch: usize, loss: Option<f64>| Epoch {
        epoch: epoch as f64,
        training_loss: Some(2.0 / epoch as f64),
        training_top1: Some(0.5),
        validation: Some(Figures { loss, top1: Some(0.75), ..Figures::default() }),
        ..Epoch::default()
    };
    let history = History {
        origin: Some(Origin::Fresh),
        steps: (0..1000).map(|i| Step { epoch: i as f64 / 250.0, loss: 3.0 - i as f64 / 500.0 }).collect(),
        epochs: vec![epoch(1, Some(1.5)), epoch(2, None), epoch(3, Some(1.25))],
        ..History::default()
    };
    let card = Card {
        model: "<b>net</b>".into(),
        width: 0.5,
        total_stride: 32,
        resolution: 96,
        parameters: 241_955,
        multiply_adds: 12_345_678,
        file_bytes: 987_654,
        latencies: vec![Latency { threads: 1, milliseconds: 1.5 }, Latency { threads: 2, milliseconds: 0.9 }],
        isa: "avx2".into(),
        photos_in: "/photos/<img src=x onerror=alert(1)>".into(),
        photos: 40,
        validation: Some(("/val".into(), 12)),
        classes: 4,
        origin: Origin::File { file: "a&b.pth".into(), taken: 2, fresh: vec!["c".into()], classes: 9 },
        teacher: Some("<teacher>".into()),
        epochs: 3.0,
        seconds: 61.0,
        licence: None,
        recipe: "model = \"<x>\"\n".into(),
    };
    let mistake = Mistaken {
        picture: picture(),
        file: NAMES[1].into(),
        shows: NAMES[0].into(),
        answer: NAMES[2].into(),
        probability: 0.93,
    };
    let predictions = predictions(by_labels);
    let about = About { threshold: Some(0.4), familiarity: Some(0.8), ..About::default() };
    Report {
        name: "runs/<mine>".into(),
        date: "2026-11-27".into(),
        card,
        history,
        assessment: Some(Assessment::new(&predictions, Some(&predictions), names, &about)),
        mistakes: vec![mistake],
        first_batch: Some(picture()),
    }
}

/// The page as XML: every tag must be closed, but for HTML's void ones, which are closed here.
fn as_xml(page: &str) -> String {
    let page = page.strip_prefix("<!DOCTYPE html>").expect("a page begins so");
    let mut xml = String::new();
    for (i, part) in page.split('<').enumerate() {
        let is_void = ["meta ", "link ", "img "].iter().any(|tag| part.starts_with(tag));
        let part = if is_void { part.replacen('>', "/>", 1) } else { part.to_owned() };
        xml += if i > 0 { "<" } else { "" };
        xml += &part;
    }
    xml
}

fn named<'a>(page: &'a Document, name: &str) -> Vec<Node<'a, 'a>> {
    page.descendants().filter(|node| node.tag_name().name() == name).collect()
}

#[test]
fn every_tag_is_closed_and_names_are_nothing_but_text() {
    for by_labels in [false, true] {
        let page = report(by_labels).html();
        let xml = as_xml(&page);
        let page = Document::parse(&xml).unwrap_or_else(|e| panic!("{e}: {xml}"));
        assert_eq!((named(&page, "script").len(), named(&page, "style").len()), (1, 1));
        assert_eq!(named(&page, "script")[0].text(), Some(include_str!("sort.js")));
        let rows = named(&page, "th").into_iter().filter(|th| th.attribute("scope") == Some("row"));
        let names: Vec<_> = rows.filter_map(|th| th.text()).collect();
        assert!(NAMES.iter().all(|name| names.contains(name)), "{names:?}");
        assert!(page.descendants().all(|node| node.attributes().all(|a| !a.name().starts_with("on"))));
        assert_eq!(named(&page, "title")[0].text(), Some("runs/<mine>: <b>net</b>, width 0.5, 96×96 pixels"));
        assert_eq!(named(&page, "img")[0].attribute("alt"), Some(NAMES[1]));
        assert_eq!(named(&page, "svg").len(), if by_labels { 4 } else { 5 });
    }
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let xml = as_xml(&report(false).html());
    let page = Document::parse(&xml).unwrap();
    let loads = |node: &Node| {
        let attributes = node.attributes().filter(|a| ["src", "href", "srcset", "data", "action"].contains(&a.name()));
        attributes.map(|a| a.value().to_owned()).collect::<Vec<_>>()
    };
    let loaded: Vec<String> = page.descendants().flat_map(|node| loads(&node)).collect();
    assert_eq!(loaded.len(), 3);
    assert!(loaded.iter().all(|address| address.starts_with("data:")), "{loaded:?}");
    // The namespace of SVG is a name, not an address.
    let others = xml.replace("http://www.w3.org/2000/svg", "");
    assert!(!["http:", "https:", "url(", "@import"].iter().any(|text| others.contains(text)));
}

#[test]
fn figures_are_where_they_are_looked_for() {
    let page = report(false).html();
    for text in [
        "242 k parameters, 12.3 M multiply-adds a photo, file of 988 kB",
        "1.50 ms with 1 thread, 0.90 ms with 2 threads (avx2)",
        "<code>a&amp;b.pth</code>: 2 of 3 tensors",
        "3 epochs, 1m 1s",
        "none stated; what it started from and the photos have their own terms",
        "in use: 40.0 %",
        "less similar than 0.80",
        "validation, epoch 3: 1.25",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf\""));
    let many = report(true).html();
    assert!(many.contains("mean average precision") && !many.contains("Confusion matrix"));
}

#[test]
fn a_run_without_figures_has_a_page_all_the_same() {
    let full = report(false);
    let bare = Report {
        history: History::default(),
        assessment: None,
        mistakes: Vec::new(),
        first_batch: None,
        card: Card { validation: None, latencies: Vec::new(), ..full.card.clone() },
        ..full
    };
    let xml = as_xml(&bare.html());
    let page = Document::parse(&xml).unwrap();
    assert_eq!((named(&page, "svg").len(), named(&page, "img").len(), named(&page, "h2").len()), (0, 0, 1));
}

#[test]
fn a_report_replaces_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(REPORT), "old").unwrap();
    let report = report(false);
    write(folder.path(), &report).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join(REPORT)).unwrap(), report.html());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
