//! From graph and weights to results: compiling to an allocation-free program, photos, classification.

pub mod arena;
pub mod canvas;
pub mod classifier;
pub mod classify;
mod compile;
pub mod error;
pub mod image;
pub mod labels;
pub mod measure;
pub mod memory;
mod ordered;
pub mod picture;
pub mod plan;
pub mod preprocess;
pub mod program;
pub mod reference;
pub mod resize;
pub mod sheet;
mod slices;

pub use arena::{Arena, window_geometry};
pub use canvas::Canvas;
pub use classifier::{Classifier, ClassifierOptions, Prediction, Worker};
pub use compile::kernel_activation;
pub use error::Error;
pub use image::Image;
pub use labels::Labels;
pub use preprocess::preprocess;
pub use program::{Options, Precision, Program};
pub use sheet::ContactSheet;
pub use slices::MemoryUse;
