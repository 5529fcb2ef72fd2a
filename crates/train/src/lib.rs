//! Training on the CPU.
