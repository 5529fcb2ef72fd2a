//! Flags of a network that photos are given to.

use std::path::{Path, PathBuf};

use clap::Args;
use mobilenet::net::built_in;
use mobilenet::run::ClassifierOptions;

use super::{KnownArgs, PhotoArgs, PrecisionArg, weights_file};
use crate::failure::Failure;

/// Weights, what is known better than they tell, and how to run them.
#[derive(Args)]
pub struct NetworkArgs {
    /// Weights in any format that is read, or a name that `mobilenet pull` has fetched [default: the built-in network]
    #[arg(long, value_name = "FILE", value_parser = weights_file())]
    weights: Option<PathBuf>,
    /// How weights are stored
    #[arg(long, default_value = "f32")]
    precision: PrecisionArg,
    /// Threads [default: what quota, affinity and cores allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: Option<u64>,
    #[command(flatten)]
    photo: PhotoArgs,
    #[command(flatten)]
    known: KnownArgs,
}

impl NetworkArgs {
    /// The weights file, or the built-in network's name.
    pub fn weights(&self) -> &Path {
        self.weights.as_deref().unwrap_or(Path::new(built_in::NAME))
    }

    /// What is known better than the weights tell, and how to run them.
    pub fn options(&self) -> Result<ClassifierOptions, Failure> {
        Ok(ClassifierOptions {
            network: self.known.overrides()?,
            preprocessing: self.photo.overrides(),
            labels: self.photo.labels.clone(),
            threads: self.threads.map(|n| n as usize),
            precision: self.precision.into(),
        })
    }
}

/// Says so where photos are looked at by the built-in network.
pub fn say_built_in(weights: &Path, classes: usize) {
    if weights.as_os_str() == built_in::NAME {
        note!(
            "by the built-in network of {classes} classes (`mobilenet info {}`); --weights takes others: `mobilenet pull \
             torchvision/mobilenet_v2` fetches one of 1,000",
            built_in::NAME
        );
    }
}
