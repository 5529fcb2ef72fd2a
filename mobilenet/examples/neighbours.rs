//! How good a network's features are for search: of how many photos the nearest other one shows the same class.
//!
//!     cargo run --release -p mobilenet --example neighbours -- WEIGHTS PHOTOS
//!
//! PHOTOS is a folder per class, or a CSV as `mobilenet eval` takes it.

use std::ops::ControlFlow;
use std::path::Path;

use mobilenet::data::Dataset;
use mobilenet::run::embed::cosine;
use mobilenet::run::{Embedder, Features};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, photos] = &arguments[..] else { return Err("give WEIGHTS and PHOTOS".into()) };
    let dataset = Dataset::open(photos)?;
    let embedder = Embedder::open(Path::new(weights), Features::Pooled, &Default::default())?;

    let mut vectors: Vec<(Vec<u32>, Vec<f32>)> = Vec::new();
    embedder.each(
        0..dataset.len(),
        |&photo| dataset.read(photo),
        |photo, vector| {
            match vector {
                Ok(vector) => vectors.push((dataset.items()[photo].target.labels().to_vec(), vector)),
                Err(error) => eprintln!("{error}"),
            }
            ControlFlow::Continue(())
        },
    )?;
    let is_found = |i: usize| {
        let (class, vector) = &vectors[i];
        let others = vectors.iter().enumerate().filter(|(j, _)| *j != i);
        let nearest = others.max_by(|(_, (_, a)), (_, (_, b))| cosine(a, vector).total_cmp(&cosine(b, vector)));
        nearest.is_some_and(|(_, (other, _))| other == class)
    };
    let found = (0..vectors.len()).filter(|&i| is_found(i)).count();
    println!(
        "{found} of {} photos: {:.1} % have a nearest other photo of their class",
        vectors.len(),
        100.0 * found as f64 / vectors.len() as f64
    );
    Ok(())
}
