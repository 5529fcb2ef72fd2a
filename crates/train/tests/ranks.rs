//! Several ranks with the same whole batches learn what one process learns: losses within 1e-5 for five steps and 1e-3 for
//! twenty, whatever is random, weighted, mixed or uneven. The ranks are threads here; `scripts/mpi-check` has real ones.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::photos::recipe;
use common::ranks::as_ranks;
use mobilenet_data::Dataset;
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::Params;
use mobilenet_testing::difference;
use mobilenet_testing::photos::{CLASSES, bmp};
use mobilenet_train::trainer::{Control, Ended, Event, MODEL, Machine, Resumed};
use mobilenet_train::{Group, Recipe, Trainer};

/// Steps that are compared.
const STEPS: usize = 20;

/// A photo of patches in all colours around one. Plain ones leave batch norms next to no variance to divide by.
fn photo(color: [u8; 3], seed: usize) -> Vec<u8> {
    bmp(32, 32, |x, y| {
        let patch = (y / 4 * 8 + x / 4 + 64 * seed) as u64;
        let noise = patch.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        std::array::from_fn(|c| (u16::from(color[c]) / 2 + (noise >> (20 + 8 * c) & 0x7f) as u16) as u8)
    })
}

/// `each` such photos of every class.
fn photos(folder: &Path, each: [usize; 3]) -> Arc<Dataset> {
    for ((class, color), each) in CLASSES.into_iter().zip(each) {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        (0..each).for_each(|i| std::fs::write(folder.join(class).join(format!("{i}.bmp")), photo(color, i)).unwrap());
    }
    Arc::new(Dataset::open(folder).unwrap())
}

fn trainer(recipe: &Recipe, data: &Arc<Dataset>, folder: &Path, group: Option<Arc<dyn Group>>) -> Trainer {
    let machine = Machine { pool: Arc::new(Pool::new(1)), isa: Isa::detect(), group };
    Trainer::new(recipe.clone(), data.clone(), Some(data.clone()), folder, machine, None).unwrap()
}

/// The losses of the first steps, and the weights after them.
fn learn(recipe: &Recipe, data: &Arc<Dataset>, folder: &Path, group: Option<Arc<dyn Group>>) -> (Vec<f64>, Params) {
    let mut trainer = trainer(recipe, data, folder, group);
    let mut losses = Vec::new();
    let ended = trainer.run(&mut |event| {
        if let Event::Step { loss, .. } = event {
            losses.push(*loss);
        }
        if losses.len() < STEPS { Control::Continue } else { Control::Stop }
    });
    assert_eq!(ended.unwrap(), Ended::Stopped);
    (losses, trainer.params())
}

/// Asserts that 2 and 4 ranks learn what one process does, at a rate so small that the weights stay all but the same: batch
/// norms of fresh weights over few photos amplify rounding a thousandfold a step, and one process is as far from itself on
/// another instruction set. A part of the gradients that were missing would take half of the weights' way.
#[track_caller]
fn same(data: &Arc<Dataset>, keys: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[&[("epochs", "20"), ("lr", "2e-7"), ("batch", "9"), ("resolution", "32")], keys].concat());
    let (alone, weights) = learn(&recipe, data, &folder.path().join("alone"), None);
    let fresh = trainer(&recipe, data, &folder.path().join("fresh"), None).params();
    for size in [2, 4] {
        let run = folder.path().join(size.to_string());
        let ranks = as_ranks(size, |group| learn(&recipe, data, &run, Some(group)));
        assert!(ranks.iter().all(|rank| *rank == ranks[0]), "the ranks are not alike");
        let apart = |steps: usize| {
            let losses = ranks[0].0.iter().zip(&alone).take(steps);
            losses.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        let (off, statistics) = weights_apart(&ranks[0].1, &weights, &fresh);
        println!(
            "{size} ranks: losses within {:.1e} over 5 steps, {:.1e} over {STEPS}; weights {off:.1e} of their way, \
             statistics {statistics:.1e}; {keys:?}",
            apart(5),
            apart(STEPS)
        );
        assert!(apart(5) < 1e-5 && apart(STEPS) < 1e-3, "{size} ranks: {:?} and {alone:?}", ranks[0].0);
        assert!(off < 0.1 && statistics < 1e-3, "{size} ranks: weights {off}, statistics {statistics}");
    }
}

