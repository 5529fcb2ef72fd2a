//! Training on a small set of photos made here: it learns, repeats its bits, goes on where it stopped, and says why it
//! cannot.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::photos::{photos, run_with_threads, with_threads};
use mobilenet_data::Dataset;
use mobilenet_kernels::Pool;
use mobilenet_net::arch::{self, Spec};
use mobilenet_net::preprocessing::ChannelOrder;
use mobilenet_net::{Loaded, Recognised, init, weights};
use mobilenet_run::{Classifier, Image};
use mobilenet_train::checkpoint::Checkpoint;
use mobilenet_train::trainer::{Control, Ended, Event, MODEL, Machine, Start, Trainer};
use mobilenet_train::{Error, Recipe};

fn recipe() -> Recipe {
    let mut recipe =
        Recipe { width: 0.25, total_stride: 8, resolution: 16, batch: 8, epochs: 6.0, ..Recipe::default() };
    for (key, value) in [
        ("lr", "0.05"),
        ("augmentation.crop", "padded"),
        ("augmentation.padding", "2"),
        ("average", "0.8"),
        ("seed", "3"),
    ] {
        recipe.set(key, value).unwrap();
    }
    recipe
}

fn trainer(recipe: Recipe, data: &Arc<Dataset>, folder: &Path, threads: usize) -> Result<Trainer, Error> {
    with_threads(&recipe, data, folder, threads)
}

/// Trains by the recipe above.
fn run(data: &Arc<Dataset>, folder: &Path, threads: usize, stops: &[u64]) -> Vec<u8> {
    run_with_threads(&recipe(), data, folder, threads, stops)
}

#[test]
fn going_on_gives_the_bits_of_not_stopping_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let whole = run(&data, &folder.path().join("whole"), 1, &[]);
    assert!(whole == run(&data, &folder.path().join("stopped"), 2, &[1, 5, 3, 11]), "stopping changed the weights");
    assert!(whole == run(&data, &folder.path().join("three"), 3, &[]), "three threads changed the weights");
}

#[test]
fn an_epoch_goes_on_at_the_same_share_of_it_with_another_batch() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let run = folder.path().join("run");
    let recipe = |batch| Recipe { batch, epochs: 2.0, ..recipe() };
    let mut left = 3;
    let mut first = trainer(recipe(7), &data, &run, 1).unwrap();
    let ended = first.run(&mut |event| {
        left -= u32::from(matches!(event, Event::Step { .. }));
        if left == 0 { Control::Stop } else { Control::Continue }
    });
    assert_eq!(ended.unwrap(), Ended::Stopped);
    let mut second = trainer(recipe(14), &data, &run, 1).unwrap();
    let resumed = second.resume().unwrap();
    assert_eq!(resumed.warnings, ["batch is 7 in the checkpoint and 14 now: epochs go on as counted"]);
    let (mut steps, mut epochs) = (Vec::new(), Vec::new());
    let ended = second.run(&mut |event| {
        match event {
            Event::Step { epoch, .. } => steps.push((epoch * 3.0).round()),
            Event::Epoch { epoch, .. } => epochs.push(*epoch),
            _ => {}
        }
        Control::Continue
    });
    // Half an epoch of six steps is one step and a half of three.
    assert_eq!((ended.unwrap(), steps, epochs), (Ended::Done, vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![1.0, 2.0]));
}

#[test]
fn a_stop_after_an_epochs_last_step_leaves_its_evaluation_to_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    for epochs in [1.0, 2.0] {
        let run = folder.path().join(format!("run {epochs}"));
        let recipe = || Recipe { batch: 14, epochs, ..recipe() };
        let mut left = 3;
        let ended = trainer(recipe(), &data, &run, 1).unwrap().run(&mut |event| {
            left -= u32::from(matches!(event, Event::Step { .. }));
            if left == 0 { Control::Stop } else { Control::Continue }
        });
        assert_eq!(ended.unwrap(), Ended::Stopped);
        let mut second = trainer(recipe(), &data, &run, 1).unwrap();
        second.resume().unwrap();
        let mut figures = Vec::new();
        let ended = second.run(&mut |event| {
            if let Event::Epoch { epoch, training_loss, validation, .. } = event {
                figures.push((*epoch, training_loss.is_some(), validation.is_some()));
            }
            Control::Continue
        });
        assert_eq!(ended.unwrap(), Ended::Done);
        assert_eq!(figures, [(1.0, false, true), (2.0, true, true)][..epochs as usize]);
    }
}

#[test]
fn a_run_that_is_stopped_at_its_very_last_step_still_ends_as_others_do() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let mut recipe = Recipe { epochs: 1.5, bn_reestimate: 16, ..recipe() };
    recipe.average = None;
    let whole = run_with_threads(&recipe, &data, &folder.path().join("whole"), 2, &[]);
    let stopped = run_with_threads(&recipe, &data, &folder.path().join("stopped"), 2, &[9]);
    assert!(whole == stopped, "the statistics that follow the last step were left out");
}

#[test]
fn a_name_to_be_frozen_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let wrong = Recipe { freeze: vec!["block1.".into(), "blokc2.".into()], ..recipe() };
    let error = trainer(wrong, &data, folder.path(), 1).err().unwrap().to_string();
    assert!(error.starts_with("freeze has \"blokc2.\", which no parameter's name begins with"), "{error}");
}

