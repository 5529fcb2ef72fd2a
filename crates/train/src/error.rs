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
}
