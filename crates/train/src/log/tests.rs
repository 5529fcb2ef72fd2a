//! A run that is interrupted and goes on, in all three files.

use std::fs;
use std::path::Path;

use super::history::History;
use super::*;
use crate::evaluate::Evaluation;
use crate::trainer::{Origin, Plan};
use mobilenet_run::MemoryUse;

fn start(weights: Origin) -> Event {
    Event::Start(Box::new(Plan {
        model: "mobilenet_v2".into(),
        width: 1.0,
        total_stride: 32,
        parameters: 9,
        photos: 800,
        validation_photos: 80,
        classes: 2,
        class_names: vec!["a".into(), "\"b\"\n".into()],
        resolution: 224,
        batch: 8,
        epochs: 3.0,
        steps_per_epoch: 100,
        ranks: 1,
        threads: 1,
        memory: MemoryUse::Fast,
        memory_bytes: 1,
        teacher: None,
        folder: "run".into(),
        weights,
    }))
}

fn step(step: usize) -> Event {
    let epoch = step as f64 / 100.0;
    Event::Step { epoch, loss: 4.0 - epoch, top1: 0.5, lr: 0.1, images_per_second: 64.0, seconds_left: 9.0 }
}

fn epoch(epoch: f64, seconds: f64) -> Event {
    let validation =
        Evaluation { photos: 80, top1: Some(0.75), top5: None, mean_average_precision: None, loss: f64::INFINITY };
    let training_top1 = (epoch > 1.0).then_some(0.5);
    Event::Epoch { epoch, training_loss: Some(2.0), training_top1, validation: Some(validation), seconds }
}

/// Two and a half epochs, and, from a checkpoint after two, the last one.
fn interrupted(folder: &Path) {
    let tell = |log: &mut Log, event| assert!(log.write(&event).is_empty());
    let mut log = Log::open(folder).unwrap();
    tell(&mut log, start(Origin::Fresh));
    for i in 0..250 {
        tell(&mut log, step(i));
        if i % 100 == 99 {
            tell(&mut log, epoch((i + 1) as f64 / 100.0, (i + 1) as f64));
        }
    }
    drop(log);
    let mut log = Log::open(folder).unwrap();
    tell(&mut log, start(Origin::Checkpoint { file: "checkpoint.safetensors".into(), epoch: 2.0 }));
    (200..300).for_each(|i| tell(&mut log, step(i)));
    tell(&mut log, epoch(3.0, 90.0));
}

#[test]
fn history_has_every_epoch_once_and_the_time_of_all_sittings() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(History::read(folder.path()).unwrap(), History::default());
    interrupted(folder.path());
    let history = History::read(folder.path()).unwrap();
    assert_eq!((history.origin, history.seconds), (Some(Origin::Fresh), 290.0));
    // Each of the first 20 steps of a sitting, then every 50th.
    let steps = (0..20).chain([50, 100, 150]).chain(200..220).chain([250]);
    assert!(history.steps.iter().map(|step| step.epoch).eq(steps.map(|step| f64::from(step) / 100.0)));
    assert_eq!(history.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    let validation = history.epochs[0].validation.unwrap();
    assert_eq!((validation.loss, validation.top1), (None, Some(0.75)));
}

#[test]
fn a_run_that_begins_anew_forgets_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    interrupted(folder.path());
    let mut log = Log::open(folder.path()).unwrap();
    let file = Origin::File { file: "w.pth".into(), taken: 2, fresh: vec![], classes: 7 };
    log.write(&start(file.clone()));
    let history = History::read(folder.path()).unwrap();
    assert_eq!(history, History { origin: Some(file), ..History::default() });
}

#[test]
fn lines_that_were_cut_short_or_are_unknown_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "{\"event\":\"head\",\"epoch\":1}\n{\"event\":\"st\n\u{0}\n{\"event\":\"step\",\"epoch\":0.5,\"loss\":1.5}\n[";
    fs::write(folder.path().join(JSON_LINES), text).unwrap();
    let history = History::read(folder.path()).unwrap();
    assert_eq!(history.steps, [history::Step { epoch: 0.5, loss: 1.5 }]);
    drop(Log::open(folder.path()).unwrap());
    assert_eq!(fs::read_to_string(folder.path().join(JSON_LINES)).unwrap(), format!("{text}\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_that_is_a_device_has_no_history() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join(JSON_LINES)).unwrap();
    assert_eq!(History::read(folder.path()).unwrap(), History::default());
}

#[test]
fn the_table_has_one_header_and_a_line_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    interrupted(folder.path());
    assert_eq!(
        fs::read_to_string(folder.path().join(TABLE)).unwrap(),
        "epoch,training_loss,training_top1,validation_loss,validation_top1,validation_top5,\
         validation_mean_average_precision,lr,images_per_second,seconds\n\
         1.0,2.0,,inf,0.75,,,0.1,64.0,100.0\n\
         2.0,2.0,0.5,inf,0.75,,,0.1,64.0,200.0\n\
         3.0,2.0,0.5,inf,0.75,,,0.1,64.0,90.0\n"
    );
}

#[test]
fn every_run_leaves_an_event_file_that_begins_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    interrupted(folder.path());
    let mut log = Log::open(folder.path()).unwrap();
    log.write(&start(Origin::Fresh));
    let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.to_string_lossy().contains("/events.out.tfevents.")).collect();
    // Runs of one process within a second share a file.
    assert!(!files.is_empty());
    for file in files {
        assert_eq!(fs::read(file).unwrap()[21..36], *b"\x1a\x0dbrain.Event:2");
    }
}
