//! Data sets of photos: opening, augmenting and loading them in batches.
//!
//! A [`Dataset`] is a folder per class, a CSV beside an archive, or tar shards. A [`Loader`] decodes and augments it ahead of the
//! trainer, in an order and with random numbers that depend on seed, epoch and photo only.

pub mod affine;
mod archive;
pub mod augment;
pub mod auto;
mod cache;
pub mod check;
pub mod color;
pub mod crop;
mod csv;
pub mod dataset;
pub mod error;
pub mod folder;
pub mod loader;
pub mod mix;
mod order;
mod part;
mod policies;
mod queue;
pub mod random;
pub mod sampling;
mod shards;
pub mod split;
mod splits;
mod stream;
mod table;

pub use augment::Augment;
pub use dataset::{Dataset, Item, Source, Target};
pub use error::Error;
pub use loader::{Batch, Epoch, Loader, LoaderOptions, Unreadable};
pub use mix::Mixed;
pub use part::Part;
pub use random::Random;
pub use sampling::Sampling;
pub use split::{ByContent, Scenes};
pub use splits::Splits;
