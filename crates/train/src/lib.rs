//! Training on the CPU.

pub mod average;
pub mod checkpoint;
pub mod loss;
pub mod optim;
pub mod random;
pub mod recipe;
pub mod schedule;
