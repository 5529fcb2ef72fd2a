//! Standard output that may be closed early, as by `head`.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Prints `text` and a line break.
pub fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{}", text.as_ref()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(e) => Err(Failure::bad(format!("standard output: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// Prints a value as one line of JSON.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value)?)
}

/// A layer's name for people: its node's without `.conv`, which only tells it from its batch norm.
pub fn layer(node: &str) -> &str {
    node.strip_suffix(".conv").unwrap_or(node)
}
