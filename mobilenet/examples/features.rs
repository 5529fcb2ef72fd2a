//! A photo's features instead of its class: for search, de-duplication, or a head of one's own.
//!
//!     cargo run --release -p mobilenet --example features -- mobilenet_v2.pth photo.jpg
//!
//! Every block of a network is a tap: `block14` is its output, `block14.expand` its expansion after the activation.

use std::sync::Arc;

use mobilenet::run::preprocess::preprocess;
use mobilenet::run::program::Options;
use mobilenet::{Image, Pool, Program};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [weights, photo] = arguments()?;
    let loaded = mobilenet::net::load(weights, &Default::default())?;

    // Only what these three need is compiled: no classifier.
    let outputs = ["block4", "features", "pooled"].map(String::from).to_vec();
    let options = Options { outputs, ..Options::default() };
    let program = Program::compile(&loaded.graph, loaded.params, &options)?;

    let preprocessing = loaded.recognised.preprocessing;
    let [h, w] = preprocessing.size;
    let mut arena = program.arena(1, h, w, &Arc::new(Pool::new(1)))?;
    preprocess(&Image::open(photo)?, &preprocessing, arena.input_mut());
    program.run(&mut arena);

    for (name, shape) in arena.outputs() {
        println!("{name}: {} channels of {}×{} pixels", shape.c, shape.h, shape.w);
    }
    let embedding = arena.output("pooled").ok_or("no pooled output")?;
    let length = embedding.iter().map(|x| x * x).sum::<f32>().sqrt();
    println!("an embedding of {} values, length {length:.3}", embedding.len());
    Ok(())
}

fn arguments() -> Result<[String; 2], &'static str> {
    std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "give WEIGHTS and PHOTO")
}
