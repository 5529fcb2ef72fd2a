//! What can be wrong between a file and an answer.

use crate::{image, labels};

/// An error of this crate. Its text says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of the network or its weights.
    #[error(transparent)]
    Network(#[from] mobilenet_net::Error),
    /// Of a photo.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// Of a list of class names.
    #[error(transparent)]
    Labels(#[from] labels::Error),
    /// Of the instruction set asked for by `MOBILENET_ISA`.
    #[error(transparent)]
    Isa(#[from] mobilenet_kernels::cpu::IsaError),
    /// Sizes or deviations that no photo can be brought to.
    #[error("preprocessing needs sizes of 1 to 8192 pixels and deviations above 0")]
    Preprocessing,
    /// A file that is not what its own pairs prove.
    #[error("{}: it is not what its checked pairs prove: {faults}; mend it, or take it as it is with --despite-pairs", path.display())]
    Pairs {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        faults: String,
    },
    /// Photos have three channels; the network takes another number.
    #[error("{network} takes {channels} input channels; photos have 3 (use `run` with a tensor)")]
    Channels {
        /// The network.
        network: String,
        /// What it takes.
        channels: usize,
    },
}
