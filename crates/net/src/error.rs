//! What can be wrong with a network or its files.

use std::path::{Path, PathBuf};

/// An error of this crate. Its text says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input size that the network cannot take.
    #[error("{n}×{h}×{w} pixels do not fit the network: at {node}, {reason}")]
    Size {
        /// Images.
        n: usize,
        /// Height.
        h: usize,
        /// Width.
        w: usize,
        /// The node that does not fit.
        node: String,
        /// Why.
        reason: String,
    },
    /// An input size that the network could take if there were memory for it.
    #[error("{n}×{h}×{w} pixels need {} MiB of memory, which the system does not give; take fewer", bytes >> 20)]
    Memory {
        /// Images.
        n: usize,
        /// Height.
        h: usize,
        /// Width.
        w: usize,
        /// What the system was asked for.
        bytes: usize,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("{path}: cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Tensors that do not fit the network, a line each.
    #[error("{}", list(.0))]
    Tensors(Vec<String>),
    /// A network that cannot be built as asked.
    #[error("{0}")]
    Config(String),
}

impl Error {
    /// An [`Error::Io`] for `path`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Io { path: path.to_owned(), source }
    }

    /// An [`Error::Write`] for `path`.
    pub fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Write { path: path.to_owned(), source }
    }

    /// An [`Error::Format`] for `path`.
    pub fn format(path: &Path, reason: impl Into<String>) -> Error {
        Error::Format { path: path.to_owned(), reason: reason.into() }
    }
}

/// Most lines of a list of errors that are printed.
const MAX_LINES: usize = 30;

/// The first lines, and how many more there are.
fn list(lines: &[String]) -> String {
    let mut text = lines[..lines.len().min(MAX_LINES)].join("\n");
    if lines.len() > MAX_LINES {
        text += &format!("\nand {} more", lines.len() - MAX_LINES);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_tensors_are_named_and_the_rest_counted() {
        let lines = |n: usize| (1..=n).map(|i| format!("tensor {i}")).collect::<Vec<_>>();
        assert_eq!(Error::Tensors(lines(30)).to_string(), lines(30).join("\n"));
        assert_eq!(Error::Tensors(lines(33)).to_string(), lines(30).join("\n") + "\nand 3 more");
    }
}
