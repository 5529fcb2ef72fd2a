//! How fast batches are made: `cargo run --release -p mobilenet-data --example loading -- DATA [SIDE [BATCH [WORKERS]]]`.

use mobilenet_data::{Augment, Dataset, Loader, LoaderOptions, auto::Auto};
use mobilenet_net::graph::Padding;
use mobilenet_net::names::Origin;
use mobilenet_net::preprocessing::Preprocessing;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(data) = arguments.first() else { return Err("usage: loading DATA [SIDE [BATCH [WORKERS]]]".into()) };
    let number = |index: usize, default| arguments.get(index).map_or(Ok(default), |text| text.parse::<usize>());
    let (side, batch, workers) = (number(1, 32)?, number(2, 64)?, number(3, 1)?);

    let start = Instant::now();
    let set = Arc::new(Dataset::open(data)?);
    println!("opened {} photos in {:.2} s", set.len(), start.elapsed().as_secs_f64());
    let preprocessing = Preprocessing::for_origin(Origin::Torchvision, Padding::Symmetric, 1000, Some(side));
    let options = LoaderOptions { workers, ..LoaderOptions::training(batch, 0, preprocessing, Augment::small()) };
    let mut loader = Loader::new(set, options);

    let rand = Augment { auto: Some(Auto::Rand { count: 2, magnitude: 9 }), ..Augment::small() };
    let auto = Augment { auto: Some(Auto::Cifar10), ..Augment::small() };
    let recipes = [("padded crop, flip", Augment::small()), ("random resized crop, flip", Augment::standard())];
    let recipes = recipes.into_iter().chain([("padded crop, flip, RandAugment", rand), ("…, AutoAugment", auto)]);
    let recipes = [("padded crop, flip, decoding", Augment::small())].into_iter().chain(recipes);
    for (epoch, (name, augment)) in recipes.enumerate() {
        loader.set_options(LoaderOptions { augment, ..options });
        let start = Instant::now();
        let mut photos = 0;
        for batch in loader.epoch(epoch as u64, 0) {
            let batch = batch?;
            photos += batch.len();
            loader.recycle(batch);
        }
        println!("{name}: {:.0} images/s, {workers} workers", photos as f64 / start.elapsed().as_secs_f64());
    }
    println!("{} unreadable", loader.unreadable().len());
    Ok(())
}