/// How far two trainings' weights are apart, over the way that they have gone from `fresh` ones, and their statistics, over
/// the largest of the tensor.
fn weights_apart(got: &Params, want: &Params, fresh: &Params) -> (f64, f64) {
    let (mut apart, mut way, mut statistics) = (0.0, 0.0, 0.0f64);
    for (name, tensor) in &want.tensors {
        let [got, want, fresh] = [&got.tensors[name], tensor, &fresh.tensors[name]].map(|t| t.clone().into_f32());
        if name.contains(".running_") {
            // Means that are zero but for rounding count as means of a tenth.
            let [got, want] = [got, want].map(|mut values| (values.push(0.1), values).1);
            statistics = statistics.max(difference(&got, &want));
        } else {
            let squares = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            (apart, way) = (apart + squares(&got, &want), way + squares(&want, &fresh));
        }
    }
    ((apart / way).sqrt(), statistics)
}

#[test]
fn v2_with_everything_random_and_an_average() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(folder.path(), [14; 3]);
    same(
        &data,
        &[
            ("batch", "14"),
            ("dropout", "0.2"),
            ("augmentation.crop", "padded"),
            ("augmentation.flip", "0.5"),
            ("augmentation.mixup", "0.2"),
            ("augmentation.cutmix", "1"),
            ("augmentation.erasing", "0.3"),
            ("average", "0.9"),
        ],
    );
}

#[test]
fn v3_with_class_weights_and_several_batches_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(folder.path(), [25, 14, 14]);
    let keys =
        [("model", "mobilenet_v3_small"), ("dropout", "0.2"), ("class_weights", "balanced"), ("accumulate", "2")];
    same(&data, &keys);
}

#[test]
fn ranks_without_a_photo_take_part() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(folder.path(), [14; 3]);
    // Of four ranks one has no photo of a batch of three, and two of the last batch, which has two.
    same(&data, &[("batch", "8"), ("model", "mobilenet_v3_small")]);
    same(&data, &[("batch", "3"), ("bn_statistics", "frozen"), ("model", "mobilenet_v3_large")]);
    same(&data, &[("batch", "8"), ("bn_statistics", "frozen"), ("clip_norm", "0.5"), ("memory", "low")]);
}

#[test]
fn any_number_of_labels() {
    let folder = tempfile::tempdir().unwrap();
    let mut csv = "file,label,label\n".to_owned();
    for i in 0..40u8 {
        let (blue, red) = (i % 2 == 1, i % 3 == 1);
        let level = |has: bool| if has { 210 } else { 40 };
        let bytes = photo([level(blue), 90, level(red)], usize::from(i));
        std::fs::write(folder.path().join(format!("{i}.bmp")), bytes).unwrap();
        let labels = [(blue, ",blue"), (red, ",red")].map(|(has, label)| if has { label } else { "" });
        csv += &format!("{i}.bmp{}\n", labels.concat());
    }
    std::fs::write(folder.path().join("labels.csv"), csv).unwrap();
    let data = Arc::new(Dataset::open(folder.path()).unwrap());
    same(&data, &[("model", "mobilenet_v3_small"), ("loss", "binary"), ("label_smoothing", "0.1")]);
}

#[test]
fn a_teacher_beside_class_weights() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"), [14; 3]);
    let teacher = folder.path().join("teacher");
    trainer(&recipe(&[("epochs", "1")]), &data, &teacher, None).run(&mut |_| Control::Continue).unwrap();
    let weights = teacher.join(MODEL).display().to_string();
    let keys = [("model", "mobilenet_v3_small"), ("class_weights", "balanced"), ("label_smoothing", "0.1")];
    same(&data, &[&keys[..], &[("teacher.weights", &weights)]].concat());
}

/// Two epochs in all, statistics estimated anew at the end; what `stop` ranks answer at the third step.
fn whole(data: &Arc<Dataset>, folder: &Path, group: Option<Arc<dyn Group>>, stop: bool, goes_on: bool) -> Ended {
    let recipe = recipe(&[("lr", "2e-7"), ("bn_reestimate", "16"), ("average", "0.5")]);
    let mut trainer = trainer(&recipe, data, folder, group);
    if goes_on {
        assert_eq!(trainer.resume().unwrap(), Resumed::default());
    }
    let mut steps = 0;
    let mut checked = Vec::new();
    let ended = trainer.run(&mut |event| {
        steps += u32::from(matches!(event, Event::Step { .. }));
        if let Event::Epoch { validation, .. } = event {
            checked.push(validation.unwrap());
        }
        if stop && steps == 3 { Control::Stop } else { Control::Continue }
    });
    assert!(checked.iter().all(|figures| figures.photos == data.len() && figures.top1.is_some()), "{checked:?}");
    ended.unwrap()
}

