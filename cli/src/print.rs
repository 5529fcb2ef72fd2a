//! Standard output that may be closed early, as by `head`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use mobilenet::data::Dataset;
use mobilenet::data::folder::is_photo;
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

/// Photos that are named one by one when they cannot be read.
pub const NAMED: usize = 20;

/// Counts the files of a data set that are no photos, or have no class, by their kind.
pub fn ignored(dataset: &Dataset) {
    let mut passed_over = PassedOver::default();
    dataset.ignored().iter().for_each(|file| passed_over.add(file));
    passed_over.say();
}

/// Files that are no photos, or have no class, counted by their kind.
#[derive(Default)]
pub struct PassedOver {
    kinds: BTreeMap<String, usize>,
    first: Option<PathBuf>,
}

impl PassedOver {
    /// Counts one more.
    pub fn add(&mut self, file: &Path) {
        let ending = file.extension().map_or(String::new(), |ending| ending.to_string_lossy().to_lowercase());
        let kind = match &*ending {
            ending if is_photo(ending) => "beside the class folders".to_owned(),
            "" => "without an ending".to_owned(),
            "heic" | "heif" | "avif" | "tif" | "tiff" => format!(".{ending} (convert to JPEG or PNG)"),
            ending => format!(".{ending}"),
        };
        *self.kinds.entry(kind).or_default() += 1;
        self.first.get_or_insert_with(|| file.to_owned());
    }

    /// Says how many there were of each kind, if any.
    pub fn say(&self) {
        if let Some(first) = &self.first {
            let kinds: Vec<String> = self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            note!("passed over: {}; the first is {}", kinds.join(", "), first.display());
        }
    }
}

/// Names the photos that could not be read, `messages` with their names, and counts them.
pub fn unreadable(messages: &[String], photos: usize) {
    messages.iter().take(NAMED).for_each(|message| note!("skipped {message}"));
    if messages.len() > NAMED {
        note!("skipped {} more", messages.len() - NAMED);
    }
    if !messages.is_empty() {
        note!("{} of {photos} photos could not be read", messages.len());
    }
}

/// A path for a command that is to be copied: quoted, as a POSIX shell wants it, where it has other than plain characters.
pub fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_can_be_copied_into_a_shell() {
        for (path, copied) in [
            ("runs/train/größe_1.safetensors", "runs/train/größe_1.safetensors"),
            ("my runs/a b", "'my runs/a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(quoted(Path::new(path)), copied);
        }
    }
}
