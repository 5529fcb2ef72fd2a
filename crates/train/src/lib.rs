//! Training on the CPU: a network differentiated into a planned list of steps, optimizers, losses, checkpoints.

mod accumulate;
pub mod arena;
pub mod average;
pub mod checkpoint;
mod differentiate;
pub mod error;
pub mod evaluate;
pub mod explain;
pub mod folded;
pub mod folder;
mod kept;
mod layer;
pub mod loss;
pub mod measure;
mod memory;
mod norm;
mod objective;
pub mod optim;
mod photos;
pub mod program;
pub mod recipe;
pub mod reestimate;
pub mod schedule;
mod step;
mod steps;
mod teacher;
pub mod trainer;

pub use arena::TrainArena;
pub use error::Error;
pub use evaluate::{Evaluation, evaluate};
pub use folder::RunFolder;
pub use mobilenet_run::MemoryUse;
pub use objective::Outcome;
pub use program::{Forward, Statistics, TrainOptions, TrainProgram};
pub use recipe::Recipe;
pub use trainer::{Event, Trainer};
