//! Training on the CPU: a network differentiated into a planned list of steps, optimizers, losses, checkpoints.

pub mod arena;
mod differentiate;
pub mod error;
mod layer;
mod norm;
pub mod program;
mod step;

pub use arena::TrainArena;
pub use error::Error;
pub use program::{Forward, Statistics, TrainOptions, TrainProgram};
