//! What can be wrong with training.

/// An error of this crate. Its text says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of the network or its weights.
    #[error(transparent)]
    Network(#[from] mobilenet_net::Error),
    /// A node that the trainer cannot differentiate.
    #[error("{node}: {what} cannot be trained")]
    Operator {
        /// The node.
        node: String,
        /// Its operator.
        what: String,
    },
    /// Of the photos.
    #[error(transparent)]
    Data(#[from] mobilenet_data::Error),
    /// Photos that cross-entropy cannot learn from.
    #[error(
        "{photo} has {} labels; loss = \"cross_entropy\" needs one a photo: set loss = \"binary\" for any number",
        if *labels == 0 { "no".to_owned() } else { labels.to_string() }
    )]
    Labels {
        /// The first such photo.
        photo: String,
        /// How many labels it has.
        labels: usize,
    },
    /// Training has run away.
    #[error(
        "at step {step} {layer} is not a number any more: lower the learning rate (--lr) or clip gradients (clip_norm); \
         the last good checkpoint is in {}", folder.display()
    )]
    NotANumber {
        /// Where it was seen first.
        layer: String,
        /// When.
        step: u64,
        /// The run's folder.
        folder: std::path::PathBuf,
    },
}
