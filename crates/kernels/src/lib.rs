//! Kernels over the blocked layout. No meaning here: no graphs, no files.
//!
//! Every layer is an object with packed weights and a `run`: it checks its buffers, cuts itself into tasks for a
//! [`pool::Pool`], and calls the tiles of an instruction set ([`cpu::Isa`]). Tiles are written once over sixteen lanes
//! and compiled for each set in `isa`.

pub mod aligned;
pub mod bf16;
pub mod cpu;
pub mod dense;
pub mod depthwise;
pub mod elementwise;
pub mod epilogue;
pub mod f16;
pub mod fc;
pub mod grad;
pub mod inverted_residual;
mod isa;
pub mod layout;
pub mod norm;
mod pack;
pub mod peak;
pub mod pointwise;
pub mod pool;
pub mod pool2d;
mod prefetch;
pub mod prologue;
pub mod reference;
pub mod resize;
mod split;
pub mod window;

pub use aligned::AlignedBuf;
pub use cpu::Isa;
pub use epilogue::Activation;
pub use pool::Pool;
pub use window::Geometry;
