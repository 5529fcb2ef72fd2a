use mobilenet_net::arch::{Spec, find};
use mobilenet_net::{Activation, Padding, init};

use super::*;

fn network(model: &str, width: f64) -> Network {
    let spec = Spec { width, classes: 3, total_stride: 8, padding: Padding::Same, ..Spec::default() };
    Network { table: find(model).unwrap(), spec }
}

fn checkpoint(step: u64) -> Checkpoint {
    let network = network("mobilenet_v3_small", 0.35);
    let weights = init::random(&network.table.graph(&network.spec).unwrap(), step).tensors;
    let tensor = |x: f32| Tensor::from_f32(&[2, 2], vec![x, -0.0, f32::MIN_POSITIVE / 2.0, 1.0 + f32::EPSILON]);
    Checkpoint {
        network,
        weights,
        optimizer: [("momentum.stem.conv.weight".to_owned(), tensor(0.1))].into(),
        average: [("stem.conv.weight".to_owned(), tensor(f32::MAX))].into(),
        position: Position {
            epoch: 3,
            step_in_epoch: 17,
            step,
            optimizer_steps: u64::MAX,
            average_updates: (1 << 53) + 1,
            lacks_evaluation: true,
            lacks_classifier: true,
            best: Some(Best { score: 0.875, loss: 0.1 + 0.2, epoch: 2 }),
        },
        recipe: "lr = 0.1 # \"quoted\"\n".into(),
        classes: vec!["cat".into(), "größer Hund".into(), "a, \"b\"".into()],
        extra: [("log".to_owned(), "3".to_owned())].into(),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_comes_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("new folder");
    let saved = checkpoint(1);
    saved.clone().save(&folder).unwrap();
    let found = Checkpoint::load(&folder).unwrap();
    assert_eq!(found.checkpoint, saved);
    assert_eq!((found.path, found.notice), (folder.join(NEWEST), None));
    let bytes = fs::read(folder.join(NEWEST)).unwrap();
    saved.clone().save(&folder).unwrap();
    assert_eq!(bytes, fs::read(folder.join(NEWEST)).unwrap());
}

#[test]
fn the_previous_one_is_kept_and_taken_where_the_newest_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for step in 1..=3 {
        checkpoint(step).save(folder).unwrap();
    }
    assert_eq!(names(folder), [PREVIOUS, NEWEST]);
    let newest = folder.join(NEWEST);
    let whole = fs::read(&newest).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bytes in [&whole[..whole.len() - 1], &whole[..100], &[], &flipped] {
        fs::write(&newest, bytes).unwrap();
        let found = Checkpoint::load(folder).unwrap();
        assert_eq!(found.checkpoint, checkpoint(2));
        let notice = found.notice.unwrap();
        assert!(notice.starts_with(&newest.display().to_string()) && notice.contains("; going on from "), "{notice}");
    }
    fs::write(folder.join(PREVIOUS), &flipped).unwrap();
    let error = Checkpoint::load(folder).unwrap_err().to_string();
    assert_eq!(error, format!("{}: damaged: its content does not give its checksum", newest.display()));
}

#[test]
fn a_stop_at_any_moment_of_saving_leaves_a_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    checkpoint(1).save(folder).unwrap();
    checkpoint(2).save(folder).unwrap();
    let [newest, previous, next] = [NEWEST, PREVIOUS, NEXT].map(|name| folder.join(name));
    let step = || Checkpoint::load(folder).unwrap().checkpoint.position.step;
    // While the third is being written, when it is whole, between the renames, after them.
    fs::write(folder.join(".mobilenet-half"), b"half").unwrap();
    assert_eq!(step(), 2);
    weights::save(&next, &file::write(checkpoint(3))).unwrap();
    assert_eq!(step(), 2);
    fs::rename(&newest, &previous).unwrap();
    assert_eq!(step(), 3);
    checkpoint(4).save(folder).unwrap();
    assert_eq!(step(), 4);
}

#[test]
fn no_checkpoint_and_no_room_are_said_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let newest = folder.join(NEWEST);
    let error = Checkpoint::load(folder).unwrap_err().to_string();
    assert_eq!(error, format!("{}: there is no checkpoint to go on from", newest.display()));
    let network = network("mobilenet_v3_small", 0.35);
    let params = init::random(&network.table.graph(&network.spec).unwrap(), 1);
    weights::save(&newest, &params).unwrap();
    let error = Checkpoint::load(folder).unwrap_err().to_string();
    assert_eq!(error, format!("{}: a weights file, not a checkpoint; give it as --from", newest.display()));
    let file = folder.join("file");
    fs::write(&file, b"").unwrap();
    let error = checkpoint(1).save(&file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot be written: ", file.display())), "{error}");
}

#[test]
fn a_checkpoint_of_another_network_is_refused_with_both_names() {
    let saved = checkpoint(1);
    let path = Path::new("run/checkpoint.safetensors");
    saved.expect(&saved.network, path).unwrap();
    let error = saved.expect(&network("mobilenet_v2", 0.5), path).unwrap_err().to_string();
    assert_eq!(
        error,
        "run/checkpoint.safetensors: the checkpoint is of mobilenet_v3_small (width 0.35, 3 classes, total stride 8), \
         and mobilenet_v2 (width 0.5, 3 classes, total stride 8) is to be trained: begin another run in another folder (-o)"
    );
    let mut close = saved.network.clone();
    close.spec.activation = Some(Activation::Relu);
    let error = saved.expect(&close, path).unwrap_err().to_string();
    assert!(error.contains("the table's activation, and ") && error.contains("relu activation is"), "{error}");
    let mut close = saved.network.clone();
    close.table.rows[1].kernel = 7;
    assert!(saved.expect(&close, path).unwrap_err().to_string().contains("other rows in its table"));
}
