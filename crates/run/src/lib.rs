//! From graph and weights to results: compiling to an allocation-free program, photos, classification.

pub mod arena;
mod compile;
pub mod measure;
pub mod picture;
mod plan;
pub mod program;
pub mod reference;

pub use arena::Arena;
pub use program::{Options, Program};
