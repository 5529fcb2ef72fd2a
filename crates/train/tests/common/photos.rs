//! Small photos to train on, made here.

use std::path::Path;
use std::sync::Arc;

use mobilenet_data::Dataset;
use mobilenet_kernels::Pool;
use mobilenet_testing::photos::write_classes;
use mobilenet_train::trainer::{Control, Ended, Event, MODEL, Resumed};
use mobilenet_train::{Error, Recipe, Trainer};

/// Photos of three classes, told apart by their colour: fourteen of each, 20×20 pixels.
pub fn photos(folder: &Path) -> Arc<Dataset> {
    write_classes(folder, 14);
    Arc::new(Dataset::open(folder).unwrap())
}

/// Two epochs of a small V2 without anything random but the order, with these keys changed.
pub fn recipe(keys: &[(&str, &str)]) -> Recipe {
    let mut recipe =
        Recipe { width: 0.25, total_stride: 8, resolution: 16, batch: 8, epochs: 2.0, seed: 3, ..Recipe::default() };
    let fixed = [("augmentation.crop", "none"), ("augmentation.flip", "0"), ("dropout", "0")];
    for (key, value) in fixed.iter().chain(keys) {
        recipe.set(key, value).unwrap();
    }
    recipe
}

pub fn trainer(recipe: &Recipe, data: &Arc<Dataset>, folder: &Path) -> Trainer {
    with_threads(recipe, data, folder, 2).unwrap()
}

pub fn with_threads(recipe: &Recipe, data: &Arc<Dataset>, folder: &Path, threads: usize) -> Result<Trainer, Error> {
    let pool = Arc::new(Pool::new(threads));
    Trainer::new(recipe.clone(), data.clone(), Some(data.clone()), folder, &pool, None)
}

/// Trains to the end with two threads, as [`run_with_threads`].
pub fn run(recipe: &Recipe, data: &Arc<Dataset>, folder: &Path, stops: &[u64]) -> Vec<u8> {
    run_with_threads(recipe, data, folder, 2, stops)
}

/// Trains to the end, stopping after each number of steps in `stops` and going on with a new trainer. The model's file.
pub fn run_with_threads(recipe: &Recipe, data: &Arc<Dataset>, folder: &Path, threads: usize, stops: &[u64]) -> Vec<u8> {
    for (i, stop) in stops.iter().chain([&u64::MAX]).enumerate() {
        let mut trainer = with_threads(recipe, data, folder, threads).unwrap();
        if i > 0 {
            assert_eq!(trainer.resume().unwrap(), Resumed::default());
        }
        let mut left = *stop;
        let ended = trainer.run(&mut |event| {
            left -= u64::from(matches!(event, Event::Step { .. }));
            if left == 0 { Control::Stop } else { Control::Continue }
        });
        assert_eq!(ended.unwrap(), if *stop == u64::MAX { Ended::Done } else { Ended::Stopped });
    }
    std::fs::read(folder.join(MODEL)).unwrap()
}