#[test]
fn who_stops_stops_all_and_another_number_of_ranks_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"), [14; 3]);
    let [one, two, run] = ["one", "two", "run"].map(|name| folder.path().join(name));
    assert_eq!(whole(&data, &one, None, false, false), Ended::Done);
    let ended = as_ranks(2, |group| whole(&data, &two, Some(group), false, false));
    assert_eq!(ended, [Ended::Done; 2]);
    let ended = as_ranks(3, |group| {
        let stop = group.rank() == 2;
        whole(&data, &run, Some(group), stop, false)
    });
    assert_eq!(ended, [Ended::Stopped; 3]);
    let ended = as_ranks(2, |group| whole(&data, &run, Some(group), false, true));
    assert_eq!(ended, [Ended::Done; 2]);
    let tensors = |folder: &Path| mobilenet_net::weights::open(folder.join(MODEL)).unwrap().tensors;
    let alone = tensors(&one);
    for folder in [&two, &run] {
        for (name, tensor) in tensors(folder).into_iter().filter(|(name, _)| !name.contains("golden")) {
            let [mut got, mut want] = [tensor, alone[&name].clone()].map(|tensor| tensor.into_f32());
            got.push(0.1);
            want.push(0.1);
            let apart = difference(&got, &want);
            assert!(apart < 1e-3, "{name} is off by {apart}");
        }
    }
}

#[test]
fn a_classifier_is_not_learned_first_by_several() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"), [14; 3]);
    let recipe = recipe(&[("head_first", "true")]);
    let run = folder.path().join("run");
    let errors = as_ranks(2, |group| {
        let machine = Machine { pool: Arc::new(Pool::new(1)), isa: Isa::detect(), group: Some(group) };
        Trainer::new(recipe.clone(), data.clone(), None, &run, machine, None).err().unwrap().to_string()
    });
    assert!(errors.iter().all(|error| error.starts_with("head_first = true and --head-only")), "{errors:?}");
}

#[test]
fn all_run_out_of_patience_together_and_the_first_alone_calibrates() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"), [14; 3]);
    let recipe = recipe(&[
        ("epochs", "50"),
        ("lr", "1e-12"),
        ("bn_statistics", "frozen"),
        ("patience", "2"),
        ("refused", "0.1"),
    ]);
    let told = as_ranks(2, |group| {
        let mut trainer = trainer(&recipe, &data, &folder.path().join("run"), Some(group));
        let (mut epochs, mut calibrated) = (0, 0);
        let ended = trainer.run(&mut |event| {
            epochs += u32::from(matches!(event, Event::Epoch { .. }));
            calibrated += u32::from(matches!(event, Event::Calibrated(_)));
            Control::Continue
        });
        assert_eq!(ended.unwrap(), Ended::Done);
        (epochs, calibrated)
    });
    // After how many epochs nothing gets better depends on the last bits of the loss; that all see it at once does not.
    let [(epochs, calibrated), others @ ..] = &told[..] else { panic!("a rank told nothing") };
    assert!((3..50).contains(epochs) && *calibrated == 1, "{told:?}");
    assert!(others.iter().all(|other| *other == (*epochs, 0)), "{told:?}");
}

#[test]
fn only_the_first_rank_writes() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"), [14; 3]);
    as_ranks(2, |group| {
        let run = folder.path().join(format!("run{}", group.rank()));
        whole(&data, &run, Some(group), false, false)
    });
    assert!(folder.path().join("run0").join(MODEL).exists() && !folder.path().join("run1").exists());
}

#[test]
fn a_rank_that_would_learn_something_else_is_refused_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"), [14; 3]);
    let other = photos(&folder.path().join("other"), [14; 3]);
    std::fs::write(folder.path().join("other/red/0.bmp"), "of another size").unwrap();
    for (what, keys) in [("recipe", [("lr", "0.02")]), ("photos, names or", [("lr", "0.01")])] {
        let errors = as_ranks(3, |group| {
            let is_odd = group.rank() == 1;
            let recipe = recipe(if is_odd { &keys } else { &[("lr", "0.01")] });
            let data = if is_odd && what != "recipe" { &other } else { &data };
            let mut trainer = trainer(&recipe, data, &folder.path().join("run"), Some(group));
            trainer.run(&mut |_| panic!("nothing may begin")).unwrap_err().to_string()
        });
        let start = format!("rank 1 has another {what}");
        assert!(errors.iter().all(|error| error.starts_with(&start)), "{errors:?}");
    }
}
