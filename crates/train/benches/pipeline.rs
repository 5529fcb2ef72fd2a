//! What of the speed on synthetic data training keeps on photos: V2 1.0 at 224 pixels, batches of 32, random resized crops.
//!
//! `cargo bench -p mobilenet-train --bench pipeline -- [DATA] [THREADS]`: photos of any data set, or else 256 JPEGs of
//! 500×375 pixels that are made here; 2 threads. Rounds of the three are taken in turns, and their medians given.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use mobilenet_data::{Augment, Batch, Dataset, Epoch, Loader, LoaderOptions, Random};
use mobilenet_kernels::Pool;
use mobilenet_net::arch;
use mobilenet_run::Image;
use mobilenet_run::measure::median;
use mobilenet_train::measure::Bench;
use mobilenet_train::program::TrainOptions;
use mobilenet_train::recipe::Recipe;

const BATCH: usize = 32;
const SIDE: usize = 224;
const ROUNDS: usize = 5;
/// Steps of each kind a round.
const STEPS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let threads = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(2);
    let folder = tempfile::tempdir()?;
    let data = match arguments.iter().find(|argument| argument.parse::<usize>().is_err()) {
        Some(data) => Path::new(data),
        None => write_photos(folder.path())?,
    };
    let set = Arc::new(Dataset::open(data)?);
    let spec = arch::Spec { classes: set.classes().len(), ..Default::default() };
    let graph = arch::find("mobilenet_v2")?.graph(&spec)?;
    let pool = Arc::new(Pool::new(threads));
    let mut bench = Bench::new(&graph, TrainOptions::default(), [BATCH, SIDE, SIDE], &pool)?;

    let recipe = Recipe { batch: BATCH, resolution: SIDE, ..Recipe::default() };
    let photos = LoaderOptions { drop_last: true, augment: Augment::standard(), ..recipe.training_photos(0, threads) };
    println!("{} photos of {}, {threads} threads and {} that loads", set.len(), data.display(), photos.workers);
    let from_files = Loader::new(Arc::clone(&set), LoaderOptions { cache_bytes: 0, ..photos });
    let from_cache = Loader::new(set, LoaderOptions { cache_bytes: u64::MAX, ..photos });
    for batch in from_cache.epoch(0, 0) {
        from_cache.recycle(batch?);
    }
    let (mut files, mut cache) = (Endless::new(&from_files), Endless::new(&from_cache));
    let same = files.next()?;
    let mut times = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        let mut taken = [0.0; 3];
        taken[0] = seconds(|| (0..STEPS).try_for_each(|_| step(&mut bench, &same)))?;
        for (photos, taken) in [&mut files, &mut cache].into_iter().zip(&mut taken[1..]) {
            *taken = seconds(|| {
                (0..STEPS).try_for_each(|_| {
                    let batch = photos.next()?;
                    step(&mut bench, &batch)?;
                    photos.loader.recycle(batch);
                    Ok(())
                })
            })?;
        }
        // The first round is to warm up.
        if round > 0 {
            times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
        }
    }
    let speeds = times.map(|times| (STEPS * BATCH) as f64 / median(&times));
    for (name, speed) in
        ["the same batch again and again", "JPEGs, decoded and augmented", "the cache, augmented"].iter().zip(speeds)
    {
        println!("{name}: {speed:.1} photos/s, {:.1} %", 100.0 * speed / speeds[0]);
    }
    Ok(())
}

fn seconds(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn step(bench: &mut Bench, batch: &Batch) -> Result<(), Box<dyn Error>> {
    let classes: Vec<usize> =
        batch.targets.iter().filter_map(|target| target.labels().first()).map(|&c| c as usize).collect();
    if classes.len() != batch.len() {
        return Err("photos with one class each are needed".into());
    }
    bench.step_on(&batch.images, &classes);
    Ok(())
}

/// Epoch after epoch.
struct Endless<'a> {
    loader: &'a Loader,
    epoch: u64,
    batches: Epoch,
}

impl<'a> Endless<'a> {
    fn new(loader: &'a Loader) -> Endless<'a> {
        Endless { loader, epoch: 1, batches: loader.epoch(1, 0) }
    }

    fn next(&mut self) -> Result<Batch, Box<dyn Error>> {
        if let Some(batch) = self.batches.next() {
            return Ok(batch?);
        }
        self.epoch += 1;
        self.batches = self.loader.epoch(self.epoch, 0);
        Ok(self.batches.next().ok_or("a batch of photos is needed")??)
    }
}

/// Photos with as much detail as usual ones: soft areas, edges and grain, some 2 bits a pixel.
fn write_photos(folder: &Path) -> Result<&Path, Box<dyn Error>> {
    let (width, height) = (500, 375);
    for number in 0..256 {
        let mut random = Random::new(number, 0, 0);
        let waves: [[f64; 3]; 6] =
            std::array::from_fn(|_| [random.range([0.0, 0.12]), random.range([0.0, 0.12]), random.range([10.0, 40.0])]);
        let mut rgb = Vec::with_capacity(width * height * 3);
        for at in 0..width * height {
            let (x, y) = ((at % width) as f64, (at / width) as f64);
            let light = |color: usize| {
                let wave = |[fx, fy, strength]: [f64; 3]| strength * (x * fx + y * fy + color as f64).sin();
                let edge = if (x * waves[0][0] * 0.3).sin() > (y * waves[1][1] * 0.3).cos() { 30.0 } else { -30.0 };
                128.0 + edge + waves[color..color + 4].iter().map(|&w| wave(w)).sum::<f64>()
            };
            let grain = random.range([-8.0, 8.0]);
            rgb.extend([0, 1, 2].map(|color| (light(color) + grain) as u8));
        }
        let class = folder.join(["one", "other"][number as usize % 2]);
        std::fs::create_dir_all(&class)?;
        Image::from_rgb(width, height, rgb)?.save(class.join(format!("{number}.jpg")))?;
    }
    Ok(folder)
}