#[test]
fn the_trained_file_classifies_with_its_own_labels_and_preprocessing() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    // An average: every instruction set's last steps, which differ by chance, end at the same answers.
    let recipe = Recipe { epochs: 40.0, lr: 0.01, bn_momentum: 0.3, average: Some(0.9), ..recipe() };
    let mut trainer = trainer(recipe, &data, folder.path(), 2).unwrap();
    trainer.run(&mut |_| Control::Continue).unwrap();
    let figures = trainer.evaluate().unwrap().unwrap();
    assert!(figures.top1 > Some(0.9), "three colours were not learned: {figures:?}");
    let classifier = Classifier::open(folder.path().join(MODEL)).unwrap();
    let names: Vec<&str> = classifier.labels().iter().collect();
    assert_eq!(names, ["blue sky", "grün", "red"]);
    assert_eq!(classifier.recognised().spec.total_stride, 8);
    assert_eq!(classifier.recognised().guesses, [""; 0]);
    let right = (0..data.len()).filter(|&i| {
        let image: Image = data.read(i).unwrap();
        data.name(i).contains(&classifier.classify(&image, 1)[0].label)
    });
    assert_eq!(right.count(), (figures.top1.unwrap() * data.len() as f64).round() as usize);
}

#[test]
fn a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let run = folder.path().join("run");
    trainer(Recipe { epochs: 1.0, ..recipe() }, &data, &run, 1).unwrap().run(&mut |_| Control::Continue).unwrap();
    let good = weights::open(run.join(MODEL)).unwrap();
    let mut wild = trainer(Recipe { lr: 1000.0, weight_decay: 1.0, epochs: 20.0, ..recipe() }, &data, &run, 1).unwrap();
    wild.resume().unwrap();
    let error = wild.run(&mut |_| Control::Continue).unwrap_err().to_string();
    assert!(error.contains("is not a number any more: lower the learning rate"), "{error}");
    assert!(weights::open(run.join(MODEL)).unwrap() == good, "the last good weights were replaced");
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    trainer(Recipe { epochs: 1.0, ..recipe() }, &data, folder.path(), 1)
        .unwrap()
        .run(&mut |_| Control::Continue)
        .unwrap();
    let mut other = trainer(Recipe { width: 0.5, ..recipe() }, &data, folder.path(), 1).unwrap();
    let error = other.resume().unwrap_err().to_string();
    assert!(error.contains("the checkpoint is of mobilenet_v2"), "{error}");
}

#[test]
fn a_stop_before_the_classifier_is_learned_leaves_that_to_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let run = folder.path().join("run");
    let recipe = || Recipe { head_first: true, epochs: 1.0, ..recipe() };
    let spec = Spec { width: recipe().width, total_stride: recipe().total_stride, ..Spec::default() };
    let graph = arch::find(&recipe().model).unwrap().graph(&spec).unwrap();
    let start =
        Start { path: "w".into(), spec, params: init::random(&graph, 1), labels: None, licence: None, kept: None };
    let machine = || Machine::from(&Arc::new(Pool::new(1)));
    let mut first = Trainer::new(recipe(), data.clone(), None, &run, machine(), Some(start)).unwrap();
    let stop = |event: &Event| if matches!(event, Event::Features { .. }) { Control::Stop } else { Control::Continue };
    assert_eq!(first.run(&mut |event| stop(event)).unwrap(), Ended::Stopped);
    // A classifier of random numbers is nobody's.
    assert!(!run.join("model.safetensors").exists());
    let found = Checkpoint::load(&run).unwrap();
    let mut second = Trainer::new(recipe(), data, None, &run, machine(), Some(Start::checkpoint(found))).unwrap();
    second.resume().unwrap();
    let mut heads = 0;
    let ended = second.run(&mut |event| {
        heads += usize::from(matches!(event, Event::Head { .. }));
        Control::Continue
    });
    assert_eq!((ended.unwrap(), heads), (Ended::Done, 1));
}

#[test]
fn weights_that_read_blue_first_are_begun_with_red_first() {
    let spec = Spec { width: 0.25, ..Spec::default() };
    let table = arch::find("mobilenet_v2").unwrap();
    let graph = table.graph(&spec).unwrap();
    let params = init::random(&graph, 1);
    let start = |channel_order| {
        let mut recognised = Recognised::ours(table.clone(), spec.clone(), recipe().preprocessing());
        recognised.preprocessing.channel_order = channel_order;
        let start = Start::of(Path::new("w"), Loaded { recognised, graph: graph.clone(), params: params.clone() });
        start.params.tensors["stem.conv.weight"].clone().into_f32()
    };
    let (red_first, blue_first) = (start(ChannelOrder::Rgb), start(ChannelOrder::Bgr));
    assert_eq!(red_first, params.tensors["stem.conv.weight"].clone().into_f32());
    for (a, b) in red_first.chunks_exact(27).zip(blue_first.chunks_exact(27)) {
        assert_eq!([&a[..9], &a[9..18], &a[18..]], [&b[18..], &b[9..18], &b[..9]]);
    }
}

#[test]
fn a_trained_network_that_cannot_be_calibrated_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let run = folder.path().join("run");
    let recipe = Recipe { epochs: 1.0, refused: Some(0.1), ..recipe() };
    let pool = Arc::new(Pool::new(1));
    let mut trainer = Trainer::new(recipe, data.clone(), Some(data), &run, &pool, None).unwrap();
    let mut reasons = Vec::new();
    let ended = trainer.run(&mut |event| {
        match event {
            Event::Epoch { .. } => std::fs::write(run.join(MODEL), "no network").unwrap(),
            Event::Uncalibrated { reason } => reasons.push(reason.clone()),
            _ => {}
        }
        Control::Continue
    });
    assert_eq!(ended.unwrap(), Ended::Done);
    assert!(reasons.len() == 1 && reasons[0].contains(MODEL), "{reasons:?}");
}
