//! Training on the CPU.

pub mod random;
