//! The photos' size may change between epochs.

mod common;

use common::photos::{photos, recipe, run};
use mobilenet_net::weights;
use mobilenet_run::Classifier;
use mobilenet_train::trainer::MODEL;

#[test]
fn going_on_across_a_change_of_size_changes_no_bit() {
    let keys = [("resolution", "24"), ("resolutions", "[[0, 16], [1, 20]]"), ("epochs", "3"), ("average", "0.8")];
    let recipe = recipe(&keys);
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let whole = run(&recipe, &data, &folder.path().join("whole"), &[]);
    // An epoch has six steps.
    let stopped = run(&recipe, &data, &folder.path().join("stopped"), &[3, 3, 1, 7]);
    assert!(whole == stopped, "stopping changed the weights");
    let classifier = Classifier::open(folder.path().join("whole").join(MODEL)).unwrap();
    assert_eq!(classifier.preprocessing().size, [24; 2], "the network is used at the recipe's resolution");
}

#[test]
fn an_epoch_at_another_size_is_that_of_a_recipe_with_this_size() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let weights = |name: &str, keys: &[(&str, &str)]| {
        run(&recipe(keys), &data, &folder.path().join(name), &[]);
        weights::open(folder.path().join(name).join(MODEL)).unwrap().tensors
    };
    let small = weights("small", &[("resolution", "16"), ("epochs", "1")]);
    let first = weights("first", &[("resolution", "24"), ("resolutions", "[[0, 16]]"), ("epochs", "1")]);
    let later = weights("later", &[("resolution", "16"), ("resolutions", "[[1, 24]]"), ("epochs", "2")]);
    let all = weights("all", &[("resolution", "16"), ("epochs", "2")]);
    assert!(first == small, "the first epoch's photos are of 16 pixels");
    assert!(later != all, "the second epoch's photos are of 24 pixels");
}
