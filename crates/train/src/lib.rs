//! Training on the CPU: a network differentiated into a planned list of steps, optimizers, losses, checkpoints.

pub mod arena;
pub mod average;
pub mod checkpoint;
mod differentiate;
pub mod error;
mod layer;
pub mod loss;
mod norm;
pub mod optim;
pub mod program;
pub mod random;
pub mod recipe;
pub mod schedule;
mod step;

pub use arena::TrainArena;
pub use error::Error;
pub use program::{Forward, Statistics, TrainOptions, TrainProgram};
