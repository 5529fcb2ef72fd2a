//! Kernels over the blocked layout. No meaning here: no graphs, no files.

pub mod cpu;
pub mod pool;
