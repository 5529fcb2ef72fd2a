//! Training on the CPU.

pub mod average;
pub mod optim;
pub mod random;
