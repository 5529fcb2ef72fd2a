//! From graph and weights to results.

pub mod classify;
pub mod image;
pub mod labels;
pub mod preprocess;
pub mod resize;

pub use image::Image;
pub use labels::Labels;
pub use preprocess::preprocess;
